"""Changes of a module of IR that prepare it for linking, for the probe, or for comparison."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_llmcompiler.program.ir import parse
from pytest_llmcompiler.program.ir_names import print_ir
from pytest_llmcompiler.targets.target import ForeignSystem

if TYPE_CHECKING:
    import llvmlite.binding as llvm

PADDING_BYTES = 256
"""Bytes of padding before and after each constant: an access that misses its constant by less hits padding."""
PADDED_PREFIX = "llmc.padded."
"""The prefix of the variables that hold a constant with its padding."""
OWN_PREFIX = "llmc.own."
"""The prefix of the functions and variables that a case defines, in its linked program."""
_IMPLICIT_CALLS = """
memcpy memmove memset memcmp bcmp strlen abort
floor ceil trunc rint nearbyint round roundeven sqrt pow exp exp2 log log2 log10 sin cos fabs fmod fmin fmax copysign
floorf ceilf truncf rintf nearbyintf roundf roundevenf sqrtf powf expf exp2f logf log2f log10f sinf cosf fabsf fmodf
fminf fmaxf copysignf
"""
"""Functions that code generators call on their own: for an intrinsic, or for the copy of a structure."""


def remove_value_names(module: llvm.ModuleRef) -> None:
    """Remove the names of arguments, blocks and values, in place. LLVM then numbers them."""
    for function in module.functions:
        inside = (value for block in function.blocks for value in (block, *block.instructions))
        for value in (*function.arguments, *inside):
            if value.name:
                value.name = ""


def set_level_attributes(text: str, *, frame_pointer: str, is_for_size: bool) -> str:
    """The module with the attributes that clang gives functions where it optimises: that it may, which of them keep a
    frame pointer (`none`, `non-leaf`), and at -Oz that size comes first."""
    text = re.sub(r'"frame-pointer"="[\w-]+"', f'"frame-pointer"="{frame_pointer}"', text)
    module = parse(re.sub(r"^((?:attributes #|define ).*?) optnone\b", r"\1", text, flags=re.MULTILINE))
    for function in module.functions if is_for_size else ():
        if not function.is_declaration:
            function.add_function_attribute("minsize")
            function.add_function_attribute("optsize")
    return print_ir(module)


def externalise(text: str) -> str:
    """The module with every local symbol external, so that other code can name it."""
    module = parse(text)
    _externalise(module)
    return print_ir(module)


def _externalise(module: llvm.ModuleRef) -> None:
    for value in (*module.functions, *module.global_variables):
        if value.linkage.name in ("internal", "private") and not value.name.startswith("llvm."):
            value.linkage = "external"
        if value.is_declaration and value.visibility.name != "default":
            # A hidden symbol can only be defined by the program itself: the linker takes no stand-in for it later, and
            # has other words for one that is missing. Some projects declare everything so (`visibility push(hidden)`).
            value.visibility = "default"


def prepare_module(text: str, guest: ForeignSystem | None) -> str:
    """The module of a program as it is compiled: every symbol is external, what the case defines has a prefix, and
    constants have padding."""
    if guest:
        return prefix_functions(pad_constants(externalise(text)), guest)
    module = parse(text)
    _externalise(module)
    names = _prefix_definitions(module, text)
    return "".join((_pad_constants(module), *names))


def prefix_functions(text: str, guest: ForeignSystem) -> str:
    """The module of a guest's code with the guest's prefix on the name of each function.

    The functions that code generators call on their own get the prefix too. So the code calls none of the host's
    functions. Only `main` keeps its name, because the host starts it. `dllimport` and `dllexport` are removed.
    """
    module = parse(re.sub(r"^((?:declare|define|@\S+ =) [^@\"]*)\bdll(?:im|ex)port ", r"\1", text, flags=re.M))
    for function in module.functions:
        if not function.name.startswith("llvm.") and function.name != "main":
            function.name = guest.symbol_prefix + function.name
    names = (f'module asm ".set {name}, {guest.symbol_prefix}{name}"' for name in guest.implicit_functions)
    return "\n".join((print_ir(module), *names, ""))


def _prefix_definitions(module: llvm.ModuleRef, text: str) -> list[str]:
    """Put `OWN_PREFIX` on the name of each function and variable that a module defines, but for `main`, in place.
    `text` is the module's text. Returns lines to add to it.

    So the case may define what the C library defines too. A case's `strlen` serves the calls of the case, and the C
    library goes on to call its own. The names that inline assembly uses, and the functions that code generators call on
    their own, mean the case's too.
    """
    own = [value for value in (*module.functions, *module.global_variables) if _has_own_name(value)]
    with_assembly = re.findall(r"^.*\basm\b.*$", text, re.M) if "asm" in text else ()
    in_assembly = (re.findall(r"[\w.$]+", line) for line in with_assembly)
    known = {*_IMPLICIT_CALLS.split(), *itertools.chain.from_iterable(in_assembly)}
    implicit = known.intersection(value.name for value in own)
    for value in own:
        value.name = OWN_PREFIX + value.name
    return [f'module asm ".set {name}, {OWN_PREFIX}{name}"\n' for name in sorted(implicit)]


def _has_own_name(value: llvm.ValueRef) -> bool:
    return not value.is_declaration and not value.name.startswith("llvm.") and value.name != "main"


def pad_constants(text: str) -> str:
    """The module with `PADDING_BYTES` bytes before and after each constant.

    The constant and its padding are one variable, called `PADDED_PREFIX` + NAME. NAME becomes an alias into it. Since
    the padding belongs to nothing, its contents can differ from run to run: code that reads it shows a difference.
    """
    return _pad_constants(parse(text))


def _pad_constants(module: llvm.ModuleRef) -> str:
    values = {print_ir(value).split(" = ")[0]: value for value in module.global_variables if not value.is_declaration}
    return re.sub(r"^@.*\n", lambda line: _pad_line(line[0], values), print_ir(module), flags=re.M)


def _pad_line(line: str, values: Mapping[str, llvm.ValueRef]) -> str:
    name = line.split(" = ")[0]
    type = print_ir(values[name].global_value_type).split(" = type ")[0] if name in values else ""
    constant = re.match(rf"\S+ = [a-z_ ]*\bconstant {re.escape(type)} (.*?)(?:, align (\d+))?$", line)
    if (
        not type
        or not constant
        or "thread_local" in line
        or "llvm." in name
        or re.search(r", (?:section|comdat|partition)\b", constant[1])
    ):
        return line
    padding, symbol = f"[{PADDING_BYTES} x i8]", f'@"{PADDED_PREFIX}{name[1:].strip(chr(34))}"'
    value = f"<{{ {padding} zeroinitializer, {type} {constant[1]}, {padding} zeroinitializer }}>"
    return (
        f"{symbol} = hidden constant <{{ {padding}, {type}, {padding} }}> {value}, align {constant[2] or 16}\n"
        f"{name} = alias {type}, getelementptr (i8, ptr {symbol}, i64 {PADDING_BYTES})\n"
    )


def call_memcpy(text: str) -> str:
    """The module with each `llvm.memcpy` intrinsic replaced by a call of `memcpy`: no copy is expanded inline."""
    copy = r"call void @llvm\.memcpy\.p0\.p0\.i64\((.*), i1 false\)"
    changed, count = re.subn(copy, r"call void @memcpy(\1)", text)
    declaration = re.search(r"^(?:declare|define)\b.*@memcpy\(", changed, re.M)
    return changed if declaration or not count else changed + "\ndeclare ptr @memcpy(ptr, ptr, i64)\n"


def count_endless_loops(text: str) -> str:
    """The module with a step counted in each block that jumps to itself, whatever happens.

    clang's coverage leaves such a block out, since its first round says all. So without this, a run of `for (;;);`
    takes no steps and never ends.
    """
    step = f"call void @{_STEP}()"
    changed, count = _ENDLESS_LOOP.subn(rf"\g<0>  {step}\n", text)
    return f"{changed}\ndeclare void @{_STEP}()\n" if count else text


_STEP = "__sanitizer_cov_trace_pc"
"""The function of `probe.c` that counts a step."""
_ENDLESS_LOOP = re.compile(r'^("?)([-\w.$]+)\1:(?: .*)?\n(?:  .*\n)*?(?=  br label %\1\2\1(?:,|$))', re.M)
"""A block from its label to the jump to itself that ends it."""


def tighten_pointer_checks(text: str) -> str:
    """A module instrumented by UBSan, in which pointer arithmetic past half of the address space overflows.

    UBSan takes `base + offset >= base` (unsigned) for proof that nothing wrapped. A huge unsigned index that wraps
    twice passes this check. Every base of a run lies in the lower half of the address space, and no object is that
    large, so the signed comparison is correct and stricter.
    """
    return re.sub(r"(= icmp )uge( i64 %\d+, %\d+, !nosanitize)", r"\1sge\2", text)


def split_multiply_add(text: str) -> str:
    """The module with each `llvm.fmuladd` split into a multiplication and an addition, each of which rounds.

    `llvm.fmuladd` leaves open whether the product is rounded.
    """
    numbers = itertools.count()

    def split(call: re.Match[str]) -> str:
        indent, name, flags, type, arguments = call.groups()
        a, b, c = (argument.removeprefix(f"{type} ") for argument in re.split(rf", (?={re.escape(type)} )", arguments))
        product = f"%llmc.product{next(numbers)}"
        return f"{indent}{product} = fmul {flags}{type} {a}, {b}\n{indent}{name} = fadd {flags}{type} {product}, {c}"

    return _MULTIPLY_ADD.sub(split, text)


_MULTIPLY_ADD = re.compile(
    r"^( *)(%\S+) = (?:tail |notail )?call ((?:[a-z]+ )*)(float|double|<\d+ x (?:float|double)>) "
    r"@llvm\.fmuladd\.\w+\((.*)\)(?: #\d+)?$",
    re.M,
)


def remove_source_path(text: str) -> str:
    """A module instrumented by UBSan, without the path of its source file.

    The length of the path would move all data of the module, so that inputs would depend on where the file is.
    """
    return re.sub(r"^(@\.src = .*? constant ).*(, align 1)$", r"\1[1 x i8] zeroinitializer\2", text, flags=re.M)

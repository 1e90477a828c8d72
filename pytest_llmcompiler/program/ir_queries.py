"""Facts about the functions and variables of a module of IR, found in its text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pytest_llmcompiler.letters import name_part
from pytest_llmcompiler.program.ir_names import print_ir

if TYPE_CHECKING:
    import llvmlite.binding as llvm


def defined_functions(module: llvm.ModuleRef) -> list[str]:
    """The names of the functions with a body, in the order of the file."""
    return [function.name for function in module.functions if not function.is_declaration]


def function_head(function: llvm.ValueRef) -> str:
    """What stands in front of a function's name: its linkage, its convention, its result with attributes."""
    return print_ir(function).partition("@")[0].rpartition("\n")[2]


def narrow_functions(module: llvm.ModuleRef) -> frozenset[str]:
    """The functions without a body that return an integer of up to 32 bits.

    `setjmp` and its like are left out: they return more than once.
    """
    declared = (function for function in module.functions if function.is_declaration and "setjmp" not in function.name)
    return frozenset(
        function.name for function in declared if re.match(r"i(?:1|8|16|32) \(", str(function.global_value_type))
    )


ResultKind = Literal["none", "narrow", "integer", "float", "registers"]
"""What a function returns: nothing, an integer of up to 32 bits, one of 64 bits or a pointer, a float or double, or
something else in registers in which C returns it."""
_RESULT_KINDS: dict[str, ResultKind] = {
    "void": "none",
    **dict.fromkeys(("i1", "i8", "i16", "i32"), "narrow"),
    **dict.fromkeys(("i64", "ptr"), "integer"),
    **dict.fromkeys(("float", "double"), "float"),
}
_VECTOR = r"<(?:16 x i8|8 x (?:i8|i16|half)|4 x (?:i16|i32|half|float)|2 x (?:i32|i64|half|float|double))>"
_REGISTER = rf"(?:i(?:1|8|16|32|64|128)|ptr|half|bfloat|float|double|x86_fp80|fp128|{_VECTOR})"
_IN_REGISTERS = re.compile(rf"{_REGISTER}|\{{ {_REGISTER}(?:, {_REGISTER})? \}}|\[[12] x {_REGISTER}\]")
"""Types of results for which every convention has registers enough. LLVM returns larger structures in registers that
C's convention uses for other things: three integers in rax, rdx and rcx."""
_OTHER_CONVENTION = re.compile(r"\b(?:\w+cc|cc \d+|aarch64_\w*pcs)\b")
"""What says in the head of a function that it is called in another way than C's: `win64cc`, `preserve_mostcc`."""
_UNUSUAL_ATTRIBUTES = (b"naked", b'"no_caller_saved_registers"', b"returns_twice", b'"interrupt"')
"""Attributes of functions that keep registers which C's convention lets them change, or return more than once."""


def find_result_kinds(module: llvm.ModuleRef) -> dict[str, ResultKind]:
    """What the functions of a module return that follow C's convention and return once.

    Only these change registers as callers of C expect it. A function without an entry may keep all.
    """
    kinds: dict[str, ResultKind] = {}
    for function in module.functions:
        head, words = function_head(function), {word for text in function.attributes for word in text.split()}
        if _OTHER_CONVENTION.search(head) or words.intersection(_UNUSUAL_ATTRIBUTES) or "setjmp" in function.name:
            continue
        type = str(function.global_value_type).partition(" (")[0]
        has_buffer = any(b"sret" in attribute for item in function.arguments for attribute in item.attributes)
        if has_buffer:  # the caller may expect the address of the structure
            kinds[function.name] = "registers"
        elif type in _RESULT_KINDS:
            kinds[function.name] = _RESULT_KINDS[type]
        elif _IN_REGISTERS.fullmatch(type):
            kinds[function.name] = "registers"
    return kinds


def list_labelled(variable: llvm.ValueRef) -> list[str]:
    """The functions whose labels a variable holds at first (`static void *table[] = {&&first, &&second};`)."""
    return [global_names(part)[0] for part in print_ir(variable).split("blockaddress(")[1:]]


def variadic_functions(module: llvm.ModuleRef) -> frozenset[str]:
    """The functions with `...` behind a parameter. Without one, C may have no prototype of the function."""
    return frozenset(
        function.name for function in module.functions if str(function.global_value_type).endswith(", ...)")
    )


def resultless_functions(module: llvm.ModuleRef) -> frozenset[str]:
    """The functions with a body that return a value of which nothing is ever stored, as clang -O0 writes `f() { }`.

    C without prototypes has no `void`, and such a function stands for one that returns nothing.
    """
    defined = (function for function in module.functions if not function.is_declaration)
    return frozenset(function.name for function in defined if _returns_nothing(print_ir(function)))


def _returns_nothing(text: str) -> bool:
    returned = re.findall(r"^  ret \S+ (%\d+)", text, re.M)
    loaded = re.search(rf"^  {returned[0]} = load [^,]+, ptr (%\d+), align \d+$", text, re.M) if returned else None
    if len(returned) != 1 or loaded is None:
        return False
    uses = re.findall(rf"{loaded[1]}(?!\d)", text)
    return len(uses) == 2 and re.search(rf"^  {loaded[1]} = alloca ", text, re.M) is not None


def only_called_functions(module: llvm.ModuleRef, text: str) -> frozenset[str]:
    """The local functions that are only called by name: nothing takes their address. `text` is the module's text."""
    local = {value.name for value in module.functions if value.linkage.name in ("internal", "private")}
    addressed = re.findall(r'@(?:"([^"]*)"|([-\w$.]+))(?![-\w$.("])', text)
    return frozenset(local.difference(quoted or plain for quoted, plain in addressed))


def only_stored_variables(module: llvm.ModuleRef) -> frozenset[str]:
    """The local variables that are never read. No behaviour depends on them."""
    return _variables_with_only(module, r"store (?!volatile )[^@]*, ptr {}")


_ALIAS = re.compile(r"^@.* alias (.*)$", re.MULTILINE)
"""Another name of a variable or function, which other files may use."""


def only_loaded_variables(module: llvm.ModuleRef) -> frozenset[str]:
    """The local variables that are never written. They always have their initial values."""
    return _variables_with_only(module, r"%[-\w$.]+ = load (?!volatile )[^@]*, ptr {}")


def _variables_with_only(module: llvm.ModuleRef, use: str) -> frozenset[str]:
    """The local variables with no use but this one, of the variable itself or of an element of it.

    `use` is a regular expression of an instruction, with `{}` in the place of the address.
    """
    local = {value.name for value in module.global_variables if value.linkage.name in ("internal", "private")}
    if not local:
        return frozenset()
    initialisers = (print_ir(value).partition(" = ")[2] for value in module.global_variables)
    aliases = _ALIAS.findall(print_ir(module))
    otherwise_used = {name for text in (*initialisers, *aliases) for name in global_names(text)}
    for function in module.functions:
        lines = print_ir(function).splitlines()
        for line in lines:
            names = local.intersection(global_names(line)) - otherwise_used if "@" in line else ()
            otherwise_used |= {name for name in names if not _is_only(use, line, _address_pattern(name), lines)}
    return frozenset(local - otherwise_used)


def _address_pattern(name: str) -> str:
    """A regular expression for the address of a variable, or of an element of it at a constant offset."""
    symbol = rf"""@(?:"{re.escape(name)}"|{re.escape(name)}(?![-\w$.]))"""
    return rf"(?:getelementptr [^@()]*\([^@()]*)?{symbol}(?:[^@()]*\))?"


def _is_only(use: str, line: str, address: str, lines: Sequence[str]) -> bool:
    """Whether a line uses an address in one way alone, directly or through the address of an element."""
    if not re.search(r"\b(?:load|store|getelementptr) ", line):  # cheaper than an expression for each address
        return False
    if re.fullmatch(rf"\s+{use.format(address)}(?:, align \d+)?", line):
        return True
    element = re.match(rf"\s+(%[-\w$.]+) = getelementptr [^@]*ptr {address}[^@]*$", line)
    if element is None:
        return False
    value = rf"{re.escape(element[1])}(?![-\w$.])"
    users = (user for user in lines if element[1] in user and re.search(value, user) and user != line)
    return all(_is_only(use, user, value, lines) for user in users)


def is_constant(value: llvm.ValueRef) -> bool:
    """Whether a variable of a module is read-only."""
    return re.match(r"\S+ = [^{\[%]*\bconstant ", print_ir(value)) is not None


def mentioned_globals(module: llvm.ModuleRef, function: str) -> frozenset[str]:
    """The global names that a function mentions, and those that every function it reaches by call or address does."""
    functions = {value.name: value for value in module.functions if not value.is_declaration}
    names: set[str] = set()
    todo = [function]
    while todo:
        new = set(global_names(print_ir(functions.get(todo.pop(), "")))) - names
        names |= new
        todo += new
    return frozenset(names)


def end_pointer_receivers(module: llvm.ModuleRef) -> frozenset[str]:
    """The functions that some call in the module may pass a pointer to the end of an object.

    A call can't do so where every pointer that it passes is a variable, its first element or a member, or null.
    """
    return frozenset(
        operands[-1].name
        for function in module.functions
        for block in function.blocks
        for instruction in block.instructions
        if instruction.opcode == "call"
        for operands in [list(instruction.operands)]
        if not all(map(_is_start_of_object, operands[:-1]))
    )


def _is_start_of_object(value: llvm.ValueRef) -> bool:
    """True for a pointer to a variable, its first element or a member, for null, and for a value that is no pointer."""
    text = print_ir(value).strip()
    part = _FIRST_OR_MEMBER.match(text.partition(" = ")[2])
    variable = re.match(r"@\S+ = |%\S+ = alloca |ptr null$", text)
    return str(value.type) != "ptr" or bool(part or variable)


def keeps_inner_pointers(text: str) -> bool:
    """Whether code may store, pass, choose or return a pointer to the middle or the end of an object.

    A pointer that is not computed, or is that of a first element or of a member, leads to a whole object.
    """
    return any(map(_keeps_inner_pointers, re.split(r"^define ", text, flags=re.M)[1:]))


def _keeps_inner_pointers(function: str) -> bool:
    inner: set[str] = set()
    lines = [line.strip() for line in function.splitlines()]
    for line in (*lines, *lines):  # a phi may name a pointer that is computed further down
        result, _, instruction = line.partition(" = ") if line.startswith("%") else ("", "", line)
        is_mentioned = not inner.isdisjoint(_LOCAL_NAME.findall(instruction))
        if instruction.startswith(("getelementptr ", "inttoptr ")):
            if is_mentioned or not _FIRST_OR_MEMBER.search(instruction):
                inner.add(result)
        elif is_mentioned and not _is_mere_access(instruction, inner):
            return True
    return False


_LOCAL_NAME = re.compile(r'%(?:[-\w$.]+|"[^"]*")')
_FIRST_OR_MEMBER = re.compile(r"^getelementptr (?:.*, i64 0, i64 0|(?:\w+ )*(?:%|\{|<\{).*, i32 0, i32 \d+)(?:, !.*)?$")


def _is_mere_access(instruction: str, pointers: set[str]) -> bool:
    """Whether an instruction does no more with pointers than read, write or compare."""
    if instruction.startswith("store "):
        value = instruction.split(", ptr ")[0]
        return pointers.isdisjoint(_LOCAL_NAME.findall(value))
    return bool(re.match(r"load |icmp |ptrtoint |call void @llvm\.mem(?:cpy|move|set)\.", instruction))


_GLOBAL_NAME = re.compile(rf'@(?:"((?:[^"\\]|\\.)*)"|({name_part("-$.")}+))')


def global_names(text: str) -> list[str]:
    """The global names in a text of IR, in order, with repetitions."""
    return [quoted or plain for quoted, plain in _GLOBAL_NAME.findall(text)]

"""LLVM IR of a case: cutting out a function, counting, emitting code. All of it by llvmlite."""

from __future__ import annotations

import functools
import io
import itertools
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmcompiler.errors import IRError
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.target import ForeignSystem, Target

if TYPE_CHECKING:
    import llvmlite.binding as llvm

PAD, PADDED = 256, "llmc.padded."
_LINKAGES = "private|internal|available_externally|linkonce_odr|linkonce|weak_odr|weak|common|appending|extern_weak"


def parse(text: str) -> llvm.ModuleRef:
    """Parse and verify IR. Raises IRError with LLVM's message."""
    binding = _llvm()
    try:
        # A context of its own keeps the names of struct types: in a shared one they collide and get numbers.
        module = binding.parse_assembly(text, context=binding.create_context())
        module.verify()
    except RuntimeError as error:
        raise IRError(str(error).strip()) from error
    return module


def normalised(text: str, target: Target | None = None) -> str:
    """IR as a plain clang for a target writes it: for the default one unless another is given, as in all of these.

    The bundled clang spells out every feature that the target lacks (some 6,000 characters a function) and a triple
    of its own; both are noise in a prompt and mean the same code. So is the folder of the source file.
    """
    target = target or get_target()
    text = re.sub(r'"target-features"="[^"]*"', f'"target-features"="{target.feature_attribute}"', text)
    text = re.sub(r'^source_filename = ".*[/\\\\](.*)"$', r'source_filename = "\1"', text, flags=re.M)
    text = re.sub(r'^target triple = ".*"$', f'target triple = "{target.triple}"', text, flags=re.M)
    return re.sub(r"^; ModuleID = .*\n", "", text, flags=re.M)


def retargeted(text: str, target: Target) -> str:
    """A module for a target, whatever other it was written for. Who is called extends narrow integers where the
    target's convention says so, whatever the module does.

    Raises IRError for one that holds what means something else there: how variable arguments are found, an intrinsic
    or a type of one processor, assembly.
    """
    if not target.convention.caller_extends:
        text = re.sub(r"^.*\b(?:define|declare|call)\b.*$", _without_extensions, text, flags=re.M)
    triple = re.search(r'^target triple = "(.*)"$', text, re.M)
    if triple is None:
        return text
    (processor, system), (other, wanted) = (_kind(one) for one in (triple[1], target.triple))
    if (processor, system) == (other, wanted):
        return text
    of_processor = r"@llvm\.(?:x86|aarch64)\.[\w.]+|\basm\b|" if processor != other else ""
    bound = re.search(rf"{of_processor}@llvm\.va_start\b|\bva_arg\b|\bx86_fp80\b", text)
    if bound:
        raise IRError(f"this is IR for {triple[1]}: {bound[0]} means something else on {target.name}, or nothing")
    layout = data_layout(target)
    text = re.sub(r'^target datalayout = ".*"$', f'target datalayout = "{layout}"', text, flags=re.M)
    return re.sub(r'^target triple = ".*"$', f'target triple = "{target.triple}"', text, flags=re.M)


def _kind(triple: str) -> tuple[str, bool]:
    """The processor of a triple, and whether its system is Windows."""
    return triple.split("-")[0], "-windows" in triple


def _without_extensions(line: re.Match[str]) -> str:
    return re.sub(r"\b(?:signext|zeroext) ", "", line[0])


def unname(module: llvm.ModuleRef) -> None:
    """Take the names of arguments, blocks and values away: LLVM then numbers them."""
    for function in module.functions:
        inside = (value for block in function.blocks for value in (block, *block.instructions))
        for value in (*function.arguments, *inside):
            if value.name:
                value.name = ""


def defined_functions(module: llvm.ModuleRef) -> list[str]:
    """The names of the functions with a body, in the order of the file."""
    return [function.name for function in module.functions if not function.is_declaration]


def narrow(module: llvm.ModuleRef) -> frozenset[str]:
    """The functions without a body that return an integer of up to 32 bits, and only once."""
    declared = (function for function in module.functions if function.is_declaration and "setjmp" not in function.name)
    return frozenset(one.name for one in declared if re.match(r"i(?:1|8|16|32) \(", str(one.global_value_type)))


def externalised(text: str) -> str:
    """The module with every local symbol made visible to the linker, so that other code can name it."""
    module = parse(text)
    for value in (*module.functions, *module.global_variables):
        if value.linkage.name in ("internal", "private") and not value.name.startswith("llvm."):
            value.linkage = "external"
    return str(module)


def prefixed(text: str, guest: ForeignSystem) -> str:
    """The module of a guest's code with its prefix before the name of each function, and of those that code generators
    call, so that it calls none of the host's. Only `main` keeps its name: the host starts it. Nothing is imported."""
    module = parse(re.sub(r"^((?:declare|define|@\S+ =) [^@\"]*)\bdll(?:im|ex)port ", r"\1", text, flags=re.M))
    for function in module.functions:
        if not function.name.startswith("llvm.") and function.name != "main":
            function.name = guest.symbol_prefix + function.name
    names = (f'module asm ".set {name}, {guest.symbol_prefix}{name}"' for name in guest.implicit_functions)
    return "\n".join((str(module), *names, ""))


def padded(text: str) -> str:
    """The module with `PAD` bytes before and behind each constant, in variables named `PADDED` and its name.

    What lies around a constant is nobody's business: in there it can be varied.
    """
    types = {str(value).split(" = ")[0]: value for value in parse(text).global_variables if not value.is_declaration}
    return "".join(_padded(line, types) for line in text.splitlines(keepends=True))


def _padded(line: str, types: Mapping[str, llvm.ValueRef]) -> str:
    name = line.split(" = ")[0]
    kind = str(types[name].global_value_type).split(" = type ")[0] if name in types else ""
    found = re.match(rf"\S+ = [a-z_ ]*\bconstant {re.escape(kind)} (.*?)(?:, align (\d+))?$", line)
    if not kind or not found or "llvm." in name or re.search(r", (?:section|comdat|partition)\b", found[1]):
        return line
    pad, symbol = f"[{PAD} x i8]", f'@"{PADDED}{name[1:].strip(chr(34))}"'
    value = f"<{{ {pad} zeroinitializer, {kind} {found[1]}, {pad} zeroinitializer }}>"
    return (
        f"{symbol} = hidden constant <{{ {pad}, {kind}, {pad} }}> {value}, align {found[2] or 16}\n"
        f"{name} = alias {kind}, getelementptr (i8, ptr {symbol}, i64 {PAD})\n"
    )


def without(text: str, function: str, kept_as: str | None = None) -> str:
    """The module with a function only declared, for another to take its place. Its own body stays under another name
    where one is given: it still calls itself by the old one."""
    lines: list[str] = []
    inside = kept = False
    for line in str(parse(text)).splitlines(keepends=True):
        if line.startswith("define "):
            inside, kept = True, _header_name(line) != function
            if not kept:
                lines.append(_declaration(line))
                if kept_as is not None:
                    line, kept = _renamed_header(line, kept_as), True
        if kept or not inside:
            lines.append(line)
        inside = inside and not line.startswith("}")
    return str(parse("".join(lines)))


def _renamed_header(header: str, name: str) -> str:
    header = re.sub(rf"^define (?:(?:{_LINKAGES}) )?", "define ", header)
    header = re.sub(r" comdat(?:\([^)]*\))?", "", header)
    return re.sub(r'@(?:"(?:[^"\\]|\\.)*"|[-\w$.]+)\(', lambda _: f'@"{name}"(', header, count=1)


def extract(text: str, function: str, target: Target | None = None) -> str:
    """Cut `function` out of a module, the way `llvm-extract -func` does.

    Everything else that it uses becomes a declaration; what was local becomes external and hidden.
    """
    module = parse(text)
    kept = parse("".join(_extracted_lines(str(module), module, function)))
    binding = _llvm()
    manager = binding.create_new_module_pass_manager()
    manager.add_strip_dead_prototype_pass()
    manager.add_global_dead_code_eliminate_pass()
    builder = binding.create_pass_builder(machine(target), binding.create_pipeline_tuning_options(0))
    manager.run(kept, builder)
    return normalised(str(kept), target).strip() + "\n"


def _extracted_lines(text: str, module: llvm.ModuleRef, function: str) -> Iterator[str]:
    types = {str(value).split(" = ")[0]: value for value in module.global_variables}
    inside = keep = False
    for line in text.splitlines(keepends=True):
        if inside:
            inside = not line.startswith("}")
            if keep:
                yield line
        elif line.startswith("define "):
            inside, keep = True, _header_name(line) == function
            yield _visible(line) if keep else _declaration(line)
        elif line.startswith("@"):
            name = line.split(" = ")[0]
            yield _global_declaration(name, line, types[name]) if name in types else _alias_declaration(name, line)
        else:
            yield line


def _header_name(line: str) -> str:
    match = re.search(r'@(?:"((?:[^"\\]|\\.)*)"|([-\w$.]+))\(', line)
    if match is None:
        raise IRError(f"a function header without a name: {line.strip()}")
    return match[1] or match[2]


def _visible(header: str) -> str:
    header = re.sub(r"^define (?:private|internal) ", "define hidden ", header)
    return re.sub(r"^define linkonce(_odr)? ", r"define weak\1 ", header)


def _declaration(header: str) -> str:
    header = re.sub(r"^define (?:private|internal) ", "declare hidden ", header)
    header = re.sub(rf"^define (?:(?:{_LINKAGES}) )?", "declare ", header)
    header = re.sub(r" (?:comdat(?:\([^)]*\))?|personality [^{]*|!dbg !\d+|section \"[^\"]*\")", "", header)
    return header.rstrip().removesuffix("{").rstrip() + "\n"


def _global_declaration(name: str, line: str, value: llvm.ValueRef) -> str:
    head = re.match(r"\S+ = (.*?)\b(global|constant) ", line)
    if head is None or value.name.startswith("llvm."):
        return "" if value.name.startswith("llvm.") else line
    local = value.linkage.name in ("private", "internal")
    words = re.sub(rf"\b(?:{_LINKAGES}|external)\b ?", "", head[1])
    words = f"hidden {words.replace('dso_local ', '')}" if local else words
    end = re.search(r'(?:, section "[^"]*")?(?:, align \d+)?$', line[len(head[0]) :].rstrip())
    kind = str(value.global_value_type).split(" = type ")[0]
    return f"{name} = external {words}{head[2]} {kind}{end[0] if end else ''}\n"


def _alias_declaration(name: str, line: str) -> str:
    """What an alias is to other modules: a function or a variable."""
    found = re.search(r"\b(?:alias|ifunc) (.*), ptr @", line)
    if found is None:
        return line
    function = re.fullmatch(r"(.*?) (\(.*\))", found[1])
    return f"declare {function[1]} {name}{function[2]}\n" if function else f"{name} = external global {found[1]}\n"


def only_called(module: llvm.ModuleRef, text: str) -> frozenset[str]:
    """The local functions of a module that are called by their name alone: nothing takes their address."""
    local = {value.name for value in module.functions if value.linkage.name in ("internal", "private")}
    taken = re.findall(r'@(?:"([^"]*)"|([-\w$.]+))(?![-\w$.("])', text)
    return frozenset(local.difference(first or second for first, second in taken))


def only_stored(module: llvm.ModuleRef) -> frozenset[str]:
    """The local variables that are never read: no behaviour depends on them."""
    return _only(module, r"store (?!volatile )[^@]*, ptr {}")


def only_loaded(module: llvm.ModuleRef) -> frozenset[str]:
    """The local variables that are never written: they always have their initial values."""
    return _only(module, r"%[-\w$.]+ = load (?!volatile )[^@]*, ptr {}")


def _only(module: llvm.ModuleRef, use: str) -> frozenset[str]:
    """The local variables that are used in one way alone, directly or through an element of theirs."""
    local = {value.name for value in module.global_variables if value.linkage.name in ("internal", "private")}
    initial = (str(value).partition(" = ")[2] for value in module.global_variables)
    others = {name for text in initial for name in global_names(text)}
    for function in module.functions:
        lines = str(function).splitlines()
        for line in lines:
            names = {name for name in global_names(line) if name in local}
            others |= {name for name in names if not _is_use(use, line, _element_of(name), lines)}
    return frozenset(local - others)


def _element_of(name: str) -> str:
    """A pattern for the address of a variable, or of an element of it at a fixed place."""
    symbol = rf"""@(?:"{re.escape(name)}"|{re.escape(name)}(?![-\w$.]))"""
    return rf"(?:getelementptr [^@()]*\([^@()]*)?{symbol}(?:[^@()]*\))?"


def _is_use(use: str, line: str, address: str, lines: Sequence[str]) -> bool:
    """Whether a line uses an address in that way alone, by itself or with elements that it computes."""
    if re.fullmatch(rf"\s+{use.format(address)}(?:, align \d+)?", line):
        return True
    element = re.match(rf"\s+(%[-\w$.]+) = getelementptr [^@]*ptr {address}[^@]*$", line)
    if element is None:
        return False
    value = rf"{re.escape(element[1])}(?![-\w$.])"
    users = (other for other in lines if re.search(value, other) and other != line)
    return all(_is_use(use, other, value, lines) for other in users)


def mentioned(module: llvm.ModuleRef, function: str) -> frozenset[str]:
    """The global names that a function, or any that it reaches by calls or addresses, mentions."""
    functions = {value.name: value for value in module.functions if not value.is_declaration}
    found: set[str] = set()
    todo = [function]
    while todo:
        new = set(global_names(str(functions.get(todo.pop(), "")))) - found
        found |= new
        todo += new
    return frozenset(found)


def given_ends(module: llvm.ModuleRef) -> frozenset[str]:
    """The functions that a call in the module may give the end of an object, as far as its text tells: not where every
    pointer is a variable, its first element or a member, or null."""
    return frozenset(
        operands[-1].name
        for function in module.functions
        for block in function.blocks
        for instruction in block.instructions
        if instruction.opcode == "call"
        for operands in [list(instruction.operands)]
        if not all(map(_is_object, operands[:-1]))
    )


def _is_object(value: llvm.ValueRef) -> bool:
    text = str(value).strip()
    member = re.match(r"%\S+ = getelementptr (?:(?:\w+ )*%|.*, i64 0, i64 0$)", text)
    is_named = re.match(r"@\S+ = |%\S+ = alloca |ptr null$", text)
    return str(value.type) != "ptr" or bool(member or is_named)


def with_plain_copies(text: str) -> str:
    """A module that copies memory by calls of `memcpy` alone, never by instructions of its own."""
    copy = r"call void @llvm\.memcpy\.p0\.p0\.i64\((.*), i1 false\)"
    changed, count = re.subn(copy, r"call void @memcpy(\1)", text)
    known = re.search(r"^(?:declare|define)\b.*@memcpy\(", changed, re.M)
    return changed if known or not count else changed + "\ndeclare ptr @memcpy(ptr, ptr, i64)\n"


def with_bounded_pointers(text: str) -> str:
    """A module of UBSan's in which a pointer that goes past half of all addresses overflows, as no object is so large.

    UBSan takes `base + offset >= base` for proof that nothing wrapped, which a huge unsigned index passes that wraps
    twice. Every base here lies in the lower half, so that the same comparison of signed numbers is stricter.
    """
    return re.sub(r"(= icmp )uge( i64 %\d+, %\d+, !nosanitize)", r"\1sge\2", text)


def unfused(text: str) -> str:
    """A module that multiplies and adds in two steps where it is left open whether that is one, without rounding in
    between."""
    numbers = itertools.count()

    def parted(found: re.Match[str]) -> str:
        indent, name, flags, type, arguments = found.groups()
        a, b, c = (one.split()[-1] for one in re.split(rf", (?={re.escape(type)} )", arguments))
        product = f"%llmc.product{next(numbers)}"
        return f"{indent}{product} = fmul {flags}{type} {a}, {b}\n{indent}{name} = fadd {flags}{type} {product}, {c}"

    return _FUSED.sub(parted, text)


_FUSED = re.compile(
    r"^( *)(%\S+) = (?:tail |notail )?call ((?:[a-z]+ )*)(float|double) @llvm\.fmuladd\.f\d+\((.*?)\)(?: #\d+)?$", re.M
)


def without_path(text: str) -> str:
    """A module of UBSan's that does not say where its source lies: the length of that would move all of its data."""
    return re.sub(r"^(@\.src = .*? constant ).*(, align 1)$", r"\1[1 x i8] zeroinitializer\2", text, flags=re.M)


def global_names(text: str) -> list[str]:
    """The global names in a text of IR."""
    return [first or second for first, second in re.findall(r'@(?:"((?:[^"\\]|\\.)*)"|([-\w$.]+))', text)]


def instruction_count(text: str) -> int:
    """The number of IR instructions in the functions of a module."""
    return count(parse(text))


def count(module: llvm.ModuleRef) -> int:
    """The number of instructions in the functions of a module."""
    blocks = (block for function in module.functions for block in function.blocks)
    return sum(1 for block in blocks for _ in block.instructions)


def binary_size(text: str, target: Target | None = None) -> int:
    """Bytes of text and data of the object that llc makes of a module."""
    return object_size(emit_object(text, target))


def object_size(data: bytes) -> int:
    """Bytes of text and data of an object (as `llvm-size` counts them: .eh_frame and .rodata are text)."""
    from elftools.elf.constants import SH_FLAGS
    from elftools.elf.elffile import ELFFile

    if not data.startswith(b"\x7fELF"):
        return _coff_size(data)
    sections = ELFFile(io.BytesIO(data)).iter_sections()
    return sum(
        section["sh_size"]
        for section in sections
        if section["sh_flags"] & SH_FLAGS.SHF_ALLOC and section["sh_type"] != "SHT_NOBITS"
    )


def _coff_size(data: bytes) -> int:
    """The same for a COFF object (Microsoft, "PE Format", sections 3.3 and 4)."""
    (count,) = struct.unpack_from("<H", data, 2)
    headers = (struct.unpack_from("<16xI16xI", data, 20 + 40 * number) for number in range(count))
    code_or_data = 0x20 | 0x40
    return sum(size for size, flags in headers if flags & code_or_data)


def emit_object(text: str, target: Target | None = None) -> bytes:
    """The object that llc makes of a module. The process ends over inline assembly with a fault, or for another
    processor than its own."""
    return object_of(parse(text), target)


def object_of(module: llvm.ModuleRef, target: Target | None = None) -> bytes:
    """The same of a parsed module, which is no good afterwards."""
    return bytes(machine(target).emit_object(module))


def emit_assembly(module: llvm.ModuleRef, level: str | None, target: Target | None = None) -> str:
    """The assembly (AT&T on x86-64) that llc makes of a module, as clang would have it at a level such as `O0`: all is
    the same above that. The module is no good afterwards."""
    writer = machine(target, opt=0 if level == "O0" else 2, reloc="pic")
    writer.set_asm_verbosity(True)
    return str(writer.emit_assembly(module))


def data_layout(target: Target | None = None) -> str:
    """The data layout of a target."""
    return str(machine(target).target_data)


def bitcode(text: str, target: Target | None = None) -> bytes:
    """A module in LLVM's binary format, for the target where it names none. Raises IRError."""
    module = parse(text)
    if not module.triple:
        module.triple, module.data_layout = (target or get_target()).triple, data_layout(target)
    return bytes(module.as_bitcode())


def printed(bitcode: bytes) -> str:
    """The text of a module. Raises IRError."""
    binding = _llvm()
    try:
        return str(binding.parse_bitcode(bitcode, context=binding.create_context()))
    except RuntimeError as error:
        raise IRError(str(error).strip()) from error


@functools.cache
def machine(target: Target | None = None, opt: int = 2, reloc: str = "static") -> llvm.TargetMachine:
    """LLVM's machine that makes code at a level."""
    target = target or get_target()
    known = _llvm().Target.from_triple(target.triple)
    return known.create_target_machine(cpu=target.cpu, features="", opt=opt, reloc=reloc, codemodel="default")


@functools.cache
def _llvm() -> Any:
    import llvmlite.binding as binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    binding.initialize_native_asmparser()
    return binding

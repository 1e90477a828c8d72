"""An attempt with LLVM: each statement goes on a line of its own, as it was written, and the object file is loaded."""

from __future__ import annotations

import os
import re
import subprocess
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import import_module
from string import ascii_letters
from typing import Any, cast

from pytest_llmcompiler import sandbox
from pytest_llmcompiler.assembler.gas import ParsedAssembly, Statement
from pytest_llmcompiler.assembler.linker import LinkedImage, load_object
from pytest_llmcompiler.assembler.operands import is_movsxd
from pytest_llmcompiler.assembler.result import AssemblerLimits, open_no_files, open_no_more
from pytest_llmcompiler.assembler.tokens import LITERAL
from pytest_llmcompiler.errors import AssemblyError, ChildDiedError, ChildTimeoutError, LinkError, UnsupportedError
from pytest_llmcompiler.program.clang import assembler_command
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.target import Target

_STDERR = 2
_MESSAGE = re.compile(r"^(?:error: )?<(?:inline asm|stdin)>:(\d+):(\d+): (?!warning)(?:error: )?(.*)", re.MULTILINE)
_START = r"(?<![\w.@?\"])(?<![\w.]\$)"
"""Where a name may begin; the $ of an immediate is no part of it."""
_LITERAL = re.compile(LITERAL)
_NUMERIC_USE = re.compile(rf"{_START}(\d+)([bf])(?![\w.])")
_LOCAL = re.compile(rf"{_START}\.L[\w.$?]*")
_INTEL_BRACKETS = re.compile(r"\[(\s*(?:qword|dword|word)\s+ptr\s[^\[\]]*\[[^\[\]]*\]\s*)\]", re.IGNORECASE)
_INTEL_FLAT = re.compile(r"(\boffset\s+)(flat\s*:)", re.IGNORECASE)


def assemble(
    unit: ParsedAssembly,
    function: str,
    shared: frozenset[str],
    base: int,
    symbols: Mapping[str, int],
    limits: AssemblerLimits,
    target: Target,
) -> AssembledCode:
    """Assemble a text for a target that defines `function`, placed from the address `base`.

    `symbols` is the program that the code is put into: name -> address; `shared` are the names that the text defines
    too, but that mean the program's. Raises AssemblyError, LinkError and UnsupportedError.
    """
    attempt = _LLVMAttempt(unit, shared)
    text = attempt.text()
    elf = _sandboxed(attempt, text, limits, target)
    renamed = attempt.renamed
    supplied = {new: symbols[old] for new, old in renamed.items() if old in symbols}
    try:
        known = ChainMap(supplied, cast("dict[str, int]", symbols))
        image = load_object(elf, function, base, known, target.relocations)
    except LinkError as error:
        if not error.missing:
            raise
        missing = tuple(sorted(renamed.get(name, name) for name in error.missing))
        raise LinkError(missing_symbols(unit, missing), missing) from None
    return attempt.assembled(image)


SOURCE = "candidate.s"
"""What debuggers call the file that the lines of a linkable object are of."""
LINES = "llmc_lines"
"""The section of a linkable object in which it tells its own lines: pairs of 64-bit words, address and line."""
_BEYOND = 16
"""Bytes of traps behind the code of a linkable object."""


@dataclass(frozen=True)
class Linkage:
    """What a linker is to make of an object."""

    function: str
    """The one name that the object defines for others."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What the text refers to -> what that is called where it is defined, where that is another name."""
    lines: bool = False
    """Whether the program itself is to know the lines of the text."""


def linkable(unit: ParsedAssembly, shared: frozenset[str], linkage: Linkage, limits: AssemblerLimits) -> bytes:
    """The ELF object of a text for a linker, with the line numbers of the text. `shared` as for `assemble`.

    Raises AssemblyError, and LinkError for the function itself and for local labels; all else is the linker's to miss.
    """
    attempt = _LLVMAttempt(unit, shared, linkage)
    missing = tuple(sorted(set(attempt.renamed.values()) - linkage.names.keys()))
    if missing:
        raise LinkError(missing_symbols(unit, missing), missing)
    return _sandboxed(attempt, attempt.text(), limits, get_target())


class _LLVMAttempt:
    """A text as LLVM gets it, and what its answers mean for the original."""

    def __init__(self, unit: ParsedAssembly, shared: frozenset[str], linkage: Linkage | None = None) -> None:
        self._unit = unit
        self._shared = shared
        self._linkage = linkage
        """For an object that is to be linked, and not loaded here."""
        self._lines: list[str] = []
        self._origins: list[int | None] = []
        """For each line, where in the source its first character was."""
        self._longer: set[int] = set()
        """Lines whose mnemonic has got one letter more."""
        self._items: list[Statement] = []
        """Instructions, labels, and data in executable sections: what has an entry in the table."""
        tag = 0
        while f"llmc{tag}" in unit.source:
            tag += 1
        self._tag = f"llmc{tag}"
        self.renamed = self._undefined_locals()
        """Local labels that the text refers to but leaves to others, under names that LLVM leaves to others too:
        new name, of the same length -> the one in the text."""

    def _undefined_locals(self) -> dict[str, str]:
        renamed = {}
        assigned = {statement.name for statement in self._unit.statements if statement.kind == "set"}
        used = {name for statement in self._unit.statements for name in _LOCAL.findall(_unquoted(statement.operands))}
        for name in sorted(used - self._unit.labels.keys() - assigned):
            first = next(letter for letter in ascii_letters if letter + name[1:] not in self._unit.source)
            renamed[first + name[1:]] = name
        return renamed

    def text(self) -> str:
        """The text for LLVM, with a table of the items' offsets in a section of its own."""
        current = -1
        syntax = self._unit.syntax
        self._emit(self._unit.dialect.syntax_directives.get(syntax, ""))
        if self._linkage:
            self._emit(f'.file 1 "{SOURCE}"')
        for section in self._unit.order():
            self._enter(section)
            self._emit(f".L{self._tag}s{section}:")
        for statement in self._unit.statements:
            section = statement.section
            if section != current:
                self._enter(section)
                current = section
            if statement.syntax != syntax:
                syntax = statement.syntax
                self._emit(self._unit.dialect.syntax_directives.get(syntax, ""))
            self._statement(statement)
        if self._linkage:
            self._link(self._linkage)
        else:
            self._emit(f'.section .{self._tag}.table,"",@progbits')
            for number, statement in enumerate(self._items):
                self._emit(f".long .L{self._tag}i{number}-.L{self._tag}s{statement.section}")
        return "\n".join(self._lines) + "\n"

    def _enter(self, section: int) -> None:
        _, writable, executable, nobits = self._unit.sections[section]
        flags = "a" + "w" * writable + "x" * executable
        kind = ".text" if executable else ".bss" if nobits else ".data" if writable else ".rodata"
        name = f"{kind if self._linkage else ''}.{self._tag}.{section}"
        self._emit(f'.section {name},"{flags}",@{"nobits" if nobits else "progbits"}')

    def _link(self, linkage: Linkage) -> None:
        """What linkers and debuggers want to know (DWARF 4, section 7.5)."""
        name, tag = f'"{linkage.function}"', self._tag
        for line in (f".globl {name}", f".type {name},@function"):
            self._emit(line)
        for new, old in self.renamed.items():
            self._emit(f'.set "{new}", "{linkage.names[old]}"')
        own = {*self._unit.labels, *(s.name for s in self._unit.statements if s.kind == "set")} - self._shared
        for old in sorted(linkage.names.keys() - self.renamed.values() - own):
            self._emit(f'.set "{old}", "{linkage.names[old]}"')
        code = [number for number, section in enumerate(self._unit.sections) if section.is_executable]
        for section in code:
            # Code that runs past its end must not run on into what a linker puts there.
            self._enter(section)
            for line in (f".L{tag}e{section}:", f".fill {_BEYOND}, 1, 0xcc"):
                self._emit(line)
        ranges = [f".quad .L{tag}s{section}, .L{tag}e{section}" for section in code]
        for line in (*_DEBUG.format(tag=tag, source=SOURCE).splitlines(), *ranges, ".quad 0, 0"):
            self._emit(line)
        if linkage.lines:
            self._emit(f'.section {LINES},"aR",@progbits')
            for number, statement in enumerate(self._items):
                if statement.kind != "label":
                    self._emit(f".quad .L{tag}i{number}, {self._unit.line(statement)}")

    def _emit(self, line: str, origin: int | None = None) -> None:
        if origin is not None:
            for new, old in self.renamed.items():
                if old in line:
                    line = _renamed(line, old, new)
        self._lines.append(line)
        self._origins.append(origin)

    def _statement(self, statement: Statement) -> None:
        kind, name = statement.kind, statement.name
        hidden = name in self._shared
        executable = self._unit.sections[statement.section].is_executable
        if kind in ("instruction", "label") or (kind in ("data", "space") and executable):
            self._emit(f".L{self._tag}i{len(self._items)}:")
            self._items.append(statement)
        if self._linkage:
            hidden = hidden or (kind == "weak" and name == self._linkage.function)
            if kind == "instruction":
                self._emit(f".loc 1 {self._unit.line(statement)}")
        if kind == "weak" and not hidden:
            self._emit(f".weak {name}", statement.offset)
        elif kind == "instruction" and statement.syntax == "intel":
            self._emit(self._from_gnu(statement), statement.offset)
        elif kind not in ("weak", "label", "set") or not hidden:
            self._emit(statement.text, statement.offset)

    def _from_gnu(self, statement: Statement) -> str:
        """An Intel instruction as LLVM spells it, where that differs from what GNU as takes and gcc writes."""
        text = _INTEL_FLAT.sub(lambda match: match[1] + " " * len(match[2]), statement.text)
        text = _INTEL_BRACKETS.sub(r" \1 ", text)
        if is_movsxd(statement):
            self._longer.add(len(self._lines))
            return re.sub("movsx", "movsxd", text, count=1, flags=re.IGNORECASE)
        return text

    def error(self, message: str) -> AssemblyError | UnsupportedError:
        """LLVM's first message, with the place in the original text."""
        match = _MESSAGE.search(message)
        lacking = self._unit.dialect.missing_feature
        if match and lacking and lacking.match(match[3]):
            line, _ = self._place(int(match[1]) - 1, int(match[2]))
            return UnsupportedError(f"line {line}: {match[3]}, which the target's processors need not have")
        if match is None and "Undefined temporary symbol" in message:
            for place, name in self._undefined_numbers():
                return AssemblyError(f"numeric label {name} is not defined", *self._unit.position(place))
        if match is None:
            last = (message.strip().splitlines() or ["LLVM gives no reason"])[-1]
            last = re.sub(r"^(?:error: )?(?:<unknown>:0: )?", "", last)
            return AssemblyError(re.sub(rf"\.{self._tag}\.(\d+)", self._section_name, last), 0, 0)
        number, text = int(match[1]) - 1, match[3]
        for new, old in self.renamed.items():
            text = text.replace(f"'{new}'", f"'{old}'")
        return AssemblyError(text, *self._place(number, int(match[2])))

    def _place(self, number: int, column: int) -> tuple[int, int]:
        """Line and column in the original text, both 0 where there is none."""
        origin = self._origins[number] if number < len(self._origins) else None
        if origin is None:
            return 0, 0
        before = self._lines[number].encode()[: column - 1].decode("utf-8", "ignore")
        return self._unit.position(origin + len(before) - (number in self._longer and " " in before.replace("\t", " ")))

    def _section_name(self, match: re.Match[str]) -> str:
        return self._unit.sections[int(match[1])].name

    def _undefined_numbers(self) -> Iterator[tuple[int, str]]:
        """Where `1f` or `1b` is used without a label 1 on that side."""
        seen: set[str] = set()
        labels = [s.name if s.is_numeric_label else "" for s in self._unit.statements]
        for number, statement in enumerate(self._unit.statements):
            seen.add(labels[number])
            for match in _NUMERIC_USE.finditer(_unquoted(statement.text)):
                if match[1] not in (labels[number:] if match[2] == "f" else seen):
                    yield statement.offset + match.start(), match[0]

    def assembled(self, image: LinkedImage) -> AssembledCode:
        """What the object holds; the table in it tells where the items are."""
        start = f".{self._tag}."
        addresses = {int(name[len(start) :]): address for name, address in image.sections if name.startswith(start)}
        table = image.unloaded.get(f"{start}table", b"")
        symbols = {
            s.name: image.symbols[s.name] for s in self._unit.statements if s.kind == "set" and s.name in image.symbols
        }
        lines, mnemonics = {}, {}
        for number, statement in enumerate(self._items):
            offset = int.from_bytes(table[4 * number : 4 * number + 4], "little")
            address = addresses[statement.section] + offset
            if statement.kind != "label":
                lines[address] = self._unit.line(statement)
                mnemonics[address] = statement.name
            elif not statement.is_numeric_label:
                symbols[statement.name] = address
        segments = tuple(
            replace(segment, name=self._unit.sections[int(segment.name[len(start) :])].name)
            if segment.name.startswith(start)
            else segment
            for segment in image.segments
        )
        externals = frozenset(self.renamed.get(name, name) for name in image.external_symbols)
        return AssembledCode("llvm", segments, symbols, lines, mnemonics, externals, None)


_DEBUG = """\
.section .debug_line,"",@progbits
.L{tag}line:
.section .debug_abbrev,"",@progbits
.L{tag}abbrev:
.uleb128 1
.uleb128 0x11 # DW_TAG_compile_unit
.byte 0
.uleb128 0x10 # DW_AT_stmt_list
.uleb128 0x17
.uleb128 0x03 # DW_AT_name
.uleb128 0x08
.uleb128 0x13 # DW_AT_language
.uleb128 0x05
.uleb128 0x11 # DW_AT_low_pc
.uleb128 0x01
.uleb128 0x55 # DW_AT_ranges
.uleb128 0x17
.byte 0, 0, 0
.section .debug_info,"",@progbits
.long .L{tag}end-.L{tag}start
.L{tag}start:
.short 4
.long .L{tag}abbrev
.byte 8
.uleb128 1
.long .L{tag}line
.asciz "{source}"
.short 0x8001 # assembler
.quad 0
.long .L{tag}ranges
.L{tag}end:
.section .debug_ranges,"",@progbits
.L{tag}ranges:"""


def _use(name: str) -> str:
    """The pattern of a name, whole."""
    return rf"{_START}{re.escape(name)}(?![\w.$?])"


def _renamed(line: str, old: str, new: str) -> str:
    """The line with a name replaced, but not in strings and characters."""
    return re.sub(rf"{LITERAL}|({_use(old)})", lambda match: new if match[1] else match[0], line)


def _unquoted(text: str) -> str:
    """The text with its strings and characters blanked, same length."""
    return _LITERAL.sub(lambda match: " " * len(match[0]), text)


def missing_symbols(unit: ParsedAssembly, names: Iterable[str]) -> str:
    """The message for undefined symbols, with the line on which each is first used."""
    uses = []
    for name in names:
        pattern = re.compile(_use(name))
        line = next((unit.line(s) for s in unit.statements if pattern.search(_unquoted(s.operands))), None)
        uses.append(f"'{name}'" if line is None else f"'{name}' (line {line})")
    return f"undefined symbol{'s' if len(uses) > 1 else ''}: {', '.join(uses)}"


def _sandboxed(attempt: _LLVMAttempt, text: str, limits: AssemblerLimits, target: Target) -> bytes:
    """The ELF object for the attempt's text. Raises AssemblyError."""
    seconds, megabytes = limits.llvm_seconds, limits.megabytes
    made = maker(target.host if target.host.is_native else target, text, seconds)
    try:
        return _patiently(lambda: sandbox.call(*made, seconds=seconds, megabytes=megabytes))
    except ChildTimeoutError as error:
        raise AssemblyError(f"LLVM's assembler: {error}", 0, 0) from None
    except ChildDiedError as death:
        if death.status:
            raise attempt.error(death.stderr) from None
        raise AssemblyError(f"LLVM's assembler: {death}", 0, 0) from None


def maker(target: Target, text: str, seconds: float) -> tuple[Callable[..., bytes], Any, Any, Any]:
    """What makes the object of a text, with its arguments. Only for a sandbox: bad text ends the process."""
    if target.is_native:
        return object_file, target_machine(target), target.triple, text
    return by_clang, assembler_command(target), text, seconds


def _patiently(attempt: Callable[[], bytes]) -> bytes:
    """Once more, if the process was killed: it may have been somebody else."""
    try:
        return attempt()
    except ChildDiedError as death:
        if death.signal is None:
            raise
        return attempt()


@lru_cache
def target_machine(target: Target) -> Any:
    """LLVM's machine to assemble for."""
    llvm = import_module("llvmlite.binding")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    known = llvm.Target.from_triple(target.triple)
    return known.create_target_machine(cpu=target.cpu, reloc="static", codemodel="small")


def by_clang(command: Sequence[str], text: str, seconds: float) -> bytes:
    """The same by clang, in a process of its own: llvmlite assembles for this machine's processor alone."""
    done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=seconds, preexec_fn=open_no_more)
    if done.returncode:
        os.write(_STDERR, done.stderr)
        os._exit(1)
    return done.stdout


def object_file(machine: Any, triple: str, text: str) -> bytes:
    """The ELF object. Only for a sandbox: on bad text LLVM prints a message and ends the process."""
    llvm = import_module("llvmlite.binding")
    open_no_files()
    escaped = re.sub(rb"[^ -!#-\[\]-~]", lambda match: b"\\%02X" % match[0][0], text.encode()).decode()
    module = llvm.parse_assembly(f'target triple = "{triple}"\nmodule asm "{escaped}"\n')
    return bytes(machine.emit_object(module))

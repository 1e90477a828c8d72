"""The section directives of GNU assembly: which section a statement belongs to."""

from __future__ import annotations

import re

from pytest_llmcompiler.assembler.statements import GasSection, ParsedAssembly
from pytest_llmcompiler.assembler.tokens import split_operands

SECTION_DIRECTIVES = frozenset((
    ".text", ".data", ".bss", ".rodata", ".section", ".pushsection", ".popsection", ".previous",
))  # fmt: skip
_UNLOADED = re.compile(
    r"\.(debug|zdebug|eh_frame|note|comment|gcc_except_table|llvm|gnu|stack_sizes|stapsdt|symtab|strtab|shstrtab)"
)
"""Starts of the names of sections that a function does not need in order to run."""
_THREAD_LOCAL = re.compile(r"\.t(data|bss|ls)\b")
"""Sections of thread-local variables, on Windows too, whatever their flags."""
_DEFAULT_FLAGS = (
    (re.compile(r"\.(text|init|fini|plt)(\.|$)"), "ax"),
    (re.compile(r"\.(data|bss|init_array|fini_array|preinit_array|tm_clone_table|got)(\.|$)|\.data1$"), "aw"),
    (re.compile(r"\.rodata(\.|$)|\.rodata1$"), "a"),
    (re.compile(r"\.t(data|bss)(\.|$)"), "awT"),
)
"""The flags that GAS gives a section that is named without flags, by the name; other sections get none."""

_MOST_SECTIONS = 2_000
"""Each section has pages of its own, and mapping them in the emulator takes time with the square of their number: 2 s
for so many."""


class SectionTracker:
    """Follows the section directives of one text."""

    def __init__(self, parsed: ParsedAssembly) -> None:
        self._parsed = parsed
        self._sections: dict[str, GasSection | None] = {}
        """By name. Only the first mention of a section sets its flags."""
        self._indices: dict[GasSection, int] = {}
        """Index in `ParsedAssembly.sections`, which holds the sections that have a statement."""
        self._stack: list[tuple[GasSection | None, GasSection | None]] = []
        """For each open `.pushsection`: the current and the previous section in front of it."""
        self._last_section: GasSection | None = None
        """The section of the last statement, with its index."""
        self._last_index: int | None = None
        self._current = self._previous = self._select(".text")
        """None for a section that is not loaded: its statements are dropped."""

    @property
    def is_loaded(self) -> bool:
        """Whether statements here end up in memory."""
        return self._current is not None

    @property
    def is_thread_local(self) -> bool:
        """Whether this is a section of thread-local variables."""
        return self._current is not None and self._current.is_thread_local

    @property
    def name(self) -> str:
        """The name of the current section; empty where it is not loaded."""
        return self._current.name if self._current else ""

    def index(self) -> int | None:
        """The index of the current section in `ParsedAssembly.sections`; None where it is not loaded."""
        section = self._current
        if section is self._last_section:  # most statements are in the section of the one before
            return self._last_index
        index = None
        if section is not None:
            index = self._indices.get(section)
            if index is None:
                index = self._indices[section] = len(self._parsed.sections)
                self._parsed.sections.append(section)
        self._last_section, self._last_index = section, index
        return index

    def enter_bss(self) -> GasSection | None:
        """Make `.bss` current, without a change of the previous section; return the section to go back to."""
        section, self._current = self._current, self._select(".bss")
        return section

    def go_back_to(self, section: GasSection | None) -> None:
        """Make the section current that `enter_bss` returned."""
        self._current = section

    def apply(self, directive: str, operands: str, offset: int) -> None:
        """Follow one of `SECTION_DIRECTIVES`, which stands at `offset`. Raises AssemblyError."""
        if directive in (".section", ".pushsection"):
            if directive == ".pushsection":
                self._stack.append((self._current, self._previous))
            self._enter(self._read_operands(directive, operands, offset))
        elif directive == ".popsection":
            if not self._stack:
                raise self._parsed.build_error(".popsection without .pushsection", offset)
            self._current, self._previous = self._stack.pop()
        elif directive == ".previous":
            self._current, self._previous = self._previous, self._current
        else:
            if operands not in ("", "0"):
                raise self._parsed.build_error(f"subsections are not supported: {directive} {operands}", offset)
            self._enter(self._select(directive))
        if len(self._sections) > _MOST_SECTIONS:
            raise self._parsed.build_error(f"more than {_MOST_SECTIONS} sections", offset)

    def _enter(self, section: GasSection | None) -> None:
        self._previous, self._current = self._current, section

    def _read_operands(self, directive: str, operands: str, offset: int) -> GasSection | None:
        """The section of `.section NAME, "FLAGS", @TYPE`."""
        parts = split_operands(operands)
        name = parts[0].strip('"') if parts else ""
        if not name:
            raise self._parsed.build_error(f"{directive} needs a name", offset)
        flags = parts[1].strip('"') if len(parts) > 1 else ""
        return self._select(name, flags, parts[2] if len(parts) > 2 else "")

    def _select(self, name: str, flags: str = "", kind: str = "") -> GasSection | None:
        """The section of a name, None where it is not loaded. Flags and type count only where the name is new."""
        if name not in self._sections:
            flags = self._parsed.dialect.convert_section_flags(name, flags) or _find_default_flags(name)
            is_loaded = "a" in flags and not _UNLOADED.match(name)
            is_nobits = "nobits" in kind or (not kind and re.match(r"\.t?bss(\.|$)", name) is not None)
            is_local = "T" in flags or _THREAD_LOCAL.match(name) is not None
            section = GasSection(name, "w" in flags or is_local, "x" in flags and not is_local, is_nobits, is_local)
            self._sections[name] = section if is_loaded else None
        return self._sections[name]


def _find_default_flags(name: str) -> str:
    return next((flags for pattern, flags in _DEFAULT_FLAGS if pattern.match(name)), "")

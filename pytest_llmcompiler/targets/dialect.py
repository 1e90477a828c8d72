"""The assembly dialect of a processor and a system."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Syntax = Literal["att", "intel", "only"]
"""The way in which instructions are written: `only` for processors with one way."""


@dataclass(frozen=True, eq=False)
class Dialect:
    """The parts of GNU assembly that depend on the target. There is one object for each target."""

    detect_syntax: Callable[[str], Syntax]
    """Returns the syntax in force at the start of a text, which is given without comments."""
    syntax_directives: Mapping[Syntax, str]
    """Syntax -> the directive that selects it; empty where there is one syntax."""
    integer_widths: Mapping[str, int]
    """Data directive of integers or addresses -> bytes of one element."""
    prefixes: frozenset[str] = frozenset()
    """The words that may stand in front of a mnemonic."""
    comment_starts: tuple[str, ...] = ("//",)
    """What starts a comment anywhere in a line. At the start of a line `#` does so in every dialect."""
    ignored_directives: frozenset[str] = frozenset()
    """Directives that change neither bytes nor names, beside those of all targets."""
    unloaded_directives: frozenset[str] = frozenset()
    """Directives that are allowed only in sections that are not loaded."""
    ignored_statement: re.Pattern[str] | None = None
    """Matches other statements that change neither bytes nor names."""
    align_takes_exponent: bool = False
    """Whether the operand of `.align` is an exponent of 2, rather than a count of bytes."""
    comm_takes_exponent: bool = False
    """Whether the alignment in `.comm` is an exponent of 2, rather than a count of bytes."""
    accepts_masm: bool = False
    """Whether texts may also be listings of Microsoft's compiler, in the syntax of its assembler MASM."""
    accepts_nasm: bool = False
    """Whether texts may also be in the language of the assemblers NASM and YASM."""
    convert_section_flags: Callable[[str, str], str] = lambda name, flags: flags
    """Returns the ELF flags of a section, from its name and the flags of its first mention."""
    missing_feature: re.Pattern[str] | None = None
    """Matches LLVM's message for an instruction that the target's processors need not have."""

    def strip_comment(self, line: str) -> str:
        """A line of LLVM's output without the comment at its end."""
        for start in self.comment_starts:
            line = line.split(start)[0]
        return line

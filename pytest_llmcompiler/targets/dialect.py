"""What assembly text for a processor looks like."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Syntax = Literal["att", "intel", "only"]
"""How instructions are written: `only` where a processor knows one way."""


@dataclass(frozen=True)
class Dialect:
    """What assembly of one processor is like."""

    detect_syntax: Callable[[str], Syntax]
    """The syntax at the start of a text without comments."""
    syntax_directives: Mapping[Syntax, str]
    """The directive for each syntax; empty where there is but one."""
    integer_widths: Mapping[str, int]
    """Bytes of one element, for each directive that holds integers or addresses."""
    prefixes: frozenset[str] = frozenset()
    """What may stand in front of a mnemonic."""
    comment_starts: tuple[str, ...] = ("//",)
    """What begins a comment up to the end of the line anywhere; at the start of a line # does so everywhere."""
    ignored_directives: frozenset[str] = frozenset()
    """Further directives without effect on bytes and names."""
    unloaded_directives: frozenset[str] = frozenset()
    """Directives that only sections have which are not loaded."""
    ignored_statement: re.Pattern[str] | None = None
    """Other statements without it, whole."""
    align_takes_exponent: bool = False
    """Whether `.align` counts in powers of two."""
    comm_takes_exponent: bool = False
    """Whether the alignment in `.comm` is a power of two."""
    accepts_masm: bool = False
    """Whether texts may also be listings of Microsoft's compiler, in the syntax of its assembler MASM."""
    convert_section_flags: Callable[[str, str], str] = lambda title, flags: flags
    """The ELF flags of a section, from its name and the flags that its first mention gives it."""
    missing_feature: re.Pattern[str] | None = None
    """LLVM's message for what other processors than the target's have; group 1 says what that needs."""

    def strip_comment(self, line: str) -> str:
        """A line without the comment at its end."""
        for start in self.comment_starts:
            line = line.split(start)[0]
        return line

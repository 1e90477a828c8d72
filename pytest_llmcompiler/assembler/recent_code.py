"""The code of the texts that were assembled last, for texts that differ from one of them in comments alone.

The samples of one question are often alike: models write the same code with other comments. What counts of a text is
what is left without comments and without blanks at the ends of lines. Lines and columns stay the same.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable

from pytest_llmcompiler.assembler.gas import CODE_BYTES, parse_assembly
from pytest_llmcompiler.assembler.gas_lines import get_line_reader
from pytest_llmcompiler.assembler.readings import find_readings
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.dialect import Dialect

_MOST_INSTRUCTIONS = 1 << 15
"""Instructions of the code that is kept, about 150 bytes each: some dozen whole files, or hundreds of functions."""


class RecentCode:
    """Code by the texts that it was assembled from. The most recent one is kept, up to so many instructions."""

    def __init__(self, most_instructions: int = _MOST_INSTRUCTIONS) -> None:
        self._most, self._count = most_instructions, 0
        self._codes: dict[Hashable, AssembledCode] = {}
        """By keys of texts. Those that were asked for last are at the end."""

    def find(self, key: Hashable) -> AssembledCode | None:
        """The code of a text with this key."""
        code = self._codes.pop(key, None)
        if code is not None:
            self._codes[key] = code
        return code

    def add(self, key: Hashable, code: AssembledCode) -> None:
        """Keep code under a key that has none."""
        self._codes[key] = code
        self._count += _weigh(code)
        while self._count > self._most:
            self._count -= _weigh(self._codes.pop(next(iter(self._codes))))


def _weigh(code: AssembledCode) -> int:
    """Code without instructions takes memory too."""
    return len(code.mnemonics) + 1


@functools.lru_cache(maxsize=1)
def strip_text(text: str, dialect: Dialect) -> str | None:
    """What counts of a text in GNU assembly; None for a text that may be in another language, which comments may have
    a say in, for one that can't be read line by line, and for a very long one."""
    if dialect.accepts_masm or len(text) > CODE_BYTES or find_readings(text, dialect) != (parse_assembly,):
        return None
    return get_line_reader(dialect).strip_comments(text)

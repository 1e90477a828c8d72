"""The letters beyond ASCII that names in C may have, and patterns of names.

Source: ISO/IEC 9899:2011, annex D.1, and the emoji of the basic plane, which older clangs take for letters too. Marks
that turn the direction of a text are left out, and U+FFFD, which stands for a letter that could not be read.

Patterns of names do not list these letters: they match whatever lies beyond the ASCII characters that they leave out,
since to compile a pattern with the list takes a hundred times as long. `find_other_letter` tells the rest.
"""

from __future__ import annotations

import functools
import re
import string

_FOREIGN_LETTERS = (
    r"\xa8\xaa\xad\xaf\xb2-\xb5\xb7-\xba\xbc-\xbe\xc0-\xd6\xd8-\xf6\xf8-\u167f\u1681-\u180d\u180f-\u1fff\u200b-\u200d"
    r"\u203f-\u2040\u2054\u2070-\u218f\u2460-\u24ff\u2600-\u27bf\u2c00-\u2dff\u2e80-\u2fff\u3004-\u3007\u3021-\u302f"
    r"\u3031-\u303f\u3040-\ud7ff\uf900-\ufd3d\ufd40-\ufdcf\ufdf0-\ufe44\ufe47-\ufffc\U00010000-\U000efffd"
)
_FIRST_FOREIGN = 0xA8
"""No letter of a name lies between ASCII and this one."""


def name_start(others: str = "") -> str:
    """The pattern of the first character of a name: a letter, `_`, or one of `others`."""
    return _describe_class(f"{string.ascii_letters}_{others}")


def name_part(others: str = "") -> str:
    """The pattern of any other character of a name: a letter, a digit, `_`, or one of `others`."""
    return _describe_class(f"{string.ascii_letters}{string.digits}_{others}")


@functools.cache
def _describe_class(allowed: str) -> str:
    left_out = [code for code in range(_FIRST_FOREIGN) if chr(code) not in allowed]
    ranges, start = "", left_out[0]
    for code, following in zip(left_out, [*left_out[1:], _FIRST_FOREIGN + 1]):
        if following != code + 1:
            ranges += f"\\x{start:02x}-\\x{code:02x}"
            start = following
    return f"[^{ranges}]"


def find_other_letter(text: str, start: int, end: int) -> int | None:
    """The place of the first character in a part of a text that is neither ASCII nor a letter of names."""
    match = _other_letter().search(text, start, end)
    return match.start() if match else None


def is_name(text: str) -> bool:
    """Whether all of a text can stand in a name."""
    return _NAME.fullmatch(text) is not None and (text.isascii() or find_other_letter(text, 0, len(text)) is None)


_NAME = re.compile(f"{name_part('.$?')}+")


@functools.cache
def _other_letter() -> re.Pattern[str]:
    return re.compile(rf"[^\x00-\x7f{_FOREIGN_LETTERS}]")

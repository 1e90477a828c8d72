"""The letters beyond ASCII that names in C may have.

Source: ISO/IEC 9899:2011, annex D.1, and the emoji of the basic plane, which older clangs take for letters too. Marks
that turn the direction of a text are left out, and U+FFFD, which stands for a letter that could not be read.
"""

from __future__ import annotations

import re

FOREIGN_LETTERS = (
    r"\xa8\xaa\xad\xaf\xb2-\xb5\xb7-\xba\xbc-\xbe\xc0-\xd6\xd8-\xf6\xf8-\u167f\u1681-\u180d\u180f-\u1fff\u200b-\u200d"
    r"\u203f-\u2040\u2054\u2070-\u218f\u2460-\u24ff\u2600-\u27bf\u2c00-\u2dff\u2e80-\u2fff\u3004-\u3007\u3021-\u302f"
    r"\u3031-\u303f\u3040-\ud7ff\uf900-\ufd3d\ufd40-\ufdcf\ufdf0-\ufe44\ufe47-\ufffc\U00010000-\U000efffd"
)
"""They stand between the brackets of a pattern."""
_NAME = re.compile(rf"[\w.$?{FOREIGN_LETTERS}]+")


def is_name(text: str) -> bool:
    """Whether all of a text can stand in a name."""
    return _NAME.fullmatch(text) is not None

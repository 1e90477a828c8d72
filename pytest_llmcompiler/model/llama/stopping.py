"""When an answer ends: at the closing tag, or already when it holds the whole function and all that the function needs.

Models write directives for the end of a file behind the function, or begin another function. Stopping as soon as the
function is whole saves these tokens.
"""

from __future__ import annotations

import re

from pytest_llmcompiler.errors import NoCodeError, TruncatedError
from pytest_llmcompiler.model.answer import Answer
from pytest_llmcompiler.model.extract.assembly import extract_assembly
from pytest_llmcompiler.model.sampling import STOP

_STOP = STOP.encode()
_FREQUENT_SEARCHES = 16
"""This many lines behind the end of the function are each followed by a search for it: a jump table or a cold part is
seldom longer. Later searches wait until the answer has grown by a sixteenth."""


class StopDetector:
    """The text of one answer while it grows."""

    def __init__(self, function: str) -> None:
        """`function` is the name of the function that the answer should hold."""
        self._function = function
        name = re.escape(function)
        self._end = re.compile(rf'^[ \t]*(?:\.Lfunc_end\d+[ \t]*:|\.size[ \t]+"?{name}"?[ \t]*,|\.cfi_endproc\b)', re.M)
        # gcc's names for data that belongs to a function end in a number: CSWTCH.4, table.0.
        self._private_symbol = re.compile(
            rf"(?<![\w.$@])(?:\.L[\w.$]+|{name}\.[\w.$]+|[A-Za-z_]\w*\.\d+\b(?!\.))",
        )
        self._bytes = bytearray()
        self._has_end = False
        """Whether a line that ends the function was written."""
        self._next_search = 0
        """The length of the answer in bytes before which no further search is made."""
        self.searches = 0
        """How often the whole answer was searched for the function."""

    @property
    def text(self) -> str:
        """The answer so far."""
        return self._bytes.decode("utf-8", errors="replace")

    def add(self, piece: bytes) -> bool:
        """Append the text of a token. Whether that ends the answer. The closing tag is not made part of the text."""
        before = len(self._bytes)
        self._bytes += piece
        tag = self._bytes.find(_STOP, max(0, before - len(_STOP) + 1))
        if tag >= 0:
            del self._bytes[tag:]
            return True
        return b"\n" in piece and self._is_whole(before)

    def _is_whole(self, before: int) -> bool:
        """Whether the function is whole, so that only directives for the end of a file can follow.

        If so, the beginning of the next line is removed. `before` is the length in bytes before the last piece.
        """
        if not self._has_end:
            line = self._bytes.rfind(b"\n", 0, before) + 1
            self._has_end = bool(self._end.search(self._bytes[line:].decode("utf-8", errors="replace")))
        if not self._has_end or len(self._bytes) < self._next_search:
            return False
        # A search goes through the whole answer while all other answers wait. An answer that goes on and on behind its
        # function is searched less and less often.
        self.searches += 1
        pause = len(self._bytes) // 16 if self.searches > _FREQUENT_SEARCHES else 0
        self._next_search = len(self._bytes) + pause
        end = self._bytes.rindex(b"\n") + 1
        text = self._bytes[:end].decode("utf-8", errors="replace")
        try:
            code = extract_assembly(Answer(text, stop="length"), self._function).text
        except (NoCodeError, TruncatedError):
            return False
        # Cold parts and private data follow the function, and only a reference to them tells that they will.
        labels = set(re.findall(r"^\s*([\w.$]+):", code, re.M))
        if not labels.issuperset(self._private_symbol.findall(code)):
            return False
        del self._bytes[end:]
        return True

"""Where an answer ends: at the closing tag, or earlier, where the function does and nothing it needs is missing."""

from __future__ import annotations

import re

from pytest_llmcompiler.errors import NoCodeError, TruncatedError
from pytest_llmcompiler.model.answer import Answer
from pytest_llmcompiler.model.extract.assembly import extract_assembly
from pytest_llmcompiler.model.sampling import STOP

_STOP = STOP.encode()
_OFTEN = 16
"""Lines behind the function's end after each of which it may be whole."""


class StopDetector:
    """The text of one answer as it grows. `function` is the function that it is to hold."""

    def __init__(self, function: str) -> None:
        self._function = function
        name = re.escape(function)
        self._end = re.compile(rf'^[ \t]*(?:\.Lfunc_end\d+[ \t]*:|\.size[ \t]+"?{name}"?[ \t]*,|\.cfi_endproc\b)', re.M)
        # gcc's names for data that belongs to a function end in a number: CSWTCH.4, table.0.
        self._other = re.compile(rf"(?<![\w.$@])(?:\.L[\w.$]+|{name}\.[\w.$]+|[A-Za-z_]\w*\.\d+\b(?!\.))")
        self._bytes = bytearray()
        self._may_end = False
        self._tries = self._next = 0

    @property
    def text(self) -> str:
        """The answer so far."""
        return self._bytes.decode("utf-8", errors="replace")

    def ends(self, piece: bytes) -> bool:
        """Add what was written; whether that ends the answer. The closing tag is not part of the text."""
        before = len(self._bytes)
        self._bytes += piece
        found = self._bytes.find(_STOP, max(0, before - len(_STOP) + 1))
        if found >= 0:
            del self._bytes[found:]
            return True
        return b"\n" in piece and self._is_whole(before)

    def _is_whole(self, before: int) -> bool:
        """Whether all of the function is there, so that only the directives that close a file can follow.

        If so, what was begun of the next line is taken off. An answer that goes on and on after the end of its function
        is looked at ever less often, as each look goes through all of it while other answers wait.
        """
        if not self._may_end:
            line = self._bytes.rfind(b"\n", 0, before) + 1
            self._may_end = bool(self._end.search(self._bytes[line:].decode("utf-8", errors="replace")))
        if not self._may_end or len(self._bytes) < self._next:
            return False
        self._tries += 1
        self._next = len(self._bytes) + (len(self._bytes) // 16 if self._tries > _OFTEN else 0)
        end = self._bytes.rindex(b"\n") + 1
        text = self._bytes[:end].decode("utf-8", errors="replace")
        try:
            code = extract_assembly(Answer(text, stop="length"), self._function).text
        except (NoCodeError, TruncatedError):
            return False
        # Cold parts and private data come after the function, and the model knows whether it will write them.
        labels = set(re.findall(r"^\s*([\w.$]+):", code, re.M))
        if not labels.issuperset(self._other.findall(code)):
            return False
        del self._bytes[end:]
        return True

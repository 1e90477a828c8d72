"""Where an answer ends: at the closing tag, or earlier, where the function does and nothing it needs is missing."""

from __future__ import annotations

import re

from pytest_llmcompiler.model.answer import Answer
from pytest_llmcompiler.model.drawing import STOP
from pytest_llmcompiler.model.extract import NoCode, Truncated, extract

_STOP = STOP.encode()


class Ending:
    """The text of one answer as it grows. `function` is the function that it is to hold."""

    def __init__(self, function: str) -> None:
        self._function = function
        name = re.escape(function)
        self._end = re.compile(rf'^[ \t]*(?:\.Lfunc_end\d+[ \t]*:|\.size[ \t]+"?{name}"?[ \t]*,|\.cfi_endproc\b)', re.M)
        self._other = re.compile(rf"(?<![\w.$@])(?:\.L[\w.$]+|{name}\.[\w.$]+)")
        self._bytes = bytearray()
        self._may_end = False

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
        """Whether all of the function is there, so that only the directives that close a file can follow."""
        if not self._may_end:
            line = self._bytes.rfind(b"\n", 0, before) + 1
            self._may_end = bool(self._end.search(self._bytes[line:].decode("utf-8", errors="replace")))
        if not self._may_end:
            return False
        text = self.text[: self.text.rindex("\n") + 1]
        try:
            code = extract(Answer(text, stop="length"), self._function).text
        except (NoCode, Truncated):
            return False
        # Cold parts and private data come after the function, and the model knows whether it will write them.
        return all(re.search(rf"^\s*{re.escape(name)}:", code, re.M) for name in set(self._other.findall(code)))

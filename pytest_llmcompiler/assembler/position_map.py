"""Where each part of a translated text stands in the source that it was translated from."""

from __future__ import annotations

from bisect import bisect_right


class PositionMap:
    """The pieces of a translated text, and the offset in the source of each."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._pieces: list[str] = []
        self._starts: list[int] = []
        self._origins: list[int] = []
        self.length = 0
        """Of the translated text so far, in characters."""

    def add(self, piece: str, origin: int) -> None:
        """Append a piece, which comes from offset `origin` of the source."""
        self._pieces.append(piece)
        self._starts.append(self.length)
        self._origins.append(origin)
        self.length += len(piece)

    @property
    def text(self) -> str:
        """The translated text."""
        return "".join(self._pieces)

    def find_origin(self, offset: int) -> int:
        """The offset in the source for one in the translated text.

        Inside of a piece that is spelled alike in the source the offset is exact, else it is where the piece begins.
        """
        number = bisect_right(self._starts, offset) - 1
        if number < 0:
            return 0
        piece, origin = self._pieces[number], self._origins[number]
        is_alike = self.source[origin : origin + len(piece)].lower() == piece.lower()
        return origin + (min(offset - self._starts[number], len(piece)) if is_alike else 0)

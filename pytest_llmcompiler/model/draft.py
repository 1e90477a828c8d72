"""Drafts: texts that answers are expected to resemble, and how far a stream may rely on one.

A proposed token costs less to verify than to wait for, and is kept only if the model itself writes it there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

_LONGEST = 16
"""Tokens that are proposed at once, at the most."""
_WORTH = 0.4
"""A token is proposed if it is as likely as this to be kept, by what was kept before."""
_MEMORY = 0.9
"""How much the verdict on a token counts when the next one is judged."""
_CONTEXT = 12
"""Tokens that are looked at to tell two places of the draft apart."""
_NEAR, _SURE = 2, 4
"""Tokens that must be alike for a place to be taken up; where proposals seldom hold, more have to be."""


class Draft:
    """The tokens of a text, and where each pair of them stands."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens = tuple(tokens)
        self.places: dict[tuple[int, int], list[int]] = defaultdict(list)
        """For each pair of tokens the places after it."""
        for place, pair in enumerate(zip(self.tokens, self.tokens[1:]), 2):
            self.places[pair].append(place)


class Follower:
    """One stream beside a draft: where in the draft it is, and how often the draft was right."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._at: int | None = None
        """The place of the token that comes next, as far as that can be said."""
        self._guessed = False
        """Whether the place is a guess: the token before it was another one."""
        self._kept, self._tried = 2.0, 2.0

    def propose(self, most: int) -> tuple[int, ...]:
        """The tokens that may come next, up to `most`."""
        if self._at is None:
            return ()
        count = min(most, self._length(), 2 if self._guessed else _LONGEST)
        return self._draft.tokens[self._at : self._at + count]

    def learn(self, written: Sequence[int], new: int) -> None:
        """Take note of what came: the last `new` tokens of `written`, all but the last of which were proposed.

        What would have been proposed counts like what was, so a stream that went astray is helped again later.
        """
        place = None if self._at is None else self._at + new - 1
        right = place is not None and self._draft.tokens[place : place + 1] == (written[-1],)
        if place is not None and (right or new > 1 or not self._guessed):
            for verdict in [1] * (new - 1) + [int(right)]:
                self._kept, self._tried = _MEMORY * self._kept + verdict, _MEMORY * self._tried + 1
        if place is not None and right:
            self._at, self._guessed = place + 1, False
        else:
            self._seek(written, place)

    def _length(self) -> int:
        """How many tokens are likely to be kept: as long as all of them together are likely enough."""
        likely = self._kept / self._tried
        count, all_right = 0, likely
        while all_right >= _WORTH and count < _LONGEST:
            count, all_right = count + 1, all_right * likely
        return count

    def _seek(self, written: Sequence[int], place: int | None) -> None:
        """Find the place anew after a token that was not expected."""
        found = self._found(written, place)
        # Perhaps only that one token is another.
        self._guessed = found is None and place is not None and not self._guessed
        self._at = place + 1 if self._guessed and place is not None else found

    def _found(self, written: Sequence[int], near: int | None) -> int | None:
        """The place after the longest run of tokens that the answer ends with; of several the nearest."""
        places = self._draft.places.get((written[-2], written[-1]), ()) if len(written) > 1 else ()
        tokens = self._draft.tokens
        best: tuple[int, int] | None = None
        for place in places:
            length = 2
            while length < min(_CONTEXT, place, len(written)) and tokens[place - length - 1] == written[-length - 1]:
                length += 1
            rank = length, -abs(place - (near or 0))
            if best is None or rank > best:
                best, found = rank, place
        needed = _NEAR if self._kept / self._tried >= _WORTH else _SURE
        return found if best and best[0] >= needed else None

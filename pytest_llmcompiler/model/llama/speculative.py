"""Drafts: texts that answers are expected to resemble, and how far a stream may rely on one.

A proposed token costs less to verify than to wait for, and is kept only if the model itself writes it there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

_LONGEST = 16
"""Tokens that are proposed at once, at the most."""
_RELIABLE = 0.4
"""A draft whose tokens are kept less often than this is taken up again only where more of them are alike."""
_MEMORY = 0.97
"""How much the verdict on a token counts when the next one is judged."""
_CONTEXT = 12
"""Tokens that are looked at to tell two places of the draft apart."""
_WINDOW = 3
"""Tokens before and after the expected place where a single token that is alike is a hint."""
_GUESS = 3
"""Tokens that are proposed where the place is a guess."""
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


class DraftFollower:
    """One stream beside a draft: where in the draft it is, and how often the draft was right."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._at: int | None = None
        """The place of the token that comes next, as far as that can be said."""
        self._guessed = False
        """Whether the place is a guess: the token before it was another one."""
        self._kept, self._tried = 2.0, 2.0

    def propose(self, most: int, spare: float) -> tuple[int, ...]:
        """The tokens that may come next, up to `most`, where a step costs as much as `spare` tokens beside its own."""
        if self._at is None:
            return ()
        count = min(most, self._length(spare), _GUESS if self._guessed else _LONGEST)
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

    def _length(self, spare: float) -> int:
        """How many tokens pay: one more has to add more tokens to those expected than time to the step, in proportion.

        Of `count` proposed tokens, each as likely to be kept, a step is expected to write
        1 + likely + likely^2 + ... + likely^count, in the time of spare + 1 + count tokens.
        """
        likely = self._kept / self._tried
        count, expected, all_right = 0, 1.0, likely
        while count < _LONGEST and all_right * (spare + 1 + count) > expected:
            expected += all_right
            count, all_right = count + 1, all_right * likely
        return count

    def _seek(self, written: Sequence[int], place: int | None) -> None:
        """Find the place anew after a token that was not expected: by several tokens, or else by a guess."""
        self._at = self._found(written, place)
        if self._at is None and place is not None:
            self._at = self._guess(written[-1], place)
            self._guessed = self._at is not None
        else:
            self._guessed = False

    def _guess(self, token: int, place: int) -> int | None:
        """Where to go on after a token in the place of another: behind the same token nearby, where some were left out
        or put in; else perhaps only that one is another, but not twice running."""
        tokens = self._draft.tokens
        near = range(max(place - _WINDOW, 0), min(place + _WINDOW + 1, len(tokens)))
        alike = [at + 1 for at in near if tokens[at] == token]
        if alike:
            return min(alike, key=lambda at: abs(at - place))
        return None if self._guessed else place + 1

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
        needed = _NEAR if self._kept / self._tried >= _RELIABLE else _SURE
        return found if best and best[0] >= needed else None

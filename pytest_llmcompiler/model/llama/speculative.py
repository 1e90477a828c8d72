"""Speculative decoding: a draft proposes tokens, and the model verifies several of them in one step.

Usually a smaller model writes the draft. Here the draft is a text that the answer is expected to resemble: the
reference compiler's assembly. A step evaluates the last token of an answer together with the draft's next tokens, which
costs little more than the last token alone. Then the model has logits after each of these tokens, and samples::

    draft      movl  %edi  ,  %eax  retq
    written    movl
    proposed         %edi  ,  %eax  retq
    sampled          %edi  ,  %ecx

After `movl` the model samples `%edi`, as proposed. So the logits after the proposed `%edi` are those of the answer, and
the model samples from them `,`, and from the next ones `%ecx`. That is not what was proposed: it is kept, since it was
sampled after a correct text, and `retq` is thrown away. The step wrote three tokens.

**Why the answer does not change.** Every token of the answer is sampled by the model itself, with the same sampler and
from the logits that it would have had without a draft, but for rounding in the last bits (`batching.py`). A draft
changes only how many steps an answer takes.

`DraftFollower` decides what is proposed: it follows the answer through the draft, also over tokens that are missing,
inserted or replaced, and proposes fewer tokens the more often the draft was wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

_LONGEST_PROPOSAL = 16
"""The largest number of tokens of one proposal."""
_RELIABLE = 0.4
"""The share of proposed tokens that the model must choose for a draft to count as reliable. After a deviation an
unreliable draft is followed again only behind a longer match: _UNRELIABLE_MATCH in the place of _RELIABLE_MATCH."""
_DECAY = 0.97
"""The weight of past tokens in that share, with each token: it is about a mean over the last 30."""
_LONGEST_MATCH = 12
"""The largest number of tokens that are compared to tell two positions in the draft apart."""
_WINDOW = 3
"""The distance from the expected position, in tokens, within which one equal token is a hint."""
_LONGEST_GUESS = 3
"""The largest number of tokens that are proposed where the position in the draft is a guess."""
_RELIABLE_MATCH, _UNRELIABLE_MATCH = 2, 4
"""The number of equal tokens that a new position in the draft needs before it."""


class Draft:
    """The tokens of a text, and the positions of each pair of them."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens = tuple(tokens)
        self.positions: dict[tuple[int, int], list[int]] = defaultdict(list)
        """For each pair of neighbouring tokens the positions behind it."""
        for position, pair in enumerate(zip(self.tokens, self.tokens[1:]), 2):
            self.positions[pair].append(position)


class DraftFollower:
    """Where one answer is in its draft, and how often the draft was right."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._position: int | None = None
        """The position in the draft of the answer's next token; None where it is unknown."""
        self._is_guess = False
        """Whether the position is a guess: the token before it differs from the answer's."""
        self._right, self._judged = 2.0, 2.0
        """The decayed numbers of tokens that the draft had right, and of all that it was judged by. At first it counts
        as right: as if two tokens had been."""

    def propose(self, limit: int, step_cost: float) -> tuple[int, ...]:
        """The tokens that may come next, at most `limit`.

        `step_cost` is the time of a step beyond that of its tokens, in the time of one token.
        """
        if self._position is None:
            return ()
        longest = _LONGEST_GUESS if self._is_guess else _LONGEST_PROPOSAL
        count = min(limit, self._choose_length(step_cost), longest)
        return self._draft.tokens[self._position : self._position + count]

    def observe(self, written: Sequence[int], new: int) -> None:
        """Take note of the last `new` tokens of an answer, all but the last of which were proposed.

        The last one is compared with what would have been proposed next. So an answer that has left the draft and comes
        back to it gets proposals again.
        """
        position = None if self._position is None else self._position + new - 1
        is_right = position is not None and self._draft.tokens[position : position + 1] == (written[-1],)
        if position is not None and (is_right or new > 1 or not self._is_guess):
            for right in [1] * (new - 1) + [int(is_right)]:
                self._right, self._judged = _DECAY * self._right + right, _DECAY * self._judged + 1
        if position is not None and is_right:
            self._position, self._is_guess = position + 1, False
        else:
            self._seek(written, position)

    def _choose_length(self, step_cost: float) -> int:
        """The number of tokens to propose. One more pays if it adds more to the expected number of tokens written than
        to the time of the step, in proportion.

        Where each of `count` proposed tokens is right with the probability p, a step writes
        1 + p + p^2 + ... + p^count tokens on average, in the time of step_cost + 1 + count tokens.
        """
        probability = self._right / self._judged
        count, expected, all_right = 0, 1.0, probability
        while count < _LONGEST_PROPOSAL and all_right * (step_cost + 1 + count) > expected:
            expected += all_right
            count, all_right = count + 1, all_right * probability
        return count

    def _seek(self, written: Sequence[int], expected: int | None) -> None:
        """Find the position anew after a token that the draft did not have: by a match of several tokens, else by a
        guess."""
        self._position = self._find_match(written, expected)
        if self._position is None and expected is not None:
            self._position = self._guess(written[-1], expected)
            self._is_guess = self._position is not None
        else:
            self._is_guess = False

    def _guess(self, token: int, expected: int) -> int | None:
        """Guess where the answer goes on after a `token` that is not the draft's at the position `expected`.

        Behind the same token nearby, as if tokens were missing or inserted. Else one position further, as if the token
        was replaced, but not twice in a row.
        """
        tokens = self._draft.tokens
        window = range(max(expected - _WINDOW, 0), min(expected + _WINDOW + 1, len(tokens)))
        matches = [position + 1 for position in window if tokens[position] == token]
        if matches:
            return min(matches, key=lambda position: abs(position - expected))
        return None if self._is_guess else expected + 1

    def _find_match(self, written: Sequence[int], expected: int | None) -> int | None:
        """The position behind the longest run of tokens with which the answer ends; of equally long ones the one
        nearest to `expected`. None where no run is long enough."""
        if len(written) < 2:
            return None
        tokens = self._draft.tokens
        best: tuple[int, int, int] | None = None
        """Length, nearness, position."""
        for position in self._draft.positions.get((written[-2], written[-1]), ()):
            length, longest = 2, min(_LONGEST_MATCH, position, len(written))
            while length < longest and tokens[position - length - 1] == written[-length - 1]:
                length += 1
            candidate = length, -abs(position - (expected or 0)), position
            if best is None or candidate[:2] > best[:2]:
                best = candidate
        needed = _RELIABLE_MATCH if self._right / self._judged >= _RELIABLE else _UNRELIABLE_MATCH
        return best[2] if best and best[0] >= needed else None

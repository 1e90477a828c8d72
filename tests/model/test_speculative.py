"""Following a draft: what is proposed, and when nothing is."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmcompiler.model.llama.speculative import Draft, DraftFollower

TEXT = [number * 37 % 211 for number in range(300)]


def follow(draft: Sequence[int], answer: Sequence[int], most: int = 16, spare: float = 3) -> tuple[int, int, list[int]]:
    """Write an answer beside a draft: steps, tokens proposed, and what is written in the end."""
    follower, written = DraftFollower(Draft(draft)), [answer[0]]
    follower.learn(written, 1)
    steps, proposed = 1, 0
    while len(written) < len(answer):
        tokens = follower.propose(most, spare)
        assert len(tokens) <= most
        right = 0
        rest = answer[len(written) :]
        while right < min(len(tokens), len(rest) - 1) and tokens[right] == rest[right]:
            right += 1
        written += rest[: right + 1]
        follower.learn(written, right + 1)
        steps, proposed = steps + 1, proposed + len(tokens)
    return steps, proposed, written


def changed(text: Sequence[int], every: int, change: str) -> list[int]:
    made: list[int] = []
    for place, token in enumerate(text):
        if place % every != every - 1:
            made.append(token)
        elif change != "left out":
            made += [1000 + place] if change == "replaced" else [1000 + place, token]
    return made


def test_a_draft_that_is_right_saves_nearly_all_steps() -> None:
    steps, _, _ = follow(TEXT, TEXT)
    assert steps < len(TEXT) / 8


def test_it_goes_on_behind_what_was_changed() -> None:
    for change in ("replaced", "left out", "put in"):
        answer = changed(TEXT, 25, change)
        steps, _, _ = follow(TEXT, answer)
        assert steps < len(answer) / 3.5, change


def test_it_finds_its_place_after_a_preamble_and_a_part_that_is_missing() -> None:
    steps, _, _ = follow(TEXT, [900 + number for number in range(20)] + TEXT[100:])
    assert steps < 20 + 200 / 6


def test_a_draft_that_has_nothing_to_do_with_it_is_left_alone() -> None:
    other = [number * 53 % 211 for number in range(600)]
    _, proposed, _ = follow(TEXT, other)
    assert proposed < len(other) / 10


def test_less_is_proposed_where_tokens_cost_as_much_as_steps() -> None:
    """A token that is not kept takes the time of one that is where the processor has no more to give."""
    answer = changed(TEXT, 5, "replaced")
    proposed = [follow(TEXT, answer, spare=spare)[1] for spare in (0.1, 3, 100)]
    assert proposed == sorted(set(proposed))


def test_a_draft_that_helps_again_is_used_again() -> None:
    answer = [number * 53 % 211 for number in range(300)] + TEXT
    steps, _, _ = follow(TEXT, answer)
    assert steps < 300 + len(TEXT) / 4


@given(
    st.lists(st.integers(0, 4), max_size=60), st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 9)
)
def test_any_draft_beside_any_answer(draft: list[int], answer: list[int], most: int) -> None:
    steps, _, written = follow(draft, answer, most)
    assert written == answer and steps <= len(answer)

"""Following a draft: which tokens are proposed, and when none are."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmcompiler.model.llama.speculative import Draft, DraftFollower

TEXT = [number * 37 % 211 for number in range(300)]


def follow(
    draft: Sequence[int], answer: Sequence[int], limit: int = 16, step_cost: float = 3
) -> tuple[int, int, list[int]]:
    """Generate `answer` with a draft. Returns the numbers of steps and of proposed tokens, and what was generated."""
    follower, written = DraftFollower(Draft(draft)), [answer[0]]
    follower.observe(written, 1)
    steps, proposed = 1, 0
    while len(written) < len(answer):
        tokens = follower.propose(limit, step_cost)
        assert len(tokens) <= limit
        right = 0
        rest = answer[len(written) :]
        while right < min(len(tokens), len(rest) - 1) and tokens[right] == rest[right]:
            right += 1
        written += rest[: right + 1]
        follower.observe(written, right + 1)
        steps, proposed = steps + 1, proposed + len(tokens)
    return steps, proposed, written


def change_tokens(text: Sequence[int], every: int, change: str) -> list[int]:
    """Replace, delete or insert one token in each `every`."""
    changed: list[int] = []
    for position, token in enumerate(text):
        if position % every != every - 1:
            changed.append(token)
        elif change != "delete":
            changed += [1000 + position] if change == "replace" else [1000 + position, token]
    return changed


def test_a_correct_draft_saves_nearly_all_steps() -> None:
    steps, _, _ = follow(TEXT, TEXT)
    assert steps < len(TEXT) / 8


def test_changed_tokens_are_stepped_over() -> None:
    for change in ("replace", "delete", "insert"):
        answer = change_tokens(TEXT, 25, change)
        steps, _, _ = follow(TEXT, answer)
        assert steps < len(answer) / 3.5, change


def test_the_position_is_found_behind_a_preamble_and_a_missing_part() -> None:
    steps, _, _ = follow(TEXT, [900 + number for number in range(20)] + TEXT[100:])
    assert steps < 20 + 200 / 6


def test_an_unrelated_draft_is_hardly_proposed() -> None:
    unrelated = [number * 53 % 211 for number in range(600)]
    _, proposed, _ = follow(TEXT, unrelated)
    assert proposed < len(unrelated) / 10


def test_fewer_tokens_are_proposed_where_a_step_costs_little() -> None:
    """A rejected token takes as long as a chosen one where a step costs nothing beyond its tokens."""
    answer = change_tokens(TEXT, 5, "replace")
    proposed = [follow(TEXT, answer, step_cost=cost)[1] for cost in (0.1, 3, 100)]
    assert proposed == sorted(set(proposed))


def test_an_answer_that_returns_to_the_draft_gets_proposals_again() -> None:
    answer = [number * 53 % 211 for number in range(300)] + TEXT
    steps, _, _ = follow(TEXT, answer)
    assert steps < 300 + len(TEXT) / 4


@given(
    st.lists(st.integers(0, 4), max_size=60), st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 9)
)
def test_any_draft_for_any_answer(draft: list[int], answer: list[int], limit: int) -> None:
    steps, _, written = follow(draft, answer, limit)
    assert written == answer and steps <= len(answer)

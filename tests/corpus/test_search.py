"""A search draws the same values whatever else happens in its process."""

from __future__ import annotations

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants
from sortedcontainers import SortedSet

from pytest_llmcompiler.corpus.search import run_search

_NUMBERS = st.integers(123_000_000, 124_000_000)
"""A range that no other test draws from."""
_LITERAL = 123_456_789


def draw_as_others_do() -> set[int]:
    """The numbers that another user of hypothesis draws in this process."""
    drawn: set[int] = set()

    @settings(max_examples=300, database=None, derandomize=True, phases=(Phase.generate,), deadline=None)
    @given(_NUMBERS)
    def run(number: int) -> None:
        drawn.add(number)

    run()
    return drawn


def test_literals_that_hypothesis_found_for_others_are_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """hypothesis draws from the literals of a user's modules. It keeps those in a range once it has looked for them."""
    literals = Constants(integers=SortedSet([_LITERAL]))
    monkeypatch.setattr(providers, "_get_local_constants", lambda: literals)
    assert _LITERAL in draw_as_others_do()
    drawn: list[int] = []
    run_search(_NUMBERS, drawn.append, 400, 1, (Phase.generate,))
    assert len(drawn) == 400 and _LITERAL not in drawn

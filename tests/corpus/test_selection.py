"""A suite that is too large loses the inputs that nothing needs."""

from __future__ import annotations

from pytest_llmcompiler.corpus.selection import DEMAND, choose_balanced, choose_covering


def test_all_inputs_are_kept_where_they_are_few():
    assert choose_covering({"a": {1}, "b": {1}, "c": ()}, (), 3) == ["a", "b", "c"]


def test_each_thing_is_shown_as_often_as_is_wanted():
    common = {f"common {number}": {"edge"} for number in range(20)}
    rare = {f"rare {number}": {"edge", "fault"} for number in range(2)}
    kept = choose_covering({**common, **rare}, (), 5)
    assert set(rare) < set(kept)  # no more show the fault
    assert len(kept) == DEMAND + 1  # up to the limit, the first of the others are kept too
    assert kept == [name for name in (*common, *rare) if name in kept]


def test_what_is_needed_is_kept_above_the_limit():
    alone = {f"alone {number}": {number} for number in range(10)}
    assert choose_covering(alone, (), 3) == list(alone)


def test_required_inputs_count_as_showing():
    shown = {"first": {"edge"}, **{f"further {number}": {"edge"} for number in range(DEMAND)}}
    required = list(shown)[1:]
    assert choose_covering(shown, required, 1) == required


def test_features_are_balanced():
    common = {f"common {number}": frozenset({("edge", 1, 0)}) for number in range(20)}
    rare = {f"rare {number}": frozenset({("edge", 1, 0), ("edge", 2, 0)}) for number in range(3)}
    assert sum(name in rare for name in choose_balanced({**common, **rare}, 4)) >= 2
    assert set(choose_balanced({**common, **rare}, 100)) == {*common, *rare}
    near = {"near": frozenset({("near", 1, 5)})}
    assert choose_balanced(near, 5) == []  # how near a comparison came does not count

"""Axes of the plots in the report page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmcompiler.report.svg import Axis, PlotArea, format_number


def labels(axis: Axis) -> list[str]:
    return [tick.label for tick in axis.ticks]


def test_a_linear_axis_has_labels_where_they_are_wanted() -> None:
    axis = Axis.linear("k", 1, 101, (1, 51, 101))
    assert [(tick.label, tick.position) for tick in axis.ticks] == [("1", 0), ("51", 50), ("101", 100)]
    assert axis.position(26) == 25
    assert (axis.position(-5), axis.position(1000)) == (0, 100)


def test_a_logarithmic_axis_is_bounded_by_powers_of_2_and_has_1() -> None:
    axis = Axis.logarithmic("speed", (0.3, 5))
    assert (axis.low, axis.high) == (0.25, 8)
    assert labels(axis) == ["1/4", "1/2", "1", "2", "4", "8"]
    assert axis.position(1) == pytest.approx(40)
    assert axis.position(2**0.5) == pytest.approx(50)
    assert labels(Axis.logarithmic("size", (1, 1))) == ["1/2", "1", "2"]
    assert labels(Axis.logarithmic("size", (3,))) == ["1", "2", "4"]


@given(st.lists(st.floats(1e-9, 1e9), max_size=5))
def test_all_values_lie_on_a_logarithmic_axis(values: list[float]) -> None:
    axis = Axis.logarithmic("speed", values)
    assert all(axis.low <= value <= axis.high for value in [1, *values])
    assert "1" in labels(axis)
    assert len(axis.ticks) <= 9
    positions = [axis.position(value) for value in sorted(values)]
    assert positions == sorted(positions)


def test_categories_are_labelled_in_their_middle() -> None:
    axis = Axis.categories("verdict", ("pass", "crash"))
    assert [(tick.label, tick.position) for tick in axis.ticks] == [("pass", 25), ("crash", 75)]
    assert axis.position(1) == 50
    assert Axis.categories("verdict", ()).ticks == ()


def test_points_have_their_origin_at_the_upper_left() -> None:
    area = PlotArea(Axis.linear("x", 0, 10, ()), Axis.linear("y", 0, 1, ()))
    assert area.points([(0, 0), (5, 1)]) == "0.00,100.00 50.00,0.00"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1, "1"), (0.125, "1/8"), (0.3, "0.3"), (12345, "12,345"), (2.5, "2.5"), (-1, "-1")]
)
def test_numbers_as_labels(value: float, text: str) -> None:
    assert format_number(value) == text

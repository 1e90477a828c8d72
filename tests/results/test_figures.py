"""The figures: what is drawn is what was counted."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from made_records import asserts, cost, made, made_samples

from pytest_llmcompiler.judge.verdict import KINDS
from pytest_llmcompiler.results import Results, ResultsError
from pytest_llmcompiler.results.figures import VERDICT_COLOURS

matplotlib = pytest.importorskip("matplotlib")

RESULTS = Results(
    [
        *made_samples("f", "pass crash pass crash", **asserts(True)),
        *made_samples("long_name", "hang pass mismatch mismatch", **asserts(False)),
    ],
    "one",
)


def only_axes(figure: Any) -> Any:
    (axes,) = figure.axes
    return axes


def texts_of(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_the_curve_is_pass_at_k() -> None:
    axes = only_axes(RESULTS.plot_pass_at_k())
    (line,) = axes.get_lines()
    assert line.get_xdata().tolist() == [1, 2, 3, 4]
    assert line.get_ydata().tolist() == [pytest.approx(100 * RESULTS.pass_at_k(k).value) for k in (1, 2, 3, 4)]
    (band,) = axes.collections
    corners = {(round(x), round(y, 6)) for x, y in band.get_paths()[0].vertices}
    for k in (1, 2, 3, 4):
        mean = RESULTS.pass_at_k(k)
        assert {(k, round(100 * mean.low, 6)), (k, round(100 * mean.high, 6))} <= corners
    assert axes.get_legend() is None


def test_several_curves_share_axes_and_have_a_legend() -> None:
    figure = matplotlib.figure.Figure()
    axes = figure.add_subplot()
    assert RESULTS.plot_pass_at_k(axes) is figure
    RESULTS.filter(lambda record: record["function"] == "f", "two").plot_pass_at_k(ax=axes)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one", "two"]
    colours = {line.get_color() for line in axes.get_lines()}
    assert len(colours) == 2


def test_a_single_sample_has_a_point_with_its_interval() -> None:
    axes = only_axes(Results([made("f", 0, "pass"), made("g", 0, "crash")]).plot_pass_at_k())
    assert axes.get_lines()[0].get_ydata().tolist() == [50]
    assert len(axes.collections) == 1


def test_verdicts_by_size_fill_each_bar() -> None:
    axes = only_axes(RESULTS.plot_verdicts_by_size())
    assert [label.get_text() for label in axes.get_yticklabels()] == ["up to 256", "513 to 1,024"]
    assert axes.get_ylabel() == "prompt tokens"
    shares = {bars.get_label(): [round(bar.get_width(), 6) for bar in bars] for bars in axes.containers}
    assert shares == {"pass": [50, 25], "crash": [50, 0], "hang": [0, 25], "mismatch": [0, 50]}
    for row in (0, 1):
        ends = sorted((bars[row].get_x(), bars[row].get_x() + bars[row].get_width()) for bars in axes.containers)
        assert ends[0][0] == 0 and ends[-1][1] == 100
    assert texts_of(axes) == ["4", "4"]


def test_cells_hold_the_verdicts_against_the_published_tests() -> None:
    axes = only_axes(RESULTS.plot_published_tests())
    assert [label.get_text() for label in axes.get_yticklabels()] == ["pass", "crash", "hang", "mismatch"]
    assert texts_of(axes) == ["2", "1", "2", "0", "0", "1", "0", "2"]
    assert [text.get_weight() for text in axes.texts].index("bold") == 2
    assert axes.get_title() == "2 of 4 answers that pass those tests are refused"


def test_speed_and_size_have_a_point_for_each_function() -> None:
    records = [made("f", 0, "pass", **cost(100, 40)), made("f", 1, "pass", **cost(400, 160)), made("f", 2, "crash")]
    records.append(made("g", 0, "pass", **cost(50, 20)))
    axes = only_axes(Results(records).plot_speed_and_size())
    points, mean, *levels = [collection.get_offsets().tolist() for collection in axes.collections]
    # f: the geometric mean of 1 and 1/4; g: twice as fast and half as large as clang -O3 and -Oz.
    assert points == [[pytest.approx(0.5), pytest.approx(0.5)], [pytest.approx(2), pytest.approx(2)]]
    assert mean == [[pytest.approx(1), pytest.approx(1)]]
    assert [point for (point,) in levels] == [
        [pytest.approx(x), pytest.approx(y)] for x, y in ((0.5, 0.25), (2 / 3, 0.5), (4 / 9, 1), (1, 2 / 3))
    ]
    assert texts_of(axes) == ["-O0", "-O2", "-O3", "-Oz"]
    assert (axes.get_xlabel()[:20], axes.get_ylabel()[:20]) == ("size: bytes of clang", "speed: instructions ")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("plot_pass_at_k", "no sample has a conclusive verdict"),
        ("plot_verdicts_by_size", "no sample says how large its function is"),
        ("plot_published_tests", "no sample says what the tests"),
        ("plot_speed_and_size", "no sample that passes says its cost"),
    ],
)
def test_nothing_to_draw_is_an_error(name: str, message: str) -> None:
    results = Results([made("f", 0, "inconclusive") | {"tokens": {}}])
    with pytest.raises(ResultsError, match=message):
        getattr(results, name)()


@pytest.mark.parametrize("name", ["pass_at_k", "verdicts_by_size", "published_tests", "speed_and_size"])
def test_figures_are_saved(name: str, tmp_path: Path) -> None:
    results = Results([*RESULTS, made("g", 0, "pass", **cost(100, 40))])
    for suffix in ("png", "pdf"):
        getattr(results, f"plot_{name}")().savefig(tmp_path / f"f.{suffix}")
        assert (tmp_path / f"f.{suffix}").stat().st_size > 2000


def test_colours_are_those_of_the_page() -> None:
    style = files("pytest_llmcompiler.report").joinpath("templates", "report.css").read_text()
    light = style.partition("@media")[0]
    assert {kind: re.search(rf"--{kind}: (#\w+)", light)[1] for kind in KINDS} == VERDICT_COLOURS  # type: ignore[index]

"""Results as figures of matplotlib, with the colours of the report page.

Each function draws into the axes that it is given, or into a figure of its own, which pyplot does not know: nothing has
to be closed, and no window opens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from pytest_llmcompiler.errors import ResultsError
from pytest_llmcompiler.judge.verdict import KINDS
from pytest_llmcompiler.report.cost_plot import plot_costs
from pytest_llmcompiler.report.passk import SampleCounts, pass_at_k_curve
from pytest_llmcompiler.report.published_tests import PublishedTable, is_refusal
from pytest_llmcompiler.report.svg import format_number
from pytest_llmcompiler.report.terminal import group_by_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VERDICT_COLOURS = {
    "pass": "#1d8a52",
    "no-answer": "#4a3f8f",
    "truncated": "#7c6cc8",
    "assemble": "#2f6fae",
    "link": "#62a9d6",
    "crash": "#a61e1e",
    "hang": "#d95f2b",
    "mismatch": "#e3a02f",
    "abi": "#b84a86",
    "inconclusive": "#8d939e",
}
"""The colours of verdicts in the report page (`report/templates/report.css`), on a light ground."""
_ACCENT, _MEAN = "#1558b0", "#d95f2b"
_EDGE, _SOFT = "#d5d9e0", "#565d6b"
_MARKED = 12
"""Points of a curve up to which each is marked."""


def draw_pass_at_k(counts_by_item: Sequence[SampleCounts], name: str, ax: Axes | None) -> Figure:
    """The curve of pass@k in percent, with its interval as a band."""
    axes = ax if ax is not None else _new_axes()
    points = pass_at_k_curve(counts_by_item)
    if not points:
        raise ResultsError("there is no pass@k: no sample has a conclusive verdict")
    from matplotlib.ticker import MaxNLocator

    ks = [k for k, _ in points]
    (line,) = axes.plot(
        ks, [100 * mean.value for _, mean in points], marker="o" if len(ks) <= _MARKED else "", label=name or None
    )
    low, high = ([100 * getattr(mean, end) for _, mean in points] for end in ("low", "high"))
    if len(ks) > 1:
        axes.fill_between(ks, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    else:
        axes.vlines(ks, low, high, color=line.get_color(), alpha=0.5)
    axes.set(xlabel="k", ylabel="pass@k (%), 95 % interval over functions", ylim=(0, 102))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _finish(axes)
    if len(axes.get_lines()) > 1:
        axes.legend(frameon=False)
    return _figure(axes)


def draw_verdicts_by_size(counts_by_item: Sequence[SampleCounts], ax: Axes | None) -> Figure:
    """A bar for each range of sizes, divided by verdicts. The unit is the one in which most sizes are known."""
    axes = ax if ax is not None else _new_axes()
    groups = group_by_size(counts_by_item)
    if not groups:
        raise ResultsError("no sample says how large its function is")
    unit, rows = max(groups, key=lambda group: sum(len(items) for _, items in group[1]))
    names = [name for name, _ in rows]
    totals = [sum(len(item.verdicts) for item in items) for _, items in rows]
    left = [0.0] * len(rows)
    for kind in KINDS:
        counts = [sum(item.verdicts.count(kind) for item in items) for _, items in rows]
        if any(counts):
            shares = [100 * count / total for count, total in zip(counts, totals)]
            axes.barh(names, shares, left=left, color=VERDICT_COLOURS[kind], label=kind, edgecolor="white")
            left = [start + share for start, share in zip(left, shares)]
    for row, total in enumerate(totals):
        axes.text(101, row, f"{total:,}", va="center", color=_SOFT, fontsize="small")
    axes.invert_yaxis()
    axes.set(xlabel="samples (%); behind each bar their number", ylabel=unit, xlim=(0, 100))
    _finish(axes)
    axes.legend(frameon=False, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1), fontsize="small")
    return _figure(axes)


def draw_published_tests(table: PublishedTable, ax: Axes | None) -> Figure:
    """A cell for each verdict and each result of the tests, with its number of samples, coloured by its share."""
    if not table.rows:
        raise ResultsError("no sample says what the tests that came with its case say")
    axes = ax if ax is not None else _new_axes()
    cells = [[row.hold, row.fail] for row in table.rows]
    shares = [[math.sqrt(count / table.samples) for count in row] for row in cells]
    axes.imshow(shares, cmap=_shades(), vmin=0, vmax=1, aspect="auto")
    for y, (row, counts) in enumerate(zip(table.rows, cells)):
        for x, count in enumerate(counts):
            is_refused = x == 0 and count > 0 and is_refusal(row.kind)
            axes.text(x, y, f"{count:,}", ha="center", va="center", weight="bold" if is_refused else "normal")
    axes.set_xticks([0, 1], ["hold", "fail"])
    axes.set_yticks(range(len(cells)), [row.kind for row in table.rows])
    axes.set(xlabel="the tests that came with the case", ylabel="verdict")
    axes.set_title(f"{table.refused:,} of {table.hold:,} answers that pass those tests are refused", fontsize="medium")
    axes.tick_params(length=0)
    return _figure(axes)


def draw_speed_and_size(counts_by_item: Sequence[SampleCounts], ax: Axes | None) -> Figure:
    """A point for each function, a cross for each level of clang, a ring for the mean; both axes are logarithmic."""
    plot = plot_costs(counts_by_item)
    if plot is None:
        raise ResultsError("no sample that passes says its cost beside clang's")
    axes = ax if ax is not None else _new_axes()
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.axhline(1, color=_SOFT, linewidth=0.8)
    axes.axvline(1, color=_SOFT, linewidth=0.8)
    sizes, speeds = ([getattr(point, name) for point in plot.functions] for name in ("size", "speed"))
    axes.scatter(sizes, speeds, s=18, color=_ACCENT, alpha=0.5, label="functions")
    mean = plot.mean
    axes.scatter([mean.size], [mean.speed], s=90, facecolors="none", edgecolors=_MEAN, linewidths=2, label="their mean")
    for point in plot.levels:
        axes.scatter([point.size], [point.speed], marker="x", color="black")
        axes.annotate(point.name, (point.size, point.speed), xytext=(5, 4), textcoords="offset points")
    axes.set(
        xlabel="size: bytes of clang -Oz / bytes of the answer",
        ylabel="speed: instructions of clang -O3 / of the answer",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: format_number(value))
    _finish(axes)
    axes.legend(frameon=False, fontsize="small")
    return _figure(axes)


def _new_axes() -> Axes:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ResultsError("figures need matplotlib: pip install 'pytest-llmcompiler[plot]'") from error
    return Figure(layout="constrained").add_subplot()


def _figure(axes: Axes) -> Figure:
    return cast("Figure", axes.figure)


def _finish(axes: Axes) -> None:
    axes.grid(color=_EDGE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _shades() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("shares", ["#ffffff", "#9dbbe2"])

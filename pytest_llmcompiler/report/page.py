"""The report as a page for a browser: one file that needs no other, and that no answer can act in.

Charts and summary are plain HTML. The rows of the table are one JSON text. The long texts of an item lie beside it,
compressed, and the page unpacks them when somebody opens one of its samples. The Content Security Policy lets the page
load and run nothing but its own script and style, and the script inserts what models wrote as text only.
"""

from __future__ import annotations

import base64
import datetime
import functools
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pytest_llmcompiler.files import replace_file
from pytest_llmcompiler.judge.verdict import KINDS
from pytest_llmcompiler.model.answer import QuestionKey
from pytest_llmcompiler.report.cost_plot import plot_costs
from pytest_llmcompiler.report.item_report import ItemReport, SampleRow
from pytest_llmcompiler.report.passk import (
    CountedSample,
    Estimate,
    SampleCounts,
    count_by_question,
    estimate,
    pass_at_k_curve,
)
from pytest_llmcompiler.report.published_tests import PublishedTable, count_published_tests, is_refusal
from pytest_llmcompiler.report.svg import Axis, PlotArea
from pytest_llmcompiler.report.terminal import group_by_size, worst_functions

_MAX_OPACITY = 0.4
"""Of a cell that holds all samples: its number must stay legible on it."""
_TICKS = 5
"""Parts into which the labels divide the horizontal axis."""


class ReportPage:
    """Gathers item reports while a session runs, and is written at the end."""

    def __init__(self, path: Path) -> None:
        """Raises OSError if `path` can't be written."""
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        with path.open("ab"):
            pass
        if is_new:  # the file is to appear when it is complete
            path.unlink()
        self.path = path
        self.is_written = False
        self._item_reports: dict[tuple[str, ...], ItemReport] = {}

    def add(self, item_report: ItemReport) -> None:
        """Add the report on an item; it replaces an earlier one on the same item."""
        self._item_reports[tuple(item_report["key"])] = item_report

    def write(self, facts: Mapping[str, Any], ks: Sequence[int]) -> None:
        """Write the page. `facts` about the session stand at its top, and pass@k for each of `ks` as a number.

        Raises OSError. An existing file stays until the new one is complete.
        """
        with replace_file(self.path) as part, part.open("w", encoding="utf-8", errors="replace") as file:
            file.writelines(self._render(facts, ks))
        self.is_written = True

    def _render(self, facts: Mapping[str, Any], ks: Sequence[int]) -> Iterator[str]:
        item_reports = list(self._item_reports.values())
        counts_by_item = count_by_question(
            (QuestionKey(*item_report["key"]), _counted(row))
            for item_report in item_reports
            for row in item_report["samples"]
        )
        script, style = _read_template("report.js"), _read_template("report.css")
        now = datetime.datetime.now(datetime.timezone.utc)
        yield from _compile_template().generate(
            facts={**_model_facts(item_reports), **facts, "written": f"{now:%Y-%m-%d %H:%M} UTC"},
            script=script,
            style=style,
            hashes={"script": _policy_hash(script), "style": _policy_hash(style)},
            index=_index(item_reports),
            texts=(item_report["text"] for item_report in item_reports),
            estimates=[(k, estimate(counts_by_item, k)) for k in ks],
            counts={kind: sum(counts.verdicts.count(kind) for counts in counts_by_item) for kind in KINDS},
            items=len(counts_by_item),
            curve=_curve(counts_by_item, ks),
            published=_published_plot(item_reports),
            costs=plot_costs(counts_by_item),
            sizes=[
                (unit, [(name, _bar(group)) for name, group in rows]) for unit, rows in group_by_size(counts_by_item)
            ],
            worst=[(name, _bar(group)) for name, group in worst_functions(counts_by_item)],
        )


@dataclass(frozen=True)
class BarPart:
    """The samples with one verdict in a bar; `start` and `width` in percent of the bar."""

    kind: str
    count: int
    start: float
    width: float


@dataclass(frozen=True)
class Bar:
    """The verdicts of some questions, drawn as a bar."""

    items: int
    samples: int
    parts: tuple[BarPart, ...]


def _bar(group: Sequence[SampleCounts]) -> Bar:
    counts = {kind: sum(item.verdicts.count(kind) for item in group) for kind in KINDS}
    total = sum(counts.values())
    parts, start = [], 0.0
    for kind, count in counts.items():
        if count:
            parts.append(BarPart(kind, count, start, 100 * count / total))
            start += 100 * count / total
    return Bar(len(group), total, tuple(parts))


@dataclass(frozen=True)
class Curve:
    """pass@k over k."""

    points: tuple[tuple[int, Estimate], ...]
    area: PlotArea
    line: str
    """The `points` of an SVG polyline."""
    band: str
    """The `points` of an SVG polygon around the 95 % intervals."""


def _curve(counts_by_item: Sequence[SampleCounts], ks: Sequence[int]) -> Curve | None:
    """The curve of pass@k; None if every question has a single sample, so that there is one k only."""
    points = pass_at_k_curve(counts_by_item, ks)
    largest = points[-1][0] if points else 0
    if largest < 2:
        return None
    labelled = sorted({1 + round((largest - 1) * number / _TICKS) for number in range(_TICKS + 1)})
    area = PlotArea(Axis.linear("k", 1, largest, labelled), Axis.linear("%", 0, 100, (0, 25, 50, 75, 100)))
    upper = [(k, 100 * mean.high) for k, mean in points]
    lower = [(k, 100 * mean.low) for k, mean in reversed(points)]
    line = area.points((k, 100 * mean.value) for k, mean in points)
    return Curve(tuple(points), area, line, area.points([*upper, *lower]))


@dataclass(frozen=True)
class PublishedPlot:
    """The verdicts on samples against what the tests that came with their cases say."""

    table: PublishedTable
    area: PlotArea
    cells: tuple[PublishedCell, ...]


@dataclass(frozen=True)
class PublishedCell:
    """The samples with one verdict of which the tests say the same; x and y as values of the axes."""

    kind: str
    holds: bool
    count: int
    x: float
    y: float

    @property
    def is_refused(self) -> bool:
        """Whether the tests hold, and the verdict says that the code is wrong."""
        return self.holds and self.count > 0 and is_refusal(self.kind)

    def opacity(self, samples: int) -> float:
        """How strongly the cell is coloured; by the root of its share of all `samples`, so that small shares show."""
        return _MAX_OPACITY * math.sqrt(self.count / samples)


def _published_plot(item_reports: Sequence[ItemReport]) -> PublishedPlot | None:
    """The plot; None if no case came with tests."""
    rows = (row for item_report in item_reports for row in item_report["samples"])
    table = count_published_tests((row["verdict"], row["published"]) for row in rows)
    if not table.rows:
        return None
    x = Axis.categories("the tests that came with the case", ("hold", "fail"))
    y = Axis.categories("verdict", [row.kind for row in reversed(table.rows)])
    cells = []
    for number, row in enumerate(reversed(table.rows)):
        cells.append(PublishedCell(row.kind, True, row.hold, 0.5, number + 0.5))
        cells.append(PublishedCell(row.kind, False, row.fail, 1.5, number + 0.5))
    return PublishedPlot(table, PlotArea(x, y), tuple(cells))


def _counted(row: SampleRow) -> CountedSample:
    tokens = row["tokens"]
    numbers = tokens["prompt"], tokens["answer"], row["instructions"]
    return CountedSample(row["sample"], row["verdict"], *numbers, row["cost"])


def _index(item_reports: Sequence[ItemReport]) -> dict[str, Any]:
    """The rows of the table, as the script reads them. Messages are stored once, and rows hold their index."""
    messages: dict[str, int] = {}
    samples: list[tuple[int | float | bool | None, ...]] = []
    for number, item_report in enumerate(item_reports):
        for row in item_report["samples"]:
            samples.append(
                (
                    number,
                    row["sample"],
                    KINDS.index(row["verdict"]) if row["verdict"] else None,
                    messages.setdefault(row["message"], len(messages)),
                    row["tokens"]["prompt"],
                    row["tokens"]["answer"],
                    row["seconds"] and round(row["seconds"], 2),
                    row["published"] is True and is_refusal(row["verdict"]),
                )
            )
    keys = [QuestionKey(*item_report["key"]) for item_report in item_reports]
    return {
        "kinds": KINDS,
        "questions": [(key.case, key.function, key.variant) for key in keys],
        "messages": list(messages),
        "samples": samples,
    }


def _model_facts(item_reports: Sequence[ItemReport]) -> dict[str, str]:
    """The model's name and backend; nothing if the model does not say."""
    if not item_reports:
        return {}
    model = item_reports[0]["model"]
    return {"model": f"{model['name']} ({model['backend']})"} if {"name", "backend"} <= model.keys() else {}


@functools.cache
def _read_template(name: str) -> str:
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")


def _policy_hash(text: str) -> str:
    """The hash by which a Content Security Policy permits the text of a script or a style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _compile_template() -> Any:
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda share: f"{100 * share:.0f} %"
    return environment.from_string(_read_template("report.html"))

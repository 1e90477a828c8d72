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
from pytest_llmcompiler.report.item_report import ItemReport, SampleRow
from pytest_llmcompiler.report.passk import CountedSample, Estimate, SampleCounts, count_by_question, estimate
from pytest_llmcompiler.report.terminal import group_by_size, worst_functions

_CURVE_POINTS = 40
"""Values of k, about, for which the curve of pass@k has a point: more would not show in its width."""
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
class CurvePoint:
    """pass@k for one k; x and y in an area of 1000 by 1000 whose origin is at the upper left."""

    k: int
    estimate: Estimate
    x: float
    y: float


@dataclass(frozen=True)
class Curve:
    """pass@k over k, in the same coordinates."""

    points: tuple[CurvePoint, ...]
    line: str
    """The `points` of an SVG polyline."""
    band: str
    """The `points` of an SVG polygon around the 95 % intervals."""
    ticks: tuple[tuple[int, float], ...]
    """The labels of the horizontal axis: k and x."""


def _curve(counts_by_item: Sequence[SampleCounts], ks: Sequence[int]) -> Curve | None:
    """The curve of pass@k; None if every question has a single sample, so that there is one k only."""
    largest = max((counts.judged for counts in counts_by_item), default=0)
    if largest < 2:
        return None
    spread = (math.ceil(largest * number / _CURVE_POINTS) for number in range(1, _CURVE_POINTS + 1))
    points = []
    for k in sorted({1, *(k for k in ks if k <= largest), *spread}):
        mean = estimate(counts_by_item, k)
        if mean:
            points.append(CurvePoint(k, mean, 1000 * (k - 1) / (largest - 1), 1000 * (1 - mean.value)))
    upper = [f"{point.x:.1f},{1000 * (1 - point.estimate.high):.1f}" for point in points]
    lower = [f"{point.x:.1f},{1000 * (1 - point.estimate.low):.1f}" for point in reversed(points)]
    ticks = sorted({1 + round((largest - 1) * number / _TICKS) for number in range(_TICKS + 1)})
    return Curve(
        points=tuple(points),
        line=" ".join(f"{point.x:.1f},{point.y:.1f}" for point in points),
        band=" ".join((*upper, *lower)),
        ticks=tuple((k, 1000 * (k - 1) / (largest - 1)) for k in ticks),
    )


def _counted(row: SampleRow) -> CountedSample:
    tokens = row["tokens"]
    return CountedSample(row["sample"], row["verdict"], tokens["prompt"], tokens["answer"], row["instructions"])


def _index(item_reports: Sequence[ItemReport]) -> dict[str, Any]:
    """The rows of the table, as the script reads them. Messages are stored once, and rows hold their index."""
    messages: dict[str, int] = {}
    samples: list[tuple[int | float | None, ...]] = []
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

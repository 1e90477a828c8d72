"""The report as a page for a browser: one file that needs nothing else, whatever stands in the answers.

The charts and the summary are in the page as such. The table's rows are one JSON text; what is long of a sample lies
beside it, packed by question, and is unpacked when somebody looks at it. The page may load and run nothing but the
script and the style that are in it (Content Security Policy), and what models wrote is only ever put in as text.
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
from pytest_llmcompiler.report.item_report import ItemReport
from pytest_llmcompiler.report.passk import Estimate, SampleCounts, estimate, tally_samples
from pytest_llmcompiler.report.terminal import by_size, worst_functions

_POINTS = 40
"""About how many k the curve of pass@k is drawn through."""
_TICKS = 5


class ReportPage:
    """Gathers sheets while a session goes on, and is written in the end."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where `path` can't be written."""
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        with path.open("ab"):
            pass
        if is_new:  # until there is something to show
            path.unlink()
        self.path = path
        self.is_written = False
        self._item_reports: dict[tuple[str, ...], ItemReport] = {}

    def add(self, item_report: ItemReport) -> None:
        """Take the sheet of a question, in place of an earlier one of the same question."""
        self._item_reports[tuple(item_report["key"])] = item_report

    def write(self, facts: Mapping[str, Any], ks: Sequence[int]) -> None:
        """Write the page: `facts` about the session stand at its head, pass@k for `ks` is told in words.

        Raises OSError. A page that was there before stays until the new one is whole.
        """
        with replace_file(self.path) as part, part.open("w", encoding="utf-8", errors="replace") as file:
            file.writelines(self._rendered(facts, ks))
        self.is_written = True

    def _rendered(self, facts: Mapping[str, Any], ks: Sequence[int]) -> Iterator[str]:
        item_reports = list(self._item_reports.values())
        counts_by_item = tally_samples(
            (QuestionKey(*item_report["key"]), _sized(sample))
            for item_report in item_reports
            for sample in item_report["samples"]
        )
        script, style = _file("report.js"), _file("report.css")
        now = datetime.datetime.now(datetime.timezone.utc)
        yield from _template().generate(
            facts={**_model(item_reports), **facts, "written": f"{now:%Y-%m-%d %H:%M} UTC"},
            script=script,
            style=style,
            hashes={"script": _hash(script), "style": _hash(style)},
            index=_index(item_reports),
            texts=(item_report["text"] for item_report in item_reports),
            estimates=[(k, estimate(counts_by_item, k)) for k in ks],
            counts={kind: sum(one.verdicts.count(kind) for one in counts_by_item) for kind in KINDS},
            items=len(counts_by_item),
            curve=_curve(counts_by_item, ks),
            sizes=[(unit, [(name, _bar(group)) for name, group in rows]) for unit, rows in by_size(counts_by_item)],
            worst=[(name, _bar(group)) for name, group in worst_functions(counts_by_item)],
        )


@dataclass(frozen=True)
class Bar:
    """The verdicts of some questions, as parts of a bar."""

    items: int
    samples: int
    parts: tuple[tuple[str, int, float, float], ...]
    """The verdict, how many samples have it, and where its part begins and how wide it is, in percent."""


def _bar(group: Sequence[SampleCounts]) -> Bar:
    counts = [(kind, sum(one.verdicts.count(kind) for one in group)) for kind in KINDS]
    total = sum(count for _, count in counts)
    parts, start = [], 0.0
    for kind, count in counts:
        if count:
            parts.append((kind, count, start, 100 * count / total))
            start += 100 * count / total
    return Bar(len(group), total, tuple(parts))


@dataclass(frozen=True)
class Curve:
    """pass@k over k, in a field of 1000 by 1000 whose origin is at the upper left."""

    points: tuple[tuple[int, Estimate, float, float], ...]
    """k, what was estimated, x and y."""
    line: str
    band: str
    ticks: tuple[tuple[int, float], ...]
    """k and x."""


def _curve(counts_by_item: Sequence[SampleCounts], ks: Sequence[int]) -> Curve | None:
    """None where there is but one sample of each question, so that no curve can be drawn."""
    most = max((one.judged for one in counts_by_item), default=0)
    if most < 2:
        return None
    chosen = {
        1,
        *(k for k in ks if k <= most),
        *(math.ceil(most * number / _POINTS) for number in range(1, _POINTS + 1)),
    }
    points = []
    for k in sorted(chosen):
        found = estimate(counts_by_item, k)
        if found:
            points.append((k, found, 1000 * (k - 1) / (most - 1), 1000 * (1 - found.value)))
    upper = [f"{x:.1f},{1000 * (1 - found.high):.1f}" for _, found, x, _ in points]
    lower = [f"{x:.1f},{1000 * (1 - found.low):.1f}" for _, found, x, _ in reversed(points)]
    ticks = sorted({1 + round((most - 1) * number / _TICKS) for number in range(_TICKS + 1)})
    return Curve(
        tuple(points),
        " ".join(f"{x:.1f},{y:.1f}" for _, _, x, y in points),
        " ".join((*upper, *lower)),
        tuple((k, 1000 * (k - 1) / (most - 1)) for k in ticks),
    )


def _sized(sample: dict[str, Any]) -> dict[str, Any]:
    """A sample as `tally_samples` takes it."""
    return {**sample, "detail": {"instructions": sample["instructions"]}}


def _index(item_reports: Sequence[ItemReport]) -> dict[str, Any]:
    """What the table shows. Texts that are there more than once are told by their number."""
    messages: dict[str, int] = {}
    samples = []
    for number, item_report in enumerate(item_reports):
        for sample in item_report["samples"]:
            message = messages.setdefault(sample["message"], len(messages))
            tokens = sample["tokens"]
            seconds = sample["seconds"] and round(sample["seconds"], 2)
            row = (
                sample["sample"],
                KINDS.index(sample["verdict"]),
                message,
                tokens["prompt"],
                tokens["answer"],
                seconds,
            )
            samples.append((number, *row))
    return {
        "kinds": KINDS,
        "questions": [
            (key.case, key.function, key.variant)
            for key in (QuestionKey(*item_report["key"]) for item_report in item_reports)
        ],
        "messages": list(messages),
        "samples": samples,
    }


def _model(item_reports: Sequence[ItemReport]) -> dict[str, Any]:
    facts = item_reports[0]["model"] if item_reports else {}
    return {"model": f"{facts['name']} ({facts['backend']})"} if {"name", "backend"} <= facts.keys() else {}


@functools.cache
def _file(name: str) -> str:
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """How a Content Security Policy names the text of a script or a style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda share: f"{100 * share:.0f} %"
    return environment.from_string(_file("report.html"))

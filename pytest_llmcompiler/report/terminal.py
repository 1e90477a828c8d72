"""What stands at the end of a session: pass@k, verdicts and tokens by task, by file, by size and overall, and the
functions that fare worst."""

from __future__ import annotations

import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmcompiler.judge.verdict import KINDS
from pytest_llmcompiler.model.answer import read_question_key
from pytest_llmcompiler.report.measures import measure_lines
from pytest_llmcompiler.report.passk import Estimate, SampleCounts, count_samples, estimate

_GAP = "  "
_NAMED_ITEMS = 3
_LABEL = len("  disassemble@x86_64-windows")
"""Characters of a row's name that are shown where there is room."""
_NARROWEST = 40

_WORST = 10
"""Functions that are named."""

_Cell = Callable[[Sequence[SampleCounts]], str]
Paint = Callable[[str, str], str]
"""Gives a text a colour, where the terminal can."""


_COLOURS: dict[str, str] = {**dict.fromkeys(KINDS, "red"), "pass": "green", "inconclusive": "yellow"}
_NOTHING = ("0", "-", "")


@dataclass(frozen=True)
class _Row:
    name: str
    counts_by_item: Sequence[SampleCounts]
    """Empty for the title of a section."""


def plain(text: str, colour: str) -> str:
    """The text as it is, where there are no colours."""
    return text


def summary_lines(records: list[dict[str, Any]], ks: list[int], width: int, paint: Paint = plain) -> list[str]:
    """Lines of at most `width` (but not under 40) characters that sum up judged records; none for no record.

    Columns that don't fit beside the others follow below, with the rows' names again.
    """
    counts_by_item = count_samples(records)
    if not counts_by_item:
        return []
    width = max(width, _NARROWEST)
    table = _table(_rows(counts_by_item), _columns(counts_by_item, ks), width, paint)
    notes = [*_pass_notes(counts_by_item, ks), *measure_lines(records), *_inconclusive_notes(records)]
    worst = _worst_lines(counts_by_item, width, paint)
    return [*table, "", *worst, *(line for note in notes for line in _wrapped(note, width))]


def usage_lines(usage: dict[str, float], width: int) -> list[str]:
    """What the model did, in lines of at most `width`: tokens and how fast, the share of drafts, time it lay idle."""
    parts = []
    if usage.get("tokens"):
        tokens, busy, idle = usage["tokens"], usage["busy"], usage["idle"]
        parts.append(
            f"the model wrote {tokens:,} tokens in {busy:.1f} s ({tokens / busy:,.0f} a second, "
            f"{100 * usage['from_draft'] / tokens:.0f} percent taken from drafts) and was idle for "
            f"{100 * idle / (busy + idle):.0f} percent of the time"
        )
    if usage.get("found"):
        parts.append(f"{usage['found']:,} answers were found in pytest's cache (--llmc-cache refresh makes them anew)")
    return _wrapped("; ".join(parts), max(width, _NARROWEST)) if parts else []


def _rows(counts_by_item: Sequence[SampleCounts]) -> list[_Row]:
    return [
        *_section("by task", counts_by_item, lambda one: one.key.task),
        *(
            _section("by prompt", counts_by_item, lambda one: one.key.label)
            if any(one.key.label for one in counts_by_item)
            else ()
        ),
        *_section("by file", counts_by_item, lambda one: one.key.case),
        *_sizes(counts_by_item),
        _Row("overall", counts_by_item),
    ]


def _sizes(counts_by_item: Sequence[SampleCounts]) -> Iterator[_Row]:
    for unit, rows in by_size(counts_by_item):
        yield _Row(f"by {unit}", ())
        yield from (_Row(f"  {name}", group) for name, group in rows)


def by_size(counts_by_item: Iterable[SampleCounts]) -> list[tuple[str, list[tuple[str, list[SampleCounts]]]]]:
    """Questions by their size: for each unit in which sizes are known, ranges of sizes with the questions in them."""
    units: dict[str, dict[tuple[int, int], list[SampleCounts]]] = defaultdict(lambda: defaultdict(list))
    for one in counts_by_item:
        if one.size:
            units[one.size.unit][one.size.bucket].append(one)
    return [(unit, [(_range(*key), group[key]) for key in sorted(group)]) for unit, group in sorted(units.items())]


def _range(first: int, last: int) -> str:
    return f"up to {last:,}" if first == 1 else f"{first:,} to {last:,}"


def _section(title: str, counts_by_item: Sequence[SampleCounts], key: Callable[[SampleCounts], str]) -> list[_Row]:
    groups: dict[str, list[SampleCounts]] = defaultdict(list)
    for one in counts_by_item:
        groups[key(one)].append(one)
    return [_Row(title, ()), *(_Row(f"  {name}", groups[name]) for name in sorted(groups))]


def _columns(counts_by_item: Sequence[SampleCounts], ks: Iterable[int]) -> list[tuple[str, _Cell]]:
    seen = {verdict for one in counts_by_item for verdict in one.verdicts} | {"pass"}
    tokens: list[tuple[str, _Cell]] = [
        ("prompt tok", lambda group: _total(one.prompt_tokens for one in group)),
        ("answer tok", lambda group: _total(one.answer_tokens for one in group)),
    ]
    counted = any(one.prompt_tokens is not None or one.answer_tokens is not None for one in counts_by_item)
    return [
        ("items", lambda group: str(len(group))),
        ("samples", lambda group: str(sum(len(one.verdicts) for one in group))),
        *((f"pass@{k}", _pass_cell(k)) for k in ks),
        ("assembled", _assembled),
        *((kind, _count_cell(kind)) for kind in KINDS if kind in seen),
        *(tokens if counted else ()),
    ]


def _pass_cell(k: int) -> _Cell:
    return lambda group: _percent_with_interval(estimate(group, k))


def _count_cell(kind: str) -> _Cell:
    return lambda group: str(sum(one.verdicts.count(kind) for one in group))


def _percent_with_interval(found: Estimate | None) -> str:
    if found is None:
        return "-"
    return f"{_percent(found.value)} ({100 * found.low:.0f}-{100 * found.high:.0f})"


def _assembled(group: Sequence[SampleCounts]) -> str:
    judged = sum(one.judged for one in group)
    return _percent(sum(one.assembled for one in group) / judged) if judged else "-"


def _percent(share: float) -> str:
    return "100" if share == 1 else f"{100 * share:.1f}"


def _total(counts: Iterable[int | None]) -> str:
    known = [count for count in counts if count is not None]
    return f"{sum(known):,}" if known else "-"


def _table(rows: Sequence[_Row], columns: Sequence[tuple[str, _Cell]], width: int, paint: Paint) -> list[str]:
    shortened = ["", *(_shortened(row.name, max(16, min(_LABEL, 7 * width // 20), width // 4)) for row in rows)]
    room = max(len(name) for name, row in zip(shortened, [None, *rows]) if row is None or row.counts_by_item)
    names = [name.ljust(room) for name in shortened]  # titles have nothing beside them
    blocks: list[list[list[str]]] = []
    left = 0
    for header, cell in columns:
        column = _padded([header, *(cell(row.counts_by_item) if row.counts_by_item else "" for row in rows)], str.rjust)
        if not blocks or len(_GAP) + len(column[0]) > left:
            blocks.append([names])
            left = width - room
        left -= len(_GAP) + len(column[0])
        colour = _COLOURS.get(header, "")
        blocks[-1].append([text if text.strip() in _NOTHING else paint(text, colour) for text in column])
    lines = [_GAP.join(cells).rstrip() for block in blocks for cells in ((), *zip(*block))]
    return lines[1:]


def worst_functions(counts_by_item: Sequence[SampleCounts]) -> list[tuple[str, list[SampleCounts]]]:
    """The functions of which the smallest shares pass, the worst first, by name; none where there is a single one."""
    functions: dict[str, list[SampleCounts]] = defaultdict(list)
    for one in counts_by_item:
        functions[f"{one.key.case}::{one.key.function}"].append(one)
    if len(functions) == 1:
        return []
    ranks = {}
    for name, group in functions.items():
        passed, judged = _passed(group)
        if passed < judged:
            ranks[name] = passed / judged, -judged, name
    return [(name, functions[name]) for name in sorted(ranks, key=ranks.__getitem__)[:_WORST]]


def _passed(group: Sequence[SampleCounts]) -> tuple[int, int]:
    """How many samples pass, and of how many."""
    return sum(one.passed for one in group), sum(one.judged for one in group)


def _worst_lines(counts_by_item: Sequence[SampleCounts], width: int, paint: Paint) -> list[str]:
    worst = worst_functions(counts_by_item)
    if not worst:
        return []
    names = _padded([_shortened(f"  {name}", width // 2) for name, _ in worst], str.ljust)
    shares = _padded(["{} of {}".format(*_passed(group)) for _, group in worst], str.rjust)
    lines = ["functions that fare worst: samples that pass, and how others fail"]
    for (_, group), *cells in zip(worst, names, shares):
        verdicts = Counter(verdict for one in group for verdict in one.verdicts if verdict != "pass")
        ways = ", ".join(f"{count} {kind}" for kind, count in verdicts.most_common())
        room = width - sum(len(cell) + len(_GAP) for cell in cells)
        lines.append(_GAP.join([*cells, paint(textwrap.shorten(ways, room, placeholder=" …"), "red")]))
    return [*(part for line in lines[:1] for part in _wrapped(line, width)), *lines[1:], ""]


def _padded(texts: Sequence[str], pad: Callable[[str, int], str]) -> list[str]:
    width = max(map(len, texts))
    return [pad(text, width) for text in texts]


def _shortened(name: str, width: int) -> str:
    """The end of a long name: files that share a folder differ there."""
    return name if len(name) <= width else "  ..." + name[len(name) - width + 5 :]


def _pass_notes(counts_by_item: Sequence[SampleCounts], ks: Iterable[int]) -> list[str]:
    meaning = (
        "pass@k: in percent, the mean over items and the 95 percent interval of it over functions; "
        "assembled: in percent of the judged samples"
    )
    notes = [meaning]
    for k in ks:
        found = estimate(counts_by_item, k)
        short = found.left_out if found else len(counts_by_item)
        if short:
            notes.append(
                f"pass@{k} leaves out {short} of {len(counts_by_item)} items, with fewer than {k} judged samples"
            )
    return notes


def _inconclusive_notes(records: Iterable[dict[str, Any]]) -> list[str]:
    """A headline, and below it each reason with the number of samples and some of the items."""
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for one in records:
        if one["verdict"] == "inconclusive":
            reasons[one["detail"].get("message") or "no reason given"][str(read_question_key(one))] += 1
    if not reasons:
        return []
    count = sum(items.total() for items in reasons.values())
    notes = [f"{count} inconclusive, counted neither as passed nor as failed:"]
    for reason, items in sorted(reasons.items(), key=lambda pair: (-pair[1].total(), pair[0])):
        more = len(items) - _NAMED_ITEMS
        named = ", ".join(list(items)[:_NAMED_ITEMS]) + (f" and {more} more items" if more > 0 else "")
        notes.append(f"  {items.total()} x {reason}: {named}")
    return notes


def _wrapped(note: str, width: int) -> list[str]:
    indent = " " * (len(note) - len(note.lstrip()))
    return textwrap.wrap(note, width, subsequent_indent=indent + "  ", break_on_hyphens=False)

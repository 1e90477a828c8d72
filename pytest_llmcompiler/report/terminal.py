"""The table at the end of a session: pass@k, verdicts and tokens by task, by file, by size and overall.

Below it stand the functions with the smallest shares of passing samples, and notes.
"""

from __future__ import annotations

import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmcompiler.judge.verdict import KINDS
from pytest_llmcompiler.model.answer import read_question_key
from pytest_llmcompiler.report.cost_estimate import cost_notes, estimate_cost
from pytest_llmcompiler.report.cost_ratios import SIZE, SPEED
from pytest_llmcompiler.report.measures import measure_lines
from pytest_llmcompiler.report.passk import Estimate, SampleCounts, count_samples, estimate
from pytest_llmcompiler.report.published_notes import published_lines
from pytest_llmcompiler.report.records import Record

_GAP = "  "
"""What stands between two columns."""
_ADEQUATE = 0.9
"""The share of seeded faults that the inputs of a function should show; the rest makes no difference, mostly."""
_MAX_EXAMPLES = 3
"""Items that are named for each reason of an inconclusive verdict."""
_NAME_WIDTH = len("  disassemble@x86_64-windows")
"""Characters of a row's name that are shown if there is room: the longest label of a task."""
_MIN_WIDTH = 40
"""Characters of a line at least: names and numbers don't fit into a narrower terminal."""
_MAX_WORST = 10
"""Functions that are listed below the table."""

_Cell = Callable[[Sequence[SampleCounts]], str]
"""Computes the text of a cell from the questions of its row."""
Paint = Callable[[str, str], str]
"""Colours a text, if the terminal can; the second argument is the colour."""

_COLOURS: dict[str, str] = {**dict.fromkeys(KINDS, "red"), "pass": "green", "inconclusive": "yellow"}
"""The colours of columns, by their headers."""
_NOT_COLOURED = ("0", "-", "")
"""Cells that say that there is nothing of the kind."""


@dataclass(frozen=True)
class _Row:
    name: str
    counts_by_item: Sequence[SampleCounts]
    """Empty for the title of a section."""


def plain(text: str, colour: str) -> str:
    """Return the text without colour: a `Paint` for files."""
    return text


def summary_lines(records: Sequence[Record], ks: list[int], width: int, paint: Paint = plain) -> list[str]:
    """The table of judged records, in lines of at most `width` (but not under 40) characters; none without records.

    Columns that don't fit beside the others follow below, with the names of the rows again.
    """
    counts_by_item = count_samples(records)
    if not counts_by_item:
        return []
    width = max(width, _MIN_WIDTH)
    table = _table(_rows(counts_by_item), _columns(counts_by_item, ks), width, paint)
    notes = [
        *_pass_notes(counts_by_item, ks),
        *cost_notes(counts_by_item),
        *measure_lines(records),
        *published_lines(records),
        *_proof_notes(records),
        *_inconclusive_notes(records),
        *_unreached_notes(records),
        *_adequacy_notes(records),
    ]
    worst = _worst_lines(counts_by_item, width, paint)
    return [*table, "", *worst, *(line for note in notes for line in _wrap(note, width))]


def usage_lines(usage: dict[str, Any], width: int) -> list[str]:
    """What the model did, in lines of at most `width`: tokens and their rate, the share of drafts, idle time."""
    parts = []
    if usage.get("tokens"):
        tokens, busy, idle = usage["tokens"], usage["busy"], usage["idle"]
        parts.append(
            f"the model wrote {tokens:,} tokens in {busy:.1f} s ({tokens / busy:,.0f} a second, "
            f"{100 * usage['from_draft'] / tokens:.0f} percent taken from drafts) and was idle for "
            f"{100 * idle / (busy + idle):.0f} percent of the time"
        )
    if usage.get("found"):
        parts.append(f"{usage['found']:,} answers were found in pytest's cache (--llmc-cache refresh asks again)")
    return _wrap("; ".join(parts), max(width, _MIN_WIDTH)) if parts else []


def unusable_lines(unusable: Mapping[str, Sequence[str]], width: int) -> list[str]:
    """How many case files could not be used and why, in lines of at most `width`; none where all could."""
    count = sum(map(len, unusable.values()))
    if not count:
        return []
    notes = [f"{count} {'file' if count == 1 else 'files'} could not be compiled:"]
    for kind, cases in sorted(unusable.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        notes.append(f"  {len(cases)} x {kind}: {_name_some(cases, 'files')}")
    return [line for note in notes for line in _wrap(note, max(width, _MIN_WIDTH))]


def left_out_lines(left_out: Mapping[tuple[str, str], Collection[str]], width: int) -> list[str]:
    """Which flags are left out and why, in lines of at most `width`; none where none is."""
    if not left_out:
        return []
    notes = ["flags of compilers that are left out:"]
    for (flag, reason), cases in sorted(left_out.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        notes.append(f"  {flag} ({reason}): {_name_some(sorted(cases), 'files')}")
    return [line for note in notes for line in _wrap(note, max(width, _MIN_WIDTH))]


def _name_some(names: Sequence[str], noun: str) -> str:
    more = len(names) - _MAX_EXAMPLES
    return ", ".join(names[:_MAX_EXAMPLES]) + (f" and {more} more {noun}" if more > 0 else "")


def _rows(counts_by_item: Sequence[SampleCounts]) -> list[_Row]:
    rows = _section("by task", counts_by_item, lambda counts: counts.key.task)
    if any(counts.key.label for counts in counts_by_item):
        rows += _section("by prompt", counts_by_item, lambda counts: counts.key.label)
    rows += _section("by file", counts_by_item, lambda counts: counts.key.case)
    return [*rows, *_size_rows(counts_by_item), _Row("overall", counts_by_item)]


def _section(title: str, counts_by_item: Sequence[SampleCounts], key: Callable[[SampleCounts], str]) -> list[_Row]:
    groups: dict[str, list[SampleCounts]] = defaultdict(list)
    for counts in counts_by_item:
        groups[key(counts)].append(counts)
    return [_Row(title, ()), *(_Row(f"  {name}", groups[name]) for name in sorted(groups))]


def _size_rows(counts_by_item: Sequence[SampleCounts]) -> Iterator[_Row]:
    for unit, rows in group_by_size(counts_by_item):
        yield _Row(f"by {unit}", ())
        yield from (_Row(f"  {name}", group) for name, group in rows)


def group_by_size(counts_by_item: Iterable[SampleCounts]) -> list[tuple[str, list[tuple[str, list[SampleCounts]]]]]:
    """Group questions by size: for each unit in which sizes are known, the ranges of sizes and their questions."""
    units: dict[str, dict[tuple[int, int], list[SampleCounts]]] = defaultdict(lambda: defaultdict(list))
    for counts in counts_by_item:
        if counts.size:
            units[counts.size.unit][counts.size.bucket].append(counts)
    return [
        (unit, [(_format_range(*key), group[key]) for key in sorted(group)]) for unit, group in sorted(units.items())
    ]


def _format_range(first: int, last: int) -> str:
    return f"up to {last:,}" if first == 1 else f"{first:,} to {last:,}"


def _columns(counts_by_item: Sequence[SampleCounts], ks: Iterable[int]) -> list[tuple[str, _Cell]]:
    """The headers of the table and what stands below each."""
    seen = {verdict for counts in counts_by_item for verdict in counts.verdicts} | {"pass"}
    columns: list[tuple[str, _Cell]] = [
        ("items", lambda group: str(len(group))),
        ("samples", lambda group: str(sum(len(counts.verdicts) for counts in group))),
        *((f"pass@{k}", _pass_cell(k)) for k in ks),
        *((name, _cost_cell(name)) for name in (SPEED, SIZE) if any(name in counts.costs for counts in counts_by_item)),
        ("assembled", _assembled_cell),
        *((kind, _verdict_cell(kind)) for kind in KINDS if kind in seen),
    ]
    if any(counts.prompt_tokens is not None or counts.answer_tokens is not None for counts in counts_by_item):
        columns += [
            ("prompt tok", lambda group: _format_total(counts.prompt_tokens for counts in group)),
            ("answer tok", lambda group: _format_total(counts.answer_tokens for counts in group)),
        ]
    return columns


def _pass_cell(k: int) -> _Cell:
    return lambda group: _format_estimate(estimate(group, k))


def _cost_cell(measure: str) -> _Cell:
    return lambda group: str(estimate_cost(group, measure) or "-")


def _verdict_cell(kind: str) -> _Cell:
    return lambda group: str(sum(counts.verdicts.count(kind) for counts in group))


def _assembled_cell(group: Sequence[SampleCounts]) -> str:
    judged = sum(counts.judged for counts in group)
    return _format_percent(sum(counts.assembled for counts in group) / judged) if judged else "-"


def _format_estimate(mean: Estimate | None) -> str:
    if mean is None:
        return "-"
    return f"{_format_percent(mean.value)} ({100 * mean.low:.0f}-{100 * mean.high:.0f})"


def _format_percent(share: float) -> str:
    return "100" if share == 1 else f"{100 * share:.1f}"


def _format_total(counts: Iterable[int | None]) -> str:
    known = [count for count in counts if count is not None]
    return f"{sum(known):,}" if known else "-"


def _table(rows: Sequence[_Row], columns: Sequence[tuple[str, _Cell]], width: int, paint: Paint) -> list[str]:
    """Lay the table out in blocks, one below the other. Each block has the names and as many columns as fit."""
    name_width = max(16, min(_NAME_WIDTH, 7 * width // 20), width // 4)
    names = ["", *(_shorten_name(row.name, name_width) for row in rows)]
    # Titles have no cells beside them, so they may be longer than the column of names.
    room = max(len(name) for name, row in zip(names, [None, *rows]) if row is None or row.counts_by_item)
    names = [name.ljust(room) for name in names]
    blocks: list[list[list[str]]] = []
    left = 0
    for header, cell in columns:
        column = _pad([header, *(cell(row.counts_by_item) if row.counts_by_item else "" for row in rows)], str.rjust)
        if not blocks or len(_GAP) + len(column[0]) > left:
            blocks.append([names])
            left = width - room
        left -= len(_GAP) + len(column[0])
        colour = _COLOURS.get(header, "")
        blocks[-1].append([text if text.strip() in _NOT_COLOURED else paint(text, colour) for text in column])
    lines = [_GAP.join(cells).rstrip() for block in blocks for cells in ((), *zip(*block))]
    return lines[1:]  # without the empty line above the first block


def worst_functions(counts_by_item: Sequence[SampleCounts]) -> list[tuple[str, list[SampleCounts]]]:
    """The functions with the smallest shares of passing samples, the worst first, by name.

    Of equal shares the one of more samples comes first. No functions if there is only one.
    """
    functions: dict[str, list[SampleCounts]] = defaultdict(list)
    for counts in counts_by_item:
        functions[f"{counts.key.case}::{counts.key.function}"].append(counts)
    if len(functions) == 1:
        return []
    ranks = {}
    for name, group in functions.items():
        passed, judged = _sum_passed(group)
        if passed < judged:
            ranks[name] = passed / judged, -judged, name
    return [(name, functions[name]) for name in sorted(ranks, key=ranks.__getitem__)[:_MAX_WORST]]


def _sum_passed(group: Sequence[SampleCounts]) -> tuple[int, int]:
    """The number of passing samples, and of judged ones."""
    return sum(counts.passed for counts in group), sum(counts.judged for counts in group)


def _worst_lines(counts_by_item: Sequence[SampleCounts], width: int, paint: Paint) -> list[str]:
    worst = worst_functions(counts_by_item)
    if not worst:
        return []
    names = _pad([_shorten_name(f"  {name}", width // 2) for name, _ in worst], str.ljust)
    shares = _pad(["{} of {}".format(*_sum_passed(group)) for _, group in worst], str.rjust)
    lines = _wrap("functions with the most failures: samples that pass, and how others fail", width)
    for (_, group), *cells in zip(worst, names, shares):
        failures = Counter(verdict for counts in group for verdict in counts.verdicts if verdict != "pass")
        text = ", ".join(f"{count} {kind}" for kind, count in failures.most_common())
        room = width - sum(len(cell) + len(_GAP) for cell in cells)
        lines.append(_GAP.join([*cells, paint(textwrap.shorten(text, room, placeholder=" …"), "red")]))
    return [*lines, ""]


def _pad(texts: Sequence[str], pad: Callable[[str, int], str]) -> list[str]:
    width = max(map(len, texts))
    return [pad(text, width) for text in texts]


def _shorten_name(name: str, width: int) -> str:
    """Keep the end of a long name: names of files in the same folder differ there."""
    return name if len(name) <= width else "  ..." + name[len(name) - width + 5 :]


def _pass_notes(counts_by_item: Sequence[SampleCounts], ks: Iterable[int]) -> list[str]:
    """What the columns mean, and which items pass@k leaves out."""
    notes = [
        "pass@k: in percent, the mean over items and its 95 percent interval over functions; "
        "assembled: in percent of the judged samples"
    ]
    for k in ks:
        mean = estimate(counts_by_item, k)
        left_out = mean.left_out if mean else len(counts_by_item)
        if left_out:
            notes.append(
                f"pass@{k} leaves out {left_out} of {len(counts_by_item)} items, with fewer than {k} judged samples"
            )
    return notes


def _proof_notes(records: Iterable[Record]) -> list[str]:
    """How many of the samples that pass are proved to be equal to the reference, where that was tried."""
    tried = [record["detail"]["proved"] for record in records if "proved" in record["detail"]]
    return [f"{sum(tried)} of {len(tried)} passes proved equal to the reference on every input"] if tried else []


def _inconclusive_notes(records: Iterable[Record]) -> list[str]:
    """A headline, and below it each reason with the number of samples and some of the items."""
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        if record["verdict"] == "inconclusive":
            reasons[record["detail"].get("message") or "no reason given"][str(read_question_key(record))] += 1
    if not reasons:
        return []
    count = sum(items.total() for items in reasons.values())
    notes = [f"{count} inconclusive, counted neither as passed nor as failed:"]
    for reason, items in sorted(reasons.items(), key=lambda pair: (-pair[1].total(), pair[0])):
        notes.append(f"  {items.total()} x {reason}: {_name_some(sorted(items), 'items')}")
    return notes


def _unreached_notes(records: Iterable[Record]) -> list[str]:
    """A headline with the number of items that pass with code that no input reached, and some of them."""
    items: dict[str, str] = {}
    for record in records:
        coverage = record["detail"].get("coverage")
        if record["verdict"] == "pass" and coverage and coverage["edges"] < coverage["of"]:
            items[str(read_question_key(record))] = " ".join(record["detail"].get("evidence") or ())
    if not items:
        return []
    notes = [f"{len(items)} {'item passes' if len(items) == 1 else 'items pass'} with code that no input reached:"]
    notes += [f"  {name}: {line}" for name, line in sorted(items.items())[:_MAX_EXAMPLES]]
    return notes + ([f"  and {len(items) - _MAX_EXAMPLES} more"] if len(items) > _MAX_EXAMPLES else [])


def _adequacy_notes(records: Iterable[Record]) -> list[str]:
    """A headline with the number of items whose inputs show few of the seeded faults, and some of them."""
    items: dict[str, str] = {}
    for record in records:
        adequacy = record["detail"].get("adequacy")
        if record["verdict"] == "pass" and adequacy and adequacy["killed"] < _ADEQUATE * adequacy["mutants"]:
            items[str(read_question_key(record))] = f"{adequacy['killed']} of {adequacy['mutants']}"
    if not items:
        return []
    verb = "item passes" if len(items) == 1 else "items pass"
    notes = [f"{len(items)} {verb} on inputs that show less than {100 * _ADEQUATE:.0f} % of the seeded faults:"]
    notes += [f"  {name}: {share}" for name, share in sorted(items.items())[:_MAX_EXAMPLES]]
    return notes + ([f"  and {len(items) - _MAX_EXAMPLES} more"] if len(items) > _MAX_EXAMPLES else [])


def _wrap(note: str, width: int) -> list[str]:
    indent = " " * (len(note) - len(note.lstrip()))
    return textwrap.wrap(note, width, subsequent_indent=indent + "  ", break_on_hyphens=False)

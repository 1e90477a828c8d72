"""The printed tables and lists."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.target import Target
from quality import asserts, compilers
from quality.measure import Judged, Measured, Plan, Sample, Seeded


def report(results: Sequence[Measured], plan: Plan, unused: Sequence[str]) -> Iterator[str]:
    """The whole report, line by line. `unused`: the lines of the file of inspected faults that fit no fault."""
    count = plan.examples[-1]
    target = get_target(plan.target)
    yield from _heading(results, count, target)
    if plan.false_alarms:
        yield from _false_alarms(results, count, target)
    if plan.misses:
        yield from _misses(results, count)
        yield from _listed("Inspected faults that no survivor fits any more", unused)
    if len(plan.examples) > 1:
        yield from _by_examples(results, plan)
    if plan.misses:
        yield from _by_part(results, plan)
        yield from _steering(results, plan)
    if len(plan.efforts) > 1:
        yield from _by_effort(results, plan)
    yield from _listed("Faults of the harness", [error for result in results for error in result.errors])
    yield from _stages(results)


def _heading(results: Sequence[Measured], count: int, target: Target) -> Iterator[str]:
    functions = sum(result.functions for result in results)
    files = sum(not result.refused for result in results)
    yield f"{functions} functions in {files} files, {count} examples each"
    refused = [f"{result.name}: {result.refused}" for result in results if result.refused]
    yield from _listed("Files that do not compile, left out", refused)
    for name in compilers.missing(target):
        yield f"{name} is not installed: nothing is judged of it"
    unjudgeable = [
        f"{result.name}::{function}: {reason}"
        for result in results
        for function, reason in sorted(result.unjudgeable.items())
    ]
    yield from _listed("Functions that can't be judged", unjudgeable)
    yield ""
    yield from _table(
        ["", "files", "compile", "functions", "judged", "inconclusive", "false alarms", "prepared s, median", "most"],
        [_folder_row(name, of_folder, count) for name, of_folder in _group_by_folder(results).items()],
    )


def _group_by_folder(results: Sequence[Measured]) -> dict[str, list[Measured]]:
    folders: dict[str, list[Measured]] = {}
    for result in results:
        folders.setdefault(result.name.partition("/")[0], []).append(result)
    return folders if len(folders) < 2 else folders | {"all": list(results)}


def _folder_row(name: str, results: Sequence[Measured], count: int) -> list[str]:
    """The counts of one folder. A function is inconclusive where no text for it can be judged."""
    functions = sum(result.functions for result in results)
    inconclusive = sum(len(result.unjudgeable) for result in results)
    broken = sum(len(result.errors) for result in results)
    alarms = sum(is_false_alarm(sample.verdicts[count]) for result in results for sample in result.samples)
    prepared = [seconds for result in results for seconds in result.corpora.get(count, [])]
    return [
        name,
        *map(str, (len(results), sum(not result.refused for result in results), functions)),
        *map(str, (functions - inconclusive - broken, inconclusive, alarms)),
        *(f"{value:.1f}" for value in (statistics.median(prepared or [0]), max(prepared, default=0))),
    ]


def _listed(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield ""
        yield f"{title}: {len(lines)}"
        yield from (f"  {line}" for line in lines)


# -- false alarms


def is_false_alarm(judged: Judged) -> bool:
    """Whether the verdict on correct code is wrong."""
    return judged.kind not in ("pass", "inconclusive")


def _false_alarms(results: Sequence[Measured], count: int, target: Target) -> Iterator[str]:
    samples = [(result.name, sample) for result in results for sample in result.samples]
    yield ""
    yield "FALSE ALARMS: correct code, judged"
    rows = [
        [
            f"{compiler} -{level}",
            *_sample_counts([one for _, one in samples if one.compiler == compiler and one.level == level], count),
        ]
        for compiler, level in compilers.variants(target)
    ]
    total = ["all", *_sample_counts([one for _, one in samples], count)]
    yield from _table(["", "judged", "pass", "false alarm", "inconclusive"], [*rows, total])
    offenders = [
        f"{name}::{one.function} {one.compiler} -{one.level}: {one.verdicts[count].kind}: {one.verdicts[count].message}"
        for name, one in samples
        if is_false_alarm(one.verdicts[count])
    ]
    yield from _listed("False alarms", offenders)
    yield from _listed("No answer from a compiler", sorted({line for result in results for line in result.no_answer}))
    reasons = Counter(one.verdicts[count].message for _, one in samples if one.verdicts[count].kind == "inconclusive")
    yield from _listed("Why inconclusive", [f"{number} × {reason}" for reason, number in reasons.most_common()])


def _sample_counts(samples: Sequence[Sample], count: int) -> list[str]:
    judged = [one.verdicts[count] for one in samples]
    passed = sum(one.kind == "pass" for one in judged)
    wrong = sum(map(is_false_alarm, judged))
    return [str(len(judged)), str(passed), str(wrong), str(len(judged) - passed - wrong)]


# -- misses


def sort_of(one: Seeded, count: int) -> str:
    """The outcome of a fault: caught, inconclusive, proved, by inspection, or missed."""
    kind = one.verdicts[count].kind
    if kind == "pass":
        return "missed" if not one.proof else "by inspection" if one.proof.startswith("by inspection") else "proved"
    return "inconclusive" if kind == "inconclusive" else "caught"


def describe(name: str, one: Seeded) -> str:
    """A fault in one line: the name that `--reproduce` takes, and the change."""
    return f"{name}::{one.function} {one.level} #{one.number}  {one.kind}, line {one.line}: {one.before} => {one.after}"


def _misses(results: Sequence[Measured], count: int) -> Iterator[str]:
    faults = [(result.name, one) for result in results for one in result.seeded]
    kinds = sorted({one.kind for _, one in faults})
    yield ""
    yield "MISSES: seeded faults, judged"
    head = ["", "made", "caught", "inconclusive", "proved equal", "equal by inspection", "missed"]
    rows = [[kind, *_fault_counts([one for _, one in faults if one.kind == kind], count)] for kind in kinds]
    yield from _table(head, [*rows, ["all", *_fault_counts([one for _, one in faults], count)]])
    verdicts = Counter(one.verdicts[count].kind for _, one in faults)
    yield "Verdicts: " + ", ".join(f"{kind} {number}" for kind, number in verdicts.most_common())
    reasons = Counter(one.verdicts[count].message for _, one in faults if one.verdicts[count].kind == "inconclusive")
    yield from _listed("Why inconclusive", [f"{number} × {reason}" for reason, number in reasons.most_common()])
    proofs = Counter(one.proof for _, one in faults if one.proof and one.verdicts[count].kind == "pass")
    yield from _listed("Shown equivalent, by means", [f"{number} × {means}" for means, number in proofs.most_common()])
    yield from _listed("Missed", [describe(name, one) for name, one in faults if sort_of(one, count) == "missed"])
    wrong_proofs = [describe(name, one) for name, one in faults if one.proof and sort_of(one, count) == "caught"]
    yield from _listed("Shown equivalent, but not passed: a false alarm or a wrong proof", wrong_proofs)
    yield ""
    yield f"Caught, of the faults that are not shown equivalent: {rate([one for _, one in faults], count)}"
    real = [one for _, one in faults if sort_of(one, count) in ("caught", "missed")]
    yield f"Caught by asserts, of the same: {_percent(sum(one.asserts for one in real), len(real))}"
    yield asserts.RULE


def rate(faults: Iterable[Seeded], count: int) -> str:
    """The rate of caught faults among those that are conclusive and not shown equivalent."""
    sorts = Counter(sort_of(one, count) for one in faults)
    return _percent(sorts["caught"], sorts["caught"] + sorts["missed"])


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} % ({part} of {whole})" if whole else "none made"


def _fault_counts(faults: Sequence[Seeded], count: int) -> list[str]:
    sorts = Counter(sort_of(one, count) for one in faults)
    names = ("caught", "inconclusive", "proved", "by inspection", "missed")
    return [str(len(faults)), *(str(sorts[name]) for name in names)]


# -- what each part adds, and the effort of the second look


def _by_part(results: Sequence[Measured], plan: Plan) -> Iterator[str]:
    """The faults that are caught as far as each part goes, of those that are not shown equivalent."""
    count = plan.examples[-1]
    real = [one for result in results for one in result.seeded if sort_of(one, count) in ("caught", "missed")]
    if not real:
        return
    suite = [one for one in real if _is_caught_by_suite(one, count)]
    parts = [("five fixed asserts", sum(one.asserts for one in real)), ("the suite", len(suite))]
    for effort in sorted(plan.efforts):
        if effort:
            caught = sum(_is_failure(one.by_effort[effort]) for one in real)
            parts.append((f"and the second look, effort {effort:g}", caught))
    yield ""
    yield "WHAT EACH PART CATCHES, of the faults that are not shown equivalent"
    yield from _table(
        ["", "caught", "share", "missed"],
        [[name, str(number), f"{100 * number / len(real):.2f} %", str(len(real) - number)] for name, number in parts],
    )


def _steering(results: Sequence[Measured], plan: Plan) -> Iterator[str]:
    """The faults of the kinds by which suites are chosen, of which none is proved to make no difference."""
    faults = [one for result in results for one in result.steering]
    if not faults:
        return
    efforts = sorted(plan.efforts)
    kinds = {kind: [one for one in faults if one.kind == kind] for kind in sorted({one.kind for one in faults})}
    rows = []
    for kind, of_kind in (kinds | {"all": faults}).items():
        caught = (sum(_is_failure(one.by_effort[effort]) for one in of_kind) for effort in efforts)
        asserts_caught = _percent(sum(one.asserts for one in of_kind), len(of_kind))
        rows.append([kind, asserts_caught, *(_percent(number, len(of_kind)) for number in caught)])
    yield ""
    yield "FAULTS OF THE KINDS BY WHICH SUITES ARE CHOSEN: caught, of all that were made"
    yield from _table(["", "five fixed asserts", *(f"effort {effort:g}" for effort in efforts)], rows)


def _is_failure(judged: Judged) -> bool:
    return judged.kind not in ("pass", "inconclusive")


def _is_caught_by_suite(one: Seeded, count: int) -> bool:
    return _is_failure(one.verdicts[count]) and not one.verdicts[count].by_second_look


def _by_effort(results: Sequence[Measured], plan: Plan) -> Iterator[str]:
    samples = [one for result in results for one in result.samples]
    faults = [one for result in results for one in result.seeded]
    count, efforts = plan.examples[-1], sorted(plan.efforts)
    yield ""
    yield "BY EFFORT"
    rows = []
    for effort in efforts:
        judged = [one.by_effort[effort] for one in (*samples, *faults)]
        times = _compare_times((*samples, *faults), effort, efforts[0])
        rows.append(
            [
                f"{effort:g}",
                _percent(*_count_caught(faults, count, effort)),
                str(sum(is_false_alarm(one.by_effort[effort]) for one in samples)),
                str(sum(one.kind == "inconclusive" for one in judged)),
                *times,
            ]
        )
    times_head = ("pass ms, median", f"times effort {efforts[0]:g}, median", "90 %")
    yield from _table(["effort", "caught", "false alarms", "inconclusive", *times_head], rows)
    yield ""
    yield "CAUGHT, BY KIND OF FAULT AND EFFORT"
    kinds = sorted({one.kind for one in faults})
    by_kind = {kind: [one for one in faults if one.kind == kind] for kind in kinds}
    yield from _table(
        ["", *(f"effort {effort:g}" for effort in efforts)],
        [
            [kind, *(_percent(*_count_caught(of_kind, count, effort)) for effort in efforts)]
            for kind, of_kind in by_kind.items()
        ],
    )


def _count_caught(faults: Iterable[Seeded], count: int, effort: float) -> tuple[int, int]:
    """The faults that an effort catches, and how many there are that are not shown equivalent."""
    real = [one for one in faults if sort_of(one, count) in ("caught", "missed")]
    return sum(_is_failure(one.by_effort[effort]) for one in real), len(real)


def _compare_times(judged: Iterable[Sample | Seeded], effort: float, least: float) -> list[str]:
    """Milliseconds of passing verdicts, and how many times those with the least effort."""
    passing = [one.by_effort for one in judged if one.by_effort[effort].kind == "pass"]
    ratios = sorted(one[effort].seconds / one[least].seconds for one in passing)
    if not ratios:
        return ["", "", ""]
    median = statistics.median(1000 * one[effort].seconds for one in passing)
    return [f"{median:.1f}", f"{statistics.median(ratios):.2f}", f"{ratios[int(0.9 * (len(ratios) - 1))]:.2f}"]


# -- the number of examples, and time


def _by_examples(results: Sequence[Measured], plan: Plan) -> Iterator[str]:
    yield ""
    yield "BY THE NUMBER OF EXAMPLES"
    rows = []
    for count in plan.examples:
        samples = [one for result in results for one in result.samples]
        faults = [one for result in results for one in result.seeded]
        judged = [one.verdicts[count] for one in (*samples, *faults)]
        corpora = [seconds for result in results for seconds in result.corpora.get(count, [])]
        times = [one.seconds for one in judged]
        rows.append(
            [
                str(count),
                rate(faults, count),
                str(sum(is_false_alarm(one.verdicts[count]) for one in samples)),
                str(sum(one.kind == "inconclusive" for one in judged)),
                *(f"{value:.2f}" for value in (statistics.median(corpora or [0]), max(corpora, default=0))),
                *(f"{1000 * value:.0f}" for value in (statistics.median(times or [0]), max(times, default=0))),
            ]
        )
    corpus, sample = ("corpus s, median", "max"), ("sample ms, median", "max")
    yield from _table(["examples", "caught", "false alarms", "inconclusive", *corpus, *sample], rows)


def _stages(results: Sequence[Measured]) -> Iterator[str]:
    total: Counter[str] = Counter()
    for result in results:
        total.update(result.seconds)
    yield ""
    yield "Seconds by stage, all processes: " + ", ".join(f"{stage} {total[stage]:.0f}" for stage in total)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        yield "  ".join(cells).rstrip()

"""A verdict on what was answered to any of the tasks: it becomes assembly, and that is judged as all assembly is."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_llmcompiler.errors import CaseError, LoweringError, OptimiserError, PassListError
from pytest_llmcompiler.judge.failure import quoted
from pytest_llmcompiler.judge.harness import Harness
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.lowering import lower as lowering
from pytest_llmcompiler.lowering.bleu import bleu
from pytest_llmcompiler.lowering.canonical import canonical, plain, plain_assembly
from pytest_llmcompiler.lowering.line_map import lines_of_origin
from pytest_llmcompiler.model.answer import Task
from pytest_llmcompiler.program import ir, optimiser
from pytest_llmcompiler.targets.target import Target

_KEPT = 64
"""Questions whose expected answers are kept in two forms: some kilobytes each."""
_SMALLEST = "Oz"
"""The pass list that others are held against."""
_JudgeOf = Callable[[str], Verdict]
"""What judges assembly."""


@dataclass(frozen=True)
class TaskQuestion:
    """What the text of an answer was asked for, and what the answer says of it."""

    task: Task = "asm"
    passes: str = ""
    """The pass list of the question; empty where the task has none."""
    promised: Mapping[str, int] = field(default_factory=dict)
    """What the answer says of itself: `instructions` and `size`."""


def judge_task(
    harness: Harness, asked: TaskQuestion, text: str, *, explain: bool = True, reproducer: bool = False
) -> Verdict:
    """Judge the text of an answer: assembly, IR or a pass list, as the task has it. `explain` and `reproducer` are
    those of `Harness.judge`, which says what is raised.

    What is known beside the verdict is in its `detail`: see `record.schema.json`.
    """
    reason = harness.unjudgeable()
    if reason:
        return Verdict("inconclusive", reason)
    reference = harness.reference
    if asked.task != "asm" and reference.is_beyond_llvmlite(reference.extracted(harness.function)):
        return Verdict("inconclusive", f"it holds assembly, which is not lowered for {reference.target.name} here")
    return _TASKS[asked.task](
        harness, asked, text, functools.partial(harness.judge, explain=explain, reproducer=reproducer)
    )


def _assembly(harness: Harness, asked: TaskQuestion, text: str, judge: _JudgeOf) -> Verdict:
    verdict = judge(text)
    if not asked.promised:
        return verdict
    # The count in the prompt is one of IR, and so is the one that the models answer with.
    expected = _expected_sizes(harness, asked.passes)
    return _held_to_promise(verdict, asked, expected and expected[0], lowering.size_of(text, harness.reference.target))


def _ir(harness: Harness, asked: TaskQuestion, text: str, judge: _JudgeOf) -> Verdict:
    try:
        made = lowering.lower_module(text, optimiser.level_of(asked.passes), harness.reference.target)
    except LoweringError as error:
        return _refused(error, text)
    if made.holds_assembly and " asm " not in harness.reference.extracted(harness.function):
        return Verdict("assemble", "it holds assembly, which is no answer to a question for IR")
    verdict = _traced_back(_lowered(judge, made), asked, text, harness.reference.target)
    verdict.detail["ir"] = _likeness(harness, asked.passes, text, made)
    if asked.task == "disassemble":
        verdict.detail["round_trip"] = _round_trip(harness, asked.passes, made.assembly)
    return _held_to_promise(verdict, asked, made.instructions, made.size)


def _tune(harness: Harness, asked: TaskQuestion, text: str, judge: _JudgeOf) -> Verdict:
    reference, function, passes = harness.reference, harness.function, text.strip()
    before, seconds = reference.extracted(function), lowering.SECONDS
    try:
        bitcode = optimiser.optimised(before, passes, reference.target, seconds=seconds, megabytes=_MEGABYTES)
        made = lowering.lower_module(bitcode, None, reference.target)
    except (PassListError, OptimiserError, LoweringError) as error:
        line = text[: len(text) - len(text.lstrip())].count("\n") + 1
        return Verdict("assemble", " ".join(str(error).split()), tuple(quoted(text, line)), {"line": line})
    verdict = _lowered(judge, made)
    _, least = reference.optimised_sizes(function, _SMALLEST)
    verdict.detail["tune"] = {
        "passes": passes,
        "size": made.size,
        "oz": least,
        "improvement": round(100 * (least - made.size) / least, 2),
    }
    return _held_to_promise(verdict, asked, made.instructions, made.size)


_TASKS: dict[Task, Callable[[Harness, TaskQuestion, str, _JudgeOf], Verdict]] = {
    "asm": _assembly,
    "ir": _ir,
    "tune": _tune,
    "disassemble": _ir,
}
_MEGABYTES = 4096
"""Memory of the optimiser: the linker reserves more than it uses."""


def _refused(error: LoweringError, text: str) -> Verdict:
    place = f"line {error.line}, column {error.column}: " if error.line else ""
    evidence = (*quoted(text, error.line), *error.details)
    return Verdict("assemble", f"{place}{error}", evidence, {"line": error.line, "column": error.column})


def _lowered(judge: _JudgeOf, made: lowering.LoweredModule) -> Verdict:
    """The verdict on the assembly that LLVM made of an answer; it is told whose lines are meant."""
    verdict = judge(made.assembly)
    evidence = verdict.evidence
    if any(" line " in words for words in (verdict.message, *evidence)):
        evidence = (*evidence, "  lines     are those of the assembly that LLVM makes of the answer")
    return replace(verdict, evidence=evidence, detail={**verdict.detail, "lowered": made.assembly})


def _traced_back(verdict: Verdict, asked: TaskQuestion, text: str, target: Target) -> Verdict:
    """The verdict on an answer's IR with the line of the answer in which it goes wrong, where that can be said."""
    line = verdict.detail.get("line") or verdict.detail.get("parts")
    if verdict.passed or line is None:
        return verdict
    level = optimiser.level_of(asked.passes)
    origin = lines_of_origin(text, level, verdict.detail["lowered"], target).get(line)
    if origin is None:
        return verdict
    words = " ".join(text.split("\n")[origin - 1].split())
    evidence = (*verdict.evidence, f"  origin    line {origin} of the answer: {words}")
    return replace(verdict, evidence=evidence, detail={**verdict.detail, "origin": origin})


def _likeness(harness: Harness, passes: str, text: str, made: lowering.LoweredModule) -> dict[str, Any]:
    """How an answer's IR compares with opt's own."""
    facts: dict[str, Any] = {"instructions": made.instructions, "size": made.size}
    sizes = _expected_sizes(harness, passes)
    if sizes is None:
        return facts
    exact, numbered = _forms(harness.reference.optimised(harness.function, passes), harness.reference.target)
    return facts | {
        "exact": plain(text) == exact,
        "canonical": made.canonical == numbered,
        "opt_instructions": sizes[0],
        "opt_size": sizes[1],
    }


@functools.lru_cache(_KEPT)
def _forms(expected: str, target: Target) -> tuple[str, str]:
    """The plain and the canonical form of opt's own IR, which all samples of a question are compared with."""
    return plain(expected), canonical(ir.parse(expected), target)


def _expected_sizes(harness: Harness, passes: str) -> tuple[int, int] | None:
    """Instructions and bytes of what opt makes with a pass list; None where LLVM does not know the list."""
    try:
        return harness.reference.optimised_sizes(harness.function, passes)
    except CaseError:
        return None


def _round_trip(harness: Harness, passes: str, assembly: str) -> dict[str, Any]:
    """How the assembly of an answer's IR compares with that which the answer was made of."""
    dialect = harness.reference.target.dialect
    given, made = (
        plain_assembly(one, dialect) for one in (harness.reference.lowered(harness.function, passes), assembly)
    )
    score = bleu(made, given)
    return {"exact": made == given, **({} if score is None else {"bleu": score})}


def _held_to_promise(verdict: Verdict, asked: TaskQuestion, instructions: int | None, size: int | None) -> Verdict:
    """The verdict with what the answer said of itself, beside what is true; it is no other one for that."""
    found = {"instructions": instructions, "size": size}
    held = {name: {"said": said, "is": found[name]} for name, said in asked.promised.items()}
    if not held:
        return verdict
    return replace(verdict, detail={**verdict.detail, "promised": held})

"""Verdicts on answers to any task: the answer becomes assembly, which is judged as every candidate is.

An answer to `asm` is assembly already. IR (`ir`, `disassemble`) is lowered by LLVM. A pass list (`tune`) is given to
opt, which optimises the function's own IR, and the result is lowered.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

from pytest_llmcompiler.errors import CaseError, ChildLostError, LoweringError, OptimiserError, PassListError
from pytest_llmcompiler.judge.failure import evidence_line, quote_line
from pytest_llmcompiler.judge.program_harness import AnyHarness
from pytest_llmcompiler.judge.reproducer import ReproducibleVerdict
from pytest_llmcompiler.judge.second_look import decode_lead
from pytest_llmcompiler.judge.settings import TaskQuestion
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.lowering import lower as lowering
from pytest_llmcompiler.lowering.bleu import compute_bleu
from pytest_llmcompiler.lowering.canonical import canonicalise_module, strip_assembly, strip_ir
from pytest_llmcompiler.lowering.line_map import map_assembly_lines
from pytest_llmcompiler.model.answer import Task
from pytest_llmcompiler.program import optimiser
from pytest_llmcompiler.program.ir import parse
from pytest_llmcompiler.targets.target import Target

_CACHED_FORMS = 64
"""Expected IR texts of which the plain and the canonical form are cached: some kilobytes each. One for each question
that is being judged is enough, and a session goes through its questions one after another."""
_SIZE_BASELINE = "Oz"
"""The pass list that the binary sizes of answers to `tune` are compared with."""
_OPTIMISER_MEGABYTES = 4096
"""Address space of the process that optimises, in MiB: LLVM reserves more than it uses."""


@dataclass(frozen=True)
class _TrueSizes:
    """The sizes that the claims of an answer are compared with; None where a size is unknown."""

    instructions: int | None
    """Instructions of IR."""
    size: int | None
    """Bytes of text and data in the object file."""


def judge_task(harness: AnyHarness, question: TaskQuestion, text: str, *, explain: bool = True) -> Verdict:
    """Judge the text of an answer: assembly, IR or a pass list, as the task asks for.

    `explain` is as for `Harness.judge`, and so are the errors raised. Facts beside the verdict are in its `detail`, see
    `record.schema.json`.
    """
    return _judge_task(harness, question, text, explain=explain, capture=False).verdict


def judge_task_with_reproducer(
    harness: AnyHarness, question: TaskQuestion, text: str, *, explain: bool = True
) -> ReproducibleVerdict:
    """Judge as `judge_task` does, and capture the reproducer of a failure of code that ran."""
    return _judge_task(harness, question, text, explain=explain, capture=True)


def _judge_task(
    harness: AnyHarness, question: TaskQuestion, text: str, *, explain: bool, capture: bool
) -> ReproducibleVerdict:
    reason = harness.find_unjudgeable_reason() or _find_unlowerable_reason(harness, question)
    if reason:
        return ReproducibleVerdict(Verdict("inconclusive", reason))
    candidate = _CANDIDATES[question.task](harness, question, text)
    try:
        assembly = candidate.lower()
    except ChildLostError as error:
        return ReproducibleVerdict(Verdict("inconclusive", str(error)))
    if isinstance(assembly, Verdict):
        return ReproducibleVerdict(assembly)
    taught = [lead for lead in map(decode_lead, question.taught) if lead]
    if capture:
        judged = harness.judge_with_reproducer(assembly, explain=explain, taught=taught)
    else:
        judged = ReproducibleVerdict(harness.judge(assembly, explain=explain, taught=taught))
    verdict = _add_claims(candidate.annotate(judged.verdict), question, candidate)
    return judged._replace(verdict=verdict)


def _find_unlowerable_reason(harness: AnyHarness, question: TaskQuestion) -> str | None:
    """Why answers to the task can't become assembly for this function; None where they can."""
    reference = harness.reference
    if question.task == "asm" or not reference.texts.needs_clang(reference.texts.ir(harness.function)):
        return None
    return f"it holds assembly, which is not lowered for {reference.target.name} here"


class _AssemblyCandidate:
    """An answer to `asm`."""

    def __init__(self, harness: AnyHarness, question: TaskQuestion, text: str) -> None:
        self.harness, self.question, self.text = harness, question, text

    def lower(self) -> str | Verdict:
        """The assembly of the answer, or the verdict on an answer of which there is none. Called first, and once."""
        return self.text

    def annotate(self, verdict: Verdict) -> Verdict:
        """The verdict on the assembly, as a verdict on the answer."""
        return verdict

    def true_sizes(self) -> _TrueSizes:
        """What is true of the answer where it claims something."""
        # The prompt counts instructions of IR, and the models answer with a count of IR too.
        expected = _expected_sizes(self.harness, self.question.passes)
        size = lowering.measure_object(self.text, self.harness.reference.target)
        return _TrueSizes(expected[0] if expected else None, size)


class _LoweredCandidate(_AssemblyCandidate):
    """An answer that LLVM makes assembly of."""

    module: lowering.LoweredModule
    """The lowered answer, once `lower` has returned assembly."""

    def annotate(self, verdict: Verdict) -> Verdict:
        detail = {**verdict.detail, "lowered": self.module.assembly}
        evidence = verdict.evidence
        if _named_line(verdict) is not None:
            evidence = (*evidence, evidence_line("lines", "are those of the assembly that LLVM makes of the answer"))
        return replace(verdict, evidence=evidence, detail=detail)

    def true_sizes(self) -> _TrueSizes:
        return _TrueSizes(self.module.instruction_count, self.module.object_bytes)


class _IRCandidate(_LoweredCandidate):
    """An answer to `ir` or `disassemble`."""

    def lower(self) -> str | Verdict:
        reference = self.harness.reference
        try:
            self.module = lowering.lower_module(
                self.text, optimiser.optimisation_level(self.question.passes), reference.target
            )
        except LoweringError as error:
            place = f"line {error.line}, column {error.column}: " if error.line else ""
            position = {"line": error.line or None, "column": error.column or None}
            evidence = (*quote_line(self.text, error.line), *error.details)
            return Verdict("assemble", f"{place}{error}", evidence, position)
        if self.module.has_assembly and " asm " not in reference.texts.ir(self.harness.function):
            return Verdict("assemble", "it holds assembly, which is no answer to a question for IR")
        return self.module.assembly

    def annotate(self, verdict: Verdict) -> Verdict:
        verdict = self._add_origin(super().annotate(verdict))
        facts: dict[str, Any] = {"ir": self._similarity()}
        if self.question.task == "disassemble":
            facts["round_trip"] = self._round_trip()
        return replace(verdict, detail=verdict.detail | facts)

    def _add_origin(self, verdict: Verdict) -> Verdict:
        """The verdict with the line of the answer's IR that the faulty line of assembly was made of, where known."""
        line = _named_line(verdict)
        if verdict.passed or line is None:
            return verdict
        level, target = optimiser.optimisation_level(self.question.passes), self.harness.reference.target
        origin = map_assembly_lines(self.text, level, self.module.assembly, target).get(line)
        if origin is None:
            return verdict
        quotation = " ".join(self.text.split("\n")[origin - 1].split())
        evidence = (*verdict.evidence, evidence_line("origin", f"line {origin} of the answer: {quotation}"))
        return replace(verdict, evidence=evidence, detail={**verdict.detail, "origin": origin})

    def _similarity(self) -> dict[str, Any]:
        """How the answer's IR compares with opt's own."""
        facts: dict[str, Any] = {"instructions": self.module.instruction_count, "size": self.module.object_bytes}
        sizes = _expected_sizes(self.harness, self.question.passes)
        if sizes is None:
            return facts
        reference = self.harness.reference
        expected = reference.texts.optimised_ir(self.harness.function, self.question.passes)
        expected_plain, expected_canonical = _comparable_forms(expected, reference.target)
        return facts | {
            "exact": strip_ir(self.text) == expected_plain,
            "canonical": self.module.canonical_ir == expected_canonical,
            "opt_instructions": sizes[0],
            "opt_size": sizes[1],
        }

    def _round_trip(self) -> dict[str, Any]:
        """How the assembly of the answer's IR compares with the assembly that the prompt showed."""
        reference = self.harness.reference
        prompted = strip_assembly(
            reference.texts.lowered_assembly(self.harness.function, self.question.passes), reference.target.dialect
        )
        lowered = strip_assembly(self.module.assembly, reference.target.dialect)
        score = compute_bleu(lowered, prompted)
        return {"exact": lowered == prompted, **({} if score is None else {"bleu": score})}


class _PassListCandidate(_LoweredCandidate):
    """An answer to `tune`."""

    def lower(self) -> str | Verdict:
        reference = self.harness.reference
        source, passes = reference.texts.ir(self.harness.function), self.text.strip()
        try:
            bitcode = optimiser.optimise(
                source, passes, reference.target, seconds=lowering.limit_seconds(source), megabytes=_OPTIMISER_MEGABYTES
            )
            self.module = lowering.lower_module(bitcode, None, reference.target)
        except (PassListError, OptimiserError, LoweringError) as error:
            line = self.text[: len(self.text) - len(self.text.lstrip())].count("\n") + 1
            return Verdict("assemble", " ".join(str(error).split()), quote_line(self.text, line), {"line": line})
        return self.module.assembly

    def annotate(self, verdict: Verdict) -> Verdict:
        _, smallest = self.harness.reference.texts.optimised_sizes(self.harness.function, _SIZE_BASELINE)
        facts = {
            "passes": self.text.strip(),
            "size": self.module.object_bytes,
            "oz": smallest,
            "improvement": round(100 * (smallest - self.module.object_bytes) / smallest, 2),
        }
        verdict = super().annotate(verdict)
        return replace(verdict, detail={**verdict.detail, "tune": facts})


_CANDIDATES: dict[Task, type[_AssemblyCandidate]] = {
    "asm": _AssemblyCandidate,
    "ir": _IRCandidate,
    "tune": _PassListCandidate,
    "disassemble": _IRCandidate,
}


def _named_line(verdict: Verdict) -> int | None:
    """The line of assembly that a verdict names: where the candidate fails, or where its execution diverges."""
    line: int | None = verdict.detail.get("line") or verdict.detail.get("parts")
    return line


@functools.lru_cache(_CACHED_FORMS)
def _comparable_forms(expected: str, target: Target) -> tuple[str, str]:
    """The plain and the canonical form of opt's own IR, which all samples of a question are compared with."""
    return strip_ir(expected), canonicalise_module(parse(expected), target)


def _expected_sizes(harness: AnyHarness, passes: str) -> tuple[int, int] | None:
    """Instructions and bytes of what opt makes with a pass list; None where LLVM does not know the list."""
    try:
        return harness.reference.texts.optimised_sizes(harness.function, passes)
    except CaseError:
        return None


def _add_claims(verdict: Verdict, question: TaskQuestion, candidate: _AssemblyCandidate) -> Verdict:
    """The verdict with the sizes that the answer claims beside the true ones. The kind does not depend on them."""
    if not question.claimed_sizes:
        return verdict
    sizes = candidate.true_sizes()
    true = {"instructions": sizes.instructions, "size": sizes.size}
    claims = {name: {"said": claimed, "is": true[name]} for name, claimed in question.claimed_sizes.items()}
    return replace(verdict, detail={**verdict.detail, "promised": claims})

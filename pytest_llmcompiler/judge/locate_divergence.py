"""Finding where a failing candidate diverges, by tracing it beside the reference."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmcompiler.emulator.tracing import TracedRun, trace_instructions, trace_stores
from pytest_llmcompiler.judge.differential import DifferentialRun
from pytest_llmcompiler.judge.divergence import (
    AssembledText,
    Divergence,
    InstructionTrace,
    WriteContext,
    common_length,
    find_divergence,
    find_wrong_write,
    is_similar,
)
from pytest_llmcompiler.judge.failure import Failure
from pytest_llmcompiler.judge.function_under_test import REFERENCE_LEVELS, FunctionUnderTest
from pytest_llmcompiler.judge.oracle import SuiteEntry
from pytest_llmcompiler.targets.code import AssembledCode

_LONGEST_TRACE = 20_000
"""Instructions, or stores, that are traced of a run. Each one costs a call of a Python hook."""


def compile_texts(under_test: FunctionUnderTest) -> list[AssembledText]:
    """clang's own texts for a function, one for each level of optimisation; a candidate may be similar to one.

    A level that gives the same code as one before is left out.
    """
    target = under_test.reference.target
    texts: list[AssembledText] = []
    for level in REFERENCE_LEVELS:
        assembly, assembled = under_test.assemble_reference(level)
        if not any(_is_same_code(assembled, text.assembled) for text in texts):
            texts.append(AssembledText(f"clang -{level}", assembly, assembled, target))
    return texts


def _is_same_code(first: AssembledCode, second: AssembledCode) -> bool:
    return first.segments == second.segments and first.mnemonics == second.mnemonics


def prepare_texts(under_test: FunctionUnderTest, texts: Sequence[AssembledText]) -> None:
    """Decode texts and load each into a machine, for the children that compare candidates with them."""
    for text in texts:
        _ = text.instructions
        under_test.open_reference_machine(text.assembled)


def locate_divergence(
    differential: DifferentialRun, texts: Sequence[AssembledText], entry: SuiteEntry, failure: Failure
) -> Divergence | None:
    """Where a candidate diverges from the reference on an input; None where that is not known.

    A candidate that is similar to one of clang's texts is compared with that text, instruction by instruction. Of any
    other candidate the stores are compared with the reference's.
    """
    machine = differential.machine
    candidate = AssembledText("the candidate", differential.assembly, differential.candidate, machine.program.target)
    traced = TracedRun(entry.layout, entry.call, entry.limit, failure.uninitialised)
    similar = [text for text in texts if is_similar(candidate, text)]
    if similar:
        own = InstructionTrace(candidate, trace_instructions(machine, traced, _LONGEST_TRACE))
        traces = [_trace_reference(differential, text, traced) for text in similar]
        return find_divergence(own, max(traces, key=lambda trace: common_length(own, trace)))
    if failure.kind != "abi":
        return _locate_wrong_write(differential, candidate, entry, traced, is_complete=failure.kind == "mismatch")
    return None


def _trace_reference(differential: DifferentialRun, text: AssembledText, traced: TracedRun) -> InstructionTrace:
    under_test = differential.suite.under_test
    machine = under_test.open_reference_machine(text.assembled)
    return InstructionTrace(text, trace_instructions(machine, traced, _LONGEST_TRACE))


def _locate_wrong_write(
    differential: DifferentialRun, candidate: AssembledText, entry: SuiteEntry, traced: TracedRun, *, is_complete: bool
) -> Divergence | None:
    under_test = differential.suite.under_test
    golden = under_test.reference.golden
    machines = differential.machine, under_test.open_machine(golden)
    writes = trace_stores(machines[0], traced, _LONGEST_TRACE), trace_stores(machines[1], traced, _LONGEST_TRACE)
    variables = {name: (golden.symbols[name].address, golden.symbols[name].size) for name in golden.globals}
    context = WriteContext(entry.context, entry.dont_care, variables, is_complete)
    return find_wrong_write(candidate, machines, writes, context)

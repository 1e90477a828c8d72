"""The tests that were published with a case: whether they hold with a candidate in the place of the function.

Those of functions are a `main` in a file of their own, which is the program's `main` (see `whole_program`). So a
candidate that fails them fails here too, and the arguments that they pass are inputs of the suite. Those of whole
programs are texts of standard input, which are inputs of the suite, with what the program should write.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from pytest_llmcompiler.emulator.kernel import SIGNAL_CODE
from pytest_llmcompiler.emulator.observation import Observation
from pytest_llmcompiler.judge.compare_output import quote_text
from pytest_llmcompiler.judge.verdict import harmless
from pytest_llmcompiler.judge.whole_program import WholeProgram, limit_reference
from pytest_llmcompiler.program.case import Case, TestKind

PublishedResult = dict[str, Any]
"""The fact `published` of verdicts: see `record.schema.json`."""
_MAX_CHARACTERS = 200
"""Of the text of an assertion and of the last line that is printed."""


def describe_run(kind: TestKind, program: WholeProgram, run: Observation) -> PublishedResult | None:
    """Whether tests hold in a run of the program, and why they do not; None where the emulator can't run the code."""
    if run.outcome == "vex":
        return None
    fault = _describe_fault(run)
    if not fault:
        return {"tests": kind, "holds": True}
    if _describe_fault(program.expected):
        fault = f"they fail with the reference too: {fault}"
    return {"tests": kind, "holds": False, "message": fault}


class OutputTest(NamedTuple):
    """A standard input for a whole program, with what the program should write."""

    name: str
    """The file of the standard input."""
    output: bytes
    expected: Observation
    """What the program with the reference in it does."""


def describe_output_runs(tests: Sequence[OutputTest], runs: Iterable[Observation]) -> PublishedResult | None:
    """Whether a whole program writes what the tests say, and what differs first; None where the emulator can't run it.

    `runs` are those on the tests' inputs; they are asked for one by one, up to the first that fails. White space at the
    ends of lines and of the text does not count, as in the tests of published data sets.
    """
    for test, run in zip(tests, runs):
        if run.outcome == "vex":
            return None
        fault = _describe_output_fault(test, run)
        if fault and _describe_output_fault(test, test.expected):
            fault = f"the reference does not write it either: {fault}"
        if fault:
            return {"tests": "io", "holds": False, "message": f"{test.name}: {fault}"}
    return {"tests": "io", "holds": True}


def _describe_output_fault(test: OutputTest, run: Observation) -> str:
    """What is wrong with a run of a whole program on the input of a test; empty where nothing is."""
    if run.outcome != "exit" or run.exit_code >= SIGNAL_CODE:
        return _describe_fault(run)
    lines = _strip_lines(test.output), _strip_lines(run.output.get(1, b""))
    differing = ((number, *pair) for number, pair in enumerate(zip_longest(*lines), 1) if pair[0] != pair[1])
    number, expected, observed = next(differing, (0, None, None))
    if not number:
        return ""
    shown = (_shorten(quote_text(line)) if line is not None else "no line" for line in (expected, observed))
    return "line {}: expected {}, observed {}".format(number, *shown)


def _strip_lines(text: bytes) -> list[bytes]:
    return [line.rstrip() for line in text.rstrip().split(b"\n")]


def describe_unrunnable(case: Case, function: str) -> str:
    """Why tests are left out whose run with the reference in it shows nothing."""
    name = case.tests.path.name if case.tests else ""
    return (
        f"the tests in {name} are left out: they do not call {function}, do not end within "
        f"{limit_reference(case):,} instructions, or builds of the reference differ in them"
    )


def _describe_fault(run: Observation) -> str:
    """Why tests fail in a run, as one line; empty where they hold."""
    if run.outcome == "exit" and run.exit_code == 0:
        return ""
    if run.assertion is not None:
        return f"assertion fails: {_shorten(run.assertion)}"
    if run.outcome == "limit":
        return "they do not end"
    if run.fault is not None:
        return run.fault.description
    if run.outcome == "exit" and run.exit_code >= SIGNAL_CODE:
        return f"signal {run.exit_code - SIGNAL_CODE}"
    ending = f"exit code {run.exit_code}" if run.outcome == "exit" else run.outcome
    lines = run.output.get(1, b"").decode("utf-8", "replace").split("\n")
    printed = next((line for line in reversed(lines) if line.strip()), "")
    return f"{ending}: {_shorten(printed)}" if printed else ending


def _shorten(text: str) -> str:
    line = harmless(" ".join(text.split()))  # a candidate may have printed it
    return line if len(line) <= _MAX_CHARACTERS else line[: _MAX_CHARACTERS - 2] + " …"

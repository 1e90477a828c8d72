"""The differential run of a candidate that the engine has run: what its left runs show is the engine's to say.

The candidate's code runs in the engine's child alone, so that nothing has to be forked for it.
"""

from __future__ import annotations

from pytest_llmcompiler.emulator.engine_machine import EngineMachine, Showing
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import Observation
from pytest_llmcompiler.emulator.uninitialised import UninitialisedFill
from pytest_llmcompiler.errors import EngineError
from pytest_llmcompiler.judge.differential import DifferentialRun
from pytest_llmcompiler.judge.failure import FaultingMachine
from pytest_llmcompiler.judge.oracle import SuiteEntry
from pytest_llmcompiler.judge.suite import Suite
from pytest_llmcompiler.targets.code import AssembledCode


class ShownRun(DifferentialRun):
    """A differential run on the inputs of a suite that the engine has. Where the engine can't tell what a run shows,
    EngineError is raised, and a differential run in a child of this process is needed."""

    def __init__(self, suite: Suite, candidate: AssembledCode, assembly: str, show: Showing) -> None:
        super().__init__(suite, candidate, assembly)
        under_test = suite.under_test
        program = under_test.program_for(candidate)
        self._shown = EngineMachine(show, program, under_test.signature, candidate)

    @property
    def machine(self) -> Machine:
        """There is none."""
        raise EngineError("what the engine can't tell is asked for")

    @property
    def _faulting_machine(self) -> FaultingMachine:
        return self._shown

    def _run(self, entry: SuiteEntry, fill: UninitialisedFill) -> Observation:
        # Most candidates that fail one of the inputs fail one of the first.
        entries = self.suite.corpus.entries.values()
        number = next(number for number, one in enumerate(entries) if one is entry)
        return self._shown.run(number, entry.layout, entry.expected, fill)

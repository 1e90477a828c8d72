"""The oracle of whole programs: whether a program is defined on an input, and what it does there."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, field, replace

from pytest_llmcompiler.corpus.budget import Budget
from pytest_llmcompiler.corpus.probing import MAX_STEPS, TOO_LONG, ProbeResult, UndefinedInputError
from pytest_llmcompiler.emulator.coverage import Comparisons, Feature
from pytest_llmcompiler.emulator.input_calls import InputCalls
from pytest_llmcompiler.emulator.kernel import TOO_MUCH_OUTPUT
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import Observation
from pytest_llmcompiler.emulator.probe import STEPS_PER_MICROSECOND, Probe
from pytest_llmcompiler.judge.most_recent import MostRecent
from pytest_llmcompiler.judge.native_policy import BYTES_PER_NATIVE_STEP
from pytest_llmcompiler.judge.program_under_test import ProgramUnderTest
from pytest_llmcompiler.judge.reference_builds import UNKNOWN
from pytest_llmcompiler.judge.whole_program import HangLimit, compare_programs
from pytest_llmcompiler.values.input import Input
from pytest_llmcompiler.values.program_input import ProgramInput, to_program_input

_MAX_INSTRUCTIONS, _INSTRUCTIONS_PER_STEP = 16_000_000, 30
"""Instructions of the reference on one input: at least, and for each step that its probe run may take. An input that
needs more is dropped: each candidate would run it too."""
_HANG_LIMIT = HangLimit(per_byte=16, base=100_000)
"""A candidate may execute 16 instructions for each byte of code that the reference at -O0 executes, plus 100,000: more
than fifty times what the reference executes. The base is for the C library's work around a short program."""
_MOST_STEPS, _MOST_GIVEN_STEPS = 40_000, 4 * MAX_STEPS
"""Steps of a probe run on an input that is generated, and on one that the case gives. Every candidate runs on both."""
_MAX_HOST_COST = 20_000
"""Cost of the host in a run of the probe, in external calls: five thousand allocations."""
_BYTES_PER_STEP = 3
"""Bytes of code that all runs of the references together execute in the time of a step of the probe."""
_ENDINGS = ("exit", "abort")


@dataclass(frozen=True)
class ProgramEntry:
    """An input of a program, with what the reference does on it."""

    program: ProgramInput
    expected: Observation
    """How the run ends, its output, and its edges."""
    limit: int
    """Instructions that a candidate may execute; above that it hangs."""
    probe_result: ProbeResult = field(default=ProbeResult(), compare=False)


@dataclass(frozen=True)
class _ProgramMachines:
    probe: Probe
    calls: InputCalls
    golden: Machine
    """The program at -O0, whose behaviour is expected."""
    others: tuple[Machine, ...]
    """The program at -O0 with other choices in all that C leaves open, and at -O2, both on the inverse garbage."""

    def close(self) -> None:
        self.probe.close()
        for machine in (self.golden, *self.others):
            machine.close()


class ProgramOracle:
    """Runs several builds of a program on an input, and compares their runs.

    The machines are built when they are first needed. `release` frees them; they are built again on the next use.
    """

    def __init__(self, under_test: ProgramUnderTest, budget: Budget | None = None) -> None:
        self._under_test, self._budget = under_test, budget or Budget(0)
        self._files = tuple(under_test.reference.case.files.items())
        self.takes_long_runs = False
        """Whether runs may take as many steps as on an input that the case gives."""
        self._open: _ProgramMachines | None = None

    def look(self, input: Input, known: Set[Feature] = frozenset(), steps: int = MAX_STEPS) -> ProbeResult:
        """The coverage of an input, as the probe records it, in at most so many steps. The comparisons are read only
        where a feature is not `known` yet. Raises UndefinedInputError."""
        machines, steps = self._machines, self._limit(steps)
        machines.calls.reset()
        run = machines.probe.run_process(to_program_input(input, self._files), steps)
        self._budget.charge(machines.probe.cost)
        try:
            _require_end(run)
        except UndefinedInputError as error:
            error.edges = machines.probe.read_edges()
            raise
        features = machines.probe.read_features()
        comparisons = None if features <= known else machines.probe.read_comparisons()
        return ProbeResult(features, comparisons, machines.probe.steps)

    def accept(self, input: Input, known: Set[Feature] = frozenset(), steps: int = MAX_STEPS) -> ProgramEntry:
        """The suite's entry for an input. Raises UndefinedInputError where the program is not defined on it."""
        look = self.look(input, known, steps)
        program, machines = to_program_input(input, self._files), self._machines
        limit = max(_MAX_INSTRUCTIONS, _INSTRUCTIONS_PER_STEP * self._limit(steps))
        run = machines.golden.run_process(program, limit)
        _require_end(run)
        if self._under_test.native.needs_processor:
            run = replace(run, executed_bytes=look.steps * BYTES_PER_NATIVE_STEP)
        limit = _HANG_LIMIT.instructions(run.executed_bytes)
        for other in self._other_runs(program, limit):
            if any(compare_programs(run, other)):
                raise UndefinedInputError(UNKNOWN)
        host = STEPS_PER_MICROSECOND * machines.golden.host_microseconds
        self._budget.charge((run.executed_bytes // _BYTES_PER_STEP) + (2 + len(machines.others)) * host)
        return ProgramEntry(program, run, limit, look)

    def preview(self, program: ProgramInput, limit: int) -> ProgramEntry:
        """The entry that `accept` may give for an input. It takes a fifth of the time, since only one build runs.

        Raises UndefinedInputError where this build does not come to its end in `limit` instructions.
        """
        run = self._machines.golden.run_process(program, limit)
        _require_end(run)
        return ProgramEntry(program, run, _HANG_LIMIT.instructions(run.executed_bytes))

    def _limit(self, steps: int) -> int:
        return _MOST_GIVEN_STEPS if self.takes_long_runs else min(steps, _MOST_STEPS)

    def _other_runs(self, program: ProgramInput, limit: int) -> Iterator[Observation]:
        """The runs that must show the same where the program is defined: other uninitialised contents, other builds."""
        yield self._machines.golden.run_process(program, limit, "zeros")
        for machine in self._machines.others:
            yield machine.run_process(program, limit)

    @property
    def calls(self) -> InputCalls:
        """The calls by which the last run of the probe read standard input."""
        return self._machines.calls

    def effort(self) -> int:
        """The effort of the last run of the probe, in its steps."""
        return self._machines.probe.effort

    def comparisons(self) -> Comparisons:
        """The comparisons of the last run of the probe, also where it failed."""
        return self._machines.probe.read_comparisons()

    def open(self) -> None:
        """Build the machines: children of this process inherit them.

        Those of the program for which this was called longest ago are freed, if they are too many.
        """
        _ = self._machines
        for other in _OPEN.use(self):
            other.release()

    def release(self) -> None:
        """Free the machines."""
        if self._open is not None:
            self._open.close()
            self._open = None

    @property
    def _machines(self) -> _ProgramMachines:
        if self._open is None:
            self._open = self._build_machines()
        return self._open

    def _build_machines(self) -> _ProgramMachines:
        under_test, reference = self._under_test, self._under_test.reference
        reference.start_probe()
        reference.start_probe_program()
        reference.start_block_counters()
        perturbed, optimised = reference.perturbed, under_test.optimised
        machine = under_test.open_machine(reference.probe, check_preconditions=True)
        return _ProgramMachines(
            probe=Probe(machine, reference.may_loop_uncounted("main"), _MAX_HOST_COST),
            calls=InputCalls(machine),
            golden=under_test.open_machine(reference.golden, trace_blocks=True),
            others=(
                under_test.open_machine(perturbed, garbage_pattern=1),
                under_test.open_machine(under_test.host, optimised, garbage_pattern=1),
            ),
        )


_OPEN: MostRecent[ProgramOracle] = MostRecent(4)
"""The oracles whose machines children inherit: some 20 MiB each."""


def _require_end(run: Observation) -> None:
    """Raise UndefinedInputError where a run of a reference does not come to its end."""
    if run.outcome in _ENDINGS:
        return
    if run.outcome == "fault":
        assert run.fault is not None
        if run.fault.description == TOO_MUCH_OUTPUT:
            raise UndefinedInputError(TOO_MUCH_OUTPUT)
        raise UndefinedInputError("undefined behaviour" if run.fault.address is None else "bad memory access")
    raise UndefinedInputError(TOO_LONG if run.outcome == "limit" else "not emulated")

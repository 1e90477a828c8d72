"""The oracle: whether a function is defined on an input, and what the reference shows on it."""

from __future__ import annotations

import functools
from collections.abc import Collection, Set
from dataclasses import dataclass, replace

from pytest_llmcompiler.corpus.budget import Budget
from pytest_llmcompiler.corpus.directives import satisfies_rules
from pytest_llmcompiler.corpus.probing import MAX_STEPS, TOO_LONG, Overrun, ProbeResult, UndefinedInputError
from pytest_llmcompiler.emulator.coverage import Comparisons, Feature
from pytest_llmcompiler.emulator.input_calls import InputCalls
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import ENDINGS, GuestFault, Observation, Reply
from pytest_llmcompiler.emulator.probe import BYTES_PER_STEP, STEPS_PER_MICROSECOND, Probe
from pytest_llmcompiler.emulator.stack import MAX_ARGUMENT_BYTES
from pytest_llmcompiler.emulator.uninitialised import UninitialisedFill
from pytest_llmcompiler.errors import LayoutError
from pytest_llmcompiler.judge.compare import writes_around_objects
from pytest_llmcompiler.judge.difference import ComparisonContext, Difference
from pytest_llmcompiler.judge.disagreement import BuildRuns, DisagreementAnalysis, RunPlace
from pytest_llmcompiler.judge.dont_care import DontCareBytes
from pytest_llmcompiler.judge.engine_calls import write_calls
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.most_recent import MostRecent
from pytest_llmcompiler.judge.native_policy import BYTES_PER_NATIVE_STEP
from pytest_llmcompiler.judge.reference_builds import ReferenceBuilds
from pytest_llmcompiler.judge.whole_file import WholeFileCheck
from pytest_llmcompiler.judge.whole_program import HangLimit, WholeProgram, limit_reference, run_whole_program
from pytest_llmcompiler.targets import abi
from pytest_llmcompiler.values.input import Input
from pytest_llmcompiler.values.layout import MAX_OBJECT_BYTES, PAGE, Layout, lay_out

_MAX_INSTRUCTIONS, _INSTRUCTIONS_PER_STEP = 4_000_000, 30
"""Instructions of the reference on one input: at least, and for each step that its probe run may take. An input that
needs more is dropped: each candidate would run it too."""
_SAMPLE_INSTRUCTIONS = 50_000
"""Instructions of the reference on the first input that takes too long: enough to tell what its steps cost."""
_BYTES_EXECUTED_PER_STEP = 3
"""Bytes of code that all runs of the references together execute in the time of a step of the probe: the golden image
with a Python hook for each block, and counting instructions."""
_HANG_LIMIT = HangLimit(per_byte=32, base=20_000)
"""A candidate may execute 32 instructions for each byte of code that the reference executes, and for each byte of the
objects of the input, plus 20,000. An instruction has about four bytes, so this is more than a hundred times what the
reference executes: slow but correct code stays far below. The objects count because a candidate may search them in
another order, and so look at bytes that the reference does not reach."""


@dataclass(frozen=True)
class SuiteEntry:
    """One input of the corpus, with the reference's observation."""

    context: ComparisonContext
    call: abi.CallSetup
    expected: Observation
    """The reference's run with the fill `garbage`."""
    dont_care: DontCareBytes
    limit: int
    """Instructions that a candidate may execute; above that it hangs."""
    probe_result: ProbeResult
    bug: Difference | None = None
    """Where clang -O2 computes the function wrongly on this input: expected is what -O0 does."""
    replay: bytes = b""
    """The external calls of the run with their answers, as the engine reads them; nothing where there are none."""

    @property
    def layout(self) -> Layout:
        """The input in memory."""
        return self.context.layout


@dataclass(frozen=True)
class _ReferenceMachines:
    """The builds of the reference. They are large: each is an emulated process."""

    probe: Probe
    """Traps at undefined behaviour, and records coverage."""
    calls: InputCalls | None
    """The calls by which the probe's runs read standard input; None where the function does not."""
    golden: Machine
    """The program at -O0, whose observations candidates are compared with."""
    optimised: tuple[Machine, ...]
    """The same program with the function at -O2, on the inverse garbage."""

    def close(self) -> None:
        """Free the machines."""
        self.probe.close()
        for machine in (self.golden, *self.optimised):
            machine.close()


class Oracle:
    """Runs several builds of the reference on an input, and compares their runs.

    The machines are built when they are first needed. `release` frees them; they are built again on the next use.
    """

    def __init__(
        self, under_test: FunctionUnderTest, builds: ReferenceBuilds | None = None, budget: Budget | None = None
    ) -> None:
        self._under_test, self._budget = under_test, budget or Budget(0)
        self.builds = builds or ReferenceBuilds(under_test)
        self._analysis = DisagreementAnalysis(under_test, self.builds)
        self._names = [param.name for param in under_test.signature.params]
        self._rules = under_test.reference.argument_rules(under_test.function)
        self._convention = under_test.reference.target.convention
        self._has_run_golden = False
        self._laid_out: tuple[Input, Layout, abi.CallSetup] | None = None
        """The last input that was laid out: an input that is added to the corpus is run by the probe before."""
        self._open_machines: _ReferenceMachines | None = None
        self.whole_file = WholeFileCheck(under_test)

    def look(self, input: Input, known: Set[Feature] = frozenset(), steps: int = MAX_STEPS) -> ProbeResult:
        """The coverage of an input, as the probe records it, in at most so many steps. The comparisons are read only
        where a feature is not `known` yet.

        Raises UndefinedInputError where the function is not defined on the input.
        """
        probe = self._probe(input, steps)
        features = probe.read_features()
        return ProbeResult(features, None if features <= known else probe.read_comparisons(), probe.steps)

    def _probe(self, input: Input, steps: int) -> Probe:
        """The probe after its run on an input. Raises UndefinedInputError."""
        # Objects must end at an unmapped page here, also where the other machines align their starts: only so does the
        # probe see each access past the end of an object.
        is_moved = input.is_4gib_aligned or input.crossing
        if is_moved:
            self.lay_out(input)  # fewer and smaller objects fit where they have such addresses
        layout, call = self.lay_out(replace(input, is_4gib_aligned=False, crossing=None) if is_moved else input)
        probe, calls = self._machines.probe, self._machines.calls
        if calls:
            calls.reset()
        run = probe.run(layout, call, steps)
        self._budget.charge(probe.cost)
        if run.outcome == "limit" and not self._has_run_golden:
            self._run_sample(layout, call)
        try:
            _require_defined(run, layout)
        except UndefinedInputError as error:
            error.edges = probe.read_edges()
            raise
        return probe

    def accept(self, input: Input, known: Set[Feature] = frozenset(), steps: int = MAX_STEPS) -> SuiteEntry:
        """The suite's entry for an input. Arguments are those of `look`.

        Raises UndefinedInputError where the function is not defined on the input.
        """
        look = self.look(input, known, steps)
        layout, call = self.lay_out(input)
        machines = self._machines
        if layout.is_4gib_aligned or layout.crossing:  # whether behaviour is undefined may depend on addresses
            _require_defined(machines.probe.run(layout, call, steps), layout)
        run = self._run_golden(layout, call, max(_MAX_INSTRUCTIONS, _INSTRUCTIONS_PER_STEP * steps))
        records = machines.golden.call_records
        _require_defined(run, layout)
        if run.abi_breaches:  # a write past a local variable may hit what the function has saved
            raise UndefinedInputError("undefined behaviour")
        limit = _hang_limit(run, layout)
        # Varied fills: the machines differ in their garbage, and each runs with zeros too. A result that depends on an
        # uninitialised value differs in at least one of these runs.
        golden, *optimised = (
            BuildRuns(first, machine.run(layout, call, limit, uninitialised="zeros"))
            for machine, first in (
                (machines.golden, run),
                *((machine, machine.run(layout, call, limit)) for machine in machines.optimised),
            )
        )
        context = self._context(layout)
        try:
            has_local_texts = any(record.passes_local_text for record in records)
            ruling = self._analysis.rule(RunPlace(context, call, limit), golden, optimised, has_local_texts)
        finally:
            self._budget.charge(self._analysis.run_count * _run_cost(run, machines.golden) // _RUNS)
        if writes_around_objects(layout, run):
            raise UndefinedInputError("writes outside of every object")
        if ruling.bug is None:
            self.whole_file.require_agreement(input, context, call, limit, run, ruling.dont_care)
        replay = write_calls(machines.golden, records, context, run, ruling.dont_care) if records else b""
        return SuiteEntry(context, call, run, ruling.dont_care, limit, look, ruling.bug, replay)

    def preview(self, input: Input, steps: int = MAX_STEPS) -> SuiteEntry:
        """The entry that `accept` may give for an input, with every byte compared. It takes a third of the time, since
        only the probe, for at most so many steps, and one build run.

        Raises UndefinedInputError as far as these two show that the function is not defined on the input.
        """
        self._probe(input, steps)
        layout, call = self.lay_out(input)
        run = self._run_golden(layout, call, _INSTRUCTIONS_PER_STEP * steps)
        _require_defined(run, layout)
        return SuiteEntry(self._context(layout), call, run, DontCareBytes(), _hang_limit(run, layout), ProbeResult())

    def _run_golden(self, layout: Layout, call: abi.CallSetup, limit: int) -> Observation:
        """The expected run on an input. It also teaches the probe how much its runs cost."""
        golden = self._machines.golden
        run = golden.run(layout, call, limit)
        if self._under_test.native.needs_processor:
            run = self._count_by_probe(run)
        self._has_run_golden = True
        self._budget.charge(_run_cost(run, golden))
        self._machines.probe.note_library(*golden.executed_code)
        return run

    def _count_by_probe(self, run: Observation) -> Observation:
        """A run of the processor itself, where nothing counts what is executed, with what the last run of the probe has
        counted."""
        edges = frozenset((0, edge) for edge in self._machines.probe.read_edges())
        return replace(run, edges=edges, executed_bytes=self._machines.probe.steps * BYTES_PER_NATIVE_STEP)

    def _run_sample(self, layout: Layout, call: abi.CallSetup) -> None:
        """Run the start of a run that takes too long, to teach the probe how much its runs cost."""
        self._machines.golden.run(layout, call, _SAMPLE_INSTRUCTIONS)
        self._has_run_golden = True
        self._machines.probe.note_library(*self._machines.golden.executed_code)

    def lay_out(self, input: Input) -> tuple[Layout, abi.CallSetup]:
        """An input in memory, with the registers and the stack that pass it."""
        if self._laid_out is None or self._laid_out[0] is not input:
            self._laid_out = input, *self._lay_out(input)
        return self._laid_out[1:]

    def set_up(self, input: Input) -> tuple[ComparisonContext, abi.CallSetup]:
        """An input in memory, with what runs on it are compared by, and how it is passed."""
        layout, call = self.lay_out(input)
        return self._context(layout), call

    def _lay_out(self, input: Input) -> tuple[Layout, abi.CallSetup]:
        if not satisfies_rules(input, self._rules, self._names):
            raise UndefinedInputError("against a directive")
        if not self._under_test.possible_values.allows(input):
            raise UndefinedInputError("a value that no code stores")
        layout = self._layout(input)
        call = self._set_up_call(input, layout)
        if len(call.stack) > MAX_ARGUMENT_BYTES:
            raise UndefinedInputError("too large")
        return layout, call

    def replies(self, entry: SuiteEntry, uninitialised: UninitialisedFill) -> list[Reply]:
        """The replies to the reference's external calls on an input, with an uninitialised fill."""
        if not entry.expected.calls:
            return []
        golden = self._machines.golden
        golden.run(entry.layout, entry.call, entry.limit, uninitialised=uninitialised)
        return list(golden.replies)

    def whole_program(self) -> WholeProgram | None:
        """The run of the whole program; None where it has no `main`, or shows nothing of the function."""
        if not self._under_test.reference.golden.has_main or self._under_test.function == "main":
            return None
        machines, instructions = self._machines, limit_reference(self._under_test.reference.case)
        others = [machines.probe.run_program, machines.optimised[0].run_program]
        return run_whole_program(self._run_golden_program, others, _HANG_LIMIT, instructions)

    def _run_golden_program(self, limit: int) -> Observation:
        run = self._machines.golden.run_program(limit)
        if not self._under_test.native.needs_processor:
            return run
        self._machines.probe.run_program(limit)
        return self._count_by_probe(run)

    def effort(self) -> int:
        """The effort of the last run of the probe, in its steps."""
        return self._machines.probe.effort

    @property
    def calls(self) -> InputCalls:
        """The calls by which the last run of the probe read standard input. Only for a function that may read it."""
        calls = self._machines.calls
        assert calls is not None
        return calls

    def comparisons(self) -> Comparisons:
        """The comparisons of the last run of the probe, also where it failed."""
        return self._machines.probe.read_comparisons()

    def close(self, further: Collection[str]) -> None:
        """Compile what accepting an input needs, and nothing from now on: children of this process explain failures,
        and can't compile. `further` are the names of builds that only some inputs need."""
        _ = self._under_test.reference.probe
        # The first run of an explanation teaches nothing, just as where this process has computed the suite.
        self._has_run_golden = True
        self.builds.close(further)
        self.whole_file.compile()

    def open(self) -> None:
        """Build the machines. Children of this process inherit them: building them takes longer than most runs.

        Those of the function for which this was called longest ago are freed, if they are too many.
        """
        _ = self._machines
        for other in _OPEN.use(self):
            other.release()

    @property
    def is_open(self) -> bool:
        """Whether the machines are built."""
        return self._open_machines is not None

    def release(self) -> None:
        """Free the machines."""
        self._analysis.release()
        self._under_test.release_reference_machines()
        if self._open_machines is not None:
            self._open_machines.close()
            self._open_machines = None
            self.whole_file.release()

    @property
    def _machines(self) -> _ReferenceMachines:
        if self._open_machines is None:
            self._open_machines = self._build_machines()
        return self._open_machines

    def _build_machines(self) -> _ReferenceMachines:
        under_test, reference = self._under_test, self._under_test.reference
        has_uncounted_loops = reference.may_loop_uncounted(under_test.function)
        reference.start_probe_program()
        optimised = self.builds.optimised  # the compiler of the probe runs meanwhile
        machine = under_test.open_machine(reference.probe, check_preconditions=True)
        return _ReferenceMachines(
            probe=Probe(machine, has_uncounted_loops),
            calls=InputCalls(machine) if reference.reads_standard_input(under_test.function) else None,
            golden=under_test.open_machine(reference.golden, trace_blocks=True),
            optimised=tuple(
                under_test.open_machine(reference.golden, build.plain, garbage_pattern=1) for build in optimised
            ),
        )

    @functools.cached_property
    def _uses_errno(self) -> bool:
        return self._under_test.reference.uses_errno(self._under_test.function)

    @functools.cached_property
    def _returns_in_memory(self) -> bool:
        return self._convention.locate_result(self._under_test.signature).is_in_memory

    def _layout(self, input: Input) -> Layout:
        signature = self._under_test.signature
        buffer = signature.result if self._returns_in_memory else None
        try:
            unnamed = [""] * (len(input.args) - len(self._names))  # variadic arguments
            return lay_out(input, [*self._names, *unnamed], buffer)
        except LayoutError:
            raise UndefinedInputError("too large") from None

    def _set_up_call(self, input: Input, layout: Layout) -> abi.CallSetup:
        types = [value.type for value in input.args]
        buffer = layout.result.address if layout.result else None
        return self._convention.set_up_call(
            types, layout.images, variadic=self._under_test.signature.variadic, buffer=buffer
        )

    def _context(self, layout: Layout) -> ComparisonContext:
        reference = self._under_test.reference
        return ComparisonContext(
            self._under_test.signature,
            layout,
            reference.golden.globals,
            reference.variables,
            self._uses_errno,
            compares_pointees=not reference.keeps_inner_pointers,
        )


_OPEN: MostRecent[Oracle] = MostRecent(4)
"""The oracles whose machines children inherit. They take 10 MiB each. Failures of the same few functions follow each
other."""
_RUNS = 4
"""Runs of the references on an input on which they agree, with one build at -O2."""


def _hang_limit(run: Observation, layout: Layout) -> int:
    """The instructions that a candidate may execute on an input, on which the reference's run is known."""
    return _HANG_LIMIT.instructions(run.executed_bytes + sum(target.size for target in layout.objects))


def _run_cost(run: Observation, golden: Machine) -> int:
    """What the runs of the references on an input cost, in steps of the probe. `run` was the first of them."""
    host = STEPS_PER_MICROSECOND * golden.host_microseconds
    variables = sum(map(len, run.globals)) // BYTES_PER_STEP
    return run.executed_bytes // _BYTES_EXECUTED_PER_STEP + _RUNS * (host + variables)


def _require_defined(run: Observation, layout: Layout) -> None:
    """Raise UndefinedInputError where a run of a reference does not come to its end."""
    if run.outcome == "fault":
        assert run.fault is not None
        if run.fault.address is None:
            raise UndefinedInputError("undefined behaviour", may_use_null=True)
        raise UndefinedInputError(
            "bad memory access", _overrun(run.fault, layout), may_use_null=run.fault.address < PAGE
        )
    if run.outcome == "limit":
        raise UndefinedInputError(TOO_LONG)
    if run.outcome not in ENDINGS:
        reason = run.fault.description if run.fault else run.outcome
        raise UndefinedInputError(f"{reason}, which the emulator can't judge")


def _overrun(fault: GuestFault, layout: Layout) -> Overrun | None:
    """The object past whose end an access faults, and the size in bytes that it would need; None for other faults."""
    for number, (target, _) in enumerate(layout.contents):
        size = (fault.address or 0) + fault.size - target.address
        if target.size < size <= MAX_OBJECT_BYTES and fault.access != "jump":
            return Overrun(number, size)
    return None

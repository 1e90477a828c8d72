"""The oracle: what the reference shows on an input, as far as that is something to hold a candidate to."""

from __future__ import annotations

import functools
import gc
from collections.abc import Set
from dataclasses import dataclass, replace

from pytest_llmcompiler.corpus.directives import satisfies_rules
from pytest_llmcompiler.corpus.fuzzer import MAX_STEPS, Overrun, ProbeResult, UndefinedInputError
from pytest_llmcompiler.emulator.coverage import Feature
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import GuestFault, Observation, Reply
from pytest_llmcompiler.emulator.probe import Probe
from pytest_llmcompiler.emulator.stack import MAX_ARGUMENT_BYTES
from pytest_llmcompiler.emulator.uninitialised import UninitialisedFill
from pytest_llmcompiler.errors import LayoutError
from pytest_llmcompiler.judge.agreement import find_dont_care_bytes, references_agree
from pytest_llmcompiler.judge.compare import writes_around_objects
from pytest_llmcompiler.judge.difference import ComparisonContext
from pytest_llmcompiler.judge.dont_care import DontCareBytes
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.whole_program import WholeProgram, run_whole_program
from pytest_llmcompiler.targets import abi
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.values.input import Input
from pytest_llmcompiler.values.layout import MAX_OBJECT_BYTES, PAGE, Layout, lay_out

_LIMIT = 4_000_000
"""Instructions; an input for which the reference needs more is not a test."""
_HANG_FACTOR, _HANG_FLOOR = 32, 20_000
"""A candidate hangs past this many instructions for each byte of code that the reference executed and for each byte of
the objects that it is given, which it may look at in another order, and as many more."""


@dataclass(frozen=True)
class SuiteEntry:
    """One input of the corpus with what the reference shows on it."""

    context: ComparisonContext
    call: abi.CallSetup
    expected: Observation
    dont_care: DontCareBytes
    limit: int
    """Instructions that a candidate may take for it."""
    look: ProbeResult

    @property
    def layout(self) -> Layout:
        """The input in memory."""
        return self.context.layout


class Oracle:
    """Runs several builds of the reference, which must agree. Its machines are made when they are first needed."""

    def __init__(self, under_test: FunctionUnderTest) -> None:
        self._under_test = under_test
        self._names = [param.name for param in under_test.signature.params]
        self._rules = under_test.reference.argument_rules(under_test.function)
        self._convention = under_test.reference.target.convention

    def look(self, made: Input, known: Set[Feature] = frozenset(), steps: int = MAX_STEPS) -> ProbeResult:
        """What the probe alone shows on an input. Raises Undefined where that is nothing to hold a candidate to."""
        # The probe must see what is read past an object's end, wherever the others find the object.
        layout, call = self._ready(replace(made, is_4gib_aligned=False))
        probe = self._machines[0]
        _defined(probe.run(layout, call, steps), layout)
        features = probe.read_features()
        return ProbeResult(features, None if features <= known else probe.read_comparisons(), probe.steps)

    def accept(self, made: Input, known: Set[Feature] = frozenset(), steps: int = MAX_STEPS) -> SuiteEntry:
        """What the reference shows on an input. Raises Undefined where that is nothing to hold a candidate to."""
        look = self.look(made, known, steps)
        layout, call = self._ready(made)
        probe, golden, optimised = self._machines
        if layout.is_4gib_aligned:  # what is undefined may depend on the place
            _defined(probe.run(layout, call, steps), layout)
        run = _defined(golden.run(layout, call, _LIMIT), layout)
        limit = _HANG_FLOOR + _HANG_FACTOR * (run.executed_bytes + sum(target.size for target in layout.objects))
        others = (
            optimised.run(layout, call, limit),
            golden.run(layout, call, limit, uninitialised="zeros"),
            optimised.run(layout, call, limit, uninitialised="zeros"),
        )
        context = self._context(layout)
        if not all(references_agree(context, run, other) for other in others):
            raise UndefinedInputError("the references disagree")
        if writes_around_objects(layout, run):
            raise UndefinedInputError("writes outside of every object")
        dont_care = DontCareBytes.union(find_dont_care_bytes(context, run, other) for other in others)
        return SuiteEntry(context, call, run, dont_care, limit, look)

    def _ready(self, made: Input) -> tuple[Layout, abi.CallSetup]:
        if not satisfies_rules(made, self._rules, self._names):
            raise UndefinedInputError("against a directive")
        layout = self._layout(made)
        call = self._call(made, layout)
        if len(call.stack) > MAX_ARGUMENT_BYTES:
            raise UndefinedInputError("too large")
        return layout, call

    def replies(self, entry: SuiteEntry, uninitialised: UninitialisedFill) -> list[Reply]:
        """How the reference's calls out are answered on an input."""
        if not entry.expected.calls:
            return []
        golden = self._machines[1]
        golden.run(entry.layout, entry.call, entry.limit, uninitialised=uninitialised)
        return list(golden.replies)

    def whole_program(self) -> WholeProgram | None:
        """What the whole program shows; None where it has none, or where that says nothing of the function."""
        if not self._under_test.reference.golden.has_main or self._under_test.function == "main":
            return None
        probe, golden, optimised = self._machines
        return run_whole_program([probe.run_main, optimised.run_main], golden, (_HANG_FACTOR, _HANG_FLOOR))

    def effort(self) -> int:
        """What the last input cost, in steps of the probe."""
        return self._machines[0].effort

    def release(self) -> None:
        """Let go of the machines, which are large."""
        if self.__dict__.pop("_machines", None):
            gc.collect()

    @functools.cached_property
    def _machines(self) -> tuple[Probe, Machine, Machine]:
        """The probe (undefined behaviour traps), the program as it is, and the function optimised, on other garbage."""
        under_test = self._under_test
        return (
            Probe(
                under_test.machine(under_test.reference.probe, check_preconditions=True),
                " asm " in under_test.reference.ir,
            ),
            under_test.machine(under_test.reference.golden, trace_blocks=True),
            under_test.machine(under_test.reference.golden, self._optimised, garbage_pattern=1),
        )

    @functools.cached_property
    def _optimised(self) -> AssembledCode:
        return self._under_test.compiled("O2")[1]

    @functools.cached_property
    def _minds_errno(self) -> bool:
        return self._under_test.reference.uses_errno(self._under_test.function)

    def _layout(self, made: Input) -> Layout:
        signature = self._under_test.signature
        buffer = signature.result if self._convention.locate_result(signature).in_memory else None
        try:
            return lay_out(made, [*self._names, *("" for _ in made.args[len(self._names) :])], buffer)
        except LayoutError:
            raise UndefinedInputError("too large") from None

    def _call(self, made: Input, layout: Layout) -> abi.CallSetup:
        types = [value.type for value in made.args]
        buffer = layout.result.address if layout.result else None
        return self._convention.set_up_call(
            types, layout.images, variadic=self._under_test.signature.variadic, buffer=buffer
        )

    def _context(self, layout: Layout) -> ComparisonContext:
        reference = self._under_test.reference
        return ComparisonContext(
            self._under_test.signature, layout, reference.golden.globals, reference.variables, self._minds_errno
        )


def _defined(run: Observation, layout: Layout) -> Observation:
    if run.outcome == "fault":
        assert run.fault is not None
        if run.fault.address is None:
            raise UndefinedInputError("undefined behaviour", null=True)
        raise UndefinedInputError("bad memory access", _overrun(run.fault, layout), null=run.fault.address < PAGE)
    if run.outcome == "limit":
        raise UndefinedInputError("runs too long")
    return run


def _overrun(fault: GuestFault, layout: Layout) -> Overrun | None:
    """The object past whose end a fault lies."""
    for number, (target, _) in enumerate(layout.contents):
        size = (fault.address or 0) + fault.size - target.address
        if target.size < size <= MAX_OBJECT_BYTES and fault.access != "jump":
            return Overrun(number, size)
    return None

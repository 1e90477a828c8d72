"""Why the reference at -O0 and at -O2 differ on an input, and what that means for the input.

Three causes look alike: the input is undefined in a way that the probe does not see, bytes are indeterminate, or the
optimiser of clang is wrong. Further builds tell them apart, each with less of what an optimiser may assume:

    -O0                                 -O2                      both differ: on to the next builds
    -O2 without any assumption          agrees with -O0          the function relies on undefined behaviour
                                        differs from -O0         no assumption explains it: on to the next build
    -O0 with other choices              differs from -O0         the function relies on addresses, or on a NaN's bits
                                        agrees with -O0          -O2 is wrong: a bug of clang

In the last case the result at -O0 counts. In the others the input is dropped if the behaviour differs; where only bytes
of memory differ, they are not compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pytest_llmcompiler.corpus.probing import UndefinedInputError
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import ENDINGS, Observation, PointerArgument
from pytest_llmcompiler.emulator.uninitialised import UninitialisedFill
from pytest_llmcompiler.judge.agreement import find_dont_care_bytes, have_same_shape, references_agree
from pytest_llmcompiler.judge.compare import find_differences, format_ending
from pytest_llmcompiler.judge.compare_calls import is_string_argument
from pytest_llmcompiler.judge.difference import ComparisonContext, Difference
from pytest_llmcompiler.judge.dont_care import NO_DONT_CARE_BYTES, DontCareBytes
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.location import CallArgument, RunEnding
from pytest_llmcompiler.judge.rebase import AddressTranslator
from pytest_llmcompiler.judge.reference_builds import UNKNOWN, OptimisedBuilds, ReferenceBuilds
from pytest_llmcompiler.program.ir_perturbation import GAP_PREFIX
from pytest_llmcompiler.targets.abi import CallSetup

INDETERMINATE = "an indeterminate value matters"
ALIASING = "strict aliasing is violated"
OPEN = "-O2 uses what C leaves open"
ADDRESSES = "addresses, or the bits of a NaN, matter"
ALLOCATION = "-O2 leaves out an allocation that fails"

_GUARD_INSTRUCTIONS = 4_000_000
"""Instructions that a run with gaps around local variables may execute beyond the limit: about 800 fill and check those
of one variable."""
_FILLS: tuple[UninitialisedFill, UninitialisedFill] = ("garbage", "zeros")


class BuildRuns(NamedTuple):
    """The runs of one build on an input, with two uninitialised fills."""

    garbage: Observation
    zeros: Observation


@dataclass(frozen=True)
class Ruling:
    """What is compared on an input on which the function is defined."""

    dont_care: DontCareBytes
    bug: Difference | None = None
    """Where clang -O2 is wrong: expected is what -O0 does, observed what -O2 does."""


@dataclass(frozen=True)
class RunPlace:
    """An input in memory, and the limits of a run on it."""

    context: ComparisonContext
    call: CallSetup
    limit: int
    """The most instructions of a run."""


@dataclass(frozen=True)
class _Disagreement:
    """An input on which -O0 and one build at -O2 may differ."""

    place: RunPlace
    golden: Observation
    optimised: BuildRuns
    own: DontCareBytes
    """The bytes on which runs at -O0 differ among themselves."""
    build: OptimisedBuilds


class DisagreementAnalysis:
    """Tells why builds of the reference differ on an input.

    Further builds are compiled, and their machines opened, at the first disagreement that needs them.
    """

    def __init__(self, under_test: FunctionUnderTest, builds: ReferenceBuilds) -> None:
        self._under_test, self._builds = under_test, builds
        self.run_count = 0
        """The runs of further builds on the last input."""
        self._machines: dict[tuple[str, OptimisedBuilds | None], Machine] = {}
        self._translator: AddressTranslator | None = None

    def release(self) -> None:
        """Free the machines."""
        for machine in self._machines.values():
            machine.close()
        self._machines = {}

    def rule(
        self, place: RunPlace, golden: BuildRuns, optimised: Sequence[BuildRuns], has_local_texts: bool = False
    ) -> Ruling:
        """What is compared on an input, from its runs at -O0, and in each build at -O2. `has_local_texts` says that
        texts on the stack are passed to external functions.

        Raises UndefinedInputError where the function is not defined on the input.
        """
        context = place.context
        self.run_count = 0
        if not references_agree(context, *golden):
            raise UndefinedInputError(INDETERMINATE)
        own = find_dont_care_bytes(context, *golden)
        rulings = [
            self._rule_on(_Disagreement(place, golden.garbage, runs, own, self._builds.optimised[number]))
            for number, runs in enumerate(optimised)
        ]
        bug = next((ruling.bug for ruling in rulings if ruling.bug), None)
        behind_texts = [self._find_bytes_behind_texts(place, golden.garbage)] if has_local_texts and bug is None else []
        return Ruling(DontCareBytes.union([*(ruling.dont_care for ruling in rulings), *behind_texts]), bug)

    def _find_bytes_behind_texts(self, place: RunPlace, golden: Observation) -> DontCareBytes:
        """What follows the texts on the stack that external functions get, where these have no zero at their ends.

        Example: `char tag[4] = {'R', 'I', 'F', 'F'}; put(tag);`. Builds at -O0 and -O2 may have the same variable
        behind `tag`. Where variables lie in the reverse order, with gaps between them, another byte follows.
        """
        try:
            runs = self._run_perturbed(place, golden)
        except UndefinedInputError:
            return NO_DONT_CARE_BYTES
        alike = (run for run in runs if have_same_shape(golden, run))
        found = DontCareBytes.union(find_dont_care_bytes(place.context, golden, run) for run in alike)
        return found.only(
            CallArgument(index, number)
            for index, call in enumerate(golden.calls)
            for number, argument in enumerate(call.args)
            if isinstance(argument, PointerArgument) and is_string_argument(argument)
        )

    def _rule_on(self, case: _Disagreement) -> Ruling:
        """The ruling on one build at -O2."""
        context, golden = case.place.context, case.golden
        if not all(references_agree(context, golden, run) for run in case.optimised):
            return self._blame(case)
        every = DontCareBytes.union([case.own, *(find_dont_care_bytes(context, golden, run) for run in case.optimised)])
        if every.is_within(case.own):
            return Ruling(every)
        try:
            return self._blame(case)
        except UndefinedInputError:
            return Ruling(every)

    def _blame(self, case: _Disagreement) -> Ruling:
        """The ruling where clang is wrong. Raises UndefinedInputError with any other cause of the difference."""
        context, golden = case.place.context, case.golden
        inverse = self._run(case.place, "inverse")
        if not all(references_agree(context, golden, run) for run in inverse):
            raise UndefinedInputError(INDETERMINATE)
        dont_care = [case.own, *(find_dont_care_bytes(context, golden, run) for run in inverse)]
        unassuming = self._find_unassuming(case, inverse, DontCareBytes.union(dont_care))
        perturbed = self._run_perturbed(case.place, golden)
        if not all(references_agree(context, golden, run) for run in perturbed):
            raise UndefinedInputError(ADDRESSES)
        dont_care += [find_dont_care_bytes(context, golden, run) for run in perturbed]
        if all(run.outcome in ENDINGS for run in unassuming):
            if not references_agree(context, *unassuming):
                raise UndefinedInputError(INDETERMINATE)
            dont_care.append(find_dont_care_bytes(context, *unassuming))
        explained = DontCareBytes.union(dont_care)
        if _first_difference(context, inverse, unassuming, explained) is None:
            raise UndefinedInputError(ADDRESSES)
        bug = _first_difference(context, inverse, case.optimised, explained)
        if bug is None:
            raise UndefinedInputError(UNKNOWN)
        return Ruling(self._with_freedoms(context, golden, case.optimised, unassuming, explained), bug)

    def _find_unassuming(self, case: _Disagreement, inverse: BuildRuns, own: DontCareBytes) -> BuildRuns:
        """The runs at -O2 without assumptions, which differ from those at -O0."""
        context = case.place.context
        if _first_difference(context, inverse, case.optimised, own) is None:
            raise UndefinedInputError(INDETERMINATE)
        if inverse.garbage.out_of_memory != case.optimised.garbage.out_of_memory:
            raise UndefinedInputError(ALLOCATION)
        if not self._builds.is_comparable:
            raise UndefinedInputError(UNKNOWN)
        unassuming = self._run(case.place, "unassuming", case.build)
        if _first_difference(context, inverse, unassuming, own) is None:
            unaliased = self._run(case.place, "unaliased", case.build)
            is_aliasing = _first_difference(context, inverse, unaliased, own) is None
            raise UndefinedInputError(ALIASING if is_aliasing else OPEN)
        return unassuming

    def _with_freedoms(
        self,
        context: ComparisonContext,
        golden: Observation,
        optimised: BuildRuns,
        unassuming: BuildRuns,
        explained: DontCareBytes,
    ) -> DontCareBytes:
        """The don't-care bytes where clang is wrong: those on which -O2 differs from -O0 because of an assumption count
        as `explained` too, and those on which it is wrong do not."""
        if not all(have_same_shape(golden, run) for run in (*optimised, *unassuming)):
            return explained
        allowed, wrong = (
            DontCareBytes.union(find_dont_care_bytes(context, golden, run) for run in runs)
            for runs in (optimised, unassuming)
        )
        return DontCareBytes.union([explained, allowed.without(wrong)])

    # -- running builds

    def _run(
        self,
        place: RunPlace,
        kind: str,
        build: OptimisedBuilds | None = None,
        check: Callable[[Machine], None] = lambda _: None,
    ) -> BuildRuns:
        """The runs of a build. `check` is called after each."""
        machine = self._open(kind, build)
        limit = place.limit + (_GUARD_INSTRUCTIONS if kind == "perturbed" else 0)
        runs = []
        for fill in _FILLS:
            self.run_count += 1
            runs.append(machine.run(place.context.layout, place.call, limit, uninitialised=fill))
            check(machine)
        return BuildRuns(*runs)

    def _run_perturbed(self, place: RunPlace, golden: Observation) -> BuildRuns:
        """The runs at -O0 with other choices, in the addresses of the golden image."""
        if self._translator is None:
            self._translator = AddressTranslator(self._builds.perturbed, self._under_test.reference.golden)
        translator = self._translator
        runs = self._run(place, "perturbed", check=self._require_gaps)
        return BuildRuns(*(translator.rebase(run, golden) for run in runs))

    def _require_gaps(self, machine: Machine) -> None:
        """Raise UndefinedInputError where the last run of the program with gaps has written into one."""
        for name, symbol in machine.program.symbols.items():
            if name.startswith(GAP_PREFIX):
                data = machine.guest.read(symbol.address, symbol.size)
                if data != data[:4] * (symbol.size // 4):
                    raise UndefinedInputError(ADDRESSES)

    def _open(self, kind: str, build: OptimisedBuilds | None) -> Machine:
        """The machine of a build. All have the garbage of the machine at -O2, the inverse of that of the first run."""
        key = kind, build
        if key not in self._machines:
            program = self._builds.perturbed if kind == "perturbed" else self._under_test.reference.golden
            candidate = None
            if build:
                candidate = build.without_assumptions if kind == "unassuming" else build.without_aliasing
            self._machines[key] = self._under_test.open_machine(program, candidate, garbage_pattern=1)
        return self._machines[key]


def _first_difference(
    context: ComparisonContext, expected: BuildRuns, observed: BuildRuns, dont_care: DontCareBytes
) -> Difference | None:
    """The first difference between two builds' runs on the same fills; None where they behave alike."""
    for first, second in zip(expected, observed, strict=True):
        if second.outcome not in ENDINGS:
            ending = second.fault.description if second.fault else "no end"
            return Difference(RunEnding(), format_ending(first), ending)
        if first.abi_breaches != second.abi_breaches:
            breach = next((breach.message for breach in second.abi_breaches), "return")
            return Difference(RunEnding(), "return", breach)
        difference = next(find_differences(context, first, second, dont_care), None)
        if difference:
            return difference
    return None

"""How many seeded faults the inputs of a function show, and which inputs are needed for that.

While a suite is prepared, mutants of clang's own code of the function (see `mutants`) run on all inputs in the engine.
An input *kills* a mutant where the engine can't show that it does the same as the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_llmcompiler.corpus.seed_pool import branch_features
from pytest_llmcompiler.corpus.selection import choose_covering
from pytest_llmcompiler.errors import AssemblyError, CaseError, LinkError, UnsupportedError
from pytest_llmcompiler.judge.engine_suite import ImageKind, build_plain_image
from pytest_llmcompiler.judge.function_engine import FunctionEngine
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.mutants import COUNTED_KINDS, MutantKind, seed_mutants
from pytest_llmcompiler.judge.oracle import SuiteEntry
from pytest_llmcompiler.judge.reference_builds import ReferenceBuilds
from pytest_llmcompiler.program.tool_run import Background
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.values.input import Input

_MUTANTS_PER_EXAMPLE, _LEAST_MUTANTS, _MOST_MUTANTS = 8, 4, 32
"""One mutant of each text for so many generated inputs, at least and at most so many. Each takes some milliseconds."""
_LONG_BYTES = 50_000
"""Bytes of code that the reference executes on an input, above which no mutant runs on it: such an input is kept."""
_ALL_BYTES = 40_000_000
"""Bytes of code that all mutants of a function execute together, if they executed what the reference does: half a
second of the engine. Where the inputs take longer, there are fewer mutants."""
_MOST_INPUTS_PER_EXAMPLE, _MANY_INPUTS = 1.4, 140
"""A suite with more inputs for each example, and with more than 140, loses those that nothing needs. With the usual 100
examples half of all suites have fewer. With few examples most inputs are special values, of which none is lost."""


Adequacy = dict[str, int]
"""The fact `adequacy` of verdicts: see `record.schema.json`."""


@dataclass(frozen=True)
class MutantRun:
    """What the runs of a mutant showed."""

    kind: MutantKind
    killers: frozenset[Input]
    """The inputs that show the fault."""


def count_adequacy(runs: Sequence[MutantRun]) -> Adequacy | None:
    """How many of the mutants are killed, of the kinds that count; None where there is none."""
    counted = [run for run in runs if run.kind in COUNTED_KINDS]
    return {"mutants": len(counted), "killed": sum(bool(run.killers) for run in counted)} if counted else None


def start_texts(under_test: FunctionUnderTest, builds: ReferenceBuilds) -> Callable[[], dict[str, str]]:
    """Start to compile clang's own texts of a function, beside other work. Returns what waits for them, by level."""
    reference = under_test.reference
    ir = reference.texts.ir(under_test.function)
    with reference.blame_case():
        unoptimised = Background(lambda: reference.toolchain.start_assembly(ir, "O0"))

    def finish() -> dict[str, str]:
        with reference.blame_case():
            return {"O0": unoptimised.result(), "O2": builds.optimised[-1].assembly}

    return finish


class MutantRunner:
    """Runs mutants of a function on inputs. `texts` are clang's own texts of the function, by level."""

    def __init__(self, under_test: FunctionUnderTest, texts: Callable[[], dict[str, str]], seed: int) -> None:
        self._under_test, self._texts, self._seed = under_test, texts, seed

    def run(self, entries: Mapping[Input, SuiteEntry], examples: int) -> list[MutantRun]:
        """Run mutants on all entries but the long ones; nothing where there is no engine for the function's target.

        `examples` is the number of inputs that were to be generated.
        """
        short = {input: entry for input, entry in entries.items() if entry.expected.executed_bytes <= _LONG_BYTES}
        if not short or not self._under_test.reference.target.is_native or self._under_test.native.needs_processor:
            return []
        engine = FunctionEngine(lambda kind: build_plain_image(self._under_test, short))
        executed = sum(entry.expected.executed_bytes for entry in short.values())
        wanted = min(max(examples // _MUTANTS_PER_EXAMPLE, _LEAST_MUTANTS), _MOST_MUTANTS)
        wanted = min(wanted, max(_LEAST_MUTANTS, _ALL_BYTES // (2 * executed + 1)))
        try:
            inputs = list(short)
            return [
                MutantRun(kind, frozenset(inputs[number] for number in left))
                for kind, left in self._run_all(engine, wanted)
            ]
        finally:
            engine.close()

    def _run_all(self, engine: FunctionEngine, wanted: int) -> Iterator[tuple[MutantKind, frozenset[int]]]:
        """Each mutant's kind, with the numbers of the inputs that the engine leaves because of it."""
        if not engine.is_usable:
            return
        for level, text in self._texts().items():
            function = self._under_test.function
            mutated = seed_mutants(text, function, wanted, f"{self._seed} {function} {level}")
            code = self._assemble(mutated.text) if mutated.mutants else None
            without = self._find_left(engine, code) if code else None
            if code is None or without is None:
                continue
            for mutant in mutated.mutants:
                left = self._find_left(engine, mutant.switch_on(code))
                if left is not None:
                    yield mutant.kind, left - without

    def _assemble(self, text: str) -> AssembledCode | None:
        try:
            code = self._under_test.assemble_candidate(text, "llvm")
        except (AssemblyError, CaseError, LinkError, UnsupportedError):
            return None
        # The engine's image has the golden program, without the rest of the C library.
        return code if self._under_test.program_for(code) is self._under_test.reference.golden else None

    def _find_left(self, engine: FunctionEngine, code: AssembledCode) -> frozenset[int] | None:
        """The inputs that the engine leaves; None where it can't run the code."""
        under_test = self._under_test
        with engine.sample():
            result = engine.run(under_test.reference.golden, code, under_test.function, ImageKind())
        return None if result is None else frozenset(result.left)


def choose_inputs(
    entries: Mapping[Input, SuiteEntry],
    runs: Sequence[MutantRun],
    required: Collection[Input],
    examples: int,
) -> list[Input]:
    """The inputs that a suite keeps, the `required` ones among them. Without mutants, all are kept.

    Kept are also inputs that take long, since no mutant ran on them; those on which clang -O2 is wrong; and as many as
    show each edge, each outcome of a comparison and each fault some times (see `choose_covering`).
    """
    if not runs:
        return list(entries)
    kills: dict[Input, list[tuple[str, int]]] = {input: [] for input in entries}
    for number, run in enumerate(runs):
        for input in run.killers:
            kills[input].append(("mutant", number))
    shown: dict[Input, Collection[Hashable]] = {
        input: {
            *branch_features(entry.probe_result.features),
            *entry.expected.edges,
            *kills[input],
            *(["aligned"] if input.is_4gib_aligned else []),
        }
        for input, entry in entries.items()
    }
    always = {
        input
        for input, entry in entries.items()
        if entry.bug is not None or entry.expected.executed_bytes > _LONG_BYTES
    }
    return choose_covering(shown, {*required, *always}, max(_MANY_INPUTS, round(_MOST_INPUTS_PER_EXAMPLE * examples)))

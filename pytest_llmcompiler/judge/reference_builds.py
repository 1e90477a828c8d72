"""The builds of the reference beside the golden image and the probe: what other rules make of the same function."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

from pytest_llmcompiler.corpus.probing import UndefinedInputError
from pytest_llmcompiler.errors import AssemblyError, CaseError, LinkError, UnsupportedError
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.program.build import LINKED_FUNCTIONS
from pytest_llmcompiler.program.image import ProgramImage
from pytest_llmcompiler.program.ir_assumptions import remove_aliasing, remove_assumptions
from pytest_llmcompiler.program.ir_extract import extract
from pytest_llmcompiler.program.ir_queries import global_names
from pytest_llmcompiler.program.ir_rewrites import split_multiply_add
from pytest_llmcompiler.program.tool_run import Background
from pytest_llmcompiler.targets.code import AssembledCode

UNKNOWN = "the references disagree"


class OptimisedBuilds:
    """The function at -O2 from one text of its IR: as clang compiles it, and with less of what it may assume.

    `plain` is compiled in the background at once, each other one at its first use. It is code for the place of the
    function in the golden image.
    """

    def __init__(self, under_test: FunctionUnderTest, ir: str) -> None:
        self._under_test, self._ir = under_test, ir
        self.is_closed = False
        """Whether nothing more is compiled but `plain`."""
        with under_test.reference.blame_case():
            self._plain = Background(lambda: under_test.reference.toolchain.start_assembly(ir, "O2"))

    @classmethod
    def restore(cls, under_test: FunctionUnderTest, codes: Mapping[str, AssembledCode]) -> OptimisedBuilds:
        """Builds that an earlier process has compiled. Nothing more is compiled."""
        builds = cls.__new__(cls)
        builds._under_test, builds._ir, builds.is_closed = under_test, "", True
        vars(builds).update(codes)
        return builds

    @property
    def codes(self) -> dict[str, AssembledCode]:
        """The builds that are compiled, by name."""
        return {name: vars(self)[name] for name in ("plain", *self.further) if name in vars(self)}

    @functools.cached_property
    def assembly(self) -> str:
        """The assembly that clang -O2 emits."""
        with self._under_test.reference.blame_case():
            return self._plain.result()

    @property
    def further(self) -> list[str]:
        """The names of the builds beside `plain` that are compiled."""
        return [name for name in ("without_aliasing", "without_assumptions") if name in vars(self)]

    @functools.cached_property
    def plain(self) -> AssembledCode:
        """The function as clang -O2 compiles it."""
        return self._under_test.assemble_candidate(self.assembly, "llvm")

    @functools.cached_property
    def without_aliasing(self) -> AssembledCode:
        """The same without strict aliasing."""
        return self._assemble(remove_aliasing(self._ir))

    @functools.cached_property
    def without_assumptions(self) -> AssembledCode:
        """The function at -O2, where nothing is assumed to be defined.

        The probe has checked that no signed arithmetic overflows, for C; no sanitizer checks IR.
        """
        reference = self._under_test.reference
        names = {self._under_test.function, *global_names(self._ir)}
        return self._assemble(
            remove_assumptions(
                self._ir,
                keeps_signed_overflow=not reference.case.is_ir,
                assumes_library=names.isdisjoint({*reference.golden.library, *LINKED_FUNCTIONS.split()}),
            )
        )

    def _assemble(self, ir: str) -> AssembledCode:
        if self.is_closed:
            raise UndefinedInputError(UNKNOWN)
        with _no_build_tells_nothing():
            return self._under_test.assemble_candidate(self._compile(ir), "llvm")

    def _compile(self, ir: str) -> str:
        reference = self._under_test.reference
        with reference.blame_case():
            return reference.toolchain.emit_assembly(ir, "O2")


class ReferenceBuilds:
    """The builds of one function. Each is compiled at its first use, and kept."""

    def __init__(self, under_test: FunctionUnderTest) -> None:
        self._under_test = under_test
        self._is_closed = False

    @property
    def further(self) -> frozenset[str]:
        """The names of the builds that were needed beside those that every input needs."""
        parts = [f"{number}.{name}" for number, build in enumerate(self.optimised) for name in build.further]
        return frozenset((*parts, *(["perturbed"] if "perturbed" in vars(self) else [])))

    def close(self, further: Collection[str]) -> None:
        """Compile what every input needs, and further builds by their names, and none from now on: children of this
        process explain failures, and they can't link."""
        for number, build in enumerate(self.optimised):
            _ = build.plain
            for name in ("without_aliasing", "without_assumptions"):
                if f"{number}.{name}" in further:
                    getattr(build, name)
            build.is_closed = True
        if "perturbed" in further:
            _ = self.perturbed
        self._is_closed = True

    def restore(self, builds: Iterable[Mapping[str, AssembledCode]]) -> None:
        """Take the builds at -O2 of an earlier process, each by its name."""
        self.optimised = tuple(OptimisedBuilds.restore(self._under_test, codes) for codes in builds)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is compiled at -O2."""
        return "optimised" not in vars(self)

    @functools.cached_property
    def optimised(self) -> tuple[OptimisedBuilds, ...]:
        """The function at -O2: from the IR that prompts show, and from the IR that clang itself optimises, if that
        makes another text of it. Only the second one has the aliasing rules of C. All round each product."""
        reference, function = self._under_test.reference, self._under_test.function
        shown = OptimisedBuilds(self._under_test, split_multiply_add(reference.texts.ir(function)))
        if reference.case.is_ir:
            return (shown,)
        text = extract(reference.optimisable_ir, function, reference.target)
        own = OptimisedBuilds(self._under_test, split_multiply_add(text))
        return (shown,) if own.assembly == shown.assembly else (shown, own)

    @functools.cached_property
    def perturbed(self) -> ProgramImage:
        """The program at -O0 with other choices in everything that C leaves open."""
        if self._is_closed:
            raise UndefinedInputError(UNKNOWN)
        with _no_build_tells_nothing():
            return self._under_test.reference.perturbed

    @functools.cached_property
    def is_comparable(self) -> bool:
        """Whether the function has no instructions whose rules the builds can't vary: inline assembly may forget to say
        what it changes, and `setjmp` and its like keep code addresses and leave changed variables indeterminate."""
        ir = self._under_test.reference.texts.ir(self._under_test.function)
        return not re.search(r" asm |\breturns_twice\b|@llvm\.eh\.sjlj\.", ir)


@contextmanager
def _no_build_tells_nothing() -> Iterator[None]:
    """Drop the input where a build can't be made: IR may have a form that its rewriting does not know."""
    try:
        yield
    except (CaseError, AssemblyError, LinkError, UnsupportedError) as error:
        raise UndefinedInputError(UNKNOWN) from error

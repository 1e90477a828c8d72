"""The function compiled with what the whole file says of its static variables: inputs that can't happen show there.

    static unsigned level;
    void set(unsigned x) { level = x % 1000; }
    int deep(void) { return level > 5000; }

No code makes `level` greater than 999, and clang finds that out: with the whole file it compiles `deep` to `return 0`.
With `level` = 6000 that code and the code at -O0 disagree. Both are right, so the input is dropped.

The build must let an input set the variables. A compiler that sees the whole file may remove, split or shrink them.
So the work is done in two steps: the passes of `FileFacts` find the facts while the variables are local, and write them
into the function. Then the function alone, with all variables external, is optimised at -O2.
"""

from __future__ import annotations

import functools

from pytest_llmcompiler.corpus.probing import UndefinedInputError
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import Observation
from pytest_llmcompiler.judge.agreement import find_dont_care_bytes, references_agree
from pytest_llmcompiler.judge.difference import ComparisonContext
from pytest_llmcompiler.judge.dont_care import DontCareBytes
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.targets.abi import CallSetup
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.values.input import Input


class WholeFileCheck:
    """Compares runs of the function with runs of the build that knows the file."""

    def __init__(self, under_test: FunctionUnderTest) -> None:
        self._under_test = under_test
        self._open_machine: Machine | None = None

    def require_agreement(
        self,
        input: Input,
        context: ComparisonContext,
        call: CallSetup,
        limit: int,
        expected: Observation,
        dont_care: DontCareBytes,
    ) -> None:
        """Raise UndefinedInputError where an input gives a static variable a value for which the file has no code."""
        code = self._code if any(name in self._unknown for name, _ in input.globals) else None
        if code is None:
            return
        run = self._machine(code).run(context.layout, call, limit)
        unequal = find_dont_care_bytes(context, expected, run) if references_agree(context, expected, run) else None
        if unequal is None or any(
            not set(offsets) <= set(dont_care.of(region))  # type: ignore[arg-type]
            for region, offsets in unequal.offsets.items()
        ):
            raise UndefinedInputError("a value that no code stores")

    def compile(self) -> None:
        """Compile what an input may need: children of this process explain failures, and can't compile."""
        if self._unknown:
            _ = self._code

    @property
    def codes(self) -> tuple[AssembledCode | None, ...]:
        """What is compiled: the build, or None where it makes no difference; nothing where no input may need it."""
        return (self._code,) if "_code" in vars(self) else ()

    def restore(self, codes: tuple[AssembledCode | None, ...]) -> None:
        """Take what an earlier process has compiled."""
        if codes:
            self._code = codes[0]

    def release(self) -> None:
        """Free the machine."""
        if self._open_machine is not None:
            self._open_machine.close()
        self._open_machine = None

    @functools.cached_property
    def _unknown(self) -> frozenset[str]:
        """The local variables of the inputs that may have any value as far as it is known."""
        under_test = self._under_test
        local = under_test.globals.keys() & under_test.reference.facts.local_variables
        return frozenset(name for name in local if not under_test.possible_values.is_complete(name))

    @functools.cached_property
    def _code(self) -> AssembledCode | None:
        """The function at -O2 with the facts of its file; None where these make no difference."""
        under_test = self._under_test
        text = under_test.reference.assembly_with_facts(under_test.function)
        is_same = text == under_test.assemble_reference("O2")[0]
        return None if is_same else under_test.assemble_candidate(text, "llvm")

    def _machine(self, code: AssembledCode) -> Machine:
        if self._open_machine is None:
            under_test = self._under_test
            self._open_machine = under_test.open_machine(under_test.reference.golden, code, garbage_pattern=1)
        return self._open_machine

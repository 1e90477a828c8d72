"""Runs the suite of one function in the engine, in this process, and on the Python machine."""

from __future__ import annotations

from collections import Counter
from typing import get_args

from pytest_llmcompiler.emulator.engine import Engine, LeftReason
from pytest_llmcompiler.emulator.engine_candidate import write_candidate
from pytest_llmcompiler.emulator.uninitialised import UninitialisedFill
from pytest_llmcompiler.judge.differential import DifferentialRun
from pytest_llmcompiler.judge.engine_suite import EngineEntry, write_suite
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.suite import Suite
from pytest_llmcompiler.program.reference import Reference

RIGHT = """total:
        xorl %eax, %eax
        movzbl %sil, %esi
1:      decl %esi
        js 2f
        addl (%rdi,%rsi,4), %eax
        jmp 1b
2:      ret
"""
"""A right answer for `int total(const int *p, unsigned char n)`, the sum of `n` numbers."""
FILLS: tuple[UninitialisedFill, ...] = get_args(UninitialisedFill)


class EngineRunner:
    """The suite of a function."""

    def __init__(self, reference: Reference, function: str, examples: int = 20) -> None:
        self.under_test = FunctionUnderTest(reference, function)
        self.suite = Suite(self.under_test, examples, 1)
        self.suite.prepare()
        entries = [
            EngineEntry(
                input,
                entry,
                is_varied=index in self.suite.varied,
                is_inspected=index in self.suite.inspected,
                has_small_numbers=True,
            )
            for index, (input, entry) in enumerate(self.suite.corpus.entries.items())
        ]
        machine = self.under_test.open_machine(reference.golden)
        self.image = write_suite(machine, self.under_test.signature, entries, self.suite.whole_program)

    def run_program(self, text: str | None = None) -> LeftReason:
        """The reason for which the run of the whole program is left. Fails as `run` does."""
        engine = Engine.open(self.image)
        differential = self._load(engine, text) if text is not None else None
        reason = engine.run_program()
        if reason == "not left" and differential:
            assert differential.whole_program_failure() is None, "the engine misses a failure of the whole program"
        engine.close()
        return reason

    def _load(self, engine: Engine, text: str) -> DifferentialRun:
        candidate = self.under_test.assemble_candidate(text, "llvm")
        image = write_candidate(self.under_test.reference.golden, candidate, self.under_test.function)
        assert image is not None, "the engine can't run the candidate"
        engine.load_candidate(image)
        return DifferentialRun(self.suite, candidate, text)

    def run(self, text: str | None = None) -> Counter[LeftReason]:
        """The reasons for which runs of a candidate, or of the program's own function, are left. Fails where the engine
        takes a run for the same that the Python machine does not."""
        engine = Engine.open(self.image)
        differential = self._load(engine, text) if text is not None else None
        reasons: Counter[LeftReason] = Counter()
        for number, entry in enumerate(self.suite.corpus.entries.values()):
            for fill in FILLS:
                reason = engine.run(number, fill)
                reasons[reason] += 1
                if reason == "not left" and differential:
                    assert differential.passes(entry, fill), f"the engine misses a failure on input {number} ({fill})"
        engine.close()
        return reasons

"""Seeded faults of the kinds by which suites are chosen (`MutantKind` of the judge), each as a text of its own.

They are measured apart from those of `faults.py`: a suite keeps the inputs that show such faults, so that a share of
them says how well the suite was chosen, and not what the judge misses. None is proved to make no difference.
"""

from __future__ import annotations

from collections.abc import Iterator

from pytest_llmcompiler.judge.mutants import seed_mutants
from quality.faults import Fault


def generate_steering_faults(text: str, function: str, wanted: int, seed: str) -> Iterator[Fault]:
    """Up to `wanted` faults of a function, the same for the same seed."""
    mutated = seed_mutants(text, function, wanted, seed)
    lines = mutated.text.split("\n")
    for mutant in mutated.mutants:
        label = lines[mutant.code_line - 2].removesuffix(":")
        switched = [*lines[: mutant.switch_line - 1], f"\tjmp\t{label}", *lines[mutant.switch_line :]]
        code = [line.strip() for line in lines[mutant.code_line - 1 :]]
        after = "; ".join(code[: code.index(f"jmp\t.Lback{label.removeprefix('.Lmutant')}")])
        yield Fault(mutant.kind, mutant.line, "(nothing)", after.replace("\t", " "), "\n".join(switched), ())

"""Whether a text is proved to do the same as a function of a reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import z3

from pytest_llmcompiler.errors import UnmodelledError
from pytest_llmcompiler.prover.contract import Contract
from pytest_llmcompiler.prover.lockstep import Cuts, Lockstep, Solver
from pytest_llmcompiler.prover.machine_code import MachineCode
from pytest_llmcompiler.prover.refutation import Refutation, RefutedError
from pytest_llmcompiler.targets.code import AssembledCode

STEPS = 12_000_000
"""z3's `rlimit` of all queries of one proof together: about ten seconds of the slowest."""


class ProofResult(TypedDict):
    """What came of an attempt to prove a candidate."""

    proved: bool
    level: str
    """The level of the reference that the candidate is equal to; empty where it is not proved."""
    steps: int
    """Steps of z3 on all levels together."""
    reason: str
    """Why it is not proved; empty where it is."""
    refutation: Refutation | None
    """The solver's first example of a difference; None where it has none, or where it is proved."""


def prove(
    references: Sequence[tuple[str, AssembledCode]], candidate: AssembledCode, function: str, contract: Contract
) -> ProofResult:
    """Try to prove that a candidate does the same as the reference at one of its levels, one after another."""
    solver = Solver(STEPS)
    reason, refutation = "", None
    for level, code in references:
        try:
            if candidate.segments == code.segments and candidate.symbols[function] == code.symbols[function]:
                return ProofResult(proved=True, level=level, steps=solver.used, reason="", refutation=None)
            _prove_level(MachineCode(code, function), MachineCode(candidate, function), contract, solver)
            return ProofResult(proved=True, level=level, steps=solver.used, reason="", refutation=None)
        except UnmodelledError as error:
            reason = reason or str(error)
            if isinstance(error, RefutedError):
                refutation = refutation or error.refutation
        except (z3.Z3Exception, RecursionError) as error:
            reason = reason or f"z3: {error}"
    return ProofResult(proved=False, level="", steps=solver.used, reason=reason, refutation=refutation)


def _prove_level(reference: MachineCode, candidate: MachineCode, contract: Contract, solver: Solver) -> None:
    """Raise UnmodelledError where the proof is not found, whichever way loops are cut."""
    tried: set[Cuts] = set()
    error: UnmodelledError | None = None
    for cuts in (
        Cuts(reference.loop_heads, candidate.loop_heads),
        Cuts(reference.body_heads, candidate.loop_heads),
        Cuts(reference.loop_heads, candidate.body_heads),
    ):
        if cuts in tried:
            continue
        tried.add(cuts)
        try:
            Lockstep(reference, candidate, contract, solver).prove(cuts)
            return
        except UnmodelledError as problem:
            error = error or problem
    assert error is not None
    raise error

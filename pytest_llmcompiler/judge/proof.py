"""Proofs that candidates which pass do the same as the reference on every input, not only on those of the suite.

The prover (`prover/`) reads hostile code, so it runs in a child process. Its limit counts steps of the solver and no
time, so that what is proved is the same on every machine.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

from pytest_llmcompiler import sandbox
from pytest_llmcompiler.errors import ChildDiedError, ChildLostError, ChildTimeoutError, UnmodelledError
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.settings import describe_missing_prover
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.targets.code import AssembledCode

if TYPE_CHECKING:
    from pytest_llmcompiler.prover.contract import Contract
    from pytest_llmcompiler.prover.prove import ProofResult

_SECONDS = 600
"""Time limit of a proof, in seconds. The limit of steps ends proofs long before."""
_MEGABYTES = 8192
"""Address space of the process that proves, in MiB."""
_LEVELS = ("O2", "O1", "O3", "O0")
"""The levels of the reference that a candidate is compared with, one after another: it is enough to be equal to one."""


class Prover:
    """The proofs for the candidates of one function."""

    def __init__(self, under_test: FunctionUnderTest) -> None:
        self._under_test = under_test
        self._contract: Contract | str | None = None

    def prove(self, candidate: AssembledCode, passed: Verdict) -> ProofResult:
        """What comes of the attempt to prove a candidate that passes."""
        # Where clang -O2 is wrong, only -O0 says what is right.
        levels = ("O0",) if "compiler_bug" in passed.detail else _LEVELS
        contract = self._find_contract()
        reason = contract if isinstance(contract, str) else self._find_obstacle(candidate)
        if reason:
            return _unproved(reason)
        from pytest_llmcompiler.prover.prove import prove

        references = [(level, self._under_test.assemble_reference(level)[1]) for level in levels]
        arguments = (references, candidate, self._under_test.function, contract)
        try:
            result = sandbox.call(prove, *arguments, seconds=_SECONDS, megabytes=_MEGABYTES)
        except (ChildDiedError, ChildTimeoutError, ChildLostError) as error:
            return _unproved(f"the prover gave up: {error}")
        return cast("ProofResult", result)

    def _find_contract(self) -> Contract | str:
        """What the function gets and gives; or why nothing can be proved of it."""
        if self._contract is None:
            if not self._under_test.reference.target.is_native:
                self._contract = "only code for x86-64 Linux is modelled"
            else:
                from pytest_llmcompiler.prover.contract import find_contract

                try:
                    self._contract = find_contract(self._under_test.reference, self._under_test.function)
                except UnmodelledError as error:
                    self._contract = str(error)
        return self._contract

    def _find_obstacle(self, candidate: AssembledCode) -> str:
        """Why nothing can be proved of a candidate; empty where it can be tried."""
        if find_spec("z3") is None:
            return describe_missing_prover()
        if candidate.is_private:
            return "the function is local to the answer"
        if candidate.booleans:
            return "variables of the program that the text has in a form of its own"
        if self._under_test.program_for(candidate) is not self._under_test.reference.golden:
            return "functions of the library that the program lacks"
        return ""


def add_proof(verdict: Verdict, result: ProofResult) -> Verdict:
    """The verdict on a candidate that passes, with what came of the attempt to prove it."""
    proof = {"level": result["level"], "steps": result["steps"]}
    if not result["proved"]:
        proof = {"reason": result["reason"], "steps": result["steps"]}
    return replace(verdict, detail=verdict.detail | {"proved": result["proved"], "proof": proof})


def _unproved(reason: str) -> ProofResult:
    return {"proved": False, "level": "", "steps": 0, "reason": reason, "refutation": None}

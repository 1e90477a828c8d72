"""The semantics of x86-64 instructions as z3 terms: written once, for proofs and for the analyses that they rest on.

Integer instructions are modelled exactly. Floating point and most vector instructions are uninterpreted functions:
equal operands give equal results. Any other instruction raises UnmodelledError, and nothing is proved of code that has
it.
"""

from __future__ import annotations

from typing import Any

import z3

from pytest_llmcompiler.errors import UnmodelledError
from pytest_llmcompiler.prover.integers import INTEGER_SEMANTICS
from pytest_llmcompiler.prover.state import State
from pytest_llmcompiler.prover.vectors import VECTOR_SEMANTICS, uses_vectors

SEMANTICS = {**INTEGER_SEMANTICS, **VECTOR_SEMANTICS}
"""The semantics of each mnemonic as capstone writes it, except for jumps, calls and returns."""


def execute(state: State, insn: Any) -> None:
    """Execute one instruction that is no jump, call or return. Raises UnmodelledError."""
    act = SEMANTICS.get(insn.mnemonic)
    if act is None or (insn.prefix[0] in (0xF0, 0xF2, 0xF3) and not uses_vectors(insn)):
        raise UnmodelledError(insn.mnemonic)
    try:
        act(state, insn)
    except z3.Z3Exception as error:
        raise UnmodelledError(f"{insn.mnemonic}: {error}") from error

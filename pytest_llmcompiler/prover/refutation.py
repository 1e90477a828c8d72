"""What a solver's model says of the input of a function: the registers and the memory that it is entered with.

A model is no verdict: it may have memory where no object lies, or values that a callee never returns. The judge makes
inputs from it and runs them.
"""

from __future__ import annotations

from typing import Any, TypedDict

import z3

from pytest_llmcompiler.errors import UnmodelledError
from pytest_llmcompiler.prover.relation import entry_registers
from pytest_llmcompiler.prover.state import State


class Refutation(TypedDict):
    """What a function is entered with in a model in which the two sides differ."""

    registers: list[int]
    """The general registers, by number."""
    memory: list[tuple[int, int]]
    """Addresses and values of the bytes that one of the sides accesses."""


class RefutedError(UnmodelledError):
    """The two sides may differ from the entry of the function on. `refutation` is the solver's example."""

    def __init__(self, reason: str, refutation: Refutation) -> None:
        super().__init__(reason)
        self.refutation = refutation


def read_model(model: Any, *states: State) -> Refutation:
    """What the function is entered with in a model; `states` are those at the ends of paths that begin there."""
    memory = z3.Array("memory", z3.BitVecSort(64), z3.BitVecSort(8))

    def read(term: Any) -> int:
        value = model.eval(term, model_completion=True)
        return int(value.as_long()) if z3.is_bv_value(value) else 0

    bytes_read: dict[int, int] = {}
    for state in states:
        for access in state.accesses:
            start = read(access.address)
            for at in range(start, start + access.size):
                bytes_read[at] = read(memory[z3.BitVecVal(at, 64)])
    return Refutation(registers=[read(register) for register in entry_registers()], memory=list(bytes_read.items()))

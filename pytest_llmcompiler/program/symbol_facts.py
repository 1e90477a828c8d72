"""What the linker of candidates needs to know of a program's symbols, as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pytest_llmcompiler.program.image import ProgramImage
from pytest_llmcompiler.program.initial_values import CellValue
from pytest_llmcompiler.program.ir_names import print_ir
from pytest_llmcompiler.program.ir_queries import global_names, is_constant, list_labelled

if TYPE_CHECKING:
    import llvmlite.binding as llvm


class ProgramVariable(NamedTuple):
    """A variable of a case in its program."""

    name: str
    address: int
    size: int
    """In bytes."""
    is_constant: bool
    """Whether the program can't change it."""
    is_local: bool
    """Whether other files can't name it."""
    contents: bytes
    """Its initial contents."""


@dataclass(frozen=True)
class SymbolFacts:
    """The variables of a program, and what its functions and variables mention."""

    variables: Mapping[str, ProgramVariable]
    """The variables that the case defines or declares."""
    mentions: Mapping[str, frozenset[str]]
    """The names that each function, and the initial value of each variable, mentions itself."""
    possible_values: Mapping[str, tuple[CellValue, ...]]
    """The values that local variables can have, the initial one first. Those that may have others are not here."""

    def find_mentioned(self, name: str) -> frozenset[str]:
        """The names that a function mentions, and those that what it mentions does."""
        names: set[str] = set()
        queue = [name]
        while queue:
            new = self.mentions.get(queue.pop(), frozenset()) - names
            names |= new
            queue += new
        return frozenset(names)


def read_symbol_facts(
    module: llvm.ModuleRef,
    program: ProgramImage,
    local_variables: Iterable[str],
    find_values: Callable[[str], tuple[CellValue, ...] | None],
) -> SymbolFacts:
    """The facts of a program and its IR. `find_values` returns the values that a local variable can have, if they are
    known."""
    variables = {}
    for value in module.global_variables:
        symbol = program.find_variable(value.name)
        # A table of a function's labels is of no use to other code for the function, which has a table of its own.
        if symbol is not None and not value.name.startswith("llvm.") and not list_labelled(value):
            variables[value.name] = ProgramVariable(
                value.name,
                symbol.address,
                symbol.size,
                is_constant=is_constant(value),
                is_local=value.linkage.name in ("internal", "private"),
                contents=program.read_initial(symbol),
            )
    values = ((name, find_values(name)) for name in sorted(local_variables))
    return SymbolFacts(
        variables=variables,
        mentions={
            value.name: frozenset(global_names(print_ir(value)))
            for value in (*module.functions, *module.global_variables)
        },
        possible_values={name: known for name, known in values if known is not None},
    )

"""The functions and variables that a case itself defines or declares: what the linker of candidates needs to know."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pytest_llmcompiler.program.initial_values import CellValue
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.program.symbol_facts import ProgramVariable
from pytest_llmcompiler.values.c_types import Array, Struct, Type

_LARGEST_SPLIT = 4096
"""Bytes of the largest variable whose scalar parts are listed. Compilers split small ones only."""
_BINARY = 2
"""The values of a variable that a compiler may turn into a Boolean."""


class Scalar(NamedTuple):
    """A part of a variable that is no struct and no array."""

    offset: int
    """In bytes from the start of the variable."""
    size: int
    """In bytes."""


@dataclass(frozen=True)
class CaseSymbols:
    """The functions and variables of a case."""

    functions: frozenset[str]
    """The functions that the case defines."""
    variables: Mapping[str, ProgramVariable]
    """The variables that the case defines or declares."""
    mentioned: Callable[[str], frozenset[str]]
    """The names that a function of the case mentions, with those that the functions and variables reached from it
    mention."""
    types: Mapping[str, Type]
    """The C types of variables, as far as they are known."""
    possible_values: Callable[[str], Sequence[CellValue] | None]
    """The values that a local variable can have, the initial one first; None where it may have others."""

    @functools.cached_property
    def has_static_locals(self) -> bool:
        """Whether the case has static variables of functions, or compound literals of static storage."""
        return any(variable.is_local and "." in name for name, variable in self.variables.items())

    def scalars_of(self, variable: ProgramVariable) -> list[Scalar]:
        """The scalar parts of a variable in the order of their addresses; none where its type is not known."""
        type = self.types.get(variable.name)
        is_known = type is not None and type.size == variable.size <= _LARGEST_SPLIT
        return list(_scalars(type, 0)) if type is not None and is_known else []

    def is_scalar(self, variable: ProgramVariable) -> bool:
        """Whether a variable is known to be no struct and no array."""
        type = self.types.get(variable.name)
        return type is not None and not isinstance(type, (Array, Struct))

    def is_flag(self, variable: ProgramVariable) -> bool:
        """Whether a variable is 0 at first, and the case stores nothing but 0 and 1 in it."""
        values = self.possible_values(variable.name)
        numbers = [int.from_bytes(value.data, "little") for value in values or () if not value.pointers]
        return bool(values) and len(numbers) == len(values or ()) and numbers[0] == 0 and set(numbers) <= {0, 1}

    def has_two_values(self, variable: ProgramVariable) -> bool:
        """Whether a variable has its initial value or one other."""
        return len(self.possible_values(variable.name) or ()) == _BINARY


@functools.lru_cache(maxsize=4)
def collect_case_symbols(reference: Reference) -> CaseSymbols:
    """The symbols of a case in its golden program."""
    facts = reference.symbol_facts
    return CaseSymbols(
        functions=reference.golden.functions,
        variables=facts.variables,
        mentioned=functools.cache(facts.find_mentioned),
        types=reference.variables,
        possible_values=facts.possible_values.get,
    )


def _scalars(type: Type, offset: int) -> Iterator[Scalar]:
    if isinstance(type, Array):
        for index in range(type.count):
            yield from _scalars(type.element, offset + index * type.element.size)
    elif isinstance(type, Struct) and not type.union and not any(field.bits for field in type.fields):
        for field in type.fields:
            yield from _scalars(field.type, offset + field.offset)
    else:
        yield Scalar(offset, type.size)

"""The functions and variables that a case itself defines or declares: what the linker of candidates needs to know."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pytest_llmcompiler.program.initial_values import CellValue
from pytest_llmcompiler.program.ir_queries import global_names, is_constant
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.values.c_types import Array, Struct, Type

if TYPE_CHECKING:
    import llvmlite.binding as llvm

_LARGEST_SPLIT = 4096
"""Bytes of the largest variable whose scalar parts are listed. Compilers split small ones only."""
_BINARY = 2
"""The values of a variable that a compiler may turn into a Boolean."""


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
    golden, module = reference.golden, reference.program_module
    variables, references = {}, _Mentions(module)
    for value in module.global_variables:
        symbol = golden.find_variable(value.name)
        if symbol is not None and not value.name.startswith("llvm."):
            variables[value.name] = ProgramVariable(
                value.name,
                symbol.address,
                symbol.size,
                is_constant=is_constant(value),
                is_local=value.linkage.name in ("internal", "private"),
                contents=golden.read_initial(symbol),
            )
    return CaseSymbols(
        functions=golden.functions,
        variables=variables,
        mentioned=functools.cache(references.find_all),
        types=reference.variables,
        possible_values=functools.cache(reference.possible_values),
    )


class _Mentions:
    """Which names the functions and the initial values of the variables of a module mention."""

    def __init__(self, module: llvm.ModuleRef) -> None:
        self._values = {value.name: value for value in (*module.functions, *module.global_variables)}
        self._own: dict[str, frozenset[str]] = {}

    def _find_own(self, name: str) -> frozenset[str]:
        if name not in self._own:
            text = str(self._values[name]) if name in self._values else ""
            self._own[name] = frozenset(global_names(text))
        return self._own[name]

    def find_all(self, name: str) -> frozenset[str]:
        """The names that a function mentions, and those that what it mentions does."""
        names: set[str] = set()
        queue = [name]
        while queue:
            new = self._find_own(queue.pop()) - names
            names |= new
            queue += new
        return frozenset(names)


def _scalars(type: Type, offset: int) -> Iterator[Scalar]:
    if isinstance(type, Array):
        for index in range(type.count):
            yield from _scalars(type.element, offset + index * type.element.size)
    elif isinstance(type, Struct) and not type.union and not any(field.bits for field in type.fields):
        for field in type.fields:
            yield from _scalars(field.type, offset + field.offset)
    else:
        yield Scalar(offset, type.size)

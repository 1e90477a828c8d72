"""What the names of an answer mean in the program of its case: definitions of its own, or the program's.

- A **global** name that both define is the program's, as it is for every linker that gets the definition first. The
  function under test is the exception.
- A **local function** (a label of code without `.globl`) is the answer's own: compilers change the calling convention
  of a function that only their own code calls. Where its *address* is used, and not only called, that is the address of
  the program's function of this name, which gets a jump to the answer's: so pointers to it compare equal. The same
  holds for the address of the function under test.
- **Local data** that the program has too is the program's: it is part of inputs, and compared. Compilers give such
  variables other names, which `variables` maps. A constant with other contents is the answer's own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

from pytest_llmcompiler.assembler.reach import TextReach
from pytest_llmcompiler.assembler.statements import ParsedAssembly
from pytest_llmcompiler.assembler.text_variables import TextVariable, find_text_variables
from pytest_llmcompiler.assembler.variables import ProgramPlace, map_variables
from pytest_llmcompiler.errors import UnsupportedError
from pytest_llmcompiler.program.case_symbols import CaseSymbols

_BOOLEAN_VALUES = 2
"""Values of a variable that LLVM turns into a Boolean."""
_ANCHOR = re.compile(r"\.LANCHOR\d+")
_MARK_DIGITS = 16
"""Hexadecimal digits of a text's own hash in names that the text must not contain: nobody can write them into it."""


@dataclass(frozen=True)
class Binding:
    """What the names of one text mean."""

    shared_names: frozenset[str]
    """Names that the text defines and that mean a definition of the program."""
    places: Mapping[str, ProgramPlace] = field(default_factory=dict)
    """Name in the text -> its place in the program, where that has another name."""
    addressed: Mapping[str, str] = field(default_factory=dict)
    """Own local function, or the function under test -> a name that the text does not contain, which stands for the
    program's function wherever the address is used."""
    booleans: Mapping[str, tuple[bytes, bytes]] = field(default_factory=dict)
    """Own byte of the text -> the two values of the program's variable of the same name that it stands for."""
    alternatives: int = 0
    """How many other bindings would fit the text as well: names of static variables do not always tell which one is
    meant."""
    reach: TextReach | None = field(default=None, compare=False)
    """What the function reaches with this binding, where that is known."""

    def find_addresses(self, program_symbols: Mapping[str, int]) -> dict[str, int]:
        """The addresses of the names that the program does not have."""
        places = {name: place.address for name, place in self.places.items()}
        return places | {mark: program_symbols[name] for name, mark in self.addressed.items()}

    def find_program_name(self, name: str) -> str:
        """The program's name of what a name means that is not the text's own."""
        if name in self.places:
            return self.places[name].variable
        return next((own for own, mark in self.addressed.items() if mark == name), name)


def bind_names(
    parsed: ParsedAssembly, function: str, case: CaseSymbols, program_symbols: Container[str], number: int = 0
) -> Binding:
    """One of the bindings that fit a text; number 0 is the most likely one.

    Raises UnsupportedError where the function under test can reach a variable of the text that may be one of the
    program, and it can't be told which.
    """
    variables = find_text_variables(parsed)
    shared = _find_shared_names(parsed, function, case, program_symbols, variables)
    reach = TextReach(parsed, function, shared)
    called = reach.names & case.functions - {function}
    program_functions = [name for name in called if name in shared or name not in parsed.defined_names]
    candidates = [item for name, item in variables.items() if name in shared]
    booleans = _find_booleans(reach, case, program_functions, candidates)
    shared -= booleans.keys()
    others = {name: item for name, item in variables.items() if name not in booleans}
    mappings = map_variables(parsed, reach, case, others, shared, program_symbols)
    places = mappings[min(number, len(mappings) - 1)]
    shared |= places.keys() & parsed.defined_names
    _require_own_places(parsed, reach, case)
    if _ANCHOR.search(parsed.source):
        _require_own_distances(
            parsed, reach, {name for name in shared & variables.keys() if not variables[name].is_constant}
        )
    own_functions = parsed.labels.keys() & case.functions - shared
    mark = hashlib.sha256(parsed.source.encode("utf-8", "surrogatepass")).hexdigest()[:_MARK_DIGITS]
    addressed = {name: f"{name}.{mark}" for name in own_functions & reach.addressed_names} if own_functions else {}
    known = reach if not (booleans or places) else None  # else other names than these are shared
    return Binding(shared, places, addressed, booleans, len(mappings) - 1, known)


def _find_booleans(
    reach: TextReach, case: CaseSymbols, program_functions: Iterable[str], variables: Iterable[TextVariable]
) -> dict[str, tuple[bytes, bytes]]:
    """The variables that LLVM turned into Booleans under their old names, with their two values.

    Such a byte is 0 for the initial value and 1 for the other one. Where these are 0 and 1 themselves, it is the lowest
    byte of the program's variable. Raises UnsupportedError where code of the program may use the variable during a run:
    one of the `program_functions` that the text calls.
    """
    booleans = {}
    for own in variables:
        variable = case.variables.get(own.name)
        if variable is None or own.is_global or variable.is_constant or own.size != 1 or own.name not in reach.names:
            continue
        is_changed = variable.size > 1 or own.has_other_contents(variable.contents)
        if not is_changed or not case.has_two_values(variable) or case.is_flag(variable):
            continue
        is_used_elsewhere = any(own.name in case.mentioned(callee) for callee in program_functions)
        values = [value.data for value in case.possible_values(own.name) or () if not value.pointers]
        if "main" in case.functions or is_used_elsewhere or len(values) != _BOOLEAN_VALUES:
            raise UnsupportedError(f"the variable {own.name} was turned into a Boolean, which can't be mapped back")
        booleans[own.name] = values[0], values[1]
    return booleans


def _require_own_distances(parsed: ParsedAssembly, reach: TextReach, shared: Container[str]) -> None:
    """Raise UnsupportedError where reached code addresses variables of the program by their distances in the text.

    With section anchors, gcc for AArch64 has one label, `.LANCHOR0`, for all variables of a section, and adds to it
    where each of them lies behind it. In the program they lie elsewhere.
    """
    anchors = {name for name in reach.names if _ANCHOR.fullmatch(name)}
    sections: dict[int, str] = {}
    """Section -> the anchor whose variables follow."""
    for statement in parsed.statements:
        name = statement.name
        if statement.kind in ("label", "set") and _ANCHOR.fullmatch(name):
            sections[statement.section] = name
        elif statement.kind == "label" and name in shared and sections.get(statement.section) in anchors:
            raise UnsupportedError(
                f"{sections[statement.section]} stands for {name} and others by their distances from it, which are not "
                "those of the program: compile with -fno-section-anchors"
            )


def _require_own_places(parsed: ParsedAssembly, reach: TextReach, case: CaseSymbols) -> None:
    """Raise UnsupportedError where reached code addresses variables of the program as parts of one object of the text.

    clang for AArch64 merges variables, and says where each of them is: `.set counter, .L_MergedGlobals+4`. In the
    program they lie elsewhere.
    """
    for statement in parsed.assigned:
        variable, base = case.variables.get(statement.name), statement.operands.partition("+")[0].strip()
        if variable and not variable.is_constant and base.startswith(".L") and base in reach.names:
            raise UnsupportedError(
                f"{base} stands for {statement.name} and others by their places in it, which are not those of the "
                "program: compile with -mno-global-merge"
            )


def require_supported(parsed: ParsedAssembly, reach: TextReach) -> None:
    """Raise UnsupportedError where reached code uses a thread-local variable of the text."""
    used = sorted(parsed.thread_local.keys() & reach.names)
    if used:
        raise UnsupportedError(f"thread-local storage is not supported (section {parsed.thread_local[used[0]]})")


def _find_shared_names(
    parsed: ParsedAssembly,
    function: str,
    case: CaseSymbols,
    program_symbols: Container[str],
    variables: Mapping[str, TextVariable],
) -> frozenset[str]:
    shared = set()
    for name in parsed.defined_names - {function}:
        if name in case.functions:
            is_shared = parsed.is_global(name) or name not in parsed.code_names
        elif name in case.variables:
            own, variable = variables.get(name), case.variables[name]
            is_shared = not (own and variable.is_constant and own.has_other_contents(variable.contents))
        else:
            is_shared = parsed.is_global(name) and name in program_symbols
        if is_shared and not name.startswith(".L"):
            shared.add(name)
    return frozenset(shared)

"""The values that the local variables of a module, and the parameters of its local functions, can have at all.

    static int mode;                       initial value 0
    void begin(void) { mode = 5; }         the only other value
    int scaled(int x) { return mode ? x * 2 : x - 1; }

No code outside of the file can write to `mode`, so it is 0 or 5, and any compiler may use that. An input in which it
is 1 can't happen.

1. LLVM removes functions that nothing can reach, and computes addresses as far as it can (`file_facts`).
2. The address of each local variable is followed (`address_flow`). If it escapes, nothing is known of the variable.
3. The variable is cut into *cells* where stores begin or end (`variable_cells`): a struct into its members, where these
   are stored one by one. Bytes that nothing stores to keep their initial value.
4. A cell that counts, as `calls++` does, has too many values in the end, and is unknown from the beginning.
5. Each other cell begins with its initial value alone. What the stores store (`value_sets`) is added, again and again
   until nothing changes, since `state = 1 - state` depends on `state` itself. A cell with too many values is unknown.

For an array that is indexed by a variable, each store counts for each element.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from pytest_llmcompiler.letters import name_part
from pytest_llmcompiler.program.address_flow import Copy, Place, Store, find_accesses, find_place
from pytest_llmcompiler.program.initial_values import read_initial_values
from pytest_llmcompiler.program.ir import parse
from pytest_llmcompiler.program.ir_instructions import FunctionBody, IrInstruction, read_functions
from pytest_llmcompiler.program.ir_names import unquote_symbols
from pytest_llmcompiler.program.ir_queries import global_names, is_constant
from pytest_llmcompiler.program.type_sizes import TypeSizes
from pytest_llmcompiler.program.value_sets import MAX_VALUES, Constant, ValueSet, ValueSets, bit_width, joined
from pytest_llmcompiler.program.variable_cells import (
    KnownVariable,
    PartValues,
    VariableCells,
    part_of,
    slice_of,
)
from pytest_llmcompiler.targets.target import Target

_MAX_VARIABLE_BYTES = 4096
"""Size of the largest variable that is looked at: larger ones are no part of an input."""
_MAX_CUTS = 8
"""How often cells are cut where copies from other variables cut them. What is not cut by then is less exactly known."""
_MAX_ROUNDS = 300
"""How often the stores are looked at. Each round adds at least one value to a cell, or is the last one."""


class StaticValues:
    """The possible values of a module's local variables, and of the parameters of its local functions.

    `text` is the module as clang -O0 writes it, `facts` the same module after the passes of `file_facts`.
    """

    def __init__(self, text: str, facts: str, target: Target) -> None:
        unquoted = unquote_symbols(facts)
        self._functions, self._sizes = read_functions(unquoted), TypeSizes(facts)
        self._initial = read_initial_values(text, target)
        self._variables: dict[str, VariableCells] = {}
        present = parse(facts)
        initialisers = "\n".join(line for line in unquoted.splitlines() if line.startswith("@"))
        unread = set()
        for name in local_variables(text):
            initial = self._initial.get(name)
            accesses = find_accesses(f"@{name}", self._functions, initialisers, self._sizes)
            if initial is not None and accesses is not None:
                if accesses.writes and not accesses.is_read:
                    unread.add(name)
                if len(initial.data) <= _MAX_VARIABLE_BYTES and not accesses.overrun(len(initial.data)):
                    self._variables[name] = VariableCells(initial, accesses)
        self.unread = frozenset(unread)
        """The local variables that are written and never read."""
        self._constants = {value.name for value in present.global_variables if is_constant(value)}
        addressed = _addressed_functions(unquoted, self._functions)
        self._sets = ValueSets(self._functions, addressed, self._load)
        self._cut_at_copies()
        self._open_counters()
        self._solve()

    def variable(self, name: str) -> KnownVariable | None:
        """What is known of a local variable; None where it may have any value."""
        cells = tuple(self._variables[name].cells()) if name in self._variables else ()
        return KnownVariable(self._initial[name].part(0, len(self._initial[name].data)), cells) if cells else None

    def may_be_fitted(self, function: str) -> bool:
        """Whether a compiler may fit a local function to the calls in its file.

        It may where a parameter is never used or only loaded through, where the calls pass few different constants, or
        where no call uses the result.
        """
        body = self._functions.get(function)
        if body is None or not self._sets.is_only_called(function):
            return False
        calls = self._sets.calls(function)
        is_result_used = any(call.result in self._functions[call.function].users for call in calls)
        return not is_result_used or any(
            self._sets.of_argument(function, position, type) is not None
            or all(user.opcode in ("load", "getelementptr") for user in body.users.get(name, ()))
            for position, (name, type) in enumerate(zip(body.params, body.param_types, strict=True))
        )

    # -- solving

    def _cut_at_copies(self) -> None:
        """Cut the target of each copy where its source is cut."""
        for _ in range(_MAX_CUTS):
            before = [len(variable.edges) for variable in self._variables.values()]
            for variable in self._variables.values():
                for copy in variable.accesses.copies:
                    source = self._find_source(copy)
                    edges = self._variables[source[0]].edges if source and source[0] in self._variables else ()
                    moved = {edge - source[1].start for edge in edges} if source else set()
                    variable.cut(copy.place, copy.size, (edge for edge in moved if 0 < edge < copy.size))
            if before == [len(variable.edges) for variable in self._variables.values()]:
                break
        for variable in self._variables.values():
            variable.begin()

    def _find_source(self, copy: Copy) -> tuple[str, Place] | None:
        source = find_place(copy.source, self._functions[copy.function], self._sizes)
        return (source[0][1:], source[1]) if source else None

    def _open_counters(self) -> None:
        """Take the cells that count for unknown, without adding one value after the other."""
        for name, variable in self._variables.items():
            for write in variable.accesses.writes:
                offsets = write.place.offsets(write.size, variable.size)
                if isinstance(write, Store) and offsets and self._counts(name, write, offsets[0]):
                    for offset in offsets:
                        variable.add(offset, write.size, lambda at, size: None)

    def _counts(self, name: str, store: Store, offset: int) -> bool:
        """Whether a store to a variable computes its next value from the one that it replaces, as `calls++` does and
        `seed = seed * 5 + 1`, and so gives it in the end more than `MAX_VALUES` values."""
        if store.is_fill or bit_width(store.type) != 8 * store.size:
            return False

        def is_old(load: IrInstruction) -> bool:
            place = find_place(load.operands[0], self._functions[store.function], self._sizes)
            return load.type == store.type and place == (f"@{name}", store.place)

        for step in self._sets.steps(store.function, store.value, store.type, is_old):
            seen, values = set[Constant](), self._variables[name].read(offset, store.size)
            (value,) = values or (None,)
            while isinstance(value, int) and value not in seen and len(seen) <= MAX_VALUES:
                seen.add(value)
                value = step(value)
            if len(seen) > MAX_VALUES:
                return True
        return False

    def _solve(self) -> None:
        for _ in range(_MAX_ROUNDS):
            changes = [self._store_all(variable) for variable in self._variables.values()]
            if not any(changes):
                return
        self._variables.clear()

    def _store_all(self, variable: VariableCells) -> bool:
        """Add to the cells of a variable what is stored. Returns whether that is anything new."""
        has_changed = False
        for write in variable.accesses.writes:
            offsets = write.place.offsets(write.size, variable.size)
            if variable.is_open(offsets, write.size):
                values = self._copied(write) if isinstance(write, Copy) else self._stored(write)
                changes = [variable.add(offset, write.size, values) for offset in offsets]
                has_changed |= any(changes)
        return has_changed

    def _stored(self, store: Store) -> PartValues:
        """What a store gives each part of its place."""
        if store.is_fill:
            values = _repeat(self._sets.evaluate(store.function, store.value, "i8"), store.size)
        elif bit_width(store.type) in (None, 8 * store.size):
            values = self._sets.evaluate(store.function, store.value, store.type)
        else:
            values = None
        return lambda at, size: slice_of(values, store.size, at, size)

    def _copied(self, copy: Copy) -> PartValues:
        """What a copy gives each part of its place."""
        source = self._find_source(copy)
        return lambda at, size: self._read(source, at, size)

    # -- loads

    def _load(self, operand: str, function: str, type: str) -> ValueSet:
        size = self._sizes.stored(type)
        place = find_place(operand, self._functions[function], self._sizes)
        if place is None or not size or bit_width(type) not in (None, 8 * size):
            return None
        return self._read((place[0][1:], place[1]), 0, size)

    def _read(self, source: tuple[str, Place] | None, at: int, size: int) -> ValueSet:
        """The values of `size` bytes, `at` bytes after a place in a variable."""
        if source is None:
            return None
        name, place = source[0], source[1].moved(at)
        if name in self._variables:
            variable = self._variables[name]
            return joined(variable.read(offset, size) for offset in place.offsets(size, variable.size))
        if name in self._constants and name in self._initial:
            initial = self._initial[name]
            return joined(part_of(initial, offset, size) for offset in place.offsets(size, len(initial.data)))
        return None


def local_variables(text: str) -> list[str]:
    """The writable local variables of a module."""
    return [
        value.name
        for value in parse(text).global_variables
        if value.linkage.name in ("internal", "private")
        if not is_constant(value) and not value.is_declaration and re.fullmatch(rf"{name_part('-.$')}+", value.name)
    ]


def _addressed_functions(text: str, functions: Mapping[str, FunctionBody]) -> frozenset[str]:
    """The functions whose address is taken: those that are mentioned other than as a callee."""
    mentioned = Counter(global_names(text))
    called = Counter(
        instruction.operands[0].removeprefix("@")
        for body in functions.values()
        for instruction in body.instructions
        if instruction.opcode == "call" and instruction.operands
    )
    return frozenset(name for name in functions if mentioned[name] > called[name] + 1)


def _repeat(values: ValueSet, size: int) -> ValueSet:
    """The numbers of `size` bytes that consist of one byte."""
    if values is None:
        return None
    return frozenset(int.from_bytes(bytes([value]) * size, "little") for value in values if isinstance(value, int))

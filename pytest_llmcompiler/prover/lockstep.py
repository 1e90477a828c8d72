"""Proofs that two texts of one function do the same: both sides are executed symbolically, step by step together.

Each loop of both sides is cut at one point. The proof starts at both entries, with everything equal. It follows all
paths of both sides to the next cut points and ways out. Wherever a path of the one side can be taken together with a
path of the other, both must end alike: at a way out with equal results and memory, or at a pair of cut points, from
which the proof goes on with what is equal there (`relation.py`). So each part of the reference's run is matched by one
part of the candidate's, and a candidate ends where the reference ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import z3

from pytest_llmcompiler.errors import UnmodelledError
from pytest_llmcompiler.prover.contract import Contract
from pytest_llmcompiler.prover.execution import (
    CALLEE_SAVED,
    CodeState,
    Execution,
    Path,
    constant_reader,
    read_part,
)
from pytest_llmcompiler.prover.machine_code import MachineCode
from pytest_llmcompiler.prover.refutation import RefutedError, read_model
from pytest_llmcompiler.prover.relation import Relation, entry_registers, entry_vectors, list_values
from pytest_llmcompiler.prover.state import FLAGS, Access

Pair = tuple[int, int]
_QUERY_STEPS = 1_500_000
"""z3's `rlimit` of one query: a count of its own steps, not a time, so that a slow machine proves the same. About a
second or two."""
_MAX_PAIRS = 12
"""Pairs of cut points of one proof."""
_MAX_ROUNDS = 60
"""Explorations of pairs of cut points, each of which may drop equalities that seemed to hold."""


class Solver:
    """z3 with a limit of steps for all queries together."""

    def __init__(self, limit: int) -> None:
        self.left, self.used = limit, 0
        self.model: Any = None
        """Values with which the conditions of the last query hold; None where z3 found none."""

    def is_impossible(self, *conditions: Any) -> bool:
        """Whether the conditions can't hold together; False also where z3 reaches its limit."""
        self.model = None
        if any(z3.is_false(z3.simplify(condition)) for condition in conditions):
            return True
        if self.left <= 0:
            raise UnmodelledError("the limit of steps")
        solver = z3.SolverFor("QF_AUFBV")
        solver.set("rlimit", min(_QUERY_STEPS, self.left))
        solver.add(*conditions)
        before = _count_steps()
        answer = solver.check()
        steps = _count_steps(solver) - before
        self.left -= steps
        self.used += steps
        if answer == z3.sat:
            self.model = solver.model()
        return bool(answer == z3.unsat)


def _count_steps(solver: Any = None) -> int:
    """The steps that z3 has taken in this process. They are a part of a solver's statistics."""
    if solver is None:
        solver = z3.Solver()
        solver.check()
    statistics = solver.statistics()
    return int(statistics.get_key_value("rlimit count")) if "rlimit count" in statistics.keys() else 0  # noqa: SIM118


@dataclass(frozen=True)
class Cuts:
    """Where the loops of both sides are cut."""

    reference: frozenset[int]
    candidate: frozenset[int]


class Lockstep:
    """One attempt at a proof."""

    def __init__(self, reference: MachineCode, candidate: MachineCode, contract: Contract, solver: Solver) -> None:
        self._contract, self._solver = contract, solver
        self._sides = (Execution(reference, contract), Execution(candidate, contract))
        self._constant = constant_reader(contract)
        self._assumed = list(_list_assumptions(contract))
        self._relations: dict[Pair, Relation] = {}
        self._is_at_entry = True
        """Whether the paths that are followed begin where the function is entered."""

    def prove(self, cuts: Cuts) -> None:
        """Show that both sides do the same. Raises UnmodelledError where that is not shown, which says why."""
        entries = (self._sides[0].code.entry, self._sides[1].code.entry)
        states = self._build_states()
        for state in states:
            state.registers, state.vectors = entry_registers(), entry_vectors()
        todo = list(self._advance(entries, states, cuts))
        self._is_at_entry = False
        rounds = 0
        while todo:
            rounds += 1
            if rounds > _MAX_ROUNDS:
                raise UnmodelledError("loops whose relation is not found")
            pair = todo.pop(0)
            relation = self._relations[pair]
            states = self._build_states()
            for state, frame in zip(states, relation.frames):
                relation.build_state(state, frame)
            todo += [one for one in self._advance(pair, states, cuts) if one not in todo]

    def _build_states(self) -> tuple[CodeState, CodeState]:
        memory = z3.Array("memory", z3.BitVecSort(64), z3.BitVecSort(8))
        first, second = (
            CodeState(
                registers=[],
                vectors=[],
                flags={flag: z3.Bool(f"{name}:{flag}") for flag in FLAGS},
                memory=memory,
                slots={},
                private=True,
                side=name,
                constant=self._constant,
                locate=side.code.locate,
                code=side.code,
            )
            for name, side in zip("pq", self._sides)
        )
        first.registers, second.registers = [None] * 16, [None] * 16
        first.vectors, second.vectors = [None] * 16, [None] * 16
        return first, second

    def _advance(self, pair: Pair, states: tuple[CodeState, CodeState], cuts: Cuts) -> Iterator[Pair]:
        """Follow all paths from a pair of points. Yields the pairs of cut points whose relation is new or weaker."""
        heads = (cuts.reference, cuts.candidate)
        rows = [side.explore(state, at, head) for side, state, at, head in zip(self._sides, states, pair, heads)]
        for path in rows[0]:
            for other in rows[1]:
                conditions = [*self._assumed, *path.state.conditions, *other.state.conditions]
                if _contradict(path, other):
                    continue
                if path.end[0] == other.end[0] == "head":
                    if not self._solver.is_impossible(*conditions):
                        yield from self._arrive(path, other, conditions)
                elif path.end[0] != other.end[0] or (path.end[0] == "stop" and path.end != other.end):
                    if not self._solver.is_impossible(*conditions):
                        raise self._refute("paths that end differently", path, other)
                elif not self._end_alike(path, other, conditions):
                    raise self._refute("results that are not shown to be equal", path, other)

    def _refute(self, reason: str, path: Path, other: Path) -> UnmodelledError:
        """The error for two paths that may differ; from the entry on, with the solver's example."""
        if not self._is_at_entry or self._solver.model is None:
            return UnmodelledError(reason)
        return RefutedError(reason, read_model(self._solver.model, path.state, other.state))

    def _arrive(self, path: Path, other: Path, conditions: list[Any]) -> Iterator[Pair]:
        if not self._solver.is_impossible(*conditions, self._differ(path.state, other.state, [])):
            raise self._refute("memory or calls that are not shown to be equal", path, other)
        pair = (path.end[1], other.end[1])
        values = dict([*list_values(path.state), *list_values(other.state)])
        frames = (path.state.frame, other.state.frame)
        relation = self._relations.get(pair)
        if relation is None:
            if len(self._relations) >= _MAX_PAIRS:
                raise UnmodelledError("loops that do not match")
            self._relations[pair] = Relation(f"cut{len(self._relations)}", values, frames)
            yield pair
            return
        if relation.frames != frames:
            raise UnmodelledError("a stack pointer that depends on the path")

        def are_equal(x: Any, y: Any) -> bool:
            return self._solver.is_impossible(*conditions, x != y)

        if relation.refine(values, are_equal):
            yield pair

    # -- ways out

    def _end_alike(self, path: Path, other: Path, conditions: list[Any]) -> bool:
        pairs: list[tuple[Any, Any]] = []
        if path.end[0] == "return":
            entry = entry_registers()
            parts = self._contract.result
            pairs += [(read_part(path.state, part), read_part(other.state, part)) for part in parts]
            pairs += [(entry[number], other.state.registers[number]) for number in CALLEE_SAVED]
        return self._solver.is_impossible(*conditions, self._differ(path.state, other.state, pairs))

    def _differ(self, a: CodeState, b: CodeState, pairs: list[tuple[Any, Any]]) -> Any:
        """The condition that two states differ in memory, calls or these pairs of values."""
        if [event[:2] for event in a.events] != [event[:2] for event in b.events]:
            return z3.BoolVal(True)
        pairs = [*pairs, (a.memory, b.memory)]
        pairs += [pair for x, y in zip(a.events, b.events) for pair in zip(x[2], y[2])]
        unequal = [x != y for x, y in pairs if not x.eq(y)]
        unequal += _compare_accesses(a, b)
        return z3.Or(*unequal) if unequal else z3.BoolVal(False)


def _compare_accesses(a: CodeState, b: CodeState) -> Iterator[Any]:
    """The conditions that the candidate accesses memory or divides by a value as the reference does not."""
    for access in b.accesses:
        likely = [one for one in a.accesses if one.epoch == access.epoch and (one.write or not access.write)]
        covers = [_covers(other, access) for other in likely]
        if not any(z3.is_true(cover) for cover in covers):
            yield z3.Not(z3.Or(*covers))
    for signed, *operands in b.divisions:
        same = (other for other in a.divisions if other[0] == signed and other[1].size() == operands[0].size())
        equal = [z3.And(*(x == y for x, y in zip(operands, other[1:]))) for other in same]
        yield z3.Not(z3.Or(*equal))


def _covers(outer: Access, inner: Access) -> Any:
    """The condition that one access covers another."""
    if inner.size > outer.size:
        return z3.BoolVal(False)
    return z3.simplify(z3.ULE(inner.address - outer.address, outer.size - inner.size))


def _contradict(path: Path, other: Path) -> bool:
    """Whether two paths take branches that exclude each other, as can be seen without z3."""
    taken = {z3.simplify(condition).get_id() for condition in path.state.conditions}
    return any(z3.simplify(z3.Not(condition)).get_id() in taken for condition in other.state.conditions)


def _list_assumptions(contract: Contract) -> Iterator[Any]:
    """What holds at every entry: narrow integers are extended to 32 bits, pointers are below 2^47."""
    registers = entry_registers()
    for number in contract.pointers:
        yield z3.ULT(registers[number], 1 << 47)
    for one in contract.narrow:
        low = _read_low(registers[one.number], one.bits)
        extend = z3.SignExt if one.is_signed else z3.ZeroExt
        yield z3.Extract(31, 0, registers[one.number]) == extend(32 - one.bits, low)
        if one.is_boolean:
            yield z3.ULE(low, 1)


def _read_low(whole: Any, bits: int) -> Any:
    """The lowest bits of a value."""
    return z3.Extract(bits - 1, 0, whole)

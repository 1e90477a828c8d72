"""Proofs that a fault makes no difference: the changed code does the same as the correct code on every input.

Both sides are executed symbolically, as z3 terms, from a common point before the change to the next common points
behind it. The start values of everything live are equal on both sides; dead values are independent. If every exit leads
to the same point, with equal memory, equal calls on the way and equal values of everything live there, the sides are
equivalent: outside of the change they are the same instructions, so equality carries on by induction, through loops
too.

The only assumption about memory is that nothing else reaches a frame whose address is never taken. The changed code may
not access memory that the correct code does not access, and may not divide by values that the correct code does not
divide by. There is no proof where an instruction has no semantics here, where there are too many paths, or where z3
reaches its limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import z3

from pytest_llmcompiler.errors import UnmodelledError
from pytest_llmcompiler.prover.instructions import execute
from pytest_llmcompiler.prover.state import CALLER_SAVED, FLAGS, RBP, RSP, VECTORS, Access, State
from pytest_llmcompiler.targets.code import AssembledCode
from quality.faults import Changes
from quality.flow import END, Flow, Key, Op
from quality.listing import read
from quality.liveness import (
    EVERYTHING,
    GRANULES,
    VECTOR_GRANULES,
    Interface,
    Liveness,
    Parts,
    bits,
    callee_of,
    register_parts,
    slot_offset,
)

_RLIMIT = 1_000_000
"""z3's `rlimit` for one query: a count of its own steps, not a time, so that a slow machine proves the same. One or
two seconds."""
_MAX_UNANSWERED = 2
_MAX_PATHS, _MAX_STEPS = 24, 400
_ATTEMPTS = ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 1), (3, 2))
"""Blocks before the change, and behind it, that each attempt at a proof includes."""


@dataclass(frozen=True)
class Entry:
    """What holds at the entry of the function, by the rules of C and of the calling convention."""

    interface: Interface
    assume: tuple[z3.BoolRef, ...] = ()
    """Facts in terms of the parts `r7.0` … that hold at the entry."""
    pointers: frozenset[str] = frozenset()
    """Callees that return pointers."""
    constant: Callable[[int], int | None] = lambda _: None
    """The byte at an address of the program, where it is read-only."""


@dataclass
class _Exit:
    key: Key
    state: State
    returns: bool = False
    jumps: bool = False
    """Whether it is an indirect jump, to any entry of the table."""


@dataclass(frozen=True)
class Text:
    """One side: a text and its machine code."""

    text: str
    code: AssembledCode


def equivalent(correct: Text, changed: Text, function: str, changes: Changes, entry: Entry) -> str:
    """The means by which the change is shown to make no difference; empty where it is not shown."""
    listing = read(correct.text, function)
    first, last = listing.code[0].line, listing.code[-1].line
    if any(not first <= start <= last for start, _, _ in changes):
        return ""
    try:
        before = Flow(listing, correct.code, changes, after=False)
        after = Flow(read(changed.text, function), changed.code, changes, after=True)
        return _Proof(before, after, entry, _constant_reader(correct.code, entry)).prove_all(len(changes))
    except (UnmodelledError, z3.Z3Exception, RecursionError):
        return ""


def _constant_reader(code: AssembledCode, entry: Entry) -> Callable[[int], z3.BitVecRef | None]:
    """Read-only memory. The text's own constants are equal on both sides, jump tables aside."""

    def constant(address: int) -> z3.BitVecRef | None:
        for segment in code.segments:
            if segment.address <= address < segment.address + len(segment.data):
                return None if segment.is_writable else z3.BitVec(f"constant{address}", 8)
        value = entry.constant(address)
        return None if value is None else z3.BitVecVal(value, 8)

    return constant


class _Proof:
    def __init__(self, before: Flow, after: Flow, entry: Entry, constant: Callable[[int], z3.BitVecRef | None]) -> None:
        self.before, self.after, self.entry, self.constant = before, after, entry, constant
        self.liveness = Liveness(before, entry.interface)
        self.blocks = _Blocks(before, after)
        self.unanswered = 0
        self.live = self.liveness.live

    def prove_all(self, changes: int) -> str:
        """The means by which every single change is shown to make no difference; empty where one is not."""
        reachable = self.before.reachable()
        longest = ""
        for number in range(changes):
            place = self.before.index["change", number]
            if place in reachable:
                means = self._prove_change(place) or self._prove_with_more_live(number)
                if not means:
                    return ""
                longest = max(longest, means, key=len)
        return longest or "unreachable code"

    def _prove_with_more_live(self, number: int) -> str:
        """A proof in which all that the changed side reads counts as live, so that facts about it can be used."""
        key = ("change", number)
        after = Liveness(self.after, self.entry.interface)
        wanted = after.live.get(self.after.index[key], frozenset()) & (EVERYTHING | self.liveness.slots)
        place = self.before.index[key]
        if wanted <= self.live[place]:
            return ""
        self.live = self.liveness.solve({place: wanted})
        means = self._prove_change(place)
        self.live = self.liveness.live
        return means

    def _prove_change(self, place: int) -> str:
        block = self.blocks.find_block(place)
        words = {(0, 0): "z3, within a basic block"}
        tried: set[tuple[int, frozenset[Key]]] = set()
        for back, on in _ATTEMPTS:
            window = self.blocks.find_window(block, back, on)
            if window is None or window in tried:
                continue
            tried.add(window)
            if self._prove_window(*window):
                return words.get((back, on), "z3, across basic blocks")
        if self.blocks.is_acyclic() and self._prove_window(0, self.blocks.keys):
            return "z3, the whole function"
        return ""

    def _prove_window(self, start: int, inside: frozenset[Key]) -> bool:
        if self.unanswered >= _MAX_UNANSWERED:
            return False
        try:
            stops = self.blocks.keys - inside | {self.before.key(start)}
            # At the entry nothing has happened yet: even what is dead is the same.
            entered = start == 0 and not self.blocks.sources[0]
            live = EVERYTHING if entered else self.live[start]
            assume = list(self.entry.assume) if entered else []
            exits = [
                list(self._explore(flow, self._state(side, start, live), flow.index[self.before.key(start)], stops))
                for flow, side in ((self.before, "p"), (self.after, "q"))
            ]
            return self._are_exits_equal(*exits, assume)
        except UnmodelledError:
            return False

    def _state(self, side: str, start: int, live: Parts) -> State:
        """The start state of a side. Live parts have the same names on both sides, dead parts their own names."""
        name = _Names(side, live, self.liveness.constants(start))
        registers = [name.joined(f"r{number}", GRANULES) for number in range(16)]
        vectors = [name.joined(f"x{number}", VECTOR_GRANULES) for number in range(16)]
        flags = {flag: z3.Bool(name(flag)) for flag in FLAGS}
        memory = z3.Array("memory", z3.BitVecSort(64), z3.BitVecSort(8))
        slots = {slot_offset(part): name.part(part, 8) for part in live if part.startswith("slot")}
        state = State(registers, vectors, flags, memory, slots, self.liveness.private, side, self.constant)
        rsp, rbp = self.liveness.frames[start]
        state.registers[RSP] = z3.simplify(state.base + rsp)
        if rbp is not None and register_parts(RBP) <= live:
            state.registers[RBP] = z3.simplify(state.base + rbp)
        return state

    # -- running

    def _explore(self, flow: Flow, state: State, start: int, stops: frozenset[Key]) -> Iterator[_Exit]:
        todo: list[tuple[int, State, frozenset[int]]] = [(start, state, frozenset())]
        paths = steps = 0
        while todo:
            number, state, seen = todo.pop()
            while True:
                key = flow.key(number)
                if (seen and key in stops) or key == END:
                    yield _Exit(key, state)
                    break
                if number in seen:
                    raise UnmodelledError("a loop")
                seen |= {number}
                steps += 1
                if steps > _MAX_STEPS:
                    raise UnmodelledError("too many steps")
                following = self._step(flow, flow.ops[number], number, state)
                if isinstance(following, _Exit):
                    if following.jumps and not stops.issuperset(map(flow.key, flow.table)):
                        raise UnmodelledError("an indirect jump that may stay inside")
                    yield following
                    break
                number, *others = following
                for other, condition in others:
                    branch = state.copy()
                    branch.conditions.append(condition)
                    state.conditions.append(z3.Not(condition))
                    todo.append((other, branch, seen))
            paths += 1
            if paths > _MAX_PATHS:
                raise UnmodelledError("too many paths")

    def _step(self, flow: Flow, op: Op, number: int, state: State) -> Any:
        """Execute one instruction: the next position, and others with their conditions; or the exit."""
        insn = op.text
        if insn is None:
            return (number + 1,)
        if insn.is_return:
            return _Exit(("return", 0), state, returns=True)
        if insn.mnemonic == "ud2":
            return _Exit(("trap", 0), state)
        if insn.is_call:
            self._call(op, state)
            return (number + 1,)
        if insn.mnemonic in ("jmp", "jmpq"):
            if insn.is_jump:
                return (flow.target(insn),)
            if callee_of(op) is None and flow.table:
                state.events.append(("jump", (), (state.read(op.insn, 0),)))
                return _Exit(op.key, state, jumps=True)
            self._call(op, state)
            return _Exit(("return", 0), state, returns=True)
        if insn.mnemonic.startswith("j"):
            return self._branch(flow, op, number, state)
        if op.key[0] == "now" and _needs_alignment(op):
            raise UnmodelledError("an access that may be misaligned")
        execute(state, op.insn)
        return (number + 1,)

    def _branch(self, flow: Flow, op: Op, number: int, state: State) -> Any:
        assert op.text is not None
        if not op.text.is_jump:
            raise UnmodelledError("a conditional tail call")
        try:
            condition = z3.simplify(state.condition(op.insn.mnemonic[1:]))
        except KeyError:
            raise UnmodelledError(op.insn.mnemonic) from None
        if z3.is_true(condition):
            return (flow.target(op.text),)
        return (number + 1,) if z3.is_false(condition) else (number + 1, (flow.target(op.text), condition))

    def _call(self, op: Op, state: State) -> None:
        """The effect of a callee is unknown, and equal on both sides if all that the callee may read is equal."""
        callee = callee_of(op)
        parts, stack = self.entry.interface.arguments(callee)
        variadic = callee in self.entry.interface.variadic
        looked_at = [_part(state, name) for name in sorted(parts - (register_parts(0, 8) if variadic else frozenset()))]
        if stack and self.liveness.private:
            looked_at += [_part(state, name) for name in sorted(self.liveness.slots)]
        if variadic:
            state.events.append(("vectors", callee, (z3.simplify(z3.Extract(7, 0, state.registers[0])),)))
        target = () if callee else (state.read(op.insn, 0),)
        looked_at += [*target, state.registers[RSP], state.memory]
        name = f"call{len(state.events)}"
        state.events.append(("call", callee, tuple(looked_at)))
        for number in CALLER_SAVED:
            state.registers[number] = z3.BitVec(f"{name}.{number}", 64)
        for number in range(16):
            state.vectors[number] = z3.BitVec(f"{name}.x{number}", 128)
        for flag in FLAGS:
            state.flags[flag] = z3.Bool(f"{name}.{flag}")
        state.memory = z3.Array(f"{name}.memory", z3.BitVecSort(64), z3.BitVecSort(8))
        if callee in self.entry.pointers:
            state.conditions.append(z3.ULT(state.registers[0], 1 << 47))

    # -- comparing

    def _are_exits_equal(self, first: list[_Exit], second: list[_Exit], assume: list[z3.BoolRef]) -> bool:
        for correct in first:
            solver = z3.Solver()
            solver.set("rlimit", _RLIMIT)
            solver.add(*assume, *correct.state.conditions)
            for changed in second:
                different = self._compare_exits(correct, changed)
                if different is None:
                    continue
                solver.push()
                solver.add(*changed.state.conditions, different)
                answer = solver.check()
                solver.pop()
                self.unanswered += answer == z3.unknown
                if answer != z3.unsat:
                    return False
        return True

    def _compare_exits(self, correct: _Exit, changed: _Exit) -> z3.BoolRef | None:
        """The condition that two exits differ; None where they can't."""
        a, b = correct.state, changed.state
        events = [[event[:2] for event in state.events] for state in (a, b)]
        lengths = [[len(event[2]) for event in state.events] for state in (a, b)]
        if correct.key != changed.key or events[0] != events[1] or lengths[0] != lengths[1]:
            return z3.BoolVal(True)
        unequal = [_announces_fewer_vectors(x[2][0], y[2][0]) for x, y in zip(a.events, b.events) if x[0] == "vectors"]
        pairs = [pair for x, y in zip(a.events, b.events) if x[0] != "vectors" for pair in zip(x[2], y[2])]
        pairs += [(a.registers[RSP], b.registers[RSP]), (a.memory, b.memory)]
        pairs += [(_part(a, name), _part(b, name)) for name in self._live_at(correct)]
        unequal += [_unequal(x, y) for x, y in pairs if not x.eq(y)]
        unequal += self._compare_accesses(a, b)
        return None if all(map(z3.is_false, unequal)) else z3.Or(*unequal)

    def _live_at(self, way_out: _Exit) -> Parts:
        if way_out.returns:
            return self.entry.interface.returned
        if way_out.key[0] == "trap":
            return frozenset()
        number = self.before.index[way_out.key]
        if not way_out.jumps:
            return self.live[number]
        return frozenset().union(*(self.live.get(number, frozenset()) for number in self.before.table))

    def _compare_accesses(self, a: State, b: State) -> Iterator[z3.BoolRef]:
        """The conditions that the changed side accesses memory or divides by a value as the correct side never does."""
        if any(offset < self.liveness.lowest for offset in b.touched):
            yield z3.BoolVal(True)
        for access in b.accesses:
            covers = [_covers(other, access) for other in a.accesses if other.write or not access.write]
            if not any(z3.is_true(cover) for cover in covers):
                yield z3.Not(z3.Or(*covers))
        for signed, *operands in b.divisions:
            if not any(
                signed == other[0] and all(x.eq(y) for x, y in zip(operands, other[1:])) for other in a.divisions
            ):
                yield z3.BoolVal(True)


class _Names:
    """The names of the parts at the start of a window."""

    def __init__(self, side: str, live: Parts, constants: dict[str, int]) -> None:
        self.side, self.live, self.constants = side, live, constants

    def __call__(self, part: str) -> str:
        return part if part in self.live else f"{self.side}:{part}"

    def part(self, part: str, width: int) -> z3.BitVecRef:
        """The value of a part."""
        if part in self.live and part in self.constants:
            return z3.BitVecVal(self.constants[part], width)
        return bits(self(part), width)

    def joined(self, name: str, granules: tuple[tuple[int, int], ...]) -> z3.BitVecRef:
        """A whole register."""
        parts = [self.part(f"{name}.{index}", end - start) for index, (start, end) in enumerate(granules)]
        return z3.simplify(z3.Concat(*reversed(parts)))


def _part(state: State, name: str) -> z3.ExprRef:
    if name in FLAGS:
        return z3.simplify(state.flag(name))
    if name.startswith("slot"):
        return state.load(z3.simplify(state.base + slot_offset(name)), 1)
    number, index = map(int, name[1:].split("."))
    start, end = (GRANULES if name[0] == "r" else VECTOR_GRANULES)[index]
    whole = state.registers[number] if name[0] == "r" else state.vectors[number]
    return z3.simplify(z3.Extract(end - 1, start, whole))


def _announces_fewer_vectors(correct: z3.BitVecRef, changed: z3.BitVecRef) -> z3.BoolRef:
    """The condition that %al, at a call of a variadic function, is smaller than the number of vector registers used."""
    return z3.simplify(z3.Not(z3.And(z3.ULE(correct, changed), z3.ULE(changed, 8))))


def _unequal(x: z3.ExprRef, y: z3.ExprRef) -> z3.BoolRef:
    return z3.Xor(x, y) if z3.is_bool(x) else x != y


def _covers(outer: Access, inner: Access) -> z3.BoolRef:
    """The condition that one access covers another."""
    distance = z3.simplify(inner.address - outer.address)
    if inner.size > outer.size:
        return z3.BoolVal(False)
    return z3.simplify(z3.ULE(distance, outer.size - inner.size))


def _needs_alignment(op: Op) -> bool:
    """Whether an instruction faults on memory that is not aligned to 16 bytes."""
    vector = any(operand.reg in VECTORS for operand in op.insn.operands if operand.type == 1)
    return vector and any(operand.size == 16 for operand in op.insn.operands if operand.type == 3)


class _Blocks:
    """The basic blocks of the correct side, with the edges of both sides."""

    def __init__(self, before: Flow, after: Flow) -> None:
        self.flow = before
        reachable = before.reachable()
        starts = {before.key(number) for number in before.leaders()} | {after.key(number) for number in after.leaders()}
        self.starts = sorted(before.index[key] for key in starts if key in before.index)
        self.keys = frozenset(before.key(number) for number in self.starts)
        self.edges: dict[int, set[int]] = {start: set() for start in self.starts}
        for flow in (before, after):
            for number in range(len(flow.ops)):
                source = self._block_in(flow, number)
                for following in flow.successors(number):
                    key = flow.key(following)
                    if key in self.keys and (flow is after or number in reachable) and source is not None:
                        self.edges[source].add(before.index[key])
        self.sources: dict[int, set[int]] = {start: set() for start in self.starts}
        for source, targets in self.edges.items():
            for target in targets:
                self.sources[target].add(source)

    def _block_in(self, flow: Flow, number: int) -> int | None:
        while number >= 0:
            if flow.key(number) in self.keys:
                return self.flow.index[flow.key(number)]
            number -= 1
        return None

    def find_block(self, place: int) -> int:
        """The start of the block that a position is in."""
        return max(start for start in self.starts if start <= place)

    def find_window(self, block: int, back: int, on: int) -> tuple[int, frozenset[Key]] | None:
        """The start of a window (the dominator `back` levels above the block), and the blocks in the window."""
        start, through = block, {block}
        for _ in range(back):
            above = self._find_dominator(start)
            if above is None:
                return None
            start = above
        if start != block:
            ahead = self._reach({start}, self.edges, avoid=start)
            through = ahead & self._reach({block}, self.sources, avoid=start) | {block}
            inner = through - {start}
            if any(source not in through | {start} for block in inner for source in self.sources[block]):
                return None
        for _ in range(on):
            through |= {target for block in through for target in self.edges[block]}
        return start, frozenset(self.flow.key(block) for block in through - {start})

    def _reach(self, starts: set[int], edges: dict[int, set[int]], avoid: int) -> set[int]:
        seen = set(starts)
        todo = list(starts)
        while todo:
            for following in edges[todo.pop()]:
                if following not in seen and following != avoid:
                    seen.add(following)
                    todo.append(following)
        return seen

    def _find_dominator(self, block: int) -> int | None:
        """The immediate dominator of a block."""
        first = self.starts[0]
        if block == first:
            return None
        candidates = [
            other
            for other in self.starts
            if other != block and (other == first or block not in self._reach({first}, self.edges, avoid=other))
        ]
        # The immediate dominator is the one that all other dominators dominate.
        return next(
            candidate
            for candidate in candidates
            if all(
                other in (candidate, first) or candidate not in self._reach({first}, self.edges, avoid=other)
                for other in candidates
            )
        )

    def is_acyclic(self) -> bool:
        """Whether the control flow has no loop."""
        state: dict[int, int] = {}

        def visit(block: int) -> bool:
            state[block] = 1
            is_acyclic = all(state.get(other) != 1 and (other in state or visit(other)) for other in self.edges[block])
            state[block] = 2
            return is_acyclic

        return visit(self.starts[0])

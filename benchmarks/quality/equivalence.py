"""Proofs that a fault is none: the changed code does the same as before, whatever the input.

Both sides are run as z3 terms from a point before the change, from the same values of all that is live there, to the
next points that they share. Where every way out leads to the same point, with the same memory, the same calls on the
way, and the same values of all that is live behind, the sides can't be told apart: outside of the change they are the
same instructions, so this carries on by induction, loops or not. What is dead differs between the sides as it likes.

Nothing is taken for granted of memory but that nobody reaches a frame whose address is never taken. The changed code
may not touch memory, nor divide by what, the correct code does not. Where an instruction has no meaning here, where
there are too many paths, or where z3 does not answer in time, there is no proof.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import z3

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
from quality.semantics import CALLER_SAVED, FLAGS, RBP, RSP, VECTORS, Access, State, UnmodelledError, execute

_EFFORT = 1_000_000
"""What z3 may do for one question, in its own units, so that a slow machine proves the same: a second or two."""
_MOST_UNANSWERED = 2
_MOST_PATHS, _MOST_STEPS = 24, 400
_ATTEMPTS = ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 1), (3, 2))
"""How many blocks further back, and further on, each attempt at a proof looks."""


@dataclass(frozen=True)
class Entry:
    """What holds when the function is entered, from what C promises its callers do."""

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
    """By a table: to any of its places."""


@dataclass(frozen=True)
class Text:
    """One side: what was assembled, and from what."""

    text: str
    made: AssembledCode


def equivalent(correct: Text, changed: Text, function: str, changes: Changes, entry: Entry) -> str:
    """How the change is shown to make no difference; empty where it is not shown."""
    listing = read(correct.text, function)
    first, last = listing.code[0].line, listing.code[-1].line
    if any(not first <= start <= last for start, _, _ in changes):
        return ""
    try:
        before = Flow(listing, correct.made, changes, after=False)
        after = Flow(read(changed.text, function), changed.made, changes, after=True)
        return _Proof(before, after, entry, _constants(correct.made, entry)).all(len(changes))
    except (UnmodelledError, z3.Z3Exception, RecursionError):
        return ""


def _constants(made: AssembledCode, entry: Entry) -> Callable[[int], z3.BitVecRef | None]:
    """Read-only memory. The text's own is the same on both sides, but for the addresses of code in jump tables."""

    def constant(address: int) -> z3.BitVecRef | None:
        for segment in made.segments:
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

    def all(self, changes: int) -> str:
        """The means by which every single change is shown to be none."""
        reachable = self.before.reachable()
        found = ""
        for number in range(changes):
            place = self.before.index["change", number]
            if place in reachable:
                means = self._one(place) or self._one_with_more(number)
                if not means:
                    return ""
                found = max(found, means, key=len)
        return found or "unreachable code"

    def _one_with_more(self, number: int) -> str:
        """With all that the changed side looks at taken for live, so that what is known of it can be used."""
        key = ("change", number)
        after = Liveness(self.after, self.entry.interface)
        wanted = after.live.get(self.after.index[key], frozenset()) & (EVERYTHING | self.liveness.slots)
        place = self.before.index[key]
        if wanted <= self.live[place]:
            return ""
        self.live = self.liveness.solve({place: wanted})
        found = self._one(place)
        self.live = self.liveness.live
        return found

    def _one(self, place: int) -> str:
        block = self.blocks.of(place)
        words = {(0, 0): "z3, within a basic block"}
        tried: set[tuple[int, frozenset[Key]]] = set()
        for back, on in _ATTEMPTS:
            window = self.blocks.window(block, back, on)
            if window is None or window in tried:
                continue
            tried.add(window)
            if self._proved(*window):
                return words.get((back, on), "z3, across basic blocks")
        if self.blocks.acyclic() and self._proved(0, self.blocks.keys):
            return "z3, the whole function"
        return ""

    def _proved(self, start: int, inside: frozenset[Key]) -> bool:
        if self.unanswered >= _MOST_UNANSWERED:
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
            return self._same_exits(*exits, assume)
        except UnmodelledError:
            return False

    def _state(self, side: str, start: int, live: Parts) -> State:
        """What is live is the same on both sides; all else is each side's own."""
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
                if steps > _MOST_STEPS:
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
            if paths > _MOST_PATHS:
                raise UnmodelledError("too many paths")

    def _step(self, flow: Flow, op: Op, number: int, state: State) -> Any:
        """Where it goes on: the position, and others with their conditions; or the way out."""
        one = op.text
        if one is None:
            return (number + 1,)
        if one.is_return:
            return _Exit(("return", 0), state, returns=True)
        if one.mnemonic == "ud2":
            return _Exit(("trap", 0), state)
        if one.is_call:
            self._call(op, state)
            return (number + 1,)
        if one.mnemonic in ("jmp", "jmpq"):
            if one.is_jump:
                return (flow.target(one),)
            if callee_of(op) is None and flow.table:
                state.events.append(("jump", (), (state.read(op.insn, 0),)))
                return _Exit(op.key, state, jumps=True)
            self._call(op, state)
            return _Exit(("return", 0), state, returns=True)
        if one.mnemonic.startswith("j"):
            return self._branch(flow, op, number, state)
        if op.key[0] == "now" and _aligned(op):
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
        """What a callee does is unknown, and the same on both sides if it is called with the same."""
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

    def _same_exits(self, first: list[_Exit], second: list[_Exit], assume: list[z3.BoolRef]) -> bool:
        for one in first:
            solver = z3.Solver()
            solver.set("rlimit", _EFFORT)
            solver.add(*assume, *one.state.conditions)
            for two in second:
                different = self._different(one, two)
                if different is None:
                    continue
                solver.push()
                solver.add(*two.state.conditions, different)
                answer = solver.check()
                solver.pop()
                self.unanswered += answer == z3.unknown
                if answer != z3.unsat:
                    return False
        return True

    def _different(self, one: _Exit, two: _Exit) -> z3.BoolRef | None:
        """That two ways out differ; None where they can't."""
        a, b = one.state, two.state
        events = [[event[:2] for event in state.events] for state in (a, b)]
        lengths = [[len(event[2]) for event in state.events] for state in (a, b)]
        if one.key != two.key or events[0] != events[1] or lengths[0] != lengths[1]:
            return z3.BoolVal(True)
        unequal = [_fewer_vectors(x[2][0], y[2][0]) for x, y in zip(a.events, b.events) if x[0] == "vectors"]
        pairs = [pair for x, y in zip(a.events, b.events) if x[0] != "vectors" for pair in zip(x[2], y[2])]
        pairs += [(a.registers[RSP], b.registers[RSP]), (a.memory, b.memory)]
        pairs += [(_part(a, name), _part(b, name)) for name in self._looked_at(one)]
        unequal += [_unequal(x, y) for x, y in pairs if not x.eq(y)]
        unequal += self._wild(a, b)
        return None if all(map(z3.is_false, unequal)) else z3.Or(*unequal)

    def _looked_at(self, way_out: _Exit) -> Parts:
        if way_out.returns:
            return self.entry.interface.returned
        if way_out.key[0] == "trap":
            return frozenset()
        number = self.before.index[way_out.key]
        if not way_out.jumps:
            return self.live[number]
        return frozenset().union(*(self.live.get(one, frozenset()) for one in self.before.table))

    def _wild(self, a: State, b: State) -> Iterator[z3.BoolRef]:
        """That the changed side touches what the correct side does not."""
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
    """Names of the parts at a window's start."""

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


def _fewer_vectors(correct: z3.BitVecRef, changed: z3.BitVecRef) -> z3.BoolRef:
    """That %al, at a call of a variadic function, is no upper bound any more of the vector registers used."""
    return z3.simplify(z3.Not(z3.And(z3.ULE(correct, changed), z3.ULE(changed, 8))))


def _unequal(x: z3.ExprRef, y: z3.ExprRef) -> z3.BoolRef:
    return z3.Xor(x, y) if z3.is_bool(x) else x != y


def _covers(outer: Access, inner: Access) -> z3.BoolRef:
    """That one access touches all that another does."""
    distance = z3.simplify(inner.address - outer.address)
    if inner.size > outer.size:
        return z3.BoolVal(False)
    return z3.simplify(z3.ULE(distance, outer.size - inner.size))


def _aligned(op: Op) -> bool:
    """Whether an instruction faults on memory that is not aligned to 16 bytes."""
    vector = any(operand.reg in VECTORS for operand in op.insn.operands if operand.type == 1)
    return vector and any(operand.size == 16 for operand in op.insn.operands if operand.type == 3)


class _Blocks:
    """The basic blocks, those of the correct side; edges are those of both sides."""

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

    def of(self, place: int) -> int:
        """The start of the block that a position is in."""
        return max(start for start in self.starts if start <= place)

    def window(self, block: int, back: int, on: int) -> tuple[int, frozenset[Key]] | None:
        """A point that every way to the block passes, `back` dominators before it, and the blocks to run through."""
        start, through = block, {block}
        for _ in range(back):
            above = self._dominator(start)
            if above is None:
                return None
            start = above
        if start != block:
            ahead = self._reach({start}, self.edges, avoid=start)
            through = ahead & self._reach({block}, self.sources, avoid=start) | {block}
            inner = through - {start}
            if any(source not in through | {start} for one in inner for source in self.sources[one]):
                return None
        for _ in range(on):
            through |= {target for one in through for target in self.edges[one]}
        return start, frozenset(self.flow.key(one) for one in through - {start})

    def _reach(self, starts: set[int], edges: dict[int, set[int]], avoid: int) -> set[int]:
        seen = set(starts)
        todo = list(starts)
        while todo:
            for following in edges[todo.pop()]:
                if following not in seen and following != avoid:
                    seen.add(following)
                    todo.append(following)
        return seen

    def _dominator(self, block: int) -> int | None:
        """The nearest block that every way from the start to this one passes."""
        first = self.starts[0]
        if block == first:
            return None
        candidates = [
            other
            for other in self.starts
            if other != block and (other == first or block not in self._reach({first}, self.edges, avoid=other))
        ]
        # The nearest is the one that all the other candidates dominate.
        return next(
            one
            for one in candidates
            if all(
                other in (one, first) or one not in self._reach({first}, self.edges, avoid=other)
                for other in candidates
            )
        )

    def acyclic(self) -> bool:
        """Whether there is no loop."""
        state: dict[int, int] = {}

        def visit(one: int) -> bool:
            state[one] = 1
            fine = all(state.get(other) != 1 and (other in state or visit(other)) for other in self.edges[one])
            state[one] = 2
            return fine

        return visit(self.starts[0])

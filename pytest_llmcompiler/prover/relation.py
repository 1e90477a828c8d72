"""What holds wherever both sides of a proof stand at the heads of their loops: which places have equal values.

Places are bytes of registers and of frame slots, and parts of vector registers, of both sides. A relation gives places
a term each; places with the same term are equal. Terms are constants, values that the function was entered with, or
symbols that stand for anything. A relation begins with all that is equal the first time, and loses what is not equal
a later time. An example, a loop of both sides in which the reference counts in a frame slot, the candidate in %ecx:

    the first time      slot-4 = 0, ecx = 0, eax = 0
    the second time     slot-4 = 1, ecx = 1, eax = 0
    the relation        slot-4 = c, ecx = c, eax = 0
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import z3

from pytest_llmcompiler.prover.execution import CodeState
from pytest_llmcompiler.prover.state import FLAGS, RSP

Place = tuple[str, str, int, int]
"""Side, kind, number or offset, and the lowest bit. Kinds are `r`, `x`, `slot`, and `frame` for a
register that points into the frame, whose value is an offset."""
VECTOR_PARTS = ((0, 32), (32, 64), (64, 128))
_MAX_CHECKS = 24
"""Pairs of terms of one class that z3 is asked about, at one arrival."""

AreEqual = Callable[[Any, Any], bool]


def entry_registers() -> list[Any]:
    """The general registers as the function is entered with them, equal on both sides."""
    registers = [z3.BitVec(f"r{number}", 64) for number in range(16)]
    registers[RSP] = z3.BitVec("rsp0", 64)
    return registers


def entry_vectors() -> list[Any]:
    """The vector registers as the function is entered with them."""
    return [z3.BitVec(f"x{number}", 128) for number in range(16)]


def list_values(state: CodeState) -> Iterable[tuple[Place, Any]]:
    """The places of a state with their values."""
    for number, whole in enumerate(state.registers):
        if number == RSP:
            continue
        offset = z3.simplify(whole - state.base)
        if z3.is_bv_value(offset):
            yield (state.side, "frame", number, 0), offset
        else:
            for low in range(0, 64, 8):
                yield (state.side, "r", number, low), z3.simplify(z3.Extract(low + 7, low, whole))
    for number, whole in enumerate(state.vectors):
        for low, end in VECTOR_PARTS:
            yield (state.side, "x", number, low), z3.simplify(z3.Extract(end - 1, low, whole))
    frame = state.frame
    for offset, value in state.slots.items():
        if offset >= frame - 128:
            yield (state.side, "slot", offset, 0), value


class Relation:
    """The relation at one pair of heads."""

    def __init__(self, name: str, values: dict[Place, Any], frames: tuple[int, int]) -> None:
        self.name, self.frames = name, frames
        """`frames` are the stack pointers of both sides, in bytes from where they are at the entry."""
        self._count = 0
        self.terms: dict[Place, Any] = {}
        groups: dict[int, list[Place]] = defaultdict(list)
        for place, value in values.items():
            groups[value.get_id()].append(place)
        for places in groups.values():
            value = values[places[0]]
            self._assign(places, value if _is_fixed(value) else None)

    def _assign(self, places: list[Place], term: Any) -> None:
        """Give places a term; without one, a new symbol, or nothing for a single place."""
        if term is None:
            if len(places) < 2:
                for place in places:
                    self.terms.pop(place, None)
                return
            self._count += 1
            kind, low = places[0][1], places[0][3]
            term = z3.BitVec(f"{self.name}.{self._count}", (64 if low == 64 else 32) if kind == "x" else 8)
        for place in places:
            self.terms[place] = term

    def refine(self, values: dict[Place, Any], are_equal: AreEqual) -> bool:
        """Drop what a further arrival does not show to be equal. Returns whether anything was dropped."""
        classes: dict[int, list[Place]] = defaultdict(list)
        for place, term in self.terms.items():
            classes[term.get_id()].append(place)
        changed = False
        for places in classes.values():
            term = self.terms[places[0]]
            is_fixed = _is_fixed(term)
            lost = [place for place in places if place not in values]
            for place in lost:
                del self.terms[place]
            changed |= bool(lost)
            parts = _divide(
                [place for place in places if place in values], values, term if is_fixed else None, are_equal
            )
            if is_fixed:
                others = parts[1:]
                changed |= bool(others)
                for part in others:
                    self._assign(part, None)
            elif len(parts) > 1:
                changed = True
                for part in parts:
                    self._assign(part, None)
        return changed

    def build_state(self, side: CodeState, frame: int) -> None:
        """Give a fresh state of a side the values that the relation knows; all others are unknown."""
        own = side.side
        for number in range(16):
            if number == RSP:
                side.registers[number] = z3.simplify(side.base + frame)
                continue
            offset = self.terms.get((own, "frame", number, 0))
            if offset is not None and z3.is_bv_value(offset):
                side.registers[number] = z3.simplify(side.base + offset)
                continue
            parts = [self._value((own, "r", number, low), 8) for low in range(0, 64, 8)]
            side.registers[number] = z3.simplify(z3.Concat(*reversed(parts)))
        for number in range(16):
            parts = [self._value((own, "x", number, low), end - low) for low, end in VECTOR_PARTS]
            side.vectors[number] = z3.simplify(z3.Concat(*reversed(parts)))
        side.flags = {flag: z3.Bool(f"{own}:{self.name}.{flag}") for flag in FLAGS}
        side.slots = {place[2]: term for place, term in self.terms.items() if place[:2] == (own, "slot")}

    def _value(self, place: Place, width: int) -> Any:
        if place in self.terms:
            return self.terms[place]
        return z3.BitVec(f"{place[0]}:{self.name}.{place[1]}{place[2]}.{place[3]}", width)


def _divide(places: list[Place], values: dict[Place, Any], first: Any, are_equal: AreEqual) -> list[list[Place]]:
    """The places in groups with equal values. With a `first` term, the first group has its value, and may be empty."""
    parts: list[tuple[Any, list[Place]]] = [] if first is None else [(first, [])]
    known: dict[int, list[Place]] = {} if first is None else {first.get_id(): parts[0][1]}
    checks = 0
    for place in places:
        value = values[place]
        group = known.get(value.get_id())
        if group is None:
            for other, members in parts:
                if checks < _MAX_CHECKS and other.size() == value.size():
                    checks += 1
                    if are_equal(other, value):
                        group = members
                        break
            if group is None:
                group = []
                parts.append((value, group))
            known[value.get_id()] = group
        group.append(place)
    return [members for _, members in parts]


def _is_fixed(term: Any) -> bool:
    """Whether a term means the same at every time: a constant, or made of what the function was entered with."""
    seen: set[int] = set()
    todo = [term]
    while todo:
        part = todo.pop()
        if part.get_id() in seen:
            continue
        seen.add(part.get_id())
        if z3.is_array(part):
            return False
        if z3.is_const(part) and part.decl().kind() == z3.Z3_OP_UNINTERPRETED:
            name = part.decl().name()
            if not ((name[0] in "rx" and name[1:].isdigit()) or name == "rsp0" or name.startswith("own:")):
                return False
        todo += part.children()
    return len(seen) <= _MAX_FIXED


_MAX_FIXED = 12
"""Parts of a term that is kept as it is; larger ones become symbols."""

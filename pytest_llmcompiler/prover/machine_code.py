"""One side of a proof: the linked bytes of a text, decoded, with the text's own constants."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import z3

from pytest_llmcompiler.errors import UnmodelledError
from pytest_llmcompiler.prover.state import decoder
from pytest_llmcompiler.targets.code import AssembledCode, CodeSegment

_MARGIN = 4096
"""Bytes around a text whose addresses are taken for the text's own: compilers name places before and behind a table."""

_NEAR = 256
"""Bytes around data within which a number is taken for an address of the data."""


class MachineCode:
    """The bytes of a text at their addresses."""

    def __init__(self, code: AssembledCode, function: str) -> None:
        """Raises UnmodelledError for code that can be written."""
        self.entry = code.symbols[function]
        self._segments = code.segments
        self._start = min(segment.address for segment in code.segments) - _MARGIN
        self._end = max(segment.address + len(segment.data) for segment in code.segments) + _MARGIN
        if any(segment.is_executable and segment.is_writable for segment in code.segments):
            raise UnmodelledError("code that can be written")
        # The program's definitions take the place of these, so the bytes here say nothing of them.
        names = (code.shared_functions | code.replaced_functions) - {function}
        self._replaced = frozenset(code.symbols[name] for name in names if name in code.symbols)
        self.bases = self._name_constants()
        self._instructions: dict[int, Any] = {}

    def _name_constants(self) -> dict[CodeSegment, Any]:
        """The address of each segment of constants as a symbol. Equal contents have equal symbols on both sides."""
        bases: dict[CodeSegment, Any] = {}
        for segment in self._segments:
            if not segment.is_writable and not segment.is_executable and segment.name != ".got":
                digest = hashlib.sha256(segment.data).hexdigest()[:16]
                same = sum(other.data == segment.data for other in bases)
                bases[segment] = z3.BitVec(f"own:{digest}:{same}", 64)
        return bases

    def has(self, address: int) -> bool:
        """Whether an address is the text's own, or close to it."""
        return self._start <= address < self._end

    def has_data(self, address: int) -> bool:
        """Whether an address is that of the text's own data, or close to it."""
        data = (one for one in self._segments if not one.is_executable)
        return any(one.address - _NEAR <= address < one.address + len(one.data) + _NEAR for one in data)

    def find_segment(self, address: int) -> CodeSegment | None:
        """The segment at an address."""
        here = (one for one in self._segments if one.address <= address < one.address + len(one.data))
        return next(here, None)

    def fetch(self, address: int) -> Any:
        """The instruction at an address. Raises UnmodelledError where there is none."""
        if address not in self._instructions:
            segment = self.find_segment(address)
            if address in self._replaced:
                raise UnmodelledError("another function of the text")
            if segment is None or not segment.is_executable:
                raise UnmodelledError("a jump out of the text")
            start = address - segment.address
            insn = next(decoder().disasm(segment.data[start : start + 16], address), None)
            if insn is None:
                raise UnmodelledError("bytes that are no instruction")
            self._instructions[address] = insn
        return self._instructions[address]

    def locate(self, address: int) -> Any:
        """The value of an address that an instruction names relative to itself."""
        if not self.has(address):
            return z3.BitVecVal(address, 64)
        segment = self.find_segment(address)
        if segment is not None and segment.name == ".got":
            return z3.BitVecVal(address, 64)
        if segment is None or segment not in self.bases:
            raise UnmodelledError("a variable or the code of the text itself")
        return self.bases[segment] + (address - segment.address)

    def read_slot(self, address: int, size: int) -> bytes | None:
        """The bytes of the global offset table at an address; None elsewhere."""
        segment = self.find_segment(address)
        if segment is None or segment.name != ".got":
            return None
        start = address - segment.address
        return segment.data[start : start + size]

    def find_next(self, address: int) -> list[int]:
        """Where control goes from an instruction, within the text."""
        insn = self.fetch(address)
        name = insn.mnemonic
        if name in ("ret", "repz ret", "ud2"):
            return []
        following = [] if name == "jmp" else [address + insn.size]
        if name.startswith("j"):
            if insn.operands[0].type != _IMMEDIATE:
                raise UnmodelledError("an indirect jump")
            target = insn.operands[0].imm
            segment = self.find_segment(target)
            if segment is not None and segment.is_executable:
                following.append(target)
        return following

    @functools.cached_property
    def loop_heads(self) -> frozenset[int]:
        """Where loops begin: each circle of the control flow goes through one of these. Raises UnmodelledError."""
        heads: set[int] = set()
        state: dict[int, bool] = {self.entry: True}
        stack = [(self.entry, iter(self.find_next(self.entry)))]
        while stack:
            address, following = stack[-1]
            target = next(following, None)
            if target is None:
                state[address] = False
                stack.pop()
            elif target not in state:
                state[target] = True
                stack.append((target, iter(self._find_next_or_none(target))))
            elif state[target]:
                heads.add(target)
        return frozenset(heads)

    def _find_next_or_none(self, address: int) -> list[int]:
        """Like `find_next`; nothing behind the end of the code, where a call that never returns may stand."""
        segment = self.find_segment(address)
        if segment is None or not segment.is_executable:
            return []
        return self.find_next(address)

    @functools.cached_property
    def body_heads(self) -> frozenset[int]:
        """Other points that each loop goes through: behind the branch of a head that leaves the loop, where it has one.
        So a loop that tests first looks like one that tests last behind a first test."""
        heads: set[int] = set()
        for head in self.loop_heads:
            heads.add(self._find_body(head))
        return frozenset(heads)

    def _find_body(self, head: int) -> int:
        address = head
        while True:
            following = self.find_next(address)
            inside = [one for one in following if self._reaches(one, head)]
            if len(following) == 2:
                return inside[0] if len(inside) == 1 else head
            if len(following) != 1 or following[0] == head:
                return head
            address = following[0]

    def _reaches(self, start: int, goal: int) -> bool:
        seen, todo = {start}, [start]
        while todo:
            address = todo.pop()
            if address == goal:
                return True
            for following in self._find_next_or_none(address):
                if following not in seen:
                    seen.add(following)
                    todo.append(following)
        return False


_IMMEDIATE = 2
"""Capstone's kind of an operand that is a number."""

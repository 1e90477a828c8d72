"""The control flow of a function's text before and after a fault, with points that both texts share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmcompiler.errors import UnmodelledError
from pytest_llmcompiler.prover.state import decoder
from pytest_llmcompiler.targets.code import AssembledCode
from quality.faults import Changes
from quality.listing import Instruction, Listing

Key = tuple[str, int]
"""A point of the text. ("line", n) is on both sides; ("change", n) is before a change, on both sides; ("was", n) and
("now", n) are inside a change, on one side."""
END: Key = ("end", 0)


@dataclass(frozen=True)
class Op:
    """One instruction, or a point at which this side has no instruction."""

    key: Key
    text: Instruction | None = None
    insn: Any = None
    """As capstone decodes it."""


class Flow:
    """The instructions of one side in the order of the text, and where each leads."""

    def __init__(self, listing: Listing, assembled: AssembledCode, changes: Changes, *, after: bool) -> None:
        self.ops: list[Op] = []
        lines: list[int] = []
        addresses = {line - 1: address for address, line in reversed(assembled.lines.items())}
        places = _list_changes(changes, after)
        for insn in listing.code:
            while places and places[0][0] <= insn.line:
                lines.append(places[0][0])
                self.ops.append(Op(places.pop(0)[1]))
            lines.append(insn.line)
            self.ops.append(Op(_key(insn.line, changes, after), insn, _decode(assembled, addresses, insn)))
        for line, key in places:
            lines.append(line)
            self.ops.append(Op(key))
        self.index = {op.key: number for number, op in enumerate(self.ops)}
        self.targets = {label: _find_first_after(lines, line) for line, label in listing.labels.items()}
        self.table = tuple(self.targets[label] for label in _list_table_labels(listing) if label in self.targets)

    def key(self, number: int) -> Key:
        """The point at a position; END past the last."""
        return self.ops[number].key if number < len(self.ops) else END

    def target(self, insn: Instruction) -> int:
        """Where a jump to a label leads."""
        return self.targets[insn.operands[0]]

    def successors(self, number: int) -> list[int]:
        """The positions that may come next within the function."""
        insn = self.ops[number].text
        if insn is None:
            return [number + 1]
        if insn.is_return or insn.mnemonic == "ud2":
            return []
        if insn.mnemonic in ("jmp", "jmpq"):
            if insn.is_jump:
                return [self.target(insn)]
            return list(self.table) if insn.operands[0].startswith("*") else []
        if insn.is_jump:
            return [self.target(insn), number + 1]
        return [number + 1]

    def leaders(self) -> set[int]:
        """Where basic blocks begin."""
        leaders = {0, *self.targets.values()}
        for number, op in enumerate(self.ops):
            if op.text is not None and (op.text.is_return or op.text.mnemonic.startswith("j")):
                leaders.add(number + 1)
        return {
            number for number in leaders if number < len(self.ops) and self.ops[number].key[0] not in ("was", "now")
        }

    def reachable(self) -> set[int]:
        """The positions that can be reached from the start."""
        seen: set[int] = set()
        todo = [0]
        while todo:
            number = todo.pop()
            if number in seen or number >= len(self.ops):
                continue
            seen.add(number)
            todo += self.successors(number)
        return seen


def _list_changes(changes: Changes, after: bool) -> list[tuple[int, Key]]:
    """The line before which each change begins, on one side."""
    places: list[tuple[int, Key]] = []
    shift = 0
    for number, (start, removed, new) in enumerate(changes):
        places.append((start + shift, ("change", number)))
        shift += len(new) - removed if after else 0
    return places


def _key(line: int, changes: Changes, after: bool) -> Key:
    shift = 0
    for start, removed, new in changes:
        count = len(new) if after else removed
        if start + shift <= line < start + shift + count:
            return ("now" if after else "was", line)
        if line < start + shift:
            break
        shift += len(new) - removed if after else 0
    return ("line", line - shift)


def _decode(assembled: AssembledCode, addresses: dict[int, int], insn: Instruction) -> Any:
    address = addresses.get(insn.line)
    for segment in assembled.segments:
        if address is not None and segment.address <= address < segment.address + len(segment.data):
            code = segment.data[address - segment.address :][:16]
            decoded = next(decoder().disasm(code, address), None)
            if decoded is not None:
                return decoded
    raise UnmodelledError(f"{insn.mnemonic} can't be decoded")


def _find_first_after(lines: Sequence[int], line: int) -> int:
    return next((number for number, other in enumerate(lines) if other > line), len(lines))


def _list_table_labels(listing: Listing) -> Iterator[str]:
    """The labels that data mentions: where an indirect jump may lead."""
    for line in listing.lines:
        words = line.split()
        if len(words) > 1 and words[0] in (".long", ".quad"):
            yield from (word for word in words[1].replace("-", " ").split() if word.startswith(".LBB"))

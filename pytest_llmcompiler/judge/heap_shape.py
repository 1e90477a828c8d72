"""Heap objects named by how they are reached, so that runs may make them in another order, at other addresses."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from pytest_llmcompiler.emulator.memory import find_words
from pytest_llmcompiler.emulator.observation import Argument, ExternalCall, HeapBlock, Observation, PointerArgument
from pytest_llmcompiler.values.layout import GARBAGE, PAGE, Layout

_LIVE, _GONE, _STRIDE = 0x660000000000, 0x6F0000000000, 1 << 24
"""Where objects go that are live, and that were freed. No object and no program has its own addresses there."""
_TOP = re.compile(rb"[\x55-\x5d]\0\0")
"""The three topmost bytes of any address that the heap gives out."""


def canonical_heap(layout: Layout, run: Observation) -> Observation:
    """A run with its heap objects numbered in the order in which they are found, and their addresses made from that.

    The way goes from the result through the input's objects, the globals and the calls; objects that nothing leads to
    follow by size and contents. Pointers are words at multiples of eight bytes, whatever their type says.
    """
    if not run.heap and not run.freed_blocks:
        return run
    if run.canonical is None:
        run.canonical = _HeapWalk(layout, run).renamed()
        run.canonical.canonical = run.canonical
    return run.canonical


class _HeapWalk:
    def __init__(self, layout: Layout, run: Observation) -> None:
        self._layout, self._run = layout, run
        freed = [HeapBlock(block.address, block.size, b"") for block in run.freed_blocks]
        blocks = sorted([*run.heap, *freed], key=lambda block: (block.address, block.size, block.pages))
        self._blocks = blocks
        self._bases = [block.address // PAGE * PAGE for block in blocks]
        self._numbers: dict[int, int] = {}
        """Of the objects found so far, by their place in `_blocks`: live and freed ones are counted apart."""
        self._counts = {True: 0, False: 0}

    def renamed(self) -> Observation:
        run = self._run
        self._find(run.result, 0)
        for target, slot in zip(self._layout.objects, run.slots, strict=True):
            start = target.address - target.slot.address
            self._find(slot[start : start + target.size], target.address)
        for data in run.globals:
            self._find(data, 0)
        for call in run.calls:
            for argument in call.args:
                self._find(_image(argument.address if isinstance(argument, PointerArgument) else argument), 0)
                if isinstance(argument, PointerArgument):
                    self._find(argument.data, argument.address)
        reachable = self._counts[True]
        self._find_rest()
        found = sorted((number, index) for index, number in self._numbers.items() if self._blocks[index].pages)
        return replace(
            run,
            result=self._renamed(run.result, 0),
            slots=tuple(
                self._renamed(slot, target.slot.address)
                for target, slot in zip(self._layout.objects, run.slots, strict=True)
            ),
            globals=tuple(self._renamed(data, 0) for data in run.globals),
            heap=tuple(self._renamed_block(index) for _, index in found),
            reachable_blocks=reachable,
            calls=tuple(ExternalCall(call.name, tuple(map(self._renamed_argument, call.args))) for call in run.calls),
        )

    def _block_of(self, address: int) -> int | None:
        """The place of the object that an address belongs to, or ends."""
        index = bisect_right(self._bases, address) - 1
        if index < 0:
            return None
        size = max(self._blocks[index].size, PAGE)
        return index if address <= self._bases[index] + -(-size // PAGE) * PAGE else None

    def _words(self, data: bytes, address: int) -> Iterator[tuple[int, int, int]]:
        """The pointers into objects in data that lies at an address: offset, value, object."""
        for at, value in find_words(data, address, _TOP):
            index = self._block_of(value)
            if index is not None:
                yield at, value, index

    def _find(self, data: bytes, address: int) -> None:
        """Number the objects that data leads to, nearest first."""
        todo = deque([(data, address)])
        while todo:
            for _, _, index in self._words(*todo.popleft()):
                if index not in self._numbers:
                    todo.append(self._number(index))

    def _number(self, index: int) -> tuple[bytes, int]:
        """Number an object; what it holds, and where."""
        block = self._blocks[index]
        self._numbers[index] = self._counts[bool(block.pages)]
        self._counts[bool(block.pages)] += 1
        return block.data, block.address

    def _find_rest(self) -> None:
        rest = [index for index, block in enumerate(self._blocks) if block.pages and index not in self._numbers]
        for index in sorted(rest, key=self._key):
            if index not in self._numbers:
                self._find(*self._number(index))

    def _key(self, index: int) -> tuple[int, bytes]:
        """The size and contents of an object that nothing leads to, but for pointers and garbage."""
        block = self._blocks[index]
        data = bytearray(block.data)
        for at, _, _ in self._words(bytes(data), block.address):
            data[at : at + 8] = bytes(8)
        return block.size, bytes(data).replace(GARBAGE[self._run.garbage_pattern], bytes(4))

    def _renamed(self, data: bytes, address: int) -> bytes:
        made = bytearray(data)
        for at, value, index in self._words(data, address):
            if index in self._numbers:
                made[at : at + 8] = self._address(index, value).to_bytes(8, "little")
        return bytes(made)

    def _address(self, index: int, value: int) -> int:
        origin = _LIVE if self._blocks[index].pages else _GONE
        return origin + self._numbers[index] * _STRIDE + value - self._bases[index]

    def _renamed_block(self, index: int) -> HeapBlock:
        block = self._blocks[index]
        return HeapBlock(self._address(index, block.address), block.size, self._renamed(block.pages, 0))

    def _renamed_argument(self, argument: Argument) -> Argument:
        if isinstance(argument, int):
            return int.from_bytes(self._renamed(_image(argument), 0), "little")
        address = int.from_bytes(self._renamed(_image(argument.address), 0), "little")
        return replace(argument, address=address, data=self._renamed(argument.data, argument.address))


def _image(number: int) -> bytes:
    """The bytes of an argument of any size, in whole words."""
    return number.to_bytes(-(-max(number.bit_length(), 1) // 64) * 8, "little")

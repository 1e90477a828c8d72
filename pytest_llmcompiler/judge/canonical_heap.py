"""The canonical heap: objects are named by how they are reached, not by when and where they were allocated.

A correct candidate may allocate the same objects in another order. Example:

    struct pair *both(int x, int y) { p = malloc(16); p->a = malloc(4); p->b = malloc(4); … }

    the reference allocates  p, a, b  at 0x5581…0, 0x5581…1000, 0x5581…2000
    the candidate allocates  b, a, p  at 0x5581…0, 0x5581…1000, 0x5581…2000

Byte for byte, the result and the pointers in `p` differ. So both runs are renamed before they are compared. The walk
starts at the result, follows each pointer breadth-first, and numbers the objects as it finds them: `p` is 0, `a` is 1,
`b` is 2, in both runs. Each object then gets an address that is made of its number, and every pointer to it, or into
it, is replaced by that address. Now equal heaps have equal bytes.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from pytest_llmcompiler.emulator.memory import find_words
from pytest_llmcompiler.emulator.observation import (
    ELSEWHERE,
    Argument,
    HeapBlock,
    Observation,
    PointerArgument,
)
from pytest_llmcompiler.values.layout import GARBAGE, PAGE, Layout

_LIVE, _FREED, _STRIDE = 0x660000000000, 0x6F0000000000, 1 << 24
"""Canonical addresses: where live and freed objects begin, and the bytes from one object to the next, more than the
heap's largest object has. Neither the program nor an input has addresses there."""
_TOP_BYTES = re.compile(rb"[\x55-\x5d]\0\0")
"""The three most significant bytes of every address that the emulated heap gives out."""


def canonical_heap(layout: Layout, run: Observation) -> Observation:
    """A run with its heap objects in the order in which pointers lead to them, at addresses that depend on that alone.

    The walk starts from the result, then from the input's objects, the globals, and the arguments of external calls.
    Objects to which no pointer leads follow, ordered by size and contents. Every aligned word whose value lies in an
    object counts as a pointer, whatever its C type: programs keep pointers in integers too.
    """
    if not run.heap and not run.freed_blocks:
        return run
    if run.canonical is None:  # each expected run is compared many times, so its canonical form is kept
        run.canonical = _HeapWalk(layout, run).renamed_run()
        run.canonical.canonical = run.canonical
    return run.canonical


class _HeapWalk:
    """Numbers the objects of one run, and renames all pointers to them."""

    def __init__(self, layout: Layout, run: Observation) -> None:
        self._layout, self._run = layout, run
        freed = [HeapBlock(block.address, block.size, b"") for block in run.freed_blocks]
        blocks = [*run.heap, *freed]
        self._blocks = sorted(blocks, key=lambda block: (block.address, block.size, block.pages))
        """The live and the freed objects; a freed one has no pages."""
        self._bases = [block.address // PAGE * PAGE for block in self._blocks]
        self._numbers: dict[int, int] = {}
        """The number of each object that was reached so far, by its index in `_blocks`."""
        self._counts = {True: 0, False: 0}
        """How many live (True) and freed (False) objects have a number."""

    def renamed_run(self) -> Observation:
        """The run with canonical addresses."""
        run = self._run
        self._walk_from_roots()
        reachable = self._counts[True]
        self._walk_from_unreached()
        live = sorted((number, index) for index, number in self._numbers.items() if self._is_live(index))
        return replace(
            run,
            result=self._rename(run.result, 0),
            slots=tuple(
                self._rename(slot, target.slot.address)
                for target, slot in zip(self._layout.objects, run.slots, strict=True)
            ),
            globals=tuple(self._rename(data, 0) for data in run.globals),
            heap=tuple(self._rename_block(index) for _, index in live),
            reachable_blocks=reachable,
            calls=tuple(replace(call, args=tuple(map(self._rename_argument, call.args))) for call in run.calls),
        )

    # -- numbering

    def _walk_from_roots(self) -> None:
        run = self._run
        self._walk(run.result, 0)
        for target, slot in zip(self._layout.objects, run.slots, strict=True):
            start = target.address - target.slot.address
            self._walk(slot[start : start + target.size], target.address)
        for data in run.globals:
            self._walk(data, 0)
        for call in run.calls:
            for argument in call.args:
                if isinstance(argument, PointerArgument):
                    self._walk(_bytes_of(argument.address), 0)
                    self._walk(argument.data, _data_address(argument))
                else:
                    self._walk(_bytes_of(argument), 0)

    def _walk_from_unreached(self) -> None:
        """Number the live objects to which nothing leads: they are leaked, and compared too."""
        rest = [index for index in range(len(self._blocks)) if self._is_live(index) and index not in self._numbers]
        for index in sorted(rest, key=self._order_of_leak):
            if index not in self._numbers:  # an earlier leaked object may lead to this one
                self._walk(*self._number(index))

    def _walk(self, data: bytes, address: int) -> None:
        """Number the objects to which data leads, breadth-first. The data lies at the address."""
        queue = deque([(data, address)])
        while queue:
            for _, _, index in self._pointers(*queue.popleft()):
                if index not in self._numbers:
                    queue.append(self._number(index))

    def _number(self, index: int) -> tuple[bytes, int]:
        """Give an object the next number. Returns its contents and its address."""
        is_live = self._is_live(index)
        self._numbers[index] = self._counts[is_live]
        self._counts[is_live] += 1
        block = self._blocks[index]
        return block.data, block.address

    def _order_of_leak(self, index: int) -> tuple[int, bytes]:
        """The size and the contents of an object, without pointers and uninitialised bytes, which depend on the run."""
        block = self._blocks[index]
        data = bytearray(block.data)
        for at, _, _ in self._pointers(block.data, block.address):
            data[at : at + 8] = bytes(8)
        return block.size, bytes(data).replace(GARBAGE[self._run.garbage_pattern], bytes(4))

    # -- finding pointers

    def _is_live(self, index: int) -> bool:
        return bool(self._blocks[index].pages)

    def _pointers(self, data: bytes, address: int) -> Iterator[tuple[int, int, int]]:
        """The pointers into heap objects in data that lies at an address: offset, value, index of the object."""
        for at, value in find_words(data, address, _TOP_BYTES):
            index = self._block_of(value)
            if index is not None:
                yield at, value, index

    def _block_of(self, address: int) -> int | None:
        """The index of the object on whose pages an address lies, or which ends at it."""
        index = bisect_right(self._bases, address) - 1
        if index < 0:
            return None
        size = max(self._blocks[index].size, PAGE)
        return index if address <= self._bases[index] + -(-size // PAGE) * PAGE else None

    # -- renaming

    def _rename(self, data: bytes, address: int) -> bytes:
        """Data that lies at an address, with canonical pointers."""
        renamed = bytearray(data)
        for at, value, index in self._pointers(data, address):
            if index in self._numbers:
                renamed[at : at + 8] = self._canonical_address(index, value).to_bytes(8, "little")
        return bytes(renamed)

    def _canonical_address(self, index: int, value: int) -> int:
        """The canonical form of an address in an object. Its offset in the page stays as it is."""
        origin = _LIVE if self._is_live(index) else _FREED
        return origin + self._numbers[index] * _STRIDE + value - self._bases[index]

    def _rename_block(self, index: int) -> HeapBlock:
        block = self._blocks[index]
        return HeapBlock(self._canonical_address(index, block.address), block.size, self._rename(block.pages, 0))

    def _rename_argument(self, argument: Argument) -> Argument:
        if isinstance(argument, int):
            return int.from_bytes(self._rename(_bytes_of(argument), 0), "little")
        address = int.from_bytes(self._rename(_bytes_of(argument.address), 0), "little")
        return replace(argument, address=address, data=self._rename(argument.data, _data_address(argument)))


def _data_address(argument: PointerArgument) -> int:
    """An address for the data of an argument. Only its remainder counts, and what lies elsewhere is aligned as C
    aligns pointers."""
    return 0 if argument.address == ELSEWHERE else argument.address


def _bytes_of(number: int) -> bytes:
    """An argument of any size as whole words, in which pointers can be found."""
    return number.to_bytes(-(-max(number.bit_length(), 1) // 64) * 8, "little")

"""The run of one program in the addresses of another.

Two programs that are linked differently have their variables and functions at different addresses. A pointer to
`table[2]` is another number in each, and the same value for the comparison of their runs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace

from pytest_llmcompiler.emulator.observation import Argument, ExternalCall, Observation, PointerArgument
from pytest_llmcompiler.program.image import ProgramImage

_NESTED = 4
"""Symbols that may hold one address: a constant, that constant with its padding, a neighbour that ends there."""


class AddressTranslator:
    """Replaces addresses of the program `source` by those of the program `target`."""

    def __init__(self, source: ProgramImage, target: ProgramImage) -> None:
        self._source, self._target = _SymbolTable(source), _SymbolTable(target)

    def rebase(self, run: Observation, expected: Observation) -> Observation:
        """A run of the source program in the addresses of the target.

        Only a word that differs from that of `expected`, a run of the target on the same input, is taken for an
        address, and only where both words name the same place.
        """
        return replace(
            run,
            result=self._translate(run.result, expected.result),
            slots=self._translate_all(run.slots, expected.slots),
            globals=self._translate_all(run.globals, expected.globals),
            heap=tuple(
                replace(block, pages=self._translate(block.pages, other.pages))
                for block, other in zip(run.heap, expected.heap)
            )
            + run.heap[len(expected.heap) :],
            calls=tuple(self._translate_call(call, other) for call, other in zip(run.calls, expected.calls))
            + run.calls[len(expected.calls) :],
            canonical=None,
        )

    def _translate_all(self, parts: tuple[bytes, ...], expected: tuple[bytes, ...]) -> tuple[bytes, ...]:
        return tuple(map(self._translate, parts, expected)) if len(parts) == len(expected) else parts

    def _translate(self, data: bytes, expected: bytes) -> bytes:
        """Data whose aligned words become those of `expected` where both name the same place."""
        if data == expected or len(data) != len(expected):
            return data
        translated = bytearray(data)
        for at in range(0, len(data) - 7, 8):
            words = data[at : at + 8], expected[at : at + 8]
            if words[0] != words[1] and self._is_same_place(*(int.from_bytes(word, "little") for word in words)):
                translated[at : at + 8] = words[1]
        return bytes(translated)

    def _translate_call(self, call: ExternalCall, expected: ExternalCall) -> ExternalCall:
        translated = (self._translate_argument(*pair) for pair in zip(call.args, expected.args))
        return replace(call, args=(*translated, *call.args[len(expected.args) :]))

    def _translate_argument(self, argument: Argument, expected: Argument) -> Argument:
        if isinstance(argument, int) and isinstance(expected, int):
            return expected if self._is_same_place(argument, expected) else argument
        if isinstance(argument, PointerArgument) and isinstance(expected, PointerArgument):
            is_same = self._is_same_place(argument.address, expected.address)
            data = self._translate(argument.data, expected.data)
            return replace(argument, address=expected.address if is_same else argument.address, data=data)
        return argument

    def _is_same_place(self, source: int, target: int) -> bool:
        return not self._source.places(source).isdisjoint(self._target.places(target))


class _SymbolTable:
    def __init__(self, program: ProgramImage) -> None:
        symbols = ((symbol.address, symbol.size, name) for name, symbol in program.symbols.items() if symbol.size)
        self._symbols = sorted(symbols)
        self._starts = [address for address, _, _ in self._symbols]

    def places(self, address: int) -> frozenset[tuple[str, int]]:
        """The symbols in which an address lies, or which end there, each with the offset."""
        return frozenset(self._find(address))

    def _find(self, address: int) -> Iterator[tuple[str, int]]:
        end = bisect_right(self._starts, address)
        for start, size, name in self._symbols[max(0, end - _NESTED) : end]:
            if address <= start + size:
                yield name, address - start

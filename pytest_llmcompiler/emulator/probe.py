"""What a probe (see `program/probe.c`) tells of its last run: where it went, and what it compared."""

from __future__ import annotations

import functools
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace

from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import ComparedOperands, Comparisons, Feature, Features, Observation
from pytest_llmcompiler.targets import abi
from pytest_llmcompiler.values.layout import Layout

_INSTRUCTIONS = 4_000_000
"""What a run may take that does not count its own steps."""
_MOST_COST = 300
"""Calls out that a run may make, or what takes as long."""
_LONGEST, _MOST_TEXTS = 64, 64
_EACH = 50
"""Steps that take as long as a call out."""
_TAKEN = bytes([0, *[1] * 255])
_NON_ZERO = re.compile(rb"[^\0]")
_WITH_SIZE = ("strncmp", "strncasecmp", "memcmp", "bcmp")
_COMPARING = ("strcmp", "strcasecmp", "strstr", *_WITH_SIZE)
_FINDING, _FINDING_ANY = (
    ("strchr", "strchrnul", "strrchr", "memchr"),
    ("strspn", "strcspn", "strpbrk", "strtok"),
)


class Probe:
    """Reads what a machine with a probe tells. To be made before the first run.

    `counted` where the code has loops that the compiler knows nothing of.
    """

    def __init__(self, machine: Machine, counted: bool) -> None:
        self._machine, self._most = machine, _INSTRUCTIONS if counted else 0
        symbols, library = machine.program.symbols, machine.program.library
        self._table, self._relations, self._nearness, self._indices = (
            (symbols[f"llmc_{name}"].address, symbols[f"llmc_{name}"].size)
            for name in ("comparisons", "relations", "nearness", "indices")
        )
        self._steps, self._most_steps = symbols["llmc_steps"], symbols["llmc_most_steps"]
        start, stop = struct.unpack("<QQ", machine.read(symbols["llmc_counters"].address, 16))
        self._counters = start, stop - start
        self._texts: list[tuple[bytes, bytes]] = []
        self._letters: list[tuple[bytes, bytes]] = []
        self._searches = 0
        self._text_features: set[Feature] = set()
        self.effort = 0
        """What the last run cost, in steps: what the host did for it is worth some."""
        self._given: int | None = None
        """The steps that runs may take now."""
        for name in _COMPARING:
            if name in library:
                action = functools.partial(self._compared, name in _WITH_SIZE)
                machine.watch(library[name].address, library[name].address, action)
        for name in (*_FINDING, *_FINDING_ANY):
            if name in library:
                action = functools.partial(self._sought, name in _FINDING_ANY)
                machine.watch(library[name].address, library[name].address, action)

    def run(self, layout: Layout, call: abi.CallSetup, most_steps: int) -> Observation:
        """Run the machine. It counts its own steps, which is faster than to have the emulator count instructions."""
        self._texts.clear()
        self._letters.clear()
        self._searches = 0
        self._text_features.clear()
        self._limit(most_steps)
        run = self._machine.run(layout, call, self._most, brief=True)
        self.effort = self.steps + _EACH * self._machine.cost
        too_much = self.steps > most_steps or self._machine.cost > _MOST_COST
        return replace(run, outcome="limit") if too_much else run

    def run_main(self, limit: int) -> Observation:
        """Run the whole program, for at most so many instructions."""
        self._limit(limit)
        return self._machine.run_main(limit)

    @property
    def steps(self) -> int:
        """Edges that the last run took."""
        return int.from_bytes(self._machine.read(self._steps.address, self._steps.size), "little")

    def read_features(self) -> Features:
        """Where the last run went: the edges and how often, how sides of comparisons stood, how near they came, and
        what it took from arrays."""
        counters, relations, nearness, indices = (
            self._machine.read(*place) for place in (self._counters, self._relations, self._nearness, self._indices)
        )
        found = [("edge", at, _often(count)) for at, count in _filled(counters)]
        found += [("relation", at, 1 << bit) for at, bits in _filled(relations) for bit in range(8) if bits >> bit & 1]
        found += [("index", at, 1 << bit) for at, bits in _filled(indices) for bit in range(8) if bits >> bit & 1]
        found += [("near", at, zeros) for at, zeros in _filled(nearness)]
        found.append(("path", zlib.crc32(counters.translate(_TAKEN)), 0))
        return frozenset(found) | self._text_features

    def read_comparisons(self) -> Comparisons:
        """What the last run compared."""
        data = self._machine.read(*self._table)
        rows = (ComparedOperands(*row) for row in struct.iter_unpack("<QQQ", data))
        texts = dict.fromkeys(self._texts + self._letters)
        return Comparisons(tuple(dict.fromkeys(row for row in rows if row.size)), tuple(texts))

    def _limit(self, steps: int) -> None:
        if steps != self._given:
            self._machine.preset(self._most_steps.address, steps.to_bytes(8, "little"))
            self._given = steps

    def _compared(self, sized: bool, _: int) -> None:
        if len(self._texts) < _MOST_TEXTS:
            first, second, size = map(self._machine.argument, range(3))
            most = min(size, _LONGEST) if sized else _LONGEST
            pair = self._machine.read(first, most), self._machine.read(second, most)
            if not sized:
                pair = pair[0].partition(b"\0")[0], pair[1].partition(b"\0")[0]
            self._text_features.add(("text", _difference(*pair), 0))
            if pair[0] != pair[1]:
                self._texts.append(pair)

    def _sought(self, one_of: bool, _: int) -> None:
        """Each character of a text may stand for the one that is looked for, or the other way round.

        `one_of` where the second argument holds the characters, any of which is looked for in the first.
        """
        self._searches += 1
        if self._searches > _MOST_TEXTS:
            return
        first, second = map(self._machine.argument, range(2))
        text = self._machine.read(second if one_of else first, _LONGEST).partition(b"\0")[0]
        sought = self._machine.read(first, 1) if one_of else bytes([second & 0xFF])
        if sought in (b"", b"\0"):
            return
        self._text_features.add(("letter", sought[0] if sought in text else 256, int(one_of)))
        pairs = [(sought, bytes([letter])) for letter in dict.fromkeys(text) if letter != sought[0]]
        self._letters += pairs[: _MOST_TEXTS - len(self._letters)]


def _difference(first: bytes, second: bytes) -> int:
    """How two texts differ: where first, in steps that double, and whether anywhere else."""
    places = [index for index, (a, b) in enumerate(zip(first, second)) if a != b]
    where = places[0] if places else min(len(first), len(second))
    alike = 0 if first == second else 1 if len(places) == 1 and len(first) == len(second) else 2
    return 3 * _often(where) + alike


def _filled(table: bytes) -> Iterator[tuple[int, int]]:
    """The entries of a table that are not zero, with their places."""
    return ((found.start(), found[0][0]) for found in _NON_ZERO.finditer(table))


def _often(count: int) -> int:
    """How often an edge was taken, in steps that double."""
    return count if count < 4 else count.bit_length() + 1

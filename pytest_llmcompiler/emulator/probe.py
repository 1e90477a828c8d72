"""The probe: a machine whose program is instrumented, so that it reports what a run covers and compares.

`program/probe.c` is the code that the instrumentation calls. It keeps tables in the guest's memory, which are read here
after a run.
"""

from __future__ import annotations

import ctypes
import functools
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace

from pytest_llmcompiler.emulator.coverage import ComparedOperands, Comparisons, Feature, Features
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import Observation
from pytest_llmcompiler.targets.abi import CallSetup
from pytest_llmcompiler.values.layout import Layout
from pytest_llmcompiler.values.program_input import ProgramInput

_INSTRUCTIONS_PER_STEP = 14
"""Instructions for each step that a run may take, where loops count no steps: 4 million for the longest of the usual
runs, as many as a reference may take on an input."""
_LARGE_INPUT = 4_096
"""Bytes of an input's objects above which the library may do much in each step: `strlen` reads all of a long text."""
_LIBRARY_INSTRUCTIONS_PER_STEP = 30
"""Instructions for each step that a run on such an input may take where the library is called: as many as those of the
reference, which are not instrumented."""
_STEPS_PER_INSTRUCTION = 0.4
"""Steps that take as long as an instruction that the emulator counts, 0.1 µs."""
_MAX_HOST_COST = 300
"""Cost of the host in a run, in external calls (`Machine.host_cost`). A run that costs more takes too long to be
repeated for each candidate."""
_STEPS_PER_CALL = 50
"""Steps of the probe that count as much as an external call, where the effort of runs is compared."""
STEPS_PER_MICROSECOND = 4
"""Steps of the probe that take a microsecond."""
_STEPS_PER_RUN = 400
"""Steps that count for what each run needs besides: reset, registers and observation, 0.1 ms where Python does them."""
_LIBRARY_STEPS = 0.25
"""Steps that as much code of the library takes as there is code of the case in a step, about 20 bytes."""
BYTES_PER_STEP = 2_000
"""Bytes of the program's variables that are reset in the time of a step."""
_RECORDS = 200_000
"""Comparisons and array accesses of a run that `probe.c` records. It only counts the later ones: two take a step."""
_MAX_TEXT_SIZE = 64
"""Bytes of a compared text that are kept."""
_MAX_TEXTS = 64
"""Pairs of texts that are kept of each run, and searches that are looked at."""
_NO_LETTER = 256
"""Stands for a searched character that is not found; no byte has this value."""
_SET_BYTES = bytes([0, *[1] * 255])
"""Translates each counter to whether its edge was taken."""
_PAIRS = struct.Struct("<" + 4 * "QQQ")
"""The entries of one comparison in `llmc_comparisons`: the two sides and the size of each of the latest pairs."""
_COUNTER_BYTES = 4
"""Bytes for the counter of an edge in `llmc_counters`, of which the first counts."""
_MAX_KNOWN_TABLES = 4_000
"""Contents of the tables whose features are kept: many runs leave the same."""
_NON_ZERO = re.compile(rb"[^\0]")

_SIZED_COMPARISONS = ("strncmp", "strncasecmp", "memcmp", "bcmp")
"""Functions that compare at most as many bytes as their third argument says."""
_COMPARISONS = ("strcmp", "strcasecmp", "strstr", *_SIZED_COMPARISONS)
_SEARCHES = ("strchr", "strchrnul", "strrchr", "memchr")
"""Functions that search the first argument for the character in the second."""
_SET_SEARCHES = ("strspn", "strcspn", "strpbrk", "strtok")
"""Functions that search the first argument for any character of the second."""


class Probe:
    """Runs a machine with an instrumented program. To be built before the machine's first run.

    `limit_instructions` says that the code has loops which the instrumentation does not see (in inline assembly), so
    that the emulator has to count instructions as well. `most_host_cost` is the most that a run may cost the host.
    """

    def __init__(self, machine: Machine, limit_instructions: bool, most_host_cost: int = _MAX_HOST_COST) -> None:
        self._most_host_cost = most_host_cost
        self._machine, self._guest = machine, machine.guest
        self._has_uncounted_loops = limit_instructions
        self._is_counting = False
        """Whether the emulator counted the instructions of the last run."""
        symbols = machine.program.symbols
        self._comparisons, self._relations, self._nearness, self._indices = (
            (self._find_host_address(symbols[f"llmc_{name}"].address), symbols[f"llmc_{name}"].size)
            for name in ("comparisons", "relations", "nearness", "indices")
        )
        self._table_features: dict[tuple[bytes, ...], Features] = {}
        """The features of the tables that runs have left, by the contents of the tables."""
        self._step_count = ctypes.c_uint64.from_address(self._find_host_address(symbols["llmc_steps"].address))
        self._record_count = ctypes.c_uint64.from_address(self._find_host_address(symbols["llmc_records"].address))
        self._step_limit = symbols["llmc_most_steps"]
        start, end = struct.unpack("<QQ", self._guest.read(symbols["llmc_counters"].address, 16))
        self._counters = self._find_host_address(start) if end > start else 0, end - start
        self._texts: list[tuple[bytes, bytes]] = []
        self._letters: list[tuple[bytes, bytes]] = []
        self._searches = 0
        self._text_features: set[Feature] = set()
        self._executed_bytes = self._own_bytes = 0
        """Of the runs that `note_library` was told of."""
        self.effort = 0
        """The edges of the last run, with the host's work converted to steps."""
        self.cost = 0
        """What the last run cost, in steps: effort, comparisons, and the reset of the program's memory."""
        self._reset_cost = _STEPS_PER_RUN + sum(memory.size for _, memory in self._guest.writable) // BYTES_PER_STEP
        self._present_step_limit: int | None = None
        self._watch_library()
        machine.limit_host_cost(most_host_cost)

    def _watch_library(self) -> None:
        library = self._machine.program.library
        hooks = {
            **{name: functools.partial(self._on_comparison, name in _SIZED_COMPARISONS) for name in _COMPARISONS},
            **{name: functools.partial(self._on_search, name in _SET_SEARCHES) for name in _SEARCHES + _SET_SEARCHES},
        }
        for name in hooks.keys() & library.keys():
            self._guest.watch(library[name].address, library[name].address, hooks[name])

    def close(self) -> None:
        """Free the machine."""
        self._machine.close()

    def note_library(self, executed: int, own: int) -> None:
        """Take in how many bytes of code a run has executed, and how many of them are the case's own.

        The probe does not count what the library does, so that the cost of its own steps stands for both: as much as
        in all runs together. One long run in the library says little of the next.
        """
        self._executed_bytes += executed
        self._own_bytes += own

    @property
    def _library_weight(self) -> float:
        """What a step costs with what the library does for it, in steps."""
        return 1 + _LIBRARY_STEPS * (self._executed_bytes / max(1, self._own_bytes) - 1) if self._executed_bytes else 1

    def run(self, layout: Layout, call: CallSetup, max_steps: int) -> Observation:
        """Run the function on an input; the observation has only the outcome, the fault and the exit code.

        The program counts its own steps (edges), which is faster than to have the emulator count instructions. A run
        of more than `max_steps`, or of more work for the host than a test may take, has the outcome `limit`.
        """
        # Counting takes ten times as long, so it is left out where no library is called.
        calls_library = self._library_weight > 1
        is_counted = calls_library and sum(target.size for target in layout.objects) > _LARGE_INPUT
        return self._run_counted(
            lambda limit: self._machine.run(layout, call, limit, outcome_only=True),
            max_steps,
            _LIBRARY_INSTRUCTIONS_PER_STEP if is_counted else 0,
        )

    def run_process(self, program: ProgramInput, max_steps: int) -> Observation:
        """Run the whole program on an input, as `run` runs the function."""
        return self._run_counted(lambda limit: self._machine.run_process(program, limit), max_steps)

    def _run_counted(
        self, run: Callable[[int], Observation], max_steps: int, instructions_per_step: int = 0
    ) -> Observation:
        """`run` takes the most instructions; 0: any number."""
        if self._has_uncounted_loops:
            instructions_per_step = _INSTRUCTIONS_PER_STEP
        self._texts.clear()
        self._letters.clear()
        self._searches = 0
        self._text_features.clear()
        self._set_step_limit(max_steps)
        instruction_limit = instructions_per_step * max_steps
        if instruction_limit and not self._is_counting:
            self._guest.uc.ctl_flush_tb()  # code that was translated for a run without a limit is not counted
        self._is_counting = bool(instruction_limit)
        observation = run(instruction_limit)
        steps, host_cost = self.steps, self._machine.host_cost
        is_too_long = steps > max_steps or host_cost > self._most_host_cost
        self.effort = steps + _STEPS_PER_CALL * host_cost
        records = self._record_count.value
        self.cost = (
            int(steps * self._library_weight)
            + records
            - max(0, records - _RECORDS) // 2
            + STEPS_PER_MICROSECOND * self._machine.host_microseconds
            + self._reset_cost
        )
        if observation.outcome == "limit" and not is_too_long:
            self.cost += int(instruction_limit * _STEPS_PER_INSTRUCTION)
        return replace(observation, outcome="limit") if is_too_long else observation

    def run_program(self, limit: int) -> Observation:
        """Run the whole program, for at most `limit` instructions."""
        self._set_step_limit(limit)
        return self._machine.run_program(limit)

    @property
    def steps(self) -> int:
        """The edges that the last run took, each as often as it took it."""
        return self._step_count.value

    def read_edges(self) -> frozenset[int]:
        """The edges that the last run took."""
        return frozenset(edge for edge, _ in _non_zero_entries(self._read_counters()))

    def read_features(self) -> Features:
        """The features that the last run covers."""
        tables = tuple(ctypes.string_at(*table) for table in (self._relations, self._nearness, self._indices))
        tables = self._read_counters(), *tables
        features = self._table_features.get(tables)
        if features is None:
            features = _find_features(*tables)
            if len(self._table_features) < _MAX_KNOWN_TABLES:
                self._table_features[tables] = features
        return features | self._text_features if self._text_features else features

    def _read_counters(self) -> bytes:
        """How often the last run took each edge, up to 255 times."""
        return ctypes.string_at(*self._counters)[::_COUNTER_BYTES]

    def read_comparisons(self) -> Comparisons:
        """The comparisons of the last run."""
        table, relations = ctypes.string_at(*self._comparisons), ctypes.string_at(*self._relations)
        # A comparison that was made has relations, two bytes of them.
        sites = dict.fromkeys(match.start() // 2 for match in _NON_ZERO.finditer(relations))
        pairs: dict[ComparedOperands, None] = {}
        for site in sites:
            values = _PAIRS.unpack_from(table, site * _PAIRS.size)
            for first, second, size in zip(values[::3], values[1::3], values[2::3], strict=True):
                if size:
                    pairs[ComparedOperands(first, second, size)] = None
        return Comparisons(tuple(pairs), tuple(dict.fromkeys(self._texts + self._letters)))

    def _find_host_address(self, address: int) -> int:
        """Where the tables of `probe.c` lie in the host's memory, to be read without a call of the emulator."""
        found = self._guest.find_writable(address)
        assert found is not None
        memory, offset = found
        return memory.pointer + offset

    def _set_step_limit(self, steps: int) -> None:
        if steps != self._present_step_limit:
            self._guest.preset(self._step_limit.address, steps.to_bytes(8, "little"))
            self._present_step_limit = steps

    def _on_comparison(self, is_sized: bool, _: int) -> None:
        """A library function that compares texts is entered."""
        if len(self._texts) >= _MAX_TEXTS:
            return
        first, second, size = map(self._guest.library_argument, range(3))
        size = min(size, _MAX_TEXT_SIZE) if is_sized else _MAX_TEXT_SIZE
        pair = self._guest.read(first, size), self._guest.read(second, size)
        if not is_sized:
            pair = pair[0].partition(b"\0")[0], pair[1].partition(b"\0")[0]
        self._text_features.add(("text", _classify_difference(*pair), 0))
        if pair[0] != pair[1]:
            self._texts.append(pair)

    def _on_search(self, is_for_set: bool, _: int) -> None:
        """A library function that searches for a character is entered.

        Each character of the text makes a pair with the one that is searched for: a fuzzer may replace either. In a
        search for a set, the text is the set, and the character is the first one of the string that is searched.
        """
        self._searches += 1
        if self._searches > _MAX_TEXTS:
            return
        first, second = map(self._guest.library_argument, range(2))
        text = self._guest.read(second if is_for_set else first, _MAX_TEXT_SIZE).partition(b"\0")[0]
        letter = self._guest.read(first, 1) if is_for_set else bytes([second & 0xFF])
        if letter in (b"", b"\0"):
            return
        self._text_features.add(("letter", letter[0] if letter in text else _NO_LETTER, int(is_for_set)))
        pairs = [(letter, bytes([other])) for other in dict.fromkeys(text) if other != letter[0]]
        self._letters += pairs[: _MAX_TEXTS - len(self._letters)]


def _find_features(counters: bytes, relations: bytes, nearness: bytes, indices: bytes) -> Features:
    """The features of the contents of `probe.c`'s tables."""
    features: list[Feature] = [("edge", edge, _bucket(count)) for edge, count in _non_zero_entries(counters)]
    features += [("relation", *bit) for bit in _set_bits(relations)]
    features += [("index", *bit) for bit in _set_bits(indices)]
    features += [("near", slot, zeros) for slot, zeros in _non_zero_entries(nearness)]
    features.append(("path", zlib.crc32(counters.translate(_SET_BYTES)), 0))
    return frozenset(features)


def _classify_difference(first: bytes, second: bytes) -> int:
    """A number for how two texts differ: the bucket of the first different offset, and whether they are equal, differ
    in one byte, or in more."""
    offsets = [index for index, (a, b) in enumerate(zip(first, second)) if a != b]
    where = offsets[0] if offsets else min(len(first), len(second))
    kind = 0 if first == second else 1 if len(offsets) == 1 and len(first) == len(second) else 2
    return 3 * _bucket(where) + kind


def _non_zero_entries(table: bytes) -> Iterator[tuple[int, int]]:
    """The index and the value of each byte that is not zero."""
    return ((match.start(), match[0][0]) for match in _NON_ZERO.finditer(table))


def _set_bits(table: bytes) -> Iterator[tuple[int, int]]:
    """Each bit that is set: the index of its byte, and its value there."""
    return ((at, 1 << bit) for at, byte in _non_zero_entries(table) for bit in range(8) if byte >> bit & 1)


def _bucket(count: int) -> int:
    """The bucket of a count: 0, 1, 2, 3, and then one for each power of two."""
    return count if count < 4 else count.bit_length() + 1

"""Whole suites on disk: the inputs of a function with what the reference shows on each. Reading one runs nothing.

A suite is valid for one text of this package only, since the emulator and the oracle have a part in it. Its inputs
outlive an edit: `corpus.store` has them too, and the suite is computed again from them.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_llmcompiler.cache_files import CacheFile, describe_package, hash_texts
from pytest_llmcompiler.corpus import store
from pytest_llmcompiler.corpus.probing import ProbeResult
from pytest_llmcompiler.corpus.relations import ParameterRelations, RelationScope
from pytest_llmcompiler.emulator.observation import (
    AbiBreach,
    Constants,
    ExternalCall,
    FreedBlock,
    GuestFault,
    HeapBlock,
    Observation,
    PointerArgument,
)
from pytest_llmcompiler.judge import location
from pytest_llmcompiler.judge.difference import ComparisonContext, Difference
from pytest_llmcompiler.judge.dont_care import DontCareBytes
from pytest_llmcompiler.judge.oracle import SuiteEntry
from pytest_llmcompiler.judge.whole_program import WholeProgram
from pytest_llmcompiler.program.initial_values import CellValue, SymbolAddress
from pytest_llmcompiler.program.variable_cells import Cell, KnownVariable
from pytest_llmcompiler.targets.abi import ArgumentCopy, CallSetup
from pytest_llmcompiler.targets.code import AssembledCode, BooleanVariable, CodeSegment
from pytest_llmcompiler.values.c_types import Type, Unsupported
from pytest_llmcompiler.values.input import Input
from pytest_llmcompiler.values.layout import GARBAGE, PAGE, LaidOutObject, Layout, Slot
from pytest_llmcompiler.values.pickled import PickleFormat

_MAX_BYTES = 32 << 20
"""Bytes of the entries of a suite that is stored: a function that can write to many large variables has more."""


_MIN_BYTES = 256
"""Bytes that are looked for in an image, at least."""


@dataclass(frozen=True)
class SavedSuite:
    """A suite without its entries."""

    dropped: Counter[str]
    """The number of different inputs that were of no use, by reason."""
    learned: dict[RelationScope, ParameterRelations]
    """The relations of parameters that the repairs of inputs taught."""
    counts: dict[str, Any]
    """What verdicts say of the suite (`Suite.counts`)."""
    unjudgeable_reason: str | None
    whole_program: WholeProgram | None
    varied: frozenset[int]
    inspected: tuple[int, ...]
    builds: frozenset[str]
    """The names of the builds of the reference that some inputs needed (`ReferenceBuilds.further`)."""

    @property
    def is_valid(self) -> bool:
        """Whether the parts have the types that they should have: a file can hold anything."""
        return (
            isinstance(self.dropped, Counter)
            and isinstance(self.learned, dict)
            and isinstance(self.counts, dict)
            and isinstance(self.unjudgeable_reason, str | None)
            and isinstance(self.whole_program, WholeProgram | None)
            and isinstance(self.varied, frozenset)
            and isinstance(self.inspected, tuple)
            and isinstance(self.builds, frozenset)
        )


@dataclass(frozen=True)
class SavedBuilds:
    """What explaining failures needs beside the suite: code of the reference, and inputs."""

    optimised: tuple[dict[str, AssembledCode], ...]
    """The builds at -O2 (`ReferenceBuilds.optimised`), by name."""
    whole_file: tuple[AssembledCode | None, ...]
    """The build that knows the whole file (`WholeFileCheck.codes`)."""
    texts: dict[str, tuple[str, AssembledCode]]
    """clang's own assembly by level, as text and assembled."""
    from_main: list[Input]
    """The inputs that the program's own `main` passes."""
    known: dict[str, KnownVariable]
    """What is known of the values of local variables (`Reference.known_variables`)."""

    @property
    def is_valid(self) -> bool:
        """Whether the parts have the types that they should have: a file can hold anything."""
        return (
            isinstance(self.optimised, tuple)
            and isinstance(self.whole_file, tuple)
            and isinstance(self.texts, dict)
            and isinstance(self.from_main, list)
            and isinstance(self.known, dict)
        )


_LOCATION_CLASSES = tuple(
    one for one in vars(location).values() if isinstance(one, type) and one.__module__ == location.__name__
)
_SAVED_CLASSES = (
    *(one for one in store.SAVED_CLASSES if one is not store.SavedCorpus),
    *(
        Unsupported,
        SavedSuite,
        SavedBuilds,
        SuiteEntry,
        ComparisonContext,
        Layout,
        LaidOutObject,
        Slot,
        CallSetup,
        ArgumentCopy,
    ),
    *(Observation, Constants, GuestFault, AbiBreach, HeapBlock, FreedBlock, ExternalCall, PointerArgument),
    *(DontCareBytes, ProbeResult, Difference, WholeProgram, *_LOCATION_CLASSES),
    *(AssembledCode, CodeSegment, BooleanVariable, KnownVariable, Cell, CellValue, SymbolAddress),
)


class SuiteFormat:
    """How suites of the functions of one program become bytes.

    `types` are those that inputs and observations may mention, `segments` the contents of the program's segments, of
    which observations and the engine's image have parts.
    """

    def __init__(self, types: Iterable[Type | None], segments: Sequence[bytes]) -> None:
        self.pickled, self.segments = PickleFormat(_SAVED_CLASSES, types, segments), segments
        self.digest = hash_texts((describe_package(), store.describe_generator(), *self.pickled.describe()))


class SuiteFile:
    """The file of one suite. Its name is a digest of `key`, of the format, and of the text of this package."""

    def __init__(self, key: Iterable[str], format: SuiteFormat) -> None:
        self._format = format.pickled
        self._file = CacheFile("suites", (format.digest, *key))
        self._entries = b""

    def load(self) -> SavedSuite | None:
        """The saved suite; None where there is no file, or where it can't be read."""
        data = self._file.read()
        if data is None:
            return None
        size = int.from_bytes(data[:8], "little")
        try:
            suite = self._format.load(data[8 : 8 + size])
        except Exception:  # unpickling a broken file can raise any exception
            return None
        self._entries = data[8 + size :]
        return suite if isinstance(suite, SavedSuite) and suite.is_valid else None

    def load_entries(self) -> tuple[dict[Input, SuiteEntry], list[Input]] | None:
        """The entries of the suite that was loaded, by their inputs, and the reserve; None where they can't be read."""
        try:
            size = int.from_bytes(self._entries[:8], "little")
            entries = self._format.load(self._entries[8 : 8 + size])
            reserve = list(self._format.load(self._entries[8 + size :]))
            return {input: _add_slots(entry) for input, entry in entries.items()}, reserve
        except Exception:  # as above
            return None

    def save(self, suite: SavedSuite, entries: Mapping[Input, SuiteEntry], reserve: Sequence[Input]) -> None:
        """Write a suite to the file. Does nothing where the disk is full or the folder can't be written."""
        intern = _Interner()
        kept = {input: _strip_entry(entry, intern) for input, entry in entries.items()}
        parts = (self._format.dump(part, zlib.Z_BEST_SPEED) for part in (_strip_suite(suite), kept, tuple(reserve)))
        head, body, rest = parts
        if len(body) + len(rest) <= _MAX_BYTES:
            self._file.write(_measure(head) + head + _measure(body) + body + rest)


def _measure(part: bytes) -> bytes:
    return len(part).to_bytes(8, "little")


class ImageFile:
    """The file of the engine's image of a suite, under the same key as the file of the suite."""

    def __init__(self, key: Iterable[str], format: SuiteFormat) -> None:
        self._format, self._file = format, CacheFile("images", (format.digest, *key))

    def load(self) -> bytes | None:
        """The image; None where there is no file, or where it can't be read."""
        data, segments = self._file.read(), self._format.segments
        try:
            parts = self._format.pickled.load(data) if data is not None else None
            return parts and b"".join(
                part if isinstance(part, bytes) else segments[part[0]][part[1] : part[2]] for part in parts
            )
        except Exception:  # as above
            return None

    def save(self, image: bytes) -> None:
        """Write an image to the file. Does nothing where the disk is full or the folder can't be written."""
        parts: list[_ImagePart] = [image]
        for number, segment in enumerate(self._format.segments):
            parts = [piece for part in parts for piece in _split_part(part, number, segment)]
        data = self._format.pickled.dump(parts, zlib.Z_BEST_SPEED)
        if len(data) <= _MAX_BYTES:
            self._file.write(data)


_ImagePart = bytes | tuple[int, int, int]
"""Bytes of an image; or those of a segment of the program: its number, and where they start and end in it."""


def _split_part(part: _ImagePart, number: int, segment: bytes) -> Iterator[_ImagePart]:
    """A part of an image in pieces. Pages that a segment has too are named by their place in it: most of an image is
    the program's code."""
    place = _find_place(part, segment) if isinstance(part, bytes) else None
    if place is None or not isinstance(part, bytes):
        yield part
        return
    end = 0
    for start in range(0, len(segment), PAGE):
        page = segment[start : start + PAGE]
        if part[place + start : place + start + len(page)] == page:
            yield part[end : place + start]
            yield number, start, start + len(page)
            end = place + start + len(page)
    yield part[end:]


def _find_place(data: bytes, segment: bytes) -> int | None:
    """Where a segment begins in data, if it is there but for some pages."""
    for start in range(0, len(segment), PAGE):
        place = data.find(segment[start : start + PAGE]) - start
        if place >= 0 and len(segment) - start >= _MIN_BYTES:
            return place
    return None


class BuildsFile:
    """The file of what explaining failures needs, under the same key as the file of the suite."""

    def __init__(self, key: Iterable[str], format: SuiteFormat) -> None:
        self._format, self._file = format.pickled, CacheFile("builds", (format.digest, *key))

    def load(self) -> SavedBuilds | None:
        """The builds; None where there is no file, or where it can't be read."""
        data = self._file.read()
        try:
            builds = self._format.load(data) if data is not None else None
        except Exception:  # as above
            return None
        return builds if isinstance(builds, SavedBuilds) and builds.is_valid else None

    def save(self, builds: SavedBuilds) -> None:
        """Write builds to the file. Does nothing where the disk is full or the folder can't be written."""
        data = self._format.dump(builds, zlib.Z_BEST_SPEED)
        if len(data) <= _MAX_BYTES:
            self._file.write(data)


class _Interner:
    """Makes equal contents one object, which a pickle has only once."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def __call__(self, data: bytes) -> bytes:
        return self._known.setdefault(data, data)


def _strip_entry(entry: SuiteEntry, intern: _Interner) -> SuiteEntry:
    """The entry without what only generating inputs needs, and without what can be computed again."""
    run = entry.expected
    slots = (slot[_inside(placed)] for placed, slot in zip(entry.layout.objects, run.slots, strict=True))
    run = replace(run, slots=tuple(map(intern, slots)), globals=tuple(map(intern, run.globals)), canonical=None)
    return replace(entry, expected=run, probe_result=ProbeResult())


def _add_slots(entry: SuiteEntry) -> SuiteEntry:
    """The entry with the memory around its objects: the reference has left there what was there before."""
    run = entry.expected
    if run.slots:
        parts = zip(entry.layout.objects, run.slots, strict=True)
        run.slots = tuple(_surround(placed, data, GARBAGE[run.garbage_pattern]) for placed, data in parts)
    return entry


def _surround(placed: LaidOutObject, data: bytes, pattern: bytes) -> bytes:
    around, inside = pattern * (placed.slot.size // len(pattern)), _inside(placed)
    return around[: inside.start] + data + around[inside.stop :]


def _inside(placed: LaidOutObject) -> slice:
    """The bytes of an object in its slot."""
    start = placed.address - placed.slot.address
    return slice(start, start + placed.size)


def _strip_suite(suite: SavedSuite) -> SavedSuite:
    """The suite without the memory of the whole program at its end, which is not compared."""
    if suite.whole_program is None:
        return suite
    run = replace(suite.whole_program.expected, constants=Constants(), globals=(), heap=(), canonical=None)
    return replace(suite, whole_program=replace(suite.whole_program, expected=run))

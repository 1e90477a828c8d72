"""Bytes on which correct runs may differ, so that no candidate can be blamed for them.

Example: `struct { char a; int b; } t; t.a = 1; t.b = 2; *out = t;` copies three bytes of padding that nobody sets. The
reference's runs on different uninitialised fills leave different bytes in `out` at the offsets 1, 2 and 3. These are
don't-care bytes: a candidate may leave anything there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from pytest_llmcompiler.judge.location import Errno, LeakedHeapObjects, MemoryRegion

DontCareLocation = MemoryRegion | Errno | LeakedHeapObjects


@dataclass(frozen=True)
class DontCareBytes:
    """The don't-care bytes of one input: the offsets in each region, in bytes from its start."""

    offsets: Mapping[DontCareLocation, Collection[int]] = field(default_factory=dict)
    """`Errno` and `LeakedHeapObjects` are present or absent as a whole; their offsets are empty."""

    def __contains__(self, location: DontCareLocation) -> bool:
        """Whether any byte of a location is a don't-care byte."""
        return location in self.offsets

    def of(self, region: MemoryRegion) -> Collection[int]:
        """The offsets of the don't-care bytes in a region."""
        return self.offsets.get(region, ())

    def cleared(self, data: bytes, region: MemoryRegion, start: int = 0) -> bytes:
        """Data that begins `start` bytes into a region, with its don't-care bytes set to zero."""
        offsets = self.offsets.get(region)
        if not offsets:
            return data
        return bytes(0 if start + index in offsets else byte for index, byte in enumerate(data))

    def is_within(self, other: DontCareBytes) -> bool:
        """Whether each of these bytes is one of another's too."""
        return all(
            location in other.offsets and set(offsets).issubset(other.offsets[location])
            for location, offsets in self.offsets.items()
        )

    def without(self, other: DontCareBytes) -> DontCareBytes:
        """These bytes but those of another."""
        left: dict[DontCareLocation, Collection[int]] = {}
        for location, offsets in self.offsets.items():
            rest = frozenset(offsets).difference(other.offsets.get(location, ()))
            if rest or location not in other.offsets:
                left[location] = rest
        return DontCareBytes(left)

    def only(self, regions: Iterable[MemoryRegion]) -> DontCareBytes:
        """These bytes as far as they lie in some regions."""
        return DontCareBytes({region: self.offsets[region] for region in regions if region in self.offsets})

    @classmethod
    def union(cls, parts: Iterable[DontCareBytes]) -> DontCareBytes:
        """The don't-care bytes of any part."""
        offsets: dict[DontCareLocation, frozenset[int]] = {}
        for part in parts:
            for location, offsets_of_part in part.offsets.items():
                offsets[location] = offsets.get(location, frozenset()).union(offsets_of_part)
        return cls(offsets)


NO_DONT_CARE_BYTES = DontCareBytes()

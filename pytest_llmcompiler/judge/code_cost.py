"""What a piece of right code costs: the instructions that it executes on the suite, and its bytes."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from pytest_llmcompiler.cache_files import CacheFile
from pytest_llmcompiler.program.clang import OptimisationLevel
from pytest_llmcompiler.targets.code import AssembledCode, CodeSegment
from pytest_llmcompiler.targets.processor import Processor


class CostCounts(NamedTuple):
    """What code that passes costs."""

    instructions: int | None
    """Instructions that its runs execute, one on each input of the suite. Those of functions that it calls count, and
    each repetition of a string instruction. None for code that the processor itself runs, where nothing counts them."""
    bytes: int
    """Bytes of its machine code, with the padding inside of it."""

    def to_json(self) -> dict[str, int]:
        """What is known, by name."""
        return {name: count for name, count in self._asdict().items() if count is not None}


def measure_bytes(code: AssembledCode, others: Collection[str], processor: Processor) -> int:
    """The bytes of the code in a text, without those of `others`: functions of the case, which an answer that is a
    whole file has too. A compiler's copy of a function belongs to it: `f.cold` to `f`."""
    return sum(_measure_segment(code, segment, others, processor) for segment in code.segments if segment.is_executable)


def _measure_segment(code: AssembledCode, segment: CodeSegment, others: Collection[str], processor: Processor) -> int:
    end = segment.address + len(segment.data)
    labels: dict[int, list[bool]] = defaultdict(list)
    """For each address with labels whether the code behind it counts, label by label."""
    for name, address in code.symbols.items():
        if segment.address <= address < end and not name.startswith(".L"):
            labels[address].append(name.partition(".")[0] not in others)
    is_counted = {segment.address: True} | {address: any(flags) for address, flags in labels.items()}
    if all(is_counted.values()):
        return len(segment.data)
    starts, instructions = sorted(is_counted), code.addresses
    return sum(
        _find_end(code, instructions, start, following, processor) - start
        for start, following in zip(starts, [*starts[1:], end], strict=True)
        if is_counted[start]
    )


def _find_end(
    code: AssembledCode, instructions: Sequence[int], start: int, following: int, processor: Processor
) -> int:
    """The end of the last of the instructions before a label: what lies between them aligns the label."""
    index = bisect_left(instructions, following) - 1
    if index < 0 or instructions[index] < start or code.mnemonics[instructions[index]].startswith("."):
        return following
    last = instructions[index]
    return min(following, last + processor.decode(code.read_code(last), last).size)


def measure_once(file: CostFile, measure: Callable[[], Mapping[str, CostCounts | None]]) -> dict[str, CostCounts]:
    """What clang's own code costs, by level, from a file or as it is measured now."""
    costs: Mapping[str, CostCounts | None] | None = file.load()
    if costs is None:
        costs = measure()
        file.save(costs)
    return {level: cost for level, cost in costs.items() if cost}


def _read_counts(instructions: Any, size: Any) -> CostCounts:
    return CostCounts(None if instructions is None else int(instructions), int(size))


class CostFile:
    """The file with what clang's own code of a function costs, by level. `key` has all that it depends on."""

    def __init__(self, key: Iterable[str]) -> None:
        self._file = CacheFile("costs", key)

    def load(self) -> dict[str, CostCounts | None] | None:
        """The costs; None where there is no file, or where it can't be read."""
        data = self._file.read()
        try:
            costs = json.loads(data) if data is not None else None
            return costs and {level: pair and _read_counts(*pair) for level, pair in costs.items()}
        except (ValueError, TypeError, AttributeError):  # the file was written by something else
            return None

    def save(self, costs: Mapping[str, CostCounts | None]) -> None:
        """Write the costs of all levels to the file; None for code that has none, since it does not pass. Does nothing
        where a level is missing, which the machine may have kept from being measured, nor where the disk is full or the
        folder can't be written."""
        if len(costs) == len(get_args(OptimisationLevel)):
            self._file.write(json.dumps(costs).encode())

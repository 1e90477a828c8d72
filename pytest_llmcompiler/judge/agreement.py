"""Whether runs of references agree, and the bytes on which they may disagree.

The builds of the reference run each input several times, with different uninitialised fills. Where they behave
differently, the function's behaviour on that input is undefined and the input is dropped. Where only bytes of memory
differ, these become don't-care bytes (see `DontCareBytes`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pytest_llmcompiler.emulator.memory import STACK_ADDRESS_END, find_words
from pytest_llmcompiler.emulator.observation import Observation, PointerArgument
from pytest_llmcompiler.judge.canonical_heap import canonical_heap
from pytest_llmcompiler.judge.compare import compare_results, remaining_objects
from pytest_llmcompiler.judge.compare_calls import is_string_argument, same_signature
from pytest_llmcompiler.judge.compare_heap import addresses_and_sizes
from pytest_llmcompiler.judge.compare_memory import first_difference
from pytest_llmcompiler.judge.difference import ComparisonContext
from pytest_llmcompiler.judge.dont_care import DontCareBytes, DontCareLocation
from pytest_llmcompiler.judge.location import (
    CallArgument,
    Errno,
    GlobalVariable,
    HeapObject,
    InputObject,
    LeakedHeapObjects,
)
from pytest_llmcompiler.values.layout import GARBAGE, PAGE

_CHUNK = 64
"""Bytes that are compared at once: a heap object has whole pages, of which most bytes are never written."""


def references_agree(context: ComparisonContext, first: Observation, second: Observation) -> bool:
    """Whether two runs of references behave alike in all but bytes that may be don't-care bytes.

    That is: the ending, breaches of the calling convention, the freed objects, the result, the output, the external
    calls but for their pointees, and the sizes of the heap objects to which pointers lead.
    """
    if _ending(first) != _ending(second):
        return False
    first, second = canonical_heap(context.layout, first), canonical_heap(context.layout, second)
    heaps = [addresses_and_sizes(run.heap[: run.reachable_blocks]) for run in (first, second)]
    same_calls = len(first.calls) == len(second.calls) and all(map(same_signature, first.calls, second.calls))
    same_results = next(compare_results(context, first, second), None) is None
    return same_calls and same_results and first.output == second.output and heaps[0] == heaps[1]


def _ending(run: Observation) -> tuple[object, ...]:
    return run.outcome, run.exit_code, run.assertion, run.abi_breaches, run.freed_objects, run.out_of_memory


def have_same_shape(first: Observation, second: Observation) -> bool:
    """Whether two runs of references can be compared byte by byte: they end alike, and make the same external calls but
    for the values of the arguments."""
    shapes = [
        (run.outcome, run.freed_objects, [(call.name, len(call.args)) for call in run.calls]) for run in (first, second)
    ]
    return shapes[0] == shapes[1]


def find_dont_care_bytes(context: ComparisonContext, first: Observation, second: Observation) -> DontCareBytes:
    """The bytes of objects, globals, heap and pointees on which two runs of references disagree.

    The runs agree in the sense of `references_agree`, and their uninitialised fills differ.
    """
    first, second = canonical_heap(context.layout, first), canonical_heap(context.layout, second)
    whole: dict[DontCareLocation, frozenset[int]] = {}
    if first.errno != second.errno:
        whole[Errno()] = frozenset()
    if addresses_and_sizes(first.heap) != addresses_and_sizes(second.heap):
        whole[LeakedHeapObjects()] = frozenset()
    by_region = _unequal_regions(context, first, second)
    return DontCareBytes(whole | {region: offsets for region, offsets in by_region if offsets})


def _unequal_regions(
    context: ComparisonContext, first: Observation, second: Observation
) -> Iterator[tuple[DontCareLocation, frozenset[int]]]:
    """Each region of memory, with the offsets on which the runs disagree."""
    for number, target, left, right in remaining_objects(context, first, second):
        yield InputObject(number, target.label), _unequal_bytes(left, right)
    for name, left, right in zip(context.globals, first.globals, second.globals, strict=True):
        yield GlobalVariable(name), _unequal_bytes(left, right)
    for index, calls in enumerate(zip(first.calls, second.calls, strict=True)):
        for number, (a, b) in enumerate(zip(calls[0].args, calls[1].args, strict=True)):
            if isinstance(a, PointerArgument) and isinstance(b, PointerArgument):
                yield CallArgument(index, number), _unequal_pointees(a, b)
                yield from _unequal_members(context, CallArgument(index, number), a, b)
    for index, (block, other) in enumerate(zip(first.heap, second.heap)):
        start = block.address % PAGE
        offsets = frozenset(at - start for at in _written_differently(block.pages, other.pages))
        yield HeapObject(index, block.size), offsets


def _unequal_bytes(first: bytes, second: bytes) -> frozenset[int]:
    """The offsets on which two runs disagree.

    Of a word that holds an address of the stack in both runs, all eight bytes count. The addresses of these two runs
    may differ in one byte only, and a candidate with a frame of another size has an address that differs in more.
    """
    if first == second:
        return frozenset()
    unequal = {index for index, (a, b) in enumerate(zip(first, second)) if a != b}
    stack_words = [{at for at, _ in find_words(data, 0, STACK_ADDRESS_END)} for data in (first, second)]
    for word in set.intersection(*stack_words, {index // 8 * 8 for index in unequal}):
        unequal.update(range(word, word + 8))
    return frozenset(unequal)


def _unequal_pointees(first: PointerArgument, second: PointerArgument) -> frozenset[int]:
    """The offsets on which two runs disagree, in what an argument points to.

    A string counts up to the first difference: behind it lies what follows the object in each build. Where the
    argument may be the end of another object (`is_possible_end`), every byte is a don't-care byte: nothing needs to
    lie there.
    """
    if not first.is_possible_end and not is_string_argument(first):
        return _unequal_bytes(first.data, second.data)
    start = 0 if first.is_possible_end else first_difference(first.data, second.data)
    return frozenset(range(start, len(first.data)))


def _unequal_members(
    context: ComparisonContext, argument: CallArgument, first: PointerArgument, second: PointerArgument
) -> Iterator[tuple[CallArgument, frozenset[int]]]:
    """The offsets on which two runs disagree, in what a struct that is passed by value leads to: all of them where it
    leads to the stack in another number of members."""
    is_alike = len(first.pointees) == len(second.pointees)
    for number, pointee in enumerate(first.pointees if context.compares_pointees else ()):
        other = second.pointees[number].data if is_alike else b""
        is_whole = len(other) == len(pointee.data)
        unequal = _unequal_bytes(pointee.data, other) if is_whole else frozenset(range(len(pointee.data)))
        yield replace(argument, pointee=number), unequal


def _written_differently(first: bytes, second: bytes) -> Iterator[int]:
    """The offsets at which two pages differ, without those that still hold the uninitialised fills of the runs."""
    fills = GARBAGE[0] * (_CHUNK // 4), GARBAGE[1] * (_CHUNK // 4)
    for start in range(0, len(first), _CHUNK):
        left, right = first[start : start + _CHUNK], second[start : start + _CHUNK]
        if left != right and (left, right) != fills:
            columns = enumerate(zip(left, right, *fills), start)
            yield from (at for at, (a, b, c, d) in columns if a != b and (a, b) != (c, d))

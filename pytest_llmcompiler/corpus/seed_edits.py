"""Edits of the inputs of seeds that several kinds of variations have in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pytest_llmcompiler.corpus.input_numbers import set_number
from pytest_llmcompiler.corpus.seed_pool import Seed, branch_features
from pytest_llmcompiler.values.c_types import Float, Int
from pytest_llmcompiler.values.input import Input, Object, replace_object

_LARGE_ELEMENTS = 300
"""Elements of an enlarged buffer: more than a byte can count."""


def is_plain(target: Object) -> bool:
    """Whether an object has numbers and no pointers."""
    return isinstance(target.element, Int | Float) and not target.links


def repeat(content: bytes, size: int) -> bytes:
    """So many bytes of a content that is repeated."""
    return (content * (size // len(content) + 1))[:size]


def set_data(input: Input, number: int, data: bytes) -> Input:
    """The input with other bytes in an object, which may be more or fewer."""
    return replace_object(input, number, lambda old: replace(old, count=len(data) // old.element.size, data=data))


def enlarge(seed: Seed, input: Input, number: int) -> Input:
    """The input with many elements in an object, and with the numbers of the seed that count them."""
    target = seed.objects[number]
    input = set_data(input, number, repeat(target.data, _LARGE_ELEMENTS * target.element.size))
    for counter in seed.counters:
        if counter.value in (target.count, len(target.data)):
            input = set_number(input, counter, _LARGE_ELEMENTS)
    return input


def drop_repeated(seeds: Iterable[Seed]) -> Iterable[Seed]:
    """Each of the seeds once."""
    return {id(seed): seed for seed in seeds}.values()


def list_owners(seed: Seed) -> dict[int, int]:
    """The pointer arguments that lead to an object without pointers, with the number of the object."""
    owners, number = {}, 0
    for position, value in enumerate(seed.input.args):
        for _, target in value.links:
            if isinstance(target, Object):
                if len(value.links) == 1 and not target.links:
                    owners[position] = number
                number += 1 + _count_inside(target)
    return owners


def _count_inside(target: Object) -> int:
    return sum(1 + _count_inside(inside) for _, inside in target.links if isinstance(inside, Object))


def count_branches(seed: Seed) -> int:
    """How many branches a seed takes, as a measure of how far it gets."""
    return len(branch_features(seed.features))

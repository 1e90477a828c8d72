"""Variations of arguments (see `systematic`): null pointers, and more arguments of a variadic function.

What a null pointer leads to often has no elements, as in `snprintf(NULL, 0, ...)`: so the lengths are zero too.

Of the arguments without a name the first are passed in registers, the later ones on the stack. How many a function
reads, a number says, an argument that ends them, or a text that has a letter or a conversion for each:

    sum(3, 1, 2, 3)        ->  sum(6, 1, 2, 3, 1, 2, 3)
    sum(1, 2, 0)           ->  sum(1, 2, 1, 2, 1, 2, 0)
    print("%d%s", 1, "a")  ->  print("%d%s%d%s%d%s", 1, "a", 1, "a", 1, "a"), print("%s%s%s%s%s%s", ...)
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pytest_llmcompiler.corpus.input_numbers import set_number
from pytest_llmcompiler.corpus.mutator import is_text, set_content
from pytest_llmcompiler.corpus.seed_edits import drop_repeated, enlarge, is_plain, list_owners
from pytest_llmcompiler.corpus.seed_pool import Seed
from pytest_llmcompiler.values.c_types import Pointer
from pytest_llmcompiler.values.input import Input, Object, Value, graft_argument

_VARIADIC_COUNTS, _VARIADIC_SEEDS = (6, 7, 9, 12, 16), 3
"""Variadic arguments: the convention passes up to 5 or 6 of them in registers, and 8 floats. And the inputs that get so
many: of the first ones, which `main` passes, of those that get furthest, and of the latest."""
_CONVERSION = re.compile(rb"%[-+ #0]*\d*(?:\.\d*)?(?:hh|h|ll|l|z|j|t)?[A-Za-z]")
_FORMAT_SEEDS, _MAX_CONVERSIONS, _CONVERSION_COUNTS = 2, 8, (6, 12)
"""Seeds whose format gets one conversion only, the conversions that are tried, and how often a format has one."""


def set_null_arguments(seeds: Sequence[Seed], named: int) -> Iterator[Input]:
    """Each named pointer argument null, also with the numbers zero that count its elements; and these alone zero."""
    for seed in seeds:
        args = seed.input.args
        for position, value in enumerate(args[:named]):
            if not (isinstance(value.type, Pointer) and len(value.links) == 1):
                continue
            null = (*args[:position], replace(value, links=()), *args[position + 1 :])
            input = graft_argument(seed.input, replace(seed.input, args=null), position)
            yield input
            target = value.links[0][1]
            counts = (target.count, len(target.data)) if isinstance(target, Object) else ()
            for counter in seed.counters:
                if counter.kind == "arg" and counter.value in counts:
                    yield set_number(input, counter, 0)
                    yield set_number(seed.input, counter, 0)


def vary_arguments(seeds: Sequence[Seed], by_reach: Sequence[Seed], named: int) -> list[Iterator[Input]]:
    """Series of inputs with more arguments; empty for a function that is not variadic. `by_reach` has the seeds, those
    first that get furthest; `named` is the number of named parameters."""
    chosen = [*seeds[:_VARIADIC_SEEDS], *by_reach[:_VARIADIC_SEEDS], *seeds[-_VARIADIC_SEEDS:]]
    return [_add_arguments(chosen, named), _repeat_conversions(by_reach, named)]


def _add_arguments(seeds: Sequence[Seed], named: int) -> Iterator[Input]:
    """More variadic arguments: as many as a named one counts, up to one that ends them, and as a named text says."""
    for seed in drop_repeated(seeds):
        if not _has_movable_arguments(seed, named):
            continue
        given = seed.input.args[named:]
        counters = [one for one in seed.counters if one.kind == "arg" and one.owner < named]
        for counter, count in itertools.product(
            [one for one in counters if 0 < one.value <= len(given)][:1], _VARIADIC_COUNTS
        ):
            input = _repeat_arguments(seed.input, named, given[: counter.value], count)
            yield set_number(input, counter, count)
        for (length, end), count in itertools.product(_find_terminators(given), _VARIADIC_COUNTS):
            yield _repeat_arguments(seed.input, named, given[:length], count, end)
        yield from _repeat_formats(seed, named)


def _has_movable_arguments(seed: Seed, named: int) -> bool:
    """Whether an input has unnamed arguments, of which none leads to what other arguments lead to."""
    given = seed.input.args[named:]
    targets = [target for value in given for _, target in value.links]
    return bool(given) and all(isinstance(target, Object) and not target.links for target in targets)


def _find_terminators(given: Sequence[Value]) -> Iterator[tuple[int, Value]]:
    """The first argument that is zero or null, and the first that is -1, with the number of those before it."""
    for end in (b"\0", b"\xff"):
        ends = (at for at, value in enumerate(given) if at and not value.links and not value.data.strip(end))
        yield from ((at, given[at]) for at in itertools.islice(ends, 1))


def _repeat_formats(seed: Seed, named: int) -> Iterator[Input]:
    """A text that has a letter or a conversion for each argument, and its arguments, both several times."""
    numbers = [number for position, number in list_owners(seed).items() if position < named]
    for number, count in itertools.product(numbers, _VARIADIC_COUNTS):
        text = seed.objects[number].data.partition(b"\0")[0] if is_text(seed.objects[number]) else b""
        length = text.count(b"%") or len(text)
        given = seed.input.args[named:][:length]
        if 0 < length == len(given):
            times = -(-count // length)
            input = set_content(seed, number, text * times + b"\0")
            yield _repeat_arguments(input, named, given, times * length)


def _repeat_conversions(seeds: Sequence[Seed], named: int) -> Iterator[Input]:
    """A format that has one conversion only, many times, with as much room in the other objects."""
    found = {
        conversion
        for seed in seeds
        for number, target in enumerate(seed.objects)
        if is_text(target)
        for conversion in _CONVERSION.findall(target.data)
    }
    conversions = sorted(found, key=lambda one: (len(one), one))[:_MAX_CONVERSIONS]
    for seed in itertools.islice((seed for seed in seeds if _has_movable_arguments(seed, named)), _FORMAT_SEEDS):
        owners = {position: number for position, number in list_owners(seed).items() if position < named}
        texts = [number for number in owners.values() if is_text(seed.objects[number])]
        for number, conversion, count in itertools.product(texts, conversions, _CONVERSION_COUNTS):
            input = set_content(seed, number, conversion * count + b"\0")
            for other in owners.values():
                if other != number and is_plain(seed.objects[other]) and seed.objects[other].data:
                    input = enlarge(seed, input, other)
            yield _repeat_arguments(input, named, seed.input.args[named:], count)


def _repeat_arguments(input: Input, named: int, given: Sequence[Value], count: int, *ends: Value) -> Input:
    return replace(input, args=(*input.args[:named], *itertools.islice(itertools.cycle(given), count), *ends))

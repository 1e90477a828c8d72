"""Variations of inputs that are tried one by one, for what chance seldom makes: they join the reserve of second looks.

- A buffer of every length up to 130, and of some around 256: compilers handle 8, 16, 32 or 64 elements at once and the
  rest one by one, and a wrong width shows where a length no longer fits. The object is no longer than that.
- Objects that are equal, up to their ends: a text of 12 bytes without a zero, twice, is compared up to the 13th byte.
- Pointers into one object, a few elements apart: what is written through one is read through the other.
- Objects that lie across a multiple of 64 KiB: pointers of which only 16 bits are computed go back there.
- Single bytes from 128 on, where there is room for as many elements: lengths that are no longer positive as `char`.
- Single elements with their highest bit set, and the others as they are: bit-fields that end with the sign bit.
- Structures full of garbage, where the function reads none of it.
- Structures of which one pointer is null, or leads to themselves or to an object of its own: where most inputs have two
  equal pointers, as in a ring of one element, these tell them apart.
- Integers at powers of the program's divisors and constants, and at their largest multiples: quotients go wrong there.
- Texts that are nested, shortened, padded or changed: see `systematic_texts`.
- Null pointers as arguments, and more arguments of a variadic function: see `systematic_arguments`.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from pytest_llmcompiler.corpus.input_edits import list_pointers
from pytest_llmcompiler.corpus.input_numbers import set_number
from pytest_llmcompiler.corpus.mutator import is_text
from pytest_llmcompiler.corpus.seed_edits import (
    count_branches,
    drop_repeated,
    enlarge,
    is_plain,
    list_owners,
    repeat,
    set_data,
)
from pytest_llmcompiler.corpus.seed_pool import Seed
from pytest_llmcompiler.corpus.systematic_arguments import set_null_arguments, vary_arguments
from pytest_llmcompiler.corpus.systematic_texts import vary_texts
from pytest_llmcompiler.corpus.turns import take_in_turn
from pytest_llmcompiler.values.c_types import FILE, Function, Struct, Type
from pytest_llmcompiler.values.input import Alias, Input, Object, set_pointer

_FIRST_LENGTHS = (257, 256, 513, 512, 33, 65, 129, 17, 31, 63, 127, 255, 511)
_LENGTHS = (*_FIRST_LENGTHS, *(length for length in range(131) if length not in _FIRST_LENGTHS))
"""Lengths of a buffer, those first that most often show something: there is not always time for the others."""
_MEASURED_SEEDS = 2
"""Seeds whose buffers get every length: one may be refused before its loop runs."""
_PAIRED_SEEDS, _MAX_PAIRS = 4, 12
"""Seeds in which pairs of objects are made equal, or overlap, and the pairs of one seed: an array of structures has
hundreds."""
_DISTANCES, _LONG_DISTANCES = (0, 1, 2, 4, 8, 16), (1, 3, 5, 8, 15, 16, 31)
"""Elements between two pointers into one object, and where that is made longer than a loop over 32 elements."""
_LONG_ELEMENTS, _ROOM, _LONG_WORD = 72, 32, 40
"""Elements that the numbers of such an input count, those behind them, and the letters of a word."""
_CROSSING_SEEDS = 6
"""Seeds, of those with most rounds and of those that get furthest, whose objects lie across a multiple of 64 KiB."""
_LARGE_BYTES, _LARGE_SEEDS, _LARGE_PLACES = (128, 255), 3, 2
"""Bytes above the largest `char`, and the seeds and places in which they are put."""
_POWER_SEEDS, _MAX_POWER_BASE, _MAX_POWER_BASES, _MAX_POWER_NUMBERS = 2, 1000, 4, 3
"""Seeds whose integers become powers of the program's constants, the largest such constant, and the constants and
integers of a seed."""
_SIGNED_SEEDS, _SIGNED_PLACES, _MAX_SIGNED = 8, 3, 40
"""Seeds whose elements get their highest bit set, one by one, the first elements of each object, and the inputs."""
_LINKED_SEEDS, _MAX_LINKED = 4, 4
"""Seeds whose structures get other pointers, and the structures of each."""
_FILLED_SEEDS, _GARBAGE = 16, b"\xa5\x5a\x96\x69"
"""Seeds whose structures are filled with garbage, and the garbage."""


def generate_systematically(
    seeds: Sequence[Seed],
    named: int,
    restricted: Collection[int],
    constants: Collection[int],
    divisors: Collection[int] = (),
    *,
    has_null: bool = True,
) -> Iterator[Input]:
    """Variations of some of the seeds. `named` is the number of named parameters, `restricted` are the positions of
    `restrict` parameters, `constants` the numbers that the program compares with, `divisors` those that it divides by,
    `has_null` whether pointer arguments are made null.
    """
    by_rounds = sorted(seeds, key=lambda seed: seed.most_rounds, reverse=True)
    by_reach = _sort_by_reach(seeds)
    measured = [_try_lengths(seed) for seed in by_rounds if resize(seed, 1) is not None][:_MEASURED_SEEDS]
    paired = seeds[-_PAIRED_SEEDS:]
    # A second look at expensive code does not get to the end. Lengths are given twice, and so have two turns.
    yield from take_in_turn(
        *measured[:1] * 2,
        itertools.chain.from_iterable(_repeat_elements(seed) for seed in by_rounds[:_MEASURED_SEEDS]),
        itertools.chain.from_iterable(map(_pair_objects, paired)),
        itertools.chain.from_iterable(_overlap(seed, restricted, _DISTANCES) for seed in paired),
        _overlap_long(seeds, restricted),
        _cross_boundaries(by_rounds, by_reach),
        _set_large_bytes([*by_rounds[:_LARGE_SEEDS], *seeds[-_LARGE_SEEDS:]]),
        itertools.islice(_set_highest_bits([*by_reach[:_SIGNED_SEEDS], *seeds[-_SIGNED_SEEDS:]]), _MAX_SIGNED),
        _fill_structures(by_reach[:_FILLED_SEEDS]),
        _set_pointers(by_reach[:_LINKED_SEEDS]),
        set_null_arguments(by_reach[:_LINKED_SEEDS] if has_null else (), named),
        _set_powers(by_reach[:_POWER_SEEDS], [*_list_bases(divisors), *_list_bases(constants)]),
        *vary_texts(seeds, by_reach, constants),
        *vary_arguments(seeds, by_reach, named),
    )
    for further in measured[1:]:
        yield from further


def _try_lengths(seed: Seed) -> Iterator[Input]:
    return (input for count in _LENGTHS if (input := resize(seed, count)) is not None)


def _repeat_elements(seed: Seed) -> Iterator[Input]:
    """Buffers of one element many times: what ends a loop early in the seed's own contents is not among them."""
    for count in _FIRST_LENGTHS:
        input = resize(seed, count, is_uniform=True)
        if input is not None:
            yield input


def resize(seed: Seed, count: int, *, is_uniform: bool = False) -> Input | None:
    """The seed's input with buffers of `count` elements, and the numbers that count them; else with one text of that
    length. Contents are repeated, or their first elements where they are to be uniform. None where the input has
    neither."""
    buffers = {number: target for number, target in enumerate(seed.objects) if is_plain(target) and target.count > 1}
    values = {counter.value for counter in seed.counters}
    counted = [target for target in buffers.values() if {target.count, len(target.data)} & values]
    input = replace(seed.input, is_4gib_aligned=False)
    if counted:
        longest = max(counted, key=lambda target: target.count)
        for number, target in buffers.items():
            if target.count == longest.count:
                content = target.data[: target.element.size] if is_uniform else target.data
                input = set_data(input, number, repeat(content, count * target.element.size))
        for counter in seed.counters:
            if counter.value in (longest.count, len(longest.data)):
                is_bytes = counter.value != longest.count
                input = set_number(input, counter, count * longest.element.size if is_bytes else count)
        return input
    for number, target in buffers.items():
        text = target.data.partition(b"\0")[0] if is_text(target) and b"\0" in target.data else b""
        if text:
            return set_data(input, number, repeat(text[:1] if is_uniform else text, count) + b"\0")
    return None


def _pair_objects(seed: Seed) -> Iterator[Input]:
    """Two objects of one type made equal: as they are, and with no zero in them."""
    pairs = (
        pair
        for pair in itertools.combinations(enumerate(seed.objects), 2)
        if pair[0][1].element == pair[1][1].element and not (pair[0][1].links or pair[1][1].links) and pair[0][1].data
    )
    for (first, source), (second, target) in itertools.islice(pairs, _MAX_PAIRS):
        size = min(len(source.data), len(target.data))
        for data in (source.data[:size], source.data[:size].replace(b"\0", b"a")):
            input = set_data(seed.input, first, data + source.data[size:])
            yield set_data(input, second, data + target.data[size:])


def _overlap(seed: Seed, restricted: Collection[int], distances: Sequence[int]) -> Iterator[Input]:
    """Two pointer arguments that lead into one object, so many elements apart."""
    owners = list_owners(seed)
    for (first, source), (second, target) in itertools.combinations(owners.items(), 2):
        element = seed.objects[source].element
        if {first, second} & set(restricted) or seed.objects[target].element != element or seed.objects[target].links:
            continue
        for distance in distances:
            offset = distance * element.size
            if offset < len(seed.objects[source].data) and target == len(seed.objects) - 1:
                args = list(seed.input.args)
                args[second] = replace(args[second], links=((0, Alias(element, source, offset)),))
                yield replace(seed.input, args=tuple(args))


def _overlap_long(seeds: Sequence[Seed], restricted: Collection[int]) -> Iterator[Input]:
    """The same in objects of more elements than a round of a vectorised loop takes, with room behind those that are
    counted. A text has one long word."""
    candidates = [seed for seed in reversed(seeds) if len(list_owners(seed)) > 1]
    word = bytes(97 + number % 26 for number in range(_LONG_WORD))
    for seed in candidates[:_PAIRED_SEEDS]:
        input = seed.input
        for number in list_owners(seed).values():
            target = seed.objects[number]
            size = (_LONG_ELEMENTS + _ROOM) * target.element.size
            if target.data:
                data = word.ljust(size, b"\0") if is_text(target) else repeat(target.data, size)
                input = set_data(input, number, data)
        for counter in seed.counters:
            if any(counter.value == target.count for target in seed.objects):
                input = set_number(input, counter, _LONG_ELEMENTS)
        yield from _overlap(replace(seed, input=input), restricted, _LONG_DISTANCES)


def _cross_boundaries(*orders: Sequence[Seed]) -> Iterator[Input]:
    for seed in drop_repeated(seed for order in orders for seed in order[:_CROSSING_SEEDS]):
        if any(len(target.data) > 1 for target in seed.objects):
            yield replace(seed.input, is_4gib_aligned=False, crossing="first")
            yield replace(seed.input, is_4gib_aligned=False, crossing="middle")


def _set_large_bytes(seeds: Sequence[Seed]) -> Iterator[Input]:
    """Bytes of one object from 128 on, and another object with room for as many elements."""
    for seed in drop_repeated(seeds):
        plain = {number: target for number, target in enumerate(seed.objects) if is_plain(target) and target.data}
        for (number, source), (other, _) in itertools.islice(itertools.permutations(plain.items(), 2), _MAX_PAIRS):
            if source.element.size != 1:
                continue
            input = enlarge(seed, seed.input, other)
            for at, value in itertools.product(range(min(_LARGE_PLACES, len(source.data))), _LARGE_BYTES):
                yield set_data(input, number, source.data[:at] + bytes([value]) + source.data[at + 1 :])


def _fill_structures(seeds: Sequence[Seed]) -> Iterator[Input]:
    for seed in seeds:
        for number, target in enumerate(seed.objects):
            if isinstance(target.element, Struct) and target.data and not target.links:
                yield set_data(seed.input, number, repeat(_GARBAGE, len(target.data)))


def _set_pointers(seeds: Sequence[Seed]) -> Iterator[Input]:
    """Each pointer of a structure null, to the structure itself if it may, and to another object that is like the one
    that it leads to, or like the structure: two pointers that most inputs have equal differ, and others are equal."""
    for seed in seeds:
        for number, owner in enumerate(seed.objects[:_MAX_LINKED]):
            if not isinstance(owner.element, Struct) or not owner.data:
                continue
            for offset, pointer in list_pointers(owner.element):
                if pointer.target is None or isinstance(pointer.target, Function) or pointer.target is FILE:
                    continue
                yield set_pointer(seed.input, number, offset, None)
                if pointer.target is owner.element:
                    yield set_pointer(seed.input, number, offset, Alias(owner.element, number, 0))
                for other in _find_like(seed, pointer.target):
                    yield set_pointer(seed.input, number, offset, replace(other, links=()))


def _find_like(seed: Seed, element: Type) -> list[Object]:
    """The first object of a type, if there is one."""
    return [target for target in seed.objects if target.element == element][:1]


def _sort_by_reach(seeds: Sequence[Seed]) -> list[Seed]:
    """The seeds, those first that take most branches."""
    return sorted(seeds, key=count_branches, reverse=True)


def _list_bases(numbers: Collection[int]) -> list[int]:
    return sorted(number for number in set(numbers) if 2 < number <= _MAX_POWER_BASE)[:_MAX_POWER_BASES]


def _set_powers(seeds: Sequence[Seed], bases: Sequence[int]) -> Iterator[Input]:
    """Integers of arguments at the largest powers of some numbers, and at their largest multiples: a quotient that is
    computed by multiplication goes wrong for large numbers that are just no multiple. Errors for two divisors cancel
    each other out where a number is a multiple of both, so the multiple before counts too."""
    for seed in seeds:
        numbers = [one for one in seed.direct_numbers if one.kind == "arg" and one.type.size > 1]
        for number, base in itertools.product(numbers[:_MAX_POWER_NUMBERS], dict.fromkeys(bases)):
            most, power = number.type.bounds[1], base
            while power * base <= most:
                power *= base
            multiple = most - most % base
            for value in (
                multiple - 1,
                multiple,
                multiple - base - 1,
                power // base - 1,
                power // base,
                power - 1,
                power,
            ):
                yield set_number(seed.input, number, value)


def _set_highest_bits(seeds: Sequence[Seed]) -> Iterator[Input]:
    """Single elements with their highest bit set, where the other bits say that the input is accepted."""
    for seed in drop_repeated(seeds):
        for number, target in enumerate(seed.objects):
            size = target.element.size
            for end in range(size, len(target.data) + 1, size)[:_SIGNED_PLACES] if is_plain(target) else ():
                data = bytearray(target.data)
                data[end - 1] |= 0x80
                yield set_data(seed.input, number, bytes(data))

"""Variations of inputs that are tried one by one, for what chance seldom makes: they join the reserve of second looks.

- A buffer of every length up to 130, and of some around 256: compilers handle 8, 16, 32 or 64 elements at once and the
  rest one by one, and a wrong width shows where a length no longer fits. The object is no longer than that.
- Objects that are equal, up to their ends: a text of 12 bytes without a zero, twice, is compared up to the 13th byte.
- Pointers into one object, a few elements apart: what is written through one is read through the other.
- Texts whose brackets are nested as deep as the program allows, and one deeper.
- Texts of a single character, for each that the program compares with.
- Texts that get far, each without one of their characters, and with some room behind their end, in which a second look
  can insert characters.
- Objects that lie across a multiple of 64 KiB: pointers of which only 16 bits are computed go back there.
- Single bytes from 128 on, where there is room for as many elements: lengths that are no longer positive as `char`.
- Texts without some of their lines: what a parser takes for granted behind others.
- A text of one letter that another text has at each of its places.
- Structures full of garbage, where the function reads none of it.
- Structures of which one pointer is null, or leads to themselves or to an object of its own: where most inputs have two
  equal pointers, as in a ring of one element, these tell them apart.
- Further arguments of a variadic function: the first of them are passed in registers, the later ones on the stack.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from pytest_llmcompiler.corpus.grammar import find_phrases, nest
from pytest_llmcompiler.corpus.input_edits import list_pointers
from pytest_llmcompiler.corpus.input_numbers import set_number
from pytest_llmcompiler.corpus.mutator import is_text, set_content
from pytest_llmcompiler.corpus.seed_pool import Seed, branch_features
from pytest_llmcompiler.corpus.turns import take_in_turn
from pytest_llmcompiler.values.c_types import FILE, Float, Function, Int, Struct, Type
from pytest_llmcompiler.values.input import Alias, Input, Object, Value, replace_object, set_pointer

_LENGTHS = (*range(131), 255, 256, 257, 511, 512, 513)
_MEASURED_SEEDS = 2
"""Seeds whose buffers get every length: one may be refused before its loop runs."""
_PAIRED_SEEDS, _MAX_PAIRS = 4, 12
"""Seeds in which pairs of objects are made equal, or overlap, and the pairs of one seed: an array of structures has
hundreds."""
_DISTANCES, _LONG_DISTANCES = (0, 1, 2, 4, 8, 16), (1, 3, 5, 8, 15, 16, 31)
"""Elements between two pointers into one object, and where that is made longer than a loop over 32 elements."""
_LONG_ELEMENTS, _ROOM, _LONG_WORD = 72, 32, 40
"""Elements that the numbers of such an input count, those behind them, and the letters of a word."""
_RUN_LENGTHS = (33, 255, 256, 257)
"""Lengths of texts that have one letter only."""
_CROSSING_SEEDS = 6
"""Seeds, of those with most rounds and of those that get furthest, whose objects lie across a multiple of 64 KiB."""
_LARGE_BYTES, _LARGE_SEEDS, _LARGE_PLACES = (128, 255), 3, 2
"""Bytes above the largest `char`, and the seeds and places in which they are put."""
_LARGE_ELEMENTS = 300
"""Elements of the buffer that such a byte may count."""
_DEPTHS = (8, 16, 32)
_NESTED_SEEDS, _MAX_DEPTH = 4, 64
_MAX_CHARACTERS = 32
_FURTHEST_SEEDS, _SHORTENED_SEEDS, _PADDING, _MAX_VARIED = 16, 3, 8, 64
"""Seeds whose texts get so many zeros behind them; those of which each character is left out; and the bytes of the
longest such text."""
_MAX_LINES, _MAX_LINE_BYTES = 10, 512
"""Lines of a text of which each run is left out, and its bytes."""
_MATCHED_LENGTH = 31
"""The length of a text that has one letter among others. Some functions take no more than 31."""
_LINKED_SEEDS, _MAX_LINKED = 4, 4
"""Seeds whose structures get other pointers, and the structures of each."""
_GARBAGE = b"\xa5\x5a\x96\x69"
_VARIADIC_COUNTS, _VARIADIC_SEEDS = (6, 7, 9, 12, 16), 3
"""Variadic arguments: the convention passes up to 5 or 6 of them in registers, and 8 floats. And the inputs that get so
many: of the first ones, which `main` passes, of those that get furthest, and of the latest."""


def generate_systematically(
    seeds: Sequence[Seed], named: int, restricted: Collection[int], constants: Collection[int]
) -> Iterator[Input]:
    """Variations of some of the seeds. `named` is the number of named parameters, `restricted` are the positions of
    `restrict` parameters, `constants` the numbers that the program compares with."""
    by_rounds = sorted(seeds, key=lambda seed: seed.most_rounds, reverse=True)
    by_reach = _sort_by_reach(seeds)
    measured = [_try_lengths(seed) for seed in by_rounds if resize(seed, 1) is not None][:_MEASURED_SEEDS]
    paired = seeds[-_PAIRED_SEEDS:]
    # A second look at expensive code does not get to the end. Lengths are given twice, and so have two turns.
    yield from take_in_turn(
        *measured[:1] * 2,
        itertools.chain.from_iterable(map(_pair_objects, paired)),
        itertools.chain.from_iterable(_overlap(seed, restricted, _DISTANCES) for seed in paired),
        _overlap_long(seeds, restricted),
        _cross_boundaries(by_rounds, by_reach),
        _set_large_bytes([*by_rounds[:_LARGE_SEEDS], *seeds[-_LARGE_SEEDS:]]),
        _repeat_letters(seeds),
        _drop_lines(by_reach[:_SHORTENED_SEEDS]),
        _match_once(seeds),
        _fill_structures(by_reach[:_FURTHEST_SEEDS]),
        _set_pointers(by_reach[:_LINKED_SEEDS]),
        _nest_texts(seeds, constants),
        _single_characters(seeds, constants),
        _vary_texts(by_reach),
        _add_arguments([*seeds[:_VARIADIC_SEEDS], *by_reach[:_VARIADIC_SEEDS], *seeds[-_VARIADIC_SEEDS:]], named),
    )
    for further in measured[1:]:
        yield from further


def _try_lengths(seed: Seed) -> Iterator[Input]:
    return (input for count in _LENGTHS if (input := resize(seed, count)) is not None)


def resize(seed: Seed, count: int) -> Input | None:
    """The seed's input with buffers of `count` elements, and the numbers that count them; else with one text of that
    length. Contents are repeated. None where the input has neither."""
    buffers = {number: target for number, target in enumerate(seed.objects) if _is_plain(target) and target.count > 1}
    values = {counter.value for counter in seed.counters}
    counted = [target for target in buffers.values() if {target.count, len(target.data)} & values]
    input = replace(seed.input, is_4gib_aligned=False)
    if counted:
        longest = max(counted, key=lambda target: target.count)
        for number, target in buffers.items():
            if target.count == longest.count:
                input = _set_data(input, number, _repeat(target.data, count * target.element.size))
        for counter in seed.counters:
            if counter.value in (longest.count, len(longest.data)):
                is_bytes = counter.value != longest.count
                input = set_number(input, counter, count * longest.element.size if is_bytes else count)
        return input
    for number, target in buffers.items():
        text = target.data.partition(b"\0")[0] if is_text(target) and b"\0" in target.data else b""
        if text:
            return _set_data(input, number, _repeat(text, count) + b"\0")
    return None


def _is_plain(target: Object) -> bool:
    return isinstance(target.element, Int | Float) and not target.links


def _repeat(content: bytes, size: int) -> bytes:
    return (content * (size // len(content) + 1))[:size]


def _set_data(input: Input, number: int, data: bytes) -> Input:
    return replace_object(input, number, lambda old: replace(old, count=len(data) // old.element.size, data=data))


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
            input = _set_data(seed.input, first, data + source.data[size:])
            yield _set_data(input, second, data + target.data[size:])


def _overlap(seed: Seed, restricted: Collection[int], distances: Sequence[int]) -> Iterator[Input]:
    """Two pointer arguments that lead into one object, so many elements apart."""
    owners = _list_owners(seed)
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
    candidates = [seed for seed in reversed(seeds) if len(_list_owners(seed)) > 1]
    word = bytes(97 + number % 26 for number in range(_LONG_WORD))
    for seed in candidates[:_PAIRED_SEEDS]:
        input = seed.input
        for number in _list_owners(seed).values():
            target = seed.objects[number]
            size = (_LONG_ELEMENTS + _ROOM) * target.element.size
            if target.data:
                data = word.ljust(size, b"\0") if is_text(target) else _repeat(target.data, size)
                input = _set_data(input, number, data)
        for counter in seed.counters:
            if any(counter.value == target.count for target in seed.objects):
                input = set_number(input, counter, _LONG_ELEMENTS)
        yield from _overlap(replace(seed, input=input), restricted, _LONG_DISTANCES)


def _cross_boundaries(*orders: Sequence[Seed]) -> Iterator[Input]:
    for seed in _drop_repeated(seed for order in orders for seed in order[:_CROSSING_SEEDS]):
        if any(len(target.data) > 1 for target in seed.objects):
            yield replace(seed.input, is_4gib_aligned=False, crossing="first")
            yield replace(seed.input, is_4gib_aligned=False, crossing="middle")


def _set_large_bytes(seeds: Sequence[Seed]) -> Iterator[Input]:
    """Bytes of one object from 128 on, and another object with room for as many elements."""
    for seed in _drop_repeated(seeds):
        plain = {number: target for number, target in enumerate(seed.objects) if _is_plain(target) and target.data}
        for (number, source), (other, _) in itertools.islice(itertools.permutations(plain.items(), 2), _MAX_PAIRS):
            if source.element.size != 1:
                continue
            input = _enlarge(seed, seed.input, other)
            for at, value in itertools.product(range(min(_LARGE_PLACES, len(source.data))), _LARGE_BYTES):
                yield _set_data(input, number, source.data[:at] + bytes([value]) + source.data[at + 1 :])


def _repeat_letters(seeds: Sequence[Seed]) -> Iterator[Input]:
    """Texts of one letter, with as much room in the other objects."""
    texts = ((seed, number) for seed in seeds for number, target in enumerate(seed.objects) if is_text(target))
    for seed, number in itertools.islice(texts, 1):
        for length in _RUN_LENGTHS:
            input = seed.input
            for other, target in enumerate(seed.objects):
                if _is_plain(target) and target.data:
                    input = _enlarge(seed, input, other)
            yield _set_data(input, number, b"a" * length + b"\0")


def _enlarge(seed: Seed, input: Input, number: int) -> Input:
    """The input with many elements in an object, and with the numbers of the seed that count them."""
    target = seed.objects[number]
    input = _set_data(input, number, _repeat(target.data, _LARGE_ELEMENTS * target.element.size))
    for counter in seed.counters:
        if counter.value in (target.count, len(target.data)):
            input = set_number(input, counter, _LARGE_ELEMENTS)
    return input


def _drop_lines(seeds: Sequence[Seed]) -> Iterator[Input]:
    """Texts without a run of their lines, and with the numbers that count their characters."""
    for seed in seeds:
        for number, target in enumerate(seed.objects):
            lines = target.data.splitlines(keepends=True) if is_text(target) and target.count <= _MAX_LINE_BYTES else []
            for start, end in itertools.combinations(range(min(len(lines), _MAX_LINES) + 1), 2):
                data = b"".join((*lines[:start], *lines[end:]))
                if len(lines) < 3 or not data:
                    continue
                input = _set_data(seed.input, number, data)
                for counter in seed.counters:
                    if counter.value == target.count:
                        input = set_number(input, counter, len(data))
                yield input


def _match_once(seeds: Sequence[Seed]) -> Iterator[Input]:
    for seed in seeds:
        first, *others = [number for number, target in enumerate(seed.objects) if is_text(target)] or [0]
        if others:
            for place in range(_MATCHED_LENGTH):
                text = b"a" * place + b"x" + b"a" * (_MATCHED_LENGTH - 1 - place) + b"\0"
                yield set_content(replace(seed, input=set_content(seed, first, b"x\0")), others[0], text)
            return


def _fill_structures(seeds: Sequence[Seed]) -> Iterator[Input]:
    for seed in seeds:
        for number, target in enumerate(seed.objects):
            if isinstance(target.element, Struct) and target.data and not target.links:
                yield _set_data(seed.input, number, _repeat(_GARBAGE, len(target.data)))


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


def _drop_repeated(seeds: Iterable[Seed]) -> Iterable[Seed]:
    return {id(seed): seed for seed in seeds}.values()


def _sort_by_reach(seeds: Sequence[Seed]) -> list[Seed]:
    """The seeds, those first that take most branches."""
    return sorted(seeds, key=lambda seed: len(branch_features(seed.features)), reverse=True)


def _list_owners(seed: Seed) -> dict[int, int]:
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


def _nest_texts(seeds: Sequence[Seed], constants: Collection[int]) -> Iterator[Input]:
    """For each kind of bracket, the shortest text that has it, with the bracket at several depths."""
    shortest: dict[int, tuple[int, Seed, int]] = {}
    for seed in seeds:
        for number, target in enumerate(seed.objects):
            text = target.data.partition(b"\0")[0] if is_text(target) else b""
            for start, end in find_phrases(text[:256]):
                if end - start > 1 and text[start] in b"([{<" and len(text) < shortest.get(text[start], (1 << 30,))[0]:
                    shortest[text[start]] = len(text), seed, number
    limits = {depth + step for depth in constants if 2 < depth < _MAX_DEPTH for step in (-1, 0, 1)}
    for _, seed, number in sorted(shortest.values(), key=lambda item: item[0])[:_NESTED_SEEDS]:
        data = seed.objects[number].data
        text, rest = data.partition(b"\0")[0], data[len(data.partition(b"\0")[0]) :]
        for depth in sorted({*_DEPTHS, *limits}):
            yield set_content(seed, number, nest(text, depth) + rest)


def _single_characters(seeds: Sequence[Seed], constants: Collection[int]) -> Iterator[Input]:
    texts = ((seed, number) for seed in seeds for number, target in enumerate(seed.objects) if is_text(target))
    seed, number = next(texts, (None, 0))
    for character in sorted({constant for constant in constants if 0 < constant < 128})[:_MAX_CHARACTERS]:
        if seed is not None:
            yield set_content(seed, number, bytes((character, 0)))


def _vary_texts(seeds: Sequence[Seed]) -> Iterator[Input]:
    for place, seed in enumerate(seeds[:_FURTHEST_SEEDS]):
        for number, target in enumerate(seed.objects):
            if not (is_text(target) and 1 < target.count <= _MAX_VARIED and target.data.endswith(b"\0")):
                continue
            yield set_content(seed, number, target.data + bytes(_PADDING))
            text = target.data.partition(b"\0")[0] if place < _SHORTENED_SEEDS else b""
            for at in range(len(text)):
                yield set_content(seed, number, target.data[:at] + target.data[at + 1 :])


def _add_arguments(seeds: Sequence[Seed], named: int) -> Iterator[Input]:
    """More variadic arguments: as many as a named one counts, up to one that ends them, and as a named text says."""
    for seed in _drop_repeated(seeds):
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
    numbers = [number for position, number in _list_owners(seed).items() if position < named]
    for number, count in itertools.product(numbers, _VARIADIC_COUNTS):
        text = seed.objects[number].data.partition(b"\0")[0] if is_text(seed.objects[number]) else b""
        length = text.count(b"%") or len(text)
        given = seed.input.args[named:][:length]
        if 0 < length == len(given):
            times = -(-count // length)
            input = set_content(seed, number, text * times + b"\0")
            yield _repeat_arguments(input, named, given, times * length)


def _repeat_arguments(input: Input, named: int, given: Sequence[Value], count: int, *ends: Value) -> Input:
    return replace(input, args=(*input.args[:named], *itertools.islice(itertools.cycle(given), count), *ends))

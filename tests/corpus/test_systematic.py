"""Inputs of the reserve that are made one by one."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Sequence

from pytest_llmcompiler.corpus.grammar import nest
from pytest_llmcompiler.corpus.mutator import Mutator
from pytest_llmcompiler.corpus.seed_pool import Seed
from pytest_llmcompiler.corpus.systematic import generate_systematically, resize
from pytest_llmcompiler.corpus.systematic_texts import replace_characters
from pytest_llmcompiler.emulator.coverage import ComparedOperands, Comparisons
from pytest_llmcompiler.values.c_types import Field, Int, Pointer, Struct
from pytest_llmcompiler.values.input import Alias, Input, Object, Value, list_objects

CHAR = Int(1, True, "char", character=True)
INT = Int(4, True, "int")


def pointer(element: Int, data: bytes) -> Value:
    return Value(Pointer(element), bytes(8), ((0, Object(element, len(data) // element.size, data)),))


def number(value: int) -> Value:
    return Value(INT, struct.pack("<i", value))


def is_alias(value: Value) -> bool:
    return any(isinstance(target, Alias) for _, target in value.links)


def seed(*args: Value) -> Seed:
    return Seed(Input(args), frozenset(), Comparisons())


def vary(
    seeds: Sequence[Seed],
    named: int,
    restricted: Collection[int],
    constants: Collection[int],
    divisors: Collection[int] = (),
) -> Iterator[Input]:
    """The variations that have all objects of the first seed."""
    count = len(list_objects(seeds[0].input))
    every = generate_systematically(seeds, named, restricted, constants, divisors)
    return (one for one in every if len(list_objects(one)) >= count)


COUNTED = seed(pointer(INT, struct.pack("<3i", 7, 8, 9)), number(3))
TEXT = seed(pointer(CHAR, b"f(1)\0"))


def test_a_counted_buffer_gets_another_length_with_its_counter() -> None:
    for count in (0, 1, 5, 130):
        input = resize(COUNTED, count)
        assert input is not None
        (buffer,) = list_objects(input)
        assert buffer.count == count and input.args[1] == number(count)
        assert buffer.data == (struct.pack("<3i", 7, 8, 9) * 44)[: 4 * count]


def test_a_counter_may_count_bytes() -> None:
    input = resize(seed(pointer(INT, struct.pack("<3i", 7, 8, 9)), number(12)), 5)
    assert input is not None and input.args[1] == number(20)


def test_a_long_buffer_may_have_one_element_only() -> None:
    lengths = {}
    for input in vary([COUNTED], 2, (), ()):
        (buffer,) = list_objects(input)
        if buffer.data == struct.pack("<i", 7) * buffer.count:
            lengths[buffer.count] = input.args[1]
    assert lengths[257] == number(257) and lengths[33] == number(33)


def test_a_text_gets_another_length() -> None:
    input = resize(TEXT, 6)
    assert input is not None and list_objects(input)[0].data == b"f(1)f(\0"
    assert resize(seed(number(3)), 6) is None


def test_objects_are_made_equal_and_unended() -> None:
    names = seed(pointer(CHAR, b"abc\0"), pointer(CHAR, b"x\0y\0"))
    pairs = {tuple(one.data for one in list_objects(input)) for input in vary([names], 2, (), ())}
    assert {(b"abc\0", b"abc\0"), (b"abca", b"abca")} <= pairs


def test_pointers_overlap_unless_they_are_restricted() -> None:
    two = seed(pointer(INT, bytes(16)), pointer(INT, bytes(16)))

    def offsets(restricted: tuple[int, ...]) -> set[int]:
        inputs = generate_systematically([two], 2, restricted, ())
        return {target.offset for input in inputs for _, target in input.args[1].links if isinstance(target, Alias)}

    assert offsets(()) == {0, 4, 8} | {4 * distance for distance in (1, 3, 5, 8, 15, 16, 31)}
    assert offsets((0,)) == set()


def test_brackets_are_nested_up_to_the_depths_that_the_program_knows() -> None:
    assert nest(b"f(1)", 3) == b"f(((1)))"
    assert nest(b"1", 3) == b"1"
    texts = {list_objects(input)[0].data for input in vary([TEXT], 1, (), (20,))}
    assert {b"f" + b"(" * depth + b"1" + b")" * depth + b"\0" for depth in (8, 16, 19, 20, 21, 32)} <= texts


def test_each_compared_character_is_a_text() -> None:
    texts = {list_objects(input)[0].data for input in vary([TEXT], 1, (), (44, 9, 300, -1))}
    assert {b",\0", b"\t\0"} <= texts


def test_texts_lose_a_character_or_get_room() -> None:
    texts = {list_objects(input)[0].data for input in vary([TEXT], 1, (), ())}
    assert b"f(1)" + bytes(9) in texts
    assert {b"(1)\0", b"f1)\0", b"f(1\0"} <= texts  # each character is left out once


def test_a_variadic_function_gets_more_arguments() -> None:
    calls = {input.args for input in vary([seed(number(2), number(5), number(6))], 1, (), ())}
    assert (number(7), *[number(5), number(6)] * 3, number(5)) in calls
    texts = seed(number(1), pointer(CHAR, b"x\0"))
    assert {len(input.args) for input in vary([texts], 1, (), ())} >= {7, 8, 10, 13, 17}


def test_a_counter_counts_fewer_arguments_than_are_passed() -> None:
    given = seed(number(2), number(5), number(6), number(1000), number(1001))
    calls = {input.args for input in vary([given], 1, (), ())}
    assert (number(6), *[number(5), number(6)] * 3) in calls


def test_an_argument_that_ends_the_others_stays_the_last_one() -> None:
    for end in (0, -1):
        ended = seed(number(7), number(5), number(6), number(end), number(1000))
        calls = {input.args for input in vary([ended], 1, (), ())}
        assert (number(7), *[number(5), number(6)] * 4, number(5), number(end)) in calls
    first, second, null = pointer(CHAR, b"a\0"), pointer(CHAR, b"b\0"), Value(Pointer(CHAR), bytes(8))
    calls = {input.args for input in vary([seed(first, second, null)], 1, (), ())}
    assert (first, *[second] * 6, null) in calls


def test_a_text_that_names_its_arguments_is_repeated_with_them() -> None:
    for text, length in ((b"is", 2), (b"%d, %s. ", 2), (b"s", 1)):
        named = seed(pointer(CHAR, text + b"\0"), number(5), number(6), number(1000))
        given = [number(5), number(6)][:length]
        inputs = vary([named], 1, (), ())
        calls = {(list_objects(input)[0].data, *input.args[1:]) for input in inputs}
        assert (text * (6 // length) + b"\0", *given * (6 // length)) in calls


LINK = Struct("struct link", 24, 8)
LINK.fields += [Field("prev", 0, Pointer(LINK)), Field("next", 8, Pointer(LINK)), Field("size", 16, INT)]


def test_each_pointer_of_a_structure_gets_targets_of_its_own() -> None:
    inside = Object(LINK, 1, b"\2".rjust(24, b"\0"), ((0, Alias(LINK, 0, 0)), (8, Alias(LINK, 1, 0))))
    ring = Object(LINK, 1, b"\1".rjust(24, b"\0"), ((0, inside), (8, Alias(LINK, 1, 0))))
    behind = Value(Pointer(LINK), bytes(8), ((0, Alias(LINK, 1, 0)),))
    links = {}
    for input in generate_systematically([seed(Value(Pointer(LINK), bytes(8), ((0, ring),)), behind)], 2, (), ()):
        if not list_objects(input):
            continue
        first = list_objects(input)[0]
        kinds = tuple(target.index if isinstance(target, Alias) else "new" for _, target in first.links)
        links[tuple(at for at, _ in first.links), kinds] = len(list_objects(input)), input.args[1].links
    here = ((0, Alias(LINK, 1, 0)),)
    assert links[(0, 8), ("new", 0)] == (2, here)  # next leads to the structure itself
    assert links[(0, 8), ("new", "new")] == (3, here)  # to another structure
    assert links[(0,), ("new",)] == (2, here)  # to none
    assert links[(0,), (0,)] == (1, ())  # prev leads to the structure: what it led to is gone, and aliases of that
    assert links[(), ()] == (1, ())


def test_long_overlaps_have_room_behind_what_is_counted() -> None:
    copied = seed(pointer(CHAR, b"ab\0\0"), pointer(CHAR, b"cd\0\0"), number(4))
    every = list(generate_systematically([copied], 3, (), ()))
    inputs = [one for one in every if one.args[2] == number(72) and is_alias(one.args[1])]
    assert {list_objects(one)[0].data[:41] for one in inputs} == {b"abcdefghijklmnopqrstuvwxyzabcdefghijklmn\0"}
    assert {list_objects(one)[0].count for one in inputs} == {104}


def test_texts_of_one_letter_have_room_in_other_objects() -> None:
    copied = seed(pointer(CHAR, b"ab\0"), pointer(INT, bytes(20)), number(5))
    texts = {}
    for one in vary([copied], 3, (), ()):
        text, buffer = list_objects(one)
        texts[text.data] = buffer.count, one.args[2]
    assert [texts[b"a" * length + b"\0"] for length in (33, 255, 256, 257)] == [(300, number(300))] * 4


def test_empty_objects_are_left_alone() -> None:
    empty = seed(pointer(INT, b""), pointer(CHAR, b""), number(0))
    assert all(isinstance(one, Input) for one in vary([empty], 3, (), (44,)))


def test_a_format_has_one_conversion_many_times() -> None:
    small, large = Object(CHAR, 4, b"abc\0"), 300
    output = Value(Pointer(CHAR), bytes(8), ((0, small),))
    given = seed(output, number(4), pointer(CHAR, b"%d = %5.2s\0"), number(7), number(8))
    texts = {}
    for one in vary([given], 3, (0, 2), ()):  # restricted pointers do not overlap
        buffer, text = list_objects(one)
        texts[text.data] = buffer.count, one.args[1], one.args[3:]
    for conversion in (b"%d", b"%5.2s"):
        for count in (6, 12):
            assert texts[conversion * count + b"\0"] == (large, number(large), (number(7), number(8)) * (count // 2))


def test_integers_are_powers_of_the_programs_constants() -> None:
    tried = {one.args[0] for one in vary([seed(number(3))], 1, (), (10, -1, 70_000))}
    assert {number(10**9), number(10**9 - 1), number(10**8), number(10**8 - 1), number(2**31 - 9)} <= tried


def test_each_character_is_replaced_by_its_neighbours() -> None:
    texts = {list_objects(one)[0].data for one in replace_characters([seed(pointer(CHAR, b"--- x\0"))])}
    assert {b",-- x\0", b".-- x\0", b"--, x\0", b"--. x\0", b"---\x1fx\0", b"--- y\0"} <= texts


def test_integers_are_the_largest_multiples_of_what_the_program_divides_by() -> None:
    for divisor in (7, 400):
        tried = {one.args[0] for one in vary([seed(number(3))], 1, (), range(3, 40), (divisor,))}
        multiple = (2**31 - 1) // divisor * divisor
        assert {number(multiple), number(multiple - 1), number(multiple - divisor - 1)} <= tried


def test_single_elements_get_their_highest_bit() -> None:
    word, byte = Int(4, False, "unsigned"), Int(1, False, "unsigned char")
    coded = seed(pointer(byte, b"\x01\x12"), pointer(word, struct.pack("<2I", 1, 2)))
    tried = {tuple(one.data for one in list_objects(input)) for input in vary([coded], 2, (), ())}
    words = struct.pack("<2I", 1, 2)
    assert {(b"\x81\x12", words), (b"\x01\x92", words), (b"\x01\x12", struct.pack("<2I", 1, 2 | 1 << 31))} <= tried


def test_pointer_arguments_are_null_and_what_counts_their_elements_is_zero() -> None:
    text, buffer = pointer(CHAR, b"ab\0"), pointer(INT, bytes(20))
    copied = seed(buffer, number(5), text)
    calls = {one.args for one in generate_systematically([copied], 3, (), ())}
    null = Value(buffer.type, bytes(8))
    assert {(null, number(5), text), (null, number(0), text), (buffer, number(0), text)} <= calls
    assert (buffer, number(5), Value(text.type, bytes(8))) in calls


def test_bits_of_a_number_that_are_compared_become_others() -> None:
    """`(p[1] & 0xC0) == 0x80` and `(p[2] & 0x0F) == 3`: no number of the input is what is compared."""
    comparisons = Comparisons((ComparedOperands(0x40, 0x80, 4), ComparedOperands(0x0A, 3, 4)))
    coded = Seed(Input((pointer(CHAR, b"\x01\x61\x5a"), number(3))), frozenset(), comparisons)
    mutator = Mutator(1, ())
    texts = {list_objects(mutator.mutate(coded, coded.input))[0].data for _ in range(1000)}
    assert {b"\x01\xa1\x5a", b"\x01\x61\x53"} <= texts

"""Inputs and their layout in memory, without any program."""

from __future__ import annotations

import itertools

import pytest

from pytest_llmcompiler.errors import LayoutError
from pytest_llmcompiler.values.c_types import Int, Pointer, Struct
from pytest_llmcompiler.values.input import Alias, Input, Object, Value, graft_argument, list_objects, replace_object
from pytest_llmcompiler.values.layout import PAGE, SLOTS, lay_out

INT = Int(4, True, "int")
CHAR = Int(1, True, "char", character=True)


def test_objects_end_at_unmapped_pages() -> None:
    pair = Struct("struct pair", 8, 4)
    objects = [
        Object(CHAR, 5, b"hello"),
        Object(INT, 3, bytes(12)),
        Object(pair, 2, bytes(16)),
        Object(CHAR, 0, b""),
        Object(CHAR, PAGE + 1, bytes(PAGE + 1)),
    ]
    layout = lay_out(Input(tuple(Value(Pointer(o.element), bytes(8), ((0, o),)) for o in objects)), list("abcde"))
    assert [int.from_bytes(image, "little") for image in layout.images] == [o.address for o in layout.objects]
    for target in layout.objects:
        assert target.address + target.size == target.slot.address + target.slot.size
        assert target.address % target.element.align == 0
        assert not any(slot.address <= target.address + target.size < slot.address + slot.size for slot in SLOTS)


def test_objects_of_an_aligned_input_start_at_multiples_of_4_gib() -> None:
    objects = [Object(CHAR, 5, b"hello"), Object(INT, 3, bytes(12)), Object(CHAR, PAGE + 1, bytes(PAGE + 1))]
    values = tuple(Value(Pointer(o.element), bytes(8), ((0, o),)) for o in objects)
    placed = lay_out(Input(values, is_4gib_aligned=True), list("abc")).objects
    assert all(target.address % (1 << 32) == 0 for target in placed)
    assert not any(one.address & other.address for one, other in itertools.combinations(placed, 2))
    many = Input(
        tuple(Value(Pointer(CHAR), bytes(8), ((0, Object(CHAR, 1, b"a")),)) for _ in range(20)), is_4gib_aligned=True
    )
    assert len(lay_out(many, ["p"] * 20).objects) == 20


def test_objects_lie_across_a_multiple_of_64_kib() -> None:
    objects = [Object(CHAR, 5, b"hello"), Object(INT, 3, bytes(12)), Object(CHAR, 3, b"end")]
    values = tuple(Value(Pointer(o.element), bytes(8), ((0, o),)) for o in objects)
    for crossing, before in (("first", (1, 4)), ("middle", (2, 4))):
        first, second, third = lay_out(Input(values, crossing=crossing), list("abc")).objects  # type: ignore[arg-type]
        assert [-placed.address % (1 << 16) for placed in (first, second)] == list(before)
        assert (third.address + third.size) % (1 << 32) == 0
    single = Input((Value(Pointer(INT), bytes(8), ((0, Object(INT, 1, bytes(4))),)),), crossing="middle")
    assert (lay_out(single, ["p"]).objects[0].address + 4) % (1 << 32) == 0


def test_an_alias_of_the_end_follows_the_end_of_a_resized_object() -> None:
    cursor = Struct("struct cursor", 16, 8)
    text = Object(CHAR, 5, b"hello")
    input = Input(
        (
            Value(cursor, bytes(16), ((0, text), (8, Alias(CHAR, 0, 5)))),
            Value(Pointer(CHAR), bytes(8), ((0, Alias(CHAR, 0, 3)),)),
        )
    )
    longer = replace_object(input, 0, lambda old: Object(CHAR, 8, b"hello..."))
    assert longer.args[0].links[1] == (8, Alias(CHAR, 0, 8))
    assert longer.args[1].links[0] == (0, Alias(CHAR, 0, 3))
    shorter = replace_object(input, 0, lambda old: Object(CHAR, 2, b"he"))
    assert shorter.args[0].links[1] == (8, Alias(CHAR, 0, 2))
    assert shorter.args[1].links[0] == (0, Alias(CHAR, 0, 2))


def test_a_grafted_argument_brings_its_objects_along() -> None:
    def pointer(to: Object | Alias) -> Value:
        return Value(Pointer(CHAR), bytes(8), ((0, to),))

    input = Input(
        (
            pointer(Object(CHAR, 1, b"a")),
            pointer(Alias(CHAR, 0, 0)),
            pointer(Object(CHAR, 1, b"b")),
            pointer(Alias(CHAR, 1, 1)),
        )
    )
    node = Struct("struct node", 16, 8)
    list_ = Object(node, 1, bytes(16), ((0, Object(CHAR, 1, b"x")), (8, Alias(CHAR, 2, 0))))
    donor = Input(
        (pointer(Object(CHAR, 1, b"y")), pointer(list_), pointer(Alias(CHAR, 0, 0)), Value(Pointer(CHAR), bytes(8)))
    )
    grafted = graft_argument(input, donor, 1)
    assert grafted.args[0] == input.args[0]
    assert [target.data for target in list_objects(grafted)] == [b"a", bytes(16), b"x", b"b"]
    assert list_objects(grafted)[1].links[1] == (8, Alias(CHAR, 2, 0))
    assert grafted.args[3].links == ((0, Alias(CHAR, 3, 1)),)
    assert graft_argument(input, donor, 0).args[1].links == ()
    assert graft_argument(input, donor, 2).args[2].links == ()


def test_shared_and_circular_objects() -> None:
    node = Struct("struct node", 8, 8)
    links = (
        ((0, Object(INT, 3, bytes(12)))),
        (0, Alias(INT, 0, 8)),
        (0, Object(node, 1, bytes(8), ((0, Alias(node, 1, 0)),))),
    )
    layout = lay_out(Input(tuple(Value(Pointer(INT), bytes(8), (link,)) for link in links)), ["a", "b", "ring"])
    first, inside, ring = (int.from_bytes(image, "little") for image in layout.images)
    assert inside == first + 8
    assert len(layout.objects) == 2
    assert dict(layout.contents)[layout.objects[1]] == ring.to_bytes(8, "little")


def test_an_alias_of_another_type_or_past_its_object_is_null() -> None:
    first = (0, Object(INT, 3, bytes(12)))
    for alias in (Alias(CHAR, 0, 0), Alias(INT, 1, 0), Alias(INT, 0, 16)):
        layout = lay_out(
            Input(tuple(Value(Pointer(INT), bytes(8), (link,)) for link in (first, (0, alias)))), ["a", "b"]
        )
        assert not any(layout.images[1])


def test_too_many_or_too_large_objects_raise_layout_error() -> None:
    many = Input(tuple(Value(Pointer(INT), bytes(8), ((0, Object(INT, 1, bytes(4), ())),)) for _ in range(99)))
    with pytest.raises(LayoutError):
        lay_out(many, [f"p{index}" for index in range(99)])
    with pytest.raises(LayoutError):
        lay_out(Input((Value(Pointer(INT), bytes(8), ((0, Object(CHAR, 1 << 20, bytes(1 << 20))),)),)), ["p"])

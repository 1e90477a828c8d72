"""Locations: how each is formatted, and the don't-care bytes that are known by them."""

from __future__ import annotations

import pytest

from pytest_llmcompiler.judge.difference import Difference
from pytest_llmcompiler.judge.dont_care import NO_DONT_CARE_BYTES, DontCareBytes
from pytest_llmcompiler.judge.failure import mismatch_failure, quote_line
from pytest_llmcompiler.judge.location import (
    AccessedAddress,
    ByteRange,
    CallArgument,
    CallNumber,
    Errno,
    GlobalVariable,
    HeapObject,
    InputObject,
    LeakedHeapObjects,
    Location,
    MemoryAround,
    OutputStream,
    Register,
    ReturnValue,
    RunEnding,
    TypedExpression,
    format_location,
    locate_address,
)
from pytest_llmcompiler.values.c_types import Field, Int, Pointer, Struct
from pytest_llmcompiler.values.input import Input, Object, Value
from pytest_llmcompiler.values.layout import lay_out

CHAR, INT = Int(1, True, "char", character=True), Int(4, True, "int")
POINT = Struct("struct point", 8, 4, fields=[Field("x", 0, INT), Field("y", 4, INT)])
BUFFER, TABLE = InputObject(0, "buf"), GlobalVariable("table")


@pytest.mark.parametrize(
    ("location", "text"),
    [
        (ReturnValue(), "return value"),
        (RunEnding(), "ends with"),
        (Errno(), "errno"),
        (Register("rbx"), "register rbx"),
        (CallNumber(0), "external call 1"),
        (CallArgument(1, 0), "argument 1 of external call 2"),
        (OutputStream(1), "stdout"),
        (OutputStream(2, 16), "stderr from byte 16"),
        (BUFFER, "buf"),
        (TABLE, "global table"),
        (HeapObject(3, 16), "heap object 3 (16 bytes)"),
        (ByteRange(BUFFER, 3, 1, TypedExpression("buf", CHAR, True)), "buf[3]"),
        (ByteRange(BUFFER, 3, 24, TypedExpression("buf", CHAR, True)), "buf[3] onwards"),
        (ByteRange(InputObject(1, "p"), 4, 8, TypedExpression("p", POINT, True)), "p->y"),
        (ByteRange(TABLE, 12, 8, TypedExpression("table", POINT, True)), "global table[1].y"),
        (ByteRange(HeapObject(0, 64), 8, 16), "heap object 0 (64 bytes) from byte 8"),
        (MemoryAround(BUFFER, -1), "memory 1 bytes before buf"),
        (MemoryAround(HeapObject(0, 4), 2, "result->next"), "memory 2 bytes past the end of result->next"),
        (AccessedAddress(8), "0x8 (a null pointer)"),
        (AccessedAddress(0x5000), "0x5000"),
        (AccessedAddress(0x5000, "buf", 12, 8), "buf + 12 (4 bytes past its end)"),
        (AccessedAddress(0x5000, "buf", -4, 8), "buf - 4 (before its start)"),
        (AccessedAddress(0x5000, "buf", 4, 8), "buf + 4 (of 8 bytes)"),
        (AccessedAddress(0x1A000000, is_half_pointer=True), "0x1a000000 (the lower half of a pointer)"),
    ],
)
def test_formatting(location: Location, text: str) -> None:
    assert format_location(location) == text


def test_addresses_are_located_in_the_nearest_object() -> None:
    pointer = Value(Pointer(INT), bytes(8), ((0, Object(INT, 2, bytes(8))),))
    layout = lay_out(Input((pointer,)), ["buf"])
    start = layout.objects[0].address
    assert locate_address(start + 8, layout) == AccessedAddress(start + 8, "buf", 8, 8)
    assert locate_address(start - 1, layout) == AccessedAddress(start - 1, "buf", -1, 8)
    assert locate_address(start & 0xFFFFFFFF, layout).is_half_pointer
    assert locate_address(start + (1 << 40), layout) == AccessedAddress(start + (1 << 40))
    assert locate_address(0, layout) == locate_address(0, None) == AccessedAddress(0)


def test_labels_do_not_tell_locations_apart() -> None:
    assert InputObject(0, "buf") == InputObject(0) != InputObject(1, "buf")
    assert len({InputObject(0, "buf"), InputObject(0), GlobalVariable("buf")}) == 2


def test_dont_care_bytes() -> None:
    first = DontCareBytes({BUFFER: frozenset({1, 2}), Errno(): frozenset()})
    both = DontCareBytes.union([first, DontCareBytes({BUFFER: frozenset({5})}), NO_DONT_CARE_BYTES])
    assert sorted(both.of(InputObject(0))) == [1, 2, 5]
    assert not both.of(TABLE)
    assert Errno() in both
    assert LeakedHeapObjects() not in both
    assert both.cleared(b"abcdef", BUFFER) == b"a\0\0de\0"
    assert both.cleared(b"ef", BUFFER, 4) == b"e\0"
    assert both.cleared(b"abcdef", TABLE) == b"abcdef"


def test_a_mismatch_is_its_first_difference() -> None:
    differences = [Difference(OutputStream(1), "1", "2")] + [Difference(ReturnValue(), "3", "4")] * 7
    failure = mismatch_failure(differences)
    assert failure.message == "stdout: expected 1, observed 2"
    assert (failure.location, failure.expected, failure.observed) == (OutputStream(1), "1", "2")
    assert len(failure.differences) == 6
    assert failure.evidence[0].split() == ["expected", "observed"]
    assert failure.evidence[-1] == "  … and 2 more"


def test_lines_are_quoted_without_extra_spaces() -> None:
    assert quote_line("f:\n\tmovl  %edi,\t%eax\n", 2) == ("  at        line 2: movl %edi, %eax",)
    assert quote_line("f:", 0) == quote_line("f:", 2) == ()

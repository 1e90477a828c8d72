"""The engine's C code and the Python code have the same numbers: the orders of names, and limits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from pytest_llmcompiler import emulator
from pytest_llmcompiler.emulator import calls, engine, engine_image, engine_server, heap, kernel, stack, uninitialised
from pytest_llmcompiler.emulator.observation import ELSEWHERE, ENDINGS
from pytest_llmcompiler.judge import engine_calls
from pytest_llmcompiler.values import layout

FOLDER = Path(emulator.__file__).parent / "engine"
TEXT = "\n".join(re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S) for path in sorted(FOLDER.glob("*.[ch]")))


def read_enumeration(first: str) -> list[str]:
    """The names of the enumeration whose first name is given, without their prefix, as Python has them."""
    body = re.search(rf"enum \{{\s*({first}\b[^}}]*)\}}", TEXT)
    assert body, first
    prefix = first.split("_")[0] + "_"
    names = [name.split("=")[0].strip() for name in body[1].split(",") if name.strip()]
    return [name.removeprefix(prefix).lower().replace("_", " ") for name in names]


def test_orders_of_names() -> None:
    *reasons, count = read_enumeration("LEFT_NOT")
    assert count == "count" and ["not left", *reasons[1:]] == list(get_args(engine.LeftReason))
    assert read_enumeration("HOOK_LEAVE") == [kind.replace("_", " ") for kind in engine_image.HOOK_KINDS]
    kinds = [kind.replace("_", " ") for kind, _ in engine_image.SYSTEM_CALL_KINDS]
    assert [name.removeprefix("call ") for name in read_enumeration("SYSTEM_CALL_LEAVE")] == kinds
    *fills, _ = read_enumeration("FILL_GARBAGE")
    assert fills == list(get_args(uninitialised.UninitialisedFill))
    assert tuple(read_enumeration("END_RETURN")[:-1]) == ENDINGS
    assert tuple(read_enumeration("ARGUMENT_UNKNOWN")[:-1]) == engine_calls._KINDS
    frames = read_enumeration("FRAME_OPEN")
    assert [getattr(engine_server, f"_{name.upper()}") for name in frames] == list(range(1, len(frames) + 1))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAGE", layout.PAGE),
        ("STUB_SIZE", layout.STUB_SIZE),
        ("VALUE_BYTES", engine_image._VALUE_BYTES),
        ("DETOUR_OFFSET", calls.DETOUR_RETURN - layout.RETURN),
        ("MAX_CALLS", calls._MAX_DETOURS),
        ("MAX_CALLBACKS", calls._MAX_CALLBACKS),
        ("MAX_VECTOR_COUNT", calls.MAX_VECTOR_COUNT),
        ("STACK_ALIGNMENT", calls._ALIGNMENT),
        ("ELSEWHERE", ELSEWHERE),
        ("STACK_WORD_TOP", stack.STACK_START >> 32),
        ("HEAP_START", heap.HEAP_START),
        ("HEAP_END", heap._HEAP_END),
        ("HEAP_LIMIT", heap.HEAP_LIMIT),
        ("MAX_ALLOCATIONS", heap.MAX_ALLOCATIONS),
        ("MAX_FUNCTION_ALLOCATIONS", heap.MAX_FUNCTION_ALLOCATIONS),
        ("MAX_FILLED_BYTES", heap._MAX_FILLED_BYTES),
        ("LANE_SIZE", heap._LANE_SIZE),
        ("LANE_PLACES", heap._LANE_PLACES),
        ("ALIGNED_STRIDE", heap._ALIGNED_STRIDE),
        ("MALLOC_ALIGNMENT", heap._ALIGNMENT),
        ("ENOMEM_NUMBER", heap._ENOMEM),
        ("OUTPUT_LIMIT", kernel.OUTPUT_LIMIT),
        ("MAX_SYSTEM_CALLS", kernel.MAX_SYSTEM_CALLS),
        ("MAX_VECTORS", kernel._MAX_VECTORS),
        ("EPOCH", kernel._EPOCH),
        ("ARCH_SET_FS", kernel._ARCH_SET_FS),
    ],
)
def test_limits(name: str, value: int) -> None:
    definition = re.search(rf"#define {name} (\S.*)", TEXT)
    assert definition
    digits = re.sub(r"(0x[0-9A-Fa-f]+|\d+)(?:ull|u)?\b", r"\1", definition[1])
    assert eval(digits) == value  # an expression of numbers

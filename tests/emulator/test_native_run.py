"""What surrounds a run is done in C, or in Python where the C code can't be built: both show the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from faces import Compile
from function_runner import FunctionRunner

from pytest_llmcompiler.emulator import native_run
from pytest_llmcompiler.emulator.observation import Observation
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.values.c_types import Int, Pointer
from pytest_llmcompiler.values.input import Object

SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int kept = 5; int table[2000];
struct big { long a[5]; }; struct pair { double x; long n; };
int count(int *p, int n) { int s = kept++; for (int i = 0; i < n; i++) s += p[i]++; table[n] = s; return s; }
long sum(struct big b, char c, struct pair p, long d, long e, long f, long g) { return b.a[4] + c + p.n + d + e + f + g; }
int deep(int n) { volatile char room[3000]; room[n % 3000] = 1; return n ? deep(n - 1) + room[n] : room[0]; }
int peek(int n) { volatile char room[200000]; return room[n]; }
void astray(char *p, long by) { p[by] = 1; }
int read_astray(char *p, long by) { return p[by]; }
char *shout(const char *s) { char *t = malloc(strlen(s) + 1); strcpy(t, s); printf("%s!\n", t); return t; }
int fail(int *p) { return *p / 0; }
void input(char *p, long by) { if (fgets(p + by, 8, stdin)) return; }
"""
NEXT_SLOT = 1 << 32
"""Bytes from an object of up to a page to the same place in the next slot."""


@pytest.fixture(scope="module")
def program(compiled: Compile) -> Reference:
    return compiled(SOURCE)


def buffer(program: Reference, function: str, data: bytes) -> Object:
    type = program.signatures[function].params[0].type
    assert isinstance(type, Pointer)
    assert isinstance(type.target, Int)
    return Object(type.target, len(data) // type.target.size, data)


def run_all(program: Reference, garbage_pattern: int) -> Iterator[Observation]:
    """Runs of several functions, each after runs that leave other memory behind."""

    def opened(name: str) -> Callable[..., Observation]:
        return FunctionRunner(program, name, garbage_pattern=garbage_pattern, trace_blocks=True)

    count = opened("count")
    for numbers in ((1, 2, 3), (9,), (4, 5, 6, 7)):
        data = b"".join(number.to_bytes(4, "little") for number in numbers)
        for fill in ("garbage", "zeros", "inverse"):
            yield count(buffer(program, "count", data), len(numbers), uninitialised=fill)
    deep, peek = opened("deep"), opened("peek")
    for depth in (1, 40, 2, 90, 3):
        yield deep(depth, limit=1_000_000)
        yield deep(depth, limit=1_000_000, uninitialised="zeros")
    for at in (199_990, 4, 100_000):
        for fill in ("garbage", "zeros", "inverse", "zeros"):
            yield peek(at, uninitialised=fill)
    for name in ("astray", "read_astray", "input"):
        stray = opened(name)
        for by in (0, NEXT_SLOT, 3, 2 * NEXT_SLOT, -NEXT_SLOT, 1, 7 * NEXT_SLOT, NEXT_SLOT):
            yield stray(buffer(program, name, b"abcdefghij"), by)
    shout, fail = opened("shout"), opened("fail")
    for text in (b"a\0", b"longer\0"):
        yield shout(buffer(program, "shout", text))
        yield fail(buffer(program, "fail", bytes(4)))


@pytest.mark.parametrize("garbage_pattern", [0, 1])
def test_c_and_python_show_the_same(program: Reference, monkeypatch: pytest.MonkeyPatch, garbage_pattern: int) -> None:
    native = list(run_all(program, garbage_pattern))
    assert native_run.load_library() is not None
    monkeypatch.setattr(native_run, "load_library", lambda: None)
    for number, (first, second) in enumerate(zip(native, run_all(program, garbage_pattern), strict=True)):
        assert first == second, number
    assert sum(run.has_stray_write for run in native) >= 5
    assert {run.outcome for run in native} == {"return", "fault"}
    assert any(run.output.get(1) == b"longer!\n" for run in native)


def test_registers_and_the_stack_hold_the_arguments_in_both(
    program: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> Observation:
        from pytest_llmcompiler.targets import get_target
        from pytest_llmcompiler.values.input import Input, Value
        from pytest_llmcompiler.values.layout import lay_out

        runner = FunctionRunner(program, "sum")
        params = runner.signature.params
        values = [bytes(32) + (7).to_bytes(8, "little"), b"\xff", bytes(8) + (1000).to_bytes(8, "little")]
        values += [(10**n).to_bytes(8, "little") for n in range(4, 8)]
        input = Input(tuple(Value(param.type, data) for param, data in zip(params, values, strict=True)))
        layout = lay_out(input, [param.name for param in params])
        call = get_target().convention.set_up_call([param.type for param in params], layout.images)
        return runner.machine.run(layout, call, 1000)

    native = run()
    assert int.from_bytes(native.result, "little") == 7 - 1 + 1000 + 11_110_000
    monkeypatch.setattr(native_run, "load_library", lambda: None)
    assert run() == native

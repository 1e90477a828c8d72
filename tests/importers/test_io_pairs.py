"""Pairs of inputs and outputs as C: compiled with gcc and run, they hold for right outputs and name the first wrong one."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pytest_llmcompiler.importers.io_pairs import IOPair, UnwritablePairsError, read_pairs, write_tests

POINT = "typedef struct { int x; double y; char name[8]; struct { short s[2]; } in; } point;\n"


def run_tests(folder: Path, code: str, function: str, *pairs: tuple[dict[str, Any], dict[str, Any]]) -> tuple[int, str]:
    """The exit code of the written program, and what it prints."""
    written = write_tests(code, function, [IOPair(*pair) for pair in pairs])
    (folder / "code.c").write_text(code)
    (folder / "tests.c").write_text(written.text)
    command = ["gcc", "-w", "code.c", "tests.c", "-o", "program", "-lm"]
    subprocess.run(command, cwd=folder, check=True)
    done = subprocess.run([folder / "program"], capture_output=True, text=True)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("code", "input", "output", "wrong", "place"),
    [
        ("int f(int a, int b) { return a - b; }", {"a": 3, "b": 5}, {"r": -2}, {"r": 2}, "result"),
        ("unsigned char f(unsigned char c) { return c + 1; }", {"c": 254}, {"r": 255}, {"r": 0}, "result"),
        ("char f(char c) { return c; }", {"c": 200}, {"r": 200}, {"r": 201}, "result"),
        ("long f(long a) { return a; }", {"a": -(1 << 63)}, {"r": -(1 << 63)}, {"r": 1}, "result"),
        ("unsigned long f(void) { return -1; }", {}, {"r": (1 << 64) - 1}, {"r": 1}, "result"),
        ("double f(double a) { return a / 3; }", {"a": 1}, {"r": 0.333333333333}, {"r": 0.3333}, "result"),
        ("float f(float a) { return a; }", {"a": 0.5}, {"r": 0.5}, {"r": -0.5}, "result"),
        ("double f(double a) { return a; }", {"a": math.inf}, {"r": math.inf}, {"r": 1.0}, "result"),
        ("double f(double a) { return a - a; }", {"a": math.inf}, {"r": math.nan}, {"r": 0.5}, "result"),
        ("_Bool f(int a) { return a; }", {"a": 7}, {"r": True}, {"r": False}, "result"),
        ("void f(int *p) { *p += 1; }", {"p": [4]}, {"p": [5]}, {"p": [4]}, "p[0]"),
        ("void f(int n, float v[]) { v[n - 1] *= 2; }", {"n": 2, "v": [1.0, 1.5]}, {"v": [1.0, 3.0]}, {"v": [1.0, 1.5]}, "v[1]"),
        ("void f(int v[2]) { v[1] = 7; }", {"v": [1, 2]}, {"v": [1, 7]}, {"v": [2, 7]}, "v[0]"),
        ("void f(char *s) { *s = '%'; }", {"s": 'ab"\\\n'}, {"s": '%b"\\\n'}, {"s": "%"}, "s"),
        ("int f(const char *const s) { return s[1]; }", {"s": "ab"}, {"r": 98}, {"r": 97}, "result"),
        ("const char *f(int a) { return a ? \"yes\" : \"no\"; }", {"a": 1}, {"r": "yes"}, {"r": "no"}, "result"),
        ("int f(int *p) { return p == 0; }", {"p": None}, {"r": 1}, {"r": 0}, "result"),
        (POINT + "void f(point *p) { p->x++; p->in.s[1] = 3; }", {"p": {"x": 1, "y": 2.5, "in": {"s": [1, 2]}}}, {"p": {"x": 2, "y": 2.5}}, {"p": {"x": 2, "y": 2.25}}, "p.y"),
        (POINT + "int f(point p) { return p.x; }", {"p": {"x": 9, "name": "abc"}}, {"r": 9}, {"r": 8}, "result"),
        (POINT + "point f(int a) { point p = {a}; return p; }", {"a": 4}, {"r": {"x": 4, "y": 0.0}}, {"r": {"x": 5}}, "result.x"),
        ("static int two(void) { return 2; }\nint f(int restrict_) { return two(); }", {"restrict_": 0}, {"r": 2}, {"r": 1}, "result"),
    ],
)  # fmt: skip
def test_values(
    tmp_path: Path, code: str, input: dict[str, Any], output: dict[str, Any], wrong: dict[str, Any], place: str
) -> None:
    assert run_tests(tmp_path, code, "f", (input, output)) == (0, "")
    assert run_tests(tmp_path, code, "f", (input, output), (input, wrong)) == (1, f"pair 1: {place}\n")


@pytest.mark.parametrize(
    ("code", "input", "output"),
    [
        ("void f(void *p) {}", {"p": [1]}, {"p": [1]}),
        ("int f(int (*g)(int)) { return g(1); }", {"g": 1}, {"r": 1}),
        ("int f(int a, ...) { return a; }", {"a": 1}, {"r": 1}),
        ("int f(int m[2][2]) { return m[0][0]; }", {"m": [[1, 2], [3, 4]]}, {"r": 1}),
        ("int f(int a) { return a; }", {"a": {"x": {"y": {"z": {"w": {"v": 1}}}}}}, {"r": 1}),
        ("int f(int a) { return a; }", {"a": 1 << 70}, {"r": 1}),
        ("int f(int a) { return a; }", {"b": 1}, {"r": 1}),
        ("int f(int a) { return a; }", {}, {"r": 1}),
        ("int f(int a) { return a; }", {"a": 1}, {"a": 1}),
        ("int f(int a) { return a; }", {"a": 1}, {"r": None}),
        ("struct s { int x; } f(int a) { return (struct s){a}; }", {"a": 1}, {"r": {'x; system("id")': 1}}),
    ],
)
def test_pairs_that_can_not_be_written(code: str, input: dict[str, Any], output: dict[str, Any]) -> None:
    with pytest.raises(UnwritablePairsError):
        write_tests(code, "f", [IOPair(input, output)])


def test_pairs_are_left_out_one_by_one(tmp_path: Path) -> None:
    code = "int f(int a) { return a; }"
    written = write_tests(code, "f", [IOPair({"a": 1}, {"r": 1}), IOPair({}, {}), *[IOPair({"a": 2}, {"r": 2})] * 50])
    assert written.left_out == 52 - 31
    assert written.text.count("__typeof__(f(llmc_a0))") == 31


def test_values_as_texts() -> None:
    """The loader of ExeBench writes values as texts, which its reader takes for Python's."""
    value = {
        "input": [{"var": ["a", "b", "c", "d"], "value": ["[1, 2]", "'x'", "True", "no value"]}],
        "output": [{"var": ["r"], "value": ["1.5"]}],
    }
    assert read_pairs(value) == ([IOPair({"a": [1, 2], "b": "x", "c": True, "d": "no value"}, {"r": 1.5})], ())


@pytest.mark.parametrize(
    "value", [None, 7, "x", [], [7], {}, {"input": 7, "output": []}, {"input": [7], "output": [{}]}]
)
def test_pairs_of_any_shape(value: object) -> None:
    assert read_pairs(value) == ([], ())

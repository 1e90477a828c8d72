"""Products that are added without being rounded: within expressions, across statements and calls, and in vectors."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from faces import Compile
from native_code import needs_avx
from whole_files import compile_whole

from pytest_llmcompiler.judge.harness import Harness
from pytest_llmcompiler.judge.settings import JudgeSettings

SOURCES = {
    "across statements": """
float f(float a, float b, float c, float d) { float x = a * b; float y = c * d; x += 1.0f; return x - y; }
""",
    "a call returns a product": """
static float product(float a, float b) { return a * b; }
float f(const float *p, int n) {
    float sum = 0;
    for (int i = 0; i + 1 < (n & 15); i++) sum += product(p[i], p[i + 1]);
    return sum;
}
""",
    "a call adds products": """
static float plus(float a, float b) { return a + b; }
float f(const float *p, const float *q) { return plus(p[0] * q[0], p[1] * q[1]); }
""",
    "within a call": """
struct vector { float x, y, z, w; };
static struct vector cross(struct vector a, struct vector b) {
    struct vector c = {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x, 0};
    return c;
}
struct vector f(const struct vector *p) { return cross(p[1], p[2]); }
""",
    "vectors": """
typedef float floats __attribute__((vector_size(16)));
floats f(floats a, floats b, floats c) { floats x = a * b; return x + c * 3.0f - a; }
""",
}
NATIVE = JudgeSettings(isa="x86-64-v3", native="auto")
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")
needs_clang = pytest.mark.skipif(shutil.which("clang-19") is None, reason="no clang-19 here")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "f.c"


@needs_avx
@needs_gcc
@pytest.mark.parametrize("name", SOURCES)
def test_code_of_gcc_for_x86(compiled: Compile, path: Path, name: str) -> None:
    path.write_text(SOURCES[name])
    text = compile_whole(path, "gcc", "-O2", "-march=haswell")
    assert "vfm" in text or "vfnm" in text
    harness = Harness(compiled(SOURCES[name]), "f", NATIVE)
    assert harness.judge(text).kind == "pass"
    wrong = text.replace("vfmadd", "vfmsub") if "vfmadd" in text else text.replace("vfmsub", "vfmadd")
    assert harness.judge(wrong, explain=False).kind == "mismatch"


@needs_clang
@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("mode", ["fast", "off"])
def test_code_of_clang_for_aarch64(compiled: Compile, path: Path, mode: str, name: str) -> None:
    path.write_text(SOURCES[name])
    text = compile_whole(path, "clang-19", "-O2", "-target", "aarch64-linux-gnu", f"-ffp-contract={mode}")
    target = "aarch64-linux"
    harness = Harness(compiled(SOURCES[name], target=target), "f", JudgeSettings(target=target))
    assert harness.judge(text).kind == "pass"
    wrong = text.replace("fmul", "fadd").replace("fmla", "fmls").replace("fmadd", "fmsub")
    assert harness.judge(wrong, explain=False).kind == "mismatch"

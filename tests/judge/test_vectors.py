"""Functions that take and return vectors of GCC and clang by value."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from faces import Compile
from native_code import needs_avx, needs_avx512
from whole_files import compile_whole

from pytest_llmcompiler import check
from pytest_llmcompiler.judge.harness import Harness
from pytest_llmcompiler.judge.settings import JudgeSettings
from pytest_llmcompiler.targets.levels import IsaLevel

SOURCE = """
#include <stdarg.h>
typedef float floats __attribute__((vector_size(16)));
typedef int ints __attribute__((vector_size(16)));
struct box { floats v; };
struct ray { floats origin, direction; };
floats sample(floats at, int level);
void report(struct box b, floats v);
floats scaled(floats a, float s) { return a * s; }
struct ray advanced(struct ray r, float t) { r.origin += r.direction * t; return r; }
struct box boxed(floats v, struct box b) { b.v[0] += v[1]; return b; }
floats filtered(floats at, int n) {
    floats sum = {0};
    for (int i = 0; i < (n & 7); i++) sum += sample(at + (float)i, i);
    return sum;
}
floats applied(floats (*f)(floats, floats), floats a, floats b) { return f(b, a) + a; }
void told(floats v, struct box *b) { report(*b, v + b->v); }
ints added(int n, ...) {
    va_list list;
    va_start(list, n);
    ints sum = {0};
    for (int i = 0; i < (n & 3); i++) sum += va_arg(list, ints);
    va_end(list);
    return sum;
}
floats many(int n, floats a, floats b, floats c, floats d, floats e, floats f, floats g, floats h, floats i) {
    return n & 1 ? a + b - c + d : e - f + g - h + i;
}
"""
FUNCTIONS = ("scaled", "advanced", "boxed", "filtered", "applied", "told", "added", "many")
WRONG = {
    "another lane": ("boxed", "boxed:\n addss %xmm0, %xmm1\n movaps %xmm1, %xmm0\n ret\n", "return value"),
    "the lower half of the result": ("scaled", "scaled:\n unpcklps %xmm1, %xmm1\n mulps %xmm1, %xmm0\n ret\n", ""),
    "the arguments of a callback": (
        "applied",
        "applied:\n subq $24, %rsp\n movaps %xmm0, (%rsp)\n call *%rdi\n addps (%rsp), %xmm0\n addq $24, %rsp\n ret\n",
        "external call 1: expected callback 0(",
    ),
}


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")
@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_code_of_gcc_passes(compiled: Compile, tmp_path: Path, level: str) -> None:
    path = tmp_path / "vectors.c"
    path.write_text(SOURCE)
    text = compile_whole(path, "gcc", level)
    reference = compiled(SOURCE)
    for function in FUNCTIONS:
        verdict = Harness(reference, function, JudgeSettings(examples=10, effort=0)).judge(text)
        assert verdict.kind == "pass", (function, verdict)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_code_fails(compiled: Compile, name: str) -> None:
    function, text, place = WRONG[name]
    verdict = Harness(compiled(SOURCE), function, JudgeSettings(examples=10)).judge(text)
    assert verdict.kind == "mismatch"
    assert place in verdict.message


@pytest.mark.parametrize("target", ["aarch64-linux", "x86_64-windows"])
def test_code_for_other_targets_passes(compiled: Compile, target: str) -> None:
    reference = compiled(SOURCE, target=target)
    for function in ("boxed", "filtered", "applied", "many"):
        text = reference.texts.assembly(function, "O2")
        verdict = Harness(reference, function, JudgeSettings(examples=10, effort=0, target=target)).judge(text)
        assert verdict.kind == "pass", (function, verdict)


WIDE = """// LLMC: isa {isa}
typedef float floats __attribute__((vector_size({size})));
struct box {{ floats v; }};
struct pair {{ floats a, b; }};
floats sample(floats at, int n);
__attribute__((noinline)) floats scaled(floats a, float s) {{ return a * s; }}
floats asked(floats a) {{ return sample(scaled(a, 2), 1) + sample(a, 2) - scaled(a, 3); }}
struct box boxed(floats v, struct box b) {{ b.v[0] += v[{last}]; return b; }}
struct pair paired(struct pair t, floats v) {{ t.a += v; t.b -= v; return t; }}
floats filtered(floats at, int n) {{
    floats sum = {{0}};
    for (int i = 0; i < (n & 7); i++) sum += sample(at + (float)i, i);
    return sum;
}}
floats applied(floats (*f)(floats, floats), floats a, floats b) {{ return f(b, a) + a; }}
floats many(int n, floats a, floats b, floats c, floats d, floats e, floats f, floats g, floats h, floats i, floats j) {{
    return n & 1 ? a + b - c + d : e - f + g - h + i - j;
}}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")
@pytest.mark.parametrize(
    ("isa", "size", "register"),
    [
        pytest.param("x86-64-v3", 32, "%ymm", marks=needs_avx),
        pytest.param("x86-64-v4", 64, "%zmm", marks=needs_avx512),
    ],
)
def test_vectors_of_the_size_of_avx_registers(
    compiled: Compile, tmp_path: Path, isa: IsaLevel, size: int, register: str
) -> None:
    source = WIDE.format(isa=isa, size=size, last=size // 4 - 1)
    path = tmp_path / "vectors.c"
    path.write_text(source)
    text = compile_whole(path, "gcc", "-O2", f"-march={isa}")
    settings = JudgeSettings(native="auto", isa=isa, examples=10)
    for function in ("scaled", "boxed", "paired", "filtered", "applied", "many"):
        verdict = Harness(compiled(source), function, settings).judge(text)
        assert verdict.kind == "pass", (function, verdict)
    assert register in text
    reference = compiled(source)
    verdict = Harness(reference, "asked", settings).judge(reference.texts.assembly("asked", "O2"))
    assert verdict.kind == "pass", verdict
    assert verdict.detail["dropped"] == {}  # upper parts of results are not lost in any run
    wrong = "scaled:\n vbroadcastss %xmm1, %xmm1\n vmulps %xmm1, %xmm0, %xmm0\n ret\n"  # the upper parts are zeros
    verdict = Harness(compiled(source), "scaled", settings).judge(wrong)
    assert (verdict.kind, verdict.detail["native"]) == ("mismatch", True)


@needs_avx
def test_vectors_that_this_processor_passes_in_memory_are_inconclusive() -> None:
    """Compilers differ about vectors that are wider than the registers that the code may use."""
    source = "typedef float floats __attribute__((vector_size(32)));\nfloats same(floats x) { return x; }\n"
    verdict = check(source, "same", "same: ret\n", examples=5)
    assert (verdict.kind, "a vector of 8 float that is passed by value" in verdict.message) == ("inconclusive", True)


IR = "define <4 x i32> @sum(<4 x i32> %a, <4 x i32> %b) {\n  %c = add <4 x i32> %a, %b\n  ret <4 x i32> %c\n}\n"


@pytest.mark.parametrize(("instruction", "kind"), [("paddd", "pass"), ("paddw", "mismatch")])
def test_vectors_of_ir(compiled: Compile, instruction: str, kind: str) -> None:
    text = f"sum:\n {instruction} %xmm1, %xmm0\n ret\n"
    assert Harness(compiled(IR, ".ll"), "sum", JudgeSettings(examples=10)).judge(text).kind == kind

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from faces import Compile

from pytest_llmcompiler.errors import ClangError, IRError
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.ir import binary_size, count_instructions, emit_object, parse
from pytest_llmcompiler.program.ir_extract import extract, normalise
from pytest_llmcompiler.program.ir_queries import defined_functions
from pytest_llmcompiler.program.ir_rewrites import externalise
from pytest_llmcompiler.program.reference import Reference

CASES = Path(__file__).parents[2] / "cases"
CLANG = shutil.which("clang-19")
EXTRACT = shutil.which("llvm-extract-19") or shutil.which("/usr/lib/llvm-19/bin/llvm-extract")

LINKAGES = """
struct node { struct node *next; int v; };
static struct node head;
static int counter;
int shared;
extern int ext;
const int limits[3] = {1, 2, 3};
static const char *const names[] = {"a", "bb"};
__attribute__((section("mine"))) int placed;
__attribute__((weak)) int weak_v;
__attribute__((aligned(64))) char wide[8];
static int helper(int x) { return x + counter; }
__attribute__((weak)) int weakf(int x) { return x; }
__attribute__((cold)) int cold(int x) { return x; }
int vararg(int n, ...) { return n; }
__attribute__((visibility("hidden"))) int hid(int x) { return x; }
int (*fp)(int) = helper;
int user(int x) {
    static int n;
    n++; shared += x; placed++; weak_v++; wide[0]++;
    return helper(x) + weakf(x) + cold(x) + vararg(1, x) + hid(x) + ext + limits[x & 1] + names[x & 1][0] + head.v + n;
}
int rec(int x) { return x ? rec(x - 1) + 1 : 0; }
int callfp(int x) { return fp(x); }
double real(double x) { return x * 2.5 + __builtin_fabs(x); }
"""
JUMP = "int jump(int x) { static void *t[] = {&&a, &&b}; goto *t[x & 1]; a: return 1; b: return 2; }\n"


@pytest.fixture(scope="session")
def lfs() -> Reference:
    from pytest_llmcompiler.program.case import read_case

    return Reference(read_case(CASES / "git_lfs.c"), Toolchain())


def clang_ir(path: Path) -> str:
    command = [str(CLANG), "-O0", "-Xclang", "-disable-O0-optnone", "-S", "-emit-llvm", "-o", "-", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def llvm_extract(text: str, function: str) -> str:
    """What the real tool cuts out, written by the same LLVM that writes ours."""
    command = [str(EXTRACT), "-S", "-func", function, "-o", "-", "-"]
    cut = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    return normalise(str(parse(cut))).strip() + "\n"


@pytest.mark.skipif(not (CLANG and EXTRACT), reason="needs clang-19 and llvm-extract-19")
@pytest.mark.parametrize("name", ["git_lfs.c", "state.c", "list.c", "fields.c"])
def test_extract_equals_llvm_extract(name: str) -> None:
    text = clang_ir(CASES / name)
    functions = defined_functions(parse(text))
    assert {f: extract(text, f) for f in functions} == {f: llvm_extract(text, f) for f in functions}


@pytest.mark.skipif(not (CLANG and EXTRACT), reason="needs clang-19 and llvm-extract-19")
def test_extract_of_every_linkage_equals_llvm_extract(tmp_path: Path) -> None:
    (tmp_path / "linkages.c").write_text(LINKAGES)
    text = clang_ir(tmp_path / "linkages.c")
    for function in defined_functions(parse(text)):
        assert extract(text, function) == llvm_extract(text, function), function


def test_a_function_keeps_the_tables_of_its_labels(compiled: Compile) -> None:
    """llvm-extract only declares them, which leaves no use of the labels: then there is no code for them."""
    cut = compiled(JUMP + "int other(int x) { return jump(x); }\n")
    assert "@jump.t = internal global [2 x ptr] [ptr blockaddress(@jump, " in cut.texts.ir("jump")
    assert "blockaddress" not in cut.texts.ir("other")


def test_extract_declares_everything_else(compiled: Compile) -> None:
    cut = compiled(LINKAGES).texts.ir("user")
    assert defined_functions(parse(cut)) == ["user"]
    assert re.search(r"^define .*i32 @user\(", cut, re.M)
    assert re.search(r"^declare hidden i32 @helper\(i32", cut, re.M)
    assert re.search(r"^declare hidden i32 @hid\(i32", cut, re.M)
    assert re.search(r"^declare i32 @vararg\(i32 \w+, \.\.\.\)", cut, re.M)
    assert re.search(r"^@user\.n = external hidden global i32, align 4$", cut, re.M)
    assert re.search(r"^@names = external hidden constant \[2 x ptr\], align 16$", cut, re.M)
    assert re.search(r"^%struct\.node = type \{ ptr, i32 \}$", cut, re.M)
    assert re.search(r"^@head = external hidden global %struct\.node", cut, re.M)
    assert "callfp" not in cut
    assert "@rec(" not in cut


def test_extract_keeps_attributes_of_functions(compiled: Compile) -> None:
    assert re.search(r"^attributes #\d+ = \{ .*\bcold\b", compiled(LINKAGES).texts.ir("cold"), re.M)
    assert '"frame-pointer"="all"' in compiled(LINKAGES).texts.ir("rec")
    assert "mustprogress" in compiled("int f(int n) { int r = 0; while (n-- > 0) r += n; return r; }").texts.ir("f")


def test_a_static_function_becomes_visible(compiled: Compile) -> None:
    assert re.search(r"^define hidden i32 @helper\(", compiled(LINKAGES).texts.ir("helper"), re.M)


def test_every_extracted_function_compiles(compiled: Compile) -> None:
    reference = compiled(LINKAGES)
    for function in defined_functions(parse(reference.ir)):
        cut = reference.texts.ir(function)
        assert emit_object(parse(cut))[:4] == b"\x7fELF"
        assert f"\n{function}:" in reference.texts.assembly(function, "O1"), function
        assert extract(cut, function) == cut, function


def test_levels_of_the_reference_differ(compiled: Compile) -> None:
    """Loops are vectorised from O2 on."""
    source = "int f(const int *p, int n) { int t = 0; for (int i = 0; i < n; i++) t += p[i] * p[i]; return t; }"
    texts = {level: compiled(source).texts.assembly("f", level) for level in ("O0", "O1", "O2")}
    assert len(set(texts.values())) == 3
    assert "xmm" in texts["O2"] and "xmm" not in texts["O1"]


def test_two_modules_do_not_rename_each_others_structs(compiled: Compile) -> None:
    first = compiled("struct node { int a; }; int f(struct node n) { struct node m = n; return m.a; }")
    second = compiled("struct node { long b; char c; }; long g(struct node *n) { return n->b; }")
    assert "%struct.node = type { i32 }" in first.texts.ir("f")
    assert "%struct.node = type { i64, i8 }" in second.texts.ir("g")


def test_a_function_is_extracted_from_a_module_with_an_alias(compiled: Compile) -> None:
    reference = compiled(
        'int f(int x) { return x; }\nint g(int x) __attribute__((alias("f")));\nint h(int x) { return g(x); }'
    )
    cut = reference.texts.ir("h")
    assert defined_functions(parse(cut)) == ["h"]
    assert re.search(r"^declare .*i32 @g\(", cut, re.M)


def test_counts_of_the_reference_function(lfs: Reference) -> None:
    """The count and the size are those of clang 18, whose code is the same."""
    assert lfs.texts.sizes("consume_line") == (29, 129)


def test_counts() -> None:
    text = "define i32 @f(i32 %x) {\n  %y = add i32 %x, 1\n  ret i32 %y\n}\ndefine void @g() {\n  ret void\n}\n"
    assert count_instructions(parse(text)) == 3
    assert count_instructions(parse("declare void @f()\n")) == 0
    data = 'target triple = "x86_64-unknown-linux-gnu"\n@a = global [100 x i8] c"' + "x" * 100 + '"\n'
    assert binary_size(data) == 100
    assert binary_size(data + "@b = global [1000 x i8] zeroinitializer\n") == 100


def test_prompts_have_no_target_features_paths_or_debug_information(lfs: Reference) -> None:
    cut = lfs.texts.ir("validate")
    features = re.findall(r'"target-features"="([^"]*)"', cut)
    assert features
    assert set(features) == {"+cmov,+cx8,+fxsr,+mmx,+sse,+sse2,+x87"}
    assert re.findall(r"^target triple = .*$", cut, re.M) == ['target triple = "x86_64-unknown-linux-gnu"']
    assert not re.search(r"!dbg|!DI|llvm\.dbg|#dbg|ModuleID|sanitize", cut)
    assert len(cut) < 9000


def test_a_prompt_does_not_depend_on_where_the_case_lies(compiled: Compile, tmp_path: Path) -> None:
    from pytest_llmcompiler.program.case import read_case

    source = "int f(int x) { return x; }"
    (tmp_path / "case.c").write_text(source)
    moved = Reference(read_case(tmp_path / "case.c"), Toolchain())
    assert compiled(source).texts.ir("f") == moved.texts.ir("f")


def test_local_symbols_become_reachable() -> None:
    text = '@.str = private constant [2 x i8] c"a\\00"\n@n = internal global i32 0\ndefine internal ptr @f() {\n  ret ptr @.str\n}\n'
    external = externalise(text)
    assert re.search(r"^@\.str = (?!private)", external, re.M)
    assert "private" not in external
    assert "internal" not in external


@pytest.mark.parametrize(
    "text", ["not IR", "define i32 @f() {\n  ret i64 0\n}\n", "define void @f() {\n  br label %x\n}\n"]
)
def test_bad_ir_is_refused_with_llvms_message(text: str) -> None:
    with pytest.raises(IRError, match=r"error|expected|value"):
        parse(text)


@pytest.mark.parametrize("passes", ["O0", "O1", "O2", "O3", "Os", "Oz", "default<O2>", "module(default<Oz>)"])
def test_pass_lists(lfs: Reference, passes: str) -> None:
    assert "\nconsume_line:" in lfs.texts.assembly("consume_line", passes)


@pytest.mark.parametrize("passes", ["", "O9", "-O2", "O2 -o /tmp/x", "mem2reg"])
def test_unknown_pass_lists(passes: str) -> None:
    with pytest.raises(ClangError, match="unknown pass list"):
        Toolchain().emit_assembly("define void @f() {\n  ret void\n}\n", passes)


COLLECTED = """
import gc
from pytest_llmcompiler.program import ir
for _ in range(20):
    cycle = [ir.parse("define i32 @f(i32 %x) {\\n  ret i32 %x\\n}\\n")]
    cycle.append(cycle)
    del cycle
    gc.collect()
"""


def test_a_module_in_a_cycle_is_collected() -> None:
    """The collector may finalize the context before the module."""
    subprocess.run([sys.executable, "-c", COLLECTED], check=True)

"""Static variables have only the values that their file gives them: inputs keep to these, and all of these occur."""

from __future__ import annotations

from collections.abc import Set

import pytest
from faces import CaseOf, Compile, Judged
from whole_files import BUILDS, compile_whole

from pytest_llmcompiler import check
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.values.input import SymbolPointer

PLACES = """
static char line[64];
static char *place = line;
static int mode;

void begin(void) { mode = 5; }
int scaled(int x) { return mode ? x * 2 : x - 1; }
int first_letter(const char *text)
{
    *place = text[0];
    return line[0];
}
"""
STATES = """
enum color { RED, GREEN, BLUE };
static int twice(int x) { return 2 * x; }
static int thrice(int x) { return 3 * x + 1; }
static int (*op)(int) = twice;
static struct { enum color color; int count; const char *name; } pen = { GREEN, 3, "first" };
static const unsigned char after[4] = { 2, 0, 3, 1 };
static unsigned char used[8], phase;
static unsigned level, depth;
static double factor = 1.5;
static int flips;

void choose(int k) { op = k ? twice : thrice; }
void paint(int n) { pen.color = n > 3 ? BLUE : RED; pen.name = "second"; pen.count = n; }
static void set_depth(int to) { depth = to; }
void dive(void) { set_depth(40); }
void surface(void) { set_depth(0); }
void rise(unsigned x) { level = x % 1000; }
void mark(unsigned i) { used[i % 8] = 1; phase = after[phase & 3]; flips ^= 1; }
void boost(void) { factor = 2.5; }
int run(int x) { return op(x & 0xffff); }
int shade(void)
{
    switch (pen.color) {
    case RED: return 1;
    case GREEN: return 2;
    case BLUE: return pen.count;
    default: return -7;
    }
}
const char *title(void) { return pen.name; }
int deep(int x) { return level > 5000 ? x - 1 : depth > 100 ? 3 : (int)(depth + level); }
int count(void) { int n = flips; for (int i = 0; i < 8; i++) n += used[i]; return n + phase; }
double scale(double x) { return x * factor; }
"""


def values_of(harness: Harness, variable: str) -> Set[object]:
    """The values that a variable has in the inputs: numbers, and the symbols that pointers lead to."""
    values: set[object] = set()
    for input in harness.corpus.entries:
        for name, value in input.globals:
            targets = [target.symbol for _, target in value.links if isinstance(target, SymbolPointer)]
            if name == variable:
                values.add(targets[0] if targets else int.from_bytes(value.data, "little"))
    return values


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("source", [PLACES, STATES])
def test_any_compiler_s_code_for_a_whole_file_passes(
    source: str, build: tuple[str, str], judged: Judged, case_of: CaseOf, compiled: Compile
) -> None:
    text = compile_whole(case_of(source).path, *build)
    names = [name for name in compiled(source).functions if f"\n{name}:" in text]
    verdicts = {name: judged(source, name, text) for name in names}
    assert {name: str(verdict) for name, verdict in verdicts.items() if verdict.kind != "pass"} == {}


@pytest.mark.parametrize("level", ["O0", "O2"])
def test_code_for_one_function_passes(level: str, judged: Judged, compiled: Compile) -> None:
    for name in ("choose", "paint", "run", "shade", "title", "deep", "count", "scale"):
        assert judged(STATES, name, compiled(STATES).texts.assembly(name, level)).kind == "pass"


@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [
        ("run", "return op(x & 0xffff)", "return twice(x & 0xffff)"),
        ("shade", "case GREEN: return 2", "case GREEN: return 3"),
        ("shade", "case BLUE: return pen.count", "case BLUE: return 4"),
        ("title", "return pen.name", 'return "first"'),
        ("deep", "(int)(depth + level)", "(int)level"),
        ("deep", "(int)(depth + level)", "(int)(depth + level % 500)"),
        ("count", "i < 8; i++) n", "i < 7; i++) n"),
        ("count", "n + phase", "n + (phase & 1)"),
        ("scale", "x * factor", "x * 1.5"),
    ],
)
def test_code_that_is_wrong_on_a_possible_value_fails(
    function: str, right: str, wrong: str, judged: Judged, compiled: Compile
) -> None:
    text = compiled(STATES.replace(right, wrong)).texts.assembly(function, "O2")
    assert judged(STATES, function, text).kind == "mismatch"


def test_code_that_is_wrong_in_a_rare_mode_fails(judged: Judged, compiled: Compile) -> None:
    for wrong in ("mode ? x * 3 : x - 1", "mode ? x * 2 : x", "x - 1"):
        text = compiled(PLACES.replace("mode ? x * 2 : x - 1", wrong)).texts.assembly("scaled", "O2")
        assert judged(PLACES, "scaled", text).kind == "mismatch"


def test_all_possible_values_occur_and_no_others(compiled: Compile) -> None:
    settings = JudgeSettings(examples=20)
    assert values_of(Harness(compiled(PLACES), "scaled", settings), "mode") == {0, 5}
    assert values_of(Harness(compiled(STATES), "run", settings), "op") == {"twice", "thrice"}
    assert values_of(Harness(compiled(STATES), "deep", settings), "depth") == {0, 40}
    assert values_of(Harness(compiled(STATES), "count", settings), "phase") == {0, 1, 2, 3}
    assert values_of(Harness(compiled(STATES), "count", settings), "flips") == {0, 1}


def test_a_range_that_the_compiler_finds_out_drops_inputs(compiled: Compile) -> None:
    harness = Harness(compiled(STATES), "deep", JudgeSettings(examples=20))
    levels = {value for value in values_of(harness, "level") if isinstance(value, int)}
    assert max(levels) <= 5000
    assert harness.corpus.dropped["a value that no code stores"]


ESCAPING = """
static int mode, shared;
int *expose(void) { return &shared; }
void begin(void) { mode = 5; }
void from_outside(int x) { mode = x; shared = 1; }
int scaled(int x) { return (mode == 77 ? x * 2 : x - 1) + (shared == 1234); }
"""


@pytest.mark.parametrize(("right", "wrong"), [("mode == 77", "mode == 78"), ("(shared == 1234)", "0")])
def test_a_variable_that_may_have_any_value_is_varied(
    right: str, wrong: str, judged: Judged, compiled: Compile
) -> None:
    text = compiled(ESCAPING.replace(right, wrong)).texts.assembly("scaled", "O2")
    assert judged(ESCAPING, "scaled", text).kind == "mismatch"


def test_a_variable_with_an_alias_may_have_any_value(judged: Judged) -> None:
    source = """
        static int mode;
        extern int visible __attribute__((alias("mode")));
        int get(void) { return mode; }
    """
    assert judged(source, "get", "get:\n\txorl %eax, %eax\n\tret\n").kind == "mismatch"


WRITTEN = """
static char buffer[16];
static int last, total;
int echo(const char *text) { buffer[0] = text[0]; last = text[0]; total += 2; return buffer[0]; }
int sum(void) { return total; }
"""


def test_what_no_code_reads_is_not_compared(judged: Judged) -> None:
    text = "echo:\n\taddl $2, total(%rip)\n\tmovsbl (%rdi), %eax\n\tret\n"
    assert judged(WRITTEN, "echo", text).kind == "pass"
    assert judged(WRITTEN, "echo", text.replace("$2", "$3")).kind == "mismatch"


FITTED = """
#define APART __attribute__((noinline)) static
APART int power(int n, int base) { int r = 1; for (int i = 0; i < n; i++) r = (r * base) & 0xffff; return r; }
APART int mixed(int a, int b) { return (a & 255) * (b & 255) + 1; }
int cube(int x) { return power(3, x & 63); }
int cubes(int x, int y) { return power(3, x & 15) ^ mixed(x, y); }
"""


@pytest.mark.parametrize("build", [build for build in BUILDS if build[1] in ("-O0", "-O2")])
def test_a_local_function_may_be_fitted_to_its_calls(build: tuple[str, str], judged: Judged, case_of: CaseOf) -> None:
    text = compile_whole(case_of(FITTED).path, *build)
    for function in ("cube", "cubes", "mixed"):
        assert judged(FITTED, function, text).kind == "pass"
    if "\npower:" in text:  # clang -O2 drops the parameter that is always 3
        assert judged(FITTED, "power", text).kind in ("pass", "inconclusive")


def test_a_wrong_local_function_fails(judged: Judged, case_of: CaseOf, compiled: Compile) -> None:
    wrong = FITTED.replace("r * base", "r + base").replace("+ 1", "+ 2")
    alone = compiled(wrong).texts
    text = alone.assembly("power", "O2")
    assert judged(FITTED, "power", text).kind == "mismatch"
    text = f"{text}\n\t.text\nanything:\n\tjmp power\n"  # code that is none of the file tells nothing of its compiler
    assert judged(FITTED, "power", text.replace("\t.globl\tpower", "")).kind == "mismatch"
    if BUILDS:
        text = compile_whole(case_of(wrong).path, *BUILDS[-3])
        verdicts = {name: judged(FITTED, name, text).kind for name in ("cube", "cubes", "mixed")}
        assert set(verdicts.values()) == {"mismatch"}


@pytest.mark.skipif(("clang-19", "-O2") not in BUILDS, reason="clang-19 is not installed")
@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [
        ("begin", "movb\t$1, mode", "movb\t$0, mode"),
        ("begin", "movb\t$1, mode", "movb\t$5, mode"),
        ("scaled", "cmovnel", "cmovel"),
    ],
)
def test_a_variable_that_became_a_boolean(
    function: str, right: str, wrong: str, judged: Judged, case_of: CaseOf
) -> None:
    text = compile_whole(case_of(PLACES).path, "clang-19", "-O2")
    assert right in text
    assert judged(PLACES, function, text).kind == "pass"
    assert judged(PLACES, function, text.replace(right, wrong)).kind == "mismatch"


def test_texts_that_passes_over_the_whole_file_add() -> None:
    """With the whole file, `printf` of a line becomes `puts` of another text, which the program does not have."""
    source = r"""
    #include <stdio.h>
    static unsigned level;
    void set(unsigned x) { level = x % 1000; }
    int shown(void)
    {
        printf("a line of its own\n");
        return level > 5000;
    }
    """
    right = "shown:\n\tpushq %rax\n\tleaq .Lline(%rip), %rdi\n\tcall puts\n\txorl %eax, %eax\n\tpopq %rcx\n\tret\n"
    right += '.section .rodata\n.Lline: .asciz "a line of its own"\n'
    assert check(source, "shown", right, examples=10).kind == "pass"
    assert check(source, "shown", right.replace("line of", "lane of"), examples=10).kind == "mismatch"

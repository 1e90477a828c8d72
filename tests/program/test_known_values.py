"""What is found out of the values of static variables, and where nothing may be claimed."""

from __future__ import annotations

import pytest
from faces import Compile

KNOWN = """
static int mode; void begin(void) { mode = 5; } int get(void) { return mode; }
static unsigned step; void next(void) { step = (step + 1) & 3; } unsigned now(void) { return step; }
static int flag; void flip(void) { flag = !flag; } int is_set(void) { return flag; }
static int level; static void set(int to) { level = to; } void high(void) { set(9); } void low(void) { set(-1); }
int measured(void) { return level; }
static unsigned char quarter; void turn(void) { quarter += 64; } int angle(void) { return quarter; }
static int through; static void put(int *at) { *at = 3; } void use(void) { put(&through); } int seen(void) { return through; }
"""


@pytest.mark.parametrize(
    ("variable", "values"),
    [
        ("mode", {0, 5}),
        ("step", {0, 1, 2, 3}),
        ("flag", {0, 1}),
        ("level", {0, 9, 0xFFFFFFFF}),
        ("through", {0, 3}),
        ("quarter", {0, 64, 128, 192}),
    ],
)
def test_the_values_of_a_static_variable(variable: str, values: set[int], compiled: Compile) -> None:
    known = compiled(KNOWN).possible_values(variable)
    assert known is not None
    assert {int.from_bytes(value.data, "little") for value in known} == values


UNKNOWN = """
#include <string.h>
static int returned; int *expose(void) { return &returned; }
static int passed; void take(int *); void give(void) { take(&passed); }
static int aliased; extern int other __attribute__((alias("aliased"))); void by_alias(void) { other = 4; }
static volatile int device; void poke(void) { device = 3; }
static int counted; void count(void) { counted++; }
static unsigned drawn = 1; unsigned draw(void) { drawn = drawn * 1103515245 + 12345; return drawn ^= drawn << 13; }
static char copied[4]; void copy(const char *from, unsigned n) { memcpy(copied, from, n); }
static char walked[4]; void walk(char c) { for (char *p = walked; p < walked + 4; p++) *p = c; }
#pragma pack(1)
static struct { int a : 18, b : 1, c : 24, d : 15, e : 14; } packed;
void pack(int x) { packed.a = 5; packed.b = 0; packed.c = x; packed.d = 0; packed.e = 5; }
static float scaled; void scale(float by) { scaled = by; }
static const char *named; void name(const char *as) { named = as; }
int all(void)
{
    return returned + passed + aliased + device + counted + drawn + copied[1] + walked[2] + packed.c + (int)scaled + *named;
}
"""


@pytest.mark.parametrize(
    "variable",
    ["returned", "passed", "aliased", "device", "counted", "drawn", "copied", "walked", "packed", "scaled", "named"],
)
def test_a_variable_of_which_nothing_is_known(variable: str, compiled: Compile) -> None:
    assert compiled(UNKNOWN).possible_values(variable) is None


PARTS = """
struct pen { int color; short width; char kind; const char *name; };
static struct pen pen = { 1, 2, 'a', "old" };
static int grid[3][4];
void paint(int color) { pen.color = color; pen.kind = color ? 'b' : 'c'; }
void fill(int i, int j) { grid[i % 3][1] = 4; grid[0][j % 4] = 8; }
int all(int i) { return pen.color + pen.width + pen.kind + pen.name[0] + grid[i % 3][i % 4]; }
"""


def test_the_parts_of_a_variable_are_told_apart(compiled: Compile) -> None:
    known = compiled(PARTS).known_variables("all")
    pen = {cell.offset: [value.data for value in cell.values] for cell in known["pen"].cells}
    assert 0 not in pen
    assert pen[6] == [b"a", b"b", b"c"]
    assert known["pen"].initial.pointers[0][1].symbol.startswith(".str")
    assert {data for cell in known["grid"].cells for data in (value.data[:1] for value in cell.values)} == {
        b"\0",
        b"\4",
        b"\x08",
    }


def test_what_can_t_be_followed_gives_no_facts(compiled: Compile) -> None:
    source = "static int mode; void *at[1]; void begin(void) { mode = 5; next: at[0] = &&next; }"
    assert compiled(source).possible_values("mode") is None


GUARDED = """
static int light; int tick(int fault) { if (light == 4) light = fault ? 4 : 0; else if (light == 3) light = 0; else light = light + 1; if (fault) light = 4; return light; }
static unsigned up; unsigned raise(void) { if (up < 5) up++; return up; }
static int down; int lower(void) { if (down > -3) down--; return down; }
static int looped; int loop(int n) { while (n-- > 0) { if (looped != 2) looped++; } return looped; }
static int other, beside; int both(void) { if (beside <= 1) { other = 7; beside++; } return other + beside; }
"""


@pytest.mark.parametrize(
    ("variable", "values"),
    [
        ("light", {0, 1, 2, 3, 4}),
        ("up", {0, 1, 2, 3, 4, 5}),
        ("down", {0, 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD}),
        ("looped", {0, 1, 2}),
        ("beside", {0, 1, 2}),
    ],
)
def test_branches_bound_what_is_counted(variable: str, values: set[int], compiled: Compile) -> None:
    known = compiled(GUARDED).possible_values(variable)
    assert known is not None
    assert {int.from_bytes(value.data, "little") for value in known} == values


UNGUARDED = """
void stranger(void);
static int called; void set(void) { called = 900; } int by_call(void) { if (called < 3) { stranger(); called++; } return called; }
static int stored; int by_store(void) { if (stored < 3) { stored = 1000; stored++; } return stored; }
static int pointed, *at = &pointed; int by_pointer(int x) { if (pointed < 3) { *at = x; pointed++; } return pointed; }
static int joined; int by_join(int x) { if (joined < 3) x++; else x--; joined++; return x; }
static int either; int by_either(int x) { if (either < 3 || x) either++; return either; }
"""


def test_branches_behind_which_a_variable_may_change_bound_nothing(compiled: Compile) -> None:
    case = compiled(UNGUARDED)
    for variable in ("pointed", "joined", "either"):
        assert case.possible_values(variable) is None, variable
    for variable, value in (("called", 901), ("stored", 1001)):
        known = case.possible_values(variable)
        assert known is None or value in {int.from_bytes(one.data, "little") for one in known}, variable

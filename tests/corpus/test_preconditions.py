"""Functions with preconditions that nobody wrote down are judged on inputs that satisfy them."""

from __future__ import annotations

import pytest
from faces import Compile

from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.values.input import Alias

SOURCE = r"""
int crlf(const char *p) { int n = 0; while (!(p[0] == '\r' && p[1] == '\n')) { p++; n++; } return n; }
struct option { int id, flags; };
int flags_of(const struct option *o, int id) { for (; o->id != 9999; o++) if (o->id == id) return o->flags; return -1; }
int grid_sum(int **grid, int n) {
    unsigned s = 0;
    for (int i = 0; i < n; i++) for (int j = 0; j < n; j++) s += (unsigned)grid[i][j];
    return (int)s;
}
int commas_to(const char *p, const char *q) { int n = 0; while (p != q) { if (*p == ',') n++; p++; } return n; }
struct graph { int n; int *degree; int **near; };
int edges(const struct graph *g) {
    int s = 0;
    for (int i = 0; i < g->n; i++) for (int j = 0; j < g->degree[i]; j++) s += g->near[i][j] > i;
    return s;
}
long restrict_to(const int *restrict from, const int *restrict upto) { long s = 0; do s += *from++; while (from != upto); return s; }
int add(int a, int b) { return (int)((unsigned)a + (unsigned)b); }
int plain(const int *values, int count) { unsigned s = 0; for (int i = 0; i < count; i++) s += (unsigned)values[i]; return (int)s; }
"""

HANDLE = """
typedef struct { long magic; int n; unsigned char buffer[4096]; long end_magic; } handle;
int put(void *opaque, const unsigned char *bytes, int count) {
    handle *h = opaque;
    if (!h || h->magic != 0xabcdabcdL || h->end_magic != 0xdcbadcbaL) return -1;
    if (h->n < 0 || count < 0 || count > 4096 - h->n) return -2;
    for (int i = 0; i < count; i++) h->buffer[h->n++] = bytes[i];
    return h->n;
}
"""


def test_a_large_structure_behind_a_void_pointer_is_entered(compiled: Compile) -> None:
    """The numbers behind its long array are compared too."""
    program = compiled(HANDLE)
    verdict = Harness(program, "put", JudgeSettings(40)).judge(program.texts.assembly("put", "O2"), explain=False)
    assert verdict.passed
    assert verdict.detail["coverage"]["edges"] >= 16


# In each: a mistake that only inputs show which satisfy the precondition and are no trivial ones.
WRONG = {
    "crlf": (
        "int crlf(const char *p) { int n = 0; while (!(p[0] == '\\r' && p[1] == '\\n')) { p++; n++; } return n > 3 ? n + 1 : n; }"
    ),
    "flags_of": (
        "struct option { int id, flags; };"
        "int flags_of(const struct option *o, int id) {"
        " int k = 0; for (; o->id != 9999; o++, k++) if (o->id == id) return o->flags; return k > 1 ? -2 : -1; }"
    ),
    "grid_sum": (
        "int grid_sum(int **grid, int n) { unsigned s = 0;"
        " for (int i = 0; i < n; i++) for (int j = 0; j < n; j++) s += (unsigned)grid[i > 1 ? 1 : i][j]; return (int)s; }"
    ),
    "commas_to": (
        "int commas_to(const char *p, const char *q) {"
        " int n = 0; while (p != q) { if (*p == ',' && n < 2) n++; p++; } return n; }"
    ),
    "edges": (
        "struct graph { int n; int *degree; int **near; };"
        "int edges(const struct graph *g) { int s = 0; for (int i = 0; i < g->n; i++)"
        " for (int j = 0; j < g->degree[i]; j++) s += g->near[i][0] > i; return s; }"
    ),
}


@pytest.mark.parametrize("function", WRONG)
def test_few_inputs_are_dropped_and_wrong_code_fails(compiled: Compile, function: str) -> None:
    program = compiled(SOURCE)
    harness = Harness(program, function, JudgeSettings(examples=30))
    dropped = harness.corpus.dropped.total()
    assert dropped < 4 * len(harness.corpus.entries), harness.corpus.dropped
    assert harness.judge(program.texts.assembly(function, "O2")).passed
    wrong = compiled(WRONG[function]).texts.assembly(function, "O1")
    assert harness.judge(wrong).kind == "mismatch"


def test_what_ends_a_search_is_learned(compiled: Compile) -> None:
    """A text that ends with carriage return and line feed is drawn from then on."""
    harness = Harness(compiled(SOURCE), "crlf", JudgeSettings(examples=30))
    texts = [
        target.data for input in harness.corpus.entries for _, target in input.args[0].links if hasattr(target, "data")
    ]
    assert sum(text.endswith(b"\r\n") for text in texts) > len(texts) / 3
    lengths = {entry.expected.result for entry in harness.corpus.entries.values()}
    assert len(lengths) > 10


@pytest.mark.parametrize("function", ["add", "plain"])
def test_functions_without_preconditions_need_no_help(
    compiled: Compile, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_llmcompiler.corpus.mending import Mender

    monkeypatch.setattr(Mender, "mend", lambda *_: pytest.fail("an input was mended"))
    assert Harness(compiled(SOURCE), function, JudgeSettings(examples=30)).corpus.entries


def test_restrict_pointers_are_not_joined(compiled: Compile) -> None:
    harness = Harness(compiled(SOURCE), "restrict_to", JudgeSettings(examples=3))
    assert not any(isinstance(to, Alias) for input in harness.corpus.entries for _, to in input.args[1].links)


VARIABLE_LENGTH = """
void product(int n, double a[n][n], double b[n][n], double c[n][n]) {
    for (int i = 0; i < n; i++) for (int j = 0; j < n; j++) {
        double s = 0;
        for (int k = 0; k < n; k++) s += a[i][k] * b[k][j];
        c[i][j] = s;
    }
}
int total(int rows, int columns, const int m[rows][columns]) {
    unsigned s = 0;
    for (int i = 0; i < rows; i++) for (int j = 0; j < columns; j++) s += (unsigned)m[i][j];
    return (int)s;
}
"""


@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [("product", "b[k][j]", "b[j][k]"), ("total", "j < columns", "j <= columns - (i == 1)")],
)
def test_rows_whose_length_is_an_argument(compiled: Compile, function: str, right: str, wrong: str) -> None:
    reference, faulty = compiled(VARIABLE_LENGTH), compiled(VARIABLE_LENGTH.replace(right, wrong))
    harness = Harness(reference, function, JudgeSettings(20))
    assert harness.judge(reference.texts.assembly(function, "O2")).passed
    assert not harness.judge(faulty.texts.assembly(function, "O2")).passed

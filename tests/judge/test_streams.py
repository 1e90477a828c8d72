"""`FILE *` and other opaque pointers in inputs: the standard streams, what they deliver, and what is written to them."""

from __future__ import annotations

import pytest
from faces import Compile, Judged

from pytest_llmcompiler.judge.harness import Harness, JudgeSettings

SOURCE = r"""
#include <dirent.h>
#include <stdio.h>
struct hidden;
struct sink { int count; union { FILE *stream; long number; } to; struct hidden *owner; DIR *folder; };
FILE *report;
extern void emit(FILE *stream, int x);
extern FILE *opened(int x);
extern int ask(struct hidden *owner);

int put(FILE *stream, int c) { return fputc(c, stream); }
void show(struct sink *s, const char *text) { if (s->to.stream) fputs(text, s->to.stream); s->count++; }
int which(FILE *stream) { return stream == stdin ? 1 : stream == stdout ? 2 : stream == stderr ? 3 : 4; }
void keep(struct sink *s, FILE *stream) { s->to.stream = stream; }
void say(int x) { if (report) fprintf(report, "%d\n", x); }
FILE *choose(int x) { return x & 1 ? stderr : stdout; }
void twice(FILE *stream, int x) { emit(stream, x); emit(stderr, x + 1); }
void through(int x) { FILE *stream = opened(x); if (stream) putc('a' + (x & 7), stream); }
int number(FILE *stream) { int x; return fscanf(stream, "%d", &x) == 1 ? x : -1; }
int line(void) { int c; while ((c = getchar()) != EOF && c != '\n') ; return 0; }
int owned(struct sink *s) { return s->owner && s->count > 3 ? ask(s->owner) : s->count; }
"""
WRONG = {
    "put": (("fputc(c, stream)", "fputc(c, stdout)"), ""),
    "show": (("fputs(text, s->to.stream)", "fputs(text, stdout)"), "stdout"),
    "which": (("stream == stderr ? 3", "stream == stderr ? 4"), "expected 3, observed 4"),
    "keep": (("s->to.stream = stream", "s->to.stream = stdout"), "s->to"),
    "say": (('report, "%d', 'stderr, "%d'), "stdout"),
    "choose": (("x & 1 ? stderr : stdout", "x & 1 ? stdout : stderr"), "expected stdout, observed stderr"),
    "twice": (("emit(stream, x)", "emit(stdout, x)"), "expected emit("),
    "through": (("'a' + (x", "'b' + (x"), "std"),
    "number": (("== 1 ? x : -1", "== 1 ? x : 0"), "return value"),
    "line": (("c != '\\n'", "c != ' '"), "stdin"),
    "owned": (("s->count > 3", "s->count > 4"), ""),
}
"""For each function, a change of the source that makes it wrong, and words of the verdict."""


@pytest.mark.parametrize("function", WRONG)
def test_functions_with_streams_are_judged(compiled: Compile, function: str) -> None:
    (old, new), words = WRONG[function]
    reference = compiled(SOURCE)
    harness = Harness(reference, function, JudgeSettings(examples=40))
    for level in ("O0", "O2"):
        verdict = harness.judge(reference.texts.assembly(function, level))
        assert verdict.kind == "pass", str(verdict)
    assert old in SOURCE
    wrong = compiled(SOURCE.replace(old, new)).texts.assembly(function, "O1")
    verdict = harness.judge(wrong)
    assert verdict.kind == "mismatch", str(verdict)
    assert words in verdict.message


def test_streams_have_their_names_in_evidence(compiled: Compile) -> None:
    harness = Harness(compiled(SOURCE), "which", JudgeSettings(examples=40))
    wrong = compiled(SOURCE.replace("stderr ? 3", "stderr ? 5")).texts.assembly("which", "O1")
    verdict = harness.judge(wrong)
    assert verdict.counterexample and verdict.counterexample.input == ("stream = stderr",)


def test_the_text_of_standard_input_is_in_the_evidence(compiled: Compile) -> None:
    harness = Harness(compiled(SOURCE), "line", JudgeSettings(examples=40))
    verdict = harness.judge(compiled(SOURCE.replace("c != '\\n'", "1")).texts.assembly("line", "O1"))
    assert verdict.kind == "mismatch"
    assert 'standard input = "' in str(verdict)


@pytest.mark.parametrize("target", ["aarch64-linux"])
def test_streams_of_another_target(compiled: Compile, target: str) -> None:
    reference = compiled(SOURCE, target=target)
    harness = Harness(reference, "show", JudgeSettings(examples=20))
    assert harness.judge(reference.texts.assembly("show", "O2")).kind == "pass"
    wrong = compiled(SOURCE.replace(*WRONG["show"][0]), target=target).texts.assembly("show", "O2")
    assert harness.judge(wrong).kind == "mismatch"


def test_a_file_that_is_no_stream_has_no_values(judged: Judged) -> None:
    """Before C11, musl's header names a member of FILE: a program could have one of its own."""
    source = "// LLMC: cflags -std=gnu99\n#include <stdio.h>\nstruct own { int x; FILE file; };\nint f(struct own *o) { return o->x; }\n"
    verdict = judged(source, "f", "f:\n movl (%rdi), %eax\n ret\n")
    assert verdict.kind == "inconclusive"
    assert "FILE" in verdict.message

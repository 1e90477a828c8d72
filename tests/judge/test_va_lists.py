"""Functions that take a `va_list`."""

from __future__ import annotations

import re

import pytest
from faces import CaseOf, Compile, Judged
from whole_files import BUILDS, compile_whole

from pytest_llmcompiler import check
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings

ADDED = """
#include <stdarg.h>
int added(int n, va_list items)
{
    int sum = 0;
    for (int i = 0; i < n && i < 10; i++)
        sum += va_arg(items, int);
    return sum;
}
"""
OTHERS = """
#include <stdarg.h>
#include <string.h>
double both(int n, va_list *items)
{
    double sum = 0;
    for (int i = 0; i < n && i < 10; i++) {
        sum += va_arg(*items, double);
        sum += va_arg(*items, long);
    }
    return sum;
}
unsigned letters(va_list items)
{
    const char *first = va_arg(items, const char *), *second = va_arg(items, const char *);
    return first && second ? strlen(first) + strlen(second) : 99;
}
int again(va_list items)
{
    va_list copy;
    va_copy(copy, items);
    int first = va_arg(items, int), same = va_arg(copy, int);
    va_end(copy);
    return first + 2 * same + va_arg(items, int);
}
"""


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize(("source", "functions"), [(ADDED, ("added",)), (OTHERS, ("both", "letters", "again"))])
def test_any_compiler_s_code_for_a_va_list_passes(
    source: str, functions: tuple[str, ...], build: tuple[str, str], judged: Judged, case_of: CaseOf
) -> None:
    text = compile_whole(case_of(source).path, *build)
    assert [str(judged(source, name, text)) for name in functions if judged(source, name, text).kind != "pass"] == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("i < n && i < 10", "i < n - 1 && i < 10"),
        ("va_arg(items, int)", "*(items->gp_offset < 48 ? (items->gp_offset += 8, (int *)items->reg_save_area) : &n)"),
        ("va_arg(items, int)", "(items->gp_offset > 40 ? 0 : va_arg(items, int))"),
        ("sum += va_arg", "*(int *)items->overflow_arg_area = 7, sum += va_arg"),
    ],
    ids=["one less", "the first argument again", "nothing from the stack", "an argument is overwritten"],
)
def test_wrong_code_for_a_va_list_fails(right: str, wrong: str, judged: Judged, compiled: Compile) -> None:
    text = compiled(ADDED.replace(right, wrong)).texts.assembly("added", "O2")
    assert judged(ADDED, "added", text).kind == "mismatch"


NEXT = """
#include <stdarg.h>
int next(va_list *items) { return va_arg(*items, int); }
double next_double(va_list *items) { return va_arg(*items, double); }
"""


@pytest.mark.parametrize("target", ["x86_64-linux", "aarch64-linux", "x86_64-windows"])
def test_a_va_list_whose_address_is_passed_is_advanced(target: str, compiled: Compile) -> None:
    copied = re.sub(r"return va_arg\(\*items", "va_list copy; va_copy(copy, *items); return va_arg(copy", NEXT)
    right, wrong = (compiled(source, target=target) for source in (NEXT, copied))
    for function in ("next", "next_double"):
        for build, kind in ((right, "pass"), (wrong, "mismatch")):
            text = build.texts.assembly(function, "O2")
            assert check(NEXT, function, text, examples=20, target=target).kind == kind


def test_texts_are_among_the_arguments(judged: Judged, compiled: Compile) -> None:
    text = compiled(OTHERS.replace("strlen(first) +", "")).texts.assembly("letters", "O2")
    assert judged(OTHERS, "letters", text).kind == "mismatch"


def test_every_va_list_is_one_that_va_start_could_have_made(compiled: Compile) -> None:
    corpus = Harness(compiled(ADDED), "added", JudgeSettings(examples=40)).corpus
    structs = [input.args[1].links[0][1].data for input in corpus.entries]  # type: ignore[union-attr]
    general, vector = ({int.from_bytes(data[at : at + 4], "little") for data in structs} for at in (0, 4))
    assert general == set(range(0, 49, 8))
    assert vector <= set(range(48, 177, 16))


@pytest.mark.parametrize("target", ["aarch64-linux", "x86_64-windows"])
def test_a_va_list_of_another_target(target: str, compiled: Compile) -> None:
    text = compiled(ADDED, target=target).texts.assembly("added", "O2")
    assert check(ADDED, "added", text, examples=20, target=target).kind == "pass"
    less = compiled(ADDED.replace("i < 10", "i < 9"), target=target).texts.assembly("added", "O2")
    assert check(ADDED, "added", less, examples=20, target=target).kind == "mismatch"


BOOLEANS = """
#include <stdbool.h>
int all(const bool *flags, int n) { for (int i = 0; i < n; i++) if (!flags[i]) return 0; return n; }
"""


def test_a_bool_is_0_or_1(judged: Judged, compiled: Compile) -> None:
    same = compiled(BOOLEANS.replace("const bool", "const unsigned char").replace("!flags[i]", "flags[i] != 1"))
    assert judged(BOOLEANS, "all", same.texts.assembly("all", "O2")).kind == "pass"

"""What a link misses is told before it: the program is the same as where the linker tells it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from faces import CaseOf

from pytest_llmcompiler.program import build
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.image import ProgramImage
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets import get_target, list_target_names

# Each kind of symbol, in an order that is neither that of the names nor that of the declarations.
SOURCE = """
#include <stdio.h>
struct opaque; extern struct opaque thing; extern int zz, aa[], mm[10]; extern const char names[][8];
extern __thread int tls;
int f9(int), f1(void), f5(char *), b3(struct opaque *), q(double); extern void (*hook)(int);
extern int end, etext; extern char __bss_start[];
int (*table[])(int) = {f9, 0}; void *ptrs[] = {&zz, q, aa, &thing, (void *)b3};
static int (*const local[])(void) = {f1};
__attribute__((weak)) int weakling(void);
int use(int x) { if (weakling) x += weakling(); return f5("hi") + mm[x] + local[0]() + tls + names[x][1]; }
int other(char *s) {
    hook(3); printf("%s", s);
    return q(1.5) + f9(*s) + aa[2] + (int)(long)&end + (int)(long)&etext + (int)(long)__bss_start;
}
int last(void) { return b3(&thing) + zz; }
"""


def build_programs(case_of: CaseOf, target: str) -> list[ProgramImage]:
    reference = Reference(case_of(SOURCE), Toolchain(target=get_target(target)))
    return [replace(program) for program in (reference.golden, reference.probe)]


@pytest.mark.parametrize("target", list_target_names())
def test_programs_are_those_that_the_linker_asks_for(
    case_of: CaseOf, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    told = build_programs(case_of, target)
    assert len(told[0].stubs) == 5
    links: list[list[bytes]] = []
    original = build.link
    monkeypatch.setattr(
        build, "link", lambda objects, target: links.append(objects) or original(objects, target=target)
    )
    assert build_programs(case_of, target) == told
    assert len(links) == len(told)
    monkeypatch.setattr(build, "find_missing_symbols", lambda objects, target: None)
    assert build_programs(case_of, target) == told

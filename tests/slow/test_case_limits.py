"""Cases that make clang take whatever there is."""

from __future__ import annotations

import pytest
from faces import Compile

from pytest_llmcompiler import check
from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.program import tool_run


def test_macros_that_grow_without_end(monkeypatch: pytest.MonkeyPatch, compiled: Compile) -> None:
    """Each macro has the one before ten times. clang keeps all of it in memory before it compiles a line."""
    monkeypatch.setattr(tool_run, "_ADDRESS_BYTES", 1 << 30)
    macros = "\n".join(f"#define A{number + 1} {f'A{number} ' * 10}" for number in range(9))
    case = compiled(f"#define A0 x,\n{macros}\nint x;\nint f(int y) {{ return (A9 y); }}\n")
    with pytest.raises(CaseError, match="out of memory"):
        case.ir  # noqa: B018


def test_a_library_function_that_waits_for_other_threads_ends() -> None:
    """`pthread_once` spins on each value of its control that it does not know."""
    source = """#include <pthread.h>
static pthread_once_t once;
static int n;
static void set(void) { n = 42; }
int get(void) { pthread_once(&once, set); return n; }
"""
    text = "get:\n pushq %rax\n leaq once(%rip), %rdi\n leaq set(%rip), %rsi\n call pthread_once\n movl n(%rip), %eax\n popq %rcx\n ret\n"
    verdict = check(source, "get", text, examples=3)
    assert (verdict.kind, verdict.detail["dropped"]["runs too long"] > 0) == ("pass", True), verdict

"""Preparing a function is bounded: runs that never end, mains that loop, lengths that fit."""

from __future__ import annotations

import pytest

from pytest_llmcompiler import Verdict, check
from pytest_llmcompiler.corpus.budget import Budget, RunLimit
from pytest_llmcompiler.corpus.lengthening import LONG_BYTES, choose_length
from pytest_llmcompiler.corpus.probing import MAX_STEPS

ENDLESS = """
extern int out(int);
int spin(int x) { for (;;); }
int call_out(int x) { for (;;) out(x); }
int wait_for(int x) { while (x > 3); return x; }
"""


@pytest.mark.parametrize("function", ["spin", "call_out"])
def test_a_function_that_never_ends_is_inconclusive(function: str) -> None:
    verdict = check(ENDLESS, function, f"{function}:\n\tretq\n", examples=10)
    assert verdict.kind == "inconclusive"
    assert "runs too long" in verdict.message


def test_inputs_on_which_a_function_ends_are_found() -> None:
    assert check(ENDLESS, "wait_for", "wait_for:\n\tmovl %edi, %eax\n\tretq\n", examples=10).kind == "pass"
    assert check(ENDLESS, "wait_for", "wait_for:\n\txorl %eax, %eax\n\tretq\n", examples=10).kind == "mismatch"


def test_a_main_that_loops_for_ever_is_not_followed_for_ever() -> None:
    source = "int f(int x) { return x; } int g(int x) { return -x; } int main(void) { for (;;) f(1); }"
    assert check(source, "f", "f:\n\tmovl %edi, %eax\n\tretq\n", examples=10).kind == "pass"
    assert check(source, "g", "g:\n\tmovl %edi, %eax\n\tretq\n", examples=10).kind == "mismatch"


DUPLICATES = """
/* The square of the length in steps. */
int duplicates(const char *text, unsigned length)
{
    int count = 0;
    for (unsigned i = 0; i < length; i++)
        for (unsigned j = 0; j < i; j++)
            if (text[i] == text[j])
                count++;
    return count;
}
"""


def judge_duplicates(start: str) -> Verdict:
    assembly = f"""duplicates:
    xorl %eax, %eax
    xorl %ecx, %ecx
    {start}
.Louter:
    cmpl %esi, %ecx
    jae .Ldone
    xorl %edx, %edx
.Linner:
    cmpl %ecx, %edx
    jae .Lnext
    movb (%rdi,%rcx), %r8b
    cmpb (%rdi,%rdx), %r8b
    jne .Lother
    incl %eax
.Lother:
    incl %edx
    jmp .Linner
.Lnext:
    incl %ecx
    jmp .Louter
.Ldone:
    retq
"""
    return check(DUPLICATES, "duplicates", assembly, examples=10, explain=False)


def test_the_long_text_is_as_long_as_fits() -> None:
    verdict = judge_duplicates("")
    assert verdict.kind == "pass"
    done, planned = verdict.detail["cut"]["lengthening"]
    assert 300 < done < planned == LONG_BYTES
    assert judge_duplicates("cmpl $310, %esi\n    ja .Ldone").kind == "mismatch"  # no other text is that long


def test_the_length_is_estimated_from_two_runs() -> None:
    assert choose_length(lambda count: 3 * count, MAX_STEPS) == LONG_BYTES
    assert choose_length(lambda count: 7, MAX_STEPS) == LONG_BYTES
    square = choose_length(lambda count: count * count // 60, MAX_STEPS)
    assert 2_000 < square < 4_300
    assert choose_length(lambda count: count**2 if count < 500 else None, MAX_STEPS) in range(400, 500)
    assert choose_length(lambda count: 200_000 if count < 100 else None, MAX_STEPS) == 65
    assert choose_length(lambda count: None, MAX_STEPS) == LONG_BYTES


def test_the_limit_of_a_run_follows_the_runs_before_it() -> None:
    limit = RunLimit()
    assert limit.edges == MAX_STEPS
    limit.note_failure(limit.edges, 4_000_000, is_too_long=True)
    low = limit.edges
    assert low < MAX_STEPS
    for _ in range(30):
        limit.note_failure(low, low, is_too_long=True)
    assert MAX_STEPS < limit.edges < 1_000_000  # 13 steps for each edge: a run of 2.4 million edges would cost too much
    assert not limit.is_hopeless
    limit.note_entry(400_000)
    assert limit.edges > 400_000
    limit.note_failure(limit.edges, 40_000_000, is_too_long=True)
    assert not limit.is_hopeless  # there is an input that counts


def test_large_variables_limit_the_number_of_inputs() -> None:
    budget = Budget(100)
    budget.limit_memory(64 << 20)
    assert budget.allows("drawing", 3)
    assert not budget.allows("drawing", 4)


def test_phases_stop_at_their_shares() -> None:
    budget = Budget(100)
    budget.charge(budget.total // 2)
    assert not budget.allows("first drawing", 10)
    assert budget.allows("drawing", 10)
    assert budget.allows("first drawing", 0)  # a few inputs are worth more than the shares of later phases
    budget.charge(budget.total)
    assert not budget.allows("lengthening", 10)


def test_large_variables_are_inputs() -> None:
    source = """
int v[2000], huge[20000];
int first(void) { return v[0] + v[1999]; }
int get(void) { return huge[3]; }
void put(void) { huge[3] = 1; v[3] = 1; }
"""
    right = "first:\n\tmovl v(%rip), %eax\n\taddl v+7996(%rip), %eax\n\tretq\n"
    assert check(source, "first", right, examples=10).kind == "pass"
    assert check(source, "first", "first:\n\txorl %eax, %eax\n\tretq\n", examples=10).kind == "mismatch"
    source += (
        "static long double exact;\nvoid keep(double x) { exact = x; }\nint is_positive(void) { return exact > 0; }\n"
    )
    verdict = check(source, "is_positive", "is_positive:\n\txorl %eax, %eax\n\tretq\n", examples=10)
    assert verdict.detail["warning"].endswith("always has its initial value: exact")
    verdict = check(source, "get", "get:\n\tmovl huge+12(%rip), %eax\n\tretq\n", examples=10)
    assert verdict.detail["warning"].endswith("always has its initial value: huge[256…]")


def test_a_program_that_is_too_large_is_inconclusive() -> None:
    verdict = check("char g[1 << 30]; int f(int x) { return g[x & 255]; }", "f", "f:\n\tretq\n", examples=10)
    assert verdict.kind == "inconclusive"
    assert "1,024 MiB of variables" in verdict.message

"""What right answers cost: instructions that are executed, and bytes of code, beside clang's own."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from faces import Compile

from pytest_llmcompiler import Judge, Sample
from pytest_llmcompiler.emulator import engine_server, instruction_counter
from pytest_llmcompiler.judge.code_cost import CostCounts, CostFile, measure_once
from pytest_llmcompiler.judge.cost import LEVELS
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.judge.program_harness import ProgramHarness
from pytest_llmcompiler.program.clang import OptimisationLevel, Toolchain
from pytest_llmcompiler.targets.target import DEFAULT

needs_engine = pytest.mark.skipif(bool(engine_server.find_problem()), reason="the engine can't be built here")

ONE = "int one(void) { return 1; }"
COPY = """
#include <stddef.h>
void copy(unsigned char *restrict to, const unsigned char *restrict from)
{ for (size_t i = 0; i < 40; i++) to[i] = from[i]; }
"""
PROGRAM = """
// LLMC: program
#include <stdio.h>
static int twice(int x) { return (int)(2u * (unsigned)x); }
int main(void)
{
    int number;
    while (scanf("%d", &number) == 1)
        printf("%d\\n", twice(number));
    return 0;
}
"""
MIX = """
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
int calls;
int outside(int);
static int __attribute__((noinline)) twice(int x) { calls++; return (int)(2u * (unsigned)x); }
int sum(const int *p, unsigned char n) { unsigned s = 0; while (n--) s += (unsigned)*p++; return (int)s; }
char *doubled(const char *text)
{
    size_t length = strlen(text);
    char *copy = malloc(2 * length + 1);
    if (!copy) return NULL;
    memcpy(copy, text, length);
    strcpy(copy + length, text);
    return copy;
}
int through(int (*f)(int), int x) { return f(x) > 0 ? twice(x) : outside(x); }
unsigned fibonacci(unsigned n) { n &= 7; return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
int digits(const char *text) { int n = 0; for (; *text; text++) n += !!isdigit((unsigned char)*text); return n; }
"""
FUNCTIONS = ("sum", "doubled", "through", "fibonacci", "digits")


def harness(compiled: Compile, source: str, function: str, target: str = DEFAULT) -> Harness:
    return Harness(compiled(source, target=target), function, JudgeSettings(examples=20, target=target))


def cost(harness: Harness, assembly: str) -> dict[str, Any]:
    verdict = harness.judge(assembly)
    assert verdict.kind == "pass", verdict
    return dict(verdict.detail["cost"])


def clang(harness: Harness, level: OptimisationLevel) -> str:
    return harness.reference.texts.start_level(harness.function, level)()


def test_each_instruction_and_each_byte_counts(compiled: Compile) -> None:
    one = harness(compiled, ONE, "one")
    inputs = len(one.corpus.entries)
    for padding in range(3):
        found = cost(one, "one:\n" + padding * " nop\n" + " movl $1, %eax\n ret\n")
        assert (found["instructions"], found["bytes"]) == ((2 + padding) * inputs, 6 + padding)


def test_repetitions_of_string_instructions_count(compiled: Compile) -> None:
    copy = harness(compiled, COPY, "copy")
    inputs = len(copy.corpus.entries)
    assert cost(copy, "copy:\n movl $40, %ecx\n rep movsb\n ret\n")["instructions"] == inputs * (1 + 40 + 1 + 1)
    assert cost(copy, "copy:\n movl $5, %ecx\n rep movsq\n ret\n")["instructions"] == inputs * (1 + 5 + 1 + 1)


@needs_engine
@pytest.mark.parametrize(
    ("function", "target"),
    [*((function, DEFAULT) for function in FUNCTIONS), ("sum", "aarch64-linux"), ("doubled", "x86_64-windows")],
)
def test_the_engine_and_python_count_the_same(
    compiled: Compile, function: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_engine, native, slow = (harness(compiled, MIX, function, target) for _ in range(3))
    texts = [clang(with_engine, "O0"), clang(with_engine, "O2"), clang(with_engine, "Oz")]
    expected = [cost(with_engine, text) for text in texts]
    assert with_engine.engine.statistics.settled >= len(texts)
    native.engine.give_up()
    assert [cost(native, text) for text in texts] == expected
    monkeypatch.setattr(instruction_counter, "load_library", lambda: None)
    slow.engine.give_up()
    assert [cost(slow, text) for text in texts] == expected


def test_the_code_of_a_level_costs_what_the_level_costs(compiled: Compile) -> None:
    summing = harness(compiled, MIX, "sum")
    for level in LEVELS:
        found = cost(summing, clang(summing, level))
        assert {name: found[name] for name in ("instructions", "bytes")} == found["references"][level]
    references = found["references"]
    assert references["O0"]["instructions"] > references["O2"]["instructions"] >= references["O3"]["instructions"]
    assert references["Oz"]["bytes"] <= min(references[level]["bytes"] for level in ("O0", "O2", "O3"))


def test_the_levels_are_those_of_clang_and_not_of_the_prompt(compiled: Compile) -> None:
    """The IR of prompts keeps frame pointers, since it is clang's at -O0."""
    one = harness(compiled, ONE, "one")
    references = cost(one, one.reference.texts.assembly("one", "O2"))["references"]
    inputs = len(one.corpus.entries)
    assert references["O3"] == references["O2"] == {"instructions": 2 * inputs, "bytes": 6}
    assert references["Oz"] == {"instructions": 3 * inputs, "bytes": 4}  # pushq $1, popq %rax, retq


def test_ir_that_forbids_to_optimise_it_is_optimised_all_the_same(compiled: Compile) -> None:
    """clang writes `optnone` at -O0, and a file of IR may have it."""
    source = """
define i32 @twice(i32 %x) #0 {
  %place = alloca i32
  store i32 %x, ptr %place
  %value = load i32, ptr %place
  %sum = add i32 %value, %value
  ret i32 %sum
}
attributes #0 = { noinline nounwind optnone "frame-pointer"="all" }
"""
    twice = Harness(compiled(source, ".ll"), "twice", JudgeSettings(examples=10))
    found = cost(twice, "twice:\n leal (%rdi,%rdi), %eax\n ret\n")
    assert {name: found[name] for name in ("instructions", "bytes")} == found["references"]["O3"]
    assert found["references"]["O0"]["instructions"] > 2 * found["instructions"]
    assert found["references"]["Oz"]["bytes"] <= found["bytes"]


def test_clang_compiles_once_for_all_sessions(compiled: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "one:\n movl $1, %eax\n ret\n"
    first = cost(harness(compiled, ONE, "one"), text)

    def fail(*_: object) -> None:
        raise AssertionError("clang compiles once more")

    monkeypatch.setattr(Toolchain, "start_level", fail)
    assert cost(harness(compiled, ONE, "one"), text) == first


def test_a_level_that_does_not_pass_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMC_CACHE", str(tmp_path))
    measured: dict[str, CostCounts | None] = {"O0": CostCounts(7, 3), "O2": None, "O3": CostCounts(None, 2)}
    costs = [dict(measured), {**measured, "Oz": None}, {}]
    for _ in range(3):
        found = measure_once(CostFile(["one"]), lambda: costs.pop(0))
        assert found == {"O0": CostCounts(7, 3), "O3": CostCounts(None, 2)}
    assert costs == [{}], "a level that is missing, as the first time, may have been kept from being measured"


def test_neither_workers_nor_caches_change_a_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["one:\n movl $1, %eax\n ret\n", "one:\n xorl %eax, %eax\n incl %eax\n ret\n", "one:\n ret\n"]
    found = []
    for workers, folder in ((1, "first"), (3, "second"), (2, "first")):
        monkeypatch.setenv("LLMC_CACHE", str(tmp_path / folder))
        with Judge(workers, examples=10) as judge:
            verdicts = judge.check_many(Sample(ONE, "one", answer) for answer in 3 * answers)
            found.append([verdict.detail.get("cost") for verdict in verdicts])
    assert found[0] == found[1] == found[2]
    assert [cost is None for cost in found[0]] == 3 * [False, False, True]


def test_code_that_fails_has_no_cost(compiled: Compile) -> None:
    one = harness(compiled, ONE, "one")
    for text in ("one:\n movl $2, %eax\n ret\n", "one:\n ud2\n", "one:\n movq\n", "two:\n ret\n"):
        verdict = one.judge(text)
        assert verdict.kind != "pass" and "cost" not in verdict.detail


def test_code_that_fails_on_an_input_of_its_own_has_none(compiled: Compile) -> None:
    source = "int is_special(unsigned x) { return 0; }"
    text = "is_special:\n xorl %eax, %eax\n cmpl $0xc0ffee77, %edi\n sete %al\n ret\n"
    verdict = harness(compiled, source, "is_special").judge(text)
    assert verdict.kind == "mismatch" and "cost" not in verdict.detail


def test_an_ending_that_the_engine_leaves_is_counted(compiled: Compile) -> None:
    """Python runs what the engine can't."""
    source = "#include <stdlib.h>\nvoid end(int x) { if (x > 3) exit(x & 3); if (x < -3) abort(); }"
    end = harness(compiled, source, "end")
    assert cost(end, clang(end, "O2"))["instructions"] > len(end.corpus.entries)


@pytest.mark.parametrize("symbols", list(itertools.permutations(("helper", "f", "f.cold"))))
def test_other_functions_of_the_case_are_no_part_of_it(compiled: Compile, symbols: tuple[str, ...]) -> None:
    """An answer that is a whole file has them too. What a compiler splits off counts."""
    source = "int helper(int x) { return x & 15; }\nint f(int x) { return helper(x) ? 1 : 2; }"
    bodies = {
        "helper": " movl %edi, %eax\n andl $15, %eax\n ret\n",
        "f": " testb $15, %dil\n je f.cold\n movl $1, %eax\n ret\n",
        "f.cold": " movl $2, %eax\n ret\n",
    }
    text = "".join(f" .p2align 4\n{name}:\n{bodies[name]}" for name in symbols)
    found = cost(harness(compiled, source, "f"), text)["bytes"]
    assert found in (4 + 2 + 5 + 1 + 5 + 1, 4 + 6 + 5 + 1 + 5 + 1)  # with a short or a long jump


def test_a_whole_program_is_measured_from_its_start_to_its_end(compiled: Compile) -> None:
    program = ProgramHarness(compiled(PROGRAM), JudgeSettings(examples=10))
    text = program.reference.texts.start_level("main", "O0")()  # without padding inside of functions
    verdicts = [
        program.judge(re.sub(r"^main:.*$", "main:" + padding * "\n\tnop", text, flags=re.M)) for padding in (0, 16)
    ]
    plain, padded = (verdict.detail["cost"] for verdict in verdicts)
    assert padded["instructions"] - plain["instructions"] == 16 * verdicts[0].detail["inputs"]
    assert padded["bytes"] - plain["bytes"] == 16  # the next function is aligned to 16
    assert {name: plain[name] for name in ("instructions", "bytes")} == plain["references"]["O0"]
    assert plain["references"]["O2"]["instructions"] < plain["instructions"]
    wrong = program.judge(text.replace("retq", "ud2"))
    assert wrong.kind == "crash" and "cost" not in wrong.detail

"""Functions that read standard input: its text is a part of their inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from faces import Compile

from pytest_llmcompiler.corpus.probing import MAX_STEPS
from pytest_llmcompiler.judge import answer_texts
from pytest_llmcompiler.judge.answer_texts import TokenFinder
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.judge.oracle import SuiteEntry
from pytest_llmcompiler.targets.code import AssembledCode, CodeSegment
from pytest_llmcompiler.targets.processor import Processor
from pytest_llmcompiler.values.input import Input, find_standard_input, list_objects, set_standard_input

SOURCE = """
#include <stdio.h>
#include <string.h>
int sum_numbers(int *read)
{
    int count, number, sum = 0, n = 0;
    if (scanf("%d", &count) != 1)
        return -1;
    while (n < count && scanf("%d", &number) == 1) {
        sum = (int)((unsigned)sum + (unsigned)number);
        n++;
    }
    *read = n;
    return sum;
}
int longest_line(void)
{
    char line[200];
    int best = 0;
    while (fgets(line, sizeof line, stdin)) {
        int length = (int)strcspn(line, "\\n");
        if (length > best)
            best = length;
    }
    return best;
}
int count_vowels(FILE *in)
{
    int c, n = 0;
    while ((c = fgetc(in)) != EOF)
        n += c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u';
    return n;
}
int answer(int x) { return x + 42; }
"""
FAULTS = {
    "the seventh number": ("sum_numbers", "n < count &&", "n < count && n < 6 &&"),
    "nothing to read": ("sum_numbers", "!= 1)\n        return", "== 0)\n        return"),
    "a long line": ("longest_line", "length > best", "length > best && length < 12"),
    "one letter": ("count_vowels", "c == 'u'", "c == 'U'"),
}


@pytest.mark.parametrize("function", ["sum_numbers", "longest_line", "count_vowels"])
def test_right_code_passes_without_python(compiled: Compile, function: str) -> None:
    reference = compiled(SOURCE)
    harness = Harness(reference, function, JudgeSettings())
    verdict = harness.judge(reference.texts.assembly(function, "O2"))
    assert verdict.passed, str(verdict)
    assert harness.engine.statistics.settled == 1
    assert sum(find_standard_input(input) is not None for input in harness.corpus.entries) > 20


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_that_some_texts_show(compiled: Compile, fault: str) -> None:
    function, old, new = FAULTS[fault]
    assert old in SOURCE
    harness = Harness(compiled(SOURCE), function, JudgeSettings())
    verdict = harness.judge(compiled(SOURCE.replace(old, new)).texts.assembly(function, "O1"))
    assert verdict.kind in ("mismatch", "crash")
    shown = verdict.counterexample
    assert shown and "standard input = " in " ".join(shown.input)


def test_the_text_in_the_evidence_is_short(compiled: Compile) -> None:
    harness = Harness(compiled(SOURCE), "count_vowels", JudgeSettings())
    verdict = harness.judge(compiled(SOURCE.replace("c == 'u'", "c == 'U'")).texts.assembly("count_vowels", "O1"))
    shown = verdict.counterexample
    assert shown and shown.input in (
        ('in = stdin, standard input = "u" /* 1 bytes */',),
        ('in = stdin, standard input = "U" /* 1 bytes */',),
    )


def test_the_reproducer_has_the_text(compiled: Compile) -> None:
    harness = Harness(compiled(SOURCE), "longest_line", JudgeSettings(examples=40))
    wrong = compiled(SOURCE.replace("best = 0", "best = 1")).texts.assembly("longest_line", "O1")
    judged = harness.judge_with_reproducer(wrong)
    assert judged.verdict.kind == "mismatch"
    assert judged.reproducer
    text = bytes.fromhex(judged.reproducer["standard_input"])
    assert len(text.split(b"\n")[0]) == 0


def test_functions_that_read_nothing_have_no_text(compiled: Compile) -> None:
    harness = Harness(compiled(SOURCE), "answer", JudgeSettings(examples=20))
    assert all(find_standard_input(input) is None for input in harness.corpus.entries)


def test_a_stored_suite_has_the_texts(compiled: Compile, tmp_path: Path) -> None:
    settings = JudgeSettings(examples=30)
    first = Harness(compiled(SOURCE), "sum_numbers", settings)
    texts = [find_standard_input(input) for input in first.corpus.entries]
    again = Harness(compiled(SOURCE), "sum_numbers", settings)
    assert [find_standard_input(input) for input in again.corpus.entries] == texts


def test_another_text_keeps_all_else(compiled: Compile) -> None:
    harness = Harness(compiled(SOURCE), "sum_numbers", JudgeSettings(examples=20))
    input = next(input for input in harness.corpus.entries if list_objects(input))
    changed = set_standard_input(input, b"other")
    assert find_standard_input(changed) == b"other"
    assert dataclasses.replace(changed, globals=()) == dataclasses.replace(input, globals=())


ECHO = """
// LLMC: stdin "4242\\n"
#include <stdio.h>
int number(void) { int a; return scanf("%d", &a) == 1 ? a : -1; }
"""
ECHO_WRONG = """number:
        subq $24, %rsp
        leaq 12(%rsp), %rsi
        leaq .Lformat(%rip), %rdi
        xorl %eax, %eax
        call scanf@PLT
        movl %eax, %edx
        movl $-1, %eax
        cmpl $1, %edx
        jne 1f
        movl 12(%rsp), %eax
        cmpl ${}, %eax
        jne 1f
        xorl %eax, %eax
1:      addq $24, %rsp
        ret
        .section .rodata
.Lformat: .string "%d"
"""


def test_a_directive_gives_standard_input_to_functions_too(compiled: Compile) -> None:
    harness = Harness(compiled(ECHO), "number", JudgeSettings(examples=20, effort=0))
    assert harness.judge(ECHO_WRONG.format(4242), explain=False).kind == "mismatch"
    unlucky = Harness(compiled(ECHO.replace("4242", "1")), "number", JudgeSettings(examples=20, effort=0))
    assert unlucky.judge(ECHO_WRONG.format(4242), explain=False).passed


OWN_NUMBERS = {
    "sum_numbers": ("(unsigned)number);", "(unsigned)number); sum += number == 31337;"),
    "longest_line": ("if (length > best)", "if (line[0] == 126) best++; if (length > best)"),
}


@pytest.mark.parametrize("function", OWN_NUMBERS)
def test_the_answers_own_tokens_are_read(compiled: Compile, function: str) -> None:
    old, new = OWN_NUMBERS[function]
    reference = compiled(SOURCE)
    harness = Harness(reference, function, JudgeSettings(examples=20))
    text = compiled(SOURCE.replace(old, new)).texts.assembly(function, "O2")
    assert harness.with_effort(0).judge(text, explain=False).passed
    verdict = harness.judge(text, explain=False)
    assert verdict.kind == "mismatch" and "look" in str(verdict), str(verdict)
    assert harness.judge(reference.texts.assembly(function, "O1")).passed


class CountedAddress(int):
    """An address that counts how often it is compared."""

    comparisons = 0

    def __lt__(self, other: int) -> bool:
        CountedAddress.comparisons += 1
        return int(self) < int(other)

    def __gt__(self, other: int) -> bool:
        CountedAddress.comparisons += 1
        return int(self) > int(other)

    def __le__(self, other: int) -> bool:
        return not self > other

    def __ge__(self, other: int) -> bool:
        return not self < other


def test_of_a_large_answer_a_bounded_part_is_read_for_tokens(
    compiled: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = compiled(SOURCE).golden
    read: list[int] = []
    find_words, list_constants = answer_texts._find_words, answer_texts.list_constants

    def count_words(data: bytes) -> Iterator[bytes]:
        read.append(len(data))
        return find_words(data)

    def count_constants(data: bytes, address: int, processor: Processor) -> list[int]:
        read.append(len(data))
        return list_constants(data, address, processor)

    monkeypatch.setattr(answer_texts, "_find_words", count_words)
    monkeypatch.setattr(answer_texts, "list_constants", count_constants)
    finder = TokenFinder(golden, ["sum_numbers"])
    words = b"".join(b"word%d\0" % number for number in range(40_000))
    code = AssembledCode("llvm", (CodeSegment("d", 0x1000, words, False, False),), {}, {}, {}, frozenset(), None)
    assert finder.find(code).words == tuple(b"word%d" % number for number in range(24))
    assert sum(read) >= sum(len(segment.data) for segment in golden.segments)

    read.clear()  # what the reference has is not read again, and known or endless words are read up to a limit
    for data in (b"scanf\0", b"NaN"):
        large = dataclasses.replace(code.segments[0], data=(data + b"\0")[: len(data)] * (1 << 20))
        assert len(finder.find(dataclasses.replace(code, segments=(large, large))).words) <= 1
    assert sum(read) == 2 * 262_144

    read.clear()
    sections = [CodeSegment("t", at << 12, b"\x90" * 64, False, True) for at in range(1, 601)]
    labels = {f"l{one.address + at}": CountedAddress(one.address + at) for one in sections for at in range(20)}
    finder.find(dataclasses.replace(code, segments=tuple(sections), symbols=labels))
    assert 1_000 < len(read) <= 4_096 and sum(read) <= 65_536
    assert CountedAddress.comparisons < 20 * len(labels)


def test_texts_on_which_a_function_runs_long_hide_no_others(compiled: Compile) -> None:
    source = "#include <stdio.h>\n" + (
        'unsigned loop(void) { int n; unsigned s = 0; if (scanf("%d", &n) != 1) return 1;'
        " for (int i = 0; i < n; i++) s = s * 3u + (unsigned)i % 100u; return s; }"
    )
    long = "".join(f"if (n == {number}) s ^= {number}u; " for number in (2_000_000_011, 1_900_000_027))
    harness = Harness(compiled(source), "loop", JudgeSettings(examples=20))
    oracle, steps_of_all = harness._suite.oracle, 0
    preview = oracle.preview

    def count(input: Input, steps: int = MAX_STEPS) -> SuiteEntry:
        nonlocal steps_of_all
        steps_of_all += steps
        return preview(input, steps)

    oracle.preview = count  # type: ignore[method-assign]
    text = compiled(source.replace("return s;", f"{long} if (n == 277) s++; return s;")).texts.assembly("loop", "O2")
    assert harness.judge(text, explain=False).kind == "mismatch"
    assert 0 < steps_of_all <= 48 * 5_000

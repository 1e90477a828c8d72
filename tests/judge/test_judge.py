"""Verdicts of every kind, on correct code and on seeded and recorded faults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from faces import CaseOf, Judged

from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.judge.api import judge_answer
from pytest_llmcompiler.judge.client import JudgeClient
from pytest_llmcompiler.judge.harness import JudgeSettings
from pytest_llmcompiler.judge.verdict import KINDS, Verdict
from pytest_llmcompiler.model.answer import Answer
from pytest_llmcompiler.program.case import read_case

TESTS = Path(__file__).parents[1]

SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int add3(int x) { return (int)((unsigned)x + 3u); }
void fill(char *buf, size_t n) { for (size_t i = 0; i < n; i++) buf[i] = 'x'; }
int apply(int (*f)(int), int x) { return f(x) ^ f(x + 1); }
int total, other;
void count(int x) { total += x & 7; other = 1; }
int *box(int x) { int *p = malloc(sizeof *p); if (p) *p = x; return p; }
void greet(int x) { printf("<%d>\n", x & 1); }
int same(const char *a, const char *b, size_t n) { return memcmp(a, b, n) == 0; }
unsigned long long sum(const unsigned char *p, size_t n) { unsigned long long r = 0; while (n--) r += *p++; return r; }
int stop(int x) { if (x > 100) exit(2); if (x < -100) abort(); return x; }
int rare(int x) { return x == 123456789 ? 7 : 0; }
int helper(int x) { return x * 2 & 15; }
int caller(int x) { return helper(x) + 1; }
// LLMC: arg fill.buf non-null
// LLMC: arg same.a non-null
// LLMC: arg same.b non-null
"""

LOOP = "fill:\n testq %rsi, %rsi\n je 2f\n1: movb $120, -1(%rdi,%rsi)\n decq %rsi\n jne 1b\n2: ret\n"
APPLY = """apply:
 pushq %rbx
 pushq %rbp
 pushq %r12
 movq %rdi, %rbx
 movl %esi, %ebp
 movl %esi, %edi
 call *%rbx
 movl %eax, %r12d
 leal 1(%rbp), %edi
 call *%rbx
 xorl %r12d, %eax
 popq %r12
 popq %rbp
 popq %rbx
 ret
"""
COUNT = "count:\n andl $7, %edi\n addl %edi, total(%rip)\n movl $1, other(%rip)\n ret\n"
BOX = "box:\n pushq %rbx\n movl %edi, %ebx\n movl $4, %edi\n call malloc\n testq %rax, %rax\n je 1f\n movl %ebx, (%rax)\n1: popq %rbx\n ret\n"
GREET = """greet:
 andl $1, %edi
 movl %edi, %esi
 leaq .Lf(%rip), %rdi
 xorl %eax, %eax
 jmp printf
 .section .rodata
.Lf: .string "<%d>\\n"
"""
SAME = "same:\n pushq %rbx\n call memcmp\n testl %eax, %eax\n sete %al\n movzbl %al, %eax\n popq %rbx\n ret\n"
STOP = """stop:
 cmpl $100, %edi
 jg 1f
 cmpl $-100, %edi
 jl 2f
 movl %edi, %eax
 ret
1: pushq %rax
 movl $2, %edi
 call exit
2: pushq %rax
 call abort
"""


@pytest.mark.parametrize(
    ("function", "assembly"),
    [
        ("add3", "add3:\n leal 3(%rdi), %eax\n ret\n"),
        ("add3", ".intel_syntax noprefix\nadd3:\n lea eax, [rdi + 3]\n ret\n"),
        ("fill", LOOP),
        ("fill", "fill:\n movq %rsi, %rdx\n movl $'x', %esi\n jmp memset\n"),
        ("apply", APPLY),
        ("count", COUNT),
        ("box", BOX),
        ("greet", GREET),
        ("same", SAME),
        ("stop", STOP),
        ("rare", "rare:\n xorl %eax, %eax\n cmpl $123456789, %edi\n jne 1f\n movl $7, %eax\n1: ret\n"),
        ("caller", "caller:\n pushq %rax\n call helper\n incl %eax\n popq %rcx\n ret\n"),
    ],
)
def test_correct_code_passes(judged: Judged, function: str, assembly: str) -> None:
    verdict = judged(SOURCE, function, assembly)
    assert verdict.kind == "pass", str(verdict)
    assert verdict.detail["inputs"] >= 1
    assert (verdict.message, verdict.evidence) == ("", ())


@pytest.mark.parametrize(
    ("function", "assembly", "kind", "words"),
    [
        ("add3", "add3:\n leal 4(%rdi), %eax\n ret\n", "mismatch", ["return value: expected 3, observed 4", "x = 0"]),
        ("add3", "add3:\n leal 3(%rdi), %eax\n xorl %ebx, %ebx\n ret\n", "abi", ["%rbx is not restored"]),
        ("add3", "add3:\n leal 3(%rdi), %eax\n pushq %rax\n jmp *8(%rsp)\n", "abi", ["stack pointer returns"]),
        ("add3", "add3:\n jmp add3\n", "hang", ["still running after"]),
        ("add3", "add3:\n addl $3, %edi\n movslq %edi, %rax\n movl (%rax), %eax\n ret\n", "crash", ["bad read", "line 4"]),
        ("add3", "add3:\n xorl %ecx, %ecx\n idivl %ecx\n ret\n", "crash", ["division", "line 3: idivl %ecx"]),
        ("add3", "add3:\n ud2\n", "crash", ["illegal instruction", "line 2: ud2"]),
        ("add3", "add3:\n hlt\n", "crash", ["`hlt` in user code"]),
        ("add3", "add3:\n call nowhere\n ret\n", "link", ["nowhere"]),
        ("add3", "other_name:\n ret\n", "link", ["add3"]),
        ("add3", "add3:\n leal 3(%rdi), %eax\n bogus %eax\n ret\n", "assemble", ["bogus"]),
        ("add3", "add3:\n leal 3(%rdi), %eax\n vzeroupper\n ret\n", "inconclusive", ["vzeroupper"]),
        ("fill", LOOP.replace("-1(%rdi,%rsi)", "(%rdi,%rsi)"), "crash", ["bad write", "past its end", "buf", "movb"]),
        ("fill", LOOP.replace("-1(%rdi,%rsi)", "-2(%rdi,%rsi)"), "mismatch", ["buf"]),
        ("fill", LOOP.replace("$120", "$121"), "mismatch", ["buf[0]", '"x"']),
        ("fill", "fill:\n ret\n", "mismatch", ["buf[0]"]),
        ("apply", APPLY.replace(" call *%rbx\n xorl", " xorl"), "mismatch", ["return value"]),
        ("apply", APPLY.replace("leal 1(%rbp)", "leal 2(%rbp)"), "mismatch", ["external call 2", "callback 0("]),
        ("apply", APPLY.replace(" pushq %r12\n", "").replace(" popq %r12\n", ""), "abi", ["not aligned", "callback 0"]),
        ("count", COUNT.replace("addl", "subl"), "mismatch", ["global total"]),
        ("count", COUNT.replace(" movl $1, other(%rip)\n", ""), "mismatch", ["global other"]),
        ("box", BOX.replace(" movl %ebx, (%rax)\n", ""), "mismatch", ["result[0]: expected 0, observed 0x69965aa5"]),
        ("box", BOX.replace("$4", "$3"), "crash|mismatch", ["heap"]),
        ("box", BOX.replace("$4", "$32"), "mismatch", ["live heap objects (sizes)  [4]", "[32]"]),
        ("box", "box:\n xorl %eax, %eax\n ret\n", "mismatch", ["return value"]),
        ("greet", GREET.replace("<%d>", "<%x!"), "mismatch", ["stdout", "<0>"]),
        ("greet", "greet:\n ret\n", "mismatch", ["stdout"]),
        ("same", SAME.replace(" call", " xorl %edi, %edi\n call"), "crash", ["bad read", "memcmp, called from line 4: call memcmp"]),
        ("same", SAME.replace("sete", "setne"), "mismatch", ["return value: expected 1, observed 0"]),
        ("stop", STOP.replace("$2", "$3"), "mismatch", ["exit(2)", "exit(3)"]),
        ("stop", STOP.replace("call abort", "call exit"), "mismatch", ["abort()"]),
        ("stop", "stop:\n movl %edi, %eax\n ret\n", "mismatch", ["ends with"]),
        ("rare", "rare:\n xorl %eax, %eax\n ret\n", "mismatch", ["return value: expected 7, observed 0", "x = 0x75bcd15"]),
    ],
)  # fmt: skip
def test_seeded_faults(judged: Judged, function: str, assembly: str, kind: str, words: list[str]) -> None:
    verdict = judged(SOURCE, function, assembly)
    assert verdict.kind in kind.split("|"), str(verdict)
    for word in words:
        assert word in str(verdict), f"{word!r} is not in:\n{verdict}"
    if kind in ("mismatch", "crash", "hang", "abi"):
        assert any(line.startswith("  input ") for line in verdict.evidence)


def test_a_write_before_a_buffer(judged: Judged) -> None:
    verdict = judged(SOURCE, "fill", LOOP.replace("fill:\n", "fill:\n movb $1, -1(%rdi)\n"))
    assert verdict.kind == "mismatch"
    assert "1 bytes before buf" in verdict.message
    assert "untouched" in verdict.message


def test_the_smallest_input_is_shown(judged: Judged) -> None:
    wrong = (
        "sum:\n xorl %eax, %eax\n1: decq %rsi\n js 2f\n movsbq (%rdi,%rsi), %rcx\n addq %rcx, %rax\n jmp 1b\n2: ret\n"
    )
    verdict = judged(SOURCE, "sum", wrong)
    assert verdict.kind == "mismatch"
    assert 'p = "\\x80" /* 1 bytes */, n = 1' in verdict.evidence[0], str(verdict)
    assert judged(
        SOURCE, "sum", wrong.replace("movsbq", "movzbl").replace("(%rdi,%rsi), %rcx", "(%rdi,%rsi), %ecx")
    ).passed


@pytest.mark.parametrize("function", ["fill", "apply"])
def test_later_failures_are_explained_as_the_first_one(judged: Judged, function: str) -> None:
    """What an explanation needs is prepared at the first failure of a function; later ones take another way."""
    wrong = {
        "fill": LOOP.replace("-1(%rdi,%rsi)", "(%rdi,%rsi)"),
        "apply": APPLY.replace("leal 1(%rbp)", "leal 2(%rbp)"),
    }[function]
    first, *later = (judged(SOURCE, function, wrong + f"# {number}\n") for number in range(3))
    assert first.kind in ("mismatch", "crash")
    assert later == [first, first]


def test_helpers_of_the_answer_do_not_replace_the_program_s(judged: Judged) -> None:
    """A global function of the answer is the program's; a local one is the answer's own, and judged with it."""
    own = "helper:\n movl $5, %eax\n ret\ncaller:\n pushq %rax\n call helper\n incl %eax\n popq %rcx\n ret\n"
    assert judged(SOURCE, "caller", ".globl helper\n" + own).kind == "pass"
    assert judged(SOURCE, "caller", own).kind == "mismatch"


def test_verdicts_do_not_depend_on_the_judge_process(case_of: CaseOf, judged: Judged) -> None:
    samples = [
        ("fill", LOOP.replace("-1(%rdi,%rsi)", "(%rdi,%rsi)")),
        ("apply", APPLY.replace("leal 1(%rbp)", "leal 2(%rbp)")),
        ("add3", "add3:\n jmp add3\n"),
        ("fill", LOOP),
    ]
    verdicts: list[list[Verdict]] = []
    for _ in range(2):
        judge = JudgeClient(JudgeSettings(examples=40))
        try:
            verdicts.append([judge.judge(case_of(SOURCE), *sample) for sample in samples])
        finally:
            judge.close()
    assert verdicts[0] == verdicts[1]
    assert verdicts[0] == [judged(SOURCE, *sample) for sample in samples]
    assert [str(verdict) for verdict in verdicts[0]] == [str(verdict) for verdict in verdicts[1]]


def test_the_order_of_samples_does_not_matter(judged: Judged) -> None:
    wrong = LOOP.replace("$120", "$121")
    first = judged(SOURCE, "fill", wrong)
    for assembly in (LOOP, "fill:\n hlt\n", "fill:\n jmp fill\n", "fill:\n pushq %rax\n jmp fill\n"):
        judged(SOURCE, "fill", assembly)
        assert judged(SOURCE, "fill", wrong) == first


FAULTS = [json.loads(line) for line in (TESTS / "faults" / "git_lfs.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "record", FAULTS, ids=lambda record: f"{record['function']}-{record['sample']}-{record['expect']}"
)
def test_recorded_faults(judge: JudgeClient, record: dict[str, str]) -> None:
    case = read_case(TESTS.parent / "cases" / "git_lfs.c")
    answer = Answer(record["answer"], stop=record["stop"])  # type: ignore[arg-type]
    verdict = judge_answer(judge, case, record["function"], answer)
    assert verdict.kind == record["expect"], f"{record['fault']}\n{verdict}"
    if not verdict.passed:
        assert verdict.message


def test_verdicts_survive_json() -> None:
    for kind in KINDS:
        verdict = Verdict(kind, "message", ("a", "b"), {"line": 3})
        assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict
        assert verdict.passed == (kind == "pass")
        assert verdict.conclusive == (kind != "inconclusive")
    with pytest.raises(ValueError, match="unknown verdict 'great'"):
        Verdict.from_json({"verdict": "great", "detail": {"message": "", "evidence": []}})


def test_errors_of_cases(judge: JudgeClient, case_of: CaseOf) -> None:
    with pytest.raises(CaseError, match=r"no function 'nowhere' is defined here; there are: .*add3"):
        judge.judge(case_of(SOURCE), "nowhere", "nowhere: ret")
    with pytest.raises(CaseError, match="undeclared identifier 'y'"):
        judge.judge(case_of("int f(void) { return y; }\n"), "f", "f: ret")
    with pytest.raises(CaseError, match=r"case\.c:2: f has no parameter 'm'"):
        judge.judge(case_of("int f(int n) { return n; }\n// LLMC: arg f.m range 1..2\n"), "f", "f: ret")
    assert judge.judge(case_of(SOURCE), "add3", "add3:\n leal 3(%rdi), %eax\n ret\n").passed


def test_a_function_that_is_defined_on_no_input_is_inconclusive(judged: Judged) -> None:
    verdict = judged("int f(int x) { return x / 0; }\n", "f", "f:\n ret\n")
    assert verdict.kind == "inconclusive"
    assert "no input found on which f is defined" in verdict.message
    assert "undefined behaviour" in verdict.message


def test_unsupported_types_are_inconclusive(judged: Judged) -> None:
    for source in ("long double f(long double x) { return x; }\n", "long double f(double x) { return x; }\n"):
        verdict = judged(source, "f", "f:\n fldt 8(%rsp)\n ret\n")
        assert verdict.kind == "inconclusive"
        assert "long double" in verdict.message


def test_main_can_be_judged(judged: Judged) -> None:
    source = "int main(void) { return 3; }\n"
    assert judged(source, "main", "main:\n movl $3, %eax\n ret\n").passed
    assert judged(source, "main", "main:\n movl $4, %eax\n ret\n").kind == "mismatch"


def test_variadic_arguments_of_external_calls_are_compared(judged: Judged) -> None:
    source = "int tell(int, ...);\nint f(int x) { return tell(x, 5); }\n"
    right = "f:\n movl $5, %esi\n xorl %eax, %eax\n jmp tell\n"
    assert judged(source, "f", right).passed
    assert judged(source, "f", right.replace("$5", "$6")).kind == "mismatch"


def test_endless_external_calls_are_a_hang(judged: Judged) -> None:
    source = "void tell(void);\nvoid f(void) { tell(); }\n"
    verdict = judged(source, "f", "f:\n pushq %rbx\n1: call tell\n jmp 1b\n")
    assert verdict.kind == "hang"
    assert "after 1000 external calls; the reference makes 1" in str(verdict)


def test_control_characters_of_a_model_are_escaped() -> None:
    verdict = Verdict("no-answer", "it begins '\x1b[2J\x07é\u202e'", ("  at        line 1: \x1b]0;x\x07\ttext",))
    assert verdict.message == r"it begins '\x1b[2J\x07é\u202e'"
    assert str(verdict).splitlines()[1] == "  at        line 1: " + r"\x1b]0;x\x07" + "\ttext"


PLUS_ONE = "int f(int x) { return x + 1; }\n"


@pytest.mark.parametrize(
    ("assembly", "kind"),
    [
        (" leal 1(%rdi), %eax\n" + " nop\n" * 4092 + " ret\n", "pass"),
        (" leal 1(%rdi), %eax\n jmp .La\n" + " rep\n" * 20 + " nop\n.La: ret\n", "pass"),
        (" rdtsc\n andl $1, %eax\n leal 1(%rdi,%rax), %eax\n ret\n", "inconclusive"),
        (" testl %edi, %edi\n jne 1f\n vpxor %xmm0, %xmm0, %xmm0\n1: xorl %eax, %eax\n ret\n", "mismatch"),
    ],
    ids=["code that fills its pages", "prefixes without end", "clock", "an unsupported instruction excuses no failure"],
)
def test_unusual_code(judged: Judged, assembly: str, kind: str) -> None:
    assert judged(PLUS_ONE, "f", f"f:\n{assembly}").kind == kind


def test_a_loop_counter_of_one_byte_is_a_mismatch(judged: Judged) -> None:
    source = """unsigned sum(const unsigned char *p, unsigned n)
    {
        unsigned s = 0;
        for (unsigned i = 0; i < n; i++) s += p[i];
        return s;
    }
    """
    loop = "1: cmpl %esi, %ecx\n je 2f\n movzbl (%rdi,%rcx), %edx\n addl %edx, %eax\n"
    start = "sum:\n xorl %eax, %eax\n xorl %ecx, %ecx\n" + loop
    assert judged(source, "sum", start + " incl %ecx\n jmp 1b\n2: ret\n").kind == "pass"
    assert judged(source, "sum", start + " incb %cl\n cmpb %sil, %cl\n jne 1b\n2: ret\n").kind == "mismatch"

"""The engine's second look: inputs that it makes for one candidate show where the candidate is wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from engine_runner import EngineRunner
from faces import Compile

from pytest_llmcompiler.corpus.input_numbers import InputNumbers
from pytest_llmcompiler.emulator.engine_candidate import write_candidate
from pytest_llmcompiler.emulator.engine_look import Lead, LookRequest
from pytest_llmcompiler.emulator.engine_server import EngineResult, EngineTemplate, open_template

SOURCE = """
#include <stdio.h>
#include <stdlib.h>
int sum(int a, int b) { return (int)((unsigned)a + (unsigned)b); }
int starts(const char *text) { return text[0] == 'a'; }
static short mode;
int scaled(const int *p) { return (int)(3u * (unsigned)*p + (unsigned)mode); }
void begin(short to) { mode = to; }
void show(int n) { putchar('a' + (n & 3)); }
int *keep(int n) { int *p = malloc(sizeof *p); if (p) *p = n; return p; }
int total(const int *p, int n) { unsigned sum = 0; for (int i = 0; i < n; i++) sum += p[i]; return (int)sum; }
void fill(char *p, int n) { for (int i = 0; i < n; i++) p[i] = 7; }
"""
FUNCTIONS = ("sum", "starts", "scaled", "show", "keep", "total", "fill")
SUM = """sum: leal (%rdi,%rsi), %eax
        {}
        jne 1f
        incl %eax
1:      ret
"""


class Looker:
    """The engine's looks at candidates for one function."""

    def __init__(self, runner: EngineRunner) -> None:
        self._runner = runner
        self._template: EngineTemplate = open_template(runner.image, has_twin=True)

    def look(self, text: str, request: LookRequest) -> EngineResult:
        under_test = self._runner.under_test
        candidate = under_test.assemble_candidate(text, "llvm")
        image = write_candidate(under_test.reference.golden, candidate, under_test.function)
        assert image is not None
        result = self._template.run(image, request)
        assert result is not None and not result.left and not result.is_program_left, "the suite shows a difference"
        return result

    def values(self, lead: Lead) -> list[int]:
        """The integers of the input of a lead, as unsigned numbers."""
        numbers = [number.value for number in InputNumbers(list(self._runner.suite.corpus.entries)[lead.entry])]
        for index, value in lead.numbers:
            numbers[index] = value
        return numbers

    def close(self) -> None:
        self._template.close()


@pytest.fixture(scope="module")
def lookers(compiled: Compile) -> Iterator[dict[str, Looker]]:
    reference = compiled(SOURCE)
    lookers = {name: Looker(EngineRunner(reference, name, 10)) for name in FUNCTIONS}
    yield lookers
    for looker in lookers.values():
        looker.close()


def test_a_number_that_the_candidate_compares_an_integer_with(lookers: dict[str, Looker]) -> None:
    sum = lookers["sum"]
    for compare, is_shown in (
        ("cmpl $77123, %edi", lambda a, b: a == 77123),
        ("leal -7(%rsi), %ecx\n cmpl $-99999, %ecx", lambda a, b: b == 2**32 - 99992),
        ("movl %edi, %ecx\n shll $2, %ecx\n cmpl $0x30000, %ecx", lambda a, b: a % 2**30 == 0xC000),
        ("movl $0x1234567, %ecx\n cmpl %ecx, %esi", lambda a, b: b == 0x1234567),
        ("cmpw $0x7654, %di", lambda a, b: a % 2**16 == 0x7654),
        ("movslq %edi, %rcx\n cmpq $-123456, %rcx", lambda a, b: a == 2**32 - 123456),
        ("cmpl $76543, %eax", lambda a, b: (a + b) % 2**32 == 76543),
    ):
        leads = [lead for seed in range(3) for lead in sum.look(SUM.format(compare), LookRequest(seed, 1)).leads]
        assert leads and all(is_shown(*sum.values(lead)) for lead in leads), compare


def test_comparisons_behind_comparisons(lookers: dict[str, Looker]) -> None:
    nested = "cmpl $77123, %edi\n jne 1f\n cmpl $88234, %esi\n jne 1f\n cmpl $165357, %eax"
    leads = lookers["sum"].look(SUM.format(nested), LookRequest(1, 1)).leads
    assert leads and {tuple(lookers["sum"].values(lead)) for lead in leads} == {(77123, 88234)}
    texts = "".join(f"cmpb ${ord(letter)}, {at}(%rdi)\n jne 1f\n" for at, letter in enumerate("ab"))
    text = f"starts: xorl %eax, %eax\n cmpb $97, (%rdi)\n sete %al\n {texts} xorl %eax, %eax\n1: ret\n"
    starts = lookers["starts"]
    leads = starts.look(text, LookRequest(1, 4)).leads
    assert any(bytes(starts.values(lead)).startswith(b"ab") for lead in leads)


def test_integers_in_objects_and_variables(lookers: dict[str, Looker]) -> None:
    text = """scaled: movl (%rdi), %ecx
        leal (%rcx,%rcx,2), %eax
        movswl mode(%rip), %edx
        addl %edx, %eax
        cmpl ${}, %{}
        jne 1f
        decl %eax
1:      ret
    """
    scaled = lookers["scaled"]
    leads = scaled.look(text.format(-7777, "ecx"), LookRequest(1, 1)).leads
    assert leads and all(2**32 - 7777 in scaled.values(lead) for lead in leads)
    leads = scaled.look(text.format(-7777, "edx"), LookRequest(1, 1)).leads
    assert leads and all(2**16 - 7777 in scaled.values(lead) for lead in leads)


def test_output_and_objects_on_the_heap(lookers: dict[str, Looker]) -> None:
    show = """show: movl %edi, %eax
        andl $3, %edi
        addl $97, %edi
        cmpl $77123, %eax
        jne putchar
        incl %edi
        jmp putchar
    """
    keep = """keep: pushq %rbx
        movl %edi, %ebx
        movl $4, %edi
        call malloc
        testq %rax, %rax
        je 2f
        cmpl $77123, %ebx
        jne 1f
        incl %ebx
1:      movl %ebx, (%rax)
2:      popq %rbx
        ret
    """
    for name, text in (("show", show), ("keep", keep)):
        leads = lookers[name].look(text, LookRequest(1, 1)).leads
        assert leads and all(lookers[name].values(lead) == [77123] for lead in leads)
        assert not lookers[name].look(text.replace("incl", "testl $1,"), LookRequest(1, 1)).leads


def test_lengths_beyond_a_buffer_are_no_leads(lookers: dict[str, Looker]) -> None:
    total = """total: xorl %eax, %eax
        testl %esi, %esi
        jle 2f
1:      addl (%rdi), %eax
        addq $4, %rdi
        decl %esi
        jne 1b
2:      ret
    """
    fill = """fill: testl %esi, %esi
        jle 2f
1:      decl %esi
        movb $7, (%rdi,%rsi)
        jne 1b
2:      ret
    """
    for seed in range(4):
        assert not lookers["total"].look(total, LookRequest(seed, 1)).leads
        assert not lookers["fill"].look(fill, LookRequest(seed, 1)).leads


def test_constants_that_no_comparison_shows(lookers: dict[str, Looker]) -> None:
    text = SUM.format("movl %edi, %ecx\n xorl $77123, %ecx")
    assert not lookers["sum"].look(text, LookRequest(1, 1)).leads
    leads = lookers["sum"].look(text, LookRequest(1, 1, (77123, 77122, 77124))).leads
    assert leads and all(77123 in lookers["sum"].values(lead) for lead in leads)


def test_the_seed_decides_what_is_tried(lookers: dict[str, Looker]) -> None:
    text = SUM.format("cmpw $0x7654, %di")
    looks = [lookers["sum"].look(text, LookRequest(seed, 1)) for seed in (1, 1, 2, 3, 4)]
    assert looks[0] == looks[1]
    assert len({look.leads for look in looks}) > 2


def test_inputs_that_are_tried_first(lookers: dict[str, Looker]) -> None:
    text = SUM.format("movl %edi, %ecx\n xorl $77123, %ecx")
    known = Lead(0, ((0, 77123),))
    odd = (Lead(4_000_000, ((0, 1),)), Lead(0, ((77, 1),)), Lead(0, ()), Lead(0, ((0, 1 << 63),)))
    result = lookers["sum"].look(text, LookRequest(1, 0.01, (), (*odd, known)))
    assert result.leads == (known,)


def test_right_code_gives_no_lead_on_which_the_function_is_defined(lookers: dict[str, Looker]) -> None:
    right = SUM.format("cmpl $77123, %edi").replace("incl %eax", "nop")
    for seed in range(3):
        result = lookers["sum"].look(right, LookRequest(seed, 1))
        assert result.look_inputs > 100 and not result.leads
    text = "starts: xorl %eax, %eax\n cmpb $97, (%rdi)\n sete %al\n ret\n"
    assert not lookers["starts"].look(text, LookRequest(1, 1)).leads

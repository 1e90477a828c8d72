"""The engine: it takes only those runs for the same that the Python machine takes for the same."""

from __future__ import annotations

import pytest
from engine_runner import RIGHT, EngineRunner
from faces import Compile

from pytest_llmcompiler.emulator.engine import Engine
from pytest_llmcompiler.errors import EngineError
from pytest_llmcompiler.values.layout import ALIGNED_SLOTS, SLOTS, Slot

SOURCE = (
    "int total(const int *p, unsigned char n) { int sum = 0; for (int i = 0; i < n; i++) sum += p[i]; return sum; }"
)


@pytest.fixture(scope="module")
def runner(compiled: Compile) -> EngineRunner:
    return EngineRunner(compiled(SOURCE), "total")


def test_runs_that_show_the_same(runner: EngineRunner) -> None:
    assert set(runner.run()) == {"not left"}
    assert set(runner.run(RIGHT)) == {"not left"}


def test_runs_that_show_anything_else_are_left(runner: EngineRunner) -> None:
    assert "result" in runner.run(RIGHT.replace("addl", "subl"))
    assert set(runner.run(RIGHT.replace("ret", "incl %ebx\n ret"))) == {"register"}
    assert set(runner.run(RIGHT.replace("ret", "ud2"))) == {"fault"}
    assert set(runner.run("total: jmp total")) == {"limit"}


@pytest.mark.parametrize("slot", [SLOTS[-1], SLOTS[1], ALIGNED_SLOTS[2]])
def test_memory_that_no_input_uses(runner: EngineRunner, slot: Slot) -> None:
    reading = RIGHT.replace("ret", f"movabsq ${slot.address + 8:#x}, %rcx\n movl (%rcx), %edx\n ret")
    assert set(runner.run(reading)) == {"not left"}
    assert set(runner.run(reading.replace("movl (%rcx), %edx", "movl $7, (%rcx)"))) == {"object"}
    assert set(runner.run(reading.replace("%edx", "%eax"))) == {"result"}
    past = reading.replace(f"{slot.address + 8:#x}", f"{slot.address + slot.size:#x}")
    assert set(runner.run(past)) == {"fault"}


@pytest.mark.parametrize(
    "write",
    [
        "movb $7, (%rcx)",
        "incl (%rcx)",
        "lock incl (%rcx)",
        "xchgl %edx, (%rcx)",
        "lock xaddl %edx, (%rcx)",
        "movl %eax, %r9d\n movl (%rcx), %eax\n lock cmpxchgl %edx, (%rcx)\n movl %r9d, %eax",
        "movups %xmm0, (%rcx)",
        "movq %xmm0, 4028(%rcx)",
        "movaps %xmm0, 40960(%rcx)",
        "xchgq %rcx, %rsp\n pushq %rcx\n popq %rcx\n xchgq %rcx, %rsp",
        "pushq %rdi\n movq %rcx, %rdi\n stosb\n popq %rdi",
        "pushq %rdi\n pushq %rax\n movq %rcx, %rdi\n movl $9000, %ecx\n rep stosb\n popq %rax\n popq %rdi",
    ],
)
def test_every_way_to_write_memory_is_noticed(runner: EngineRunner, write: str) -> None:
    address = SLOTS[1].address + 64
    text = RIGHT.replace("ret", f"movabsq ${address:#x}, %rcx\n xorps %xmm0, %xmm0\n movl $1, %edx\n {write}\n ret")
    assert set(runner.run(text)) == {"object"}
    read_before = text.replace(" xorps", " movl (%rcx), %r8d\n xorps")
    assert set(runner.run(read_before)) == {"object"}
    assert set(runner.run(RIGHT)) == {"not left"}


def test_code_that_is_none(runner: EngineRunner) -> None:
    assert set(runner.run("total: xorl %eax, %eax\n jmp *%rax")) == {"fault"}
    assert set(runner.run("total: xorl %eax, %eax\n call *%rax\n ret")) == {"fault"}
    assert set(runner.run(RIGHT.replace("ret", "movb $0xcc, total(%rip)\n ret"))) == {"fault"}
    assert set(runner.run("total: movb $0xc3, -8(%rsp)\n leaq -8(%rsp), %rax\n jmp *%rax")) == {"fault"}


def test_a_stack_that_grows(runner: EngineRunner) -> None:
    deep = RIGHT.replace("ret", "subq $0x60000, %rsp\n movl (%rsp), %ecx\n movl $7, (%rsp)\n addq $0x60000, %rsp\n ret")
    assert set(runner.run(deep)) == {"not left"}
    assert set(runner.run(deep.replace("addq", "cmpl $7, %ecx\n sete %cl\n addb %cl, %al\n addq"))) == {"not left"}
    assert "result" in runner.run(deep.replace("addq", "movl %ecx, %eax\n addq"))
    assert set(runner.run(deep.replace("0x60000", "0x200000"))) == {"fault"}
    assert set(runner.run("total: subq $4096, %rsp\n call total\n ret")) == {"fault"}


def test_values_that_are_no_numbers(compiled: Compile) -> None:
    source = """
        struct pair { double first; float second; };
        double difference(double x, struct pair *p) { p->first = x - x; p->second = x - x; return x - x; }
    """
    runner = EngineRunner(compiled(source), "difference")
    text = """difference:
            subsd %xmm0, %xmm0
            ucomisd %xmm0, %xmm0
            jnp 1f
            pcmpeqd %xmm0, %xmm0
            psrlq $1, %xmm0
    1:      movsd %xmm0, (%rdi)
            cvtsd2ss %xmm0, %xmm1
            movss %xmm1, 8(%rdi)
            ret
    """
    assert set(runner.run(text)) == {"not left"}
    infinite = text.replace("psrlq $1, %xmm0", "psrlq $53, %xmm0\n psllq $52, %xmm0")
    assert "result" in runner.run(infinite)
    assert "result" in runner.run(text.replace("psrlq $1, %xmm0", "psrlq $2, %xmm0"))
    assert "object" in runner.run(infinite.replace("ret", "pcmpeqd %xmm0, %xmm0\n ucomisd (%rdi), %xmm0\n ret"))


def test_what_the_engine_cannot_load_is_an_error(runner: EngineRunner) -> None:
    with pytest.raises(EngineError):
        Engine.open(b"no image")
    engine = Engine.open(runner.image)
    with pytest.raises(EngineError):
        engine.run(engine.entry_count)
    engine.close()


def test_pointers_to_equal_constants(compiled: Compile) -> None:
    source = """
        #include <stdlib.h>
        struct entry { int n; const char *name; };
        const char *current = "none";
        struct entry *name(struct entry *e, int n)
        {
            struct entry *copy = malloc(sizeof *copy);
            e->name = current = n < 0 ? "negative" : "other";
            e->n = n;
            if (copy) copy->n = n, copy->name = e->name;
            return copy;
        }
    """
    runner = EngineRunner(compiled(source), "name")
    text = """name:
            pushq %rbx
            pushq %rbp
            pushq %rax
            movq %rdi, %rbx
            movl %esi, %ebp
            movl $16, %edi
            call malloc
            leaq .Lother(%rip), %rcx
            leaq .Lnegative(%rip), %rdx
            testl %ebp, %ebp
            cmovs %rdx, %rcx
            movq %rcx, current(%rip)
            movq %rcx, 8(%rbx)
            movl %ebp, (%rbx)
            testq %rax, %rax
            je 1f
            movl %ebp, (%rax)
            movq %rcx, 8(%rax)
    1:      popq %rcx
            popq %rbp
            popq %rbx
            ret
            .section .rodata
    .Lother: .asciz "other"
    .Lnegative: .asciz "negative"
    """
    assert set(runner.run(text)) == {"not left"}
    for wrong in ('"othe"', '"others"', '"negative"'):
        assert "object" in runner.run(text.replace('"other"', wrong))
    assert set(runner.run(text.replace("movq %rcx, 8(%rax)", "movq %rbx, 8(%rax)"))) >= {"heap"}
    assert "variable" in runner.run(text.replace("movq %rcx, current", "movq %rdx, current"))
    assert "heap" in runner.run(text.replace("movq %rcx, 8(%rax)", "movq %rdx, 8(%rax)"))


def test_failed_assertions(compiled: Compile) -> None:
    source = """
        #include <assert.h>
        #include <stdlib.h>
        int quotient(int a, int b) { assert(b != 0); if (a == 7) abort(); return b == -1 ? -1 : a / b; }
    """
    runner = EngineRunner(compiled(source), "quotient", examples=60)
    text = """quotient:
            testl %esi, %esi
            je 1f
            cmpl $7, %edi
            je 2f
            movl $-1, %eax
            cmpl $-1, %esi
            je 3f
            movl %edi, %eax
            cltd
            idivl %esi
    3:      ret
    1:      pushq %rax
            leaq .Ltext(%rip), %rdi
            call __assert_fail
    2:      pushq %rax
            call abort
            .section .rodata
    .Ltext: .asciz "b != 0"
    """
    assert set(runner.run()) == set(runner.run(text)) == {"not left"}
    assert "end" in runner.run(text.replace('"b != 0"', '"b != 1"'))
    assert "end" in runner.run(text.replace('"b != 0"', '"b != 0 "'))
    assert "end" in runner.run(text.replace("call __assert_fail", "call abort"))
    assert "alignment" in runner.run(text.replace("1:      pushq %rax", "1:"))
    assert "end" in runner.run(text.replace("call abort", "leaq .Ltext(%rip), %rdi\n call __assert_fail"))

"""The machine: faults, the heap, external calls, and candidates in the place of a function."""

from __future__ import annotations

from typing import Any

import pytest
from faces import Compile
from function_runner import BASE, FunctionRunner, result_of

from pytest_llmcompiler.emulator.observation import ExternalCall, Observation
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.values.c_types import Pointer
from pytest_llmcompiler.values.input import Callback, Object

SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int plain(int x) { return x + 1; }
int read_at(const char *p) { return *p; }
void write_at(char *p) { *p = 1; }
int jump(int (*f)(void)) { return f(); }
int divide(int a, int b) { return a / b; }
void trap(void) { __builtin_trap(); }
int spin(volatile int *p) { while (*p) ; return 0; }
int deep(int x) { volatile char room[4096]; room[0] = x; return deep(x + 1) + room[0]; }
void leave(int code) { exit(code); }
void give_up(void) { puts("so long"); abort(); }
int say(int x) { putchar('<'); printf("%d %s %.3f", x, "text", 2.23606797749979); puts(">"); fputs("bad", stderr); return 0; }
char *fresh(size_t n) { char *p = malloc(n); if (p) memset(p, 7, n); return p; }
int *zeros(size_t n) { return calloc(n, sizeof(int)); }
char *grown(size_t n) { char *p = malloc(4); memcpy(p, "abcd", 4); p = realloc(p, n); return p; }
void overflow(size_t n) { char *p = malloc(16); memset(p, 1, 16 + n); }
void twice(void) { char *p = malloc(4); free(p); free(p); }
void wrong_free(void) { static char room[64]; free(room + 16); }
int after_free(void) { char *p = malloc(4); *p = 3; free(p); return *p; }
int global = 3; static int hidden[4];
int count(void) { static int n; global += 10; hidden[1]++; char *p = malloc(8); p[0] = ++n; return n; }
int fresh_heap(void) { unsigned char *p = malloc(4); return p[0]; }
struct point { char tag; long x; };
int callbacks(int (*f)(int, double, struct point), int x) {
    struct point p = {'a', x};
    return f(x, 1.5, p) + f(x + 1, -1.5, p);
}
int two_callbacks(void (*f)(char), void (*g)(char)) { f(1); g(-1); f(3); return 0; }
float from_callback(float (*f)(float)) { return f(0.5f); }
int outside(int x);
int external(int x) { return outside(x); }
"""


@pytest.fixture(scope="module")
def program(compiled: Compile) -> Reference:
    return compiled(SOURCE)


def pointee(program: Reference, function: str, parameter: int = 0) -> Any:
    """The type to which a parameter of a function points."""
    type = program.signatures[function].params[parameter].type
    assert isinstance(type, Pointer)
    return type.target


def fault_of(run: Observation) -> tuple[str, int | None, str | None]:
    assert run.outcome == "fault"
    assert run.fault is not None
    assert run.result == b""  # a run that faults has no result
    return run.fault.description, run.fault.address, run.fault.access


def test_returns_a_result(program: Reference) -> None:
    runner = FunctionRunner(program, "plain")
    assert [result_of(runner(x)) for x in (0, -1, 41)] == [1, 0, 42]


@pytest.mark.parametrize("address", [0, 8, 0x1000, 0x7EAD0000BEE0])
def test_accesses_to_unmapped_memory(program: Reference, address: int) -> None:
    assert fault_of(FunctionRunner(program, "read_at")(address)) == ("bad read", address, "read")
    assert fault_of(FunctionRunner(program, "write_at")(address)) == ("bad write", address, "write")
    assert fault_of(FunctionRunner(program, "jump")(address)) == ("bad jump", address, "jump")


def test_page_permissions(program: Reference) -> None:
    code, data = program.golden.symbols["plain"].address, program.golden.symbols["hidden"].address
    assert fault_of(FunctionRunner(program, "write_at")(code))[0] == "bad write"
    text = program.golden.addresses[".L.str"]
    assert fault_of(FunctionRunner(program, "write_at")(text))[0] == "bad write"
    assert fault_of(FunctionRunner(program, "jump")(data))[0] == "bad jump"


def test_processor_exceptions(program: Reference) -> None:
    assert "division" in fault_of(FunctionRunner(program, "divide")(1, 0))[0]
    assert "division" in fault_of(FunctionRunner(program, "divide")(-(1 << 31), -1))[0]
    assert result_of(FunctionRunner(program, "divide")(7, -2)) == -3
    assert fault_of(FunctionRunner(program, "trap")())[0] == "illegal instruction"


def test_a_fault_has_the_address_of_its_instruction(program: Reference) -> None:
    run = FunctionRunner(program, "read_at")(0)
    symbol = program.golden.symbols["read_at"]
    assert run.fault is not None
    assert symbol.address <= run.fault.pc < symbol.address + symbol.size


def test_limit_of_instructions_and_of_the_stack(program: Reference) -> None:
    flag = pointee(program, "spin")
    spin = FunctionRunner(program, "spin")
    assert spin(Object(flag, 1, b"\1\0\0\0")).outcome == "limit"
    assert result_of(spin(Object(flag, 1, bytes(4)))) == 0
    assert FunctionRunner(program, "deep")(0, limit=10_000_000).outcome == "fault"


def test_exit_and_abort(program: Reference) -> None:
    run = FunctionRunner(program, "leave")(0x103)
    assert (run.outcome, run.exit_code) == ("exit", 3)
    run = FunctionRunner(program, "give_up")()
    assert (run.outcome, run.output) == ("abort", {1: b"so long\n"})


def test_output(program: Reference) -> None:
    run = FunctionRunner(program, "say")(-5)
    assert result_of(run) == 0
    assert run.output == {1: b"<-5 text 2.236>\n", 2: b"bad"}


def heap_contents(run: Observation) -> list[bytes]:
    """The bytes of the live objects: these end with their pages, up to an alignment of 16 bytes."""
    starts = [len(block.pages) - -(-max(block.size, 1) // 16) * 16 for block in run.heap]
    return [block.pages[start : start + block.size] for start, block in zip(starts, run.heap, strict=True)]


def test_allocation(program: Reference) -> None:
    run = FunctionRunner(program, "fresh")(5)
    assert run.outcome == "return"
    assert heap_contents(run) == [b"\7" * 5]
    assert heap_contents(FunctionRunner(program, "zeros")(3)) == [bytes(12)]
    assert heap_contents(FunctionRunner(program, "grown")(2)) == [b"ab"]
    grown = heap_contents(FunctionRunner(program, "grown")(100))
    assert (len(grown), len(grown[0]), grown[0][:4]) == (1, 100, b"abcd")
    assert result_of(FunctionRunner(program, "fresh")(1 << 40)) == 0
    assert result_of(FunctionRunner(program, "zeros")((1 << 62) + 1)) == 0
    assert result_of(FunctionRunner(program, "fresh")(0)) != 0


def test_heap_errors_are_faults(program: Reference) -> None:
    assert FunctionRunner(program, "overflow")(0).outcome == "return"
    assert fault_of(FunctionRunner(program, "overflow")(1))[0] == "bad write"
    assert "free" in fault_of(FunctionRunner(program, "twice")())[0]
    assert "free" in fault_of(FunctionRunner(program, "wrong_free")())[0]
    assert fault_of(FunctionRunner(program, "after_free")())[0] == "bad read"


def test_every_run_starts_from_the_same_state(program: Reference) -> None:
    runner = FunctionRunner(program, "count")
    runs = [runner() for _ in range(3)]
    assert [result_of(run) for run in runs] == [1, 1, 1]
    assert runs[0] == runs[1] == runs[2]
    globals = dict(zip(program.golden.globals, runs[2].globals, strict=True))
    assert globals["global"] == (13).to_bytes(4, "little")
    assert globals["count.n"] == (1).to_bytes(4, "little")


def test_a_run_after_a_fault_starts_from_the_same_state(program: Reference) -> None:
    runner = FunctionRunner(program, "divide")
    first = runner(9, 2)
    for _ in range(3):
        assert runner(9, 0).outcome == "fault"
        assert runner(9, 2) == first
    runner = FunctionRunner(program, "read_at")
    good = Object(pointee(program, "read_at"), 2, b"a\0")
    first = runner(good)
    for address in (0, 3 << 40, 0xFFFFFFFFFFFFF000):
        assert runner(address).outcome == "fault"
        assert runner(good) == first
    runner = FunctionRunner(program, "spin")
    assert runner(program.golden.symbols["global"].address).outcome == "limit"
    assert result_of(runner(program.golden.symbols["hidden"].address)) == 0


def test_garbage_patterns_differ(program: Reference) -> None:
    assert result_of(FunctionRunner(program, "fresh_heap")()) != result_of(
        FunctionRunner(program, "fresh_heap", garbage_pattern=1)()
    )


def test_executed_bytes(program: Reference) -> None:
    few, many = (
        FunctionRunner(program, "say", trace_blocks=True)(1),
        FunctionRunner(program, "plain", trace_blocks=True)(1),
    )
    assert 0 < many.executed_bytes < 64 < few.executed_bytes
    assert FunctionRunner(program, "plain")(1).executed_bytes == 0


def test_callbacks_are_recorded(program: Reference) -> None:
    target = pointee(program, "callbacks")
    runner = FunctionRunner(program, "callbacks")
    run = runner(Callback(target, 0), 7)
    assert run.outcome == "return"
    bits = [0x3FF8000000000000, 0xBFF8000000000000]
    assert [call.name for call in run.calls] == ["callback 0"] * 2
    assert [call.args[:2] for call in run.calls] == [(7, bits[0]), (8, bits[1])]
    assert run.calls == runner(Callback(target, 0), 7).calls
    assert runner(Callback(target, 0), 8).calls != run.calls


def test_callbacks_by_number_and_width(program: Reference) -> None:
    targets = [pointee(program, "two_callbacks", parameter) for parameter in range(2)]
    run = FunctionRunner(program, "two_callbacks")(Callback(targets[0], 0), Callback(targets[1], 1))
    assert run.calls == (
        ExternalCall("callback 0", (1,)),
        ExternalCall("callback 1", (0xFFFFFFFF,)),  # a char of -1, extended
        ExternalCall("callback 0", (3,)),
    )


def test_calls_of_declared_functions_are_recorded(program: Reference) -> None:
    run = FunctionRunner(program, "external")(5)
    assert run.calls == (ExternalCall("outside", (5,)),)
    assert run.result == FunctionRunner(program, "external")(5).result


# -- candidates


def run_candidate(program: Reference, assembly: str, function: str = "plain", x: int = 1) -> Observation:
    return FunctionRunner(program, function, assembly)(x)


GOOD = " leal 1(%rdi), %eax\n ret"


def test_a_candidate_takes_the_place_of_the_function(program: Reference) -> None:
    assert result_of(run_candidate(program, GOOD)) == 2
    assert result_of(run_candidate(program, " leal 5(%rdi), %eax\n ret")) == 6


@pytest.mark.parametrize(
    "instruction",
    [
        *["syscall", "sysenter", "int $0x80", "hlt", "cli", "sti", "in $1, %al", "outb %al, %dx", "rdmsr", "wrmsr"],
        *["wbinvd", "lgdt (%rsp)", "swapgs", "iretq", "int3", "movq %cr0, %rax", "movq %rax, %cr3", "movq %rax, %dr7"],
        *["clac", "lock\n hlt", "insb", "rep outsb"],
    ],
)
def test_privileged_instructions(program: Reference, instruction: str) -> None:
    run = run_candidate(program, f" {instruction}\n{GOOD}")
    assert run.outcome in ("forbidden", "fault")
    assert run.fault is not None
    assert run.fault.pc == BASE


@pytest.mark.parametrize(
    "instruction",
    ["vaddps %xmm0, %xmm1, %xmm2", "vpxor %ymm0, %ymm0, %ymm0", "andn %eax, %ecx, %edx", "vaddpd %zmm0, %zmm1, %zmm2"],
)
def test_vex_instructions_end_the_run(program: Reference, instruction: str) -> None:
    run = run_candidate(program, f" {instruction}\n{GOOD}")
    assert run.outcome == "vex"
    assert result_of(run_candidate(program, f" jmp 1f\n {instruction}\n1:{GOOD}")) == 2


@pytest.mark.parametrize(
    ("assembly", "words"),
    [
        (" xorl %ebx, %ebx\n" + GOOD, "%rbx is not restored"),
        (" xorl %ebp, %ebp\n" + GOOD, "%rbp is not restored"),
        *((f" xorl %r{n}d, %r{n}d\n" + GOOD, f"%r{n} is not restored") for n in (12, 13, 14, 15)),
        (" std\n" + GOOD, "direction flag"),
        (" leal 1(%rdi), %eax\n ret $8", "stack pointer returns +8 bytes off"),
        (" leal 1(%rdi), %eax\n popq %rcx\n subq $16, %rsp\n jmp *%rcx", "stack pointer returns -16 bytes off"),
        (" movq $0, 8(%rsp)\n" + GOOD, "caller's stack frame is written"),
        (" movb $0, 2000(%rsp)\n" + GOOD, "caller's stack frame is written"),
        (" pushq $0x3f80\n ldmxcsr (%rsp)\n popq %rax\n" + GOOD, "control words"),
        (" pushq $0x27f\n fldcw (%rsp)\n popq %rax\n" + GOOD, "control words"),
        (" fld1\n" + GOOD, "x87"),
        (" pxor %mm0, %mm0\n" + GOOD, ""),
        (" pushq %rax\n pushq %rdi\n call read_global\n popq %rdi\n popq %rax\n" + GOOD, "aligned"),
    ],
)
def test_breaches_of_the_convention(compiled: Compile, assembly: str, words: str) -> None:
    source = "static int global;\nint read_global(void) { return global; }\nint plain(int x) { return x + 1; }\n"
    run = run_candidate(compiled(source), assembly)
    assert run.outcome == "return"
    assert int.from_bytes(run.result, "little") == 2
    assert run.abi_breaches
    assert words in run.abi_breaches[0].message


@pytest.mark.parametrize(
    "assembly",
    [
        " pushq %rbx\n xorl %ebx, %ebx\n popq %rbx\n" + GOOD,
        " movq $1, -128(%rsp)\n" + GOOD,
        " std\n cld\n" + GOOD,
        " fld1\n fstp %st(0)\n" + GOOD,
        " pxor %xmm15, %xmm15\n xorl %r11d, %r11d\n" + GOOD,
        " pushq %rdi\n call plain2\n popq %rdi\n" + GOOD,
        " enter $32, $0\n leave\n" + GOOD,
    ],
)
def test_code_that_keeps_the_convention(compiled: Compile, assembly: str) -> None:
    source = "int plain2(int x) { return x + 1; }\nint plain(int x) { return x + 1; }\n"
    assert result_of(run_candidate(compiled(source), assembly)) == 2


def test_a_misaligned_call_through_a_pointer(compiled: Compile) -> None:
    reference = compiled("static int h(int x) { return x; }\nint (*p)(int) = h;\nint f(int x) { return p(x); }\n")
    assert run_candidate(reference, " subq $8, %rsp\n call *p(%rip)\n addq $8, %rsp\n ret", "f").abi_breaches == ()
    assert "aligned" in run_candidate(reference, " call *p(%rip)\n ret", "f").abi_breaches[0].message


def test_a_misaligned_call_of_a_callback(compiled: Compile) -> None:
    reference = compiled("int f(int (*g)(int)) { return g(1); }\n")
    target = pointee(reference, "f")
    runner = FunctionRunner(reference, "f", " movq %rdi, %rax\n movl $1, %edi\n call *%rax\n ret")
    assert "aligned" in runner(Callback(target, 0)).abi_breaches[0].message


def test_the_original_code_is_gone(compiled: Compile) -> None:
    """A candidate that repeats the first instructions of the function can't jump into the rest of it."""
    reference = compiled("int f(int x) { int r = 0; while (x > 0) { r += x % 10; x /= 10; } return r; }\nint next;\n")
    start = reference.golden.symbols["f"].address
    for offset in range(5, 16):
        address = start + offset
        text = f" pushq %rbp\n movq %rsp, %rbp\n movl %edi, -4(%rbp)\n movl ${address}, %eax\n jmp *%rax"
        assert run_candidate(reference, text, "f", 123).outcome != "return", f"f + {offset}"


def test_code_is_not_writable(program: Reference) -> None:
    assert fault_of(run_candidate(program, " movb $0xc3, plain(%rip)\n ret"))[0] == "bad write"
    assert fault_of(run_candidate(program, " movb $0xc3, divide(%rip)\n ret"))[0] == "bad write"
    assert fault_of(run_candidate(program, " leaq 0x0f000ff0, %rax\n movb $0xc3, (%rax)\n ret"))[0] == "bad write"


def test_line_of_a_fault(program: Reference) -> None:
    runner = FunctionRunner(program, "plain", " nop\n nop\n movl (%rax), %eax\n ret")
    run = runner(1)
    assert run.fault is not None
    assert runner.machine.line_of(run.fault) == 4
    runner = FunctionRunner(program, "plain", " nop\n xorl %edi, %edi\n call read_at\n ret")
    run = runner(1)
    assert run.fault is not None
    assert runner.machine.line_of(run.fault) == 4
    assert runner.machine.addresses.name_of(run.fault.pc) == "read_at"


def test_the_data_of_a_candidate_is_reset(program: Reference) -> None:
    runner = FunctionRunner(program, "plain", " incl n(%rip)\n movl n(%rip), %eax\n ret\n .data\nn: .long 1\n")
    assert [result_of(runner(1)) for _ in range(3)] == [2, 2, 2]


def test_raw_system_calls_with_bad_pointers_are_faults(program: Reference) -> None:
    """A jump into the middle of an instruction reaches a `syscall` that no hook stops."""
    for number in (1, 16, 20, 158, 218, 9999):
        text = f" movl ${number}, %eax\n movl $1, %edi\n movl $16, %esi\n movl $4, %edx\n jmp 1f+1\n1: movl $0x050f, %ebx\n ret"
        assert run_candidate(program, text).outcome in ("fault", "forbidden", "return")


def test_a_jump_between_the_stubs_of_callbacks(program: Reference) -> None:
    """The page of stubs has room for more callbacks than an input has: the rest of it has no names."""
    runner = FunctionRunner(program, "plain", " movl $0x0f000500, %eax\n pushq $0x0f000600\n jmp *%rax")
    run = runner(1)
    assert fault_of(run)[0] == "a jump to an address where no function begins"
    assert run.fault is not None
    assert runner.machine.addresses.name_of(run.fault.pc) == "0xf000600"

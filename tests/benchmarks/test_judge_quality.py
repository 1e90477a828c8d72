"""benchmarks/judge_quality.py: faults are of the kind that their names say, and proofs of equivalence are right."""

from __future__ import annotations

import dataclasses
import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from faces import Compile

from pytest_llmcompiler.assembler.assemble import assemble
from pytest_llmcompiler.errors import AssemblyError
from pytest_llmcompiler.judge.mutants import MutantKind
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets import get_target

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

pytest.importorskip("z3", reason="z3-solver is not installed")
pytest.importorskip("capstone", reason="capstone is not installed")

from quality import compilers, faults_aarch64, tables  # noqa: E402
from quality.asserts import is_seen_by_assert  # noqa: E402
from quality.equivalence import Entry, Text, equivalent  # noqa: E402
from quality.faults import KINDS, Changes, generate_faults  # noqa: E402
from quality.inspected import InspectedError, apply_inspected, as_line, read_inspected  # noqa: E402
from quality.interface import find_entry  # noqa: E402
from quality.known_misses import judge_known_misses, read_known_misses  # noqa: E402
from quality.listing import read  # noqa: E402
from quality.liveness import Interface, register_parts, vector_parts  # noqa: E402
from quality.measure import Judged, Measured, Plan, Seeded, encode, measure, read_results, seed_faults  # noqa: E402

BASE = get_target().load_address
SUM = """
int helper(int, int);
int sum(const int *values, int count, int most)
{
    int total = 0;
    for (int i = 0; i < count; i++) {
        total += values[i] < most ? values[i] : helper(i, most);
    }
    return total / 3;
}
"""


def make_text(*lines: str) -> str:
    body = "\n".join(line if line.endswith(":") else f"\t{line}" for line in lines)
    return f"\t.text\n\t.globl\tf\nf:\n{body}\n.Lfunc_end0:\n"


def list_changes(kind: str, *lines: str) -> set[str]:
    """All changes that one kind of fault makes in a text, as `before => after`."""
    text = make_text(*lines)
    listing = read(text, "f")
    return {
        f"{'; '.join(' '.join(line.split()) for line in listing.lines[start : start + removed])}"
        f" => {'; '.join(' '.join(line.split()) for line in new)}"
        for seed in range(20)
        for changes in KINDS[kind](listing, random.Random(seed))
        for start, removed, new in changes
    }


# -- faults


@pytest.mark.parametrize(
    ("kind", "lines", "expected"),
    [
        ("condition turned", ["jl\t.LBB0_1", ".LBB0_1:"], {"jl .LBB0_1 => jge .LBB0_1"}),
        ("condition turned", ["cmovneq\t%rax, %rcx"], {"cmovneq %rax, %rcx => cmoveq %rax, %rcx"}),
        ("condition off", ["setb\t%al"], {"setb %al => setbe %al", "setb %al => setl %al"}),
        ("operand width", ["movq\t%rax, %rcx"], {f"movq %rax, %rcx => mov{w}" for w in ("l %eax, %ecx", "w %ax, %cx", "b %al, %cl")}),
        ("operand width", ["shll\t%cl, %edx"], {f"shll %cl, %edx => shl{w}" for w in ("q %cl, %rdx", "w %cl, %dx", "b %cl, %dl")}),
        ("extension", ["movzbl\t(%rdi), %eax"], {"movzbl (%rdi), %eax => movsbl (%rdi), %eax"}),
        ("extension", ["cltq"], {"cltq => ", "cltq => movl %eax, %eax"}),
        ("extension", ["sarl\t$3, %eax"], {"sarl $3, %eax => shrl $3, %eax"}),
        ("lea/mov", ["leaq\t8(%rdi), %rax"], {"leaq 8(%rdi), %rax => movq 8(%rdi), %rax"}),
        ("lea/mov", ["movq\t8(%rdi), %rax"], {"movq 8(%rdi), %rax => leaq 8(%rdi), %rax"}),
        ("operator", ["addl\t%esi, %edi"], {f"addl %esi, %edi => {op} %esi, %edi" for op in ("subl", "imull")}),
        ("operator", ["addsd\t%xmm1, %xmm0"], {"addsd %xmm1, %xmm0 => subsd %xmm1, %xmm0"}),
        ("operands exchanged", ["subl\t%esi, %edi"], {"subl %esi, %edi => subl %edi, %esi"}),
        ("call left out", ["callq\tg@PLT", "retq"], {"callq g@PLT => "}),
        ("instruction left out", ["incl\t%eax", "callq\tg"], {"incl %eax => "}),
        ("branch target", ["jmp\t.LBB0_1", ".LBB0_1:", "nop", ".LBB0_2:"], {"jmp .LBB0_1 => jmp .LBB0_2"}),
        ("register", ["addl\t%esi, %edi"], {"addl %esi, %edi => addl %edi, %edi", "addl %esi, %edi => addl %esi, %esi"}),
        (
            "arguments exchanged",
            ["movl\t$1, %edi", "movq\t%rax, %rsi", "callq\tg"],
            {"movl $1, %edi => movl $1, %esi", "movq %rax, %rsi => movq %rax, %rdi"},
        ),
        ("early return", ["incl\t%eax", "decl\t%eax"], {" => retq"}),
        ("data", ["jmp\t.LBB0_1", ".LBB0_1:"], set()),
    ],
)  # fmt: skip
def test_each_kind_of_fault(kind: str, lines: list[str], expected: set[str]) -> None:
    assert list_changes(kind, *lines) == expected


def test_faults_of_aarch64() -> None:
    text = make_text(
        "ldr x19, [sp, #16]", "cmp w0, #3", "b.lt .LBB0_2", "ldrsb w1, [x0, #4]", "bl g", ".LBB0_2:", "ret"
    )
    found = {
        kind: {lines[0] if (lines := change[0][2]) else "" for change in changes}
        for kind, changes in faults_aarch64.all_faults(text, "f").items()
    }
    assert found["condition turned"] == {"\tb.ge\t.LBB0_2"}
    assert found["condition off"] == {"\tb.le\t.LBB0_2", "\tb.lo\t.LBB0_2"}
    assert found["constant"] == {"\tcmp\tw0, #4", "\tcmp\tw0, #2"}
    assert found["extension"] == {"\tldrb\tw1, [x0, #4]"}
    assert found["operand width"] == {"\tcmp\tx0, #3"}
    assert found["call left out"] == {""}
    assert "\tldr\tx16, [sp, #16]" in found["callee-saved register"]


def test_constants_and_offsets_change_by_small_steps() -> None:
    assert {"addl $5, %eax => addl $6, %eax", "addl $5, %eax => addl $4, %eax", "addl $5, %eax => addl $-5, %eax"} <= list_changes("constant", "addl\t$5, %eax")  # fmt: skip
    moved = list_changes("memory offset", "movl\t-8(%rbp), %eax")
    assert {re.search(r"=> movl (-?\d*)\(", line)[1] for line in moved} == {"-7", "-9", "-4", "-12", "", "-16"}  # type: ignore[index]
    assert list_changes("memory offset", "movsd\t.LCPI0_0(%rip), %xmm0") >= {"movsd .LCPI0_0(%rip), %xmm0 => movsd .LCPI0_0+8(%rip), %xmm0"}  # fmt: skip


def test_clobbering_a_saved_register_keeps_the_frame_size() -> None:
    lines = ("pushq\t%rbx", "movl\t%edi, %ebx", "popq\t%rbx", "retq")
    found = list_changes("callee-saved register", *lines)
    assert {"pushq %rbx => leaq -8(%rsp), %rsp", "popq %rbx => leaq 8(%rsp), %rsp", " => movl $1, %r12d"} <= found
    assert " => movl $1, %ebx" not in found


def test_an_early_return_removes_the_frame() -> None:
    lines = ("pushq\t%rbp", "movq\t%rsp, %rbp", "movl\t%edi, %eax", "addl\t%eax, %eax", "popq\t%rbp", "retq")
    assert " => popq %rbp; retq" in list_changes("early return", *lines)


def test_faults_differ_in_machine_code_and_every_kind_occurs(compiled: Compile) -> None:
    reference = compiled(SUM)
    for level in ("O0", "O2"):
        seeded_faults = list(seed_faults(reference, "sum", level, "case", Plan((10,), 30, 1)))
        codes = {encode(reference, "sum", fault.text) for fault in seeded_faults}
        assert len(codes) == len(seeded_faults) == 30 and None not in codes
        assert encode(reference, "sum", reference.texts.assembly("sum", level)) not in codes
        kinds = {fault.kind for fault in seeded_faults}
        assert {"condition turned", "constant", "memory offset", "operand width", "call left out", "early return", "register"} <= kinds  # fmt: skip


def test_a_change_with_the_same_machine_code_is_no_fault() -> None:
    """`movl %eax, %eax` for `movl %eax, %eax`, `testl` with its operands exchanged: the same code."""
    text = make_text("testl\t%eax, %eax", "retq")
    code = assemble(text, "f", BASE, {}, "llvm").segments[0].data
    seen = {code}

    def accept(mutant: str) -> bool:
        other = assemble(mutant, "f", BASE, {}, "llvm").segments[0].data
        return not (other in seen or seen.add(other))

    seeded_faults = list(generate_faults(text, "f", "seed", accept, 40))
    assert seeded_faults and all(fault.kind != "operands exchanged" for fault in seeded_faults)


def test_the_same_seed_gives_the_same_faults(compiled: Compile) -> None:
    reference = compiled(SUM)

    def texts(seed: int) -> list[str]:
        return [fault.text for fault in seed_faults(reference, "sum", "O2", "case", Plan((10,), 20, seed))]

    assert texts(1) == texts(1) != texts(2)


# -- proofs

PLAIN = Entry(
    Interface(
        lambda _: (register_parts(7) | register_parts(6), False),
        register_parts(0) | vector_parts(0, 64),
    )
)


def prove_change(before: list[str], place: int, after: list[str], entry: Entry = PLAIN, removed: int = 1) -> str:
    """The means by which a change of the lines from `place` on is proved equivalent; empty where it is not."""
    text = make_text(*before)
    lines = text.split("\n")
    new = tuple(f"\t{line}" for line in after)
    changes: Changes = ((place + 3, removed, new),)
    lines[place + 3 : place + 3 + removed] = new
    other = "\n".join(lines)
    sides = [Text(side, assemble(side, "f", BASE, {"g": 0x401000}, "llvm")) for side in (text, other)]
    return equivalent(*sides, "f", changes, entry)


LOOP = [
    *("pushq\t%rbx", "xorl\t%eax, %eax", "xorl\t%ecx, %ecx", "movl\t$7, -8(%rsp)"),
    *(".LBB0_1:", "movzbl\t(%rdi,%rcx), %edx", "cmpl\t$10, %edx", "je\t.LBB0_2", "addl\t%edx, %eax", "incq\t%rcx"),
    *("cmpq\t%rsi, %rcx", "jb\t.LBB0_1", ".LBB0_2:", "popq\t%rbx", "retq"),
]


@pytest.mark.parametrize(
    ("line", "after"),
    [
        pytest.param("movl\t$7, -8(%rsp)", [], id="dead store to the frame"),
        pytest.param("movl\t$7, -8(%rsp)", ["movl\t$9, -8(%rsp)"], id="dead constant"),
        pytest.param("cmpl\t$10, %edx", ["cmpb\t$10, %dl"], id="compare as many bits as there can be"),
        pytest.param("cmpl\t$10, %edx", ["cmpq\t$10, %rdx"], id="the upper half is zero"),
        pytest.param("incq\t%rcx", ["addq\t$1, %rcx"], id="another way to count"),
        pytest.param("incq\t%rcx", ["leaq\t1(%rcx), %rcx"], id="flags that nobody reads"),
        pytest.param("xorl\t%ecx, %ecx", ["movl\t$0, %ecx"], id="another zero"),
    ],
)
def test_an_equivalent_change_in_a_loop_is_proved(line: str, after: list[str]) -> None:
    assert prove_change(LOOP, LOOP.index(line), after)


@pytest.mark.parametrize(
    ("line", "after"),
    [
        pytest.param("movzbl\t(%rdi,%rcx), %edx", ["movsbl\t(%rdi,%rcx), %edx"], id="sign"),
        pytest.param("movzbl\t(%rdi,%rcx), %edx", ["movl\t(%rdi,%rcx), %edx"], id="width of a load"),
        pytest.param("cmpl\t$10, %edx", ["cmpl\t$11, %edx"], id="constant"),
        pytest.param("je\t.LBB0_2", ["jbe\t.LBB0_2"], id="condition"),
        pytest.param("cmpq\t%rsi, %rcx", ["cmpl\t%esi, %ecx"], id="half of a count"),
        pytest.param("incq\t%rcx", [], id="endless"),
        pytest.param("popq\t%rbx", ["leaq\t16(%rsp), %rsp"], id="stack pointer"),
        pytest.param("xorl\t%ecx, %ecx", [], id="not initialised"),
    ],
)  # fmt: skip
def test_a_change_of_behaviour_in_a_loop_is_not_proved(line: str, after: list[str]) -> None:
    assert not prove_change(LOOP, LOOP.index(line), after)


def test_a_dead_load_from_another_address_is_not_proved() -> None:
    """The memory at the other address may not exist."""
    text = ["movl\t(%rdi), %ecx", "movl\t(%rdi), %eax", "retq"]
    assert prove_change(text, 0, [])
    assert not prove_change(text, 0, ["movl\t4096(%rdi), %ecx"])


def test_a_store_to_memory_is_never_dead() -> None:
    assert not prove_change(["movl\t$1, (%rdi)", "xorl\t%eax, %eax", "retq"], 0, [])


def test_a_frame_whose_address_is_taken_is_not_private() -> None:
    text = ["subq\t$24, %rsp", "movl\t$7, 8(%rsp)", "leaq\t8(%rsp), %rdi", "callq\tg", "addq\t$24, %rsp", "retq"]
    assert not prove_change(text, 1, ["movl\t$8, 8(%rsp)"])
    assert prove_change([*text[:2], "xorl\t%edi, %edi", *text[3:]], 1, ["movl\t$8, 8(%rsp)"])


def test_a_call_is_the_same_only_with_the_same_arguments() -> None:
    text = ["pushq\t%rax", "movl\t$1, %esi", "movl\t$2, %edx", "callq\tg", "popq\t%rcx", "retq"]
    assert prove_change(text, 2, ["movl\t$3, %edx"])  # g takes two arguments here
    assert not prove_change(text, 1, ["movl\t$3, %esi"])
    assert not prove_change(text, 3, [])


def test_facts_from_earlier_blocks_are_used_where_there_is_no_loop() -> None:
    """A byte is above 57 here, so it is above 56 too."""
    text = ["movzbl\t(%rdi), %eax", "cmpl\t$57, %eax", "jbe\t.LBB0_1", "cmpl\t$56, %eax", "jbe\t.LBB0_1", "incl\t%eax", ".LBB0_1:", "retq"]  # fmt: skip
    assert prove_change(text, 4, [])
    assert not prove_change(text, 2, [])


def test_changes_of_data_are_not_proved() -> None:
    text = make_text("movsd\t.LCPI0_0(%rip), %xmm0", "retq") + "\t.section\t.rodata\n.LCPI0_0:\n\t.quad\t7\n"
    line = text.split("\n").index("\t.quad\t7")
    other = text.replace("\t.quad\t7", "\t.quad\t8")
    sides = [Text(side, assemble(side, "f", BASE, {}, "llvm")) for side in (text, other)]
    assert not equivalent(*sides, "f", ((line, 1, ("\t.quad\t8",)),), PLAIN)


def test_targets_of_a_jump_table_are_compared() -> None:
    code = (
        *("leaq\t.LJTI0_0(%rip), %rcx", "movslq\t(%rcx,%rdi,4), %rax", "addq\t%rcx, %rax", "jmpq\t*%rax"),
        *(".LBB0_1:", "movl\t%esi, %eax", "jmp\t.LBB0_3", ".LBB0_2:", "movl\t%edi, %eax", ".LBB0_3:", "retq"),
    )
    table = "\t.section\t.rodata\n.LJTI0_0:\n\t.long\t.LBB0_1-.LJTI0_0\n\t.long\t.LBB0_2-.LJTI0_0\n"
    text = make_text(*code) + table
    line = text.split("\n").index("\tmovl\t%esi, %eax")
    for new, equal in (("\tmovl\t%edi, %eax", False), ("\tleal\t(%rsi), %eax", True)):
        other = text.replace("\tmovl\t%esi, %eax", new)
        sides = [Text(side, assemble(side, "f", BASE, {}, "llvm")) for side in (text, other)]
        assert bool(equivalent(*sides, "f", ((line, 1, (new,)),), PLAIN)) is equal


def test_a_change_of_unreachable_code_is_proved() -> None:
    text = ["xorl\t%eax, %eax", "retq", "movl\t$1, %eax", "retq"]
    assert prove_change(text, 2, ["movl\t$2, %eax"]) == "unreachable code"


def test_guarantees_of_the_caller_are_used_at_the_entry(compiled: Compile) -> None:
    reference = compiled("int low(signed char c) { return c < 5; }\nint wide(int c) { return c < 5; }")
    for function, equal in (("low", True), ("wide", False)):
        entry = find_entry(reference, function)
        text = ["xorl\t%eax, %eax", "cmpb\t$5, %dil", "setl\t%al", "retq"]
        assert bool(prove_change(text, 1, ["cmpl\t$5, %edi"], entry)) is equal


def test_instructions_without_semantics_are_not_proved() -> None:
    assert not prove_change(["fld1", "movl\t$1, %ecx", "xorl\t%eax, %eax", "fstp\t%st(0)", "retq"], 0, ["fldz"])


_REGISTERS = ("ax", "cx", "dx", "si")
_MEMORY = ("(%rdi)", "8(%rdi)", "16(%rdi)", "(%rdi,%r8)", "-16(%rsp)", "-8(%rsp)")


def draw_lines(rng: random.Random) -> Iterator[str]:
    def wide(size: str) -> str:
        name = rng.choice(_REGISTERS)
        return f"%r{name}" if size == "q" else f"%e{name}"

    for _ in range(rng.randrange(3, 9)):
        size = rng.choice("lq")
        source = rng.choice([wide(size), f"${rng.choice((-1, 0, 1, 2, 8, 127, 255))}", rng.choice(_MEMORY)])
        op = rng.choice(
            ("mov", "add", "sub", "and", "or", "xor", "cmp", "test", "imul", "adc", "sbb", "cmovl", "cmovbe")
        )
        if op == "imul" and source.startswith("$"):
            source = wide(size)
        if (op.startswith("cmov") and source.startswith("$")) or (op == "test" and "(" in source):
            source = wide(size)
        yield rng.choice(
            [
                *[f"{op}{size}\t{source}, {wide(size)}"] * 4,
                f"mov{size}\t{wide(size)}, {rng.choice(_MEMORY)}",
                f"{rng.choice(('movzbl', 'movsbl', 'movzwl', 'movswl'))}\t{rng.choice(_MEMORY)}, {wide('l')}",
                f"{rng.choice(('shl', 'shr', 'sar', 'rol', 'ror'))}{size}\t${rng.randrange(9)}, {wide(size)}",
                f"{rng.choice(('shl', 'shr', 'sar', 'rol', 'ror'))}{size}\t%cl, {wide(size)}",
                f"{rng.choice(('shld', 'shrd'))}{size}\t{rng.choice(('$3', '%cl'))}, {wide(size)}, {wide(size)}",
                f"{rng.choice(('neg', 'not', 'inc', 'dec', 'bswap'))}{size}\t{wide(size)}",
                f"set{rng.choice(('l', 'b', 'e', 's', 'p', 'o', 'a', 'g'))}\t%{rng.choice('acd')}l",
                f"lea{size}\t{rng.choice((3, -8))}({wide('q')},{wide('q')},{rng.choice((1, 2, 4))}), {wide(size)}",
                rng.choice(("cltq", "cltd", "cqto", "cwtl")),
                f"bt{size}\t$3, {wide(size)}",
                f"xchg{size}\t{wide(size)}, {wide(size)}",
                f"{rng.choice(('mul', 'imul'))}l\t{wide('l')}",
            ]
        )
    yield "retq"


class Processor:
    """Runs straight-line code in unicorn, and returns %rax, %rbx, %rsp and the memory."""

    def __init__(self) -> None:
        from unicorn import UC_ARCH_X86, UC_MODE_64, Uc

        self.create_emulator = Uc(UC_ARCH_X86, UC_MODE_64)
        for address in (BASE, 0x50000000, 0x60000000):
            self.create_emulator.mem_map(address, 0x10000)

    def run(self, code: bytes, rng: random.Random) -> tuple[Any, ...]:
        from unicorn import x86_const

        engine = self.create_emulator
        engine.ctl_flush_tb()
        engine.mem_write(BASE, code)
        engine.mem_write(0x50000000, rng.randbytes(64))
        engine.mem_write(0x60000000, bytes(0x10000))
        values = [0, 1, 7, 8, 0x7F, 0x80, 0xFF, 0xFFFFFFFF, 0x80000000, 1 << 63, (1 << 64) - 1]
        for name in ("RAX", "RCX", "RDX", "RSI", "RBX"):
            value = rng.choice([*values, rng.getrandbits(64)])
            engine.reg_write(getattr(x86_const, f"UC_X86_REG_{name}"), value)
        engine.reg_write(x86_const.UC_X86_REG_RDI, 0x50000000)
        engine.reg_write(x86_const.UC_X86_REG_R8, rng.randrange(20))
        engine.reg_write(x86_const.UC_X86_REG_RSP, 0x60008000)
        engine.reg_write(x86_const.UC_X86_REG_EFLAGS, rng.choice((0x2, 0x8D7)))
        engine.emu_start(BASE, BASE + len(code) - 1)
        left = [engine.reg_read(getattr(x86_const, f"UC_X86_REG_{name}")) for name in ("RAX", "RBX", "RSP")]
        return (*left, bytes(engine.mem_read(0x50000000, 0x100)))


ONLY_RAX = Entry(Interface(lambda _: (frozenset(), False), register_parts(0)))


@pytest.mark.parametrize("seed", range(2))
def test_code_that_is_proved_equivalent_behaves_equally(seed: int) -> None:
    rng = random.Random(seed)
    processor = Processor()
    proved = refused = 0
    for number in range(8):
        text = make_text(*draw_lines(rng))
        correct = assemble(text, "f", BASE, {}, "llvm")
        for fault in generate_faults(text, "f", f"{seed} {number}", does_assemble, 5):
            if fault.kind == "early return" or "ret" in fault.before:
                continue
            other = assemble(fault.text, "f", BASE, {}, "llvm")
            sides = Text(text, correct), Text(fault.text, other)
            if not equivalent(*sides, "f", fault.changes, ONLY_RAX):
                refused += 1
                continue
            proved += 1
            for case in range(30):
                left, right = (processor.run(side.code.segments[0].data, random.Random(case)) for side in sides)
                assert left == right, f"{text}\n{fault.before} => {fault.after}, state {case}"
    assert proved > 5 and refused > 5


def does_assemble(text: str) -> bool:
    try:
        assemble(text, "f", BASE, {}, "llvm")
    except AssemblyError:
        return False
    return True


# -- by inspection, and asserts


def make_seeded_fault(**changes: Any) -> Seeded:
    fault = Seeded(
        "f", "O2", 3, "constant", 9, "addl $5, %eax", "addl $6, %eax", {100: Judged("pass", "", 0.1)}, False, ""
    )
    return replace(fault, **changes)


def test_inspected_faults_are_found_by_their_content(tmp_path: Path) -> None:
    fault = make_seeded_fault()
    path = tmp_path / "equivalent.txt"
    path.write_text(
        f"# why\n\n{as_line('cases/a.c', fault)} | it is dead\n"
        "cases/a.c::f O2 | addl $5, %eax => addl $7, %eax | gone\n"
        "cases/other.c::g O0 | nop => (nothing) | not measured today\n"
    )
    result = Measured(
        "cases/a.c",
        seeded=[replace(fault, number=17), make_seeded_fault(level="O0"), make_seeded_fault(after="addl $4, %eax")],
    )
    unused = apply_inspected([result], read_inspected(path))
    assert [one.proof for one in result.seeded] == ["by inspection: it is dead", "", ""]
    assert unused == ["cases/a.c::f O2 | addl $5, %eax => addl $7, %eax"]


def test_a_line_without_a_reason_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "equivalent.txt"
    path.write_text("cases/a.c::f O2 | nop => (nothing) |\n")
    with pytest.raises(InspectedError, match=r"equivalent.txt:1: expected FILE::FUNCTION LEVEL"):
        read_inspected(path)


def test_the_file_of_inspected_faults_can_be_read() -> None:
    lines = read_inspected(BENCHMARKS / "equivalent.txt")
    assert len({one.fault for one in lines}) == len(lines)


# -- efforts, and known misses


def test_efforts_stand_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "a.c"
    path.write_text("unsigned twice(unsigned x) { return x == 70 ? 9 : x + x; }\n")
    plan = Plan((5,), 6, 1, texts=1, efforts=(0.0, 1.0))
    result = measure("cases/a.c", path, plan)
    assert not result.errors and result.seeded and result.samples
    for one in (*result.samples, *result.seeded):
        assert set(one.by_effort) == {0.0, 1.0} and one.by_effort[1.0] == one.verdicts[5]
        assert one.by_effort[0.0].kind in ("pass", one.by_effort[1.0].kind)
        assert not one.by_effort[0.0].by_second_look
    lines = list(tables.report([result], plan, ()))
    assert lines[lines.index("BY EFFORT") + 2].startswith("0  ")
    parts = lines[lines.index("WHAT EACH PART CATCHES, of the faults that are not shown equivalent") :]
    assert [line.partition("  ")[0] for line in parts[2:5]] == [
        "five fixed asserts",
        "the suite",
        "and the second look, effort 1",
    ]


def test_faults_of_the_kinds_that_steer_are_counted_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.c"
    path.write_text("unsigned twice(unsigned x) { return x == 70 ? 9 : x + x; }\n")
    plan = Plan((20,), 2, 1, texts=1, steering=6)
    result = measure("cases/a.c", path, plan)
    assert not result.errors and {one.kind for one in result.steering} <= set(get_args(MutantKind))
    assert not {one.kind for one in result.steering} & set(KINDS) and not any(one.proof for one in result.steering)
    assert len(result.steering) == 12 and any(one.verdicts[20].kind == "mismatch" for one in result.steering)
    lines = list(tables.report([result], plan, ()))
    rows = lines[lines.index("FAULTS OF THE KINDS BY WHICH SUITES ARE CHOSEN: caught, of all that were made") :]
    assert next(line for line in rows if line.startswith("all ")).endswith(" of 12)")


def test_results_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    source, record = tmp_path / "a.c", tmp_path / "a.json"
    source.write_text("unsigned twice(unsigned x) { return x == 70 ? 9 : x + x; }\n")
    result = measure("cases/a.c", source, Plan((5,), 2, 1, texts=1, efforts=(0.0, 1.0)))
    record.write_text(json.dumps(dataclasses.asdict(result)) + "\n")
    assert read_results(record) == [result] and result.samples and result.seeded
    assert read_results(tmp_path / "none.json") == []


def test_a_folder_with_a_compilation_database_is_a_program(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int times(int);\nint f(int x) { return times(x); }\n")
    (tmp_path / "b.c").write_text("int times(int x) { return (x & 255) * FACTOR; }\nint main(void) { return 0; }\n")
    (tmp_path / "stray.c").write_text("this is no C\n")
    entries = [
        {"directory": str(tmp_path), "file": name, "arguments": ["cc", "-DFACTOR=3", "-c", name]}
        for name in ("a.c", "b.c")
    ]
    (tmp_path / "compile_commands.json").write_text(json.dumps(entries))
    command = [sys.executable, BENCHMARKS / "judge_quality.py", "--folder", tmp_path, "--examples", "5", "--jobs", "1"]
    record = tmp_path / "a.json"
    options = ["--only", "false-alarms", "--texts", "2", "--json", record]
    done = subprocess.run([*command, *options, "--functions", "f,times"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("2 functions in 2 files")
    again = subprocess.run([*command, *options, "--functions", "f", "--resume"], capture_output=True, text=True)
    assert again.stdout.startswith("2 functions in 2 files") and again.stderr == ""
    assert sum(one.functions for one in read_results(record)) == 2


def test_what_the_second_look_adds_is_counted_apart() -> None:
    found, missed = Judged("mismatch", "", 0.1, True), Judged("pass", "", 0.1)
    faults = [
        make_seeded_fault(verdicts={5: found}, by_effort={0.0: missed, 1.0: found}),
        make_seeded_fault(verdicts={5: missed}, by_effort={0.0: missed, 1.0: missed}),
        make_seeded_fault(verdicts={5: missed}, by_effort={0.0: missed, 1.0: missed}, proof="equal"),
    ]
    lines = list(tables.report([Measured("cases/a.c", seeded=faults)], Plan((5,), 1, 1, efforts=(0.0, 1.0)), ()))
    rows = {re.split("  +", line)[0]: re.split("  +", line)[1:] for line in lines if "  " in line}
    assert rows["the suite"] == ["0", "0.00 %", "2"]
    assert rows["and the second look, effort 1"] == ["1", "50.00 %", "1"]
    assert rows["constant"] == ["0.00 % (0 of 2)", "50.00 % (1 of 2)"]


def test_known_misses_are_judged_by_their_content(tmp_path: Path) -> None:
    source = tmp_path / "a.c"
    source.write_text("unsigned twice(unsigned x) { return x + x; }\n")
    text = Reference(read_case(source), Toolchain()).texts.assembly("twice", "O2").split("\n")
    number = next(index for index, line in enumerate(text) if "leal" in line) + 1
    before = " ".join(text[number - 1].split("#")[0].split())
    path = tmp_path / "known.txt"
    path.write_text(
        f"# why\n\ncases/a.c::twice O2 {number} | {before} => {before.replace('leal ', 'leal 1')} | all inputs\n"
        f"cases/a.c::twice O2 {number} | (nothing) => nop | none\n"
        f"cases/a.c::twice O2 {number} | {before} => (nothing) | most inputs\n"
    )
    plan = Plan((5,), 1, 1, efforts=(0.0, 1.0))
    lines = list(judge_known_misses(path, {"cases/a.c": source}, plan))
    assert [is_missed for _, is_missed in lines] == [False, True, False]
    assert lines[0][0].endswith("effort 0: mismatch by the suite, effort 1: mismatch by the suite")
    assert lines[1][0].endswith("effort 0: missed, effort 1: missed")
    path.write_text("cases/a.c::twice O2 1 | addl %esi, %eax => nop | why\n")
    with pytest.raises(InspectedError, match="in line 1"):
        list(judge_known_misses(path, {"cases/a.c": source}, plan))
    path.write_text("cases/a.c::twice O2 | addl %esi, %eax => nop | why\n")
    with pytest.raises(InspectedError, match=r"known.txt:1: expected FILE::FUNCTION LEVEL LINE"):
        read_known_misses(path)


def test_the_file_of_known_misses_fits_the_functions() -> None:
    misses = read_known_misses(BENCHMARKS / "known_misses.txt")
    assert len(set(misses)) == len(misses) > 26
    path = BENCHMARKS / "functions" / "numeric.c"
    reference = Reference(read_case(path), Toolchain())
    own = [miss for miss in misses if miss.file == "functions/numeric.c"]
    for miss in own:
        text = reference.texts.assembly(miss.function, miss.level)
        assert miss.apply(text) != text
    assert own


@pytest.mark.parametrize(
    ("verdict", "seen"),
    [
        (Verdict("pass"), False),
        (Verdict("crash", "read of 4 bytes at 0x0"), True),
        (Verdict("hang", "still running"), True),
        (Verdict("abi", "%rbx is changed"), False),
        (Verdict("mismatch", "return value: expected 1, observed 2"), True),
        (Verdict("mismatch", "out[0]: expected 1, observed 2"), True),
        (Verdict("mismatch", "global counter: expected 1, observed 2"), False),
        (Verdict("mismatch", 'stdout: expected "a", observed "b"'), False),
    ],
)
def test_asserts_see_results_and_crashes_alone(verdict: Verdict, seen: bool) -> None:
    assert is_seen_by_assert(verdict) is seen


# -- the compilers


@pytest.mark.parametrize("target", ["aarch64-linux", "x86_64-windows"])
def test_compilers_of_other_targets(compiled: Compile, target: str) -> None:
    reference = compiled("#include <stddef.h>\nsize_t one(void) { return sizeof(long); }\n", target=target)
    every = dict.fromkeys(name for name, _ in compilers.variants(reference.target))
    assert list(every)[:2] == [compilers.BUNDLED, "bundled clang"]
    size = "4" if target == "x86_64-windows" else "8"
    for name in every:
        text = compilers.assembly(reference, "one", name, "O1")
        assert re.search(rf"mov\w*\s.*\b{size}\b", text), (name, text)


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
def test_a_function_that_a_compiler_does_not_see_is_an_error(compiled: Compile) -> None:
    reference = compiled(
        "#ifdef __clang__\nint twice(int x) { return x * 2 & 7; }\n#endif\nint one(void) { return 1; }\n"
    )
    assert "twice:" in compilers.assembly(reference, "twice", compilers.BUNDLED, "O1")
    assert "one:" in compilers.assembly(reference, "one", "gcc", "O1")
    with pytest.raises(compilers.CompilerError, match="undeclared"):
        compilers.assembly(reference, "twice", "gcc", "O1")

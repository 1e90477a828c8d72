"""The bytes, lines and mnemonics of assembled texts."""

from __future__ import annotations

import pytest
from assembly_runner import (
    ASSEMBLERS,
    BASE,
    MASK,
    assemble_f,
    assemble_f_by_llvm,
    code,
    for_each_assembler,
    run,
)

from pytest_llmcompiler.assembler.assemble import assemble
from pytest_llmcompiler.errors import AssemblyError, LinkError
from pytest_llmcompiler.targets.code import AssemblerName


@for_each_assembler
def test_lines_mnemonics_and_symbols(assembler: AssemblerName) -> None:
    text = "# a comment\n.globl f\nf:\n  xorl %eax, %eax; incl %eax\n  lock\n  incl (%rdi)\n\n.Lend: ret\n  .byte 0x0f, 0x0b\n"
    assembled = assemble_f(text, assembler)
    assert code(assembled).hex() == "31c0ffc0f0ff07c30f0b"
    assert assembled.lines == {BASE: 4, BASE + 2: 4, BASE + 4: 5, BASE + 7: 8, BASE + 8: 9}
    assert list(assembled.mnemonics.values()) == ["xorl", "incl", "incl", "ret", ".byte"]
    assert assembled.symbols == {"f": BASE, ".Lend": BASE + 7}
    assert assembled.external_symbols == frozenset()


@for_each_assembler
def test_mnemonics_of_special_instructions(assembler: AssemblerName) -> None:
    text = "f: rep movsb\n notrack jmp *%rax\n SYSCALL\n endbr64\n hlt\n movaps %xmm0,(%rdi)\n"
    names = list(assemble_f(text, assembler).mnemonics.values())
    assert names == ["movsb", "jmp", "syscall", "endbr64", "hlt", "movaps"]


@for_each_assembler
def test_each_section_has_its_permissions(assembler: AssemblerName) -> None:
    text = (
        "f: ret\n.section .rodata\n.long 1\n.data\n.long 2\n.bss\n.zero 5000\n"
        '.section .both,"awx"\n.byte 0xc3\n.text\n nop\n'
    )
    assembled = assemble_f(text, assembler)
    assert [(s.name, s.address - BASE, len(s.data), s.is_writable, s.is_executable) for s in assembled.segments] == [
        (".text", 0, 2, False, True),
        (".both", 0x1000, 1, True, True),
        (".rodata", 0x2000, 4, False, False),
        (".data", 0x3000, 4, True, False),
        (".bss", 0x4000, 5000, True, False),
    ]


@for_each_assembler
def test_data_directives(assembler: AssemblerName) -> None:
    text = r"""
    f:  ret
        .data
        .byte 1, -1, 'x', 0x7f, 010
        .value -2
        .p2align 2
        .long 1, 0xffffffff
        .quad -1, 0x8000000000000000
        .ascii "a\n\t\"\\\001\177;#", "b"
        .asciz "é"
        .string "x"
        .fill 2, 4, 0x01020304
        .skip 3, 7
        .balign 8, 9
        .zero 1
    """
    text = text.replace("'x'", "120")
    (data,) = (s.data for s in assemble_f(text, assembler).segments if s.name == ".data")
    expected = bytes.fromhex("01ff787f08feff00" + "01000000ffffffff" + "ff" * 8 + "0000000000000080")
    expected += b'a\n\t"\\\x01\x7f;#b' + "é".encode() + b"\0x\0" + b"\4\3\2\1" * 2 + b"\7\7\7"
    expected += b"\x09" * (-len(expected) % 8) + b"\0"
    assert data == expected


def test_numbers_are_decimal() -> None:
    for number in ("16", "0x10", "0b10000", "020"):
        assert code(assemble_f(f"f: movl ${number}, %eax")).hex() == "b810000000"
        if number != "0b10000":
            assert code(assemble_f(f".intel_syntax noprefix\nf: mov eax, {number}")).hex() == "b810000000"


@for_each_assembler
def test_absolute_addresses_are_not_made_relative(assembler: AssemblerName) -> None:
    """Keystone alone would make them relative to RIP."""
    symbols = {"ext": 0x1000100}
    for text, expected in [
        ("movq %fs:40, %rax", "64488b042528000000"),
        ("movq %fs:-8, %rax", "64488b0425f8ffffff"),
        ("movl ext, %eax", "8b042500010001"),
        ("movl %eax, ext+4", "89042504010001"),
        ("movl $5, ext", "c704250001000105000000"),
        ("call *ext", "ff142500010001"),
        ("jmpq *ext+8", "ff242508010001"),
        ("movl 64, %ecx", "8b0c2540000000"),
    ]:
        assert code(assemble_f(f"f: {text}", assembler, symbols)).hex() == expected
    for text, expected in [
        ("mov rax, QWORD PTR fs:40", "64488b042528000000"),
        ("mov rax, fs:[40]", "64488b042528000000"),
        ("mov eax, DWORD PTR [ext]", "8b042500010001"),
        ("mov DWORD PTR ext+4, eax", "89042504010001"),
        ("mov dword ptr [ext], 5", "c704250001000105000000"),
        ("call QWORD PTR [ext]", "ff142500010001"),
    ]:
        assert code(assemble_f(f".intel_syntax noprefix\nf: {text}", assembler, symbols)).hex() == expected


def test_registers_that_keystone_misreads() -> None:
    """The stack pointer can be no index, but keystone drops it silently. Registers never mean symbols of that name."""
    program = {"eax": 0x1000000, "xmm1": 0x1000000, "cl": 0x1000000, "dword": 0x1000000}
    for text, expected in [("mov eax, [rax+rsp]", "8b0404"), ("mov eax, [rsp+rax]", "8b0404"), ("push rsp", "54")]:
        assert code(assemble(f".intel_syntax noprefix\nf: {text}", "f", BASE, program)).hex() == expected
    for text in ("mov eax, [rsp*2]", "mov eax, [rsp+rsp]", "lea eax, [r9+eax]", "call cl", "jmp xmm1"):
        with pytest.raises(AssemblyError):
            assemble(f".intel_syntax noprefix\nf: {text}", "f", BASE, program)


def test_negative_addresses() -> None:
    """Some instructions extend a 32-bit address by its sign, and others by zeros."""
    for text, value in [
        ("mov $g-0x2000000, %rax", -0x1000000),
        ("movq $g-0x2000000, %rax", -0x1000000),
        ("mov $g-0x1000001, %rax", -1),
        ("pushq $g-0x2000000; popq %rax", -0x1000000),
    ]:
        assert run(assemble_f_by_llvm(f"f: {text}\nret", {"g": 0x1000000}), "f") == value & MASK
    for text in ("mov $g-0xfffff0, %rax", "mov $g-0xfffff0, %eax"):
        assert run(assemble_f(f"f: {text}\nret", symbols={"g": 0x1000000}), "f") == 16
    for assembler in ASSEMBLERS:
        with pytest.raises(LinkError, match=r"R_X86_64_32 against 'g' is out of range: -0x1000000 does not fit"):
            assemble("f: mov $g-0x2000000, %eax", "f", BASE, {"g": 0x1000000}, assembler)


@for_each_assembler
@pytest.mark.parametrize("section", [".text", ".data"])
def test_alignments_that_may_skip_no_byte(assembler: AssemblerName, section: str) -> None:
    for operands, error in [(",0", "never be satisfied"), (",-1", "never be satisfied"), ("", "unknown token")]:
        for directive in (".balign 8,", ".p2align 3,"):
            with pytest.raises(AssemblyError, match=error):
                assemble(f"f: ret\n{section}\n.byte 1\n{directive}{operands}\n", "f", BASE, {}, assembler)


def test_padding_with_negative_values() -> None:
    for section, value in ((".text", -1), (".data", -1), (".data", -2)):
        text = f"f: ret\n{section}\n.byte 1\n.balign 16\n.byte 1\n.balign 8, {value}\n"
        assert assemble_f_by_llvm(text).segments[-1].data[-7:] == bytes([value & 255]) * 7


def test_branch_targets_are_no_memory_operands() -> None:
    for text in ("loop .Lx", "jrcxz .Lx", "callq .Lx", "xbegin .Lx", "movabsq .Lx, %rax"):
        text = f"f: {text}\n nop\n.Lx: nop\n"
        assert code(assemble(text, "f", BASE, {})) == code(assemble(text, "f", BASE, {}, "llvm"))


def test_instructions_and_directives_that_keystone_does_not_know() -> None:
    text = """
        .text
        .local f
        .weak f
        .type f, @function
    f:  endbr64
        ret # a comment behind an instruction without operands
        nop /* and another */
        .size f, .-f
        .section .rodata.cst8,"aM",@progbits,8
        .section .note.GNU-stack,"",@progbits
        .ident "x"
        .addrsig
    """
    assert code(assemble_f(text)).hex() == "f30f1efac390"


def test_absolute_references_behind_alignment() -> None:
    """Keystone alone forgets the padding in front of a label in absolute addresses."""
    text = "f: nop\n.p2align 6\n.Lx: nop\n.p2align 5\n.quad .Lx\nmovq $.Lx, %rax\n"
    assert code(assemble_f(text))[96:104] == (BASE + 64).to_bytes(8, "little")
    assert code(assemble_f(text)) == code(assemble_f(text, "llvm"))


def test_jumps_have_their_short_forms() -> None:
    body = "".join(f".L{n}: cmpl ${n}, %edi\n je .L{(n * 37 + 11) % 60}\n jmp .L{n + 1}\n" for n in range(60))
    text = f"f: {body}.L60: ret\n .p2align 4\n .zero 200\n jmp .L3\n"
    assert code(assemble_f(text)) == code(assemble_f(text, "llvm"))


def test_instructions_of_newer_processors_are_assembled() -> None:
    """The emulator decides whether they can be executed."""
    for text in ("vaddps %ymm0, %ymm1, %ymm2", "vpternlogd $1, %zmm0, %zmm1, %zmm2", "vfmadd231sd %xmm0, %xmm1, %xmm2"):
        assert code(assemble_f_by_llvm(f"f: {text}"))
    assert code(assemble_f("f: pdep %rax, %rbx, %rcx"))


def test_another_base() -> None:
    text = "f: leaq .Lx(%rip), %rax\n movq $.Lx, %rcx\n subq %rcx, %rax\n ret\n.data\n.Lx: .quad .Lx\n"
    for assembler in ASSEMBLERS:
        assembled = assemble(text, "f", 0x20000000, {}, assembler)
        assert run(assembled, "f") == 0
        assert assembled.symbols["f"] == 0x20000000

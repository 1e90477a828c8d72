"""Names in a text: symbols of the program, labels, aliases, differences."""

from __future__ import annotations

import pytest
from assembly_runner import (
    BASE,
    assemble_f,
    assemble_f_by_llvm,
    code,
    for_each_assembler,
    get_error,
    run,
)

from pytest_llmcompiler.assembler.assemble import assemble
from pytest_llmcompiler.errors import AssemblyError, LinkError, UnsupportedError
from pytest_llmcompiler.targets.code import AssemblerName


@for_each_assembler
def test_symbols_of_the_program(assembler: AssemblerName) -> None:
    text = """
    f:  pushq %rbx
        call ext@PLT
        movq %rax, %rbx
        addq value(%rip), %rbx
        addq value+8(%rip), %rbx
        movq value@GOTPCREL(%rip), %rcx
        addq (%rcx), %rbx
        movl $value, %ecx
        addq (%rcx), %rbx
        xorl %ecx, %ecx
        addq value(,%rcx,8), %rbx
        movabsq $value, %rcx
        addq 8(%rcx), %rbx
        addq -8+value(%rip), %rbx
        call *pointer(%rip)
        addq %rax, %rbx
        leaq .L.str(%rip), %rax
        addq (%rax), %rbx
        movq %rbx, %rax
        popq %rbx
        jmp finish
        .data
    pointer: .quad ext+0
    """
    symbols = {"ext": 0x1000000, "value": 0x1001008, "finish": 0x1002000, ".L.str": 0x1003000}
    program = {
        0x1000000: bytes.fromhex("b803000000c3"),
        0x1001000: b"".join(n.to_bytes(8, "little") for n in (1 << 32, 100, 10000)),
        0x1002000: bytes.fromhex("48ffc0c3"),
        0x1003000: (1 << 40).to_bytes(8, "little"),
    }
    assembled = assemble_f(text, assembler, symbols)
    expected = 3 + 100 + 10000 + 100 + 100 + 100 + 10000 + (1 << 32) + 3 + (1 << 40) + 1
    assert run(assembled, "f", program=program) == expected
    assert assembled.external_symbols == {"ext", "value", "finish", ".L.str"}
    got = [s for s in assembled.segments if s.name == ".got"]
    assert [(s.is_writable, s.is_executable, s.data) for s in got] == [
        (False, False, (0x1001008).to_bytes(8, "little"))
    ]


@for_each_assembler
def test_symbols_of_the_program_in_intel_syntax(assembler: AssemblerName) -> None:
    text = """
        .intel_syntax noprefix
    f:  push rbx
        call ext
        mov rbx, rax
        add rbx, value[rip]
        add rbx, QWORD PTR [rip+value+8]
        add rbx, QWORD PTR value[rip+8]
        mov rcx, QWORD PTR value@GOTPCREL[rip]
        add rbx, [rcx]
        mov ecx, OFFSET FLAT:value
        add rbx, [rcx]
        mov ecx, offset value+8
        add rbx, [rcx]
        mov edi, edi
        movsx rdx, edi
        add rbx, QWORD PTR value[0+rdx*8]
        jmp [QWORD PTR .Ltable[0+rdx*8]]
    .Lout:
        mov rax, rbx
        pop rbx
        ret
        .section .rodata
    .Ltable: .quad 0, .Lout
    """
    symbols = {"ext": 0x1000000, "value": 0x1001000}
    program = {
        0x1000000: bytes.fromhex("b803000000c3"),
        0x1001000: b"".join(n.to_bytes(8, "little") for n in (100, 10000)),
    }
    assembled = assemble_f(text, assembler, symbols)
    assert run(assembled, "f", 1, program=program) == 3 + 100 + 10000 * 2 + 100 + 100 + 10000 * 2
    assert assembled.external_symbols == {"ext", "value"}


@for_each_assembler
def test_the_program_owns_names_that_both_define(assembler: AssemblerName) -> None:
    """All but the function itself and local labels."""
    text = """
        .globl helper, f, shared
    helper: movl $1, %eax
        ret
    f:  cmpq $0, %rdi
        je .Lbase
        xorl %edi, %edi
        call f
        movl %eax, %esi
        call helper
        addl %esi, %eax
        addl shared(%rip), %eax
        call own
        ret
    .Lbase: movl $1000, %eax
        ret
    own: incl %eax
        ret
        .data
    shared: .long 7
    """
    symbols = {"helper": 0x1000000, "f": 0x1000000, "shared": 0x1001000, ".Lbase": 0x1000000}
    program = {0x1000000: bytes.fromhex("b820000000c3"), 0x1001000: b"\x00\x03\0\0"}
    assembled = assemble_f(text, assembler, symbols)
    assert run(assembled, "f", 1, program=program) == 1000 + 0x20 + 0x300 + 1
    assert assembled.external_symbols == {"helper", "shared"}
    assert assembled.symbols["helper"] == BASE


@for_each_assembler
def test_undefined_symbols_are_named_with_their_lines(assembler: AssemblerName) -> None:
    text = "f:\n  call known\n  call zeta@PLT\n  leaq alpha+4(%rip), %rax\n  call zeta\n  ret\n"
    with pytest.raises(LinkError) as error:
        assemble(text, "f", BASE, {"known": 0x1000000}, assembler)
    assert error.value.message == "undefined symbols: 'alpha' (line 4), 'zeta' (line 3)"
    assert error.value.missing == ("alpha", "zeta")


@for_each_assembler
def test_names_in_strings_are_no_symbols(assembler: AssemblerName) -> None:
    text = r"""
    f:  movb $'"', %al
        leaq data(%rip), %rdx
        ret
        .section .rodata
    data:
        .string "- .Local time", "\" .Local"
        .quad .Local
        .string "call zeta"
    """
    texts = r"""- .Local time~" .Local~{}call zeta~""".replace("~", "\0")
    (data,) = (s.data for s in assemble_f(text, assembler, {".Local": 0x41424344}).segments if s.name == ".rodata")
    assert data == texts.format("DCBA\0\0\0\0").encode()
    with pytest.raises(LinkError, match=r"^undefined symbols: '\.Local' \(line 8\), 'zeta' \(line 10\)$"):
        assemble(f"{text} .quad zeta\n", "f", BASE, {}, assembler)


@for_each_assembler
def test_a_missing_function_names_the_labels(assembler: AssemblerName) -> None:
    with pytest.raises(
        LinkError,
        match=r"^symbol 'f' is not defined: it defines _f, g; _f is Mach-O's name for f: here C's names have no underscore in front$",
    ):
        assemble("_f: ret\n.Lx: g: ret\n", "f", BASE, {"f": 0x1000000}, assembler)
    with pytest.raises(LinkError, match=r"^symbol 'f' is not defined: it defines no symbol$"):
        assemble("ret", "f", BASE, {}, assembler)
    with pytest.raises(LinkError, match=r"^symbol 'f' is not defined: it defines no symbol$"):
        assemble("", "f", BASE, {}, assembler)


@for_each_assembler
def test_symbols_out_of_reach_are_link_errors(assembler: AssemblerName) -> None:
    for text in ("f: call ext", "f: movl ext(%rip), %eax", "f: movq $ext, %rax"):
        with pytest.raises(LinkError, match="against 'ext' is out of range"):
            assemble(text, "f", BASE, {"ext": 0x7F0000000000}, assembler)


@for_each_assembler
def test_aliases(assembler: AssemblerName) -> None:
    text = "g: movl $5, %eax\n ret\n.set f, g\n.set h, f\n.globl f\nmain: call h\n"
    assembled = assemble_f(text, assembler)
    assert assembled.symbols["f"] == assembled.symbols["g"] == BASE
    assert run(assembled, "f") == 5


@for_each_assembler
def test_differences_of_labels(assembler: AssemblerName) -> None:
    text = """
    f:  leaq .Ltable(%rip), %rcx
        movslq (%rcx,%rdi,4), %rax
        addq %rcx, %rax
        jmpq *%rax
    .La: movl $10, %eax
        ret
    .Lb: movl $20, %eax
        ret
        .section .rodata,"a",@progbits
        .p2align 2
    .Ltable:
        .long .La-.Ltable, .Lb-.Ltable
    """
    assembled = assemble_f(text, assembler)
    assert [run(assembled, "f", index) for index in (0, 1)] == [10, 20]


@for_each_assembler
def test_thread_local_variables_need_a_program_with_a_thread(assembler: AssemblerName) -> None:
    with pytest.raises(UnsupportedError, match="R_X86_64_TPOFF32 is not supported"):
        assemble("f: movl %fs:x@tpoff, %eax\n ret\n", "f", BASE, {"x": 0}, assembler)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (".long g@PLT", "00 00 00 f1"),
        ("movl $g@PLT, %eax", "b8 ff ff ff f0"),
        ("movl g@PLT, %eax", "8b 04 25 fd ff ff f0"),
        ("call *g@PLT", "ff 14 25 fd ff ff f0"),
    ],
)
def test_plt_references_are_relative(text: str, expected: str) -> None:
    assembled = assemble_f_by_llvm(f"f: {text}\nnop", {"g": 0x1000000})
    assert code(assembled) == bytes.fromhex(expected) + b"\x90"
    for text in ("call g@PLT", "leaq g@PLT(%rip), %rax", ".long g@PLT-.", ".long g@PLT-f+4, g@PLT-f"):
        text = f"f: nop\n{text}"
        assert code(assemble_f(text, "keystone", {"g": 0x1000000})) == code(assemble_f(text, "llvm", {"g": 0x1000000}))


@for_each_assembler
@pytest.mark.parametrize(
    "text", [".quad g@PLT", ".quad g@PLT-.", ".short g@PLT-f", "movabsq $g@PLT, %rax", ".data; x: .quad g@PLT-x"]
)
def test_plt_references_need_32_bits(assembler: AssemblerName, text: str) -> None:
    with pytest.raises(AssemblyError, match="32 bit reloc applied to a field with a different size"):
        assemble(f"f: nop\n{text}", "f", BASE, {"g": 0x1000000}, assembler)


@for_each_assembler
def test_numeric_labels(assembler: AssemblerName) -> None:
    text = """
    f:  xorl %eax, %eax
    1:  incl %eax
        cmpl %edi, %eax
        jl 1b
        jmp 1f
        movl $99, %eax
    1:  cmpl $100, %eax
        jge 2f
        leaq 1f(%rip), %rcx
        jmp *%rcx
    2:  negl %eax
    1:  ret
        .section .rodata
    1:  .quad 1b
    """
    assembled = assemble_f(text, assembler)
    assert [run(assembled, "f", n) for n in (5, 100)] == [5, -100 & 0xFFFFFFFF]
    (data,) = (s for s in assembled.segments if s.name == ".rodata")
    assert int.from_bytes(data.data, "little") == data.address
    assert set(assembled.symbols) == {"f"}


@for_each_assembler
def test_quoted_labels(assembler: AssemblerName) -> None:
    """A quoted label is a symbol, even if it looks like a numeric label."""
    text = '"a:b": nop\n"1": nop\nf: ret\n"1x": nop\n1: jmp 1b\n.comm "c:d",8\n"e:f" = f\n'
    assembled = assemble_f(text, assembler)
    assert assembled.symbols == {
        "a:b": BASE, "1": BASE + 1, "f": BASE + 2, "1x": BASE + 3, "c:d": BASE + 0x1000, "e:f": BASE + 2,
    }  # fmt: skip
    assert get_error('f: ret\n"1": nop\n"1": nop', assembler) == ("symbol '1' is already defined", 3, 1)
    assert get_error('f: ret\n"1": nop\n jmp 1b', assembler) == ("directional label undefined", 3, 6)
    assert get_error('f: ret\n"1": .string "1f"\n jmp 1f', assembler) == ("numeric label 1f is not defined", 3, 6)


def test_aliases_of_quoted_labels() -> None:
    assert assemble_f_by_llvm('"a:b": nop\n.set g, "a:b"\nf: ret').symbols == {"a:b": BASE, "g": BASE, "f": BASE + 1}


def test_names_like_those_that_are_added_to_the_text() -> None:
    text = "f: jmp .Lllmc0i1\n.Lllmc0i0: nop\n.Lllmc0i1: movl $4, %eax\n ret\nL0: Lbase: nop\n"
    assert run(assemble_f(text), "f") == run(assemble_f(text, "llvm"), "f") == 4

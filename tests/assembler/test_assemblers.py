"""Assembling text by keystone and by LLVM. The code is compared, and executed in unicorn."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, NoReturn, get_args

import pytest
import unicorn
from unicorn import x86_const

from pytest_llmcompiler import sandbox
from pytest_llmcompiler.assembler import keystone_engine, llvm_engine
from pytest_llmcompiler.assembler.assemble import assemble
from pytest_llmcompiler.assembler.job import AssemblerLimits
from pytest_llmcompiler.errors import AssemblyError, ChildDiedError, LinkError, UnsupportedError
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.code import AssembledCode, AssemblerName

BASE = 0x10000000
ASSEMBLERS: tuple[AssemblerName, ...] = get_args(AssemblerName)
CASES = sorted((Path(__file__).parents[2] / "cases").glob("*.c"))
MASK = (1 << 64) - 1
for_each_assembler = pytest.mark.parametrize("assembler", ASSEMBLERS)


def code(assembled: AssembledCode) -> bytes:
    return b"".join(segment.data for segment in assembled.segments if segment.is_executable)


def run(assembled: AssembledCode, function: str, *args: int, program: Mapping[int, bytes] | None = None) -> int:
    """Call a function of integers. `program` is code and data at other addresses; each segment has its own permissions."""
    machine = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    for segment in assembled.segments:
        permissions = unicorn.UC_PROT_READ | 2 * segment.is_writable | 4 * segment.is_executable
        machine.mem_map(segment.address, (len(segment.data) + 4095) & -4096, permissions)
        machine.mem_write(segment.address, segment.data)
    for address, data in (program or {}).items():
        machine.mem_map(address & -4096, 4096)
        machine.mem_write(address, data)
    stack, stop = 0x7FFF00000000, 0x600000
    machine.mem_map(stack, 0x10000)
    machine.mem_map(stop, 4096)
    machine.mem_write(stack + 0x8000, stop.to_bytes(8, "little"))
    machine.reg_write(x86_const.UC_X86_REG_RSP, stack + 0x8000)
    registers = (x86_const.UC_X86_REG_RDI, x86_const.UC_X86_REG_RSI, x86_const.UC_X86_REG_RDX, x86_const.UC_X86_REG_RCX)
    for register, value in zip(registers, args, strict=False):
        machine.reg_write(register, value & MASK)
    machine.emu_start(assembled.symbols[function], stop, count=100_000)
    assert machine.reg_read(x86_const.UC_X86_REG_RIP) == stop
    return int(machine.reg_read(x86_const.UC_X86_REG_RAX))


def assemble_f(
    text: str, assembler: AssemblerName = "keystone", symbols: Mapping[str, int] | None = None
) -> AssembledCode:
    """Assemble a text that defines f, by the given assembler and not by falling back to LLVM."""
    assembled = assemble(text, "f", BASE, symbols or {}, assembler)
    assert (assembled.assembler, assembled.fallback_reason) == (assembler, None)
    return assembled


def assemble_f_by_llvm(text: str, symbols: Mapping[str, int] | None = None) -> AssembledCode:
    """Assemble a text that keystone has to leave to LLVM."""
    assembled = assemble(text, "f", BASE, symbols or {})
    assert assembled.assembler == "llvm"
    assert assembled.fallback_reason
    return assembled


def get_error(text: str, assembler: AssemblerName = "keystone") -> tuple[str, int, int]:
    with pytest.raises(AssemblyError) as error:
        assemble(text, "f", BASE, {}, assembler)
    return error.value.message, error.value.line, error.value.column


class Program(dict[str, int]):
    """A program with an address for every symbol that the text does not define."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.own = set(re.findall(r'^"?([\w.$]+)"?:', text, re.MULTILINE))
        self.own |= set(re.findall(r"\.(?:comm|set)\s+([\w.]+)", text))

    def __contains__(self, name: object) -> bool:
        return name not in self.own and not str(name).startswith(".L")

    def __getitem__(self, name: str) -> int:
        return 0x1000000 + sum(name.encode()) * 16

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if self.__contains__(name) else default


def compile_sources(
    directory: Path, compiler: str, *flags: str, sources: list[Path] = CASES
) -> Iterator[tuple[str, str]]:
    """The name of each source and its assembly by `gcc`, or by the bundled compiler for `clang`."""
    command = ["gcc"]
    if compiler == "clang":
        command = [sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-linux-musl", "-fno-sanitize=all"]
        command += ["-fno-stack-protector", "-g0"]
    for source in sources:
        target = directory / f"{source.stem}.s"
        subprocess.run([*command, "-S", *flags, str(source), "-o", str(target)], check=True, capture_output=True)
        yield source.name, target.read_text()


# -- keystone and LLVM agree


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(("clang", "-O0"), id="clang-O0"),
        pytest.param(("clang", "-O2"), id="clang-O2"),
        pytest.param(("clang", "-O2", "-masm=intel"), id="clang-O2-intel"),
        pytest.param(("gcc", "-O2"), id="gcc-O2"),
        pytest.param(("gcc", "-O0", "-masm=intel"), id="gcc-O0-intel"),
        pytest.param(("gcc", "-O2", "-masm=intel", "-fno-pie", "-fcf-protection=full", "-g"), id="gcc-O2-intel-fixed"),
    ],
)
def test_assemblers_agree_on_whole_files(tmp_path: Path, build: tuple[str, ...]) -> None:
    """They agree on bytes, symbols, lines, mnemonics and external symbols."""
    if build[0] == "gcc" and shutil.which("gcc") is None:
        pytest.skip("no gcc")
    assert CASES
    for name, text in compile_sources(tmp_path, *build):
        function = re.findall(r"^([A-Za-z_]\w*):", text, re.MULTILINE)[0]
        program = Program(text)
        fast = assemble(text, function, BASE, program)
        sure = assemble(text, function, BASE, program, "llvm")
        assert fast.assembler == "keystone", f"{name}: {fast.fallback_reason}"
        assert fast.symbols == sure.symbols, name
        assert fast.lines == sure.lines, name
        assert fast.mnemonics == sure.mnemonics, name
        assert fast.external_symbols == sure.external_symbols, name
        assert [(s.name, s.address, s.is_writable, s.is_executable) for s in fast.segments] == [
            (s.name, s.address, s.is_writable, s.is_executable) for s in sure.segments
        ]
        for ours, theirs in zip(fast.segments, sure.segments, strict=True):
            # The two operands of an exchange of registers may be swapped.
            assert ours.data == theirs.data or "xchg" in text, f"{name}: {ours.name}"


SOURCE = """
static int table[] = {5, -7, 11, 13}; static long counter; const char text[] = "some text";
static long helper(long a, long b) { counter += a; return a * b - counter; }
long f(long a, long b) {
    long sum = 0;
    for (int i = 0; i < 4; i++) sum += table[i] * helper(a, i);
    switch (b & 7) { case 0: sum ^= 17; break; case 1: sum -= 40; break; case 2: sum = -sum; break;
                     case 3: sum *= 3; break; case 4: sum <<= 2; break; case 5: sum /= 7; break; }
    double x = (double)sum * 1.5 + a; unsigned __int128 wide = (unsigned __int128)sum * (unsigned long)b;
    return b > 100 ? f(a, b / 2) + text[b % 9] : sum + (long)x + (long)(wide >> 64) + text[a & 7];
}
"""


@pytest.mark.parametrize("flags", [("-O0",), ("-O2",), ("-O1", "-masm=intel"), ("-O3", "-fno-pic"), ("-Os", "-fPIC")])
@pytest.mark.parametrize("compiler", ["clang", "gcc"])
def test_code_of_both_assemblers_computes_the_same(tmp_path: Path, compiler: str, flags: tuple[str, ...]) -> None:
    if compiler == "gcc" and shutil.which("gcc") is None:
        pytest.skip("no gcc")
    (tmp_path / "a.c").write_text(SOURCE)
    (text,) = (text for _, text in compile_sources(tmp_path, compiler, *flags, sources=[tmp_path / "a.c"]))
    fast, sure = (assemble(text, "f", BASE, {}, assembler) for assembler in ASSEMBLERS)
    for a, b in [(0, 0), (3, 1), (-9, 2), (1 << 40, 3), (5, 4), (77, 5), (-1, 6), (2, 1000), (MASK, 12345)]:
        assert run(fast, "f", a, b) == run(sure, "f", a, b)


def test_assemblers_agree_on_mutated_text(tmp_path: Path) -> None:
    """With keystone asked first, damaged text has the same code as with LLVM alone, or the same error."""
    (tmp_path / "a.c").write_text(SOURCE)
    random = Random(1)
    texts = [
        text
        for flags in (("-O0",), ("-O2", "-masm=intel"))
        for _, text in compile_sources(tmp_path, "clang", *flags, sources=[tmp_path / "a.c"])
    ]
    verdicts = Counter[str]()
    for _ in range(120):
        text = mutate(random, random.choice(texts))
        results: list[object] = []
        for assembler in ASSEMBLERS:
            try:
                result = assemble(text, "f", BASE, {"ext": 0x1000000}, assembler)
                results.append(
                    (result.segments, result.symbols, result.lines, result.mnemonics, result.external_symbols)
                )
                verdicts[result.assembler] += 1
            except (AssemblyError, LinkError) as error:
                results.append((type(error), error.args))
                verdicts["refused"] += 1
        assert results[0] == results[1], text
    assert min(verdicts.values()) > 10, verdicts


def mutate(random: Random, text: str) -> str:
    """Leave out, repeat, insert or change up to four lines of a text."""
    registers = ["rax", "eax", "ah", "ax", "r9", "r9d", "xmm12", "rsp", "rip", "cs", "cl"]
    extra = [".data", ".text", ".p2align 4", ".byte 1,2", "lock", ".quad f", ".long f-.", "call ext", "2:", "endbr64"]
    lines = text.split("\n")
    for _ in range(random.choice([1, 2, 4])):
        place, choice = random.randrange(len(lines)), random.random()
        if choice < 0.2 and ":" not in lines[place]:
            del lines[place]
        elif choice < 0.4 and ":" not in lines[place]:
            lines.insert(random.randrange(len(lines)), lines[place])
        elif choice < 0.6:
            number = random.choice(["0", "255", "256", "65536", "4294967295", "-1", "0x80", "017", "1000000000000"])
            lines[place] = re.sub(r"(?<![\w.])\d+", number, lines[place], count=1)
        elif choice < 0.8:
            pattern = r"(?<=[%, \[])([re][abcd]x|[re][sd]i|r\d+d?|[abcd]l|xmm\d)\b"
            lines[place] = re.sub(pattern, random.choice(registers), lines[place], count=1)
        else:
            lines.insert(place, random.choice(extra))
    return "\n".join(lines)


# -- facts about the code


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


# -- symbols


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
        ret
        .section .rodata
        .string "- .Local time", "\" .Local"
        .quad .Local
        .string "call zeta"
    """
    texts = r"""- .Local time~" .Local~{}call zeta~""".replace("~", "\0")
    (data,) = (s.data for s in assemble_f(text, assembler, {".Local": 0x41424344}).segments if s.name == ".rodata")
    assert data == texts.format("DCBA\0\0\0\0").encode()
    with pytest.raises(LinkError, match=r"^undefined symbols: '\.Local' \(line 6\), 'zeta' \(line 8\)$"):
        assemble(f"{text} .quad zeta\n", "f", BASE, {}, assembler)


@for_each_assembler
def test_a_missing_function_names_the_labels(assembler: AssemblerName) -> None:
    with pytest.raises(LinkError, match=r"^symbol 'f' is not defined: it defines _f, g$"):
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
def test_thread_local_variables_are_unsupported(assembler: AssemblerName) -> None:
    with pytest.raises(UnsupportedError, match="R_X86_64_TPOFF32 against 'x' is not supported"):
        assemble("f: movl %fs:x@tpoff, %eax\n ret\n", "f", BASE, {"x": 0}, assembler)


# -- faults of keystone


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


def test_a_crash_of_keystone() -> None:
    """`mov (%r8),%ah` ends keystone's process. The error is LLVM's."""
    message, line, column = get_error("f: nop\n  movb (%r8), %ah\n")
    assert (message, line, column) == ("can't encode 'ah' in an instruction requiring EVEX/REX2/REX prefix", 2, 3)


def test_killed_child_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keystone's process is killed, then LLVM's process once: LLVM is started again."""
    encode, assemble_object = keystone_engine.encode_text, llvm_engine.assemble_with_llvmlite
    monkeypatch.setattr(keystone_engine, "encode_text", kill_process(encode, "/nonexistent"))
    text = "f: movl $1, %eax\n ret\n"
    assert "keystone: ended by SIGKILL" in str(assemble(text, "f", BASE, {}).fallback_reason)
    marker = f"/tmp/llmc-test-{os.getpid()}"
    monkeypatch.setattr(llvm_engine, "assemble_with_llvmlite", kill_process(assemble_object, marker))
    Path(marker).write_text("")
    try:
        assembled = assemble(text, "f", BASE, {})
    finally:
        Path(marker).unlink(missing_ok=True)
    assert run(assembled, "f") == 1


def kill_process(function: Any, marker: str) -> Any:
    """A function that kills its process: with a marker file once, and in every call for `/nonexistent`."""

    def step(*args: Any) -> Any:
        path = Path(marker)
        if path.exists() or marker == "/nonexistent":
            path.unlink(missing_ok=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args)

    return step


def test_a_child_process_that_another_process_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process watches for the child with keystone, which sleeps, and kills it."""
    encode = keystone_engine.encode_text
    monkeypatch.setattr(keystone_engine, "encode_text", lambda *args: time.sleep(60) or encode(*args))
    text = "f:" + "\n addl $1, %eax" * 20000 + "\n ret\n"
    own = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    others = own.read_text().split()
    watcher = os.fork()
    if watcher == 0:
        kill_first_child(own, {*others, str(os.getpid())})
    try:
        assembled = assemble(text, "f", BASE, {}, limits=AssemblerLimits(keystone_seconds=50))
    finally:
        _, status = os.waitpid(watcher, 0)
    assert status == 0
    assert assembled.assembler == "llvm"
    assert assembled.fallback_reason == "keystone: ended by SIGKILL"
    assert len(assembled.lines) == 20001


def kill_first_child(children: Path, spared: set[str]) -> NoReturn:
    """Kill the first process that appears in the list of children and is not spared; exit with status 0."""
    try:
        end = time.monotonic() + 40
        while time.monotonic() < end:
            for victim in set(children.read_text().split()) - spared:
                os.kill(int(victim), signal.SIGKILL)
                os._exit(0)
            time.sleep(0.005)
    finally:
        os._exit(1)


def test_a_hanging_keystone_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystone_engine, "encode_text", lambda *args: time.sleep(60))
    start = time.monotonic()
    assembled = assemble("f: ret", "f", BASE, {}, limits=AssemblerLimits(keystone_seconds=0.2))
    assert time.monotonic() - start < 10
    assert assembled.fallback_reason == "keystone: not finished after 0.2 s"


MEMORY_LIMIT_SCRIPT = """
from pytest_llmcompiler.errors import AssemblyError
from pytest_llmcompiler.assembler.job import AssemblerLimits
from pytest_llmcompiler.assembler.assemble import assemble
try:
    assemble("f:" + chr(10) + "addl $1, %eax;" * 50000 + "ret", "f", 0x10000000, {}, limits=AssemblerLimits(megabytes=1))
except AssemblyError as error:
    print(error)
"""


def test_the_memory_limit_of_assemblers() -> None:
    """In a fresh process: the children of an older one could use memory that it has freed."""
    result = subprocess.run([sys.executable, "-c", MEMORY_LIMIT_SCRIPT], capture_output=True, text=True, timeout=100)
    assert (result.stdout, result.stderr) == ("LLVM's assembler: ran out of memory\n", "")


@pytest.mark.parametrize(
    "junk",
    [
        "f: mov (%r8),%ah",
        "f: movl $(((((, %eax",
        "f: \\\\ nop",
        "f: nop nop nop",
        "f: ) ( ] [",
        "f: jmp 1f",
        "f: movl $foo+, %eax",
        "f: .byte 1,,2",
        "f: call",
        "f: @@@@",
        "f: {vex3} nop (",
        "f: .quad 1 +",
        "f: .ascii 5",
        "f: .ascii \"\\q\"",
        "f: movl $99999999999999999999999, %eax",
        "f: lea rax, [rax+rax+rax]",
        "f: mov eax, [rip+",
        "f: sete %eax",
        "f: .set x, x",
        "f: addl %eax",
        "f: movq %rax, %xmm99",
        "f: Sorry, I can't compile this function.",
        "f: ```asm",
    ],
)  # fmt: skip
def test_junk_is_an_assembly_error(junk: str) -> None:
    start = time.monotonic()
    message, line, column = get_error(f"nop\n{junk}\n")
    assert message
    assert (line == 2 and column >= 1) or "`" in junk
    assert time.monotonic() - start < 8


def test_errors_have_the_position_in_the_original_text() -> None:
    text = ".globl f\nf:\n\tmovl\t$1, %eax # fine\n\tmovk\t$1, %eax\n\tret\n"
    assert get_error(text) == ("invalid instruction mnemonic 'movk'", 4, 2)
    assert get_error("f: nop; /* x\n y */ mov %eax, %zzz") == ("invalid register name", 2, 17)
    assert get_error('f: nop\n .ascii "é日"; movk %eax') == ("invalid instruction mnemonic 'movk'", 2, 15)
    intel = "f:\n  mov eax, [rdi]\n  movsx rax, edi, 5\n  movsx rax, zzz ptr [rdi]\n"
    assert get_error(intel)[1:] == (3, 3)
    assert get_error("x: lock\n  movk %eax\n")[1:] == (1, 4)
    assert get_error("1: jmp 1b\nf: jmp 1f") == ("numeric label 1f is not defined", 2, 8)


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


@pytest.mark.parametrize(
    "instruction",
    [
        "bt $65535, %ax", "fstp %st, %st(3)", "fxch %st(1), %st", "int1",
        "addq $0x80000000, %rax", "shll $256, %eax", "pushl %eax", "leal 5, 6", "movl %rax, %ebx", "popl %eax",
        "movl (%rax,%rsp,4), %eax", "movl (,%rsp), %eax", "movl (%rax,%ecx), %eax", "movl (%rip,%rax), %eax",
    ],
)  # fmt: skip
def test_instructions_that_only_keystone_accepts_are_errors(instruction: str) -> None:
    message, line, column = get_error(f"f: nop\n {instruction}\n")
    assert message
    assert line == 2
    assert get_error(f"f: nop\n {instruction}\n", "llvm") == (message, line, column)


# -- hostile text


@for_each_assembler
@pytest.mark.parametrize(
    "text",
    [
        'f: .incbin "/etc/passwd"',
        'f: .include "/etc/passwd"',
        "f: .rept 1000000000\nnop\n.endr",
        "f: .fill 1000000000, 8, 1",
        "f: .zero 0x7fffffffffff",
        '.macro m\n.incbin "/etc/passwd"\n.endm\nf: m',
        '.macro m a\n.inc\\a "/etc/passwd"\n.endm\nf: m bin',
        'f: .irp x,bin\n.inc\\x "/etc/passwd"\n.endr',
    ],
)
def test_texts_that_ask_for_files_or_memory(assembler: AssemblerName, text: str) -> None:
    with pytest.raises(AssemblyError, match=r"not supported|asks for too much"):
        assemble(text, "f", BASE, {}, assembler)


def test_no_file_can_be_opened_while_assembling() -> None:
    """The kernel refuses files even to a text that the parser has not seen."""
    with pytest.raises(ChildDiedError) as death:
        sandbox.call(
            llvm_engine.assemble_with_llvmlite,
            llvm_engine.create_target_machine(get_target()),
            get_target().triple,
            'f: .incbin "/etc/passwd"\n',
            seconds=10,
            megabytes=512,
        )
    assert "Could not find incbin file" in death.value.stderr
    answer = sandbox.call(
        keystone_engine.encode_text,
        keystone_engine.create_engine(),
        '.att_syntax prefix\nf: nop\n.incbin "/etc/passwd"\n',
        BASE,
        seconds=10,
        megabytes=512,
    )
    assert b"root" not in (answer if isinstance(answer, bytes) else b"")


def test_names_like_those_that_are_added_to_the_text() -> None:
    text = "f: jmp .Lllmc0i1\n.Lllmc0i0: nop\n.Lllmc0i1: movl $4, %eax\n ret\nL0: Lbase: nop\n"
    assert run(assemble_f(text), "f") == run(assemble_f(text, "llvm"), "f") == 4


def test_a_base_must_be_page_aligned() -> None:
    with pytest.raises(ValueError, match="0x10000001 is not page-aligned"):
        assemble("f: ret", "f", BASE + 1, {})


def test_another_base() -> None:
    text = "f: leaq .Lx(%rip), %rax\n movq $.Lx, %rcx\n subq %rcx, %rax\n ret\n.data\n.Lx: .quad .Lx\n"
    for assembler in ASSEMBLERS:
        assembled = assemble(text, "f", 0x20000000, {}, assembler)
        assert run(assembled, "f") == 0
        assert assembled.symbols["f"] == 0x20000000

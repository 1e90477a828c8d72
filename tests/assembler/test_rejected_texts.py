"""Texts that no assembler accepts, and assemblers that crash, hang or are killed."""

from __future__ import annotations

import itertools
import mmap
import os
import signal
import string
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest
from assembly_runner import (
    BASE,
    for_each_assembler,
    get_error,
    run,
)

from pytest_llmcompiler import sandbox
from pytest_llmcompiler.assembler import keystone_engine, llvm_engine
from pytest_llmcompiler.assembler.assemble import assemble
from pytest_llmcompiler.assembler.job import AssemblerLimits
from pytest_llmcompiler.errors import AssemblyError, ChildDiedError, LinkError
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.code import AssemblerName


def test_a_crash_of_keystone() -> None:
    """`mov (%r8),%ah` ends keystone's process. The error is LLVM's."""
    message, line, column = get_error("f: nop\n  movb (%r8), %ah\n")
    assert (message, line, column) == ("can't encode 'ah' in an instruction requiring EVEX/REX2/REX prefix", 2, 3)


def test_killed_child_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keystone's process is killed, then LLVM's process once: LLVM is started again."""
    encode, assemble_object = keystone_engine.encode_text, llvm_engine.assemble_with_llvmlite
    monkeypatch.setattr(keystone_engine, "encode_text", kill_process(encode, 2**7))
    text = "f: movl $23571113, %eax\n ret\n"  # an instruction whose bytes no other test has asked for
    assert "killed from outside" in str(assemble(text, "f", BASE, {}).fallback_reason)
    monkeypatch.setattr(llvm_engine, "assemble_with_llvmlite", kill_process(assemble_object, 1))
    assert run(assemble(text, "f", BASE, {}), "f") == 23571113


def kill_process(function: Any, times: int) -> Any:
    """A function that kills its process, so many times. The processes count in memory that they share."""
    left = mmap.mmap(-1, 1)
    left[0] = times

    def step(*args: Any) -> Any:
        if left[0]:
            left[0] -= 1
            signal.raise_signal(signal.SIGKILL)
        return function(*args)

    return step


def test_a_child_process_that_another_process_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process watches for the child with keystone, which sleeps, and kills it."""
    encode = keystone_engine.encode_text
    monkeypatch.setattr(keystone_engine, "encode_text", lambda *args: time.sleep(60) or encode(*args))
    text = "f:" + "\n addl $23571117, %eax" * 20000 + "\n ret\n"
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
    assert "killed from outside" in str(assembled.fallback_reason)
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
    monkeypatch.setattr(keystone_engine, "encode_text", lambda *args: spin())
    text = "f: movl $23571119, %eax\n ret"
    assembled = assemble(text, "f", BASE, {}, limits=AssemblerLimits(keystone_seconds=1))
    assert assembled.fallback_reason == "keystone: not finished after 1 s"


def spin() -> NoReturn:
    """Never end."""
    while True:
        pass


MEMORY_LIMIT_SCRIPT = """
from pytest_llmcompiler.errors import AssemblyError
from pytest_llmcompiler.assembler.job import AssemblerLimits
from pytest_llmcompiler.assembler.assemble import assemble
try:
    code = "".join(f"addl ${number}, %eax;" for number in range(50000))
    assemble("f:" + chr(10) + code + "ret", "f", 0x10000000, {}, limits=AssemblerLimits(megabytes=1))
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


def test_a_base_must_be_page_aligned() -> None:
    with pytest.raises(ValueError, match="0x10000001 is not page-aligned"):
        assemble("f: ret", "f", BASE + 1, {})


LONG = 200_000
"""Characters for which time that grows with the square of the length would be many times a test's limit."""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"f:\n\tmovl a{' ' * LONG}b, %eax\n", "unexpected token in argument list"),
        (f"f:\n\tmovl a{' ' * LONG}=\n", "unexpected token in argument list"),
        (f"f:\n\tmovl (%rax{',' * LONG}), %eax\n", "unknown token in expression"),
        (f"f:\n\tret\n.data\n.byte (1),{'1,' * LONG}1 1\n", "unexpected token"),
    ],
    ids=["blanks", "blanks and a sign", "commas in parentheses", "commas"],
)
def test_long_statements(text: str, message: str) -> None:
    """Reading takes time linear in the length."""
    with pytest.raises(AssemblyError, match=message):
        assemble(text, "f", BASE, {})


def test_an_undefined_label_all_of_whose_new_spellings_are_taken() -> None:
    """LLVM gets `.Lfoo` under another name of the same length: here none with one other letter is free."""
    words = " ".join(f"{letter}Lfoo" for letter in string.ascii_letters)
    with pytest.raises(LinkError, match=r"undefined symbol: '\.Lfoo' \(line 3\)"):
        assemble(f"# {words}\nf:\n\tjmp .Lfoo\n", "f", BASE, {}, "llvm")
    with pytest.raises(AssemblyError, match=r"no other name for the undefined label \.L"):
        assemble(
            f"# {' '.join(map(''.join, itertools.product(string.ascii_letters, repeat=2)))} "
            f"{' '.join(f'{letter}L' for letter in string.ascii_letters)}\nf:\n\tjmp .L\n",
            "f",
            BASE,
            {},
            "llvm",
        )


def test_of_many_undefined_names_the_first_are_named() -> None:
    calls = "".join(f"\tcall u{number}\n" for number in range(5000))
    with pytest.raises(LinkError, match=r"undefined symbols: 'u0' \(line 2\), .* and 4990 more"):
        assemble(f"f:\n{calls}", "f", BASE, {})


def test_too_many_sections() -> None:
    sections = "".join(f'.section .s{number},"ax"\nnop\n' for number in range(2100))
    with pytest.raises(AssemblyError, match="more than 2000 sections"):
        assemble(f"f:\n\tret\n{sections}", "f", BASE, {})

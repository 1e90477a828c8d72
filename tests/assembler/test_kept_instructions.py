"""Instructions and lines that are kept for the next texts, and the layout that is found without keystone."""

from __future__ import annotations

import random
import struct

import pytest
from assembly_runner import BASE, assemble_f, code

from pytest_llmcompiler.assembler import gas_lines, instruction_forms
from pytest_llmcompiler.assembler.assemble import assemble
from pytest_llmcompiler.assembler.gas import parse_assembly
from pytest_llmcompiler.assembler.gas_lines import GasLineReader
from pytest_llmcompiler.assembler.job import AssemblerLimits
from pytest_llmcompiler.assembler.keystone_engine import run_keystone
from pytest_llmcompiler.errors import AssemblyError
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.code import AssembledCode


class Encoder:
    """Keystone, with what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, text: str, base: int, limits: AssemblerLimits) -> bytes:
        self.asked.append(text)
        return run_keystone(text, base, limits)

    def assemble(self, text: str) -> AssembledCode:
        """The code of a text that defines `f`."""
        return assemble(text, "f", BASE, {"outside": 0x1000}, encode=self)


def test_equal_instructions_are_encoded_once() -> None:
    encoder = Encoder()
    first = encoder.assemble("f:\n movl $81273441, %eax\n movq table+1(%rip), %rdx\n ret\n.data\ntable: .quad 1, 2\n")
    again = "# other labels\n f: movl $81273441,%eax\n 1: movq words(%rip), %rdx; jne 1b\n call outside\n ret\nwords: .quad 3"
    second = encoder.assemble(again)
    assert len(encoder.asked) == 1
    assert code(first)[:5] == code(second)[:5] == b"\xb8" + struct.pack("<I", 81273441)
    assert code(second) == code(assemble(again, "f", BASE, {"outside": 0x1000}, "llvm"))
    assert dict(second.lines) == {BASE: 2, BASE + 5: 3, BASE + 12: 3, BASE + 14: 4, BASE + 19: 5, BASE + 20: 6}


@pytest.mark.parametrize("instruction", ["loop 268435460", "jrcxz 268435460", "jmp 268435460", "xbegin 268435460"])
def test_no_text_changes_the_code_of_another_one(instruction: str) -> None:
    """The bytes of a branch to a number depend on its place."""
    head = "f: .intel_syntax noprefix\n xor eax, eax\n"
    for text in (f"{head} {instruction}\n ret\n", f"{head} xor ecx, ecx\n {instruction}\n ret\n"):
        with pytest.raises(AssemblyError):
            assemble(text, "f", BASE, {})


@pytest.mark.parametrize("wrong", [b"\x90\x90", b"\x0f", b"\xb8\x01\x00\x00\x00\xc3"])
def test_bytes_that_are_not_one_instruction_are_not_kept(wrong: bytes) -> None:
    """A process that a text has taken over may say anything of the instructions of that text."""
    text = f"f: addl ${40_000_000 + len(wrong)}, %r9d\n"
    own = assemble(text, "f", BASE, {}, encode=lambda *_: wrong + struct.pack("<I", len(wrong)))
    assert code(own) == wrong
    assert code(assemble(text, "f", BASE, {})) == code(assemble(text, "f", BASE, {}, "llvm"))


def test_a_text_with_many_instructions_leaves_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instruction_forms, "_KEPT_OF_TEXT", 2)
    encoder = Encoder()
    text = "f: ret\n" + "".join(f" addl ${number}, %r13d\n" for number in range(70_000_000, 70_000_005))
    encoder.assemble(text)
    encoder.assemble(text)
    assert [asked.count("addl") for asked in encoder.asked][1] >= 3


@pytest.mark.parametrize("seed", range(6))
def test_jumps_and_paddings_lie_where_llvm_has_them(seed: int) -> None:
    """Jumps that are just short enough, in both directions, across paddings and sections."""
    rng = random.Random(seed)
    lines = ["f:"]
    for number in range(120):
        lines += (f".L{number}:", f" jne .L{rng.randrange(max(0, number - 14), min(120, number + 15))}")
        lines += [rng.choice((" incl %eax", " movl $5, %ecx", " .p2align 4", " .p2align 4,,7", " .byte 1, 2", " ret"))]
        lines += [" leaq 300(%rax,%rbx,4), %r10"] * rng.randrange(3)
        if rng.random() < 0.05:
            lines += (rng.choice((' .section .text.cold,"ax"', " .text")), f" jmp .L{rng.randrange(120)}")
    text = "\n".join(lines) + "\n"
    own, expected = assemble_f(text, "keystone"), assemble_f(text, "llvm")
    assert own.assembler == "keystone"
    assert own.segments == expected.segments
    assert dict(own.lines) == dict(expected.lines)


def test_lines_are_kept_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gas_lines, "_KEPT_BYTES", 5_000)
    reader = GasLineReader(get_target().dialect)
    first = reader.read("\tmovl\t%eax, %ebx # one")
    for number in range(100):
        assert reader.read(f" movl ${number}, %eax\n\tmovl\t%eax, %ebx # one\n# " + "x" * 200)
        assert len(reader._lines) <= 10 and len(reader._older) <= 10  # 600 bytes and more each
    again = reader.read("\tmovl\t%eax, %ebx # one")
    assert first and again and first[0] is again[0]  # it was asked for all the time
    assert not any("xxx" in line for line in (*reader._lines, *reader._older))


def test_lines_that_are_kept_mean_the_same_in_other_places() -> None:
    """Section, syntax and prefix in front of a line have their say although the line is known."""
    text = "f: lock\n incl (%rdi)\n.data\n incl (%rdi)\n.text\n incl (%rdi)\n.intel_syntax noprefix\n inc eax\n"
    parsed = parse_assembly(text, get_target().dialect)
    found = [(one.text, one.section, one.syntax) for one in parsed.statements if one.kind == "instruction"]
    assert found == [
        ("lock  incl (%rdi)", 0, "att"),
        ("incl (%rdi)", 1, "att"),
        ("incl (%rdi)", 0, "att"),
        ("inc eax", 0, "intel"),
    ]

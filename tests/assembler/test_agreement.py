"""Keystone and LLVM make the same of compiled and of mutated texts."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from assembly_runner import (
    ASSEMBLERS,
    BASE,
    CASES,
    MASK,
    Program,
    compile_sources,
    run,
)

from pytest_llmcompiler.assembler.assemble import assemble
from pytest_llmcompiler.errors import AssemblyError, LinkError


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

"""Texts for the assemblers, assembled, and their code run in unicorn."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import unicorn
from unicorn import x86_const

from pytest_llmcompiler.assembler.assemble import assemble
from pytest_llmcompiler.errors import AssemblyError
from pytest_llmcompiler.targets.code import AssembledCode, AssemblerName

BASE = 0x10000000


ASSEMBLERS: tuple[AssemblerName, ...] = get_args(AssemblerName)


CASES = sorted((Path(__file__).parents[1] / "cases").glob("*.c"))


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

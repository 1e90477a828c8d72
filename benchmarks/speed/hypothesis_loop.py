"""The contender that one writes in Python in an afternoon: hypothesis draws arguments, and each example gets a fresh
unicorn engine in which the reference and the answer run."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import unicorn
from elftools.elf.elffile import ELFFile
from hypothesis import HealthCheck, Verbosity, given, reject, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from unicorn import x86_const as x86

from pytest_llmcompiler.judge.harness import JudgeSettings
from pytest_llmcompiler.values.c_types import Array, Float, Int, Pointer, Struct, Type
from speed.answers import MeasuredFunction, open_reference
from speed.compile_and_run import strip_for_gas
from speed.driver import NotExpressibleError

_REFERENCE_BASE, _ANSWER_BASE = 0x400000, 0x10400000
_STACK, _STACK_BYTES = 0x7FFF00000000, 1 << 16
_BUFFERS, _PAGE = 0x20000000, 4096
_RETURN = 0x30000000
_MAX_INSTRUCTIONS = 100_000
"""Instructions of one run: a loop that does not end must not end the loop over examples."""
_ELEMENTS = 32
"""Elements of each buffer, so that lengths from 0 to 32 are right."""
_INTEGERS = (x86.UC_X86_REG_RDI, x86.UC_X86_REG_RSI, x86.UC_X86_REG_RDX)
_INTEGERS += (x86.UC_X86_REG_RCX, x86.UC_X86_REG_R8, x86.UC_X86_REG_R9)
_VECTORS = tuple(getattr(x86, f"UC_X86_REG_XMM{number}") for number in range(8))
Segments = list[tuple[int, bytes, int]]
"""Address, contents, and size in memory of each loaded piece."""


class HypothesisLoop:
    """The loop for one function. `rest` is an object with the rest of the program.

    Raises NotExpressibleError for structs by value, pointers to pointers and functions, and many arguments.
    """

    def __init__(self, function: MeasuredFunction, folder: Path) -> None:
        reference = open_reference(function.path)
        signature = reference.signatures[function.name]
        self._function, self._folder = function.name, folder
        self._types = [param.type for param in signature.params]
        self._result = signature.result
        if signature.variadic or isinstance(signature.result, Struct):
            raise NotExpressibleError("variable arguments or a struct as result")
        if sum(not isinstance(type, Float) for type in self._types) > len(_INTEGERS):
            raise NotExpressibleError("many arguments")
        self._has_buffers = any(isinstance(type, Pointer) for type in self._types)
        self._strategy = st.tuples(*map(self._draw, self._types))
        self._reference = self._link(reference.texts.assembly(function.name, "O0"), _REFERENCE_BASE)

    def passes(self, text: str) -> bool:
        """Whether the answer does what the reference does on a hundred examples. Raises NotExpressibleError where the
        reference has too few: its callees are not in the program, or it does not end."""
        answer = self._link(text, _ANSWER_BASE)

        @settings(
            max_examples=JudgeSettings().examples,
            database=None,
            deadline=None,
            verbosity=Verbosity.quiet,
            suppress_health_check=list(HealthCheck),
        )
        @given(self._strategy)
        def compare(arguments: tuple[int | float | bytes, ...]) -> None:
            engine = self._open_engine(self._reference[1] + answer[1])
            expected = self._run(engine, self._reference[0], arguments)
            if expected is None:
                reject()
            assert self._run(engine, answer[0], arguments) == expected

        try:
            compare()
        except AssertionError:
            return False
        except Unsatisfiable:
            raise NotExpressibleError("the reference does not run on drawn arguments") from None
        return True

    def _draw(self, type: Type) -> st.SearchStrategy[int | float | bytes]:
        if isinstance(type, Int) and type.size <= 8:
            low, high = type.bounds
            return st.integers(max(low, 0), min(high, _ELEMENTS)) if self._has_buffers else st.integers(low, high)
        if isinstance(type, Float):
            return st.floats(width=32 if type.size == 4 else 64)
        if isinstance(type, Pointer) and _is_plain(type.target):
            size = min(_PAGE, _ELEMENTS * (type.target.size if type.target else 1))
            # The last byte is zero, so that a text ends.
            return st.binary(min_size=size - 1, max_size=size - 1).map(lambda data: data + b"\0")
        raise NotExpressibleError("a type that the loop does not draw")

    def _link(self, text: str, base: int) -> tuple[int, Segments]:
        """The address of the function and the pieces of the program, linked without the C library."""
        (self._folder / "loop.s").write_text(f'{strip_for_gas(text)}\t.globl "{self._function}"\n', encoding="utf-8")
        flags = ("-nostdlib", "-static", "-no-pie", "-w", "-z", "muldefs", f"-Wl,-Ttext-segment={base:#x}")
        flags += ("-Wl,--unresolved-symbols=ignore-all", f"-Wl,-e,{self._function}", "-z", "noseparate-code")
        done = subprocess.run(
            ["gcc", *flags, "loop.s", "rest.o", "-o", "loop"], cwd=self._folder, stderr=subprocess.DEVNULL
        )
        if done.returncode:
            raise NotExpressibleError("the answer does not link without the C library")
        with (self._folder / "loop").open("rb") as file:
            program = ELFFile(file)
            return program.header["e_entry"], list(_read_segments(program))

    def _open_engine(self, segments: Segments) -> unicorn.Uc:
        engine = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        for address, data, size in segments:
            start, end = address & -_PAGE, (address + size + _PAGE - 1) & -_PAGE
            engine.mem_map(start, end - start)
            engine.mem_write(address, data)
        engine.mem_map(_STACK, _STACK_BYTES)
        engine.mem_map(_RETURN, _PAGE)
        for number, type in enumerate(self._types):
            if isinstance(type, Pointer):
                engine.mem_map(_BUFFERS + 2 * _PAGE * number, _PAGE)
        return engine

    def _run(
        self, engine: unicorn.Uc, start: int, arguments: tuple[int | float | bytes, ...]
    ) -> tuple[int, list[bytes]] | None:
        """The result and the buffers; None where the run does not come to its end."""
        integers, vectors = iter(_INTEGERS), iter(_VECTORS)
        places = []
        for number, (type, value) in enumerate(zip(self._types, arguments)):
            if isinstance(value, bytes):
                places.append((_BUFFERS + 2 * _PAGE * number, len(value)))
                engine.mem_write(places[-1][0], value)
                engine.reg_write(next(integers), places[-1][0])
            elif isinstance(value, float):
                packed = struct.pack("<f" if type.size == 4 else "<d", value)
                engine.reg_write(next(vectors), int.from_bytes(packed, "little"))
            else:
                engine.reg_write(next(integers), value & (1 << 64) - 1)
        stack = _STACK + _STACK_BYTES - 4096 - 8
        engine.mem_write(stack, _RETURN.to_bytes(8, "little"))
        engine.reg_write(x86.UC_X86_REG_RSP, stack)
        try:
            engine.emu_start(start, _RETURN, count=_MAX_INSTRUCTIONS)
        except unicorn.UcError:
            return None
        if engine.reg_read(x86.UC_X86_REG_RIP) != _RETURN:
            return None
        return self._read_result(engine), [bytes(engine.mem_read(*place)) for place in places]

    def _read_result(self, engine: unicorn.Uc) -> int:
        if self._result is None:
            return 0
        register = x86.UC_X86_REG_XMM0 if isinstance(self._result, Float) else x86.UC_X86_REG_RAX
        return engine.reg_read(register) & (1 << 8 * self._result.size) - 1


def _read_segments(program: ELFFile) -> Iterator[tuple[int, bytes, int]]:
    """All loaded pieces as one: they may share pages."""
    loaded = [segment for segment in program.iter_segments() if segment["p_type"] == "PT_LOAD" and segment["p_memsz"]]
    start = min(segment["p_vaddr"] for segment in loaded)
    image = bytearray(max(segment["p_vaddr"] + segment["p_memsz"] for segment in loaded) - start)
    for segment in loaded:
        data = segment.data()
        image[segment["p_vaddr"] - start : segment["p_vaddr"] - start + len(data)] = data
    yield start, bytes(image), len(image)


def _is_plain(type: Type | None) -> bool:
    """Whether a type has no pointers in it."""
    if isinstance(type, Array):
        return _is_plain(type.element)
    if isinstance(type, Struct):
        return bool(type.fields) and all(_is_plain(member.type) for member in type.fields)
    return type is None or isinstance(type, Int | Float)

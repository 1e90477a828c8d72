"""x86-64 Windows: the Microsoft calling convention, as MinGW's compilers keep it, and the texts that they write.

Code runs in a process of Linux, whose C library it calls by way of `x86_64_windows.c`.

Sources: Microsoft, "x64 calling convention" and "x64 ABI conventions"; GNU as, section 9.18 (COFF); Microsoft, "PE
Format", section 4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_llmcompiler.errors import UnsupportedError
from pytest_llmcompiler.targets.abi import ArgumentLocation, CallingConvention, ResultLocation
from pytest_llmcompiler.targets.dialect import Dialect
from pytest_llmcompiler.targets.target import ForeignSystem, Target, compile_triple_pattern
from pytest_llmcompiler.targets.x86_64_linux import TARGET as LINUX
from pytest_llmcompiler.targets.x86_64_linux import X86
from pytest_llmcompiler.values.c_types import Array, Float, Function, Int, Struct, Type

# -- the calling convention

_VECTORS = tuple(f"xmm{number}" for number in range(16))


class Microsoft(CallingConvention):
    """The convention of x86-64 Windows: an argument's register goes by its position. What a narrow integer leaves of
    its register is undefined. No memory below the stack pointer is safe."""

    integer_registers = ("rcx", "rdx", "r8", "r9")
    return_register = "rax"
    callee_saved = ("rbx", "rbp", "rdi", "rsi", "r12", "r13", "r14", "r15", *_VECTORS[6:])
    caller_saved = ("rax", "rcx", "rdx", "r8", "r9", "r10", "r11")
    vector_registers = _VECTORS[:6]
    caller_extends = False
    red_zone = 0
    shadow_space = 32
    copy_alignment = 16
    exempt_functions = frozenset(("___chkstk_ms", "__chkstk"))

    def locate_result(self, function: Function) -> ResultLocation:
        """Where the result of a function is found."""
        type = function.result
        if type is None or type.size == 0:
            return ResultLocation((), False)
        if isinstance(type, Float):
            return ResultLocation(("xmm0",), False)
        if _is_pair(type):
            return ResultLocation(("rax", "rdx"), False)
        if isinstance(type, Int) and type.size == 16:
            return ResultLocation(("xmm0",), False, 16)
        return ResultLocation(("rax",), not _fits(type))

    def locate_arguments(self, types: Sequence[Type]) -> list[ArgumentLocation]:
        """Where arguments of these types go."""
        found, number = [], 0
        for type in types:
            count = 2 if _is_pair(type) else 1
            if number == len(self.integer_registers) - 1 and count == 2:
                raise UnsupportedError("an i128 that is parted between a register and the stack")
            registers = (_VECTORS[:4] if isinstance(type, Float) else self.integer_registers)[number : number + count]
            indirect = count == 1 and not _fits(type)
            found.append(ArgumentLocation(registers, 8 * number, is_indirect=indirect))
            number += count
        return found

    def convert_variadic_type(self, type: Type) -> Type:
        """What an argument is passed as for which a variadic function has no parameter."""
        return Int(type.size, False, type.name) if isinstance(type, Float) else type

    def find_variadic_registers(self, registers: Mapping[str, int]) -> dict[str, int]:
        """Who is called looks for a floating-point number in the integer register of its position."""
        pairs = zip(self.integer_registers, _VECTORS)
        return {integer: registers[vector] & (1 << 64) - 1 for integer, vector in pairs if vector in registers}


def _is_pair(type: Type) -> bool:
    """Whether it is IR's own integer of 128 bits, of which LLVM makes two of 64. C's goes by reference."""
    return isinstance(type, Int) and type.name == "i128"


def _fits(type: Type) -> bool:
    """Whether a type is passed in a register, rather than as the address of a copy."""
    return type.size in (1, 2, 4, 8) if isinstance(type, (Struct, Array)) else type.size <= 8


# -- the processor

_PUSHING = re.compile(r"push\w*|call\w*|enter\w*")


class Windows(X86):
    """The same processor."""

    def accesses_below_stack_pointer(self, code: bytes, address: int) -> bool:
        """Whether an instruction itself moves the stack pointer to below what it writes or reads."""
        return _PUSHING.fullmatch(self.decode(code, address).mnemonic) is not None


# -- text

_UNLOADED = re.compile(r"\.(pdata|xdata|drectve|debug|llvm)")


def _flags(title: str, flags: str) -> str:
    """What the flags of a COFF section are in ELF. Without flags its name tells them."""
    if _UNLOADED.match(title) or "n" in flags:
        return "e"
    if not flags:
        flags = "x" if title.startswith(".text") else "r" if title.startswith(".rdata") else "w"
    return "a" + "x" * ("x" in flags) + "w" * (("w" in flags or "b" in flags) and "x" not in flags)


_SEH = ("proc", "endproc", "pushreg", "setframe", "stackalloc", "savereg", "savexmm", "pushframe", "endprologue")
_SEH_REST = ("startepilogue", "endepilogue", "handler", "startchained", "endchained", "unwindversion", "unwindv2start")
_CODEVIEW = ("file", "loc", "func_id", "inline_site_id")
_CODEVIEW_TABLES = (
    *("linetable", "inline_linetable", "stringtable", "filechecksums", "filechecksumoffset", "def_range", "fpo_data"),
)

TARGET = Target(
    name="x86_64-windows",
    triple="x86_64-w64-windows-gnu",
    accepted_triples=compile_triple_pattern(
        "x86_64|amd64", "unknown|none|pc|w64", r"(?:windows|win32|mingw32)(?:-(?:gnu|msvc)[\w.]*)?"
    ),
    cpu=LINUX.cpu,
    feature_attribute=LINUX.feature_attribute,
    zig_target=LINUX.zig_target,
    header_folders=LINUX.header_folders,
    runtime_functions=(),
    load_address=LINUX.load_address,
    is_native=False,
    convention=Microsoft(),
    processor=Windows(),
    dialect=Dialect(
        detect_syntax=LINUX.dialect.detect_syntax,
        syntax_directives=LINUX.dialect.syntax_directives,
        integer_widths=LINUX.dialect.integer_widths,
        prefixes=LINUX.dialect.prefixes,
        comment_starts=LINUX.dialect.comment_starts,
        ignored_directives=frozenset(
            (".def", ".scl", ".endef", ".linkonce", ".safeseh", *(f".seh_{name}" for name in (*_SEH, *_SEH_REST)))
        ).union(f".cv_{name}" for name in _CODEVIEW),
        unloaded_directives=frozenset((".secrel32", ".secidx", *(f".cv_{name}" for name in _CODEVIEW_TABLES))),
        ignored_statement=re.compile(r"@feat\.00\s*=.*"),
        accepts_masm=True,
        convert_section_flags=_flags,
        comm_takes_exponent=True,
    ),
    relocations=LINUX.relocations._replace(import_prefix="__imp_"),
    is_instruction=LINUX.is_instruction,
    has_keystone=True,
    foreign_system=ForeignSystem(
        host=LINUX,
        object_triple="x86_64-w64-windows-gnu-elf",
        header_folder=Path(__file__).with_name("windows"),
        library_wrapper=Path(__file__).with_suffix(".c"),
        symbol_prefix="win64.",
        implicit_functions=(
            *("memcpy", "memmove", "memset", "memcmp", "bcmp", "strlen", "__main", "___chkstk_ms", "__popcountdi2"),
            *("fmod", "fmodf", "floor", "floorf", "ceil", "ceilf", "trunc", "truncf", "rint", "rintf", "round"),
            *("roundf", "nearbyint", "nearbyintf", "fma", "fmaf", "fmin", "fminf", "fmax", "fmaxf", "ldexp", "ldexpf"),
            *("sin", "sinf", "cos", "cosf", "exp", "expf", "exp2", "exp2f", "log", "logf", "log2", "log2f", "log10"),
            *("log10f", "pow", "powf", "__popcountsi2"),
            *(f"__{name}ti3" for name in ("div", "mod", "udiv", "umod", "mul")),
            *(f"__fix{sign}{kind}ti" for sign in ("", "uns") for kind in ("df", "sf")),
            *(f"__float{sign}ti{kind}" for sign in ("", "un") for kind in ("df", "sf")),
        ),
        unwrapped_functions=frozenset(
            (
                *("setjmp", "_setjmp", "sigsetjmp", "longjmp", "siglongjmp", "atexit", "signal", "pthread_create"),
                *("localtime", "localtime_r", "gmtime", "gmtime_r", "mktime", "timegm", "strftime", "asctime"),
                *("wcslen", "wcscpy", "wcscmp", "wprintf", "swprintf", "mbstowcs", "wcstombs", "mbtowc", "wctomb"),
            )
        ),
    ),
)

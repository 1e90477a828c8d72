"""x86-64 Windows: the Microsoft calling convention as MinGW's compilers implement it, and their assembly text.

The code runs in a Linux process. It calls the C library of that process through the wrapper `x86_64_windows.c`.

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
from pytest_llmcompiler.values.c_types import Array, Float, Function, Int, Struct, Type, Vector

# -- the calling convention

_VECTORS = tuple(f"xmm{number}" for number in range(16))


class MicrosoftX64(CallingConvention):
    """The convention of x86-64 Windows.

    The register of an argument depends on its position alone: the second argument is in rdx or xmm1. The upper bits of
    a register that holds a narrow integer are undefined. There is no red zone.
    """

    integer_registers = ("rcx", "rdx", "r8", "r9")
    return_register = "rax"
    result_registers = ("rax", "xmm0")
    float_result_register = "xmm0"
    callee_saved = ("rbx", "rbp", "rdi", "rsi", "r12", "r13", "r14", "r15", *_VECTORS[6:])
    caller_saved = ("rax", "rcx", "rdx", "r8", "r9", "r10", "r11")
    vector_registers = _VECTORS[:6]
    caller_extends = False
    red_zone = 0
    shadow_space = 32
    copy_alignment = 16
    vector_sizes = frozenset((16,))
    exempt_functions = frozenset(("___chkstk_ms", "__chkstk"))

    def locate_result(self, function: Function) -> ResultLocation:
        """Where a function leaves its result."""
        type = function.result
        if type is None or type.size == 0:
            return ResultLocation((), False)
        if isinstance(type, (Float, Vector)):
            return ResultLocation(("xmm0",), False, type.size)
        if _is_register_pair(type):
            return ResultLocation(("rax", "rdx"), False)
        if isinstance(type, Int) and type.size == 16:
            return ResultLocation(("xmm0",), False, 16)
        return ResultLocation(("rax",), not _fits_register(type))

    def locate_arguments(self, types: Sequence[Type]) -> list[ArgumentLocation]:
        """Where arguments of these types are passed: each has a slot of 8 bytes, and the first four a register too.

        Raises UnsupportedError for a 128-bit integer of IR of which only the first half has a register.
        """
        locations, slot = [], 0
        for type in types:
            slots = 2 if _is_register_pair(type) else 1
            if slot == len(self.integer_registers) - 1 and slots == 2:
                raise UnsupportedError("an i128 argument that is split between a register and the stack")
            candidates = _VECTORS[:4] if isinstance(type, Float) else self.integer_registers
            is_indirect = slots == 1 and not _fits_register(type)
            locations.append(ArgumentLocation(candidates[slot : slot + slots], 8 * slot, is_indirect=is_indirect))
            slot += slots
        return locations

    def convert_variadic_type(self, type: Type) -> Type:
        """A floating-point argument in the place of `...` is passed like an integer of its size."""
        return Int(type.size, False, type.name) if isinstance(type, Float) else type

    def find_variadic_registers(self, registers: Mapping[str, int], undefined: bytes) -> dict[str, int]:
        """Floating-point arguments are in the integer registers of their positions too, where a variadic callee reads
        them."""
        pairs = zip(self.integer_registers, _VECTORS)
        return {integer: registers[vector] & (1 << 64) - 1 for integer, vector in pairs if vector in registers}


def _is_register_pair(type: Type) -> bool:
    """Whether a type is the i128 of IR, which LLVM passes as two words. An `__int128` of C is passed by reference."""
    return isinstance(type, Int) and type.name == "i128"


def _fits_register(type: Type) -> bool:
    """Whether a type is passed in a register rather than as the address of a copy."""
    return type.size in (1, 2, 4, 8) if isinstance(type, (Struct, Array)) else type.size <= 8


# -- the processor

_PUSH = re.compile(r"push\w*|call\w*|enter\w*")


class WindowsX86(X86):
    """The processor of x86-64 Linux. Without a red zone, the memory that a push writes is not the function's own."""

    def moves_stack_pointer_first(self, code: bytes, address: int, *, is_store: bool) -> bool:
        """Whether an instruction stores as a push does. What a push loads is read before."""
        return is_store and _PUSH.fullmatch(self.decode(code, address).mnemonic) is not None


# -- assembly text

_UNLOADED_SECTION = re.compile(r"\.(pdata|xdata|drectve|debug|llvm)")


def _convert_section_flags(name: str, flags: str) -> str:
    """The ELF flags of a COFF section. The name decides where the section has no flags of its own."""
    if _UNLOADED_SECTION.match(name) or "n" in flags:
        return "e"
    if not flags:
        flags = "x" if name.startswith(".text") else "r" if name.startswith(".rdata") else "w"
    return "a" + "x" * ("x" in flags) + "w" * (("w" in flags or "b" in flags) and "x" not in flags)


_SEH_DIRECTIVES = tuple(
    f".seh_{name}"
    for name in (
        "proc", "endproc", "pushreg", "setframe", "stackalloc", "savereg", "savexmm", "pushframe", "endprologue",
        "startepilogue", "endepilogue", "handler", "startchained", "endchained", "unwindversion", "unwindv2start",
    )
)  # fmt: skip
"""Unwind information, which stack frames without exceptions do not need."""
_CODEVIEW_DIRECTIVES = (".cv_file", ".cv_loc", ".cv_func_id", ".cv_inline_site_id")
_CODEVIEW_TABLES = (
    ".cv_linetable", ".cv_inline_linetable", ".cv_stringtable", ".cv_filechecksums", ".cv_filechecksumoffset",
    ".cv_def_range", ".cv_fpo_data",
)  # fmt: skip
"""Microsoft's debug information: directives in code, and those that only sections of debug information have."""

# -- the library wrapper

_IMPLICIT_FUNCTIONS = (
    "memcpy", "memmove", "memset", "memcmp", "bcmp", "strlen", "__main", "___chkstk_ms",
    "fmod", "fmodf", "floor", "floorf", "ceil", "ceilf", "trunc", "truncf", "rint", "rintf", "round", "roundf",
    "nearbyint", "nearbyintf", "fma", "fmaf", "fmin", "fminf", "fmax", "fmaxf", "ldexp", "ldexpf", "sin", "sinf", "cos",
    "cosf", "exp", "expf", "exp2", "exp2f", "log", "logf", "log2", "log2f", "log10", "log10f", "pow", "powf",
    "__popcountsi2", "__popcountdi2",
    "__divti3", "__modti3", "__udivti3", "__umodti3", "__multi3",
    "__fixdfti", "__fixsfti", "__fixunsdfti", "__fixunssfti",
    "__floattidf", "__floattisf", "__floatuntidf", "__floatuntisf",
)  # fmt: skip
_UNWRAPPED_FUNCTIONS = frozenset((
    "setjmp", "_setjmp", "sigsetjmp", "longjmp", "siglongjmp", "atexit", "signal", "pthread_create",
    "localtime", "localtime_r", "gmtime", "gmtime_r", "mktime", "timegm", "strftime", "asctime",
    "wcslen", "wcscpy", "wcscmp", "wprintf", "swprintf", "mbstowcs", "wcstombs", "mbtowc", "wctomb",
))  # fmt: skip
"""Functions that share a data type with their caller which is laid out otherwise on Windows, or that call it back."""

_LINKER_SYMBOLS = {"__ImageBase": 0}
"""The start of the image. Microsoft's compiler writes the tables of switches as distances from it, in 32 bits: from 0,
they are the addresses themselves, and all code here lies below 2 GiB."""

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
    convention=MicrosoftX64(),
    processor=WindowsX86(),
    dialect=Dialect(
        detect_syntax=LINUX.dialect.detect_syntax,
        syntax_directives=LINUX.dialect.syntax_directives,
        integer_widths=LINUX.dialect.integer_widths,
        prefixes=LINUX.dialect.prefixes,
        comment_starts=LINUX.dialect.comment_starts,
        ignored_directives=frozenset(
            (".def", ".scl", ".endef", ".linkonce", ".safeseh", *_SEH_DIRECTIVES, *_CODEVIEW_DIRECTIVES)
        ),
        unloaded_directives=frozenset((".secrel32", ".secidx", *_CODEVIEW_TABLES)),
        ignored_statement=re.compile(r"@feat\.00\s*=.*"),
        accepts_masm=True,
        accepts_nasm=True,
        convert_section_flags=_convert_section_flags,
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
        implicit_functions=_IMPLICIT_FUNCTIONS,
        linker_symbols=_LINKER_SYMBOLS,
        unwrapped_functions=_UNWRAPPED_FUNCTIONS,
    ),
)

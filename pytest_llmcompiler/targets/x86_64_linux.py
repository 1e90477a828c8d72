"""x86-64 Linux: the System V calling convention, and the processor as unicorn emulates it.

Sources: System V Application Binary Interface, AMD64 Architecture Processor Supplement, sections 3.2.3 and 4.4; Intel
Software Developer's Manual, volume 1, section 4.1.1, and volume 2, sections 2.3 and 2.4.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from pytest_llmcompiler.targets.abi import ArgumentLocation, CallingConvention, ResultLocation
from pytest_llmcompiler.targets.dialect import Dialect, Syntax
from pytest_llmcompiler.targets.processor import AlignedOperand, Instruction, Processor
from pytest_llmcompiler.targets.relocation import Relocation, Relocations
from pytest_llmcompiler.targets.target import LINUX_SYSTEMS, Target, compile_triple_pattern
from pytest_llmcompiler.values.c_types import Array, Float, Function, Int, Pointer, Struct, Type, Vector

if TYPE_CHECKING:
    from pytest_llmcompiler.targets.code import AssembledCode
    from pytest_llmcompiler.targets.processor import Outcome

# -- the calling convention

EightbyteClass = Literal["INTEGER", "SSE", "SSEUP"]
"""The classes of the calling convention that the C types of cases have; MEMORY is an empty tuple of classes. SSEUP is
in the same vector register as the eightbyte before it."""
_UPPER: tuple[EightbyteClass, ...] = ("SSEUP",) * 7
"""The classes of the upper eightbytes of a vector register of 64 bytes."""
_VECTOR_ARGUMENTS = tuple(f"xmm{number}" for number in range(8))
_EIGHTBYTE = 8
"""Bytes of the unit by which the calling convention classifies aggregates."""


class SystemV(CallingConvention):
    """The convention of x86-64 Linux.

    The caller extends integers below 32 bits to 32 bits. The document does not demand it, but clang's callers do it and
    clang's callees rely on it.
    """

    integer_registers = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
    return_register = "rax"
    result_registers = ("rax", "rdx", "xmm0", "xmm1")
    float_result_register = "xmm0"
    vector_count_register = "rax"
    callee_saved = ("rbx", "rbp", "r12", "r13", "r14", "r15")
    exempt_functions = frozenset(("__fentry__", "mcount"))  # called first of all in a function, by -pg
    caller_saved = ("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11")
    vector_registers = tuple(f"xmm{number}" for number in range(16))
    caller_extends = True
    red_zone = 128
    vector_sizes = frozenset((8, 16))
    wide_vector_features = MappingProxyType({32: "+avx", 64: "+avx512f"})

    def locate_result(self, function: Function) -> ResultLocation:
        """Where a function leaves its result: one register for each eightbyte, or memory."""
        if function.result is None or function.result.size == 0:
            return ResultLocation((), False)
        classes = classify_eightbytes(function.result)
        if not classes:
            return ResultLocation(("rax",), True)
        integers, vectors = iter(("rax", "rdx")), iter(("xmm0", "xmm1"))
        registers = tuple(next(integers if kind == "INTEGER" else vectors) for kind in classes if kind != "SSEUP")
        return ResultLocation(registers, False, _count_register_bytes(classes))

    def locate_arguments(self, types: Sequence[Type]) -> list[ArgumentLocation]:
        """Where arguments of these types are passed: wholly in registers while there are enough, else on the stack."""
        integers, vectors = list(self.integer_registers), list(_VECTOR_ARGUMENTS)
        locations, offset = [], 0
        for type in types:
            classes = classify_eightbytes(type)
            if classes and classes.count("INTEGER") <= len(integers) and classes.count("SSE") <= len(vectors):
                registers = tuple(
                    (integers if kind == "INTEGER" else vectors).pop(0) for kind in classes if kind != "SSEUP"
                )
                locations.append(ArgumentLocation(registers, register_bytes=_count_register_bytes(classes)))
            else:
                align = max(type.align, _EIGHTBYTE)
                offset = -(-offset // align) * align
                locations.append(ArgumentLocation(offset=offset))
                offset += -(-type.size // _EIGHTBYTE) * _EIGHTBYTE
        return locations

    def find_variadic_registers(self, registers: Mapping[str, int], undefined: bytes) -> dict[str, int]:
        """`al`, the lowest byte of `rax`, is an upper bound of how many vector registers are used, and at most 8: just
        that number in one call, and 8 in its inverse. The rest of `rax` is undefined."""
        used = sum(name.startswith("xmm") for name in registers)
        bound = len(_VECTOR_ARGUMENTS) if undefined[0] & 1 == 0 else used
        return {"rax": int.from_bytes(bytes([bound]) + undefined, "little")}


def classify_eightbytes(type: Type) -> tuple[EightbyteClass, ...]:
    """The class of each eightbyte of a type; empty for a type that is passed in memory, or that has no bytes."""
    if isinstance(type, Int) and type.size == 16:
        return ("INTEGER", "INTEGER")
    if isinstance(type, (Int, Pointer)):
        return ("INTEGER",)
    if isinstance(type, Float):
        return ("SSE",)
    if isinstance(type, Vector):
        return ("SSE", *_UPPER[: type.size // _EIGHTBYTE - 1])
    if type.size > 2 * _EIGHTBYTE and (member := _find_only_member(type)):
        return classify_eightbytes(member)
    if type.size > 2 * _EIGHTBYTE or type.size == 0:
        return ()
    merged: list[EightbyteClass | None] = [None] * ((type.size + _EIGHTBYTE - 1) // _EIGHTBYTE)
    if not _merge_type(type, 0, merged):
        return ()
    classes = [kind or "SSE" for kind in merged]
    return ("SSE", "SSEUP") if classes == ["SSE", "SSEUP"] else tuple("SSE" if c == "SSEUP" else c for c in classes)


def _find_only_member(type: Type) -> Type | None:
    """The member that takes all of a struct, and the element of an array of one: a vector in it is passed as such."""
    if isinstance(type, Array):
        return type.element if type.count == 1 else None
    members = [field.type for field in type.fields if field.type.size] if isinstance(type, Struct) else []
    return members[0] if len(members) == 1 and members[0].size == type.size else None


def _count_register_bytes(classes: Sequence[EightbyteClass]) -> int:
    """The bytes in each register: those of a vector are all in one."""
    return _EIGHTBYTE * len(classes) if "SSEUP" in classes else _EIGHTBYTE


def _merge_type(type: Type, offset: int, classes: list[EightbyteClass | None]) -> bool:
    """Merge a type at an offset, in bytes, into the classes of the eightbytes that it touches.

    Returns False where a part of it is not aligned: then the whole aggregate is passed in memory.
    """
    if isinstance(type, Struct):
        return all(
            _merge_type(field.type, offset + field.offset, classes)
            if field.bits is None
            else _merge_bit_field(8 * offset + field.bits[0], field.bits[1], classes)
            for field in type.fields
        )
    if isinstance(type, Array) and not isinstance(type, Vector):
        starts = range(offset, offset + type.size, max(type.element.size, 1))
        return all(_merge_type(type.element, start, classes) for start in starts)
    if offset % type.align:
        return False
    for index, kind in enumerate(classify_eightbytes(type), offset // _EIGHTBYTE):
        before = classes[index]
        classes[index] = kind if before in (None, kind) else "INTEGER" if "INTEGER" in (kind, before) else "SSE"
    return True


def _merge_bit_field(first_bit: int, width: int, classes: list[EightbyteClass | None]) -> bool:
    bits = 8 * _EIGHTBYTE
    for index in range(first_bit // bits, (first_bit + width - 1) // bits + 1):
        classes[index] = "INTEGER"
    return True


# -- the processor

VECTOR_ALIGNMENT = 16
"""SSE instructions refuse a memory operand of 16 bytes at an address that is no multiple of this."""
_UNALIGNED_MNEMONICS = ("movup", "movdqu", "lddqu", "pcmpestr", "pcmpistr", "sha", "bnd", "comisd")
"""Starts of the mnemonics whose operand of 16 bytes may be at any address. capstone gives `comisd`, whose operand has 8
bytes, one of 16."""
_FORBIDDEN = re.compile(
    r"hlt|(?:in|out)s?[bwld]?|cli|sti|clts|l[gil]dt|ltr|lmsw|(?:wb)?invd|invlpg|(?:rd|wr)msr|rdpmc|xsetbv|swapgs"
    r"|l[defgs]s[lqw]?|wr[fg]sbase[lq]?|sys(?:enter|call)|sys(?:exit|ret)[lq]?|iret[dlqw]?|int[13o]?|monitor|mwait|vm(?:call|launch|resume|xoff|xon)"
)
"""Privileged instructions, and those that leave user code. unicorn executes most of them without an error."""
_VARYING = re.compile(r"rdtscp?|rdrand[wlq]?|rdseed[wlq]?|rdpid[lq]?|cpuid")
"""Instructions whose result differs from run to run or from machine to machine."""
_PREFIXES = rb"[\x66\x67\xf2\xf3\x2e\x36\x3e\x26\x64\x65\xf0]*"
"""Pattern of the legacy prefixes. A REX prefix may follow them, then the opcode, which mostly is two bytes from 0x0f
on where it works on vectors."""
_VEX_STARTS, _CONTROL_MOVES = rb"[\xc4\xc5\x62]", rb"[\x20-\x23]"
"""The first bytes of VEX and EVEX instructions (in 64-bit mode these bytes start no other instruction), and the opcodes
of moves to and from control and debug registers, behind 0x0f."""
_MISCOMPUTED = rb"\xd9[\xf1\xf9]|\x0f\x38[\xc8-\xcd]|\x0f\x3a\xcc"
"""fyl2x and fyl2xp1, which leave unicorn's x87 stack wrong where the operand is 0; and the instructions for SHA, which
it does not have."""
_HAZARDOUS_CODE = re.compile(
    _PREFIXES + rb"(?:(" + _VEX_STARTS + rb")|[\x40-\x4f]?(?:(" + _MISCOMPUTED + rb")|\x0f" + _CONTROL_MOVES + rb"))"
)
_VECTOR_OPCODES, _IN_MEMORY = rb"[\x12\x14-\x16\x28-\x2d\x50-\x7f\xc2\xc6\xc7\xd0-\xff]", rb"[\x00-\xbf]"
"""The opcodes behind 0x0f of instructions of which some take an aligned operand of 16 bytes, beside those behind 0x0f38
and 0x0f3a; and a ModRM byte that names memory."""
_MAY_BE_ALIGNED = re.compile(
    rb"(" + _PREFIXES + rb")[\x40-\x4f]?\x0f(?:[\x38\x3a].|(" + _VECTOR_OPCODES + rb"))" + _IN_MEMORY, re.DOTALL
)
_HAS_ALIGNED_CODE = re.compile(rb"\x0f(?=(?:[\x38\x3a].|" + _VECTOR_OPCODES + rb")" + _IN_MEMORY + rb")", re.DOTALL)
"""The same anywhere in an instruction."""
_UNALIGNED_REPEATED = frozenset(
    bytes([opcode]) for opcode in b"\x2a\x2c\x2d\x51\x58\x59\x5a\x5c\x5d\x5e\x5f\x6f\x7e\x7f\xc2"
)
"""Opcodes that take none behind a prefix of `rep`: scalar instructions, and `movdqu`."""
_REPEAT_PREFIXES = frozenset(b"\xf2\xf3")
_SIB_FOLLOWS, _NO_BASE = 4, 5
"""The number in the place of a base register for a SIB byte that follows, and for a displacement of four bytes without
a base register."""
_EXCEPTIONS = {0: "division by zero or overflow in it", 3: "breakpoint", 4: "overflow trap", 13: "protection fault"}
_FLAGS_AT_ENTRY = 0x202
"""The interrupt flag, and a bit that is always set."""
_DIRECTION_FLAG = 1 << 10
_SIGN_ZERO_PARITY, _CARRY_ADJUST_OVERFLOW = 0x80 | 0x40 | 0x04, 0x01 | 0x10 | 0x800
"""The condition flags. `js` and `je` jump with the first group, `jb` and `jo` with the second, `ja` and `jg` where no
flag is set."""
_FPCW_AT_ENTRY = 0x37F
"""All x87 exceptions masked, round to nearest, results of 64 bits' precision: as Linux starts a process."""
_FPTAG_EMPTY = 0xFFFF
"""The tag word of an x87 stack on which all eight registers are empty."""
_MXCSR_AT_ENTRY = 0x1F80
"""All SSE exceptions masked, round to nearest: as Linux starts a process."""
_MXCSR_CONTROL = 0xFFC0
"""The control bits of MXCSR, which a function must preserve; the lower six are status bits."""
_RELATIVE_ADDRESS = re.compile(r"\[rip ([+-]) (0x[0-9a-f]+|\d+)\]")
_LISTING_RELATIVE_ADDRESS = re.compile(r"(-?0x[0-9a-f]+|-?\d+)?\(%rip\)")
_ADDRESS = re.compile(r"0x[0-9a-f]+")
_REGISTER_PART = re.compile(r"[re]?(?=[abcd][xlh])([abcd])[xlh]|[re]?([sd]i|[sb]p)l?|r(\d+)[dwb]?")
_JUMP_TARGET = re.compile(r"0x[0-9a-f]+$")


_SYSCALLS = {
    0: "read", 1: "write", 3: "close", 8: "lseek", 13: "rt_sigaction", 19: "readv", 20: "writev",
    35: "nanosleep", 39: "getpid", 41: "socket", 60: "exit", 62: "kill", 96: "gettimeofday", 158: "arch_prctl",
    186: "gettid", 200: "tkill", 201: "time", 202: "futex", 218: "set_tid_address", 228: "clock_gettime",
    230: "clock_nanosleep", 231: "exit_group", 234: "tgkill", 318: "getrandom",
    2: "open", 4: "stat", 5: "fstat", 6: "stat", 21: "access", 257: "openat", 262: "newfstatat",
    269: "faccessat", 439: "faccessat",
    16: "ioctl", 18: "pwrite64", 57: "fork", 58: "vfork", 56: "clone", 59: "execve", 72: "fcntl", 76: "truncate",
    77: "ftruncate", 80: "chdir", 82: "rename", 83: "mkdir", 84: "rmdir", 85: "creat", 86: "link", 87: "unlink",
    88: "symlink", 90: "chmod", 91: "fchmod", 92: "chown", 258: "mkdirat", 263: "unlinkat", 264: "renameat",
    32: "dup", 33: "dup2", 292: "dup3", 37: "alarm", 38: "setitimer", 22: "pipe", 293: "pipe2", 435: "clone3",
    101: "ptrace", 112: "setsid", 316: "renameat2",
    **dict.fromkeys((79, 89, 267, 332), "path"),
    **dict.fromkeys((17, 73, 74, 75, 81, 217), "file"),
    **dict.fromkeys(
        (7, 9, 10, 11, 12, 14, 15, 24, 25, 26, 28, 36, 63, 95, 97, 98, 99, 100, 102, 104, 107, 108, 110, 111, 121, 124,
         131, 140, 145, 204, 229, 271, 273, 324, 334), "query"),
}  # fmt: skip
"""Linux's system calls. `path` and `file` stand for other calls that ask about the name of a file or use a descriptor,
`query` for those that change nothing that others see."""


class X86(Processor):
    """An x86-64 processor with SSE2 and without AVX: unicorn 2.1 computes AVX instructions wrongly."""

    stack_pointer, program_counter, link_register, return_address_bytes = "rsp", "rip", None, 8
    fused_mnemonics = ("vfmadd", "vfmsub", "vfnmadd", "vfnmsub")
    fused_features = "+avx,+fma,+sse3,+ssse3,+sse4.1,+sse4.2,+xsave,"  # with those that FMA builds on
    control_registers = ("eflags", "mxcsr", "fpcw", "fptag")
    flags_register, condition_flags = "eflags", (_SIGN_ZERO_PARITY, _CARRY_ADJUST_OVERFLOW)
    registers = (
        *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
        *(f"xmm{number}" for number in range(16)),
    )
    thread_pointer = "fs_base"
    state_registers = (*registers, *("eflags", "mxcsr", "fpcw", "fpsw", "fptag", "fs_base", "gs_base"))
    control_state = MappingProxyType(
        {
            "eflags": (_DIRECTION_FLAG, 0),
            "mxcsr": (_MXCSR_CONTROL, _MXCSR_AT_ENTRY),
            "fpcw": (0xFFFF, _FPCW_AT_ENTRY),
            "fptag": (0xFFFF, _FPTAG_EMPTY),
        }
    )
    longest_instruction = 16
    hazardous_code = re.compile(_VEX_STARTS + rb"|" + _MISCOMPUTED + rb"|\x0f(?=" + _CONTROL_MOVES + rb")")
    register_prefix = "%"
    return_code, trap_code = b"\xc3", b"\xcc"
    exception_names = _EXCEPTIONS
    system_call_registers = ("rax", "rdi", "rsi", "rdx", "rax")
    system_call_names = _SYSCALLS

    def create_emulator(self) -> Any:
        """A new emulator."""
        import unicorn

        return unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)

    def register_number(self, name: str) -> int:
        """unicorn's number of a register."""
        return _find_register_number(name)

    def initialise(self, uc: Any) -> None:
        """Set the control words as Linux does. unicorn starts with zeros, with which x87 rounds to single precision."""
        uc.reg_write(self.register_number("fpcw"), _FPCW_AT_ENTRY)
        uc.reg_write(self.register_number("mxcsr"), _MXCSR_AT_ENTRY)

    def hook_system_calls(self, uc: Any, action: Callable[..., None]) -> None:
        """Have unicorn call `action` for each `syscall` instruction."""
        import unicorn
        from unicorn import x86_const

        uc.hook_add(unicorn.UC_HOOK_INSN, action, None, 1, 0, x86_const.UC_X86_INS_SYSCALL)

    def set_thread_pointer(self, uc: Any, address: int) -> None:
        """Set the base of the segment `fs`, which thread-local variables are relative to."""
        uc.reg_write(self.register_number("fs_base"), address)

    def reset_flags(self, uc: Any) -> None:
        """Set the flags and the x87 stack to their state at the entry of a function."""
        uc.reg_write(self.register_number("eflags"), _FLAGS_AT_ENTRY)
        uc.reg_write(self.register_number("fptag"), _FPTAG_EMPTY)

    def find_breaches(self, values: Mapping[str, int]) -> Iterator[str]:
        """Describe each wrong state in which a function leaves the control registers."""
        if values["eflags"] & _DIRECTION_FLAG:
            yield "the direction flag is left set"
        if (values["mxcsr"] ^ _MXCSR_AT_ENTRY) & _MXCSR_CONTROL or values["fpcw"] != _FPCW_AT_ENTRY:
            yield "the floating-point control words are changed"
        if values["fptag"] != _FPTAG_EMPTY:
            yield "the x87 register stack is not empty"

    def encode_jump(self, source: int, target: int) -> bytes:
        """The machine code of a direct jump; the addresses must be less than 2 GiB apart."""
        return b"\xe9" + (target - (source + 5)).to_bytes(4, "little", signed=True)

    def find_hazard_by_name(self, mnemonic: str) -> tuple[Outcome, str] | None:
        """The hazard of all instructions with a mnemonic."""
        if _FORBIDDEN.fullmatch(mnemonic):
            return "forbidden", f"`{mnemonic}` in user code"
        if _VARYING.fullmatch(mnemonic):
            return "vex", f"`{mnemonic}` has a result that differs from run to run"
        return None

    def find_hazard(self, mnemonic: str, code: bytes) -> tuple[Outcome, str] | None:
        """The hazard of an instruction at the start of `code`, by its bytes."""
        match = _HAZARDOUS_CODE.match(code)
        if match is None:
            return None
        if match[1]:
            return "vex", f"`{mnemonic}` is VEX or EVEX code"
        if match[2]:
            return "vex", f"`{mnemonic}` is computed wrongly in some cases"
        return "forbidden", f"`{mnemonic}` of a control or debug register in user code"

    def needs_hardware(self, code: bytes) -> bool:
        """Whether it is VEX or EVEX code, or one of the few other instructions that unicorn computes wrongly."""
        match = _HAZARDOUS_CODE.match(code)
        return match is not None and match.lastindex is not None

    def find_guards(self, candidate: AssembledCode) -> Iterator[tuple[int, AlignedOperand]]:
        """The SSE instructions whose memory operand must be aligned, and is not certain to be."""
        for address in candidate.find_instructions(_HAS_ALIGNED_CODE):
            operand = find_aligned_operand(candidate.read_code(address), address)
            if operand and not operand.is_always_aligned:
                yield address, operand

    def moves_stack_pointer_first(self, code: bytes, address: int, *, is_store: bool) -> bool:
        """Always False: the memory that a push writes is in the red zone, which is a function's own."""
        return False

    def get_decoder(self, *, detail: bool = False, listing: bool = False) -> Any:
        """capstone for 64-bit code. It writes Intel syntax, and AT&T syntax in listings."""
        return _create_decoder(detail, listing)

    def whole_register(self, name: str) -> str:
        """`eax`, `ax`, `al` and `ah` are parts of `rax`, `r8d` is one of `r8`."""
        part = _REGISTER_PART.fullmatch(name)
        if part is None:
            return name
        letter, pair, number = part.groups()
        return f"r{letter}x" if letter else f"r{pair}" if pair else f"r{number}"

    def ends_block(self, instruction: Instruction) -> bool:
        """Whether an instruction is the last of its basic block."""
        return instruction.mnemonic.startswith(("j", "ret", "loop", "ud2"))

    def find_jump_target(self, instruction: Instruction) -> int | None:
        """The address to which a direct jump goes."""
        match = _JUMP_TARGET.match(instruction.operands)
        return int(match[0], 16) if match else None

    def split_branch(self, code: bytes) -> tuple[bytes, int] | None:
        """The direct jump or call at the start of some code, with a distance of 0 in it, and its target (see the opcode
        map in Intel's Software Developer's Manual, volume 2, appendix A)."""
        first, second = code[:1], code[1:2]
        if first in (b"\xe8", b"\xe9"):  # call, jmp
            opcode, size = first, 4
        elif b"\x70" <= first <= b"\x7f" or first == b"\xeb":
            opcode, size = first, 1
        elif first == b"\x0f" and b"\x80" <= second <= b"\x8f":
            opcode, size = first + second, 4
        else:
            return None
        end = len(opcode) + size
        if len(code) < end:
            return None
        return opcode + bytes(size), end + int.from_bytes(code[len(opcode) : end], "little", signed=True)

    def format_absolute_operands(self, instruction: Instruction, address: int) -> str:
        """The operands of an instruction at an address, with absolute addresses in the place of relative ones."""
        end = address + instruction.size
        return _RELATIVE_ADDRESS.sub(lambda match: f"[{end + int(match[1] + match[2], 0):#x}]", instruction.operands)

    def format_listing_operands(self, instruction: Instruction, address: int, names: Mapping[int, str]) -> str:
        """The operands of an instruction at an address in AT&T syntax, with names in the place of addresses."""

        def name_address(match: re.Match[str]) -> str:
            target = address + instruction.size + int(match[1] or "0", 0)
            return f"{names.get(target, 'data')}(%rip)"

        operands = _LISTING_RELATIVE_ADDRESS.sub(name_address, instruction.operands)
        if instruction.mnemonic.startswith(("j", "call", "loop")) or "$" in operands:
            operands = _ADDRESS.sub(lambda match: names.get(int(match[0], 16), match[0]), operands)
        return operands


@functools.cache
def _find_register_number(name: str) -> int:
    from unicorn import x86_const

    return int(getattr(x86_const, f"UC_X86_REG_{name.upper()}"))


@functools.cache
def _create_decoder(detail: bool, att: bool) -> Any:
    import capstone

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = detail
    if att:
        decoder.syntax = capstone.CS_OPT_SYNTAX_ATT
    return decoder


def find_aligned_operand(code: bytes, address: int) -> AlignedOperand | None:
    """The memory operand that must be aligned, of the instruction at the start of `code`; None where there is none."""
    match = _MAY_BE_ALIGNED.match(code)
    if match is None or (match[2] in _UNALIGNED_REPEATED and not _REPEAT_PREFIXES.isdisjoint(match[1])):
        return None
    decoded = _decode_aligned_operand(code[: _find_end(code, match.end())])
    if decoded is None:
        return None
    operand, size = decoded
    is_relative = operand.base in ("rip", "eip")
    return replace(operand, base=None, offset=operand.offset + address + size) if is_relative else operand


def _find_end(code: bytes, start: int) -> int:
    """The end of an instruction that has its ModRM byte before `start`, with the room of an immediate of one byte."""
    mode, base = code[start - 1] >> 6, code[start - 1] & 7
    has_sib = base == _SIB_FOLLOWS
    if has_sib:
        base = int.from_bytes(code[start : start + 1], "little") & 7
    displacement = 4 if mode == 2 or (mode == 0 and base == _NO_BASE) else mode
    return start + has_sib + displacement + 1


@functools.lru_cache(maxsize=1 << 14)
def _decode_aligned_operand(code: bytes) -> tuple[AlignedOperand, int] | None:
    """The same wherever the instruction is: an operand relative to the instruction pointer has it as its base. And the
    instruction's size. Decoding takes 20 µs, and compilers write the same few instructions again and again."""
    instruction = next(PROCESSOR.get_decoder(detail=True).disasm(code, 0, 1), None)
    if instruction is None or instruction.mnemonic.split()[-1].startswith(_UNALIGNED_MNEMONICS):
        return None
    operands = (_read_operand(instruction, part) for part in instruction.operands if _is_vector_in_memory(part))
    operand = next(operands, None)
    return (operand, instruction.size) if operand else None


def _is_vector_in_memory(operand: Any) -> bool:
    from capstone import x86

    return bool(operand.type == x86.X86_OP_MEM and operand.size == VECTOR_ALIGNMENT)


def _read_operand(instruction: Any, operand: Any) -> AlignedOperand:
    """An operand as capstone decoded it."""
    memory = operand.mem
    base, index, segment = (
        instruction.reg_name(number) if number else None for number in (memory.base, memory.index, memory.segment)
    )
    return AlignedOperand(
        base=base,
        index=None if index in ("riz", "eiz") else index,
        scale=memory.scale,
        offset=memory.disp,
        segment=f"{segment}_base" if segment in ("fs", "gs") else None,
        bits=8 * instruction.addr_size,
        alignment=VECTOR_ALIGNMENT,
    )


# -- relocations (System V ABI, AMD64 supplement, table 4.10)

ABSOLUTE_64 = Relocation("R_X86_64_64", 8, False, None)
SIGNED_32 = Relocation("R_X86_64_32S", 4, False, True)
RELATIVE_32 = Relocation("R_X86_64_PC32", 4, True, True)
GOT_32 = Relocation("R_X86_64_GOTPCREL", 4, True, True, uses_got=True)
DATA_RELOCATIONS = {
    1: Relocation("R_X86_64_8", 1, False, None),
    2: Relocation("R_X86_64_16", 2, False, None),
    4: Relocation("R_X86_64_32", 4, False, False),
    8: ABSOLUTE_64,
}
"""Width in bytes -> the relocation of an address in a data directive of that width."""

THREAD_OFFSET = Relocation("R_X86_64_TPOFF32", 4, False, True, thread_use="offset")
THREAD_OFFSET_SLOT = Relocation("R_X86_64_GOTTPOFF", 4, True, True, uses_got=True, thread_use="offset")
_SUPPORTED = {
    1: ABSOLUTE_64,
    2: RELATIVE_32,
    4: Relocation("R_X86_64_PLT32", 4, True, True),
    9: GOT_32,
    10: DATA_RELOCATIONS[4],
    11: SIGNED_32,
    12: DATA_RELOCATIONS[2],
    13: Relocation("R_X86_64_PC16", 2, True, True),
    14: DATA_RELOCATIONS[1],
    15: Relocation("R_X86_64_PC8", 1, True, True),
    17: Relocation("R_X86_64_DTPOFF64", 8, False, None, thread_use="module_offset"),
    18: Relocation("R_X86_64_TPOFF64", 8, False, None, thread_use="offset"),
    19: Relocation("R_X86_64_TLSGD", 4, True, True, uses_got=True, thread_use="pair"),
    20: Relocation("R_X86_64_TLSLD", 4, True, True, uses_got=True, thread_use="module"),
    21: Relocation("R_X86_64_DTPOFF32", 4, False, True, thread_use="module_offset"),
    22: THREAD_OFFSET_SLOT,
    23: THREAD_OFFSET,
    24: Relocation("R_X86_64_PC64", 8, True, None),
    28: Relocation("R_X86_64_GOTPCREL64", 8, True, None, uses_got=True),
    34: Relocation("R_X86_64_GOTPC32_TLSDESC", 4, True, True, uses_got=True, thread_use="descriptor"),
    35: Relocation("R_X86_64_TLSDESC_CALL", 0, False, None, thread_use="descriptor"),
    41: Relocation("R_X86_64_GOTPCRELX", 4, True, True, uses_got=True),
    42: Relocation("R_X86_64_REX_GOTPCRELX", 4, True, True, uses_got=True),
    43: Relocation("R_X86_64_CODE_4_GOTPCRELX", 4, True, True, uses_got=True),
}
_DESCRIPTOR_FUNCTION = bytes.fromhex("488b4008 c3")
"""movq 8(%rax), %rax; ret"""
_UNSUPPORTED = {
    3: "R_X86_64_GOT32", 5: "R_X86_64_COPY", 16: "R_X86_64_DTPMOD64", 25: "R_X86_64_GOTOFF64", 26: "R_X86_64_GOTPC32",
    27: "R_X86_64_GOT64", 29: "R_X86_64_GOTPC64", 32: "R_X86_64_SIZE32", 33: "R_X86_64_SIZE64",
}  # fmt: skip

# -- assembly text

PREFIXES = frozenset((
    "lock", "rep", "repe", "repz", "repne", "repnz", "data16", "addr32", "rex64", "notrack", "bnd", "xacquire",
    "xrelease", "cs", "ds", "es", "fs", "gs", "ss",
))  # fmt: skip
"""The words that may stand in front of a mnemonic."""
DATA_WIDTHS = {
    ".byte": 1, ".2byte": 2, ".short": 2, ".value": 2, ".word": 2, ".hword": 2,
    ".4byte": 4, ".long": 4, ".int": 4, ".8byte": 8, ".quad": 8,
}  # fmt: skip
"""Data directive of integers or addresses -> bytes of one element."""
_ATT_REGISTER = re.compile(
    r"%\s*(?:[re]?[abcd]x|[re]?[sd]i|[re]?[sb]p|[abcd][lh]|r\d+[dwb]?|[xyz]mm\d+|rip|[c-gs]s|st)\b"
)
_BARE_REGISTER = re.compile(
    r"(?<![\w.$%@])(?:[re][abcd]x|[re][sd]i|[re][sb]p|[abcd][lh]|r(?:8|9|1[0-5])[dwb]?|[xyz]mm\d+)\b"
)
_SYNTAX_DIRECTIVE = re.compile(r"\.(?:att|intel)_syntax\b", re.IGNORECASE)


def _detect_syntax(code: str) -> Syntax:
    """The syntax at the start of a text: AT&T where a directive selects it later, else as the registers are written."""
    if _SYNTAX_DIRECTIVE.search(code) or _ATT_REGISTER.search(code):
        return "att"
    return "intel" if _BARE_REGISTER.search(code) else "att"


_COMMENT = re.compile(r"(?:#|//|/\*).*$")
_INSTRUCTION = re.compile(r"^\s*(?:(?:lock|rep[a-z]{0,2}|notrack)\s+)?([a-zA-Z][a-zA-Z0-9]{1,15})(?:\s+(\S.*))?$")
_WITHOUT_OPERANDS = re.compile(
    r"c[bw]tw|cd(q|qe)|cl[cd]|clt[dq]|cmc|cpuid|cqt?o|cwt?[dl]|endbr64|f(abs|chs|ld1|ldz|sqrt|xch)|hlt|lahf|leaveq?|"
    r"vzero(all|upper)|[lms]fence|nop|pause|rdtsc|retq?|sahf|st[cd]|syscall|ud2|(cmp|lod|mov|sca|sto)s[bwlq]"
)
"""Instructions without operands. Any other single word in a line is taken for prose."""
_MACHINE_OPERAND = re.compile(
    r"[%$\[(]|^-?(?:0x[0-9a-f]+|\d+)$"
    r"|^(?:r(?:[a-d]x|[sd]i|[bs]p|\d+[dwb]?)|e(?:[a-d]x|[sd]i|[bs]p)|[a-d][xlh]|[sd]il?|[bs]pl?)$"
    r"|^(?:[xyz]mm\d+|k[0-7])(?:\{k[1-7]\})?(?:\{z\})?$",
    re.IGNORECASE,
)
_BLANKS_AROUND = re.compile(r" ?([-+*\[\]():]) ?")
_INTEL_SIZE = re.compile(r"\b(?:byte|word|dword|qword|tbyte|[xyz]mmword)\s+ptr\b|\boffset\s+(?:flat:)?", re.IGNORECASE)


def is_instruction(line: str) -> bool:
    """Whether a line is an instruction rather than prose or LLVM IR. Its operands decide."""
    if "#" in line or "/" in line:
        line = _COMMENT.sub("", line)
    match = _INSTRUCTION.match(line.strip())
    if not match:
        return False
    mnemonic, operands = match[1].lower(), match[2]
    if not operands:
        return bool(_WITHOUT_OPERANDS.fullmatch(mnemonic))
    parts = [_remove_blanks(part) for part in operands.split(",")]
    if any(not part or " " in part for part in parts):
        return False
    is_branch = mnemonic.startswith(("j", "call")) and len(parts) == 1
    return is_branch or any(_MACHINE_OPERAND.search(part) for part in parts)


def _remove_blanks(operand: str) -> str:
    """An operand without its size, and without the blanks that assembly allows in it. Blanks that remain are prose."""
    words = operand.split()
    if len(words) == 1 and operand.endswith(words[0]):
        return words[0]
    bare = " ".join(_INTEL_SIZE.sub("", operand).split())
    return _BLANKS_AROUND.sub(r"\1", bare)


PROCESSOR = X86()

TARGET = Target(
    name="x86_64-linux",
    triple="x86_64-unknown-linux-gnu",
    accepted_triples=compile_triple_pattern("x86_64|amd64", "unknown|none|pc", LINUX_SYSTEMS),
    cpu="x86-64",
    feature_attribute="+cmov,+cx8,+fxsr,+mmx,+sse,+sse2,+x87",
    zig_target="x86_64-linux-musl",
    header_folders=("x86_64-linux-musl", "x86-linux-musl", "generic-musl", "x86-linux-any", "any-linux-any"),
    runtime_functions=(),
    load_address=0x10000000,
    is_native=True,
    convention=SystemV(),
    processor=PROCESSOR,
    dialect=Dialect(
        detect_syntax=_detect_syntax,
        syntax_directives={"att": ".att_syntax prefix", "intel": ".intel_syntax noprefix"},
        integer_widths=DATA_WIDTHS,
        prefixes=PREFIXES,
        comment_starts=("#", "//"),
        accepts_nasm=True,
    ),
    relocations=Relocations("EM_X86_64", 0, _SUPPORTED, _UNSUPPORTED, _DESCRIPTOR_FUNCTION),
    is_instruction=is_instruction,
    has_keystone=True,
    tuning=("-fast-15bytenop", "+idivq-to-divl", "+macrofusion", "+slow-3ops-lea", "+slow-incdec", "+vzeroupper"),
)

"""AArch64 Linux: ARMv8.0-A as unicorn emulates it, and the standard calling convention.

Sources: Procedure Call Standard for the Arm 64-bit Architecture (AAPCS64), sections 6 and 7; ELF for the Arm 64-bit
Architecture, section 5.7; Arm Architecture Reference Manual for A-profile, sections C5.1 and D12.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pytest_llmcompiler.targets.abi import ArgumentLocation, CallingConvention, ResultLocation
from pytest_llmcompiler.targets.dialect import Dialect
from pytest_llmcompiler.targets.processor import AlignedOperand, Instruction, Processor
from pytest_llmcompiler.targets.relocation import BitField, Relocation, Relocations, ThreadUse
from pytest_llmcompiler.targets.target import LINUX_SYSTEMS, Target, compile_triple_pattern
from pytest_llmcompiler.values.c_types import Array, Float, Function, Struct, Type, Vector

if TYPE_CHECKING:
    from pytest_llmcompiler.targets.code import AssembledCode
    from pytest_llmcompiler.targets.processor import Outcome

# -- the calling convention

_ARGUMENT_REGISTERS = 8
"""General registers that hold arguments, and as many vector registers."""
_LARGE_BYTES = 16
"""An aggregate above this size is passed as the address of a copy, unless it is homogeneous."""
_VECTORS = tuple(f"v{number}" for number in range(32))
_LOWER_HALVES = {f"v{number}": f"d{number}" for number in range(8, 16)}


class AAPCS64(CallingConvention):
    """The convention of AArch64 Linux.

    x18 is a register that a call may change. The upper bits of a register that holds a narrow integer are undefined;
    the callee extends the integer.
    """

    integer_registers = tuple(f"x{number}" for number in range(8))
    return_register = "x0"
    result_registers = ("x0", "x1", *_VECTORS[:4])
    float_result_register = _VECTORS[0]
    separate_result_register = "x8"
    callee_saved = (*(f"x{number}" for number in range(19, 30)), *_LOWER_HALVES.values())
    caller_saved = tuple(f"x{number}" for number in range(19))
    vector_registers = (*_VECTORS[:8], *_VECTORS[16:])
    half_preserved_vectors = _LOWER_HALVES
    caller_extends = False
    red_zone = 0
    vector_sizes = frozenset((8, 16, 32, 64))  # the larger ones in memory

    def locate_result(self, function: Function) -> ResultLocation:
        """Where a function leaves its result: where it would be passed as the only argument, or in memory."""
        if function.result is None or function.result.size == 0:
            return ResultLocation((), False)
        location = self.locate_arguments([function.result])[0]
        if location.is_indirect:
            return ResultLocation((), True)
        return ResultLocation(location.registers, False, location.register_bytes)

    def locate_arguments(self, types: Sequence[Type]) -> list[ArgumentLocation]:
        """Where arguments of these types are passed (AAPCS64, section 6.8.2, stages B and C)."""
        locations = []
        used_integers = used_vectors = offset = 0
        for type in types:
            members = find_homogeneous_members(type)
            is_large = _is_large(type)
            if not type.size:
                locations.append(ArgumentLocation(offset=offset))
                continue
            size, align = (8, 8) if is_large else (type.size, type.align)
            count = members[1] if members else -(-size // 8)
            if members and used_vectors + count <= _ARGUMENT_REGISTERS:
                registers = _VECTORS[used_vectors : used_vectors + count]
                locations.append(ArgumentLocation(registers, register_bytes=members[0]))
                used_vectors += count
                continue
            if not members:
                # An argument aligned to 16 bytes starts in an even register.
                used_integers += align == 16 and used_integers % 2
                if used_integers + count <= _ARGUMENT_REGISTERS:
                    registers = self.integer_registers[used_integers : used_integers + count]
                    locations.append(ArgumentLocation(registers, is_indirect=is_large))
                    used_integers += count
                    continue
            # Once an argument goes to the stack, the rest of the registers of its kind stay unused.
            if members:
                used_vectors = _ARGUMENT_REGISTERS
            else:
                used_integers = _ARGUMENT_REGISTERS
            offset = -(-offset // max(8, align)) * max(8, align)
            locations.append(ArgumentLocation(offset=offset, is_indirect=is_large))
            offset += -(-size // 8) * 8
        return locations


def find_homogeneous_members(type: Type) -> tuple[int, int] | None:
    """Size in bytes and count of the members of a type that is passed in vector registers; None for any other type.

    Such a type is a floating-point number or a vector, or an aggregate of one to four of them, all alike.
    """
    members = _find_alike_members(type)
    return (members[0].size, members[1]) if members and members[0].size * members[1] == type.size else None


def _find_alike_members(type: Type) -> tuple[Type, int] | None:
    """The first of the floating-point numbers or vectors in a type, and how many there are; None where there are more
    than four, or where it has other or unequal members."""
    if isinstance(type, Float) or (isinstance(type, Vector) and type.size <= _LARGE_BYTES):
        return type, 1
    if isinstance(type, Vector):
        return None
    if isinstance(type, Array):
        element = _find_alike_members(type.element)
        return (element[0], element[1] * type.count) if element and 0 < type.count <= 4 // element[1] else None
    if not isinstance(type, Struct) or not type.fields or any(field.bits for field in type.fields):
        return None
    fields = [_find_alike_members(field.type) for field in type.fields if field.type.size]
    members = [field for field in fields if field]
    if len(members) < len(fields) or len({(isinstance(first, Vector), first.size) for first, _ in members}) != 1:
        return None
    counts = [count for _, count in members]
    count = max(counts) if type.union else sum(counts)
    return (members[0][0], count) if count <= 4 else None


def _is_large(type: Type) -> bool:
    """Whether a type is passed as the address of a copy."""
    return isinstance(type, (Struct, Array)) and type.size > _LARGE_BYTES and not find_homogeneous_members(type)


# -- the processor

_FORBIDDEN = re.compile(r"svc|hvc|smc|eret(?:aa|ab)?|drps|dcps[123]|hlt")
"""Instructions that leave user code, or that only a kernel may execute. unicorn executes some of them without an
error."""
_WAITING = re.compile(r"wf[ei]t?")
_READ_SYSTEM_REGISTER, _WRITE_SYSTEM_REGISTER = 0xD5300000, 0xD5100000
"""The upper 12 bits of `mrs` and of `msr` from a general register."""
_WRITE_PROCESSOR_STATE, _SYSTEM_INSTRUCTION = 0xD500401F, 0xD5080000
"""The fixed bits of `msr` with an immediate, and of `sys`."""
_USER_ACCESS = 3
"""The op1 field of the system registers that user code may name."""
_FLAG_REGISTERS, _CLOCK_REGISTERS = 4, 14
"""The CRn field of the system registers NZCV, FPCR and FPSR, and of those of the clock."""
_FIRST_BYTES = "".join(f"\\x{byte:02x}" for byte in range(256) if byte & 31 == 31)
_SECOND_BYTES = "".join(f"\\x{byte:02x}" for byte in range(256) if byte & 3 == 3)
_MAY_USE_STACK_POINTER = re.compile(f"(?=[{_FIRST_BYTES}]...|[\\xe0-\\xff][{_SECOND_BYTES}]..)".encode(), re.DOTALL)
"""The stack pointer is register 31 in one of the fields Rd (bits 0 to 4) and Rn (bits 5 to 9), as is the zero
register."""
_STACK_ALIGNMENT = 16
"""Hardware refuses an access by a stack pointer that is no multiple of this."""
_STACK_ACCESS = re.compile(r"\[sp\b")
_PUSH = re.compile(r"\[sp, #-(?:0x)?[0-9a-f]+\]!")
_STACK_STEP_IN_ACCESS = re.compile(r"\[sp, #-?(0x[0-9a-f]+|\d+)\]!|\[sp\], #-?(0x[0-9a-f]+|\d+)$")
_UNKNOWN_STACK_STEP_IN_ACCESS = re.compile(r"\[sp\], [xw]\d|\[sp, .*\]!")
_STACK_STEP = re.compile(r"sp, sp, #(0x[0-9a-f]+|\d+)(?:, lsl #0xc|, lsl #12)?$")
_STACK_MASK = re.compile(r"sp, \w+, #(0x[0-9a-f]+)$")
_BRANCH = re.compile(r"b(?:\.\w+)?|cbn?z|tbn?z")
_REGISTER_ALIASES = {"lr": "x30", "fp": "x29"}
_BRANCH_TARGET = re.compile(r"(?:^|, )#(0x[0-9a-f]+)$")
_EXCEPTIONS = {1: "illegal instruction", 3: "a jump to no instruction", 4: "misaligned access", 7: "breakpoint"}
_SYSCALLS = {
    29: "ioctl", 57: "close", 62: "lseek", 63: "read", 64: "write", 65: "readv", 66: "writev", 93: "exit",
    94: "exit_group", 96: "set_tid_address", 98: "futex", 101: "nanosleep", 113: "clock_gettime",
    115: "clock_nanosleep", 129: "kill", 130: "tkill", 131: "tgkill", 134: "rt_sigaction", 169: "gettimeofday",
    172: "getpid", 178: "gettid", 198: "socket", 278: "getrandom", 48: "faccessat", 56: "openat", 79: "newfstatat",
    80: "fstat", 439: "faccessat",
    23: "dup", 24: "dup3", 25: "fcntl", 34: "mkdirat", 35: "unlinkat", 36: "symlinkat", 37: "linkat", 38: "renameat",
    45: "truncate", 46: "ftruncate", 49: "chdir", 52: "fchmod", 53: "fchmodat", 54: "fchownat", 59: "pipe2",
    68: "pwrite64", 103: "setitimer", 117: "ptrace", 157: "setsid", 220: "clone", 221: "execve", 276: "renameat2",
    435: "clone3",
    **dict.fromkeys((17, 78, 291), "path"),
    **dict.fromkeys((32, 50, 61, 67, 82, 83), "file"),
    **dict.fromkeys(
        (72, 73, 99, 102, 114, 120, 122, 123, 132, 135, 139, 141, 153, 155, 156, 160, 163, 165, 166, 173, 174, 175, 176,
         177, 179, 214, 215, 216, 222, 226, 227, 233, 283, 293), "query"),
}  # fmt: skip
"""Linux's generic numbers, which newer architectures share. `path` and `file` stand for other calls that ask about the
name of a file or use a descriptor, `query` for those that change nothing that others see."""


_NEGATIVE_ZERO, _CARRY_OVERFLOW = 0xC0000000, 0x30000000
"""The condition flags. `hi` holds with the second group, `gt` where no flag is set, `mi` and `eq` with the first."""
_ENABLE_FLOATING_POINT = 3 << 20
"""The bits of CPACR_EL1 that let user code use NEON and floating point."""


class ARMv8(Processor):
    """An ARMv8.0-A processor with NEON, without the extensions that came later."""

    stack_pointer, program_counter, link_register, return_address_bytes = "sp", "pc", "x30", 0
    control_registers = ("fpcr",)
    fused_mnemonics = ("fmadd", "fmsub", "fnmadd", "fnmsub", "fmla", "fmls")
    flags_register, condition_flags = "nzcv", (_NEGATIVE_ZERO, _CARRY_OVERFLOW)
    registers = (*(f"x{number}" for number in range(31)), *_VECTORS, *_LOWER_HALVES.values())
    thread_pointer = "tpidr_el0"
    state_registers = (
        *(f"x{number}" for number in range(31)),
        *_VECTORS,
        *("nzcv", "fpcr", "fpsr", "tpidr_el0", "cpacr_el1"),
    )
    control_state = MappingProxyType({"fpcr": (0xFFFFFFFF, 0)})
    longest_instruction = 4
    hazardous_code = re.compile(rb"(?=...\xd5)", re.DOTALL)
    return_code, trap_code = b"\xc0\x03\x5f\xd6", b"\0\0\x20\xd4"
    exception_names = _EXCEPTIONS
    system_call_exception = 2
    system_call_names = _SYSCALLS
    system_call_registers = ("x8", "x0", "x1", "x2", "x0")

    def create_emulator(self) -> Any:
        """A new emulator."""
        import unicorn

        return unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)

    def register_number(self, name: str) -> int:
        """unicorn's number of a register."""
        from unicorn import arm64_const

        unicorn_name = f"Q{name[1:]}" if name in _VECTORS else name.upper()
        return int(getattr(arm64_const, f"UC_ARM64_REG_{unicorn_name}"))

    def initialise(self, uc: Any) -> None:
        """Enable NEON and floating point, as Linux does."""
        from unicorn import arm64_const

        uc.reg_write(arm64_const.UC_ARM64_REG_CPACR_EL1, _ENABLE_FLOATING_POINT)

    def hook_system_calls(self, uc: Any, action: Callable[..., None]) -> None:
        """Nothing to do: a system call is an exception."""

    def reset_flags(self, uc: Any) -> None:
        """Clear the flags."""
        from unicorn import arm64_const

        uc.reg_write(arm64_const.UC_ARM64_REG_NZCV, 0)

    def find_breaches(self, values: Mapping[str, int]) -> Iterator[str]:
        """Describe each wrong state in which a function leaves the control registers."""
        if values["fpcr"]:
            yield "the floating-point control register is changed"

    def encode_jump(self, source: int, target: int) -> bytes:
        """The machine code of a direct jump; the addresses must be less than 128 MiB apart."""
        return (0x14000000 | (target - source) // 4 & (1 << 26) - 1).to_bytes(4, "little")

    def find_hazard_by_name(self, mnemonic: str) -> tuple[Outcome, str] | None:
        """The hazard of all instructions with a mnemonic."""
        if _FORBIDDEN.fullmatch(mnemonic):
            return "forbidden", f"`{mnemonic}` in user code"
        if _WAITING.fullmatch(mnemonic):
            return "vex", f"`{mnemonic}` waits for what only hardware does"
        return None

    def find_hazard(self, mnemonic: str, code: bytes) -> tuple[Outcome, str] | None:
        """The hazard of an instruction at the start of `code`, by its bytes."""
        word = int.from_bytes(code[:4], "little")
        is_for_users, crn = word >> 16 & 7 == _USER_ACCESS, word >> 12 & 15
        if word & 0xFFF00000 == _READ_SYSTEM_REGISTER and not (is_for_users and crn != _CLOCK_REGISTERS):
            return "vex", f"`{mnemonic}` has a result that differs from run to run, or from machine to machine"
        writes_register = word & 0xFFF00000 == _WRITE_SYSTEM_REGISTER and not (is_for_users and crn == _FLAG_REGISTERS)
        writes_state = word & 0xFFF8F01F == _WRITE_PROCESSOR_STATE
        is_privileged = word & 0xFFF80000 == _SYSTEM_INSTRUCTION and not is_for_users
        if writes_register or writes_state or is_privileged:
            return "forbidden", f"`{mnemonic}` of the system's state in user code"
        return None

    def find_guards(self, candidate: AssembledCode) -> Iterator[tuple[int, AlignedOperand]]:
        """The accesses by the stack pointer. None where every change of the stack pointer keeps it a multiple of 16."""
        code = {
            address: _decode(candidate.read_code(address)[:4])
            for address in candidate.find_instructions(_MAY_USE_STACK_POINTER)
        }
        if all(map(_keeps_alignment, code.values())):
            return
        for address, instruction in code.items():
            if _STACK_ACCESS.search(instruction.operands):
                yield address, AlignedOperand("sp", alignment=_STACK_ALIGNMENT)

    def moves_stack_pointer_first(self, code: bytes, address: int, *, is_store: bool) -> bool:
        """Whether an instruction has a pre-index that moves the stack pointer down, a load too."""
        return _PUSH.search(self.decode(code, address).operands) is not None

    def get_decoder(self, *, detail: bool = False, listing: bool = False) -> Any:
        """capstone for AArch64, which has one syntax."""
        return _create_decoder(detail)

    def whole_register(self, name: str) -> str:
        """`w1` is a part of `x1`; `d1` and the other views of a vector register are parts of `v1`."""
        if name in _REGISTER_ALIASES:
            return _REGISTER_ALIASES[name]
        kind = {"w": "x", "q": "v", "d": "v", "s": "v", "h": "v", "b": "v"}.get(name[:1])
        return kind + name[1:] if kind and name[1:].isdecimal() else name

    def ends_block(self, instruction: Instruction) -> bool:
        """Whether an instruction is the last of its basic block."""
        name = instruction.mnemonic
        return bool(_BRANCH.fullmatch(name)) or name.startswith(("ret", "br", "udf"))

    def find_jump_target(self, instruction: Instruction) -> int | None:
        """The address to which a direct jump goes."""
        match = _BRANCH_TARGET.search(instruction.operands) if _BRANCH.fullmatch(instruction.mnemonic) else None
        return int(match[1], 16) if match else None

    def format_absolute_operands(self, instruction: Instruction, address: int) -> str:
        """The operands as they are: capstone writes absolute addresses."""
        return instruction.operands

    def format_listing_operands(self, instruction: Instruction, address: int, names: Mapping[int, str]) -> str:
        """The operands of an instruction, with names in the place of addresses. Every page is called `page`."""
        if instruction.mnemonic == "adrp":
            return _BRANCH_TARGET.sub(", page", instruction.operands)
        if _BRANCH.fullmatch(instruction.mnemonic) or instruction.mnemonic in ("bl", "adr", "ldr"):
            return _BRANCH_TARGET.sub(
                lambda match: match[0].replace(f"#{match[1]}", names.get(int(match[1], 16), f"#{match[1]}")),
                instruction.operands,
            )
        return instruction.operands


@functools.cache
def _create_decoder(detail: bool) -> Any:
    import capstone

    decoder = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    decoder.detail = detail
    return decoder


@functools.lru_cache(maxsize=1 << 14)
def _decode(code: bytes) -> Instruction:
    """An instruction that does not depend on its address."""
    return PROCESSOR.decode(code, 0)


@functools.lru_cache(maxsize=1 << 14)
def _keeps_alignment(instruction: Instruction) -> bool:
    """Whether an instruction certainly keeps a stack pointer aligned that is aligned before it."""
    operands = instruction.operands
    step = _STACK_STEP_IN_ACCESS.search(operands)
    if step:
        return int(step[1] or step[2], 0) % _STACK_ALIGNMENT == 0
    if _UNKNOWN_STACK_STEP_IN_ACCESS.search(operands):
        return False
    if not operands.startswith("sp,") or instruction.mnemonic in ("cmp", "cmn", "tst"):
        return True
    step, mask = _STACK_STEP.match(operands), _STACK_MASK.match(operands)
    if step and instruction.mnemonic in ("add", "sub"):
        return "lsl" in operands or int(step[1], 0) % _STACK_ALIGNMENT == 0
    return mask is not None and instruction.mnemonic == "and" and int(mask[1], 16) % _STACK_ALIGNMENT == 0


# -- relocations (ELF for the Arm 64-bit Architecture, section 5.7)


def _in_data(name: str, width: int, *, is_pc_relative: bool = False) -> Relocation:
    """An address or a distance in `width` bytes of data."""
    return Relocation(f"R_AARCH64_{name}", width, is_pc_relative, None)


def _in_jump(name: str, value_bits: int, *bit_fields: BitField, alignment: int = 4) -> Relocation:
    """A distance in a branch, or in an instruction that loads an address or data from nearby."""
    return Relocation(
        f"R_AARCH64_{name}",
        field_bytes=4,
        is_pc_relative=True,
        is_signed=True,
        bit_fields=bit_fields,
        value_bits=value_bits,
        alignment=alignment,
    )


def _in_adrp(name: str, value_bits: int, *, uses_got: bool = False, thread_use: ThreadUse | None = None) -> Relocation:
    """The distance between pages, in `adrp`."""
    return Relocation(
        f"R_AARCH64_{name}",
        field_bytes=4,
        is_pc_relative=True,
        is_signed=True,
        uses_got=uses_got,
        bit_fields=(BitField(12, 2, 29), BitField(14, 19, 5)),
        value_bits=value_bits,
        is_page_relative=True,
        thread_use=thread_use,
    )


def _in_offset(name: str, scale: int, *, uses_got: bool = False, thread_use: ThreadUse | None = None) -> Relocation:
    """The offset in a page, in `add` (scale 0), or in a load or store of `1 << scale` bytes."""
    return Relocation(
        f"R_AARCH64_{name}",
        field_bytes=4,
        is_pc_relative=False,
        is_signed=None,
        uses_got=uses_got,
        bit_fields=(BitField(scale, 12 - scale, 10),),
        alignment=1 << scale,
        thread_use=thread_use,
    )


def _in_thread_offset(model: str, kind: str, first: int, last: int) -> dict[int, Relocation]:
    """The distance of a variable from the thread pointer or from the start of its module's variables: the upper bits in
    an `add`, the lower ones in what follows. `first` is the type number for the `add`; those for loads and stores
    follow, but for that of 16 bytes, which is `last`."""
    use: ThreadUse = "offset" if kind == "TPREL" else "module_offset"
    upper = Relocation(
        f"R_AARCH64_{model}_ADD_{kind}_HI12",
        field_bytes=4,
        is_pc_relative=False,
        is_signed=True,
        bit_fields=(BitField(12, 12, 10),),
        value_bits=_THREAD_OFFSET_BITS + 1,
        thread_use=use,
        subtraction_bit=1 << 30,
    )
    numbers = (first + 4, first + 6, first + 8, first + 10, last)
    accesses = {
        number: _in_offset(f"{model}_LDST{8 << scale}_{kind}_LO12_NC", scale, thread_use=use)
        for scale, number in enumerate(numbers)
    }
    lower = _in_offset(f"{model}_ADD_{kind}_LO12_NC", 0, thread_use=use)
    return {first: upper, first + 2: lower, **accesses}


def _in_mov(name: str, part: int, *, is_checked: bool) -> Relocation:
    """The 16 bits number `part` of an address, in `movz` or `movk`."""
    return Relocation(
        f"R_AARCH64_{name}",
        field_bytes=4,
        is_pc_relative=False,
        is_signed=False,
        bit_fields=(BitField(16 * part, 16, 5),),
        value_bits=16 * (part + 1) if is_checked and part < 3 else 0,
    )


_THREAD_OFFSET_BITS = 24
"""Bits of the distance of a variable from the thread pointer, as compilers add it by default."""
_DESCRIPTOR_FUNCTION = bytes.fromhex("000440f9 c0035fd6")
"""ldr x0, [x0, #8]; ret"""
_FROM_BIT_5 = BitField(2, 19, 5)
"""A distance in words of 4 bytes, in conditional branches and literal loads."""
_SUPPORTED = {
    257: _in_data("ABS64", 8),
    258: _in_data("ABS32", 4),
    259: _in_data("ABS16", 2),
    260: _in_data("PREL64", 8, is_pc_relative=True),
    261: _in_data("PREL32", 4, is_pc_relative=True),
    262: _in_data("PREL16", 2, is_pc_relative=True),
    263: _in_mov("MOVW_UABS_G0", 0, is_checked=True),
    264: _in_mov("MOVW_UABS_G0_NC", 0, is_checked=False),
    265: _in_mov("MOVW_UABS_G1", 1, is_checked=True),
    266: _in_mov("MOVW_UABS_G1_NC", 1, is_checked=False),
    267: _in_mov("MOVW_UABS_G2", 2, is_checked=True),
    268: _in_mov("MOVW_UABS_G2_NC", 2, is_checked=False),
    269: _in_mov("MOVW_UABS_G3", 3, is_checked=True),
    273: _in_jump("LD_PREL_LO19", 21, _FROM_BIT_5),
    274: _in_jump("ADR_PREL_LO21", 21, BitField(0, 2, 29), _FROM_BIT_5, alignment=1),
    275: _in_adrp("ADR_PREL_PG_HI21", 33),
    276: _in_adrp("ADR_PREL_PG_HI21_NC", 0),
    277: _in_offset("ADD_ABS_LO12_NC", 0),
    278: _in_offset("LDST8_ABS_LO12_NC", 0),
    279: _in_jump("TSTBR14", 16, BitField(2, 14, 5)),
    280: _in_jump("CONDBR19", 21, _FROM_BIT_5),
    282: _in_jump("JUMP26", 28, BitField(2, 26, 0)),
    283: _in_jump("CALL26", 28, BitField(2, 26, 0)),
    284: _in_offset("LDST16_ABS_LO12_NC", 1),
    285: _in_offset("LDST32_ABS_LO12_NC", 2),
    286: _in_offset("LDST64_ABS_LO12_NC", 3),
    299: _in_offset("LDST128_ABS_LO12_NC", 4),
    311: _in_adrp("ADR_GOT_PAGE", 33, uses_got=True),
    312: _in_offset("LD64_GOT_LO12_NC", 3, uses_got=True),
    314: _in_data("PLT32", 4, is_pc_relative=True),
    513: _in_adrp("TLSGD_ADR_PAGE21", 33, uses_got=True, thread_use="pair"),
    514: _in_offset("TLSGD_ADD_LO12_NC", 0, uses_got=True, thread_use="pair"),
    518: _in_adrp("TLSLD_ADR_PAGE21", 33, uses_got=True, thread_use="module"),
    519: _in_offset("TLSLD_ADD_LO12_NC", 0, uses_got=True, thread_use="module"),
    541: _in_adrp("TLSIE_ADR_GOTTPREL_PAGE21", 33, uses_got=True, thread_use="offset"),
    542: _in_offset("TLSIE_LD64_GOTTPREL_LO12_NC", 3, uses_got=True, thread_use="offset"),
    562: _in_adrp("TLSDESC_ADR_PAGE21", 33, uses_got=True, thread_use="descriptor"),
    563: _in_offset("TLSDESC_LD64_LO12", 3, uses_got=True, thread_use="descriptor"),
    564: _in_offset("TLSDESC_ADD_LO12", 0, uses_got=True, thread_use="descriptor"),
    569: Relocation("R_AARCH64_TLSDESC_CALL", 0, False, None, thread_use="descriptor"),
    **_in_thread_offset("TLSLD", "DTPREL", 528, 573),
    **_in_thread_offset("TLSLE", "TPREL", 549, 571),
}
_UNSUPPORTED = {
    270: "R_AARCH64_MOVW_SABS_G0", 271: "R_AARCH64_MOVW_SABS_G1", 272: "R_AARCH64_MOVW_SABS_G2",
    309: "R_AARCH64_GOT_LD_PREL19", 310: "R_AARCH64_LD64_GOTOFF_LO15", 313: "R_AARCH64_LD64_GOTPAGE_LO15",
    512: "R_AARCH64_TLSGD_ADR_PREL21", 517: "R_AARCH64_TLSLD_ADR_PREL21", 543: "R_AARCH64_TLSIE_LD_GOTTPREL_PREL19",
    544: "R_AARCH64_TLSLE_MOVW_TPREL_G2", 545: "R_AARCH64_TLSLE_MOVW_TPREL_G1", 547: "R_AARCH64_TLSLE_MOVW_TPREL_G0",
    560: "R_AARCH64_TLSDESC_LD_PREL19", 561: "R_AARCH64_TLSDESC_ADR_PREL21",
}  # fmt: skip

# -- assembly text

_INSTRUCTION = re.compile(r"([a-z][a-z0-9]{0,9}(?:\.[a-z]{2})?|[A-Z][A-Z0-9]{0,9}(?:\.[A-Z]{2})?)(?:\s+(\S.*))?")
"""A mnemonic is in capitals or in small letters; a word with one capital begins a sentence."""
_WITHOUT_OPERANDS = re.compile(r"ret(?:a[ab])?|nop|isb|eret|(?:pac|aut)i[ab](?:sp|z|1716)|bti", re.IGNORECASE)
"""Instructions without operands. Any other single word in a line is taken for prose."""
_OPERAND = re.compile(
    r"(?:[xw](?:\d|[12]\d|30|zr)|w?sp|[bhsdqv](?:\d|[12]\d|3[01])(?:\.\d*[bhsdq])?(?:\[\d+\])?)[\])}!]*$"
    r"|\[\s*(?:x\d+|sp)|\{\s*v\d+|#-?(?:0x[0-9a-f]+|\d+)|#?:\w+:",
    re.IGNORECASE,
)
_SHIFT = re.compile(r"(?:[la]s[lr]|ror|msl|[su]xt[bhwx])\s*#\d+\]?!?", re.IGNORECASE)
_TO_LABEL = re.compile(r"(?:b\s+(?:\.L\w+|\d+[bf])|(?:bl|b\.[a-z]{2})\s+[.\w$]+)", re.IGNORECASE)


def is_instruction(line: str) -> bool:
    """Whether a line is an instruction rather than prose or LLVM IR. Its operands decide."""
    line = line.split("//")[0].strip()
    match = _INSTRUCTION.fullmatch(line)
    if not match:
        return False
    if not match[2]:
        return bool(_WITHOUT_OPERANDS.fullmatch(match[1]))
    parts = [part.strip() for part in match[2].split(",")]
    if any(not part or (re.search(r"\s", part) and not _SHIFT.fullmatch(part)) for part in parts):
        return False
    return bool(_TO_LABEL.fullmatch(line)) or any(_OPERAND.match(part) for part in parts)


_QUAD_OPERATIONS = ("add", "sub", "mul", "div")
_QUAD_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge", "unord")
_ATOMIC_OPERATIONS = ("swp", "ldadd", "ldclr", "ldeor", "ldset")

PROCESSOR = ARMv8()

TARGET = Target(
    name="aarch64-linux",
    triple="aarch64-unknown-linux-gnu",
    accepted_triples=compile_triple_pattern("aarch64|arm64", "unknown|none|pc", LINUX_SYSTEMS),
    cpu="generic",
    feature_attribute="+fp-armv8,+neon,+outline-atomics,+v8a,-fmv",
    zig_target="aarch64-linux-musl",
    header_folders=("aarch64-linux-musl", "generic-musl", "aarch64-linux-any", "any-linux-any"),
    runtime_functions=(
        *(f"__{name}tf3" for name in _QUAD_OPERATIONS),
        *(f"__{name}tf2" for name in _QUAD_COMPARISONS),
        *("__extendsftf2", "__extenddftf2", "__trunctfsf2", "__trunctfdf2"),
        *(f"__fix{kind}tf{size}" for kind in ("", "uns") for size in ("si", "di")),
        *(f"__float{kind}{size}tf" for kind in ("", "un") for size in ("si", "di")),
        *(
            f"__aarch64_{name}{size}_{order}"
            for name in ("cas", *_ATOMIC_OPERATIONS)
            for size in (1, 2, 4, 8)
            for order in ("relax", "acq", "rel", "acq_rel")
        ),
    ),
    load_address=0x04000000,
    is_native=False,
    convention=AAPCS64(),
    processor=PROCESSOR,
    dialect=Dialect(
        detect_syntax=lambda code: "only",
        syntax_directives={},
        integer_widths={
            ".byte": 1, ".2byte": 2, ".short": 2, ".hword": 2, ".4byte": 4, ".word": 4, ".long": 4, ".int": 4,
            ".inst": 4, ".8byte": 8, ".xword": 8, ".dword": 8, ".quad": 8,
        },
        ignored_directives=frozenset((".arch", ".arch_extension", ".cpu", ".variant_pcs", ".tlsdesccall")),
        align_takes_exponent=True,
        missing_feature=re.compile(r"instruction requires: (.*)"),
    ),
    relocations=Relocations("EM_AARCH64", 0, _SUPPORTED, _UNSUPPORTED, _DESCRIPTOR_FUNCTION),
    is_instruction=is_instruction,
    has_keystone=False,
)  # fmt: skip

"""AArch64 Linux: ARMv8.0-A as unicorn emulates it, and the standard calling convention.

Sources: Procedure Call Standard for the Arm 64-bit Architecture (AAPCS64), sections 6 and 7; ELF for the Arm 64-bit
Architecture, section 5.7; Arm Architecture Reference Manual for A-profile, sections C5.1 and D12.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmcompiler.targets.abi import ArgumentLocation, CallingConvention, ResultLocation
from pytest_llmcompiler.targets.dialect import Dialect
from pytest_llmcompiler.targets.processor import AlignmentGuard, Instruction, MisalignedAccess, Processor, ReadRegister
from pytest_llmcompiler.targets.relocation import BitField, Relocation, Relocations
from pytest_llmcompiler.targets.target import LINUX_SYSTEMS, Target, compile_triple_pattern
from pytest_llmcompiler.values.c_types import Array, Float, Function, Struct, Type

if TYPE_CHECKING:
    from pytest_llmcompiler.targets.code import AssembledCode
    from pytest_llmcompiler.targets.processor import Outcome

# -- the calling convention

_VECTORS = tuple(f"v{number}" for number in range(32))
_HALVES = {f"v{number}": f"d{number}" for number in range(8, 16)}


class AAPCS64(CallingConvention):
    """The convention of AArch64 Linux, where x18 is one more register that a call may change. What a narrow integer
    leaves of its register is undefined, and who is called extends it."""

    integer_registers = tuple(f"x{number}" for number in range(8))
    return_register = "x0"
    separate_result_register = "x8"
    callee_saved = (*(f"x{number}" for number in range(19, 30)), *_HALVES.values())
    caller_saved = tuple(f"x{number}" for number in range(19))
    vector_registers = (*_VECTORS[:8], *_VECTORS[16:])
    half_preserved_vectors = _HALVES
    caller_extends = False
    red_zone = 0

    def locate_result(self, function: Function) -> ResultLocation:
        """Where the result of a function is found: where it would be passed as the only argument, or in memory."""
        if function.result is None or function.result.size == 0:
            return ResultLocation((), False)
        place = self.locate_arguments([function.result])[0]
        return (
            ResultLocation((), True)
            if place.is_indirect
            else ResultLocation(place.registers, False, place.register_bytes)
        )

    def locate_arguments(self, types: Sequence[Type]) -> list[ArgumentLocation]:
        """Where arguments of these types go (AAPCS64, section 6.8.2, stages B and C)."""
        found = []
        integers = vectors = offset = 0
        for type in types:
            members = find_homogeneous_members(type)
            if not type.size:
                found.append(ArgumentLocation(offset=offset))
                continue
            size, align = (type.size, type.align) if not _is_large(type) else (8, 8)
            wanted = members[1] if members else -(-size // 8)
            if members and vectors + wanted <= 8:
                found.append(ArgumentLocation(_VECTORS[vectors : vectors + wanted], register_bytes=members[0]))
                vectors += wanted
                continue
            if not members:
                integers += align == 16 and integers % 2
                if integers + wanted <= 8:
                    registers = self.integer_registers[integers : integers + wanted]
                    found.append(ArgumentLocation(registers, is_indirect=_is_large(type)))
                    integers += wanted
                    continue
            # What goes to the stack leaves no register of its kind to those that follow.
            vectors, integers = (8, integers) if members else (vectors, 8)
            offset = -(-offset // max(8, align)) * max(8, align)
            found.append(ArgumentLocation(offset=offset, is_indirect=_is_large(type)))
            offset += -(-size // 8) * 8
        return found


def find_homogeneous_members(type: Type) -> tuple[int, int] | None:
    """The size and the number of the members of a type that is passed in vector registers; None for any other."""
    if isinstance(type, Float):
        return type.size, 1
    if not isinstance(type, (Struct, Array)):
        return None
    found = _members(type)
    return found if found and 0 < found[1] <= 4 and found[0] * found[1] == type.size else None


def _members(type: Type) -> tuple[int, int] | None:
    """The size and the number of the floating-point numbers that a type is made of, where these are all alike."""
    if isinstance(type, Float):
        return type.size, 1
    if isinstance(type, Array):
        inner = _members(type.element)
        return (inner[0], inner[1] * type.count) if inner else None
    if not isinstance(type, Struct) or not type.fields or any(field.bits for field in type.fields):
        return None
    parts = [_members(field.type) for field in type.fields if field.type.size]
    sizes = {part[0] for part in parts if part}
    if None in parts or len(sizes) != 1:
        return None
    counts = [part[1] for part in parts if part]
    return sizes.pop(), max(counts) if type.union else sum(counts)


def _is_large(type: Type) -> bool:
    """Whether a type is passed as the address of a copy."""
    return isinstance(type, (Struct, Array)) and type.size > 16 and not find_homogeneous_members(type)


# -- the processor

_FORBIDDEN = re.compile(r"svc|hvc|smc|eret(?:aa|ab)?|drps|dcps[123]|hlt")
"""Instructions that leave user code, or that only a kernel may execute: unicorn lets some of them pass."""
_WAITS = re.compile(r"wf[ei]t?")
_READS, _WRITES, _STATE, _SYSTEM = 0xD5300000, 0xD5100000, 0xD500401F, 0xD5080000
"""The fixed bits of mrs, msr from a register and of a number, and sys."""
_FLAGS, _CLOCK, _USER = 4, 14, 3
"""Of a system register: the CRn of NZCV, FPCR and FPSR, and of the clock; the op1 of what user code may name."""
_STACK_ACCESS = re.compile(r"\[sp\b")
_BELOW = re.compile(r"\[sp, #-(?:0x)?[0-9a-f]+\]!")
_MOVES_BY = re.compile(r"\[sp, #-?(0x[0-9a-f]+|\d+)\]!|\[sp\], #-?(0x[0-9a-f]+|\d+)$")
_MOVES_SOMEHOW = re.compile(r"\[sp\], [xw]\d|\[sp, .*\]!")
_STEP = re.compile(r"sp, sp, #(0x[0-9a-f]+|\d+)(?:, lsl #0xc|, lsl #12)?$")
_MASK = re.compile(r"sp, \w+, #(0x[0-9a-f]+)$")
_BRANCH = re.compile(r"b(?:\.\w+)?|cbn?z|tbn?z")
_DESTINATION = re.compile(r"(?:^|, )#(0x[0-9a-f]+)$")
_EXCEPTIONS = {1: "illegal instruction", 3: "a jump to no instruction", 4: "misaligned access", 7: "breakpoint"}
_SYSCALLS = {
    29: "ioctl", 57: "close", 62: "lseek", 63: "read", 64: "write", 65: "readv", 66: "writev", 93: "exit",
    94: "exit_group", 96: "set_tid_address", 98: "futex", 101: "nanosleep", 113: "clock_gettime",
    115: "clock_nanosleep", 169: "gettimeofday", 172: "getpid", 178: "gettid", 198: "socket", 278: "getrandom",
    **dict.fromkeys((33, 34, 35, 36, 37, 38, 45, 48, 49, 53, 54, 56, 78, 79, 88, 276, 291, 437, 439), "path"),
    **dict.fromkeys((25, 32, 46, 47, 50, 52, 55, 61, 67, 68, 80, 82, 83), "file"),
}  # fmt: skip
"""By the numbers that Linux gives them on all newer architectures."""


class ARMv8(Processor):
    """An ARMv8.0-A processor with NEON, without the extensions that came later."""

    stack_pointer, program_counter, link_register, return_address_bytes = "sp", "pc", "x30", 0
    control_registers = ("fpcr",)
    registers = (*(f"x{number}" for number in range(31)), *_VECTORS, *_HALVES.values())
    longest_instruction = 4
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

        return int(getattr(arm64_const, f"UC_ARM64_REG_{name.upper().replace('V', 'Q')}"))

    def initialise(self, uc: Any) -> None:
        """Let NEON and floating point be used, as Linux does."""
        from unicorn import arm64_const

        uc.reg_write(arm64_const.UC_ARM64_REG_CPACR_EL1, 3 << 20)

    def hook_system_calls(self, uc: Any, action: Callable[..., None]) -> None:
        """It is an exception."""

    def reset_flags(self, uc: Any) -> None:
        """Set the flags as a function finds them."""
        from unicorn import arm64_const

        uc.reg_write(arm64_const.UC_ARM64_REG_NZCV, 0)

    def find_breaches(self, values: Mapping[str, int]) -> Iterator[str]:
        """What a function leaves wrong of the `state`, in words."""
        if values["fpcr"]:
            yield "the floating-point control register is changed"

    def encode_jump(self, source: int, target: int) -> bytes:
        """The code of a jump from one address to another, which is less than 128 MiB away."""
        return (0x14000000 | (target - source) // 4 & (1 << 26) - 1).to_bytes(4, "little")

    def find_hazard(self, mnemonic: str, code: bytes) -> tuple[Outcome, str] | None:
        """What to stop with, and why, where an instruction can't be left to the emulator."""
        if _FORBIDDEN.fullmatch(mnemonic):
            return "forbidden", f"`{mnemonic}` in user code"
        if _WAITS.fullmatch(mnemonic):
            return "vex", f"`{mnemonic}` waits for what only hardware does"
        word = int.from_bytes(code[:4], "little")
        is_users, register = word >> 16 & 7 == _USER, word >> 12 & 15
        if word & 0xFFF00000 == _READS and not (is_users and register != _CLOCK):
            return "vex", f"`{mnemonic}` tells what differs from run to run, or from one machine to another"
        writes = word & 0xFFF00000 == _WRITES and not (is_users and register == _FLAGS)
        if writes or word & 0xFFF8F01F == _STATE or (word & 0xFFF80000 == _SYSTEM and not is_users):
            return "forbidden", f"`{mnemonic}` of the system's state in user code"
        return None

    def find_guards(self, candidate: AssembledCode) -> Iterator[tuple[int, AlignmentGuard]]:
        """Hardware refuses each access by a stack pointer that is no multiple of 16; where every step of it is such a
        multiple, nothing has to be asked."""
        code = {
            address: self.decode(candidate.read_code(address), address)
            for address, mnemonic in candidate.mnemonics.items()
            if not mnemonic.startswith(".")
        }
        if all(map(_keeps_alignment, code.values())):
            return
        for address, instruction in code.items():
            if _STACK_ACCESS.search(instruction.operands):
                yield address, _misaligned

    def accesses_below_stack_pointer(self, code: bytes, address: int) -> bool:
        """Whether an instruction itself moves the stack pointer to below what it writes or reads."""
        return _BELOW.search(self.decode(code, address).operands) is not None

    def get_decoder(self, *, detail: bool = False, listing: bool = False) -> Any:
        """capstone for its code, which has one syntax."""
        return _decoder(detail)

    def ends_block(self, instruction: Instruction) -> bool:
        """Whether what follows an instruction is a block of its own."""
        name = instruction.mnemonic
        return bool(_BRANCH.fullmatch(name)) or name.startswith(("ret", "br", "udf"))

    def find_jump_target(self, instruction: Instruction) -> int | None:
        """Where a direct jump leads."""
        match = _DESTINATION.search(instruction.operands) if _BRANCH.fullmatch(instruction.mnemonic) else None
        return int(match[1], 16) if match else None

    def format_absolute_operands(self, instruction: Instruction, address: int) -> str:
        """The operands of an instruction: capstone writes addresses."""
        return instruction.operands

    def format_listing_operands(self, instruction: Instruction, address: int, names: Mapping[int, str]) -> str:
        """The operands of an instruction, with names for addresses. A page is called that, wherever it is."""
        if instruction.mnemonic == "adrp":
            return _DESTINATION.sub(", page", instruction.operands)
        if _BRANCH.fullmatch(instruction.mnemonic) or instruction.mnemonic in ("bl", "adr", "ldr"):
            return _DESTINATION.sub(
                lambda found: found[0].replace(f"#{found[1]}", names.get(int(found[1], 16), f"#{found[1]}")),
                instruction.operands,
            )
        return instruction.operands


@functools.cache
def _decoder(detail: bool) -> Any:
    import capstone

    made = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    made.detail = detail
    return made


def _keeps_alignment(instruction: Instruction) -> bool:
    """Whether an instruction surely leaves a stack pointer a multiple of 16 that was one."""
    operands = instruction.operands
    step = _MOVES_BY.search(operands)
    if step:
        return int(step[1] or step[2], 0) % 16 == 0
    if _MOVES_SOMEHOW.search(operands):
        return False
    if not operands.startswith("sp,") or instruction.mnemonic in ("cmp", "cmn", "tst"):
        return True
    step, mask = _STEP.match(operands), _MASK.match(operands)
    if step and instruction.mnemonic in ("add", "sub"):
        return "lsl" in operands or int(step[1], 0) % 16 == 0
    return bool(mask) and instruction.mnemonic == "and" and int(mask[1], 16) % 16 == 0 if mask else False


def _misaligned(register: ReadRegister) -> MisalignedAccess | None:
    pointer = register("sp")
    return MisalignedAccess(pointer, 16) if pointer % 16 else None


# -- objects


def _data(name: str, width: int, *, relative: bool = False) -> Relocation:
    return Relocation(f"R_AARCH64_{name}", width, relative, None)


def _jump(name: str, reach: int, *bits: tuple[int, int, int], aligned: int = 4) -> Relocation:
    """A distance in an instruction."""
    return Relocation(
        *(f"R_AARCH64_{name}", 4, True, True),
        bit_fields=tuple(BitField(*one) for one in bits),
        value_bits=reach,
        alignment=aligned,
    )


def _page(name: str, reach: int, *, got: bool = False) -> Relocation:
    """The distance of pages in adrp."""
    bits = (BitField(12, 2, 29), BitField(14, 19, 5))
    return Relocation(f"R_AARCH64_{name}", 4, True, True, got, bits, reach, is_page_relative=True)


def _low(name: str, scale: int, *, got: bool = False) -> Relocation:
    """The place in a page, in add, or in a load or store of 1 << `scale` bytes."""
    return Relocation(
        *(f"R_AARCH64_{name}", 4, False, None, got), bit_fields=(BitField(scale, 12 - scale, 10),), alignment=1 << scale
    )


def _part(name: str, number: int, *, checked: bool) -> Relocation:
    """16 bits of an address in movz or movk."""
    reach = 16 * (number + 1) if checked and number < 3 else 0
    return Relocation(
        f"R_AARCH64_{name}", 4, False, False, bit_fields=(BitField(16 * number, 16, 5),), value_bits=reach
    )


_SUPPORTED = {
    257: _data("ABS64", 8),
    258: _data("ABS32", 4),
    259: _data("ABS16", 2),
    260: _data("PREL64", 8, relative=True),
    261: _data("PREL32", 4, relative=True),
    262: _data("PREL16", 2, relative=True),
    263: _part("MOVW_UABS_G0", 0, checked=True),
    264: _part("MOVW_UABS_G0_NC", 0, checked=False),
    265: _part("MOVW_UABS_G1", 1, checked=True),
    266: _part("MOVW_UABS_G1_NC", 1, checked=False),
    267: _part("MOVW_UABS_G2", 2, checked=True),
    268: _part("MOVW_UABS_G2_NC", 2, checked=False),
    269: _part("MOVW_UABS_G3", 3, checked=True),
    273: _jump("LD_PREL_LO19", 21, (2, 19, 5)),
    274: _jump("ADR_PREL_LO21", 21, (0, 2, 29), (2, 19, 5), aligned=1),
    275: _page("ADR_PREL_PG_HI21", 33),
    276: _page("ADR_PREL_PG_HI21_NC", 0),
    277: _low("ADD_ABS_LO12_NC", 0),
    278: _low("LDST8_ABS_LO12_NC", 0),
    279: _jump("TSTBR14", 16, (2, 14, 5)),
    280: _jump("CONDBR19", 21, (2, 19, 5)),
    282: _jump("JUMP26", 28, (2, 26, 0)),
    283: _jump("CALL26", 28, (2, 26, 0)),
    284: _low("LDST16_ABS_LO12_NC", 1),
    285: _low("LDST32_ABS_LO12_NC", 2),
    286: _low("LDST64_ABS_LO12_NC", 3),
    299: _low("LDST128_ABS_LO12_NC", 4),
    311: _page("ADR_GOT_PAGE", 33, got=True),
    312: _low("LD64_GOT_LO12_NC", 3, got=True),
    314: _data("PLT32", 4, relative=True),
}
_UNSUPPORTED = {
    270: "R_AARCH64_MOVW_SABS_G0", 271: "R_AARCH64_MOVW_SABS_G1", 272: "R_AARCH64_MOVW_SABS_G2",
    309: "R_AARCH64_GOT_LD_PREL19", 310: "R_AARCH64_LD64_GOTOFF_LO15", 313: "R_AARCH64_LD64_GOTPAGE_LO15",
    513: "R_AARCH64_TLSGD_ADR_PAGE21", 541: "R_AARCH64_TLSIE_ADR_GOTTPREL_PAGE21",
    542: "R_AARCH64_TLSIE_LD64_GOTTPREL_LO12_NC", 549: "R_AARCH64_TLSLE_ADD_TPREL_HI12",
    551: "R_AARCH64_TLSLE_ADD_TPREL_LO12_NC", 562: "R_AARCH64_TLSDESC_ADR_PAGE21",
}  # fmt: skip

# -- text

_INSTRUCTION = re.compile(r"([a-z][a-z0-9]{0,9}(?:\.[a-z]{2})?|[A-Z][A-Z0-9]{0,9}(?:\.[A-Z]{2})?)(?:\s+(\S.*))?")
"""In capitals or in small letters: only a sentence begins with one capital."""
_ALONE = re.compile(r"ret(?:a[ab])?|nop|isb|eret|(?:pac|aut)i[ab](?:sp|z|1716)|bti", re.IGNORECASE)
"""Instructions that stand without an operand: any other single word is prose."""
_OPERAND = re.compile(
    r"(?:[xw](?:\d|[12]\d|30|zr)|w?sp|[bhsdqv](?:\d|[12]\d|3[01])(?:\.\d*[bhsdq])?(?:\[\d+\])?)[\])}!]*$"
    r"|\[\s*(?:x\d+|sp)|\{\s*v\d+|#-?(?:0x[0-9a-f]+|\d+)|#?:\w+:",
    re.IGNORECASE,
)
_SHIFT = re.compile(r"(?:[la]s[lr]|ror|msl|[su]xt[bhwx])\s*#\d+\]?!?", re.IGNORECASE)
_TO_LABEL = re.compile(r"(?:b\s+(?:\.L\w+|\d+[bf])|(?:bl|b\.[a-z]{2})\s+[.\w$]+)", re.IGNORECASE)


def is_instruction(line: str) -> bool:
    """Tell an instruction from prose and from LLVM IR, by its operands."""
    line = line.split("//")[0].strip()
    match = _INSTRUCTION.fullmatch(line)
    if not match:
        return False
    if not match[2]:
        return bool(_ALONE.fullmatch(match[1]))
    parts = [part.strip() for part in match[2].split(",")]
    if any(not part or (re.search(r"\s", part) and not _SHIFT.fullmatch(part)) for part in parts):
        return False
    return bool(_TO_LABEL.fullmatch(line)) or any(_OPERAND.match(part) for part in parts)


_TF = ("add", "sub", "mul", "div")
_COMPARES = ("eq", "ne", "lt", "le", "gt", "ge", "unord")
_ATOMIC = ("swp", "ldadd", "ldclr", "ldeor", "ldset")

TARGET = Target(
    name="aarch64-linux",
    triple="aarch64-unknown-linux-gnu",
    accepted_triples=compile_triple_pattern("aarch64|arm64", "unknown|none|pc", LINUX_SYSTEMS),
    cpu="generic",
    feature_attribute="+fp-armv8,+neon,+outline-atomics,+v8a,-fmv",
    zig_target="aarch64-linux-musl",
    header_folders=("aarch64-linux-musl", "generic-musl", "aarch64-linux-any", "any-linux-any"),
    runtime_functions=(
        *(f"__{name}tf3" for name in _TF),
        *(f"__{name}tf2" for name in _COMPARES),
        *("__extendsftf2", "__extenddftf2", "__trunctfsf2", "__trunctfdf2"),
        *(f"__fix{kind}tf{size}" for kind in ("", "uns") for size in ("si", "di")),
        *(f"__float{kind}{size}tf" for kind in ("", "un") for size in ("si", "di")),
        *(
            f"__aarch64_{name}{size}_{order}"
            for name in ("cas", *_ATOMIC)
            for size in (1, 2, 4, 8)
            for order in ("relax", "acq", "rel", "acq_rel")
        ),
    ),
    load_address=0x04000000,
    is_native=False,
    convention=AAPCS64(),
    processor=ARMv8(),
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
    relocations=Relocations("EM_AARCH64", 0, _SUPPORTED, _UNSUPPORTED),
    is_instruction=is_instruction,
    has_keystone=False,
)  # fmt: skip

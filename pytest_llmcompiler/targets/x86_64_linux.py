"""x86-64 Linux: the System V calling convention, and the processor as unicorn emulates it.

Sources: System V Application Binary Interface, AMD64 Architecture Processor Supplement, sections 3.2.3 and 4.4; Intel
Software Developer's Manual, volume 1, section 4.1.1, and volume 2, sections 2.3 and 2.4.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_llmcompiler.targets.abi import ArgumentLocation, CallingConvention, ResultLocation
from pytest_llmcompiler.targets.dialect import Dialect, Syntax
from pytest_llmcompiler.targets.processor import AlignmentGuard, Instruction, MisalignedAccess, Processor, ReadRegister
from pytest_llmcompiler.targets.relocation import Relocation, Relocations
from pytest_llmcompiler.targets.target import LINUX_SYSTEMS, Target, compile_triple_pattern
from pytest_llmcompiler.values.c_types import Array, Float, Function, Int, Pointer, Struct, Type

if TYPE_CHECKING:
    from pytest_llmcompiler.targets.code import AssembledCode
    from pytest_llmcompiler.targets.processor import Outcome

# -- the calling convention

EightbyteClass = Literal["INTEGER", "SSE"]
_SSE = tuple(f"xmm{number}" for number in range(8))


class SystemV(CallingConvention):
    """The convention of x86-64 Linux. Integers narrower than 32 bits are extended to 32, which callers made by clang
    do and callees made by clang rely on."""

    integer_registers = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
    return_register = "rax"
    callee_saved = ("rbx", "rbp", "r12", "r13", "r14", "r15")
    caller_saved = ("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11")
    vector_registers = tuple(f"xmm{number}" for number in range(16))
    caller_extends = True
    red_zone = 128

    def locate_result(self, function: Function) -> ResultLocation:
        """Where the result of a function is found."""
        if function.result is None or function.result.size == 0:
            return ResultLocation((), False)
        classes = classify_eightbytes(function.result)
        if not classes:
            return ResultLocation(("rax",), True)
        integers, vectors = iter(("rax", "rdx")), iter(("xmm0", "xmm1"))
        return ResultLocation(tuple(next(integers if kind == "INTEGER" else vectors) for kind in classes), False)

    def locate_arguments(self, types: Sequence[Type]) -> list[ArgumentLocation]:
        """Where arguments of these types go."""
        integers, vectors = list(self.integer_registers), list(_SSE)
        found, offset = [], 0
        for type in types:
            classes = classify_eightbytes(type)
            if classes and classes.count("INTEGER") <= len(integers) and classes.count("SSE") <= len(vectors):
                found.append(
                    ArgumentLocation(tuple((integers if kind == "INTEGER" else vectors).pop(0) for kind in classes))
                )
            else:
                align = 16 if type.align == 16 else 8
                offset = -(-offset // align) * align
                found.append(ArgumentLocation(offset=offset))
                offset += -(-type.size // 8) * 8
        return found

    def find_variadic_registers(self, registers: Mapping[str, int]) -> dict[str, int]:
        """The number of vector registers that hold arguments."""
        return {"rax": sum(name.startswith("xmm") for name in registers)}


def classify_eightbytes(type: Type) -> tuple[EightbyteClass, ...]:
    """The class of each eightbyte of a type; empty for one that is passed in memory (or has no bytes)."""
    if isinstance(type, Int) and type.size == 16:
        return ("INTEGER", "INTEGER")
    if isinstance(type, Int):
        return ("INTEGER",)
    if isinstance(type, Pointer):
        return ("INTEGER",)
    if isinstance(type, Float):
        return ("SSE",)
    if type.size > 16 or type.size == 0:
        return ()
    classes: list[EightbyteClass | None] = [None] * ((type.size + 7) // 8)
    return tuple(kind or "SSE" for kind in classes) if _merge(type, 0, classes) else ()


def _merge(type: Type, offset: int, classes: list[EightbyteClass | None]) -> bool:
    """Merge a type at an offset into the classes of its eightbytes. False where it is unaligned, hence all MEMORY."""
    if isinstance(type, Struct):
        return all(
            _merge(field.type, offset + field.offset, classes)
            if field.bits is None
            else _merge_bits(8 * offset + field.bits[0], field.bits[1], classes)
            for field in type.fields
        )
    if isinstance(type, Array):
        starts = range(offset, offset + type.size, max(type.element.size, 1))
        return all(_merge(type.element, start, classes) for start in starts)
    if offset % type.align:
        return False
    for index, kind in enumerate(classify_eightbytes(type)):
        place = offset // 8 + index
        classes[place] = "INTEGER" if "INTEGER" in (kind, classes[place]) else kind
    return True


def _merge_bits(first: int, width: int, classes: list[EightbyteClass | None]) -> bool:
    for place in range(first // 64, (first + width - 1) // 64 + 1):
        classes[place] = "INTEGER"
    return True


# -- the processor

ALIGNMENT = 16
_FORGIVING = ("movup", "movdqu", "lddqu", "pcmpestr", "pcmpistr", "sha", "bnd", "comisd")
"""How those begin that take an operand of 16 bytes from anywhere. (capstone says so of comisd, which takes 8.)"""
_OPCODE = 0x0F
_REX = range(0x40, 0x50)


_FORBIDDEN = re.compile(
    r"hlt|(?:in|out)s?[bwld]?|cli|sti|clts|l[gil]dt|ltr|lmsw|(?:wb)?invd|invlpg|(?:rd|wr)msr|rdpmc|xsetbv|swapgs"
    r"|l[defgs]s[lqw]?|wr[fg]sbase[lq]?|sys(?:enter|call)|sys(?:exit|ret)[lq]?|iret[dlqw]?|int[13o]?|monitor|mwait|vm(?:call|launch|resume|xoff|xon)"
)
"""Privileged instructions, and those that leave user code: unicorn lets most of them pass."""
_UNSTEADY = re.compile(r"rdtscp?|rdrand[wlq]?|rdseed[wlq]?|rdpid[lq]?|cpuid")
_REX_BYTES = tuple(bytes([byte]) for byte in _REX)
_CONTROL_MOVES = (b"\x20", b"\x21", b"\x22", b"\x23")
_PREFIXES = b"\x66\x67\xf2\xf3\x2e\x36\x3e\x26\x64\x65\xf0"
_VEX = (b"\xc4", b"\xc5", b"\x62")
"""First bytes of VEX and EVEX code in 64-bit mode, where they mean nothing else."""


_EXCEPTIONS = {0: "division by zero or overflow in it", 3: "breakpoint", 4: "overflow trap", 13: "protection fault"}
_DIRECTION = 1 << 10
_MXCSR_CONTROL = 0xFFC0
_RELATIVE = re.compile(r"\[rip ([+-]) (0x[0-9a-f]+|\d+)\]")
_LISTED_RELATIVE = re.compile(r"(-?0x[0-9a-f]+|-?\d+)?\(%rip\)")
_ADDRESS = re.compile(r"0x[0-9a-f]+")
_DESTINATION = re.compile(r"0x[0-9a-f]+$")


_SYSCALLS = {
    0: "read", 1: "write", 3: "close", 8: "lseek", 16: "ioctl", 19: "readv", 20: "writev", 35: "nanosleep",
    39: "getpid", 41: "socket", 60: "exit", 96: "gettimeofday", 158: "arch_prctl", 186: "gettid", 201: "time",
    202: "futex", 218: "set_tid_address", 228: "clock_gettime", 230: "clock_nanosleep", 231: "exit_group",
    318: "getrandom",
    **dict.fromkeys((2, 4, 6, 21, 76, 79, 80, 82, 83, 84, 85, 86, 87, 88, 89, 90, 92, 257, 258), "path"),
    **dict.fromkeys((262, 263, 264, 267, 269, 332, 439), "path"),
    **dict.fromkeys((17, 18, 72, 73, 74, 75, 77, 78, 81, 91, 217), "file"),
}  # fmt: skip


class X86(Processor):
    """An x86-64 processor without AVX, which the emulator computes wrongly."""

    stack_pointer, program_counter, link_register, return_address_bytes = "rsp", "rip", None, 8
    control_registers = ("eflags", "mxcsr", "fpcw", "fptag")
    registers = (
        *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
        *(f"xmm{number}" for number in range(16)),
    )
    longest_instruction = 16
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
        from unicorn import x86_const

        return int(getattr(x86_const, f"UC_X86_REG_{name.upper()}"))

    def initialise(self, uc: Any) -> None:
        """Control words as Linux sets them: without them x87 rounds to single. System calls are an instruction."""
        uc.reg_write(self.register_number("fpcw"), 0x37F)
        uc.reg_write(self.register_number("mxcsr"), 0x1F80)

    def hook_system_calls(self, uc: Any, action: Callable[..., None]) -> None:
        """Have `action` called for each system call."""
        import unicorn
        from unicorn import x86_const

        uc.hook_add(unicorn.UC_HOOK_INSN, action, None, 1, 0, x86_const.UC_X86_INS_SYSCALL)

    def set_thread_pointer(self, uc: Any, address: int) -> None:
        """Set the register by which thread-local variables are found."""
        uc.reg_write(self.register_number("fs_base"), address)

    def reset_flags(self, uc: Any) -> None:
        """Set the flags as a function finds them."""
        uc.reg_write(self.register_number("eflags"), 0x202)
        uc.reg_write(self.register_number("fptag"), 0xFFFF)

    def find_breaches(self, values: Mapping[str, int]) -> Iterator[str]:
        """What a function leaves wrong of the `state`, in words."""
        if values["eflags"] & _DIRECTION:
            yield "the direction flag is left set"
        if (values["mxcsr"] ^ 0x1F80) & _MXCSR_CONTROL or values["fpcw"] != 0x37F:
            yield "the floating-point control words are changed"
        if values["fptag"] != 0xFFFF:
            yield "the x87 register stack is not empty"

    def encode_jump(self, source: int, target: int) -> bytes:
        """The code of a jump from one address to another, which is near."""
        return b"\xe9" + (target - (source + 5)).to_bytes(4, "little", signed=True)

    def find_hazard(self, mnemonic: str, code: bytes) -> tuple[Outcome, str] | None:
        """What to stop with, and why, where an instruction can't be left to the emulator."""
        if _FORBIDDEN.fullmatch(mnemonic):
            return "forbidden", f"`{mnemonic}` in user code"
        if _UNSTEADY.fullmatch(mnemonic):
            return "vex", f"`{mnemonic}` tells what differs from run to run"
        plain = code.lstrip(_PREFIXES)
        if plain[:1] in _VEX:
            return "vex", f"`{mnemonic}` is VEX or EVEX code"
        opcode = plain[1:] if plain[:1] in _REX_BYTES else plain
        if opcode[:1] == b"\x0f" and opcode[1:2] in _CONTROL_MOVES:
            return "forbidden", f"`{mnemonic}` of a control or debug register in user code"
        return None

    def find_guards(self, candidate: AssembledCode) -> Iterator[tuple[int, AlignmentGuard]]:
        """The operands of SSE instructions that must be aligned."""
        for address in candidate.mnemonics:
            operand = find_aligned_operand(candidate.read_code(address), address)
            if operand:
                yield address, functools.partial(_misaligned, operand)

    def accesses_below_stack_pointer(self, code: bytes, address: int) -> bool:
        """A push writes to where the stack pointer is then; but that is within the red zone."""
        return False

    def get_decoder(self, *, detail: bool = False, listing: bool = False) -> Any:
        """capstone for 64-bit code, which writes Intel syntax, and AT&T's in listings."""
        return _decoder(detail, listing)

    def ends_block(self, instruction: Instruction) -> bool:
        """Whether what follows an instruction is a block of its own."""
        return instruction.mnemonic.startswith(("j", "ret", "loop", "ud2"))

    def find_jump_target(self, instruction: Instruction) -> int | None:
        """Where a direct jump leads."""
        match = _DESTINATION.match(instruction.operands)
        return int(match[0], 16) if match else None

    def format_absolute_operands(self, instruction: Instruction, address: int) -> str:
        """The operands of an instruction, with addresses where they are relative to it."""
        end = address + instruction.size
        return _RELATIVE.sub(lambda found: f"[{end + int(found[1] + found[2], 0):#x}]", instruction.operands)

    def format_listing_operands(self, instruction: Instruction, address: int, names: Mapping[int, str]) -> str:
        """The operands of an instruction in the syntax of listings, with names for addresses."""

        def relative(match: re.Match[str]) -> str:
            at = address + instruction.size + int(match[1] or "0", 0)
            return f"{names.get(at, 'data')}(%rip)"

        operands = _LISTED_RELATIVE.sub(relative, instruction.operands)
        if instruction.mnemonic.startswith(("j", "call", "loop")) or "$" in operands:
            operands = _ADDRESS.sub(lambda match: names.get(int(match[0], 16), match[0]), operands)
        return operands


@functools.cache
def _decoder(detail: bool, att: bool) -> Any:
    import capstone

    made = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    made.detail = detail
    if att:
        made.syntax = capstone.CS_OPT_SYNTAX_ATT
    return made


@dataclass(frozen=True)
class X86Operand:
    """Where in memory an instruction reads or writes."""

    base: str | None
    index: str | None
    scale: int
    offset: int
    """Of an operand relative to the instruction pointer, with that added."""
    segment: str | None
    bits: int
    """Of the address."""

    def address(self, register: ReadRegister) -> int:
        """The address; `register` gives the value of one."""
        base = register(self.base) if self.base else 0
        index = register(self.index) if self.index else 0
        near = base + index * self.scale + self.offset & (1 << self.bits) - 1
        return near + (register(f"{self.segment}_base") if self.segment else 0) & (1 << 64) - 1


def find_aligned_operand(code: bytes, address: int) -> X86Operand | None:
    """The memory operand of the first instruction in `code` at `address` that must be aligned; None where none must."""
    plain = code.lstrip(_PREFIXES)
    if plain[:1] and plain[0] in _REX:
        plain = plain[1:]
    if plain[:1] != bytes([_OPCODE]):
        return None
    instruction = next(PROCESSOR.get_decoder(detail=True).disasm(code, address, 1), None)
    if instruction is None or instruction.mnemonic.split()[-1].startswith(_FORGIVING):
        return None
    return next((_operand(instruction, part) for part in instruction.operands if _is_wide(part)), None)


def _misaligned(operand: X86Operand, register: ReadRegister) -> MisalignedAccess | None:
    address = operand.address(register)
    return MisalignedAccess(address, ALIGNMENT) if address % ALIGNMENT else None


def _is_wide(operand: Any) -> bool:
    from capstone import x86

    return bool(operand.type == x86.X86_OP_MEM and operand.size == ALIGNMENT)


def _operand(instruction: Any, part: Any) -> X86Operand:
    base, index, segment = (
        instruction.reg_name(number) if number else None for number in (part.mem.base, part.mem.index, part.mem.segment)
    )
    offset = part.mem.disp
    if base in ("rip", "eip"):
        base, offset = None, offset + instruction.address + instruction.size
    return X86Operand(
        base,
        None if index in ("riz", "eiz") else index,
        part.mem.scale,
        offset,
        segment if segment in ("fs", "gs") else None,
        8 * instruction.addr_size,
    )


# -- objects

ABSOLUTE_64 = Relocation("R_X86_64_64", 8, False, None)
SIGNED_32 = Relocation("R_X86_64_32S", 4, False, True)
RELATIVE_32 = Relocation("R_X86_64_PC32", 4, True, True)
GOT_32 = Relocation("R_X86_64_GOTPCREL", 4, True, True, True)
DATA_RELOCATIONS = {
    1: Relocation("R_X86_64_8", 1, False, None),
    2: Relocation("R_X86_64_16", 2, False, None),
    4: Relocation("R_X86_64_32", 4, False, False),
    8: ABSOLUTE_64,
}
"""Width in bytes -> the relocation of an address in a data directive of that width."""

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
    24: Relocation("R_X86_64_PC64", 8, True, None),
    28: Relocation("R_X86_64_GOTPCREL64", 8, True, None, True),
    41: Relocation("R_X86_64_GOTPCRELX", 4, True, True, True),
    42: Relocation("R_X86_64_REX_GOTPCRELX", 4, True, True, True),
    43: Relocation("R_X86_64_CODE_4_GOTPCRELX", 4, True, True, True),
}
_UNSUPPORTED = {
    3: "R_X86_64_GOT32", 5: "R_X86_64_COPY", 16: "R_X86_64_DTPMOD64", 17: "R_X86_64_DTPOFF64", 18: "R_X86_64_TPOFF64",
    19: "R_X86_64_TLSGD", 20: "R_X86_64_TLSLD", 21: "R_X86_64_DTPOFF32", 22: "R_X86_64_GOTTPOFF",
    23: "R_X86_64_TPOFF32", 25: "R_X86_64_GOTOFF64", 26: "R_X86_64_GOTPC32", 27: "R_X86_64_GOT64",
    29: "R_X86_64_GOTPC64", 32: "R_X86_64_SIZE32", 33: "R_X86_64_SIZE64", 34: "R_X86_64_GOTPC32_TLSDESC",
}  # fmt: skip

# -- text

PREFIXES = frozenset((
    "lock", "rep", "repe", "repz", "repne", "repnz", "data16", "addr32", "rex64", "notrack", "bnd", "xacquire",
    "xrelease", "cs", "ds", "es", "fs", "gs", "ss",
))  # fmt: skip
"""What may stand in front of a mnemonic."""
DATA_WIDTHS = {
    ".byte": 1, ".2byte": 2, ".short": 2, ".value": 2, ".word": 2, ".hword": 2,
    ".4byte": 4, ".long": 4, ".int": 4, ".8byte": 8, ".quad": 8,
}  # fmt: skip
"""Bytes of one element, for each directive that holds integers or addresses."""
_AT_REGISTER = re.compile(
    r"%\s*(?:[re]?[abcd]x|[re]?[sd]i|[re]?[sb]p|[abcd][lh]|r\d+[dwb]?|[xyz]mm\d+|rip|[c-gs]s|st)\b"
)
_BARE_REGISTER = re.compile(
    r"(?<![\w.$%@])(?:[re][abcd]x|[re][sd]i|[re][sb]p|[abcd][lh]|r(?:8|9|1[0-5])[dwb]?|[xyz]mm\d+)\b"
)
_SYNTAX_DIRECTIVE = re.compile(r"\.(?:att|intel)_syntax\b", re.IGNORECASE)


def _syntax(code: str) -> Syntax:
    """The syntax at the start of a text: what the registers look like, if no directive says it."""
    if _SYNTAX_DIRECTIVE.search(code) or _AT_REGISTER.search(code):
        return "att"
    return "intel" if _BARE_REGISTER.search(code) else "att"


_COMMENT = re.compile(r"(?:#|//|/\*).*$")
_INSTRUCTION = re.compile(r"^\s*(?:(?:lock|rep[a-z]{0,2}|notrack)\s+)?([a-zA-Z][a-zA-Z0-9]{1,15})(?:\s+(\S.*))?$")
_ALONE = re.compile(
    r"c[bw]tw|cd(q|qe)|cl[cd]|clt[dq]|cmc|cpuid|cqt?o|cwt?[dl]|endbr64|f(abs|chs|ld1|ldz|sqrt|xch)|hlt|lahf|leaveq?|"
    r"[lms]fence|nop|pause|rdtsc|retq?|sahf|st[cd]|syscall|ud2|(cmp|lod|mov|sca|sto)s[bwlq]"
)
"""Instructions that stand without an operand: any other single word is prose."""
_MACHINE_OPERAND = re.compile(
    r"[%$\[(]|^-?(?:0x[0-9a-f]+|\d+)$"
    r"|^(?:r(?:[a-d]x|[sd]i|[bs]p|\d+[dwb]?)|e(?:[a-d]x|[sd]i|[bs]p)|[a-d][xlh]|[sd]il?|[bs]pl?|xmm\d+)$",
    re.IGNORECASE,
)
_INTEL_SIZE = re.compile(r"\b(?:byte|word|dword|qword|tbyte|xmmword)\s+ptr\b|\boffset\s+(?:flat:)?", re.IGNORECASE)


def is_instruction(line: str) -> bool:
    """Tell an instruction from prose and from LLVM IR, by its operands."""
    match = _INSTRUCTION.match(_COMMENT.sub("", line).strip())
    if not match:
        return False
    mnemonic, operands = match[1].lower(), match[2]
    if not operands:
        return bool(_ALONE.fullmatch(mnemonic))
    parts = [_squeezed(part) for part in operands.split(",")]
    if any(not part or " " in part for part in parts):
        return False
    is_branch = mnemonic.startswith(("j", "call")) and len(parts) == 1
    return is_branch or any(_MACHINE_OPERAND.search(part) for part in parts)


def _squeezed(operand: str) -> str:
    """An operand without the blanks that assembly allows in it."""
    bare = re.sub(r"\s+", " ", _INTEL_SIZE.sub("", operand)).strip()
    return re.sub(r" ?([-+*\[\]():]) ?", r"\1", bare)


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
        detect_syntax=_syntax,
        syntax_directives={"att": ".att_syntax prefix", "intel": ".intel_syntax noprefix"},
        integer_widths=DATA_WIDTHS,
        prefixes=PREFIXES,
        comment_starts=("#", "//"),
    ),
    relocations=Relocations("EM_X86_64", 0, _SUPPORTED, _UNSUPPORTED),
    is_instruction=is_instruction,
    has_keystone=True,
)

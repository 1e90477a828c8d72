"""What an exception of the processor says of the instruction that raised it, in the words of the emulated engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pytest_llmcompiler.emulator.guest import Guest, RunEnd
from pytest_llmcompiler.emulator.native.messages import Event
from pytest_llmcompiler.emulator.observation import AccessKind, GuestFault

INVALID_OPCODE, STACK_FAULT, PROTECTION_FAULT, PAGE_FAULT = 6, 12, 13, 14
"""Numbers of exceptions (Intel Software Developer's Manual, volume 3, table 7-1)."""
_WRITE_ERROR, _FETCH_ERROR = 1 << 1, 1 << 4
"""Bits of a page fault's error code."""
_WITHOUT_ACCESS = ("lea", "nop", "prefetch", "clflush", "clwb")
"""The starts of the mnemonics whose operand in memory is not accessed, or without a fault. `leave` has no operand."""
_LONGEST_INSTRUCTION = 16
_WORD = 8
_CANONICAL_BITS = 47
_MASK = (1 << 64) - 1


class OperandAccess(NamedTuple):
    """An operand in memory."""

    address: int | None
    """None where it has many addresses."""
    size: int
    kind: AccessKind


def describe_fault(guest: Guest, event: Event) -> RunEnd:
    """How a run ends at an exception. The guest's registers are those of the event."""
    pc = event.registers["rip"]
    if event.trap == PAGE_FAULT:
        return _describe_page_fault(guest, event, pc)
    processor = guest.processor
    code = guest.read(pc, _LONGEST_INSTRUCTION)
    instruction = next(processor.get_decoder(detail=True).disasm(code, pc, 1), None)
    mnemonic = instruction.mnemonic if instruction else ""
    hazard = processor.find_hazard_by_name(mnemonic)
    if hazard:
        return RunEnd(hazard[0], GuestFault(hazard[1], pc))
    if event.trap == INVALID_OPCODE:
        if processor.needs_hardware(code):
            return RunEnd("vex", GuestFault(f"`{mnemonic}` is more than this machine's processor has", pc))
        return RunEnd("fault", GuestFault("illegal instruction", pc))
    if event.trap in (STACK_FAULT, PROTECTION_FAULT) and instruction:
        return RunEnd("fault", _describe_protection_fault(guest, instruction, pc))
    description = processor.exception_names.get(event.trap, f"processor exception {event.trap}")
    return RunEnd("fault", GuestFault(description, pc))


def _describe_page_fault(guest: Guest, event: Event, pc: int) -> RunEnd:
    address = event.address
    if event.error & _FETCH_ERROR or address == pc:
        return RunEnd("fault", GuestFault("bad jump", guest.return_address(), address, "jump"))
    kind: AccessKind = "write" if event.error & _WRITE_ERROR else "read"
    code = guest.read(pc, _LONGEST_INSTRUCTION)
    instruction = next(guest.processor.get_decoder(detail=True).disasm(code, pc, 1), None)
    sizes = (access.size for access in list_accesses(guest, instruction)) if instruction else iter(())
    return RunEnd("fault", GuestFault(f"bad {kind}", pc, address, kind, next(sizes, _WORD)))


def _describe_protection_fault(guest: Guest, instruction: Any, pc: int) -> GuestFault:
    """A protection fault: an address that is none, an operand that is not aligned, or a privileged instruction."""
    import capstone

    accesses = list(list_accesses(guest, instruction))
    for access in accesses:
        if access.address is not None and not _is_canonical(access.address):
            return GuestFault(f"bad {access.kind}", pc, access.address, access.kind, access.size)
    if instruction.group(capstone.CS_GRP_CALL) or instruction.group(capstone.CS_GRP_JUMP):
        return GuestFault("bad jump", pc, _read_target(guest, instruction), "jump")
    if instruction.group(capstone.CS_GRP_RET):
        return GuestFault("bad jump", pc, guest.return_address(), "jump")
    for access in accesses:
        if access.address is not None and access.address % access.size:
            return GuestFault("misaligned access", pc, access.address, "misaligned", access.size)
    return GuestFault(guest.processor.exception_names[PROTECTION_FAULT], pc)


def _read_target(guest: Guest, instruction: Any) -> int:
    """Where an indirect jump or call goes."""
    from capstone import x86

    operand = instruction.operands[0]
    if operand.type == x86.X86_OP_REG:
        return guest.register(guest.processor.whole_register(instruction.reg_name(operand.reg)))
    access = next(list_accesses(guest, instruction), None)
    return int.from_bytes(guest.read(access.address or 0, _WORD), "little") if access else 0


def _is_canonical(address: int) -> bool:
    return address >> _CANONICAL_BITS in (0, (1 << 64 - _CANONICAL_BITS) - 1)


def list_accesses(guest: Guest, instruction: Any) -> Iterator[OperandAccess]:
    """The operands of a decoded instruction that are in memory, with the guest's registers as they are."""
    import capstone
    from capstone import x86

    if instruction.mnemonic.startswith(_WITHOUT_ACCESS):
        return
    for number, operand in enumerate(instruction.operands):
        if operand.type == x86.X86_OP_MEM:
            # Of AVX, capstone knows no stores: they have their target first, and only stores have it in memory.
            is_vector_store = number == 0 and instruction.mnemonic.startswith(("v", "k"))
            is_store = operand.access & capstone.CS_AC_WRITE or is_vector_store
            kind: AccessKind = "write" if is_store else "read"
            yield OperandAccess(_find_address(guest, instruction, operand.mem), max(operand.size, 1), kind)


def _find_address(guest: Guest, instruction: Any, memory: Any) -> int | None:
    total = int(memory.disp)
    names = ((memory.base, 1), (memory.index, memory.scale))
    for number, scale in names:
        name = instruction.reg_name(number) if number else None
        if name in ("rip", "eip"):
            total += instruction.address + instruction.size
        elif name not in (None, "riz", "eiz"):
            whole = guest.processor.whole_register(name)
            if whole not in guest.numbers or whole.startswith(("xmm", "ymm", "zmm")):
                return None  # the indices of a gather
            total += scale * guest.register(whole)
    total &= (1 << 8 * instruction.addr_size) - 1
    segment = instruction.reg_name(memory.segment) if memory.segment else None
    base = guest.register(f"{segment}_base") if segment in ("fs", "gs") else 0
    return int(total + base) & _MASK

"""The hooks that turn faults and system calls of the guest into the end of a run."""

from __future__ import annotations

from typing import Any

import unicorn

from pytest_llmcompiler.emulator.arena import ObjectArena
from pytest_llmcompiler.emulator.guest import Guest, RunEnd
from pytest_llmcompiler.emulator.kernel import Kernel
from pytest_llmcompiler.emulator.observation import AccessKind, GuestFault
from pytest_llmcompiler.emulator.uninitialised import UninitialisedValues

ACCESSES: dict[int, AccessKind] = {
    unicorn.UC_MEM_READ_UNMAPPED: "read",
    unicorn.UC_MEM_WRITE_UNMAPPED: "write",
    unicorn.UC_MEM_FETCH_UNMAPPED: "jump",
    unicorn.UC_MEM_WRITE_PROT: "write",
    unicorn.UC_MEM_READ_PROT: "read",
    unicorn.UC_MEM_FETCH_PROT: "jump",
}
"""The kind of an access that faults, by unicorn's number."""
_PROTECTIONS = (unicorn.UC_MEM_READ_PROT, unicorn.UC_MEM_WRITE_PROT)
_MASK = (1 << 64) - 1


class FaultHooks:
    """Ends a run at a bad access, an illegal instruction or an exception, and passes system calls to the kernel."""

    def __init__(self, guest: Guest, arena: ObjectArena, kernel: Kernel, uninitialised: UninitialisedValues) -> None:
        self._guest, self._arena, self._kernel, self._uninitialised = guest, arena, kernel, uninitialised
        guest.uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._on_invalid_access)
        guest.uc.hook_add(unicorn.UC_HOOK_INSN_INVALID, self._on_invalid_instruction)
        guest.uc.hook_add(unicorn.UC_HOOK_INTR, self._on_interrupt)
        guest.processor.hook_system_calls(guest.uc, self._on_system_call)

    def _on_invalid_access(self, uc: Any, access: int, address: int, size: int, value: int, data: Any) -> bool:
        """Returns whether the access can be repeated: it can after the stack has grown, or after closed memory is
        open."""
        guest, kind = self._guest, ACCESSES[access]
        pc = guest.return_address() if kind == "jump" else uc.reg_read(guest.counter_number)
        address &= _MASK
        if access in _PROTECTIONS and guest.stack.open_part(address):
            return True
        if access == unicorn.UC_MEM_WRITE_PROT and self._arena.open_slot_at(address):
            return True
        if kind != "jump" and guest.stack.can_grow_to(address):
            guest.stack.grow(self._uninitialised.stack_bytes(guest.stack.max_growth))
            return True
        guest.stop(RunEnd("fault", GuestFault(f"bad {kind}", pc, address, kind, size)))
        return False

    def _on_invalid_instruction(self, uc: Any, data: Any) -> bool:
        self._stop("illegal instruction")
        return False

    def _on_interrupt(self, uc: Any, number: int, data: Any) -> None:
        processor = self._guest.processor
        if number == processor.system_call_exception:
            self._guest.guard(self._kernel.syscall)
        else:
            self._stop(processor.exception_names.get(number, f"processor exception {number}"))

    def _on_system_call(self, uc: Any, data: Any) -> None:
        self._guest.guard(self._kernel.syscall)

    def _stop(self, description: str) -> None:
        pc = self._guest.uc.reg_read(self._guest.counter_number)
        self._guest.stop(RunEnd("fault", GuestFault(description, pc)))

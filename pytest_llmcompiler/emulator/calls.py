"""Checks at the calls between a candidate and the program: stack alignment, home area, undefined halves of results."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_llmcompiler.emulator.addresses import AddressMap
from pytest_llmcompiler.emulator.guest import Guest
from pytest_llmcompiler.emulator.kernel import GuestTrapError
from pytest_llmcompiler.emulator.observation import AbiBreach
from pytest_llmcompiler.emulator.stack import STACK_SIZE, STACK_START
from pytest_llmcompiler.emulator.uninitialised import NARROW_RESULT, UninitialisedValues
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.values.layout import RETURN, STUB_SIZE

_NARROW_RETURN = RETURN + STUB_SIZE // 2
"""The address to which library functions return whose results leave the upper half of the register undefined. On the
way from there to the candidate, that half is filled with garbage."""
_MAX_NARROW_CALLS = 20
"""Calls of such functions in a run for which this is done. The detour takes longer than most of the functions do, and
a candidate that reads the undefined half shows it in the first few."""
_ALIGNMENT = 16
"""What the stack pointer is a multiple of at a call, on every target."""
_MAX_RETURN_ADDRESSES = 256
"""Words of the stack that are searched for return addresses."""


class CallMonitor:
    """Watches the calls that a candidate makes."""

    def __init__(self, guest: Guest, addresses: AddressMap, uninitialised: UninitialisedValues) -> None:
        self._guest, self._addresses, self._uninitialised = guest, addresses, uninitialised
        self.breaches: list[AbiBreach] = []
        """The misaligned calls of the run."""
        self._callers: dict[int, int] = {}
        """The return addresses of the narrow calls under way, by the stack pointer at their entry."""
        self._narrow_calls_left = 0

    def reset(self) -> None:
        """Forget the last run."""
        self.breaches, self._callers, self._narrow_calls_left = [], {}, _MAX_NARROW_CALLS

    def watch_calls(self, code: AssembledCode, function: str) -> None:
        """Watch all functions of the program that a candidate may call by name or through a pointer."""
        guest, program = self._guest, self._guest.program
        # Compilers may call the local functions of a file as they like, and gcc does not align the stack for them.
        exempt = program.local | guest.convention.exempt_functions | {function}
        watched = (code.external_symbols | program.functions) - exempt
        for name in watched & program.addresses.keys():
            address = program.addresses[name]
            guest.watch(address, address, self._on_narrow_call if name in program.narrow else self.on_call)
        guest.watch(_NARROW_RETURN, _NARROW_RETURN, self._on_narrow_return)

    def on_call(self, callee: int) -> None:
        """A function is entered: check the alignment of the stack, and overwrite the callee's home area."""
        guest = self._guest
        stack = guest.uc.reg_read(guest.stack_number) + guest.processor.return_address_bytes
        if stack % _ALIGNMENT and self._addresses.is_in_candidate(guest.return_address()):
            name = self._addresses.name_of(callee)
            self.breaches.append(AbiBreach(f"the stack is not aligned to 16 bytes at the call of {name}"))
        home = guest.convention.shadow_space
        if home and STACK_START - guest.stack.max_growth <= stack < STACK_START + STACK_SIZE - home:
            guest.write(stack, self._uninitialised.stack_bytes(home))

    def _on_narrow_call(self, callee: int) -> None:
        self.on_call(callee)
        guest = self._guest
        caller, stack = guest.return_address(), guest.register(guest.processor.stack_pointer)
        if self._narrow_calls_left and self._addresses.is_in_candidate(caller):
            self._narrow_calls_left -= 1
            self._callers[stack] = caller
            guest.set_return_address(_NARROW_RETURN)

    def _on_narrow_return(self, _: int) -> None:
        guest = self._guest
        stack = guest.register(guest.processor.stack_pointer) - guest.processor.return_address_bytes
        if stack not in self._callers:
            raise GuestTrapError("a jump to an address where no function begins")
        guest.uc.reg_write(guest.stack_number, stack)
        guest.set_return_address(self._callers.pop(stack))
        scalar = guest.convention.return_register
        result = guest.register(scalar).to_bytes(8, "little")[:4]
        guest.set_register(scalar, self._uninitialised.register_value(NARROW_RESULT))
        guest.set_low_bytes(scalar, result)

    def return_addresses(self) -> Iterator[int]:
        """What may be return addresses now, the innermost first."""
        if self._guest.processor.link_register:
            yield self._guest.register(self._guest.processor.link_register)
        for address, word in self._guest.stack_words(_MAX_RETURN_ADDRESSES):
            yield self._callers.get(address) or word

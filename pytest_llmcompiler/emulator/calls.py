"""Checks at the calls between a candidate and the program: stack alignment, home area, undefined halves of results."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_llmcompiler.emulator.addresses import AddressMap
from pytest_llmcompiler.emulator.guest import Guest
from pytest_llmcompiler.emulator.kernel import GuestTrapError
from pytest_llmcompiler.emulator.observation import AbiBreach
from pytest_llmcompiler.emulator.own_conventions import OwnConventions
from pytest_llmcompiler.emulator.stack import STACK_SIZE, STACK_START
from pytest_llmcompiler.emulator.uninitialised import NARROW_RESULT, UninitialisedValues
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.values.layout import RETURN, STUB_SIZE

_DETOUR_RETURN = RETURN + STUB_SIZE // 2
"""Calls of a candidate return to this address where something is to be done on the way: a library function may leave
the upper half of the result undefined, which is filled with garbage here, and registers may be preserved (see
`own_conventions`)."""
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
        """The return addresses of the detoured calls under way, by the stack pointer at their entry."""
        self._preserved: dict[int, dict[str, int]] = {}
        """The registers that such a call preserves, with their values; none for a narrow call."""
        self._preserved_names: dict[int, tuple[str, ...] | None] = {}
        """Address of a function that the candidate defines too -> the registers that its own definition leaves alone;
        None where that calls other code."""
        self._narrow_calls_left = 0

    def reset(self) -> None:
        """Forget the last run."""
        self.breaches, self._callers, self._preserved = [], {}, {}
        self._narrow_calls_left = _MAX_NARROW_CALLS

    def watch_calls(self, code: AssembledCode, function: str) -> None:
        """Watch all functions of the program that a candidate may call by name or through a pointer."""
        guest, program = self._guest, self._guest.program
        # Compilers may call the local functions of a file as they like, and gcc does not align the stack for them.
        exempt = program.local | code.shared_functions | guest.convention.exempt_functions | {function}
        watched = (code.external_symbols | program.functions) - exempt
        for name in watched & program.addresses.keys():
            address = program.addresses[name]
            guest.watch(address, address, self._on_narrow_call if name in program.narrow else self.on_call)
        conventions = OwnConventions(code, guest.processor, program.addresses)
        for name in code.shared_functions & code.external_symbols & program.functions:
            address = program.addresses[name]
            self._preserved_names[address] = conventions.find_preserved_registers(name, guest.convention)
            guest.watch(address, address, self._on_own_call)
        guest.watch(_DETOUR_RETURN, _DETOUR_RETURN, self._on_detour_return)

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
            guest.set_return_address(_DETOUR_RETURN)

    def _on_own_call(self, callee: int) -> None:
        """A function of the program is entered that the candidate defines too."""
        guest, names = self._guest, self._preserved_names[callee]
        if names is None:
            self.on_call(callee)
            return
        caller, stack = guest.return_address(), guest.register(guest.processor.stack_pointer)
        if names and self._addresses.is_in_candidate(caller):
            self._callers[stack] = caller
            self._preserved[stack] = {name: guest.register(name) for name in names}
            guest.set_return_address(_DETOUR_RETURN)

    def _on_detour_return(self, _: int) -> None:
        guest = self._guest
        stack = guest.register(guest.processor.stack_pointer) - guest.processor.return_address_bytes
        if stack not in self._callers:
            raise GuestTrapError("a jump to an address where no function begins")
        guest.uc.reg_write(guest.stack_number, stack)
        guest.set_return_address(self._callers.pop(stack))
        preserved = self._preserved.pop(stack, None)
        if preserved is None:
            self._end_narrow_call()
        else:
            for name, value in preserved.items():
                guest.set_register(name, value)

    def _end_narrow_call(self) -> None:
        """Make the upper half of a result garbage."""
        guest = self._guest
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

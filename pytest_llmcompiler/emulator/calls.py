"""Checks at the calls between a candidate and the program: stack alignment, home area, undefined halves of results."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from pytest_llmcompiler.emulator.addresses import AddressMap
from pytest_llmcompiler.emulator.guest import Guest
from pytest_llmcompiler.emulator.kernel import GuestTrapError
from pytest_llmcompiler.emulator.observation import AbiBreach
from pytest_llmcompiler.emulator.own_conventions import OwnConventions
from pytest_llmcompiler.emulator.stack import STACK_SIZE, STACK_START
from pytest_llmcompiler.emulator.uninitialised import NARROW_RESULT, UninitialisedValues
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.values.layout import RETURN, STUB_SIZE

DETOUR_RETURN = RETURN + STUB_SIZE // 2
"""Calls of a candidate return to this address where something is to be done on the way: a library function may leave
the upper half of the result undefined, which is filled with garbage here, and registers may be preserved (see
`own_conventions`)."""
_MAX_NARROW_CALLS = 20
"""Calls of such functions in a run for which this is done. The detour takes longer than most of the functions do, and
a candidate that reads the undefined half shows it in the first few."""
_MAX_CALLBACKS = 20
"""Calls of the candidate by the program in a run whose callee-saved registers are checked, for the same reason."""
_ALIGNMENT = 16
"""What the stack pointer is a multiple of at a call, on every target."""
_MAX_RETURN_ADDRESSES = 256
"""Words of the stack that are searched for return addresses."""


@dataclass(frozen=True)
class _Detour:
    """A call that returns by way of `DETOUR_RETURN`."""

    caller: int
    """The return address of the call."""
    end: Callable[[Mapping[str, int]], None]
    """What is done at the return, with `registers`."""
    registers: Mapping[str, int]
    """Registers and their values at the call."""


def describe_misaligned_call(callee: str) -> AbiBreach:
    """The breach of a call with a stack that is not aligned."""
    return AbiBreach(f"the stack is not aligned to 16 bytes at the call of {callee}")


class CallMonitor:
    """Watches the calls that a candidate makes."""

    def __init__(self, guest: Guest, addresses: AddressMap, uninitialised: UninitialisedValues) -> None:
        self._guest, self._addresses, self._uninitialised = guest, addresses, uninitialised
        self.breaches: list[AbiBreach] = []
        """The misaligned calls of the run."""
        self._detours: dict[int, _Detour] = {}
        """The detours under way, by the stack pointer at the entry of the function."""
        self._narrow_calls_left = self._callbacks_left = 0

    def reset(self) -> None:
        """Forget the last run."""
        self.breaches, self._detours = [], {}
        self._narrow_calls_left, self._callbacks_left = _MAX_NARROW_CALLS, _MAX_CALLBACKS

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
        for name in (code.shared_functions & program.functions) - program.local - {function}:
            address = program.addresses[name]
            guest.watch(address, address, functools.partial(self._on_own_call, conventions, name))
        for name in code.replaced_functions - {function}:
            address = program.addresses[name]
            guest.watch(address, address, self._on_callback)
        guest.watch(DETOUR_RETURN, DETOUR_RETURN, self._on_detour_return)

    def on_call(self, callee: int) -> None:
        """A function is entered: check the alignment of the stack, and overwrite the callee's home area."""
        guest = self._guest
        stack = guest.registers.read(guest.stack_number) + guest.processor.return_address_bytes
        if stack % _ALIGNMENT and self._addresses.is_in_candidate(guest.return_address()):
            name = self._addresses.name_of(callee)
            self.breaches.append(describe_misaligned_call(name))
        home = guest.convention.shadow_space
        if home and STACK_START - guest.stack.max_growth <= stack < STACK_START + STACK_SIZE - home:
            guest.write(stack, self._uninitialised.stack_bytes(home))

    def _on_narrow_call(self, callee: int) -> None:
        self.on_call(callee)
        if self._narrow_calls_left and self._addresses.is_in_candidate(self._guest.return_address()):
            self._narrow_calls_left -= 1
            self._detour(self._end_narrow_call, ())

    def _end_narrow_call(self, _: Mapping[str, int]) -> None:
        """Make the upper half of the result garbage."""
        guest = self._guest
        scalar = guest.convention.return_register
        result = guest.register(scalar).to_bytes(8, "little")[:4]
        guest.set_register(scalar, self._uninitialised.register_value(NARROW_RESULT))
        guest.set_low_bytes(scalar, result)

    def _on_own_call(self, conventions: OwnConventions, function: str, callee: int) -> None:
        """A function of the program is entered that the candidate defines too."""
        names = conventions.find_preserved_registers(function, self._guest.convention)
        if names is None:
            self.on_call(callee)
        elif names and self._addresses.is_in_candidate(self._guest.return_address()):
            self._detour(self._preserve_registers, names)

    def _preserve_registers(self, registers: Mapping[str, int]) -> None:
        for name, value in registers.items():
            self._guest.set_register(name, value)

    def _on_callback(self, _: int) -> None:
        """A local function of the candidate is entered by its address: its caller may be the program."""
        if self._callbacks_left and not self._addresses.is_in_candidate(self._guest.return_address()):
            self._callbacks_left -= 1
            self._detour(self._check_registers, self._guest.convention.callee_saved)

    def _check_registers(self, registers: Mapping[str, int]) -> None:
        prefix = self._guest.processor.register_prefix
        changed = [name for name, value in registers.items() if self._guest.register(name) != value]
        self.breaches += [AbiBreach(f"callee-saved register {prefix}{name} is not restored", name) for name in changed]

    def _detour(self, end: Callable[[Mapping[str, int]], None], registers: Iterable[str]) -> None:
        """Have the function that was just entered return by way of `end`, which gets the present values of
        registers."""
        guest = self._guest
        values = {name: guest.register(name) for name in registers}
        stack = guest.register(guest.processor.stack_pointer)
        self._detours[stack] = _Detour(guest.return_address(), end, values)
        guest.set_return_address(DETOUR_RETURN)

    def _on_detour_return(self, _: int) -> None:
        guest = self._guest
        stack = guest.register(guest.processor.stack_pointer) - guest.processor.return_address_bytes
        if stack not in self._detours:
            raise GuestTrapError("a jump to an address where no function begins")
        detour = self._detours.pop(stack)
        guest.uc.reg_write(guest.stack_number, stack)
        guest.set_return_address(detour.caller)
        detour.end(detour.registers)

    def return_addresses(self) -> Iterator[int]:
        """What may be return addresses now, the innermost first."""
        if self._guest.processor.link_register:
            yield self._guest.register(self._guest.processor.link_register)
        for address, word in self._guest.stack_words(_MAX_RETURN_ADDRESSES):
            yield self._detours[address].caller if address in self._detours else word

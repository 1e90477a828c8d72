"""Checks at the calls between a candidate and the program: stack alignment, home area, undefined halves of results.

A call may change every caller-saved register. The program's own functions are compiled at -O0 and change few of them,
so a candidate that expects a value behind a call may find it there. So with the fills `inverse` and `zeros`, with which
each path is run once, the registers hold garbage when a call returns, but for those of the result.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pytest_llmcompiler.emulator.addresses import AddressMap
from pytest_llmcompiler.emulator.guest import Guest
from pytest_llmcompiler.emulator.kernel import GuestTrapError
from pytest_llmcompiler.emulator.observation import AbiBreach
from pytest_llmcompiler.emulator.own_conventions import OwnConventions
from pytest_llmcompiler.emulator.stack import STACK_SIZE, STACK_START
from pytest_llmcompiler.emulator.uninitialised import NARROW_RESULT, UninitialisedValues
from pytest_llmcompiler.program.image import ProgramImage
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.values.layout import RETURN, STUB_SIZE

DETOUR_RETURN = RETURN + STUB_SIZE // 2
"""Calls of a candidate return to this address where something is to be done on the way: a library function may leave
the upper half of the result undefined, which is filled with garbage here, and registers may be preserved (see
`own_conventions`)."""
_MAX_DETOURS = 20
"""Calls in a run for which this is done. The detour takes longer than most of the functions do, and a candidate that
reads what a call leaves undefined shows it in the first few."""
_MAX_CALLBACKS = 20
"""Calls of the candidate by the program in a run whose callee-saved registers are checked, for the same reason."""
MAX_VECTOR_COUNT = 8
"""The most that `al` may be at a call of a variadic function: x86-64 psABI, 3.2.3."""
_ALIGNMENT = 16
"""What the stack pointer is a multiple of at a call, on every target."""
_MAX_RETURN_ADDRESSES = 256
"""Words of the stack that are searched for return addresses."""


@dataclass(frozen=True)
class _Detour:
    """A call that returns by way of `DETOUR_RETURN`."""

    caller: int
    """The return address of the call."""
    end: Callable[[], None]
    """What is done at the return."""


@dataclass(frozen=True)
class CalledFunction:
    """What a caller in a candidate may expect of a function of the program."""

    results: tuple[str, ...]
    """The registers in which it may return its result."""
    is_narrow: bool = False
    """Whether the result is an integer of up to 32 bits: the upper half of its register is undefined."""
    has_garbage: bool = False
    """Whether that half is garbage with each fill: the function is not the case's."""
    clobbers: bool = True
    """Whether the other registers are garbage after a call: the function follows C's convention, and returns once."""
    is_variadic: bool = False
    """Whether `al` has to be at most 8 at a call, where the convention has such a rule."""


def describe_callee(program: ProgramImage, name: str) -> CalledFunction:
    """What is known of a function of a program.

    What the case neither defines nor declares is the C library's, which follows the convention, or assembly of the
    case, which may follow none.
    """
    convention, kind = program.target.convention, program.result_kinds.get(name)
    is_plain = kind is not None or (name in program.library and "setjmp" not in name)
    results = convention.result_registers
    if kind == "float":
        results = (convention.float_result_register,)
    elif kind is not None and kind != "registers":
        results = () if kind == "none" else (convention.return_register,)
    counts_vectors = is_plain and convention.vector_count_register is not None and name in program.variadic
    return CalledFunction(results, kind == "narrow", name in program.narrow, is_plain, counts_vectors)


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
        self._detours_left = self._callbacks_left = 0

    def reset(self) -> None:
        """Forget the last run."""
        self.breaches, self._detours = [], {}
        self._detours_left, self._callbacks_left = _MAX_DETOURS, _MAX_CALLBACKS

    def watch_calls(self, code: AssembledCode, function: str) -> None:
        """Watch all functions of the program that a candidate may call by name or through a pointer."""
        guest, program = self._guest, self._guest.program
        # Compilers may call the local functions of a file as they like, and gcc does not align the stack for them.
        exempt = program.local | code.used_functions | guest.convention.exempt_functions | {function}
        watched = (code.external_symbols | program.functions) - exempt
        for name in watched & program.addresses.keys():
            address, callee = program.addresses[name], describe_callee(program, name)
            guest.watch(address, address, functools.partial(self._on_program_call, callee))
        conventions = OwnConventions(code, guest.processor, program.addresses)
        for name in (code.used_functions & program.functions) - program.local - {function}:
            address, callee = program.addresses[name], describe_callee(program, name)
            guest.watch(address, address, functools.partial(self._on_shared_call, conventions, name, callee))
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

    @property
    def _is_called_by_candidate(self) -> bool:
        return self._addresses.is_in_candidate(self._guest.return_address())

    def _on_program_call(self, callee: CalledFunction, address: int) -> None:
        """A function of the program is entered that only the program has."""
        self.on_call(address)
        if callee.is_variadic:
            self._check_vector_count(address)
        is_wanted = callee.has_garbage or (callee.clobbers and self._uninitialised.is_varied)
        if is_wanted and self._detours_left and self._is_called_by_candidate:
            self._detours_left -= 1
            self._detour(functools.partial(self._end_call, callee, {}))

    def _check_vector_count(self, address: int) -> None:
        register = self._guest.convention.vector_count_register
        count = self._guest.register(register) & 0xFF if register else 0
        # The candidate's last call may be a jump: then the function returns to where the candidate would.
        is_own = self._is_called_by_candidate or self._guest.return_address() == RETURN
        if count > MAX_VECTOR_COUNT and is_own:
            name = self._addresses.name_of(address)
            self.breaches.append(AbiBreach(f"al is {count} at the call of {name}, which is variadic: at most 8"))

    def _on_shared_call(self, conventions: OwnConventions, function: str, callee: CalledFunction, address: int) -> None:
        """A function of the program is entered that the candidate defines too."""
        names = conventions.find_preserved_registers(function, self._guest.convention)
        if names is None:
            self._on_program_call(callee, address)
        elif (names or self._uninitialised.is_varied) and self._is_called_by_candidate:
            self._detour(functools.partial(self._end_call, callee, self._read_registers(names)))

    def _read_registers(self, names: tuple[str, ...]) -> dict[str, int]:
        return {name: self._guest.whole_register(name) for name in names}

    def _end_call(self, callee: CalledFunction, preserved: Mapping[str, int]) -> None:
        """Make garbage of what a call leaves undefined; `preserved` are registers with their values before it."""
        guest, is_varied = self._guest, self._uninitialised.is_varied and callee.clobbers
        if is_varied:
            results = self._read_registers(callee.results)
            self._uninitialised.clobber_registers(with_upper_halves=not preserved)
            preserved = {**results, **preserved}
        for name, value in preserved.items():
            guest.set_whole_register(name, value)
        if callee.is_narrow and (is_varied or callee.has_garbage):
            scalar = guest.convention.return_register
            result = guest.register(scalar).to_bytes(8, "little")[:4]
            guest.set_register(scalar, self._uninitialised.register_value(NARROW_RESULT))
            guest.set_low_bytes(scalar, result)

    def _on_callback(self, _: int) -> None:
        """A local function of the candidate is entered by its address: its caller may be the program."""
        if self._callbacks_left and not self._is_called_by_candidate:
            self._callbacks_left -= 1
            registers = self._read_registers(self._guest.convention.callee_saved)
            self._detour(functools.partial(self._check_registers, registers))

    def _check_registers(self, registers: Mapping[str, int]) -> None:
        prefix = self._guest.processor.register_prefix
        changed = [name for name, value in registers.items() if self._guest.register(name) != value]
        self.breaches += [AbiBreach(f"callee-saved register {prefix}{name} is not restored", name) for name in changed]

    def _detour(self, end: Callable[[], None]) -> None:
        """Have the function that was just entered return by way of `end`."""
        guest = self._guest
        stack = guest.register(guest.processor.stack_pointer)
        self._detours[stack] = _Detour(guest.return_address(), end)
        guest.set_return_address(DETOUR_RETURN)

    def _on_detour_return(self, _: int) -> None:
        guest = self._guest
        stack = guest.register(guest.processor.stack_pointer) - guest.processor.return_address_bytes
        if stack not in self._detours:
            raise GuestTrapError("a jump to an address where no function begins")
        detour = self._detours.pop(stack)
        guest.uc.reg_write(guest.stack_number, stack)
        guest.set_return_address(detour.caller)
        detour.end()

    def return_addresses(self) -> Iterator[int]:
        """What may be return addresses now, the innermost first."""
        if self._guest.processor.link_register:
            yield self._guest.register(self._guest.processor.link_register)
        for address, word in self._guest.stack_words(_MAX_RETURN_ADDRESSES):
            yield self._detours[address].caller if address in self._detours else word

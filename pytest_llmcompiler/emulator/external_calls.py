"""Calls to what is not in the program: callbacks, and functions that the case only declares.

Each call is recorded, to be compared. Its answer is a function of the environment seed and of the arguments, so that a
candidate that calls with the same arguments gets the same answers, in any build of the program.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

from pytest_llmcompiler.emulator.addresses import AddressMap
from pytest_llmcompiler.emulator.call_arguments import ArgumentReader, PassedArgument, Pointee, is_text
from pytest_llmcompiler.emulator.calls import CallMonitor
from pytest_llmcompiler.emulator.generated_values import generate_object, generate_value, mix
from pytest_llmcompiler.emulator.guest import Guest, RunEnd
from pytest_llmcompiler.emulator.heap import Heap
from pytest_llmcompiler.emulator.kernel import GuestTrapError
from pytest_llmcompiler.emulator.observation import Effect, ExternalCall, Reply
from pytest_llmcompiler.emulator.register_batch import RegisterBatch
from pytest_llmcompiler.emulator.uninitialised import UninitialisedValues
from pytest_llmcompiler.values.c_types import FILE, Float, Function, Int, Pointer, Type, find_unsupported
from pytest_llmcompiler.values.layout import PAGE, STUB_SIZE, STUBS

MAX_EXTERNAL_CALLS = 1_000
"""External calls that a run may make: a reference makes far fewer on any input."""


class ResultOrigin(NamedTuple):
    """Where a result that is an address comes from."""

    argument: int | None = None
    """The number of the argument that is returned."""
    allocated: int | None = None
    """The bytes that were asked for a new object of the heap."""


class CallRecord(NamedTuple):
    """All that the answer to an external call depends on, and the answer."""

    type: Function
    arguments: list[PassedArgument]
    pointees: list[Pointee | None]
    """What each argument points to."""
    reply: Reply
    origin: ResultOrigin

    @property
    def passes_local_text(self) -> bool:
        """Whether an argument is a text on the stack. Where its array ends is not known, nor what follows it."""
        pairs = zip(self.arguments, self.pointees)
        return any(pointee and pointee.region == "stack" and is_text(argument.type) for argument, pointee in pairs)


class ExternalCalls:
    """Records and answers the external calls of a run."""

    def __init__(
        self,
        guest: Guest,
        addresses: AddressMap,
        heap: Heap,
        monitor: CallMonitor,
        uninitialised: UninitialisedValues,
        externals: Mapping[str, Function],
    ) -> None:
        self._guest, self._addresses, self._heap = guest, addresses, heap
        self._monitor, self._uninitialised, self._convention = monitor, uninitialised, guest.convention
        self._arguments = ArgumentReader(guest, addresses, heap)
        self._passed = RegisterBatch([(guest.numbers[name], 0) for name in guest.convention.integer_registers])
        """The integer argument registers."""
        self._locate_result = functools.cache(guest.convention.locate_result)
        self._externals = externals
        """The types of the functions that the program only declares."""
        self.calls: list[ExternalCall] = []
        """The calls of the run."""
        self.records: list[CallRecord] = []
        """The answer to each of them, and what that depends on."""
        self.most_calls = MAX_EXTERNAL_CALLS
        """The calls after which a run ends."""
        self._effects: list[Effect] = []
        """The writes of the call that is being answered."""
        self._origin = ResultOrigin()
        """Where the result of this call comes from."""

    def watch_stubs(self) -> None:
        """Answer the calls of callbacks, and of the functions that the program only declares."""
        self._guest.watch(STUBS, STUBS + PAGE - STUB_SIZE - 1, self._on_callback)
        for name in self._guest.program.stubs:
            self._guest.replace_function(
                self._guest.program.symbols[name].address, functools.partial(self._on_external, name)
            )

    def reset(self) -> None:
        """Forget the last run."""
        self.calls, self.records = [], []

    @property
    def replies(self) -> list[Reply]:
        """The answers to the calls of the run."""
        return [record.reply for record in self.records]

    def _on_callback(self, address: int) -> None:
        number, layout = (address - STUBS) // STUB_SIZE, self._guest.layout
        if layout is None or number >= len(layout.callbacks):
            raise GuestTrapError("a jump to an address where no function begins")
        callback = layout.callbacks[number]
        self._monitor.on_call(address)
        self._answer(f"callback {callback.number}", callback.type, number)

    def _on_external(self, name: str) -> None:
        self._answer(name, self._externals[name], name)

    def _answer(self, name: str, type: Function, callee: str | int) -> None:
        """Record a call, write its effects and its result, and clobber every other register that it may change."""
        layout = self._guest.layout
        assert layout is not None
        if len(self.calls) == self.most_calls:
            self._guest.stop(RunEnd("limit"))
            return
        values = self._passed.read(self._guest.uc)
        passed = dict(zip(self._convention.integer_registers, values, strict=True))
        self._effects, self._origin = [], ResultOrigin()
        arguments = self._arguments.read(type, passed)
        descriptions = self._arguments.describe(arguments, layout)
        number, pointees = len(self.calls), list(map(self._arguments.read_pointee, arguments))
        seeds = (seed for pair in zip(arguments, pointees) for seed in self._arguments.seeds(*pair, number))
        seed = mix((layout.environment_seed, *seeds))
        self._write_pointees(arguments, seed)
        result = self._choose_result(type, arguments, seed)
        self.calls.append(ExternalCall(name, descriptions, tuple(argument.type for argument in arguments)))
        reply = Reply(callee, passed, result, tuple(self._effects))
        self.records.append(CallRecord(type, arguments, pointees, reply, self._origin))
        self._uninitialised.clobber_registers()
        for register, data in result.items():
            self._guest.set_low_bytes(register, data)

    def _write_pointees(self, arguments: list[PassedArgument], seed: int) -> None:
        """Write a number through half of the pointers to numbers that are not const, as real functions do."""
        for index, argument in enumerate(arguments):
            is_output = isinstance(argument.type, Pointer) and not argument.type.const
            target = argument.type.target if isinstance(argument.type, Pointer) else None
            own_seed = mix((seed, index))
            if not is_output or target is None or not _is_number(target) or not own_seed & 128:
                continue
            if self._is_writable(argument, target.size):
                self._write(Effect(argument.value, generate_value(target, own_seed), argument=index))

    def _write(self, effect: Effect) -> None:
        self._effects.append(effect)
        self._guest.write(effect.address, effect.data)

    def _is_writable(self, argument: PassedArgument, size: int) -> bool:
        """Whether an object certainly lies where an argument points, and not the end of a sibling's range."""
        address, region = argument.value, self._addresses.region_of(argument.value)
        if region == "stack":
            # Another compiler orders variables differently: whether a sibling's range ends here can't be known.
            return not argument.siblings and len(self._guest.read(address, size)) == size
        end = self._addresses.end_of_object(address)
        is_inside = end is not None and address + size <= end and region in ("data", "candidate", "object", "heap")
        return is_inside and all(self._addresses.end_of_object(sibling) != address for sibling in argument.siblings)

    def _choose_result(self, type: Function, arguments: list[PassedArgument], seed: int) -> dict[str, bytes]:
        """The result registers of a call. A result in memory is written to the caller's buffer."""
        result = type.result
        location = self._locate_result(type)
        if location.is_in_memory and result is not None:
            address = self._guest.register(self._convention.result_pointer_register)
            self._write(Effect(address, generate_value(result, seed)))
            return {name: address.to_bytes(8, "little") for name in location.registers}
        if isinstance(result, Pointer):
            pointer = self._choose_pointer(result, arguments, seed)
            return {self._convention.return_register: pointer.to_bytes(8, "little")}
        data = generate_value(result, seed) if result is not None else b""
        parts = (
            data[start : start + location.register_bytes] for start in range(0, len(data), location.register_bytes)
        )
        return dict(zip(location.registers, parts))

    def _choose_pointer(self, type: Pointer, arguments: list[PassedArgument], seed: int) -> int:
        """Null in a quarter of the calls; in a quarter one of the arguments, where one fits; else a new heap object,
        which belongs to the caller."""
        choice, seed = seed % 4, mix((seed, 1))
        target = type.target
        if target is FILE and choice > 1:
            return self._guest.streams[1 + seed % 2]
        if choice == 0 or isinstance(target, Function) or find_unsupported(target):
            return 0
        fitting = [index for index, argument in enumerate(arguments) if _is_assignable(argument.type, type)]
        if choice == 1 and fitting:
            self._origin = ResultOrigin(argument=fitting[seed % len(fitting)])
            return arguments[fitting[seed % len(fitting)]].value
        data = generate_object(target, seed)
        self._origin = ResultOrigin(allocated=len(data))
        address = self._heap.allocate(len(data))
        if address:
            self._write(Effect(address, data, is_allocation=True))
        return address


def _is_assignable(source: Type, target: Pointer) -> bool:
    """Whether a value of a type may be returned as a pointer without losing a `const`."""
    return (
        isinstance(source, Pointer)
        and target.target is not None
        and source.target is target.target
        and target.const >= source.const
    )


def _is_number(type: Type | None) -> bool:
    """Whether any bytes are a valid value of a type: so not of a Boolean, an enumeration or a character."""
    return isinstance(type, Float) or (
        isinstance(type, Int) and type.size > 1 and not type.boolean and not type.enumerators and not type.character
    )

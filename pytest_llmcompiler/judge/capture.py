"""The capture of a reproducer: the state that a failing run starts from, and how its external calls are answered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from pytest_llmcompiler.emulator.call_arguments import promote_argument
from pytest_llmcompiler.emulator.environment import MEMORY_SHORTAGES, OUTPUT_FAILURE, initial_errno, standard_input
from pytest_llmcompiler.emulator.observation import Effect, Observation, Reply
from pytest_llmcompiler.emulator.tracing import TracedRun
from pytest_llmcompiler.emulator.uninitialised import UninitialisedFill
from pytest_llmcompiler.judge.breakpoint import find_breakpoint
from pytest_llmcompiler.judge.differential import DifferentialRun
from pytest_llmcompiler.judge.failing_run import FailingRun
from pytest_llmcompiler.judge.location import Errno, GlobalVariable, InputObject, MemoryRegion
from pytest_llmcompiler.judge.oracle import SuiteEntry
from pytest_llmcompiler.judge.reproducer import (
    ArgumentPart,
    EffectPart,
    ExternalFunctionPart,
    GlobalPart,
    ObjectPart,
    ReplyPart,
    Reproducer,
    ResultPart,
)
from pytest_llmcompiler.judge.whole_program import limit_reference
from pytest_llmcompiler.targets import abi
from pytest_llmcompiler.values.c_types import (
    Float,
    Function,
    Int,
    Pointer,
    Type,
    Vector,
    build_value_mask,
    find_unsupported,
)
from pytest_llmcompiler.values.layout import GARBAGE, Layout

_LARGEST_POINTEE = 64
"""Bytes of what an argument of an external call points to that are compared. The emulator compares all; a native
program knows only the type's size, and a larger object may be the first of several that lie side by side."""
_FILLS: dict[UninitialisedFill, bytes] = {
    "garbage": GARBAGE[0],
    "inverse": GARBAGE[1],
    "zeros": bytes(4),
    "small": bytes(4),
}


def capture_reproducer(differential: DifferentialRun, failing: FailingRun) -> Reproducer:
    """The reproducer of a failure. The run is repeated, so only a process that may run hostile code may call this."""
    if failing.entry is None:
        return _capture_whole_program(differential, failing)
    return _ReproducerBuilder(differential, failing, failing.entry).build()


def _capture_whole_program(differential: DifferentialRun, failing: FailingRun) -> Reproducer:
    """A run of the whole program starts as a process does, so nothing of its state needs to be captured."""
    machine, whole_program = differential.machine, differential.suite.whole_program
    case = differential.suite.under_test.reference.case
    run = machine.run_program(whole_program.limit if whole_program else 0)
    return {
        "whole_program": True,
        "input_lines": failing.format_input(()),
        "breakpoint": find_breakpoint(differential, failing, run, lambda: machine.run_program(limit_reference(case))),
        "notes": _forbidden_notes(run),
    }


def _forbidden_notes(run: Observation) -> list[str]:
    """A note where the judge stops at an instruction that no user process may execute."""
    if run.outcome != "forbidden" or run.fault is None:
        return []
    return [f"The judge stops at {run.fault.description}; here processor and kernel decide."]


class _ReproducerBuilder:
    def __init__(self, differential: DifferentialRun, failing: FailingRun, entry: SuiteEntry) -> None:
        self._differential, self._failing, self._entry = differential, failing, entry
        self._under_test = differential.suite.under_test
        self._program = self._under_test.reference.golden
        self._convention = self._program.target.convention
        self._notes: list[str] = []

    def build(self) -> Reproducer:
        if self._failing.stage == "inspection":
            self._notes.append("The failure breaks a rule that no hardware checks: `run` shows no difference.")
        if self._entry.layout.environment_seed == OUTPUT_FAILURE:
            self._notes.append("The judge lets writes to standard output fail on this input; here they don't.")
        # The machine's replies and registers are those of its last run, so the run comes first.
        run = self._run_again()
        return cast(Reproducer, {**run, **self._initial_state(), **self._compared(), "notes": self._notes})

    def _run_again(self) -> Reproducer:
        """The replies to external calls in both runs, and where a debugger is to stop."""
        entry, fill = self._entry, self._failing.failure.uninitialised
        machine = self._differential.machine
        expected = self._differential.suite.oracle.replies(entry, fill)
        traced = TracedRun(entry.layout, entry.call, entry.limit, fill)
        run = machine.run(entry.layout, entry.call, entry.limit, uninitialised=fill)
        self._notes += (*_forbidden_notes(run), *self._constant_notes(run))
        replies = {"reference": self._replies(expected), "candidate": self._replies(machine.replies)}
        return {
            "whole_program": False,
            "input_lines": self._failing.format_input(self._under_test.signature.params),
            "replies": replies,
            "breakpoint": find_breakpoint(self._differential, self._failing, run, lambda: traced.run(machine)),
        }

    def _constant_notes(self, run: Observation) -> Iterable[str]:
        """A note where the judge stops at a write to a variable that the program only declares, as const."""
        pages, address = self._program.constants, run.fault.address if run.fault else None
        if pages and address is not None and pages.address <= address < pages.address + pages.size:
            yield "The judge stops at a write to a variable that is declared as const; here it can be written."

    def _initial_state(self) -> Reproducer:
        """Registers and memory when the function is entered."""
        layout, call, fill = self._entry.layout, self._entry.call, self._failing.failure.uninitialised
        machine, seed = self._differential.machine, layout.environment_seed
        externals = self._under_test.reference.external_functions
        return {
            "entry_registers": machine.read_entry_registers(layout, call, fill),
            "clobbered_registers": machine.read_entry_registers(layout, abi.CallSetup({}, b""), fill),
            "vector_fill": machine.fill_values(fill).upper_half,
            "stack": (call.inverse if fill == "inverse" else call).stack.hex(),
            "garbage": GARBAGE[0].hex(),
            "uninitialised": _FILLS[fill].hex(),
            "objects": self._objects(layout),
            "globals": self._globals(layout),
            "callbacks": [self._function(f"callback {item.number}", item.type) for item in layout.callbacks],
            "externals": [self._function(name, type) for name, type in externals.items()],
            "aligned_objects": layout.is_4gib_aligned,
            "standard_input": (standard_input(seed) if layout.standard_input is None else layout.standard_input).hex(),
            "shortage": sorted(MEMORY_SHORTAGES).index(seed) + 1 if seed in MEMORY_SHORTAGES else 0,
        }

    def _compared(self) -> Reproducer:
        """What is compared besides memory: the result and the error number."""
        signature, context = self._under_test.signature, self._entry.context
        compares_errno = context.compares_errno and Errno() not in self._entry.dont_care
        number = signature.result.element if isinstance(signature.result, Vector) else signature.result
        return {
            "result": _result(signature, self._convention),
            "result_signed": isinstance(signature.result, Int) and signature.result.signed,
            "result_float_bytes": number.size if isinstance(number, Float) else 0,
            "errno": [initial_errno(self._entry.layout.environment_seed), int(compares_errno)],
        }

    # -- memory

    def _objects(self, layout: Layout) -> list[ObjectPart]:
        contents = {id(target): data for target, data in layout.contents}
        return [
            {
                "label": target.label,
                "address": target.address,
                "size": target.size,
                "slot": [target.slot.address, target.slot.size],
                "data": contents[id(target)].hex() if id(target) in contents else None,
                "mask": self._mask(InputObject(number), target.element, target.size),
            }
            for number, target in enumerate(layout.objects)
        ]

    def _globals(self, layout: Layout) -> list[GlobalPart]:
        initial = dict(layout.globals)
        types = self._entry.context.variables
        return [
            {
                "name": name,
                "size": self._program.symbols[name].size,
                "data": initial[name].hex() if name in initial else None,
                "mask": self._mask(GlobalVariable(name), types.get(name), self._program.symbols[name].size),
                "pointers": [
                    {"at": at, "symbol": target.symbol, "offset": target.offset}
                    for variable, at, target in layout.symbol_pointers
                    if variable == name
                ],
            }
            for name in self._program.globals
        ]

    def _mask(self, region: MemoryRegion, element: Type | None, size: int) -> str:
        """The bits of a region that are compared, in hexadecimal; empty for all of them."""
        of_element = build_value_mask(element) if element is not None and element.size else b"\xff"
        mask = bytearray((of_element * (size // len(of_element) + 1))[:size])
        for offset in self._entry.dont_care.of(region):
            if offset < size:
                mask[offset] = 0
        return "" if mask == b"\xff" * size else mask.hex()

    # -- external calls

    def _function(self, name: str, type: Function) -> ExternalFunctionPart:
        """A function that the candidate can call and the case does not define, with its arguments."""
        types: list[Type] = [param.type for param in type.params]
        if any(map(find_unsupported, types)):
            return {"name": name, "arguments": []}
        if type.variadic:
            self._note(f"Arguments of {name} that its declaration does not name are not compared.")
        convention = self._convention
        promoted = [promote_argument(declared, convention) for declared in types]
        locations = convention.locate_call_arguments(promoted, convention.locate_result(type).is_in_memory)
        return {
            "name": name,
            "arguments": [
                _argument(declared, passed, location, type.ends)
                for declared, passed, location in zip(types, promoted, locations, strict=True)
            ],
        }

    def _replies(self, replies: Iterable[Reply]) -> list[ReplyPart]:
        return [
            {
                "callee": reply.callee,
                "results": [self._reply_register(reply, name, data) for name, data in reply.result.items()],
                "effects": [part for effect in reply.effects for part in self._effect(effect)],
            }
            for reply in replies
        ]

    def _reply_register(self, reply: Reply, register: str, data: bytes) -> ResultPart:
        machine = self._differential.machine
        value = int.from_bytes(machine.guest.name_streams(data), "little")
        # The native program has its variables, and the candidate's own memory, at other addresses. A pointer that
        # the call returns as it was passed is taken from the register of that argument instead.
        is_relocated = (
            register == self._convention.return_register
            and len(data) == 8
            and machine.addresses.region_of(value) in ("data", "constant", "candidate")
        )
        sources = (name for name, passed in reply.passed.items() if is_relocated and passed == value)
        return {"register": register, "value": value, "size": len(data), "same_as": next(sources, "")}

    def _effect(self, effect: Effect) -> Iterable[EffectPart]:
        """A write of an external call, relative to a global variable where it is in one."""
        region, address, symbol = self._differential.machine.addresses.region_of(effect.address), effect.address, ""
        if region == "data":
            variables = ((name, self._program.symbols[name]) for name in self._program.globals)
            holders = (
                (name, variable.address)
                for name, variable in variables
                if variable.address <= address < variable.address + variable.size
            )
            symbol, start = next(holders, ("", 0))
            address -= start
        if region in ("candidate", "constant") or (region == "data" and not symbol):
            self._note("An external call writes to memory that has another address here: that write is left out.")
            return
        yield {"symbol": symbol, "address": address, "data": effect.data.hex(), "allocates": effect.is_allocation}

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)


def _result(signature: Function, convention: abi.CallingConvention) -> ArgumentPart | None:
    """The result of the function in registers; None where it has none."""
    location, type = convention.locate_result(signature), signature.result
    if not location.registers or type is None:
        return None
    mask = b"" if location.is_in_memory else build_value_mask(type)
    return {
        "kind": "number",
        "registers": list(location.registers),
        "register_bytes": location.register_bytes,
        "offset": 0,
        "size": 8 if location.is_in_memory else type.size,
        "pointee": 0,
        "mask": mask.hex(),
    }


def _is_compared(pointee: Type) -> bool:
    return not isinstance(pointee, Function) and 0 < pointee.size <= _LARGEST_POINTEE


def _argument(declared: Type, passed: Type, location: abi.ArgumentLocation, is_possible_end: bool) -> ArgumentPart:
    """An argument of an external call. `declared` is its type in C, `passed` the type after promotion. Where it may be
    the end of another object (`is_possible_end`), what it points to is not compared."""
    target = declared.target if isinstance(declared, Pointer) else None
    mask = build_value_mask(passed)
    kind, pointee = ("address" if isinstance(declared, Pointer) else "number"), 0
    if isinstance(target, Int) and target.character:
        kind = "text"
    elif target is not None and _is_compared(target) and not is_possible_end:
        kind, pointee, mask = "data", target.size, build_value_mask(target, pointers=False)
    return {
        "kind": kind,
        "registers": list(location.registers),
        "register_bytes": location.register_bytes,
        "offset": location.offset,
        "size": passed.size,
        "pointee": pointee,
        "mask": mask.hex(),
    }

"""The capture of a reproducer: the initial state of a failing run, and the answers to its calls out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import unicorn

from pytest_llmcompiler.emulator.call_arguments import promote_argument
from pytest_llmcompiler.emulator.environment import MEMORY_SHORTAGES, initial_errno
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import Effect, GuestFault, Observation, Reply
from pytest_llmcompiler.emulator.tracing import TracedRun
from pytest_llmcompiler.judge.format_c import format_input
from pytest_llmcompiler.judge.reproducer import (
    ArgumentPart,
    Breakpoint,
    EffectPart,
    ExternalFunctionPart,
    GlobalPart,
    ObjectPart,
    ReplyPart,
    Reproducer,
    ResultPart,
)
from pytest_llmcompiler.targets import abi
from pytest_llmcompiler.values.c_types import Float, Function, Int, Pointer, Type, build_value_mask, find_unsupported
from pytest_llmcompiler.values.input import Input
from pytest_llmcompiler.values.layout import GARBAGE, Layout

if TYPE_CHECKING:
    from pytest_llmcompiler.judge.differential import DifferentialRun, Stage
    from pytest_llmcompiler.judge.divergence import Divergence
    from pytest_llmcompiler.judge.failure import Failure
    from pytest_llmcompiler.judge.oracle import SuiteEntry

_MOST_DATA = 64
"""Bytes of what an argument of a call out points to that are compared."""
_MOST_STEPS = 200_000
"""Instructions that are looked at for the one that changes a register."""
_SAVED = re.compile(r"callee-saved register %?(\w+) is not restored")


def capture_reproducer(
    differential: DifferentialRun,
    stage: Stage,
    failure: Failure,
    divergence: Divergence | None,
    made: Input | None,
    entry: SuiteEntry | None,
) -> Reproducer:
    """The scene of a failure that was just found, and of which `divergence` is known. Without an input it is the whole
    program's."""
    if made is None or entry is None:
        whole = differential.suite.whole_program
        run = differential.machine.run_main(whole.limit if whole else 0)
        return {
            "whole": True,
            "shown": ["the whole program, from main on"],
            "stop": _stop(differential, failure, divergence, run, lambda: differential.machine.run_main(2_000_000)),
            "notes": [],
        }
    return _ReproducerBuilder(differential, failure, divergence, made, entry).reproducer(stage)


class _ReproducerBuilder:
    def __init__(
        self,
        differential: DifferentialRun,
        failure: Failure,
        divergence: Divergence | None,
        made: Input,
        entry: SuiteEntry,
    ) -> None:
        self._differential, self._failure, self._divergence, self._made, self._entry = (
            differential,
            failure,
            divergence,
            made,
            entry,
        )
        self._under_test = differential.suite.under_test
        self._program = self._under_test.reference.golden
        self._convention = self._program.target.convention
        self._notes: list[str] = []

    def reproducer(self, stage: Stage) -> Reproducer:
        entry, layout, uninitialised = self._entry, self._entry.layout, self._failure.uninitialised
        machine = self._differential.machine
        call = entry.call.inverse if uninitialised == "inverse" else entry.call
        names = {"garbage": GARBAGE[0], "inverse": GARBAGE[1], "zeros": bytes(4)}
        if stage == "inspection":
            self._notes.append("What was found breaks a rule that no hardware checks: `run` shows no difference.")
        expected = self._differential.suite.oracle.replies(entry, uninitialised)
        look = TracedRun(layout, entry.call, entry.limit, uninitialised)
        run = machine.run(layout, entry.call, entry.limit, uninitialised=uninitialised)
        replies = {"reference": self._replies(expected), "candidate": self._replies(machine.replies)}
        signature = self._under_test.signature
        return {
            "whole": False,
            "shown": format_input(self._made, signature.params),
            "stop": _stop(self._differential, self._failure, self._divergence, run, lambda: look.run(machine)),
            "entry": machine.read_entry_registers(layout, entry.call, uninitialised),
            "lost": machine.read_entry_registers(layout, abi.CallSetup({}, b""), uninitialised),
            "stack": call.stack.hex(),
            "garbage": GARBAGE[0].hex(),
            "uninitialised": names[uninitialised].hex(),
            "objects": self._objects(layout),
            "globals": self._globals(layout),
            "callbacks": [self._outside(f"callback {one.number}", one.type) for one in layout.callbacks],
            "externals": [
                self._outside(name, type) for name, type in self._under_test.reference.external_functions.items()
            ],
            "replies": replies,
            "result": _result(signature, self._convention),
            "result_signed": isinstance(signature.result, Int) and signature.result.signed,
            "result_float": isinstance(signature.result, Float),
            "low": layout.is_4gib_aligned,
            "shortage": sorted(MEMORY_SHORTAGES).index(layout.environment_seed) + 1
            if layout.environment_seed in MEMORY_SHORTAGES
            else 0,
            "errno": [
                initial_errno(layout.environment_seed),
                int(entry.frame.errno and ("errno", 0) not in entry.dont_care),
            ],
            "notes": self._notes,
        }

    def _objects(self, layout: Layout) -> list[ObjectPart]:
        contents = {id(target): data for target, data in layout.contents}
        return [
            {
                "label": target.label,
                "address": target.address,
                "size": target.size,
                "slot": [target.slot.address, target.slot.size],
                "data": contents[id(target)].hex() if id(target) in contents else None,
                "mask": self._mask(target.label, target.element, target.size),
            }
            for target in layout.objects
        ]

    def _globals(self, layout: Layout) -> list[GlobalPart]:
        changed = dict(layout.globals)
        types = self._entry.frame.variables
        return [
            {
                "name": name,
                "size": self._program.symbols[name].size,
                "data": changed[name].hex() if name in changed else None,
                "mask": self._mask(f"global {name}", types.get(name), self._program.symbols[name].size),
            }
            for name in self._program.globals
        ]

    def _mask(self, label: str, element: Type | None, size: int) -> str:
        """The bits of an object that a candidate is held to."""
        one = build_value_mask(element) if element is not None and element.size else b"\xff"
        mask = bytearray((one * (size // len(one) + 1))[:size])
        for name, offset in self._entry.dont_care:
            if name == label and offset < size:
                mask[offset] = 0
        return "" if mask == b"\xff" * size else mask.hex()

    def _outside(self, name: str, type: Function) -> ExternalFunctionPart:
        kinds: list[Type] = [param.type for param in type.params]
        if any(map(find_unsupported, kinds)):
            return {"name": name, "arguments": []}
        if type.variadic:
            self._note(f"Arguments of {name} that its declaration does not name are not compared.")
        convention = self._convention
        passed = [promote_argument(kind, convention) for kind in kinds]
        places = convention.locate_call_arguments(passed, convention.locate_result(type).in_memory)
        return {
            "name": name,
            "arguments": [
                _argument(kind, own, place, type.ends) for kind, own, place in zip(kinds, passed, places, strict=True)
            ],
        }

    def _replies(self, replies: Iterable[Reply]) -> list[ReplyPart]:
        return [
            {
                "callee": reply.callee,
                "results": [self._given(reply, name, data) for name, data in reply.result.items()],
                "effects": [part for effect in reply.effects for part in self._effect(effect)],
            }
            for reply in replies
        ]

    def _given(self, reply: Reply, register: str, data: bytes) -> ResultPart:
        machine, value = self._differential.machine, int.from_bytes(data, "little")
        # What lies in the program, or in the candidate's own memory, lies elsewhere in another build of them.
        moves = (
            register == self._convention.return_register
            and len(data) == 8
            and machine.addresses.region_of(value) in ("data", "constant", "own")
        )
        same = next((name for name, passed in reply.passed.items() if moves and passed == value), "")
        return {"register": register, "value": value, "size": len(data), "same_as": same}

    def _effect(self, effect: Effect) -> Iterable[EffectPart]:
        region, address, symbol = self._differential.machine.addresses.region_of(effect.address), effect.address, ""
        if region == "data":
            places = ((name, self._program.symbols[name]) for name in self._program.globals)
            found = ((name, at.address) for name, at in places if at.address <= address < at.address + at.size)
            symbol, start = next(found, ("", 0))
            address -= start
        if region in ("own", "constant") or (region == "data" and not symbol):
            self._note("A call out of the function writes to memory that lies elsewhere here: that is left out.")
            return
        yield {"symbol": symbol, "address": address, "data": effect.data.hex(), "made": effect.is_allocation}

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)


def _result(signature: Function, convention: abi.CallingConvention) -> ArgumentPart | None:
    where, type = convention.locate_result(signature), signature.result
    if not where.registers or type is None:
        return None
    mask = b"" if where.in_memory else build_value_mask(type)
    size = 8 if where.in_memory else type.size
    return {
        "kind": "number",
        "registers": list(where.registers),
        "offset": 0,
        "size": size,
        "pointee": 0,
        "mask": mask.hex(),
    }


def _argument(kind: Type, passed: Type, place: abi.ArgumentLocation, ends: bool) -> ArgumentPart:
    target = kind.target if isinstance(kind, Pointer) else None
    mask = build_value_mask(passed)
    shape, pointee = ("address" if isinstance(kind, Pointer) else "number"), 0
    if isinstance(target, Int) and target.character:
        shape = "text"
    elif target is not None and not isinstance(target, Function) and 0 < target.size <= _MOST_DATA and not ends:
        shape, pointee, mask = "data", target.size, build_value_mask(target, pointers=False)
    return {
        "kind": shape,
        "registers": list(place.registers),
        "offset": place.offset,
        "size": passed.size,
        "pointee": pointee,
        "mask": mask.hex(),
    }


def _stop(
    differential: DifferentialRun,
    failure: Failure,
    divergence: Divergence | None,
    run: Observation,
    again: Callable[[], object],
) -> Breakpoint:
    """Where a debugger sees best what goes wrong: the instruction that faults, the one that loses a register, the one
    at which the candidate parts from the reference, else its first. `again` runs the trial's machine once more."""
    machine, lines = differential.machine, differential.candidate.lines
    first = lines.get(differential.candidate.symbols[differential.suite.under_test.function], 1)
    lost = next(filter(None, map(_SAVED.search, (failure.message, *failure.evidence))), None)
    if lost and failure.kind == "abi":
        return _loser(machine, lost[1], again) or {"line": first, "passes": 0}
    if run.fault is not None:
        line = machine.line_of(run.fault) or first
        return {"line": line, "passes": max(0, _visits(machine, line, again) - 1)}
    if run.outcome == "limit":
        pc = machine.guest.register(machine.processor.program_counter)
        return {"line": lines.get(pc) or machine.line_of(GuestFault("", pc)) or first, "passes": 0}
    told = failure.line or (divergence and divergence.line)
    if told:
        return {"line": told, "passes": 0}
    scalar, result = (
        machine.convention.return_register,
        machine.convention.locate_result(differential.suite.under_test.signature).registers,
    )
    maker = _loser(machine, scalar, again) if failure.message.startswith("return value") and scalar in result else None
    return maker or {"line": first, "passes": 0}


def _visits(machine: Machine, line: int, again: Callable[[], object]) -> int:
    """How often a run comes to a line of the candidate's text."""
    assert machine.candidate is not None
    start = min(address for address, own in machine.candidate.lines.items() if own == line)
    count = 0

    def on_code(uc: Any, address: int, size: int, data: Any) -> None:
        nonlocal count
        count += 1

    with machine.guest.hooked(unicorn.UC_HOOK_CODE, on_code, start, start):
        again()
    return count


def _loser(machine: Machine, register: str, again: Callable[[], object]) -> Breakpoint | None:
    """The instruction of the candidate that changes a register last."""
    assert machine.candidate is not None
    lines = machine.candidate.lines
    seen: list[tuple[int, int]] = []  # each instruction, and the register before it

    def on_code(uc: Any, address: int, size: int, data: Any) -> None:
        if len(seen) < _MOST_STEPS:
            seen.append((address, machine.guest.register(register)))

    with ExitStack() as hooks:
        for segment in _code(machine):
            hooks.enter_context(machine.guest.hooked(unicorn.UC_HOOK_CODE, on_code, *segment))
        again()
    after = [*(value for _, value in seen[1:]), machine.guest.register(register)]
    changes = [at for at, (address, value) in enumerate(seen) if value != after[at] and address in lines]
    if not changes:
        return None
    loser = seen[changes[-1]][0]
    visits = Counter(address for address, _ in seen[: changes[-1]])
    return {"line": lines[loser], "passes": visits[loser]}


def _code(machine: Machine) -> Sequence[tuple[int, int]]:
    segments = machine.candidate.segments if machine.candidate else ()
    return [(part.address, part.address + len(part.data)) for part in segments if part.is_executable]

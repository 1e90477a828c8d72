"""The initial contents of registers, flags and stack that no argument sets.

A correct candidate's behaviour depends on none of them. Each function is run on garbage and on zeros, and candidates on
the inverse of the garbage too, so that one which reads them shows different behaviour.
"""

from __future__ import annotations

import functools
import hashlib
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pytest_llmcompiler.emulator.generated_values import mix
from pytest_llmcompiler.emulator.guest import Guest
from pytest_llmcompiler.emulator.memory import HostMemory
from pytest_llmcompiler.emulator.register_batch import RegisterBatch
from pytest_llmcompiler.emulator.stack import CALLER_FRAME, SMALL_TOP, STACK_SIZE, ZEROS_TOP
from pytest_llmcompiler.program.ir_rewrites import PADDING_BYTES
from pytest_llmcompiler.targets.abi import SMALL_NUMBERS
from pytest_llmcompiler.values.layout import GARBAGE, PAGE

UninitialisedFill = Literal["garbage", "inverse", "zeros", "small"]
"""The contents of the unused stack, of the registers without a value, and of the pads around constants: the garbage of
a machine, the same with every bit inverted, or zeros; with `small`, zeros and small numbers in the registers."""

_INVERSE: dict[UninitialisedFill, UninitialisedFill] = {
    "garbage": "inverse",
    "inverse": "garbage",
    "zeros": "zeros",
    "small": "small",
}
_STACK_WORDS: dict[UninitialisedFill, bytes] = {
    "garbage": GARBAGE[0],
    "inverse": GARBAGE[1],
    "zeros": bytes(4),
    "small": bytes(4),
}
_VARIED = hashlib.shake_256(b"unused stack").digest(PAGE)
_STACK_PAGES: dict[UninitialisedFill, bytes] = {
    **{fill: word * (PAGE // 4) for fill, word in _STACK_WORDS.items()},
    "inverse": bytes(map(operator.or_, _STACK_WORDS["inverse"] * (PAGE // 4), _VARIED)),
}
"""Each page of the unused stack. With `inverse`, words differ from each other: an array that nobody has set does not
have equal elements, which would hide it from code that compares them. Bits that are 0 in the garbage are 1 there, so
that each bit is 0 with one fill and 1 with another."""
_MASK = (1 << 64) - 1
_TOPS: dict[UninitialisedFill, int] = {"zeros": ZEROS_TOP, "small": SMALL_TOP}
_FIRST_SCRATCH, _FIRST_VECTOR, _UPPER_HALVES, NARROW_RESULT = 16, 32, 15, 16
"""Numbers from which the garbage of registers is derived: of the first callee-saved register 0, of the first
caller-saved one, of the first vector register, of the upper halves of vector registers, and of narrow results."""


@dataclass(frozen=True)
class StartState:
    """The registers and the stack from which a run starts, before its arguments are set."""

    context: Any
    """unicorn's copy of the registers."""
    callee_saved: dict[str, int]
    """The values of the callee-saved registers, which the function has to restore."""
    stack: bytes
    frame_offset: int
    """Offset of the caller's frame from the start of the stack, in bytes."""
    pads: tuple[tuple[HostMemory, int, bytes], ...]
    """The paddings around constants: memory, offset, contents."""


@dataclass(frozen=True)
class FillValues:
    """All that a fill determines, as numbers."""

    pattern: bytes
    """Four bytes that fill the pads."""
    stack_page: bytes
    """What each page of the unused stack holds."""
    frame_offset: int
    """Offset of the caller's frame from the start of the stack, in bytes."""
    narrow_result: int
    """The result register after a call whose result has an undefined upper half."""
    upper_half: int
    """The upper halves of vector registers of which a call preserves the lower half."""
    state: dict[str, int]
    """The registers from which a run starts."""
    scratch: dict[str, int]
    """What a call leaves in the registers that it may change."""
    callee_saved: dict[str, int]
    flags: tuple[int, int]
    """The condition flags at the start and after a call: the mask of all, and those that are set."""


class UninitialisedValues:
    """Fills registers, stack and pads of a guest with what no program may depend on."""

    def __init__(self, guest: Guest, garbage_pattern: int) -> None:
        self._guest, self._garbage_pattern = guest, garbage_pattern
        self._states: dict[UninitialisedFill, StartState] = {}
        self._scratch_values: dict[UninitialisedFill, RegisterBatch] = {}
        """The garbage of the registers that a call may change."""
        self._select("garbage")

    def prepare_states(self) -> None:
        """Build the start state of each fill, from the present state of the guest."""
        self._states = {fill: self._build_state(fill) for fill in get_args(UninitialisedFill)}

    def restore_state(self, fill: UninitialisedFill) -> StartState:
        """Give the registers the start state of a fill. Stack and pads are the caller's to write."""
        state = self.select_state(fill)
        self._guest.uc.context_restore(state.context)
        return state

    def select_state(self, fill: UninitialisedFill) -> StartState:
        """The start state of a fill, which is the caller's to restore, registers included."""
        self._select(fill)
        return self._states[fill]

    def fill_values(self, fill: UninitialisedFill) -> FillValues:
        """What a fill determines. To be called between runs."""
        start, guest = self.restore_state(fill), self._guest
        convention = guest.convention
        scratch = (
            *enumerate(convention.caller_saved, _FIRST_SCRATCH),
            *enumerate(convention.vector_registers, _FIRST_VECTOR),
        )
        return FillValues(
            _STACK_WORDS[self._pattern],
            _STACK_PAGES[self._pattern],
            start.frame_offset,
            self.register_value(NARROW_RESULT),
            self.register_value(_UPPER_HALVES),
            {name: guest.register(name) for name in guest.processor.state_registers},
            {name: self._value_for(name, index) for index, name in scratch},
            start.callee_saved,
            (sum(guest.processor.condition_flags), self._set_flags),
        )

    def stack_bytes(self, size: int) -> bytes:
        """The contents of so many bytes of unused stack: of whole pages, or of a part of one that has no place."""
        if size == STACK_SIZE:
            return _fill_stack(self._pattern)
        is_whole = size % PAGE == 0
        return _STACK_PAGES[self._pattern] * (size // PAGE) if is_whole else _STACK_WORDS[self._pattern] * (size // 4)

    def register_value(self, index: int) -> int:
        """The 64 bits of a register without a value. Different indices give different garbage."""
        number = mix((int.from_bytes(GARBAGE[0], "little"), index))
        small = 1 + index % SMALL_NUMBERS
        return {"garbage": number, "inverse": ~number & _MASK, "zeros": 0, "small": small}[self._pattern]

    @property
    def upper_half(self) -> int:
        """The 64 bits that fill the parts of vector registers which the emulator does not have."""
        return self.register_value(_UPPER_HALVES)

    @property
    def is_varied(self) -> bool:
        """Whether the present fill is one of those with which a path is run again, once."""
        return self._fill != "garbage"

    def clobber_registers(self, *, with_upper_halves: bool = True) -> None:
        """Overwrite every register that a call may change. `with_upper_halves`: those of vector registers, too, that
        only a processor has."""
        guest, convention = self._guest, self._guest.convention
        guest.clobbers += with_upper_halves
        if self._fill not in self._scratch_values:
            scratch = enumerate(convention.caller_saved, _FIRST_SCRATCH)
            vectors = enumerate(convention.vector_registers, _FIRST_VECTOR)
            values = [(guest.numbers[name], self._value_for(name, index)) for index, name in (*scratch, *vectors)]
            self._scratch_values[self._fill] = RegisterBatch(values)
        self._scratch_values[self._fill].write(guest.uc)
        for whole, half in convention.half_preserved_vectors.items():
            guest.set_register(whole, self.register_value(_UPPER_HALVES) << 64 | guest.register(half))
        flags, all_flags = guest.processor.flags_register, sum(guest.processor.condition_flags)
        guest.set_register(flags, guest.register(flags) & ~all_flags | self._set_flags)

    @property
    def _set_flags(self) -> int:
        """The condition flags that are set where no flag has a value."""
        first, second = self._guest.processor.condition_flags
        return {"garbage": first, "inverse": second, "zeros": 0, "small": 0}[self._pattern]

    def _select(self, fill: UninitialisedFill) -> None:
        self._fill = fill
        # The garbage of one pattern is the inverse of the other's.
        self._pattern: UninitialisedFill = _INVERSE[fill] if self._garbage_pattern else fill

    def _value_for(self, name: str, index: int) -> int:
        """The garbage for a register of 8 or of 16 bytes."""
        return self.register_value(index) * ((1 << 64) + 1 if name in self._guest.convention.wide_registers else 1)

    def _build_state(self, fill: UninitialisedFill) -> StartState:
        self._select(fill)
        guest = self._guest
        callee_saved = {name: self._value_for(name, index) for index, name in enumerate(guest.convention.callee_saved)}
        for name, value in callee_saved.items():
            guest.set_register(name, value)
        guest.processor.reset_flags(guest.uc)
        self.clobber_registers()
        frame_offset = _TOPS.get(fill, STACK_SIZE - CALLER_FRAME)
        contents = self.stack_bytes(STACK_SIZE)
        return StartState(guest.uc.context_save(), callee_saved, contents, frame_offset, tuple(self._list_pads()))

    def _list_pads(self) -> Iterator[tuple[HostMemory, int, bytes]]:
        """The pads around constants and variables, which a candidate reads if it goes past the end of one."""
        data = self.stack_bytes(PADDING_BYTES)
        for pad in self._guest.program.paddings:
            for start, memory in (*self._guest.read_only, *self._guest.writable):
                if start <= pad < start + memory.size:
                    yield memory, pad - start, data


@functools.cache
def _fill_stack(pattern: UninitialisedFill) -> bytes:
    """The contents of a whole unused stack. All machines share them, those of forked children too."""
    return _STACK_PAGES[pattern] * (STACK_SIZE // PAGE)

"""How many instructions a machine executes in runs of a candidate, as the engine counts them (`engine/instructions.c`).

unicorn knows how many instructions a translated block has. Repetitions of a string instruction count one by one. The
jump that stands in the place of a replaced function is the emulator's own, and counts nothing.
"""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import unicorn

from pytest_llmcompiler.emulator.calls import DETOUR_RETURN
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.native_run import load_library
from pytest_llmcompiler.values.layout import RETURN


class InstructionCounter:
    """Counts the instructions of the runs of a machine with a candidate, from now on as long as the machine lives.

    Raises MemoryError.
    """

    def __init__(self, machine: Machine) -> None:
        replaced = machine.candidate.replaced_functions if machine.candidate else ()
        own = (machine.program.symbols[name].address for name in replaced)
        ignored = [RETURN, DETOUR_RETURN, machine.function.address, *own]
        library, uc = load_library(), machine.guest.uc
        self._blocks: _Blocks = _NativeBlocks(library, uc, ignored) if library else _PythonBlocks(uc, ignored)
        uc.ctl_flush_tb()  # code that was translated before does not call the hook

    @property
    def total(self) -> int:
        """The instructions of all runs so far. Raises MemoryError."""
        return self._blocks.count()


class _Blocks(ABC):
    """Adds up the instructions of all blocks that are executed, but for those at some addresses."""

    @abstractmethod
    def count(self) -> int:
        """The instructions so far."""


class _PythonBlocks(_Blocks):
    """Does it by a call of Python for each block."""

    def __init__(self, uc: Any, ignored: Sequence[int]) -> None:
        self._known: dict[tuple[int, int], int] = {}
        """The instructions of blocks, by address and size."""
        self._ignored, self._count = frozenset(ignored), 0
        uc.hook_add(unicorn.UC_HOOK_BLOCK, self._on_block)

    def count(self) -> int:
        return self._count

    def _on_block(self, uc: Any, address: int, size: int, data: Any) -> None:
        if (address, size) not in self._known:
            _, instructions, _ = uc.ctl_request_cache(address)
            self._known[address, size] = 0 if address in self._ignored else instructions
        self._count += self._known[address, size]


class _CounterFields(ctypes.Structure):
    """The start of `InstructionCounter` in `engine.h`."""

    _fields_ = (("instructions", ctypes.c_uint64), ("has_failed", ctypes.c_bool))


class _NativeBlocks(_Blocks):
    """Does it in C. Raises MemoryError."""

    def __init__(self, library: ctypes.CDLL, uc: Any, ignored: Sequence[int]) -> None:
        addresses = (ctypes.c_uint64 * len(ignored))(*ignored)
        handle = library.native_open_counter(uc._uch, addresses, len(ignored))
        if not handle:
            raise MemoryError
        self._fields = _CounterFields.from_address(handle)

    def count(self) -> int:
        if self._fields.has_failed:
            raise MemoryError
        return int(self._fields.instructions)

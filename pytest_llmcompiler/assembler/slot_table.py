"""The global offset table of a candidate: words in memory that hold addresses, and what thread-local variables need."""

from __future__ import annotations

import functools

from pytest_llmcompiler.assembler.thread_storage import ThreadStorage
from pytest_llmcompiler.errors import UnsupportedError
from pytest_llmcompiler.targets.code import CodeSegment
from pytest_llmcompiler.targets.relocation import Relocation

_WORD_BYTES = 8
_MOST_WORDS = 2
"""Words of the largest slot."""
_MODULE_DISTANCE = 1 << 23
"""Bytes from the start of the module's variables, as code is told, to the thread pointer. Any number does for code that
adds what belongs together; with this one, `%fs:x@dtpoff` and the like are addresses where nothing is."""


class SlotTable:
    """The table at a page, which is built while fields are filled in. Fields with the same contents share a slot."""

    def __init__(self, address: int, most_slots: int, page: int, threads: ThreadStorage | None) -> None:
        """Of `most_slots` slots, with pages of `page` bytes."""
        self._address, self._threads = address, threads
        most_bytes = _WORD_BYTES * _MOST_WORDS * most_slots
        self._function_address = address + (most_bytes // page + 1) * page
        """The code of descriptors lies behind the largest table."""
        self._slots: dict[tuple[int, ...], int] = {}
        """The words of each slot -> its address."""
        self._end = address
        self._has_descriptors = False

    @functools.cached_property
    def thread_pointer(self) -> int:
        """The thread pointer. Raises UnsupportedError where there is no thread-local storage."""
        if self._threads is None:
            raise UnsupportedError("thread-local storage is not supported")
        return self._threads.find_pointer()

    @property
    def module_base(self) -> int:
        """The start of the variables of the program's module. Raises UnsupportedError."""
        return self.thread_pointer - _MODULE_DISTANCE

    def find_value(self, address: int, relocation: Relocation) -> int:
        """What a field holds for a variable at an address: S of its relocation. Raises UnsupportedError."""
        if relocation.thread_use and self._threads is None:
            raise UnsupportedError(f"relocation {relocation.name} is not supported: it is for thread-local storage")
        if relocation.thread_use is None:
            words: tuple[int, ...] = (address,)
        elif relocation.thread_use == "pair":
            words = 0, address
        elif relocation.thread_use == "module":
            words = 0, self.module_base
        elif relocation.thread_use == "module_offset":
            words = (address - self.module_base,)
        elif relocation.thread_use == "offset":
            words = (address - self.thread_pointer,)
        else:
            words = self._function_address, address - self.thread_pointer
            self._has_descriptors = True
        return self._find_slot(words) if relocation.uses_got else words[-1]

    def _find_slot(self, words: tuple[int, ...]) -> int:
        if words not in self._slots:
            self._slots[words] = self._end
            self._end += _WORD_BYTES * len(words)
        return self._slots[words]

    def build_segments(self) -> list[CodeSegment]:
        """The table, if it has slots, and the code of descriptors, if there are any."""
        segments = []
        if self._slots:
            values = (value for words in self._slots for value in words)
            table = b"".join((value & (1 << 64) - 1).to_bytes(_WORD_BYTES, "little") for value in values)
            segments.append(CodeSegment(".got", self._address, table, is_writable=False, is_executable=False))
        if self._has_descriptors and self._threads:
            code = self._threads.descriptor_function
            segments.append(CodeSegment(".tlsdesc", self._function_address, code, False, True))
        return segments

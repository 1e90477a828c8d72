"""Registers, read and written by unicorn's C functions without the work that its Python methods do around them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import unicorn
from unicorn.unicorn_py3.unicorn import uclib

_REGISTER_BYTES = 16
"""Bytes of the largest register that is read or written."""
_WORD = (1 << 64) - 1


class RegisterBatch:
    """Numbers of registers with their values, in the form in which unicorn's C function takes them.

    `Uc.reg_write_batch` builds that form anew in each call, which takes 50 µs for the registers that a call clobbers.
    """

    def __init__(self, values: Sequence[tuple[int, int]]) -> None:
        self._count = len(values)
        data = b"".join(value.to_bytes(_REGISTER_BYTES, "little") for _, value in values)
        self._data = ctypes.create_string_buffer(data, len(data))
        start = ctypes.addressof(self._data)
        self._numbers = (ctypes.c_int * self._count)(*(number for number, _ in values))
        self._pointers = (ctypes.c_void_p * self._count)(
            *(start + index * _REGISTER_BYTES for index in range(self._count))
        )

    def write(self, uc: Any) -> None:
        """Set the registers."""
        _check(uclib.uc_reg_write_batch(uc._uch, self._numbers, self._pointers, ctypes.c_int(self._count)))

    def write_bytes(self, uc: Any, data: bytes) -> None:
        """Set the registers to 16 bytes for each."""
        ctypes.memmove(self._data, data, len(self._data))
        self.write(uc)

    def read(self, uc: Any) -> list[int]:
        """The values of the registers."""
        ctypes.memset(self._data, 0, len(self._data))  # narrow registers leave the rest of their bytes
        _check(uclib.uc_reg_read_batch(uc._uch, self._numbers, self._pointers, ctypes.c_int(self._count)))
        data = self._data.raw
        return [
            int.from_bytes(data[start : start + _REGISTER_BYTES], "little")
            for start in range(0, len(data), _REGISTER_BYTES)
        ]


class RegisterAccess:
    """Reads and writes single registers of up to 16 bytes, by unicorn's numbers. `Uc.reg_read` takes 5 µs, this 1."""

    def __init__(self, uc: Any) -> None:
        self._handle = uc._uch
        self._words = (ctypes.c_uint64 * 2)()
        self._pointer = ctypes.c_void_p(ctypes.addressof(self._words))

    def read(self, number: int) -> int:
        """The value of a register."""
        words = self._words
        words[0] = words[1] = 0
        _check(uclib.uc_reg_read(self._handle, number, self._pointer))
        return words[0] | words[1] << 64

    def write(self, number: int, value: int) -> None:
        """Set a register."""
        words = self._words
        words[0], words[1] = value & _WORD, value >> 64 & _WORD
        _check(uclib.uc_reg_write(self._handle, number, self._pointer))


def _check(status: int) -> None:
    if status != unicorn.UC_ERR_OK:
        raise unicorn.UcError(status)

"""Registers that are written together, again and again."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import unicorn
from unicorn.unicorn_py3.unicorn import uclib

_REGISTER_BYTES = 16
"""Bytes of the largest register that is written."""


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

    def read(self, uc: Any) -> list[int]:
        """The values of the registers."""
        ctypes.memset(self._data, 0, len(self._data))  # narrow registers leave the rest of their bytes
        _check(uclib.uc_reg_read_batch(uc._uch, self._numbers, self._pointers, ctypes.c_int(self._count)))
        data = self._data.raw
        return [
            int.from_bytes(data[start : start + _REGISTER_BYTES], "little")
            for start in range(0, len(data), _REGISTER_BYTES)
        ]


def _check(status: int) -> None:
    if status != unicorn.UC_ERR_OK:
        raise unicorn.UcError(status)

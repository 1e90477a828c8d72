"""What is above the lowest 16 bytes of vector registers, of code that runs natively: the emulator does not have it."""

from __future__ import annotations

XMM_BYTES, VECTOR_BYTES = 16, 64
"""Bytes of a vector register that the emulator has, and that a processor may have."""
_UPPER_BYTES = VECTOR_BYTES - XMM_BYTES
_START = "xmm"


class UpperParts:
    """The upper parts of xmm0 to xmm15: those with which code runs on, and those with which it stopped."""

    def __init__(self) -> None:
        self._given: dict[int, bytes] = {}
        self._observed = b""

    def forget(self) -> None:
        """Begin a run."""
        self._given, self._observed = {}, b""

    def give(self, name: str, data: bytes) -> None:
        """Set the bytes above the lowest 16 of a register when the code runs on."""
        self._given[int(name.removeprefix(_START))] = data

    def give_back(self, name: str, upper: int) -> None:
        """Set the whole upper part of a register, as `read` gave it; nothing of a register that has none."""
        if self._has_upper_part(name):
            self.give(name, upper.to_bytes(_UPPER_BYTES, "little"))

    def widen(self, registers: bytes, fill: int) -> bytes:
        """Registers of 16 bytes each with their upper parts: what was given, and then `fill`, a number of 64 bits."""
        lowest = (registers[start : start + XMM_BYTES] for start in range(0, len(registers), XMM_BYTES))
        return b"".join(low + self._next(number, fill) for number, low in enumerate(lowest))

    def read_next(self, name: str, fill: int) -> int:
        """The same for one register: its upper part, as a number. 0 of a register that has none."""
        return int.from_bytes(self._next(int(name[len(_START) :]), fill), "little") if name.startswith(_START) else 0

    def _next(self, number: int, fill: int) -> bytes:
        given = self._given.get(number, b"")
        return given + (fill.to_bytes(8, "little") * (_UPPER_BYTES // 8))[len(given) :]

    def observe(self, data: bytes) -> None:
        """Take the upper parts with which code stopped, 48 bytes each. What was given is done with."""
        self._given, self._observed = {}, data

    def read(self, name: str) -> int:
        """The upper part of a register, as a number; 0 of a register that has none, and where no code has stopped."""
        if not self._has_upper_part(name):
            return 0
        start = int(name.removeprefix(_START)) * _UPPER_BYTES
        return int.from_bytes(self._observed[start : start + _UPPER_BYTES], "little")

    def _has_upper_part(self, name: str) -> bool:
        """Whether code has stopped with an upper part of this register."""
        return bool(self._observed) and name.startswith(_START)

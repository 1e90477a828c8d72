"""What C asks of the callers of its library, where the library itself does not notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_llmcompiler.emulator.kernel import GuestTrapError

if TYPE_CHECKING:
    from pytest_llmcompiler.emulator.machine import Machine

_CHARACTERS = (
    *("isalnum", "isalpha", "isblank", "iscntrl", "isdigit", "isgraph", "islower", "isprint", "ispunct", "isspace"),
    *("isupper", "isxdigit", "tolower", "toupper"),
)
_LONGEST = 1 << 20


def build_checks(machine: Machine) -> dict[str, Callable[[int], None]]:
    """For library functions by name: what to do where they are entered. Raises Trap for a call that is undefined."""
    overlaps = _Overlaps(machine)
    return {
        "memcpy": overlaps.memcpy,
        "strcpy": overlaps.strcpy,
        "stpcpy": overlaps.strcpy,
        "strncpy": overlaps.strncpy,
        "stpncpy": overlaps.strncpy,
        "strcat": overlaps.strcat,
        "strncat": overlaps.strncat,
        **dict.fromkeys(("memcmp", "bcmp"), lambda _: _whole(machine)),
        **dict.fromkeys(_CHARACTERS, lambda _: _character(machine)),
    }


def _character(machine: Machine) -> None:
    if not 0 <= (machine.argument(0) + 1) % (1 << 32) <= 256:
        raise GuestTrapError("a character function of a number that is none")


def _whole(machine: Machine) -> None:
    """Two objects are compared, whose differences may lie before their ends."""
    size = machine.argument(2)
    for address in (machine.argument(0), machine.argument(1)):
        if size > _LONGEST or len(machine.read(address, size)) < size:
            raise GuestTrapError("a comparison past the end of an object", address, size)


class _Overlaps:
    """Copies between objects that overlap."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def memcpy(self, _: int) -> None:
        to, source, size = map(self._machine.argument, range(3))
        if to != source:  # compilers themselves copy a struct to its own place
            _apart(to, size, source, size)

    def strcpy(self, _: int) -> None:
        to, source = self._pointers()
        size = self._length(source) + 1
        _apart(to, size, source, size)

    def strncpy(self, _: int) -> None:
        to, source = self._pointers()
        size = self._machine.argument(2)
        _apart(to, size, source, min(size, self._length(source) + 1))

    def strcat(self, _: int) -> None:
        to, source = self._pointers()
        size = self._length(source) + 1
        _apart(to, self._length(to) + size, source, size)

    def strncat(self, _: int) -> None:
        to, source = self._pointers()
        size = min(self._machine.argument(2), self._length(source))
        _apart(to, self._length(to) + size + 1, source, size)

    def _pointers(self) -> tuple[int, int]:
        return self._machine.argument(0), self._machine.argument(1)

    def _length(self, address: int) -> int:
        """The length of a string, as far as there is memory."""
        length = 0
        while length < _LONGEST:
            piece = self._machine.read(address + length, 256)
            end = piece.find(b"\0")
            if end >= 0 or not piece:
                return length + max(end, 0)
            length += len(piece)
        return length


def _apart(first: int, size: int, second: int, other: int) -> None:
    if size and other and first < second + other and second < first + size:
        raise GuestTrapError("a copy between objects that overlap")

"""The preconditions of C library functions whose violation musl does not notice: overlaps, lengths, characters,
numbers out of range."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from pytest_llmcompiler.emulator.guest import Guest
from pytest_llmcompiler.emulator.kernel import GuestTrapError

_CHARACTER_FUNCTIONS = (
    "isalnum",
    "isalpha",
    "isblank",
    "iscntrl",
    "isdigit",
    "isgraph",
    "islower",
    "isprint",
    "ispunct",
    "isspace",
    "isupper",
    "isxdigit",
    "tolower",
    "toupper",
)
_NUMBER_PARSERS = {"atoi": 32, "atol": 64, "atoll": 64}
"""Functions that read a whole number from a text, with the bits of their results. Other C libraries define them by
strtol, which gives another number than musl's where the text has too large a one (C17, 7.22.1)."""
_NUMBER = re.compile(rb"[ \t\n\v\f\r]*([-+]?[0-9]+)")
_MAX_DIGITS = 64
"""Bytes of a text that are looked at for a number."""
_MAX_SIZE = 1 << 20
"""Bytes of the longest object or string that is looked at; no object of an input is as large."""
_CHUNK = 256
"""Bytes that are read at a time in search for the end of a string."""


def watch_preconditions(guest: Guest) -> None:
    """End a run with a fault where a library function is called in a way that C leaves undefined."""
    copies = _CopyChecks(guest)
    checks: dict[str, Callable[[], None]] = {
        "memcpy": copies.check_memcpy,
        "strcpy": copies.check_strcpy,
        "stpcpy": copies.check_strcpy,
        "strncpy": copies.check_strncpy,
        "stpncpy": copies.check_strncpy,
        "strcat": copies.check_strcat,
        "strncat": copies.check_strncat,
        "memcmp": lambda: _check_comparison(guest),
        "bcmp": lambda: _check_comparison(guest),
        **dict.fromkeys(_CHARACTER_FUNCTIONS, lambda: _check_character(guest)),
        **{name: functools.partial(_check_number, guest, bits) for name, bits in _NUMBER_PARSERS.items()},
    }
    for name in checks.keys() & guest.program.library.keys():
        address = guest.program.library[name].address
        guest.watch(address, address, lambda _, check=checks[name]: check())  # type: ignore[misc]


def _check_character(guest: Guest) -> None:
    """A character is EOF (-1), or a value of an unsigned char. All C libraries take the values of a signed char too."""
    if (guest.library_argument(0) + 128) % (1 << 32) >= 384:
        raise GuestTrapError("a character function is called with a number that is no character")


def _check_number(guest: Guest, bits: int) -> None:
    """The number at the start of a text must be one of the result's type."""
    number = _NUMBER.match(guest.read(guest.library_argument(0), _MAX_DIGITS))
    if number and not -(1 << bits - 1) <= int(number[1]) < 1 << bits - 1:
        raise GuestTrapError("a text has a number that is too large for the type it is read as")


def _check_comparison(guest: Guest) -> None:
    """Both objects must be as long as the size says, even where they differ before their ends."""
    size = guest.library_argument(2)
    for address in (guest.library_argument(0), guest.library_argument(1)):
        if size > _MAX_SIZE or len(guest.read(address, size)) < size:
            raise GuestTrapError("a comparison past the end of an object", address, size)


class _CopyChecks:
    """Source and destination of a copy must not overlap."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def check_memcpy(self) -> None:
        destination, source, size = map(self._guest.library_argument, range(3))
        if destination != source:  # compilers themselves copy a struct to itself
            _check_overlap(destination, size, source, size)

    def check_strcpy(self) -> None:
        destination, source = self._pointers()
        size = self._string_length(source) + 1
        _check_overlap(destination, size, source, size)

    def check_strncpy(self) -> None:
        destination, source = self._pointers()
        size = self._guest.library_argument(2)
        _check_overlap(destination, size, source, min(size, self._string_length(source) + 1))

    def check_strcat(self) -> None:
        destination, source = self._pointers()
        size = self._string_length(source) + 1
        _check_overlap(destination, self._string_length(destination) + size, source, size)

    def check_strncat(self) -> None:
        destination, source = self._pointers()
        size = min(self._guest.library_argument(2), self._string_length(source))
        _check_overlap(destination, self._string_length(destination) + size + 1, source, size)

    def _pointers(self) -> tuple[int, int]:
        return self._guest.library_argument(0), self._guest.library_argument(1)

    def _string_length(self, address: int) -> int:
        """The length of a string, or the bytes up to unmapped memory."""
        length = 0
        while length < _MAX_SIZE:
            chunk = self._guest.read(address + length, _CHUNK)
            end = chunk.find(b"\0")
            if end >= 0 or not chunk:
                return length + max(end, 0)
            length += len(chunk)
        return length


def _check_overlap(first: int, first_size: int, second: int, second_size: int) -> None:
    if first_size and second_size and first < second + second_size and second < first + first_size:
        raise GuestTrapError("a copy between objects that overlap")

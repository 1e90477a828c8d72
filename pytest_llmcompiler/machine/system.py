"""Systems: the files that their tools make, and what a program and its C library find where they start."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from pytest_llmcompiler.machine.loader import Image, Relocations, load_object
from pytest_llmcompiler.program.image import Linked, Symbol, read_elf

_PAGE = 4096


class System(ABC):
    """A system, with the C library that cases are linked with."""

    errno: str
    """The library's function that gives the address of the error number."""

    @abstractmethod
    def program(self, image: bytes) -> Linked:
        """Read a linked program."""

    @abstractmethod
    def candidate(
        self, data: bytes, function: str, base: int, symbols: Mapping[str, int], relocations: Relocations
    ) -> Image:
        """Place an object that defines a function; see `load_object`, which raises what this may raise."""

    @abstractmethod
    def initial(self, stack: int) -> bytes:
        """What lies at the stack pointer where a process starts, up to a page of it."""

    @abstractmethod
    def settle(
        self,
        call: Callable[[str, tuple[int, ...]], int],
        read: Callable[[int, int], bytes],
        symbols: Mapping[str, Symbol],
    ) -> None:
        """Make the library write what is printed at once, after its start; `call` calls one of its functions."""


class LinuxMusl(System):
    """Linux, with a program linked statically with musl."""

    errno = "__errno_location"

    def program(self, image: bytes) -> Linked:
        """Read an ELF executable."""
        return read_elf(image)

    def candidate(
        self, data: bytes, function: str, base: int, symbols: Mapping[str, int], relocations: Relocations
    ) -> Image:
        """Place an ELF object."""
        return load_object(data, function, base, symbols, relocations)

    def initial(self, stack: int) -> bytes:
        """argc, argv, envp and the auxiliary vector, each ended by zero; AT_RANDOM (25) must point to 16 bytes,
        AT_PAGESZ (6) is read by the allocator."""
        words = (1, stack + 256, 0, 0, 6, _PAGE, 25, stack + 256, 0, 0)
        return b"".join(word.to_bytes(8, "little") for word in words).ljust(256, b"\0") + b"program\0" * 2

    def settle(
        self,
        call: Callable[[str, tuple[int, ...]], int],
        read: Callable[[int, int], bytes],
        symbols: Mapping[str, Symbol],
    ) -> None:
        """Standard output gets no buffer."""
        stdout = int.from_bytes(read(symbols["stdout"].address, 8), "little")
        unbuffered = 2  # _IONBF
        call("setvbuf", (stdout, 0, unbuffered, 0))


LINUX_MUSL = LinuxMusl()

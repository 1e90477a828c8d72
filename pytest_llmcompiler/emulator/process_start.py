"""What a program finds where Linux starts it, and what musl, the C library of every program here, wants to be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_llmcompiler.program.image import Symbol

_PAGE = 4096


def initial(stack: int) -> bytes:
    """What lies at the stack pointer where a process starts: argc, argv, envp and the auxiliary vector, each ended by
    zero; AT_RANDOM (25) must point to 16 bytes, AT_PAGESZ (6) is read by the allocator."""
    words = (1, stack + 256, 0, 0, 6, _PAGE, 25, stack + 256, 0, 0)
    return b"".join(word.to_bytes(8, "little") for word in words).ljust(256, b"\0") + b"program\0" * 2


def settle(
    call: Callable[[str, tuple[int, ...]], int], read: Callable[[int, int], bytes], symbols: Mapping[str, Symbol]
) -> None:
    """Give standard output no buffer, after the library's start; `call` calls one of its functions."""
    stdout = int.from_bytes(read(symbols["stdout"].address, 8), "little")
    unbuffered = 2  # _IONBF
    call("setvbuf", (stdout, 0, unbuffered, 0))

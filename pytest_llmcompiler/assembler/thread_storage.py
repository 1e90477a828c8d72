"""What the linker of candidates needs to know of thread-local variables.

The judged program has one thread and no thread-local storage: such variables are ordinary ones
(`program.thread_locals`).
Code asks for them in four ways, and each of them leads to the same address. `T` is the thread pointer:

    movl %fs:x@tpoff, %eax               the field is &x - T (local exec)
    movq x@gottpoff(%rip), %rcx          the slot holds &x - T (initial exec)
    movl %fs:(%rcx), %eax
    leaq x@tlsgd(%rip), %rdi             the slot is the pair 0, &x: the C library's function adds &x to the start of
    call __tls_get_addr@PLT              the variables of module 0, which is 0 in a program without thread-local storage
    leaq x@tlsld(%rip), %rdi             the pair 0, B for some B; `x@dtpoff` is &x - B
    leaq x@tlsdesc(%rip), %rax           the slot is a descriptor: a function that returns its argument, and &x - T
    call *x@tlscall(%rax)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from pytest_llmcompiler.program.image import ProgramImage

_PAGE = 4096
"""Bytes of a page: the unit of permissions on all targets."""
MODULE_BASE = "_TLS_MODULE_BASE_"
"""The name of the start of a module's thread-local variables, which linkers define."""


@dataclass(frozen=True)
class ThreadStorage:
    """The thread-local variables of a program and of the code that is loaded into it."""

    find_pointer: Callable[[], int]
    """Returns the thread pointer."""
    area: int
    """The page-aligned address from which a text's own thread-local variables are laid out: near the thread pointer,
    since fields with a distance from it have 24 bits on AArch64."""
    descriptor_function: bytes
    """Code of the function in descriptors (see `Relocations`)."""
    names: frozenset[str] = frozenset()
    """The names that mean a thread-local variable of the program."""


def describe_threads(
    program: ProgramImage, find_pointer: Callable[[], int], names: frozenset[str] = frozenset()
) -> ThreadStorage | None:
    """The thread-local variables of a program, of which `names` are, and of candidates for it. None for a foreign
    system, which reaches them in other ways. `find_pointer` is called once, if at all."""
    target = program.target
    if target.foreign_system:
        return None
    ends = (part.address + len(part.data) for part in program.segments if part.address < target.load_address)
    area = (max(ends) // _PAGE + 2) * _PAGE  # with a page in between that is not mapped
    return ThreadStorage(functools.cache(find_pointer), area, target.relocations.descriptor_function, names)

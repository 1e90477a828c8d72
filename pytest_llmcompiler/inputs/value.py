"""Inputs: the values that a run starts from, before they have addresses."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llmcompiler.program.types import Function, Type


@dataclass(frozen=True)
class Callback:
    """A function pointer to a stub of the harness. Calls of it are recorded; its results depend on its arguments."""

    type: Function
    number: int


@dataclass(frozen=True)
class Object:
    """A buffer of its own: `count` elements of type `element`, and where the pointers in it lead."""

    element: Type
    count: int
    data: bytes
    links: tuple[tuple[int, Object | Callback], ...] = ()
    """(offset in bytes, what the pointer there points to); a pointer without a link is null."""


@dataclass(frozen=True)
class Value:
    """One argument: the bytes of a C value, and where the pointers in it lead."""

    type: Type
    data: bytes
    links: tuple[tuple[int, Object | Callback], ...] = ()


@dataclass(frozen=True)
class Input:
    """One assignment of everything that a run depends on."""

    args: tuple[Value, ...]
    salt: int = 0
    """Chooses the results of callbacks and of functions that the program only declares."""
    globals: tuple[tuple[str, Value], ...] = ()
    """The global variables that do not have their initial value. Their values hold no pointers."""

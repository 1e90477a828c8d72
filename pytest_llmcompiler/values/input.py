"""Inputs: the values that a run starts from, before they have addresses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pytest_llmcompiler.values.c_types import Function, Type


@dataclass(frozen=True)
class Callback:
    """A function pointer to a stub of the harness. Calls of it are recorded; its results depend on its arguments."""

    type: Function
    number: int


@dataclass(frozen=True)
class Alias:
    """A pointer into an object that is reached before: the same one, a part of it, the end of it, or a way back."""

    element: Type
    """What it points to. Where the object is of another type by now, the pointer is null."""
    index: int
    """Which object, counted in the order in which `list_objects` gives them."""
    offset: int
    """In bytes; the object's size is the end of it."""


@dataclass(frozen=True)
class Object:
    """A buffer of its own: `count` elements of type `element`, and where the pointers in it lead."""

    element: Type
    count: int
    data: bytes
    links: Links = ()
    """(offset in bytes, what the pointer there points to); a pointer without a link is null."""


Target = Object | Callback | Alias
Links = tuple[tuple[int, Target], ...]


@dataclass(frozen=True)
class Value:
    """One argument: the bytes of a C value, and where the pointers in it lead."""

    type: Type
    data: bytes
    links: Links = ()


@dataclass(frozen=True)
class Input:
    """One assignment of everything that a run depends on."""

    args: tuple[Value, ...]
    environment_seed: int = 0
    """Chooses the results of callbacks and of functions that the program only declares, the clock, and whether there is
    memory."""
    globals: tuple[tuple[str, Value], ...] = ()
    """The global variables that do not have their initial value."""
    is_4gib_aligned: bool = False
    """Whether its objects begin at multiples of 4 GiB, so that code which looks at a part of a pointer takes it for
    null, rather than end there, where nothing follows."""

    @property
    def values(self) -> tuple[Value, ...]:
        """The arguments, then the values of global variables."""
        return (*self.args, *(value for _, value in self.globals))


def list_objects(made: Input) -> list[Object]:
    """The objects of an input, each before those that its own pointers lead to: the order that `Alias` counts in."""
    found: list[Object] = []
    for value in made.values:
        _collect(value.links, found)
    return found


def _collect(links: Links, found: list[Object]) -> None:
    for _, target in links:
        if isinstance(target, Object):
            found.append(target)
            _collect(target.links, found)


def replace_object(made: Input, number: int, new: Callable[[Object], Object]) -> Input:
    """The input with its object of a number (as `list_objects` counts) replaced. What pointed to its end still does."""
    counter = iter(range(1 << 30))
    before = after = 0

    def renewed(links: Links) -> Links:
        return tuple((at, renew(target)) for at, target in links)

    def renew(target: Target) -> Target:
        nonlocal before, after
        if isinstance(target, Alias) and target.index == number:
            return replace(target, offset=after if target.offset == before else min(target.offset, after))
        if not isinstance(target, Object):
            return target
        if next(counter) == number:
            before, target = len(target.data), new(target)
            after = len(target.data)
        return replace(target, links=renewed(target.links)) if target.links else target

    args = tuple(replace(value, links=renewed(value.links)) if value.links else value for value in made.args)
    globals = tuple((name, replace(value, links=renewed(value.links))) for name, value in made.globals)
    return replace(made, args=args, globals=globals)


def graft_argument(made: Input, other: Input, position: int) -> Input:
    """The input with an argument of another, and all that it leads to. Pointers between that and the rest are lost."""
    before, mine = _count(made.args[:position]), _count(made.args[position : position + 1])
    skipped, theirs = _count(other.args[:position]), _count(other.args[position : position + 1])

    def kept(index: int) -> int | None:
        if index < before:
            return index
        return None if index < before + mine else index - mine + theirs

    def taken(index: int) -> int | None:
        return index - skipped + before if skipped <= index < skipped + theirs else None

    args = [replace(value, links=_renumbered(value.links, kept)) for value in made.args]
    new = other.args[position]
    args[position] = replace(new, links=_renumbered(new.links, taken))
    globals = tuple((name, replace(value, links=_renumbered(value.links, kept))) for name, value in made.globals)
    return replace(made, args=tuple(args), globals=globals)


def _count(values: tuple[Value, ...]) -> int:
    return len(list_objects(Input(values)))


def _renumbered(links: Links, number: Callable[[int], int | None]) -> Links:
    """Links with other numbers for the objects that aliases speak of; without those for which there is none."""
    found: list[tuple[int, Target]] = []
    for at, target in links:
        if isinstance(target, Object):
            found.append((at, replace(target, links=_renumbered(target.links, number))))
        elif isinstance(target, Alias):
            index = number(target.index)
            found += [(at, replace(target, index=index))] if index is not None else []
        else:
            found.append((at, target))
    return tuple(found)

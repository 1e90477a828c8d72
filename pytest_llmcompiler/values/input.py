"""Inputs: the values that a run starts from, before its objects get addresses (see `layout`).

For `int first(struct list *l)` an input may be a pointer to an Object of one `struct list`. Its bytes hold a count of
3, and it links to an Object of three `int`s. A second pointer to the same object is an Alias, which names it by number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from pytest_llmcompiler.values.c_types import CHARACTER, TEXT, Function, Type


@dataclass(frozen=True)
class Callback:
    """A function pointer to a stub of the harness. The harness records calls and chooses results by the arguments."""

    type: Function
    number: int
    """Tells callbacks of one input apart."""


@dataclass(frozen=True)
class Alias:
    """A pointer into an object of the input that another pointer leads to: to its start, inside it, or to its end."""

    element: Type
    """The type of the object's elements. If the object has elements of another type, the pointer is null."""
    index: int
    """The number of the object, in the order of `list_objects`."""
    offset: int
    """Bytes from the start of the object. An offset of the object's size is its end."""


@dataclass(frozen=True)
class Object:
    """A buffer of `count` elements of type `element`, with the targets of the pointers in it."""

    element: Type
    count: int
    data: bytes
    links: Links = ()
    """Pairs of an offset in bytes and the target of the pointer there. A pointer without a link is null."""


@dataclass(frozen=True)
class SymbolPointer:
    """A pointer to a function or variable of the program itself."""

    symbol: str
    offset: int
    """Bytes from the start of the symbol."""


@dataclass(frozen=True)
class StandardStream:
    """A `FILE *` to a stream that every process has."""

    number: int
    """The file descriptor: 0 for `stdin`, 1 for `stdout`, 2 for `stderr`."""

    @property
    def name(self) -> str:
        return STREAM_NAMES[self.number]


STANDARD_INPUT = "standard input"
"""The name of a pseudo-variable among the global variables of an input. It leads to the text that a run can read from
standard input: an object like any other, so that all that changes objects changes this text too. No name of C is like
it. Where an input has no such variable, its environment seed chooses the text."""
STREAM_NAMES = ("stdin", "stdout", "stderr")
"""The variables of C that hold the standard streams, by file descriptor."""

PointerTarget = Object | Callback | Alias | SymbolPointer | StandardStream
Links = tuple[tuple[int, PointerTarget], ...]


@dataclass(frozen=True)
class Value:
    """The bytes of a C value, with the targets of the pointers in it."""

    type: Type
    data: bytes
    links: Links = ()


Crossing = Literal["first", "middle"]


@dataclass(frozen=True)
class Input:
    """One assignment of all values that a run depends on."""

    args: tuple[Value, ...]
    environment_seed: int = 0
    """Determines the results of callbacks and of functions that the program only declares, the clock, the initial value
    of `errno`, and whether memory can be allocated."""
    globals: tuple[tuple[str, Value], ...] = ()
    """The global variables that do not have their initial value."""
    is_4gib_aligned: bool = False
    """Whether objects start at multiples of 4 GiB, instead of ending at an unmapped page. Code that tests only the low
    bits of a pointer then takes it for null."""
    crossing: Crossing | None = None
    """Where the first objects lie across a multiple of 64 KiB: behind their first element, or in their middle. Code
    that adds to the lowest 16 bits of a pointer then goes back 64 KiB. None: no object does."""

    @property
    def values(self) -> tuple[Value, ...]:
        """The arguments, then the values of global variables."""
        return (*self.args, *(value for _, value in self.globals))


def point_to_text(text: bytes) -> Value:
    """The value of a pseudo-variable that leads to a text."""
    return Value(TEXT, bytes(TEXT.size), ((0, Object(CHARACTER, len(text), text)),))


def find_standard_input(input: Input) -> bytes | None:
    """The text that a run on an input can read from standard input; None where the environment seed chooses it."""
    for name, value in input.globals:
        target = value.links[0][1] if name == STANDARD_INPUT and value.links else None
        if isinstance(target, Object):
            return target.data
    return None


def find_text_number(input: Input) -> int | None:
    """The number of the object that is standard input; None where the input has none."""
    number = 0
    for value in input.args:
        number += _count_objects((value,))
    for name, value in input.globals:
        if name == STANDARD_INPUT:
            return number
        number += _count_objects((value,))
    return None


def set_standard_input(input: Input, text: bytes) -> Input:
    """The input with another text to read from standard input."""
    others = tuple(pair for pair in input.globals if pair[0] != STANDARD_INPUT)
    return replace(input, globals=(*others, (STANDARD_INPUT, point_to_text(text))))


def list_objects(input: Input) -> list[Object]:
    """The objects of an input in the order of their numbers: each object before those that its own pointers lead to."""
    objects: list[Object] = []
    for value in input.values:
        _collect_objects(value.links, objects)
    return objects


def _collect_objects(links: Links, objects: list[Object]) -> None:
    for _, target in links:
        if isinstance(target, Object):
            objects.append(target)
            _collect_objects(target.links, objects)


def replace_object(input: Input, number: int, change: Callable[[Object], Object]) -> Input:
    """The input with `change` applied to one object, which `number` names in the order of `list_objects`.

    An alias of the object's end still points to its end. An alias past the new end moves to the end.
    """
    seen = old_size = new_size = 0  # `seen` numbers the objects in the order of the walk

    def rebuild_links(links: Links) -> Links:
        return tuple([(at, rebuild(target)) for at, target in links])

    def rebuild(target: PointerTarget) -> PointerTarget:
        nonlocal seen, old_size, new_size
        if isinstance(target, Alias) and target.index == number:
            return replace(target, offset=new_size if target.offset == old_size else min(target.offset, new_size))
        if not isinstance(target, Object):
            return target
        seen += 1
        if seen == number + 1:
            old_size, target = len(target.data), change(target)
            new_size = len(target.data)
        if not target.links:
            return target
        return Object(target.element, target.count, target.data, rebuild_links(target.links))

    def rebuild_value(value: Value) -> Value:
        return Value(value.type, value.data, rebuild_links(value.links)) if value.links else value

    args = tuple([rebuild_value(value) for value in input.args])
    globals = tuple([(name, rebuild_value(value)) for name, value in input.globals])
    return Input(args, input.environment_seed, globals, input.is_4gib_aligned, input.crossing)


def graft_argument(input: Input, donor: Input, position: int) -> Input:
    """The input with one argument of another input, and all objects that the argument leads to.

    Aliases between those objects and the rest of the input are lost: these pointers become null.
    """
    first, removed = _count_objects(input.args[:position]), _count_objects(input.args[position : position + 1])
    donor_first, added = _count_objects(donor.args[:position]), _count_objects(donor.args[position : position + 1])

    def renumber_own(index: int) -> int | None:
        if index < first:
            return index
        return None if index < first + removed else index - removed + added

    def renumber_donated(index: int) -> int | None:
        return index - donor_first + first if donor_first <= index < donor_first + added else None

    args = [replace(value, links=_renumber(value.links, renumber_own)) for value in input.args]
    donated = donor.args[position]
    args[position] = replace(donated, links=_renumber(donated.links, renumber_donated))
    globals = tuple((name, replace(value, links=_renumber(value.links, renumber_own))) for name, value in input.globals)
    return replace(input, args=tuple(args), globals=globals)


def drop_links(input: Input, is_dropped: Callable[[str, int], bool]) -> Input:
    """The input with some pointers of global variables null, by the variable's name and the pointer's offset.

    The objects that these lead to are gone, and aliases of them are null.
    """
    old, new = _count_objects(input.args), _count_objects(input.args)
    numbers = {number: number for number in range(old)}
    for name, value in input.globals:
        for link in value.links:
            count = _count_objects((replace(value, links=(link,)),))
            if not is_dropped(name, link[0]):
                numbers |= {old + index: new + index for index in range(count)}
                new += count
            old += count
    args = tuple(replace(value, links=_renumber(value.links, numbers.get)) for value in input.args)
    globals = tuple(
        (name, replace(value, links=_renumber(kept, numbers.get)))
        for name, value in input.globals
        for kept in [tuple(link for link in value.links if not is_dropped(name, link[0]))]
    )
    return replace(input, args=args, globals=globals)


def set_pointer(input: Input, number: int, offset: int, target: PointerTarget | None) -> Input:
    """The input with another target of the pointer at an offset in an object; None: null. An alias has the number that
    its object has before, and a new object has no links.

    The objects that the pointer led to are gone, as far as it led to its own, and aliases of them are null.
    """
    owner = list_objects(input)[number]
    before = tuple(link for link in owner.links if link[0] < offset)
    first = number + 1 + _count_linked(before)
    removed = _count_linked(tuple(link for link in owner.links if link[0] == offset))
    added = int(isinstance(target, Object))

    def renumber(index: int) -> int | None:
        if index < first:
            return index
        return None if index < first + removed else index - removed + added

    behind = tuple(link for link in owner.links if link[0] > offset)
    links = (*before, *(((offset, target),) if target is not None else ()), *behind)
    changed = replace_object(input, number, lambda old: replace(old, links=links))
    return replace(
        changed,
        args=tuple(replace(value, links=_renumber(value.links, renumber)) for value in changed.args),
        globals=tuple(
            (name, replace(value, links=_renumber(value.links, renumber))) for name, value in changed.globals
        ),
    )


def _count_linked(links: Links) -> int:
    objects: list[Object] = []
    _collect_objects(links, objects)
    return len(objects)


def _count_objects(values: tuple[Value, ...]) -> int:
    return len(list_objects(Input(values)))


def _renumber(links: Links, new_number: Callable[[int], int | None]) -> Links:
    """Links with new numbers in their aliases. An alias whose new number is None is dropped."""
    renumbered: list[tuple[int, PointerTarget]] = []
    for at, target in links:
        if isinstance(target, Object):
            renumbered.append((at, replace(target, links=_renumber(target.links, new_number))))
        elif isinstance(target, Alias):
            index = new_number(target.index)
            renumbered += [(at, replace(target, index=index))] if index is not None else []
        else:
            renumbered.append((at, target))
    return tuple(renumbered)

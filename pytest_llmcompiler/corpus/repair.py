"""Repairing inputs on which the function is not defined: longer buffers, terminated texts, circular lists.

A fault tells how to repair an input. For `int third(const int *p) { return p[2]; }` and an object of one `int`, the
probe faults at an access to bytes 8 to 11. The buffer is lengthened until there is no fault, and then fitted: bisection
finds the least number of elements, here 3. A buffer without slack shows every access past its end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from pytest_llmcompiler.corpus.probing import Overrun, UndefinedInputError
from pytest_llmcompiler.corpus.relations import relations_by_name
from pytest_llmcompiler.values.c_types import Pointer, Struct
from pytest_llmcompiler.values.input import Alias, Input, Links, Object, list_objects, replace_object
from pytest_llmcompiler.values.layout import MAX_OBJECT_BYTES

_MAX_GROWTHS = 6
"""How often a buffer is lengthened before the input is given up. Each time it gets twice the bytes that it needed."""
_MAX_FITTED = 64
"""Inputs of a corpus whose buffers are fitted: each costs about ten probe runs."""


class Repairer:
    """Repairs inputs with the help of the corpus.

    `probe` runs an input and raises UndefinedInputError where the function is not defined on it. `add_if_defined` adds
    an input to the corpus and tells whether the function is defined on it.
    """

    def __init__(self, probe: Callable[[Input], object], add_if_defined: Callable[[Input], bool]) -> None:
        self._probe, self._add_if_defined = probe, add_if_defined
        self.fitted: list[tuple[Input, int]] = []
        """Inputs in which an object, by its number, has the least number of elements that the function needs."""

    def repair(self, input: Input, error: UndefinedInputError) -> None:
        """Add an input like this one, if a small change makes the function defined on it."""
        if error.may_use_null:
            self._try_adding(close_rings(input))
        elif error.overrun and not self._try_adding(append_terminator(input, error.overrun.object_number)):
            self._fit(input, error.overrun)

    def _try_adding(self, input: Input | None) -> bool:
        return input is not None and self._add_if_defined(input)

    def _fit(self, input: Input, overrun: Overrun) -> None:
        """Add the input with the least number of elements in the object that was too small."""
        number = overrun.object_number
        if len(self.fitted) >= _MAX_FITTED:
            return
        too_few, enough = list_objects(input)[number].count, self._find_sufficient_count(input, overrun)
        if enough is None:
            return
        while enough - too_few > 1:
            middle = (too_few + enough) // 2
            is_enough = self._is_defined(resize_object(input, number, middle))
            too_few, enough = (too_few, middle) if is_enough else (middle, enough)
        fitted = resize_object(input, number, enough)
        if self._add_if_defined(fitted):
            self.fitted.append((fitted, number))

    def _find_sufficient_count(self, input: Input, overrun: Overrun) -> int | None:
        """A number of elements with which the object is large enough; None where none is found."""
        size = max(list_objects(input)[overrun.object_number].element.size, 1)
        needed = overrun.needed_bytes
        for _ in range(_MAX_GROWTHS):
            count = 2 * -(-needed // size)
            if count * size > MAX_OBJECT_BYTES:
                return None
            try:
                self._probe(resize_object(input, overrun.object_number, count))
            except UndefinedInputError as error:
                if error.overrun is None or error.overrun.object_number != overrun.object_number:
                    return None
                needed = error.overrun.needed_bytes
            else:
                return count
        return None

    def _is_defined(self, input: Input) -> bool:
        try:
            self._probe(input)
        except UndefinedInputError:
            return False
        return True


def resize_object(input: Input, number: int, count: int) -> Input:
    """The input with `count` elements in one object. Its present bytes are repeated or cut off."""

    def resize(target: Object) -> Object:
        size = count * target.element.size
        data = target.data or bytes(max(target.element.size, 1))
        return replace(target, count=count, data=(data * (size // len(data) + 1))[:size])

    return replace_object(input, number, resize)


def append_terminator(input: Input, number: int) -> Input | None:
    """The input with a zero byte after the text in one object; None where the object is no text."""
    target = list_objects(input)[number]
    if target.element.size != 1 or target.links:
        return None
    return replace_object(input, number, lambda old: replace(old, count=old.count + 1, data=old.data + b"\0"))


def close_rings(input: Input) -> Input | None:
    """The input with its lists made circular; None where it has no null pointer between structs of one type.

    A null pointer in a struct of a type is set to the first struct of that type. If the name of the pointer says that
    it leads back (`prev`), it is set to the struct before; for the first struct this is the last one.
    """
    objects = list_objects(input)
    rings: dict[Struct, list[int]] = defaultdict(list)
    for number, target in enumerate(objects):
        if isinstance(target.element, Struct) and target.count == 1:
            rings[target.element].append(number)
    closed = input
    for type, numbers in rings.items():
        for position, number in enumerate(numbers):
            target_of = {False: numbers[0], True: numbers[position - 1]}
            links = tuple(_closing_links(type, objects[number].links, target_of))
            closed = replace_object(closed, number, lambda old, links=links: replace(old, links=(*old.links, *links)))  # type: ignore[misc]
    return None if closed == input else closed


def _closing_links(type: Struct, links: Links, target_of: Mapping[bool, int]) -> Iterator[tuple[int, Alias]]:
    """Links for the null pointers of a struct. `target_of` has the object for pointers that lead back (True) or not."""
    linked = {at for at, _ in links}
    back = relations_by_name([field.name for field in type.fields], [field.type for field in type.fields]).back
    for index, field in enumerate(type.fields):
        if isinstance(field.type, Pointer) and field.type.target is type and field.offset not in linked:
            yield field.offset, Alias(type, target_of[index in back], 0)

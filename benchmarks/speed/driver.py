"""A C program that calls a function on five inputs of its suite and asserts what the reference did.

People write such programs by hand, and published harnesses compile one with every answer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from quality.asserts import COUNT, choose_assert_inputs

from pytest_llmcompiler.judge.harness import Harness
from pytest_llmcompiler.judge.oracle import SuiteEntry
from pytest_llmcompiler.values.c_types import Float, Function, Int, Pointer, Struct, Type, build_value_mask
from pytest_llmcompiler.values.input import Alias, Input, Links, Object, Value, list_objects

_MAX_BYTES = 4096
"""Bytes of all objects of an input that an assert uses: nobody writes longer ones by hand."""
_HEADING = (
    "#include <assert.h>\n#include <stdint.h>\n#include <string.h>\n"
    "#define POINT(at, to) (*(void **)(at) = (void *)(to))\n"
)


class NotExpressibleError(Exception):
    """A function that gets no driver: callbacks, variable arguments, bit-fields, too few plain inputs."""


def write_driver(harness: Harness) -> str:
    """The source of the driver. Raises NotExpressibleError."""
    signature = harness.reference.signatures[harness.function]
    if signature.variadic:
        raise NotExpressibleError("variable arguments")
    types = _TypeNames()
    params = ", ".join(types.name(param.type) for param in signature.params) or "void"
    result = types.name(signature.result) if signature.result else "void"
    blocks = list(itertools.islice(_write_blocks(harness, signature, types), COUNT))
    if len(blocks) < COUNT:
        raise NotExpressibleError("fewer than five plain inputs")
    prototype = f'{result} under_test({params}) __asm__("{harness.function}");'
    variables = {name: type.size for name, type in harness.reference.input_globals(harness.function).items()}
    lines = [_HEADING, *types.definitions, prototype, *_declare(variables), "int main(void)", "{"]
    lines += [f"    memcpy(saved_{number}, g{number}, {size});" for number, size in enumerate(variables.values())]
    lines += [*blocks, "    return 0;", "}"]
    return "\n".join(lines) + "\n"


def _declare(variables: Mapping[str, int]) -> Iterator[str]:
    """The variables that the function uses, and copies of their initial contents: each input starts from those."""
    for number, (name, size) in enumerate(variables.items()):
        yield f'extern unsigned char g{number}[] __asm__("{name}");'
        yield f"static unsigned char saved_{number}[{size}];"


def _write_blocks(harness: Harness, signature: Function, types: _TypeNames) -> Iterator[str]:
    """A block of C for each input, the best ones first."""
    entries, variables = harness.corpus.entries, harness.reference.input_globals(harness.function)
    for input in dict.fromkeys([*choose_assert_inputs(harness), *entries]):
        is_short = sum(len(target.data) for target in list_objects(input)) <= _MAX_BYTES
        if is_short and entries[input].expected.outcome == "return":
            try:
                yield "\n".join(_Block(input, entries[input], signature, types, variables).lines)
            except NotExpressibleError:
                continue


class _TypeNames:
    """Names of C types that are passed as the originals are, with the structs that they need."""

    def __init__(self) -> None:
        self.definitions: list[str] = []
        self._structs: dict[int, str] = {}

    def name(self, type: Type) -> str:
        """The name of a type. Raises NotExpressibleError."""
        if isinstance(type, Int) and type.size <= 8:
            return "_Bool" if type.boolean else f"{'' if type.signed else 'u'}int{8 * type.size}_t"
        if isinstance(type, Float):
            return "float" if type.size == 4 else "double"
        if isinstance(type, Pointer):
            return "void *"
        if isinstance(type, Struct) and not type.opaque and not type.union:
            return self._structs.get(id(type)) or self._define(type)
        raise NotExpressibleError("a type that the driver does not write")

    def _define(self, struct: Struct) -> str:
        if any(member.bits for member in struct.fields):
            raise NotExpressibleError("a bit-field by value")
        members = " ".join(f"{self.name(member.type)} m{number};" for number, member in enumerate(struct.fields))
        name = f"struct s{len(self._structs)}"
        self._structs[id(struct)] = name
        self.definitions.append(f"{name} {{ {members} }};")
        self.definitions.append(f'_Static_assert(sizeof({name}) == {struct.size}, "layout");')
        return name


class _Block:
    """One input: its objects, the call, the asserts."""

    def __init__(
        self,
        input: Input,
        entry: SuiteEntry,
        signature: Function,
        types: _TypeNames,
        variables: Mapping[str, Type],
    ) -> None:
        self._types, self._entry = types, entry
        self._definitions: list[str] = []
        self._links: list[str] = []
        self._objects = 0
        args = [self._write_value(f"a{number}", value) for number, value in enumerate(input.args)]
        values = dict(input.globals)
        for number, (name, type) in enumerate(variables.items()):
            if name not in values:
                self._links.append(f"    memcpy(g{number}, saved_{number}, {type.size});")
        for number, value in ((list(variables).index(name), value) for name, value in input.globals):
            self._links.append(f"    memcpy(g{number}, (unsigned char[]){_bytes(value.data)}, {len(value.data)});")
            self._link(f"g{number}", value.links)
        call = f"under_test({', '.join(args)})"
        self.lines = ["    {", *self._definitions, *self._links, *self._call(call, signature.result)]
        self.lines += [*self._assert_objects(), "    }"]

    def _write_value(self, name: str, value: Value) -> str:
        """The C expression of an argument."""
        type = value.type
        if isinstance(type, Int):
            return f"({self._types.name(type)}){int.from_bytes(value.data, 'little'):#x}ULL"
        if isinstance(type, Pointer):
            self._definitions.append(f"    void *{name} = (void *){int.from_bytes(value.data, 'little'):#x};")
            self._link(f"&{name}", value.links)
            return name
        self._definitions.append(f"    {self._types.name(type)} {name};")
        self._links.append(f"    memcpy(&{name}, (unsigned char[]){_bytes(value.data)}, sizeof {name});")
        self._link(f"&{name}", value.links)
        return name

    def _link(self, place: str, links: Links) -> None:
        """Write the pointers of a value or an object, and the objects that they lead to in the order of numbers."""
        for at, target in links:
            if isinstance(target, Alias):
                to = f"o{target.index} + {target.offset}"
            elif isinstance(target, Object):
                to = f"o{self._objects}"
                self._objects += 1
                size = max(1, len(target.data))
                place_of = "static unsigned char __attribute__((aligned(16)))"
                self._definitions.append(f"    {place_of} {to}[{size}] = {_bytes(target.data)};")
                self._link(to, target.links)
            else:
                raise NotExpressibleError("a pointer to a function, a variable or a stream")
            self._links.append(f"    POINT((char *){place} + {at}, {to});")

    def _call(self, call: str, result: Type | None) -> Iterator[str]:
        if result is None:
            yield f"    {call};"
            return
        yield f"    {self._types.name(result)} r = {call};"
        if isinstance(result, Pointer):
            is_null = not any(self._entry.expected.result)
            yield f"    assert({'!' if is_null else ''}r);"
        elif self._entry.layout.result:
            yield from _assert_bytes("&r", result, self._contents(len(self._entry.layout.objects) - 1))
        else:
            yield from _assert_bytes("&r", result, self._entry.expected.result[: result.size])

    def _assert_objects(self) -> Iterator[str]:
        for number in range(self._objects):
            target = self._entry.layout.objects[number]
            yield from _assert_bytes(f"o{number}", target.element, self._contents(number), target.count)

    def _contents(self, number: int) -> bytes:
        """The bytes of an object after the reference's run."""
        target = self._entry.layout.objects[number]
        start = target.address - target.slot.address
        return self._entry.expected.slots[number][start : start + target.size]


def _assert_bytes(place: str, element: Type, data: bytes, count: int = 1) -> Iterator[str]:
    """Asserts about the bytes of an object that are neither padding nor pointers."""
    mask = build_value_mask(element, pointers=False) * count
    start = 0
    for is_compared, run in itertools.groupby(mask[: len(data)], lambda byte: byte == 0xFF):
        size = len(list(run))
        if is_compared:
            part = _bytes(data[start : start + size])
            yield f"    assert(!memcmp((char *){place} + {start}, (unsigned char[]){part}, {size}));"
        start += size


def _bytes(data: Sequence[int]) -> str:
    return f"{{{', '.join(map(str, data)) or '0'}}}"

"""A scene as C: the tables that `runner.c` runs a candidate by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_llmcompiler.errors import ReproSourceError
from pytest_llmcompiler.judge.reproducer import (
    ArgumentPart,
    EffectPart,
    ExternalFunctionPart,
    GlobalPart,
    ObjectPart,
    ReplyPart,
    Reproducer,
    ResultPart,
)
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.program.ir_rewrites import PADDING_BYTES
from pytest_llmcompiler.values.layout import ALIGNED_SLOTS, SLOTS

_GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{number}" for number in range(8, 16)))
_NUMBERS = {name: number for number, name in enumerate(_GENERAL)} | {f"xmm{n}": 16 + n for n in range(16)}
_ROW = 48
"""Bytes in one line of a literal."""
_NAME = re.compile(r"[ !#-\[\]-~]+")
"""Symbols that can be written in C: no quotes, no backslashes."""


@dataclass(frozen=True)
class ReproSurroundings:
    """What a scene does not tell: the program around the function."""

    function: str
    reference: str
    """The name of the reference's own code for it."""
    pads: dict[str, int]
    """The variables that hold constants with pads around them, and their sizes."""
    stubs: tuple[str, ...]
    """The functions that the case only declares."""
    missing: tuple[str, ...]
    """The variables that it only declares."""
    narrow: frozenset[str]
    """Library functions that return an `int`."""
    watched: tuple[str, ...]
    """The functions of which calls are watched."""
    functions: frozenset[str]
    """The functions that the program itself defines."""


def thunk(name: str) -> str:
    """The name of the code that stands in front of a watched function."""
    return f"llmc.call.{name}"


def source_of(reproducer: Reproducer, around: ReproSurroundings, verdict: Verdict) -> str:
    """The C file. Raises NoSourceError."""
    try:
        return "\n".join(_CSourceWriter(reproducer, around, verdict).lines()) + "\n"
    except (LookupError, TypeError, ValueError, AttributeError) as error:  # whoever made it may have been taken over
        raise ReproSourceError(f"the scene of the failure can't be read: {error!r}") from error


class _CSourceWriter:
    def __init__(self, reproducer: Reproducer, around: ReproSurroundings, verdict: Verdict) -> None:
        self._reproducer, self._around, self._verdict = reproducer, around, verdict
        self._tables = 0

    def lines(self) -> Iterator[str]:
        """All of it: what the input is made of first, what only the kit needs last."""
        reproducer, around = self._reproducer, self._around
        for text in (f"{around.function}, on the smallest input that was found to show", str(self._verdict)):
            yield from (f"// {_plain(line)}" for line in text.splitlines())
        yield from ("", '#include "runner.h"', "")
        yield f"void candidate(void) __asm__({_symbol(around.function)});"
        yield f"void reference(void) __asm__({_symbol(around.reference)});"
        yield ""
        watched = "".join(f"{_string(name)}, " for name in around.watched)
        body = [
            f".function = {_string(around.function)},",
            f".verdict = {_string(': '.join(filter(None, (self._verdict.kind, self._verdict.message))))},",
            f".shown = (const char *const[]){{{', '.join(map(_string, reproducer['shown']))}, 0}},",
            ".candidate = candidate,",
            ".reference = reference,",
            f".thunks = (const char *const[]){{{watched}0}},",
        ]
        tables = [([], [".whole = 1,"])] if reproducer["whole"] else list(self._input())
        for before, initialisers in tables:
            yield from before
            body += initialisers
        yield from ("", "// -- what lies around it", "", *self._slots(), *self._outside(), *self._unbuffered())
        yield from ("", "const struct llmc_scene llmc_scene = {", *(f"    {line}" for line in body), "};")

    def _slots(self) -> Iterator[str]:
        slots = [f"{{{slot.address:#x}, {slot.size}}}" for slot in (*SLOTS, *ALIGNED_SLOTS)]
        yield f"const struct llmc_slot llmc_slots[] = {{{', '.join(slots)}}};"
        yield f"const int llmc_slots_count = {len(slots)};"

    def _outside(self) -> Iterator[str]:
        """The functions and variables that are not there, and what stands before those that are."""
        for number, name in enumerate(self._around.watched):
            macro = "LLMC_NARROW" if name in self._around.narrow else "LLMC_THUNK"
            yield f"{macro}({number + 1}, {_symbol(name)});"
        for number, name in enumerate(self._around.stubs):
            yield f"LLMC_STUB({0x1000 + number}, {_symbol(name)});"
        for number, name in enumerate(self._around.missing):
            yield f"byte missing_{number}[4096] __asm__({_symbol(name)}) __attribute__((aligned(16)));"

    def _unbuffered(self) -> Iterator[str]:
        if "main" not in self._around.functions:
            yield "int main(void) { return 0; }"
        own = {"setvbuf", "stdout"} & self._around.functions
        if own:
            yield "void llmc_unbuffer(void) {}"
        else:
            yield "int setvbuf(void *, char *, int, word);"
            yield "extern void *const stdout;"
            yield "void llmc_unbuffer(void) { setvbuf(stdout, 0, 2, 0); }"

    def _input(self) -> Iterator[tuple[list[str], list[str]]]:
        """Tables, and what the scene says of them."""
        reproducer = self._reproducer
        yield self._table("objects", "llmc_object", [self._object(one) for one in reproducer["objects"]])
        yield self._table("globals", "llmc_global", [self._global(one) for one in reproducer["globals"]])
        yield self._stack()
        labels = {one["address"]: one["label"] for one in reproducer["objects"]}
        yield _registers("entry", reproducer["entry"], labels), [".entry = &entry,"]
        yield _registers("lost", reproducer["lost"], {}), [".lost = &lost,"]
        yield [], [f".garbage = {_bytes(reproducer['garbage'])},", f".unset = {_bytes(reproducer['uninitialised'])},"]
        yield self._table("pads", "llmc_pad", [self._pad(name, size) for name, size in self._around.pads.items()])
        yield self._table("callbacks", "llmc_outside", [self._callee(one) for one in reproducer["callbacks"]])
        types = {one["name"]: one for one in reproducer["externals"]}
        unknown = [name for name in self._around.stubs if name not in types]
        if unknown:
            raise ReproSourceError(f"the types of {unknown[0]} are not known")
        yield self._table(
            "externals", "llmc_outside", [self._callee(types[n]) for n in self._around.stubs], counted=False
        )
        yield self._replies()
        yield self._result()
        yield (
            [],
            [
                f".low = {int(reproducer['low'])}, .shortage = {int(reproducer['shortage'])},",
                f".errno_before = {int(reproducer['errno'][0])}, .errno_matters = {int(reproducer['errno'][1])},",
            ],
        )

    def _stack(self) -> tuple[list[str], list[str]]:
        data = bytes.fromhex(self._reproducer["stack"])
        return [f"static const byte stack[] = {_literal(data)};"], [f".stack = stack, .stack_size = {len(data)},"]

    def _table(
        self, name: str, kind: str, rows: Sequence[tuple[list[str], str]], *, counted: bool = True
    ) -> tuple[list[str], list[str]]:
        before = [line for lines, _ in rows for line in lines]
        if not rows:
            return [], []
        table = [f"static const struct {kind} {name}[] = {{", *(f"    {{{row}}}," for _, row in rows), "};"]
        return [*before, *table], [f".{name} = {name}," + (f" .{name}_count = {len(rows)}," if counted else "")]

    def _data(self, text: str | None) -> tuple[list[str], str]:
        """A constant that holds bytes, and its name; null where there are none."""
        if text is None:
            return [], "0"
        self._tables += 1
        name = f"data_{self._tables}"
        return [f"static const byte {name}[] = {_literal(bytes.fromhex(text))};"], name

    def _object(self, one: ObjectPart) -> tuple[list[str], str]:
        data, data_name = self._data(one["data"])
        mask, mask_name = self._data(one["mask"] or None)
        slot = ", ".join(f"{int(number):#x}" for number in one["slot"])
        place = f"{int(one['address']):#x}, {int(one['size'])}, {{{slot}}}"
        return [*data, *mask], f"{_string(one['label'])}, {place}, {data_name}, {mask_name}"

    def _global(self, one: GlobalPart) -> tuple[list[str], str]:
        data, data_name = self._data(one["data"])
        mask, mask_name = self._data(one["mask"] or None)
        place, place_name = self._variable(one["name"])
        row = f"{_string(one['name'])}, {place_name}, {int(one['size'])}, {data_name}, {mask_name}"
        return [*place, *data, *mask], row

    def _variable(self, name: str) -> tuple[list[str], str]:
        if name in self._around.missing:
            return [], f"missing_{self._around.missing.index(name)}"
        self._tables += 1
        return [f"extern byte variable_{self._tables}[] __asm__({_symbol(name)});"], f"variable_{self._tables}"

    def _pad(self, name: str, size: int) -> tuple[list[str], str]:
        place, place_name = self._variable(name)
        return place, f"{place_name}, {size}, {PADDING_BYTES}"

    def _callee(self, one: ExternalFunctionPart) -> tuple[list[str], str]:
        rows = [self._argument(argument) for argument in one["arguments"]]
        self._tables += 1
        name = f"arguments_{self._tables}"
        before = [line for lines, _ in rows for line in lines]
        table = f"static const struct llmc_argument {name}[] = {{{', '.join(f'{{{row}}}' for _, row in rows)}}};"
        return [*before, table], f"{_string(one['name'])}, {name}, {len(rows)}"

    def _argument(self, one: ArgumentPart) -> tuple[list[str], str]:
        kinds = ("number", "address", "text", "data")
        registers = [_NUMBERS[name] for name in one["registers"][:2]]
        registers += [-1] * (2 - len(registers))
        mask, mask_name = self._data(one["mask"] or None)
        place = f"{{{registers[0]}, {registers[1]}}}, {int(one['offset'])}, {int(one['size'])}, {int(one['pointee'])}"
        return mask, f"{kinds.index(one['kind'])}, {place}, {mask_name}"

    def _replies(self) -> tuple[list[str], list[str]]:
        before: list[str] = []
        names = []
        for who in ("reference", "candidate"):
            rows = [self._reply(one) for one in self._reproducer["replies"][who]]
            before += [line for lines, _ in rows for line in lines]
            names.append(f"replies_of_{who}")
            inner = "\n".join(f"    {{{row}}}," for _, row in rows)
            before.append(f"static const struct llmc_reply {names[-1]}[] = {{\n{inner}\n}};")
        counts = [str(len(self._reproducer["replies"][who])) for who in ("reference", "candidate")]
        return before, [f".replies = {{{', '.join(names)}}}, .replies_count = {{{', '.join(counts)}}},"]

    def _reply(self, one: ReplyPart) -> tuple[list[str], str]:
        callee = one["callee"]
        number = 0x1000 + self._around.stubs.index(callee) if isinstance(callee, str) else int(callee)
        effects = [self._effect(effect) for effect in one["effects"]]
        results = ", ".join(f"{{{self._given(result)}}}" for result in one["results"])
        self._tables += 1
        name = f"of_call_{self._tables}"
        tables = [
            f"static const struct llmc_result results_{name}[] = {{{results}}};",
            f"static const struct llmc_effect effects_{name}[] = {{{', '.join(f'{{{row}}}' for _, row in effects)}}};",
        ]
        before = [line for lines, _ in effects for line in lines]
        row = f"{number}, results_{name}, {len(one['results'])}, effects_{name}, {len(effects)}"
        return [*before, *tables], row

    def _effect(self, one: EffectPart) -> tuple[list[str], str]:
        data, data_name = self._data(one["data"])
        place, place_name = self._variable(one["symbol"]) if one["symbol"] else ([], "0")
        size = len(bytes.fromhex(one["data"]))
        return [*place, *data], f"{place_name}, {int(one['address']):#x}, {data_name}, {size}, {int(one['made'])}"

    def _given(self, one: ResultPart) -> str:
        mask = (1 << 8 * min(int(one["size"]), 8)) - 1
        same = _NUMBERS[one["same_as"]] if one["same_as"] else -1
        return f"{_NUMBERS[one['register']]}, {int(one['value']):#x}ul, {mask:#x}ul, {same}"

    def _result(self) -> tuple[list[str], list[str]]:
        result = self._reproducer["result"]
        if result is None:
            return [], []
        before, row = self._argument(result)
        return [*before, f"static const struct llmc_argument result = {{{row}}};"], [
            f".result = &result, .result_count = {len(result['registers'])},",
            f".result_signed = {int(self._reproducer['result_signed'])},",
            f".result_float = {int(self._reproducer['result_float'])},",
        ]


def _registers(name: str, values: dict[str, int], labels: dict[int, str]) -> list[str]:
    """A table of registers, with the labels of the objects whose addresses they hold."""
    lines = [f"static const struct llmc_registers {name} = {{", "    {"]
    for register in _GENERAL:
        label = labels.get(values[register], "")
        note = f" // {_plain(label)}" if label else ""
        lines.append(f"        [{register.upper()}] = {int(values[register]):#x}ul,{note}")
    halves = ((int(values[f"xmm{n}"]) & (1 << 64) - 1, int(values[f"xmm{n}"]) >> 64) for n in range(16))
    vectors = [f"        {{{low:#x}ul, {high:#x}ul}}," for low, high in halves]
    return [
        *lines,
        "    },",
        "    {",
        *vectors,
        "    },",
        "    .flags = 0x202, .mxcsr = 0x1f80, .control = 0x37f,",
        "};",
    ]


def _bytes(text: str) -> str:
    return "{" + ", ".join(f"{byte:#x}" for byte in bytes.fromhex(text)) + "}"


def _literal(data: bytes) -> str:
    """Bytes as string literals; C adds a zero, which nobody looks at."""
    rows = (data[at : at + _ROW] for at in range(0, len(data), _ROW))
    return "\n    ".join(f'"{"".join(map(_character, row))}"' for row in rows) or '""'


def _character(byte: int) -> str:
    plain = 32 <= byte < 127 and byte not in b'"\\?'
    return chr(byte) if plain else {10: "\\n"}.get(byte) or f"\\{byte:03o}"


def _string(text: str) -> str:
    return _literal(text.encode("utf-8", "replace")).replace("\n    ", " ")


def _symbol(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ReproSourceError(f"the name {name!r} can't be written in C")
    return f'"{name}"'


def _plain(line: str) -> str:
    """A line for a comment: nothing in it may go on to the next one."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line).rstrip("\\ ")

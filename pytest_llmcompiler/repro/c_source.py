"""The file `input.c` of a reproducer: the tables from which `runner.c` runs a candidate."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_llmcompiler.emulator.native.messages import GENERAL_REGISTERS, VECTOR_REGISTERS
from pytest_llmcompiler.emulator.upper_parts import VECTOR_BYTES
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
    SymbolPart,
)
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.program.ir_rewrites import PADDING_BYTES
from pytest_llmcompiler.program.stand_ins import DeclaredVariable
from pytest_llmcompiler.repro.c_literals import (
    format_byte_array,
    format_comment,
    format_data,
    format_string,
    quote_symbol,
)
from pytest_llmcompiler.values.input import STREAM_NAMES
from pytest_llmcompiler.values.layout import ALIGNED_SLOTS, SLOTS, STREAMS

_VECTOR_WORDS, _WORD_MASK = VECTOR_BYTES // 8, (1 << 64) - 1
_REGISTER_NUMBERS = {
    **{name: number for number, name in enumerate(GENERAL_REGISTERS)},
    **{name: len(GENERAL_REGISTERS) + index * _VECTOR_WORDS for index, name in enumerate(VECTOR_REGISTERS)},
}
"""As in `foreign_code.h`: general registers, instruction pointer and flags, and behind them vector registers, of which
each word has a number."""
_STATE_REGISTERS = GENERAL_REGISTERS[: GENERAL_REGISTERS.index("rip")]
"""The general registers in the tables of a state; the flags have another name in C."""
_ARGUMENT_KINDS = ("number", "address", "text", "data")
"""In the order of the enumeration in `runner.h`."""
_MAX_INPUT_BYTES = 1024
"""Bytes of standard input, as many as `runner.h` has room for."""
_FIRST_EXTERNAL = 0x1000
"""The number of the first external function, `LLMC_EXTERNAL` in `runner.h`."""


@dataclass(frozen=True)
class ReproSurroundings:
    """The program around the function, of which the reproducer says nothing."""

    function: str
    reference: str
    """The symbol of the reference's own code for the function."""
    pads: dict[str, int]
    """The variables that hold a constant with padding around it, and their sizes in bytes."""
    stubs: tuple[str, ...]
    """The functions that the case only declares."""
    declared_variables: tuple[DeclaredVariable, ...]
    """The variables that the case only declares."""
    thread_locals: frozenset[str]
    """The thread-local variables, declared ones among them."""
    int_functions: frozenset[str]
    """Library functions that return an `int`, and so leave half of the register undefined."""
    checked_functions: tuple[str, ...]
    """The functions whose calls are checked for stack alignment."""
    functions: frozenset[str]
    """The functions that the program itself defines."""


def thunk_symbol(name: str) -> str:
    """The symbol of the code in front of a function whose calls are checked."""
    return f"llmc.call.{name}"


def format_source(reproducer: Reproducer, surroundings: ReproSurroundings, verdict: Verdict) -> str:
    """The text of `input.c`. Raises ReproSourceError where the reproducer does not make sense."""
    try:
        return "\n".join(_format_lines(reproducer, surroundings, verdict)) + "\n"
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        # The process that captured the reproducer may have been taken over: any value may be of any type.
        raise ReproSourceError(f"the reproducer can't be read: {error!r}") from error


def _format_lines(reproducer: Reproducer, surroundings: ReproSurroundings, verdict: Verdict) -> Iterator[str]:
    """All lines: the input first, because people read it, the rest of the program last."""
    heading = f"{surroundings.function}, on the smallest input that was found to show"
    yield from (f"// {format_comment(line)}" for text in (heading, str(verdict)) for line in text.splitlines())
    yield from ("", '#include "runner.h"', "")
    yield f"void candidate(void) __asm__({quote_symbol(surroundings.function)});"
    yield f"void reference(void) __asm__({quote_symbol(surroundings.reference)});"
    yield ""
    initialisers = list(_common_initialisers(reproducer, surroundings, verdict))
    if not reproducer["whole_program"]:
        tables = _InputTables(reproducer, surroundings)
        tables.write()
        yield from tables.definitions
        initialisers += tables.initialisers
    else:
        yield "void llmc_place_threads(void) {}"
    yield from ("", "// -- the program around it", "", *_format_slots(), *_format_symbols(surroundings))
    yield from _format_unbuffering(surroundings)
    yield from _format_streams()
    body = (f"    {initialiser}" for initialiser in initialisers)
    yield from ("", "const struct llmc_reproducer llmc_reproducer = {", *body, "};")


def _common_initialisers(reproducer: Reproducer, surroundings: ReproSurroundings, verdict: Verdict) -> Iterator[str]:
    """What a reproducer of the whole program has too."""
    headline = ": ".join(filter(None, (verdict.kind, verdict.message)))
    checked = "".join(f"{format_string(name)}, " for name in surroundings.checked_functions)
    yield f".function = {format_string(surroundings.function)},"
    yield f".verdict = {format_string(headline)},"
    yield f".input_lines = (const char *const[]){{{', '.join(map(format_string, reproducer['input_lines']))}, 0}},"
    yield ".candidate = candidate,"
    yield ".reference = reference,"
    yield f".thunks = (const char *const[]){{{checked}0}},"
    yield f".whole_program = {int(reproducer['whole_program'])},"


def _format_slots() -> Iterator[str]:
    slots = [f"{{{slot.address:#x}, {slot.size}}}" for slot in (*SLOTS, *ALIGNED_SLOTS)]
    yield f"const struct llmc_slot llmc_slots[] = {{{', '.join(slots)}}};"
    yield f"const int llmc_slots_count = {len(slots)};"


def _format_symbols(surroundings: ReproSurroundings) -> Iterator[str]:
    """Thunks for the functions whose calls are checked, and definitions of what the case only declares."""
    for number, name in enumerate(surroundings.checked_functions):
        macro = "LLMC_INT_THUNK" if name in surroundings.int_functions else "LLMC_THUNK"
        yield f"{macro}({number + 1}, {quote_symbol(name)});"
    for number, name in enumerate(surroundings.stubs):
        yield f"LLMC_STUB({_FIRST_EXTERNAL + number}, {quote_symbol(name)});"
    for number, variable in enumerate(surroundings.declared_variables):
        words = "__thread byte" if variable.name in surroundings.thread_locals else "byte"
        place = f"__asm__({quote_symbol(variable.name)}) __attribute__((aligned({variable.align})))"
        yield f"{words} declared_{number}[{variable.size}] {place};"


def _format_unbuffering(surroundings: ReproSurroundings) -> Iterator[str]:
    """Code that makes stdout unbuffered, as the judge sees it, where the names for it are the C library's."""
    if "main" not in surroundings.functions:
        yield "int main(void) { return 0; }"
    if {"setvbuf", "stdout"} & surroundings.functions:
        yield "void llmc_unbuffer(void) {}"
    else:
        yield "int setvbuf(void *, char *, int, word);"
        yield "extern void *const stdout;"
        yield "void llmc_unbuffer(void) { setvbuf(stdout, 0, 2, 0); }"


def _format_streams() -> Iterator[str]:
    """The standard streams, and what stands for each in the tables."""
    for name in STREAM_NAMES:
        yield f"extern void *const stream_{name} __asm__({quote_symbol(name)});"
    numbers = ", ".join(f"{number:#x}ul" for number in STREAMS)
    yield f"const word llmc_stream_numbers[3] = {{{numbers}}};"
    streams = ", ".join(f"&stream_{name}" for name in STREAM_NAMES)
    yield f"void *const *const llmc_streams[3] = {{{streams}}};"


class _InputTables:
    """The C tables of an input: `definitions` in an order in which each uses only earlier ones, and the `initialisers`
    of `llmc_reproducer` that refer to them.

    A method that writes a row returns the row's fields, and adds the definitions that the row refers to.
    """

    def __init__(self, reproducer: Reproducer, surroundings: ReproSurroundings) -> None:
        self._reproducer, self._surroundings = reproducer, surroundings
        self._numbers = itertools.count(1)
        self.definitions: list[str] = []
        self.initialisers: list[str] = []

    def write(self) -> None:
        """Write all tables. Called once."""
        reproducer = self._reproducer
        self._write_table("objects", "llmc_object", [self._object_row(part) for part in reproducer["objects"]])
        self._write_globals()
        self._write_stack()
        self._write_registers()
        self._write_table("pads", "llmc_pad", [self._pad_row(*pad) for pad in self._surroundings.pads.items()])
        callbacks = [self._external_row(part) for part in reproducer["callbacks"]]
        self._write_table("callbacks", "llmc_external", callbacks)
        self._write_externals()
        self._write_replies()
        self._write_result()
        input = bytes.fromhex(reproducer["standard_input"])[:_MAX_INPUT_BYTES]
        self.initialisers += [
            f".garbage = {format_byte_array(bytes.fromhex(reproducer['garbage']))},",
            f".uninitialised = {format_byte_array(bytes.fromhex(reproducer['uninitialised']))},",
            f".aligned_objects = {int(reproducer['aligned_objects'])}, .shortage = {int(reproducer['shortage'])},",
            f".input = {format_byte_array(input)}, .input_size = {len(input)},",
            f".errno_before = {int(reproducer['errno'][0])}, .errno_matters = {int(reproducer['errno'][1])},",
        ]

    # -- tables

    def _write_globals(self) -> None:
        """The variables. The addresses of thread-local ones are known only when the program runs."""
        places = []
        rows = []
        for number, part in enumerate(self._reproducer["globals"]):
            address = "0"
            if part["name"] in self._surroundings.thread_locals:
                name = self._declare(part["name"], "__thread byte")
                places.append(f"globals[{number}].at = {name};")
            else:
                address = self._define_variable(part["name"])
            rows.append(self._global_row(part, address))
        self._write_table("globals", "llmc_global", rows, qualifier="" if places else "const ")
        self.definitions.append(f"void llmc_place_threads(void) {{ {' '.join(places)} }}")

    def _write_table(
        self, name: str, struct: str, rows: Sequence[str], *, has_count: bool = True, qualifier: str = "const "
    ) -> None:
        if not rows:
            return
        self.definitions += [
            f"static {qualifier}struct {struct} {name}[] = {{",
            *(f"    {{{row}}}," for row in rows),
            "};",
        ]
        count = f" .{name}_count = {len(rows)}," if has_count else ""
        self.initialisers.append(f".{name} = {name},{count}")

    def _write_stack(self) -> None:
        data = bytes.fromhex(self._reproducer["stack"])
        self.definitions.append(f"static const byte stack[] = {format_data(data)};")
        self.initialisers.append(f".stack = stack, .stack_size = {len(data)},")

    def _write_registers(self) -> None:
        labels = {part["address"]: part["label"] for part in self._reproducer["objects"]}
        fill = int(self._reproducer["vector_fill"])
        self.definitions += _format_state("entry", self._reproducer["entry_registers"], fill, labels)
        self.definitions += _format_state("clobbered", self._reproducer["clobbered_registers"], fill, {})
        self.initialisers += [".entry = &entry,", ".clobbered = &clobbered,"]

    def _write_externals(self) -> None:
        parts = {part["name"]: part for part in self._reproducer["externals"]}
        unknown = [name for name in self._surroundings.stubs if name not in parts]
        if unknown:
            raise ReproSourceError(f"the types of {unknown[0]} are not known")
        rows = [self._external_row(parts[name]) for name in self._surroundings.stubs]
        self._write_table("externals", "llmc_external", rows, has_count=False)

    def _write_replies(self) -> None:
        counts = []
        for who in ("reference", "candidate"):
            rows = [self._reply_row(part) for part in self._reproducer["replies"][who]]
            counts.append(str(len(rows)))
            table = "\n".join(f"    {{{row}}}," for row in rows)
            self.definitions.append(f"static const struct llmc_reply replies_of_{who}[] = {{\n{table}\n}};")
        self.initialisers.append(
            f".replies = {{replies_of_reference, replies_of_candidate}}, .replies_count = {{{', '.join(counts)}}},"
        )

    def _write_result(self) -> None:
        result = self._reproducer["result"]
        if result is None:
            return
        self.definitions.append(f"static const struct llmc_argument result = {{{self._argument_row(result)}}};")
        self.initialisers += [
            f".result = &result, .result_count = {len(_number_words(result))},",
            f".result_signed = {int(self._reproducer['result_signed'])},",
            f".result_float_bytes = {int(self._reproducer['result_float_bytes'])},",
        ]

    # -- rows

    def _object_row(self, part: ObjectPart) -> str:
        slot = ", ".join(f"{int(number):#x}" for number in part["slot"])
        location = f"{int(part['address']):#x}, {int(part['size'])}, {{{slot}}}"
        data, mask = self._define_data(part["data"]), self._define_data(part["mask"] or None)
        return f"{format_string(part['label'])}, {location}, {data}, {mask}"

    def _global_row(self, part: GlobalPart, address: str) -> str:
        location = f"{address}, {int(part['size'])}"
        data, mask = self._define_data(part["data"]), self._define_data(part["mask"] or None)
        return f"{format_string(part['name'])}, {location}, {data}, {mask}, {self._define_pointers(part['pointers'])}"

    def _define_pointers(self, parts: Sequence[SymbolPart]) -> str:
        """The name of a table of pointers to symbols, and how many there are."""
        if not parts:
            return "0, 0"
        rows = [
            f"{{{int(part['at'])}, {self._define_variable(part['symbol'])} + {int(part['offset'])}}}" for part in parts
        ]
        name = self._next_name("pointers")
        self.definitions.append(f"static const struct llmc_pointer {name}[] = {{{', '.join(rows)}}};")
        return f"{name}, {len(rows)}"

    def _pad_row(self, name: str, size: int) -> str:
        return f"{self._define_variable(name)}, {size}, {PADDING_BYTES}"

    def _external_row(self, part: ExternalFunctionPart) -> str:
        rows = [f"{{{self._argument_row(argument)}}}" for argument in part["arguments"]]
        name = self._next_name("arguments")
        self.definitions.append(f"static const struct llmc_argument {name}[] = {{{', '.join(rows)}}};")
        return f"{format_string(part['name'])}, {name}, {len(rows)}"

    def _argument_row(self, part: ArgumentPart) -> str:
        numbers = _number_words(part)[:_VECTOR_WORDS]
        registers = ", ".join(map(str, numbers + [-1] * (_VECTOR_WORDS - len(numbers))))
        kind, mask = _ARGUMENT_KINDS.index(part["kind"]), self._define_data(part["mask"] or None)
        sizes = f"{int(part['offset'])}, {int(part['size'])}, {int(part['pointee'])}"
        return f"{kind}, {{{registers}}}, {sizes}, {mask}"

    def _reply_row(self, part: ReplyPart) -> str:
        callee = part["callee"]
        number = _FIRST_EXTERNAL + self._surroundings.stubs.index(callee) if isinstance(callee, str) else int(callee)
        effects = [f"{{{self._effect_row(effect)}}}" for effect in part["effects"]]
        results = [f"{{{row}}}" for result in part["results"] for row in _result_rows(result)]
        name = self._next_name("of_call")
        self.definitions += [
            f"static const struct llmc_result results_{name}[] = {{{', '.join(results)}}};",
            f"static const struct llmc_effect effects_{name}[] = {{{', '.join(effects)}}};",
        ]
        return f"{number}, results_{name}, {len(results)}, effects_{name}, {len(effects)}"

    def _effect_row(self, part: EffectPart) -> str:
        symbol = self._define_variable(part["symbol"]) if part["symbol"] else "0"
        data, size = self._define_data(part["data"]), len(bytes.fromhex(part["data"]))
        return f"{symbol}, {int(part['address']):#x}, {data}, {size}, {int(part['allocates'])}"

    # -- constants that rows refer to

    def _next_name(self, prefix: str) -> str:
        return f"{prefix}_{next(self._numbers)}"

    def _define_data(self, text: str | None) -> str:
        """The name of a constant that holds bytes, given in hexadecimal; the null pointer for None."""
        if text is None:
            return "0"
        name = self._next_name("data")
        self.definitions.append(f"static const byte {name}[] = {format_data(bytes.fromhex(text))};")
        return name

    def _define_variable(self, symbol: str) -> str:
        """The C name of a global variable. Raises ReproSourceError for a thread-local one."""
        if symbol in self._surroundings.thread_locals:
            raise ReproSourceError(f"{symbol} is thread-local: its address is not known before the program runs")
        return self._declare(symbol, "byte")

    def _declare(self, symbol: str, type: str) -> str:
        """The C name of an array of the program."""
        name = self._next_name("variable")
        self.definitions.append(f"extern {type} {name}[] __asm__({quote_symbol(symbol)});")
        return name


def _number_words(part: ArgumentPart) -> list[int]:
    """The numbers of the words in which an argument or a result is passed."""
    return [
        _REGISTER_NUMBERS[name] + word
        for name in part["registers"]
        for word in range(-(-int(part["register_bytes"]) // 8))
    ]


def _result_rows(part: ResultPart) -> Iterator[str]:
    """A row for each word of a register."""
    size, value = int(part["size"]), int(part["value"])
    same_as = _REGISTER_NUMBERS[part["same_as"]] if part["same_as"] else -1
    for start in range(0, size, 8):
        word, mask = value >> 8 * start & _WORD_MASK, (1 << 8 * min(size - start, 8)) - 1
        yield f"{_REGISTER_NUMBERS[part['register']] + start // 8}, {word:#x}ul, {mask:#x}ul, {same_as}"


def _format_state(name: str, values: dict[str, int], fill: int, labels: dict[int, str]) -> list[str]:
    """A table of all registers. `labels` are the objects by address, for comments on pointers."""
    lines = [f"static const State {name} = {{", "    .registers = {"]
    for register in _STATE_REGISTERS:
        label = labels.get(values[register], "")
        note = f" // {format_comment(label)}" if label else ""
        lines.append(f"        [{register.upper()}] = {int(values[register]):#x}ul,{note}")
    lines += [f"        [FLAGS] = {int(values['eflags']):#x},", "    },", "    .vectors = {"]
    for register in VECTOR_REGISTERS:
        value = int(values[register])
        words = ", ".join(f"{value >> 64 * word & _WORD_MASK:#x}ul" for word in range(_VECTOR_WORDS))
        lines.append(f"        {{{words}}},")
    return [*lines, "    },", f"    .fill = {fill:#x}ul, .mxcsr = 0x1f80, .fpcw = 0x37f,", "};"]

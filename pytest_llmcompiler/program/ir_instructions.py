"""The instructions of a module of IR, read from LLVM's own text: opcode, type, operands and users.

Only as much is read as an analysis of loads, stores and addresses needs. An instruction of another kind has its opcode,
and all values in its text as operands.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from pytest_llmcompiler.letters import name_part

_NAME = rf'[%@](?:"(?:[^"\\]|\\.)*"|{name_part("-$.")}+)'
_VALUE_NAME = re.compile(_NAME)
_HEADER = re.compile(rf"^define (?P<words>[^@]*)(?P<name>{_NAME})\((?P<params>.*?)\)(?: [^()]*)? \{{$")
_LINE = re.compile(r"^  (?:(?P<result>%\S+) = )?(?P<opcode>\w+)(?: (?P<rest>.*))?$")
_LABEL = re.compile(r"^([-\w$.]+|\"[^\"]*\"):(?: |$)")
_LABEL_USE = re.compile(rf"\blabel ({_NAME})")
_CALL = re.compile(rf"^(?:.*? )?(?P<callee>{_NAME})\((?P<args>.*)\)[^()]*(?:\[.*\])?$")
_CASTS = ("zext", "sext", "trunc", "bitcast", "ptrtoint", "inttoptr", "addrspacecast")
_BINARY = ["add", "sub", "mul", "udiv", "sdiv", "urem", "srem", "shl", "lshr", "ashr", "and", "or", "xor"]
_MODIFIERS = re.compile(
    "^(?:(?:nuw|nsw|exact|disjoint|nneg|inbounds|nusw|samesign|nnan|ninf|nsz|arcp|contract|afn|reassoc|fast) )*"
)
_EXPRESSION = re.compile(r"\b(?:getelementptr|inttoptr|ptrtoint|trunc|sub|add|bitcast)\b[^(]*\(.*\)$")
"""A constant expression at the end of an operand."""


@dataclass(frozen=True, eq=False)
class IrInstruction:
    """One instruction."""

    function: str
    """The name of its function."""
    result: str
    """The name of its value, `%5`; empty where it has none."""
    opcode: str
    type: str
    """The type of a loaded or stored value, of the elements that `getelementptr` counts, or of the result."""
    operands: tuple[str, ...]
    """Its operands without their types. For a call: the callee, then the arguments. For `store`: value, address."""
    text: str


@dataclass(eq=False)
class FunctionBody:
    """A function with a body."""

    name: str
    is_local: bool
    """Whether only this module can name it."""
    params: tuple[str, ...]
    param_types: tuple[str, ...]
    is_variadic: bool
    instructions: list[IrInstruction] = field(default_factory=list)
    definitions: dict[str, IrInstruction] = field(default_factory=dict)
    """The instructions by the names of their values."""
    users: dict[str, list[IrInstruction]] = field(default_factory=lambda: defaultdict(list))
    """The instructions by the names of the values and symbols that they mention."""
    blocks: dict[str, list[IrInstruction]] = field(default_factory=dict)
    """The instructions of each block, by its name, `%7`. The name of the first block is empty."""

    @functools.cached_property
    def block_names(self) -> dict[IrInstruction, str]:
        """The name of the block of each instruction."""
        return {instruction: name for name, block in self.blocks.items() for instruction in block}

    @functools.cached_property
    def predecessors(self) -> dict[str, list[str]]:
        """The blocks from which each block is entered, by its name. One that enters it in two ways is there twice."""
        entered: dict[str, list[str]] = {}
        for name, block in self.blocks.items():
            for target in _LABEL_USE.findall(block[-1].text) if block else ():
                entered.setdefault(target, []).append(name)
        return entered


def read_functions(text: str) -> dict[str, FunctionBody]:
    """The functions with a body in LLVM's text of a module, by name."""
    functions: dict[str, FunctionBody] = {}
    body: FunctionBody | None = None
    block: list[IrInstruction] = []
    for line in _join_switches(text):
        header = _HEADER.match(line)
        if header:
            parts = split_operands(header["params"])
            named = [part for part in parts if part != "..."]
            name, is_local = (
                header["name"][1:].strip('"'),
                bool(re.search(r"\b(?:internal|private)\b", header["words"])),
            )
            params, types = map(plain_operand, named), (part.split(" ")[0] for part in named)
            body = functions[name] = FunctionBody(name, is_local, tuple(params), tuple(types), "..." in parts)
            block = body.blocks.setdefault("", [])
        elif line.startswith("}"):
            body = None
        elif body is not None and (label := _LABEL.match(line)):
            block = body.blocks.setdefault(f"%{label[1]}", [])
        elif body is not None and (match := _LINE.match(line)):
            block.append(_add(body, match))
    return functions


def _join_switches(text: str) -> Iterator[str]:
    """The lines of a module. A `switch`, which LLVM prints on several lines, is one line."""
    joined = ""
    for line in text.splitlines():
        if joined or (line.startswith("  switch ") and line.endswith("[")):
            joined += line
            if line.strip() == "]":
                yield joined
                joined = ""
        else:
            yield line


def _add(body: FunctionBody, line: re.Match[str]) -> IrInstruction:
    """Add the instruction of a line."""
    opcode, rest = line["opcode"], re.sub(r"(?:, ![\w.]+ !\w+)+$", "", line["rest"] or "")
    if opcode in ("tail", "musttail", "notail"):
        opcode, rest = "call", rest.removeprefix("call ")
    type, operands = _read_operands(opcode, rest)
    instruction = IrInstruction(body.name, line["result"] or "", opcode, type, operands, line[0])
    body.instructions.append(instruction)
    if instruction.result:
        body.definitions[instruction.result] = instruction
    for name in dict.fromkeys(_VALUE_NAME.findall(rest)):
        body.users[name].append(instruction)
    return instruction


def _read_operands(opcode: str, rest: str) -> tuple[str, tuple[str, ...]]:
    """The type and the operands of an instruction, from its text after the opcode."""
    rest = _MODIFIERS.sub("", rest)
    parts = split_operands(rest)
    if opcode == "call":
        call = _CALL.match(rest)
        if call:
            return rest.split(" ")[0], (call["callee"], *map(plain_operand, split_operands(call["args"])))
    elif opcode == "store" and not re.match(r"(?:volatile|atomic) ", rest):
        value = plain_operand(parts[0])
        return parts[0][: -len(value)].strip(), (value, plain_operand(parts[1]))
    elif opcode == "load" and not re.match(r"(?:volatile|atomic) ", rest):
        return parts[0], (plain_operand(parts[1]),)
    elif opcode == "getelementptr":
        return parts[0], tuple(map(plain_operand, parts[1:]))
    elif opcode == "phi":
        type = parts[0].split(" [")[0]
        pairs = (part[len(type) if number == 0 else 0 :].strip()[1:-1] for number, part in enumerate(parts))
        return type, tuple(split_operands(pair)[0] for pair in pairs)
    elif opcode in _CASTS and " to " in rest:
        value, _, type = rest.rpartition(" to ")
        return type, (plain_operand(value), value.split(" ")[0])
    elif opcode in (*_BINARY, "icmp", "fcmp"):
        return rest.split(" ")[0], tuple(map(plain_operand, parts))
    elif opcode in ("select", "freeze", "ret"):
        return parts[-1].split(" ")[0] if parts else "", tuple(map(plain_operand, parts))
    return "", tuple(_VALUE_NAME.findall(rest))


def plain_operand(text: str) -> str:
    """An operand without its type and attributes: `%3`, `@name`, `5`, or a whole constant expression."""
    text = text.strip()
    expression = _EXPRESSION.search(text)
    if expression:
        return expression[0]
    if text.endswith(("]", "}", ">", ")")):
        return text
    name = re.search(rf"{_NAME}$", text)
    return name[0] if name else text.rpartition(" ")[2]


def split_operands(text: str) -> list[str]:
    """A text split at the commas that are in no brackets and no quotes."""
    parts, depth, start, is_quoted = [], 0, 0, False
    for index, letter in enumerate(text):
        if letter == '"':
            is_quoted = not is_quoted
        elif is_quoted:
            continue
        elif letter in "([{<":
            depth += 1
        elif letter in ")]}>":
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append(text[start:index].strip())
            start = index + 1
    last = text[start:].strip()
    return [*parts, last] if last else parts

"""The answer that the model learns for a function in short IR: LLVM's unoptimised code, with each value in a stack slot
of its own.

Value %n lies 16 n + 8 bytes below the frame's base. So each IR instruction becomes a few machine instructions that
depend on no other IR instruction. LLVM's own choice, values in registers for as long as they are needed, is far harder
to learn: after the same training time three times as many answers were correct in this form.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import Any

from pytest_llmcompiler.errors import LLMCompilerError
from pytest_llmcompiler.program.ir import parse, target_machine
from pytest_llmcompiler.program.short import FUNCTION

_FRAME = 1024
"""Bytes of the frame for values, 16 for each: the upper eight hold the value, the lower eight the next value of a phi.
Functions with more than 63 values are left out."""
_TYPES = frozenset(("i1", "i8", "i16", "i32", "i64", "ptr"))
_ATTRIBUTES = 'nounwind noredzone "no-jump-tables"="true" "frame-pointer"="all"'
_VALUE = re.compile(r"(label )?%(\d+)\b")
_RESULT = re.compile(r"%(\d+) = (.*)", re.S)
_BYTE_CHOICE = re.compile(r"select i1 (%\d+), i8 (%\d+|-?\d+), i8 (%\d+|-?\d+)$")


class UnfitError(LLMCompilerError):
    """This form of answers has no room for the function, or can't express it."""


def build_expected_answer(module: str) -> str:
    """The assembly of the function of a module in short form. Raises UnfitError."""
    assembly = target_machine(opt=0).emit_assembly(parse(_make_symbols_local(_demote_to_memory(module))))
    code = assembly[assembly.index(f"\n{FUNCTION}:") + 1 : assembly.index(".Lfunc_end0:")]
    lines = [line for line in code.splitlines(keepends=True) if not re.match(r"\s*(?:\.cfi|\.p2align|#)", line)]
    return _rename_labels("".join(lines), re.findall(r"^(\d+):", module, re.M))


def _make_symbols_local(module: str) -> str:
    """Mark all symbols as defined in the same program, so that code names them and needs no global offset table."""
    module = re.sub(r"^(@\S+ = external )", r"\1dso_local ", module, flags=re.M)
    return re.sub(r"^declare (?!.*@llvm\.)", "declare dso_local ", module, flags=re.M)


def _rename_labels(assembly: str, blocks: list[str]) -> str:
    """Rename labels after the numbers of the IR's blocks; those that LLVM adds become `.Lx0`, `.Lx1`, …"""

    def label(match: re.Match[str]) -> str:
        number = int(match[1])
        return f".L{blocks[number - 1]}" if number <= len(blocks) else f".Lx{number - len(blocks) - 1}"

    return re.sub(r"\.LBB0_(\d+)\b", label, assembly)


def _demote_to_memory(module: str) -> str:
    """The module, with the values of the function in memory."""
    body = _MemoryDemotion(parse(module).get_function(FUNCTION)).rewrite()
    header = next(line for line in module.splitlines() if line.startswith("define "))
    header = re.sub(r"%(\d+)", r"%a\1", header).replace(") {", f") {_ATTRIBUTES} {{")
    return re.sub(r"^define .*?^\}", lambda _: f"{header}\n{body}\n}}", module, flags=re.M | re.S)


class _MemoryDemotion:
    """Rewrites a function: each result is stored in its slot, and each operand is loaded from its slot."""

    def __init__(self, function: Any) -> None:
        self._arguments = len(list(function.arguments))
        self._types = {str(number): str(argument.type) for number, argument in enumerate(function.arguments)}
        labels = [str(self._arguments), *re.findall(r"^(\d+):", str(function), re.M)]
        self._blocks: dict[str, list[str]] = {}
        for label, block in zip(labels, function.blocks):
            self._blocks[label] = [str(instruction).strip() for instruction in block.instructions]
            for instruction in block.instructions:
                result = _RESULT.match(str(instruction).strip())
                if result:
                    self._types[result[1]] = str(instruction.type)
        texts = [text for block in self._blocks.values() for text in block]
        last = max(map(int, (*self._types, *labels)))
        if set(self._types.values()) - _TYPES or 16 * (last + 1) > _FRAME or any(" alloca " in text for text in texts):
            raise UnfitError
        self._uses = Counter(number for text in texts for number in re.findall(r"(?<!^)%(\d+)\b", text))
        self._incoming = self._collect_phi_values()
        self._lines: list[str] = []
        self._names = 0

    def rewrite(self) -> str:
        """The lines of the body."""
        for label, block in self._blocks.items():
            self._lines.append(f"b{label}:")
            if int(label) == self._arguments:
                self._lines.append(f"%frame = alloca [{_FRAME} x i8], align 16")
                for number in range(self._arguments):
                    self._store(str(number), f"%a{number}")
            *body, end = block
            compared = body.pop() if body and self._is_only_branched_on(body[-1], end) else None
            for text in body:
                self._rewrite_instruction(text)
            for number, value in self._incoming[label]:
                self._store(number, self._read_operand(number, value), is_phi_input=True)
            self._rewrite_terminator(compared, end)
        return "\n".join(self._lines)

    def _collect_phi_values(self) -> dict[str, list[tuple[str, str]]]:
        """For each block the values that it passes to phis: (number of the phi, value), in order."""
        values: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for block in self._blocks.values():
            for text in block:
                phi = re.match(r"%(\d+) = phi \S+ (.*)", text)
                for value, source in re.findall(r"\[ (\S+), %(\d+) \]", phi[2]) if phi else ():
                    if (phi[1], value) not in values[source]:  # two edges from one block
                        values[source].append((phi[1], value))
        return values

    def _is_only_branched_on(self, text: str, end: str) -> bool:
        result = _RESULT.match(text)
        return (
            result is not None
            and result[2].startswith("icmp")
            and self._uses[result[1]] == 1
            and end.startswith(f"br i1 %{result[1]},")
        )

    def _rewrite_instruction(self, text: str) -> None:
        result = _RESULT.match(text)
        if not result:
            self._lines.append(self._load_operands(text))
        elif result[2].startswith("phi "):
            self._store(result[1], self._load(result[1], is_phi_input=True))
        elif choice := _BYTE_CHOICE.match(result[2]):
            self._choose_byte(result[1], *choice.groups())
        else:
            self._lines.append(f"%v{result[1]} = {self._load_operands(result[2])}")
            self._store(result[1], f"%v{result[1]}")

    def _choose_byte(self, number: str, condition: str, first: str, second: str) -> None:
        """Rewrite a select of bytes as one of 32 bits: x86 has no conditional move of bytes, and LLVM would branch."""
        operands = [condition, first, second]
        condition, *bytes_ = (self._load(text[1:]) if text.startswith("%") else text for text in operands)
        wide = []
        for name, value in zip("xy", bytes_):
            wide.append(f"%{name}{number}" if value.startswith("%") else str(int(value) & 255))
            if value.startswith("%"):
                self._lines.append(f"{wide[-1]} = zext i8 {value} to i32")
        self._lines.append(f"%w{number} = select i1 {condition}, i32 {wide[0]}, i32 {wide[1]}")
        self._lines.append(f"%v{number} = trunc i32 %w{number} to i8")
        self._store(number, f"%v{number}")

    def _rewrite_terminator(self, compared: str | None, end: str) -> None:
        if compared is None:
            self._lines.append(self._load_operands(end))
            return
        number, text = _RESULT.match(compared).groups()  # type: ignore[union-attr]
        self._lines.append(f"%v{number} = {self._load_operands(text)}")
        self._lines.append(end.replace("label %", "label %b").replace(f"i1 %{number},", f"i1 %v{number},"))

    def _load_operands(self, text: str) -> str:
        """Load the operands of an instruction. Returns the instruction with the loaded values."""
        loaded: dict[str, str] = {}

        def operand(match: re.Match[str]) -> str:
            if match[1]:
                return f"label %b{match[2]}"
            if match[2] not in loaded:
                loaded[match[2]] = self._load(match[2])
            return loaded[match[2]]

        return _VALUE.sub(operand, text)

    def _read_operand(self, number: str, value: str) -> str:
        return self._load(value[1:]) if value.startswith("%") else value

    def _load(self, number: str, *, is_phi_input: bool = False) -> str:
        address = self._compute_address(number, is_phi_input)
        self._names += 1
        self._lines.append(f"%l{self._names} = load {self._types[number]}, ptr {address}")
        return f"%l{self._names}"

    def _store(self, number: str, value: str, *, is_phi_input: bool = False) -> None:
        self._lines.append(f"store {self._types[number]} {value}, ptr {self._compute_address(number, is_phi_input)}")

    def _compute_address(self, number: str, is_phi_input: bool) -> str:
        self._names += 1
        offset = _FRAME - 16 * int(number) - (16 if is_phi_input else 8)
        self._lines.append(f"%p{self._names} = getelementptr i8, ptr %frame, i64 {offset}")
        return f"%p{self._names}"

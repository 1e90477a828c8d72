"""NASM's expressions: sums of symbols, registers and a number, computed as NASM computes them, in 64 bits.

Source: The Netwide Assembler's manual, chapter 3.5. Operators other than `+`, `-` and `*` take plain numbers only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pytest_llmcompiler.assembler.nasm_lexer import (
    Token,
    build_error,
    decode_string,
    encode_float,
    parse_float,
    parse_integer,
)
from pytest_llmcompiler.errors import AssemblyError

_MASK = (1 << 64) - 1
_DEEPEST_NESTING = 60
"""Of parentheses and conditional operators: hostile text must not exhaust Python's stack."""
_MOST_SYMBOLS = 16
"""Different symbols in a sum. Addresses have one, distances two."""
_LEVELS: tuple[tuple[str, ...], ...] = (
    ("||",), ("^^",), ("&&",), ("=", "==", "!=", "<>", "<", "<=", ">", ">=", "<=>"), ("|",), ("^",), ("&",),
    ("<<", ">>", "<<<", ">>>"), ("+", "-"), ("*", "/", "//", "%", "%%"),
)  # fmt: skip
"""The binary operators, the weakest first."""
_FLOAT_WIDTHS = {"16": 2, "32": 4, "64": 8, "80e": 10}
_FLOAT_FUNCTIONS = {
    f"__{mark}float{name}{mark}__": width for mark in ("", "?") for name, width in _FLOAT_WIDTHS.items()
}
FLOAT_NAMES = {f"__{mark}{name}{mark}__": name for mark in ("", "?") for name in ("infinity", "nan", "qnan", "snan")}
"""NASM's words for numbers that have no digits -> what they are."""


@dataclass(frozen=True)
class RegisterTerm:
    """A register in a sum."""

    name: str
    factor: int
    is_scaled: bool
    """Whether it was written with a factor, even if that is 1: then it is the index."""


@dataclass(frozen=True)
class SymbolSum:
    """A sum of symbols, registers and a number."""

    number: int = 0
    """From -2**63 to 2**63 - 1."""
    symbols: tuple[tuple[str, int], ...] = ()
    """Names and their factors."""
    registers: tuple[RegisterTerm, ...] = ()
    modifier: str = ""
    """The word behind `wrt`, in lower case."""

    @property
    def is_number(self) -> bool:
        """Whether there is nothing but a number."""
        return not (self.symbols or self.registers or self.modifier)


def wrap(number: int) -> int:
    """The number in 64 bits, with its sign."""
    number &= _MASK
    return number - (1 << 64) if number >> 63 else number


def add(left: SymbolSum, right: SymbolSum, sign: int = 1) -> SymbolSum:
    """The sum of two values, or their difference."""
    symbols = dict(left.symbols)
    for name, factor in right.symbols:
        symbols[name] = symbols.get(name, 0) + sign * factor
    registers = {register.name: register for register in left.registers}
    for register in right.registers:
        old = registers.get(register.name, RegisterTerm(register.name, 0, False))
        factor = old.factor + sign * register.factor
        registers[register.name] = RegisterTerm(register.name, factor, old.is_scaled or register.is_scaled)
    return SymbolSum(
        wrap(left.number + sign * right.number),
        tuple((name, factor) for name, factor in symbols.items() if factor),
        tuple(register for register in registers.values() if register.factor),
    )


def _multiply(value: SymbolSum, factor: int) -> SymbolSum:
    return SymbolSum(
        wrap(value.number * factor),
        tuple((name, old * factor) for name, old in value.symbols if factor),
        tuple(RegisterTerm(register.name, register.factor * factor, True) for register in value.registers if factor),
    )


def _divide(left: int, right: int, operator: str) -> int:
    """Division and remainder, unsigned for `/` and `%`, signed and towards zero for `//` and `%%`."""
    if operator in ("/", "%"):
        left, right = left & _MASK, right & _MASK
    quotient = abs(left) // abs(right)
    quotient = -quotient if (left < 0) != (right < 0) else quotient
    return quotient if operator[0] == "/" else left - quotient * right


def _shift(left: int, right: int, operator: str) -> int:
    if not 0 <= right < 64:
        return -1 if operator == ">>>" and left < 0 else 0
    if operator in ("<<", "<<<"):
        return left << right
    return left >> right if operator == ">>>" else (left & _MASK) >> right


def _compare(left: int, right: int, operator: str) -> int:
    order = (left > right) - (left < right)
    if operator == "<=>":
        return order
    wanted = {"=": (0,), "==": (0,), "!=": (-1, 1), "<>": (-1, 1), "<": (-1,), "<=": (-1, 0), ">": (1,), ">=": (0, 1)}
    return int(order in wanted[operator])


def _compute(left: int, right: int, operator: str) -> int:
    """A binary operator, `+`, `-` and `*` excepted, on two numbers."""
    if operator in ("||", "&&", "^^"):
        a, b = bool(left), bool(right)
        return int(a or b if operator == "||" else a and b if operator == "&&" else a != b)
    if operator in ("|", "^", "&"):
        return left | right if operator == "|" else left ^ right if operator == "^" else left & right
    if operator[0] in "<>" and len(operator) > 1 and operator[0] == operator[1]:
        return _shift(left, right, operator)
    return _divide(left, right, operator) if operator[0] in "/%" else _compare(left, right, operator)


@dataclass
class Scope:
    """What the words in expressions mean."""

    source: str
    resolve: Callable[[Token], SymbolSum]
    """The value of a symbol, of `$` and of `$$`."""
    simplify: Callable[[SymbolSum], SymbolSum]
    """Replaces differences of symbols by numbers, where they are known."""
    registers: Callable[[str], bool] = field(default=lambda name: False)
    """Whether a word in lower case is a register."""


class ExpressionParser:
    """Reads one expression from tokens; `position` is then behind it."""

    def __init__(self, tokens: Sequence[Token], position: int, scope: Scope) -> None:
        self._tokens = tokens
        self.position = position
        self._scope = scope
        self._depth = 0

    def parse(self) -> SymbolSum:
        """The value of an expression. Raises AssemblyError."""
        value = self._parse_conditional()
        if self._peek().name == "wrt":
            self.position += 1
            modifier = self._peek()
            if modifier.kind != "word":
                raise self._error("expected a word behind wrt")
            self.position += 1
            value = SymbolSum(value.number, value.symbols, value.registers, modifier.name)
        return value

    def expect_end(self) -> None:
        """Raise AssemblyError where tokens follow."""
        if self.position < len(self._tokens):
            raise self._error(f"unexpected {self._peek().text!r} in an expression")

    def _peek(self) -> Token:
        if self.position < len(self._tokens):
            return self._tokens[self.position]
        last = self._tokens[-1] if self._tokens else None
        return Token("operator", "", last.offset + len(last.text) if last else 0)

    def _error(self, message: str) -> AssemblyError:
        return build_error(self._scope.source, message, self._peek().offset)

    def _require_number(self, value: SymbolSum) -> int:
        value = self._scope.simplify(value)
        if not value.is_number:
            raise self._error("this operator takes plain numbers only")
        return value.number

    def _parse_conditional(self) -> SymbolSum:
        self._depth += 1
        if self._depth > _DEEPEST_NESTING:
            raise self._error("the expression is nested too deeply")
        value = self._parse_binary(0)
        if self._peek().is_operator("?"):
            self.position += 1
            condition = self._require_number(value)
            first = self._parse_conditional()
            if not self._peek().is_operator(":"):
                raise self._error("expected ':'")
            self.position += 1
            second = self._parse_conditional()
            value = first if condition else second
        self._depth -= 1
        return value

    def _parse_binary(self, level: int) -> SymbolSum:
        if level == len(_LEVELS):
            return self._parse_unary()
        value = self._parse_binary(level + 1)
        while self._peek().kind == "operator" and self._peek().text in _LEVELS[level]:
            operator = self._peek().text
            self.position += 1
            value = self._apply(operator, value, self._parse_binary(level + 1))
        return value

    def _apply(self, operator: str, left: SymbolSum, right: SymbolSum) -> SymbolSum:
        if operator in ("+", "-"):
            value = add(left, right, 1 if operator == "+" else -1)
            if len(value.symbols) > _MOST_SYMBOLS:
                raise self._error("too many symbols in an expression")
            return value
        right = self._scope.simplify(right)
        if operator == "*" and (right.is_number or self._scope.simplify(left).is_number):
            left = self._scope.simplify(left)
            return _multiply(left, right.number) if right.is_number else _multiply(right, left.number)
        numbers = self._require_number(left), self._require_number(right)
        if operator[0] in "/%" and not numbers[1]:
            raise self._error("division by zero")
        return SymbolSum(wrap(_compute(*numbers, operator)))

    def _parse_unary(self) -> SymbolSum:
        operators = []
        while self._peek().kind == "operator" and self._peek().text in ("+", "-", "~", "!"):
            operators.append(self._peek().text)
            self.position += 1
        value = self._parse_primary()
        for operator in reversed(operators):
            if operator == "-":
                value = add(SymbolSum(), value, -1)
            elif operator != "+":
                number = self._require_number(value)
                value = SymbolSum(~number if operator == "~" else int(not number))
        return value

    def _parse_primary(self) -> SymbolSum:
        token = self._peek()
        self.position += 1
        if token.is_operator("("):
            value = self._parse_conditional()
            if not self._peek().is_operator(")"):
                raise self._error("expected ')'")
            self.position += 1
            return value
        if token.kind == "number":
            number = parse_integer(token.text)
            if number is None:
                raise build_error(self._scope.source, f"{token.text!r} is no integer", token.offset)
            return SymbolSum(wrap(number))
        if token.kind == "string":
            return SymbolSum(wrap(int.from_bytes(decode_string(token.text)[:8], "little")))
        if token.name in _FLOAT_FUNCTIONS:
            return self._parse_float_function(_FLOAT_FUNCTIONS[token.name])
        if token.name and self._scope.registers(token.name):
            return SymbolSum(registers=(RegisterTerm(token.name, 1, False),))
        if token.kind in ("word", "escaped") or token.text in ("$", "$$"):
            return self._scope.resolve(token)
        self.position -= 1
        raise self._error(f"expected a number or a symbol, not {token.text!r}" if token.text else "expected an operand")

    def _parse_float_function(self, width: int) -> SymbolSum:
        """`(1.5)` behind `__float32__`: the bits of the number."""
        tokens = self._tokens[self.position :]
        length = next((index for index, token in enumerate(tokens) if token.is_operator(")")), 0)
        bits = read_float(tokens[1:length], width) if length and tokens[0].is_operator("(") else None
        if bits is None:
            raise self._error("expected a floating-point number in parentheses")
        self.position += length + 1
        return SymbolSum(wrap(bits))


def read_float(tokens: Sequence[Token], width: int) -> int | None:
    """The bits of a floating-point number with or without a sign, in so many bytes; None for other tokens."""
    sign = tokens[0].text if tokens and tokens[0].kind == "operator" and tokens[0].text in ("+", "-") else ""
    digits = tokens[1:] if sign else tokens
    if len(digits) != 1:
        return None
    token = digits[0]
    value = FLOAT_NAMES.get(token.name) or (parse_float(token.text) if token.kind == "number" else None)
    if value is None:
        return None
    return encode_float(value, width) | ((sign == "-") << (8 * width - 1))

"""The names in a text: which definition each one means."""

from __future__ import annotations

from bisect import bisect_left

from pytest_llmcompiler.assembler.bindings import Binding
from pytest_llmcompiler.assembler.operands import Expression, KeystoneRefusalError, is_reserved, parse_expression
from pytest_llmcompiler.assembler.reach import is_branch
from pytest_llmcompiler.assembler.statements import ParsedAssembly, Statement

NUMERIC_LABEL_MARK = "\0"
"""Stands in the unique name of a numeric label, between its number and the number of its statement. No text contains
this character, so no symbol has such a name."""


class LabelTable:
    """Resolves the names in one text to unique names of labels.

    A numeric label like `1:` may be defined many times; its unique name holds the number of its statement. `1f` and
    `1b` mean the next and the last definition. `.set a, b` makes `a` another name of the label `b`.
    """

    def __init__(self, parsed: ParsedAssembly, binding: Binding) -> None:
        """Raises KeystoneRefusalError for assignments other than `.set NAME, LABEL`, and for weak names without
        label."""
        self._parsed = parsed
        self._binding = binding
        self.aliases: dict[str, str] = {}
        """Alias -> unique name of its label."""
        for statement in (parsed.statements[number] for number in parsed.assignments):
            if statement.kind == "set" and statement.name not in binding.shared_names:
                self._add_alias(statement)
            elif statement.kind == "weak" and statement.name not in parsed.labels:
                raise refuse_statement(statement)

    def _add_alias(self, statement: Statement) -> None:
        name, target = statement.name, self.aliases.get(statement.operands, statement.operands)
        if name in self._parsed.labels or name in self.aliases or not self.is_own(target):
            raise refuse_statement(statement)
        self.aliases[name] = target

    def is_own(self, name: str) -> bool:
        """Whether a unique name means a definition of the text, and not one of the program."""
        return NUMERIC_LABEL_MARK in name or (name in self._parsed.labels and name not in self._binding.shared_names)

    def get_unique_name(self, number: int, statement: Statement) -> str:
        """The unique name of the label that statement number `number` defines."""
        return f"{statement.name}{NUMERIC_LABEL_MARK}{number}" if statement.is_numeric_label else statement.name

    def parse_expression(self, text: str, number: int, statement: Statement) -> Expression:
        """Parse an expression in statement number `number`; its symbols are unique names."""
        expression = parse_expression(text)
        if expression.is_number:
            return expression
        symbol, subtracted = expression.symbol, expression.subtracted_symbol
        own = symbol and self.resolve(symbol, number, statement)
        return expression._replace(
            symbol=own if is_branch(statement) else own and self.find_address(own),
            subtracted_symbol=subtracted and self.resolve(subtracted, number, statement),
        )

    def find_address(self, unique_name: str) -> str:
        """The name whose address a use of this name as an address means."""
        return self._binding.addressed.get(unique_name, unique_name)

    def resolve(self, symbol: str, number: int, statement: Statement) -> str:
        """The unique name that a symbol in statement number `number` means."""
        if is_reserved(symbol, statement.syntax):
            raise KeystoneRefusalError(f"{symbol} in {statement.text!r} is left to LLVM")
        if not symbol[0].isdigit():
            return self.aliases.get(symbol, symbol)
        definitions = self._parsed.numeric_labels.get(symbol[:-1], [])
        index = bisect_left(definitions, number) - (symbol[-1] == "b")
        if statement.syntax == "intel" or not 0 <= index < len(definitions):
            raise KeystoneRefusalError(f"the numeric label {symbol} is left to LLVM")
        return f"{symbol[:-1]}{NUMERIC_LABEL_MARK}{definitions[index]}"


def format_label(unique_name: str) -> str:
    """A unique name as the text writes it."""
    return unique_name.partition(NUMERIC_LABEL_MARK)[0]


def refuse_statement(statement: Statement) -> KeystoneRefusalError:
    """The error for a statement that keystone shall not assemble."""
    return KeystoneRefusalError(f"{statement.text!r} is left to LLVM")

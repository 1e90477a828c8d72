"""NASM's single-line macros that stand for a constant: `%define NAME VALUE` and `%assign NAME NUMBER`.

Macros with parameters, multi-line macros, conditions and repetitions are refused, with the line: code that needs them
is rare in answers, and each of them lets a short text grow without bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pytest_llmcompiler.assembler.nasm_lexer import Token, build_error

_MOST_TOKENS = 1 << 14
"""Tokens that the macros of one text may expand to: a macro of macros doubles with every line."""
_IGNORED = ("use", "pragma", "warning", "line", "note", "comment")
_READS_FILE = ("include", "incbin", "depend", "pathsearch")


class MacroTable:
    """The macros of one text, while its lines are read."""

    def __init__(self, source: str, evaluate: Callable[[Sequence[Token]], int]) -> None:
        """`evaluate` computes the number of `%assign`."""
        self._source = source
        self._evaluate = evaluate
        self._macros: dict[str, Sequence[Token]] = {}
        self._caseless: dict[str, Sequence[Token]] = {}
        """Macros of `%idefine`, by their names in lower case."""
        self._left = _MOST_TOKENS

    def is_directive(self, tokens: Sequence[Token]) -> bool:
        """Whether a line is for the preprocessor."""
        return len(tokens) > 1 and tokens[0].is_operator("%") and tokens[1].offset == tokens[0].offset + 1

    def apply(self, tokens: Sequence[Token]) -> None:
        """Follow a line for the preprocessor. Raises AssemblyError."""
        name, offset = tokens[1].name, tokens[0].offset
        arguments = tokens[2:]
        kind = name[1:] if name in ("ixdefine", "idefine", "iassign") else name
        if kind in ("define", "xdefine", "assign"):
            self._define(name, kind, arguments, offset)
        elif name == "undef" and arguments:
            self._macros.pop(arguments[0].text, None)
            self._caseless.pop(arguments[0].text.lower(), None)
        elif name not in _IGNORED:
            reason = "it reads a file" if name in _READS_FILE else "macros and conditions are not supported"
            raise build_error(self._source, f"%{tokens[1].text} is not supported: {reason}", offset)

    def _define(self, name: str, kind: str, arguments: Sequence[Token], offset: int) -> None:
        if not arguments or arguments[0].kind != "word":
            raise build_error(self._source, f"%{name} needs a name", offset)
        word, value = arguments[0], arguments[1:]
        if value and value[0].is_operator("(") and value[0].offset == word.offset + len(word.text):
            raise build_error(self._source, "macros with parameters are not supported", word.offset)
        if kind != "define":
            value = self.expand(value)
        if kind == "assign":
            number = self._evaluate(value)
            value = [Token("operator", "-", word.offset)] if number < 0 else []
            value.append(Token("number", str(abs(number)), word.offset))
        table = self._caseless if name[0] == "i" else self._macros
        table[word.text.lower() if name[0] == "i" else word.text] = value

    def expand(self, tokens: Sequence[Token]) -> Sequence[Token]:
        """The tokens with macros replaced; what replaces one has its offset."""
        if not self._macros and not self._caseless:
            return tokens
        return list(self._expand(tokens, frozenset()))

    def _expand(self, tokens: Sequence[Token], hidden: frozenset[str]) -> Iterator[Token]:
        for token in tokens:
            body = None
            if token.kind == "word" and token.text not in hidden:
                body = self._macros.get(token.text)
                body = self._caseless.get(token.name) if body is None else body
            if body is None:
                yield token
                continue
            self._left -= len(body) + 1
            if self._left < 0:
                raise build_error(self._source, f"macros expand to more than {_MOST_TOKENS} tokens", token.offset)
            for inner in self._expand(body, hidden | {token.text}):
                yield inner._replace(offset=token.offset)

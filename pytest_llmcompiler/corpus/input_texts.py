"""Texts for standard input, grown by what a program reads.

A random text is seldom what a program wants, and a program says what it wants: it calls `scanf("%d", &n)`. So an input
grows. The program runs, by the probe, on the text so far. Where it reads past the end, the formats of the calls say
what is missing; that is appended, and the program runs again. An example, a program that sums numbers:

    standard input     calls that find nothing         appended
    (nothing)          scanf("%d")                     "3\\n"
    3                  scanf("%d"), three times        "-7 12 0\\n"
    3 -7 12 0          none: this input is complete

A program that reads until the end of its input always wants more: so each input also has a random number of rounds.
The fuzzer mutates what comes of this, as it does with inputs of functions.
"""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Callable, Sequence

from pytest_llmcompiler.corpus.hints import Hints
from pytest_llmcompiler.corpus.probing import UndefinedInputError
from pytest_llmcompiler.emulator.input_calls import LINE, TEXT, InputCall, InputCalls
from pytest_llmcompiler.values.input import Input

_ROUNDS = (1, 2, 3, 4, 6, 10, 16)
"""How often an input is lengthened at most; one of these is chosen for each."""
_MOST_CALLS = 40
"""Calls of one run whose demands are met at once."""
_MOST_REPEATS = 16
"""How often the demand of one call is met at once, where a program makes the same demand again and again."""
_MOST_BYTES = 2_000
"""Bytes from which on an input is not lengthened."""
_PATTERN_SHARE, _PATTERN_LENGTHS = 0.3, (1, 3, 4, 5, 5, 6, 6, 8, 12, 20)
"""The share of inputs whose lines consist of two or three letters, and the lengths of the lines."""
_EXPRESSION_SHARE = 0.3
"""The share of other lines that are numbers with signs between them."""
_TOKEN, _INTEGER = re.compile(rb"[^\s,;]+"), re.compile(rb"-?\d+")
_CONVERSION = re.compile(rb"%(\*?)(\d*)(?:hh|h|ll|l|L|q|j|z|t|m)*(\[\^?\]?[^\]]*\]|[a-zA-Z%])")
_INTEGERS, _FLOATS = b"diuxXop", b"aAeEfFgG"
_EXTREMES = (0, -1, 255, 256, 32767, 65535, 65536, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1)
_FLOAT_TEXTS = (b"0", b"1", b"-1", b"0.5", b"3.25", b"-2.75", b"10", b"100.125", b"1e3", b"-0.001", b"12345.678")
_WORDS = (b"a", b"b", b"abc", b"hello", b"World", b"x1", b"the", b"of", b"Key", b"value", b"end", b"level", b"q")
_SIGNS = (b"+", b"-", b"*", b"/", b"(", b")", b"=", b",", b";", b".", b"#", b"%", b"<", b">", b"!", b"^")


class InputTextGenerator:
    """Generates texts. The same seed gives the same texts.

    `look` runs the probe on an input and may raise UndefinedInputError; afterwards `calls` has the calls of that run.
    `given` are texts of the case, whose letters are used.
    """

    def __init__(
        self,
        look: Callable[[Input], object],
        calls: Callable[[], InputCalls],
        hints: Hints,
        random_seed: int,
        given: Sequence[bytes] = (),
    ) -> None:
        self._look, self._calls, self._hints = look, calls, hints
        self._random = random.Random(random_seed)
        self._words = [*_WORDS, *(word for text in hints.strings for word in text.split() if b"%" not in word)]
        compared = bytes(number for number in hints.numbers if 32 <= number < 127)
        present = b"".join(given)
        self._letters = [*compared, *set(present), *2 * [letter for letter in compared if letter in present], *b"x.#0"]
        """Characters that the program compares with, or that its inputs have; what is both is more likely."""
        self._signs = [letter for letter in compared if not chr(letter).isalnum()] or list(b"+-*/,:")
        self._smallness = 0.6
        self._pattern: tuple[list[int], int] | None = None
        """The letters and the length of the lines of an input that is a board or a word of a language."""

    def grow(self, build: Callable[[bytes], Input]) -> Input:
        """An input whose text is grown. `build` gives the input with a text."""
        rounds = self._random.choice(_ROUNDS)
        self._smallness = self._random.choice((0.4, 0.7, 0.9))
        letters = self._random.sample(self._letters, self._random.choice((2, 2, 3)))
        is_pattern = self._random.random() < _PATTERN_SHARE
        self._pattern = (letters, self._random.choice(_PATTERN_LENGTHS)) if is_pattern else None
        text, repeats, last = b"", 1, None
        for _ in range(rounds):
            input = build(text)
            with contextlib.suppress(UndefinedInputError):  # what it read tells all the same
                self._look(input)
            calls = [call for call in self._calls().calls if self._wants_more(call)]
            if not calls or len(text) > _MOST_BYTES:
                return input
            # A program that checks each call wants one number at a time, and may want a hundred of them.
            repeats = min(2 * repeats, _MOST_REPEATS) if last == calls[0].format else 1
            last = calls[0].format
            text += self._meet(calls if len(calls) > 1 else calls * repeats, is_first=not text)
        return build(text)

    def vary(self, text: bytes) -> bytes:
        """A given input with other numbers, words and letters, and with lines that are repeated, moved or missing."""
        rate = self._random.choice((0.1, 0.3, 0.6))

        def replace(match: re.Match[bytes]) -> bytes:
            token = match[0]
            if self._random.random() >= rate:
                return token
            if _INTEGER.fullmatch(token):
                return self._choose_number()
            if len(token) > 1 and not self._random.randrange(3):
                return self.choose_word()
            letters = list(set(token)) + self._random.sample(self._letters, 1)
            return bytes(self._random.choice(letters) if self._random.random() < rate else byte for byte in token)

        lines = re.findall(rb"[^\n]*\n|[^\n]+", _TOKEN.sub(replace, text))
        for _ in range(self._random.choice((0, 0, 0, 1, 2))):
            at, line = self._random.randrange(len(lines) + 1), self._random.choice([*lines, b"\n"])
            lines[at : at + self._random.randrange(2)] = [line] if self._random.random() < 0.7 else []
        return b"".join(lines)

    # -- what a run wanted

    def _meet(self, calls: Sequence[InputCall], *, is_first: bool) -> bytes:
        """A text that meets the demands of calls that did not find what they read."""
        wanted = enumerate(calls[:_MOST_CALLS])
        text = b"".join(self._meet_call(call, is_first=is_first and not number) for number, call in wanted)
        return text if not text or text.endswith(b"\n") or self._random.random() < 0.1 else text.rstrip(b" ") + b"\n"

    def _wants_more(self, call: InputCall) -> bool:
        """Whether a call did not find all that it reads."""
        if call.format in (TEXT, LINE):
            return not call.unread
        return len(call.unread.split()) < _count_conversions(call.format)

    def _meet_call(self, call: InputCall, *, is_first: bool) -> bytes:
        if call.format == TEXT:
            return self._choose_text()
        if call.format == LINE:
            return self._choose_line(is_first=is_first)
        return self._fill_format(call.format, len(call.unread.split()))

    def _fill_format(self, format: bytes, present: int) -> bytes:
        """A text that `scanf` reads with a format, behind as many tokens of it as are present."""
        parts: list[bytes] = []
        at = tokens = 0
        while at < len(format):
            match = _CONVERSION.match(format, at)
            if match is None:
                blank = format[at : at + 1].isspace()
                parts += [] if tokens < present else [self._choose_blank() if blank else format[at : at + 1]]
                at += 1
                continue
            at = match.end()
            if match[3] in (b"%", b"n"):
                continue
            tokens += 1
            if tokens > present:
                is_glued = parts and not parts[-1][-1:].isspace() and match[3] != b"c"
                separator = self._choose_blank() if is_glued and _ends_token(parts[-1]) else b""
                parts.append(separator + self._choose_token(match[3], match[2]))
        text = b"".join(parts)
        return text + self._choose_blank() if text.strip() else b""

    # -- choices

    def _choose_token(self, conversion: bytes, width: bytes) -> bytes:
        most = min(int(width or b"40"), 40)
        if conversion in _INTEGERS:
            return self._choose_number()[:most]
        if conversion in _FLOATS:
            return self._random.choice((*_FLOAT_TEXTS, self._choose_number()))[:most]
        if conversion == b"c":
            return self._random.choice((*_SIGNS, *(word[:1] for word in self._words)))
        if conversion.startswith(b"["):
            return self._choose_line().rstrip(b"\n")[:most] or b"x"
        return self.choose_word()[:most]

    def _choose_number(self) -> bytes:
        choice = self._random.random()
        if choice < self._smallness:
            number = self._random.randint(0, 9)
        elif choice < self._smallness + 0.15:
            number = self._random.randint(-20, 120)
        elif choice < 0.95 or not self._hints.numbers:
            number = self._random.choice((*_EXTREMES, self._random.randint(-(10**6), 10**6)))
        else:
            number = self._random.choice(self._hints.numbers) + self._random.choice((-1, 0, 1))
        return b"%d" % number

    def choose_word(self) -> bytes:
        """A word, or a number."""
        if self._random.random() < 0.25:
            return self._choose_number()
        return self._random.choice(self._words)

    def _choose_line(self, *, is_first: bool = False) -> bytes:
        calls = self._calls()
        if self._pattern and is_first and calls.parses_numbers:
            return self._choose_number() + b"\n"
        if self._pattern:
            letters, length = self._pattern
            return bytes(self._random.choices(letters, k=length)) + b"\n"
        if calls.line_formats and self._random.random() < 0.7:
            format = self._random.choice(list(calls.line_formats))
            return self._fill_format(format, 0).replace(b"\n", b" ").rstrip() + b"\n"
        if self._random.random() < _EXPRESSION_SHARE:
            return self._choose_expression()
        is_numeric = calls.parses_numbers and self._random.random() < 0.7
        count = self._random.choice((1, 1, 1, 2, 3, 5)) if is_numeric else self._random.choice((0, 1, 2, 3, 5, 8))
        tokens = [self._choose_number() if is_numeric else self._choose_piece() for _ in range(count)]
        separator = self._random.choice((b" ", b" ", b" ", b"", b",", b"  ", b"\t"))
        return separator.join(tokens) + b"\n"

    def _choose_expression(self) -> bytes:
        """A line of numbers with signs between them: a sum, a date, a row of a table."""
        signs = self._random.choices(self._signs, k=self._random.choice((1, 1, 2, 2, 3, 5)))
        blank = self._random.choice((b"", b" "))
        parts = (blank + bytes([sign]) + blank + self._choose_number() for sign in signs)
        return self._choose_number() + b"".join(parts) + b"\n"

    def _choose_piece(self) -> bytes:
        return self._random.choice(_SIGNS) if self._random.random() < 0.25 else self.choose_word()

    def _choose_text(self) -> bytes:
        """A part of a text that is read by characters: a line, or a piece of one."""
        return self._choose_line() if self._random.random() < 0.6 else self._choose_piece()

    def _choose_blank(self) -> bytes:
        return self._random.choice((b" ", b" ", b" ", b"\n", b"\n", b"  "))


def _count_conversions(format: bytes) -> int:
    """How many tokens `scanf` reads with a format."""
    return sum(match[3] not in (b"%", b"n") for match in _CONVERSION.finditer(format))


def _ends_token(part: bytes) -> bool:
    """Whether a part would run together with a token behind it."""
    return part[-1:].isalnum() or part[-1:] in b"+-."

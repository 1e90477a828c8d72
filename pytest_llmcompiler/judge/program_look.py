"""The second look at whole programs: a candidate that passes the suite is run on inputs with its own constants.

They are made of accepted ones, in standard input and in arguments (see `answer_texts`). The oracle says whether the
program is defined on each, and what it does. How many are tried is counted in inputs and instructions, so that the same
code gets the same verdict everywhere.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace

from pytest_llmcompiler.corpus.probing import UndefinedInputError
from pytest_llmcompiler.corpus.turns import take_in_turn
from pytest_llmcompiler.judge.answer_texts import OwnTokens, TokenFinder, choose_bases, vary_text
from pytest_llmcompiler.judge.program_oracle import ProgramEntry
from pytest_llmcompiler.judge.program_suite import ProgramSuite
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.values.program_input import ProgramInput, to_corpus_input

_TRIES, _INSTRUCTIONS = 48, 48_000_000
"""With effort 1, how many inputs are tried, and how many bytes of code the reference may execute on them. An input is
dropped after its share of instructions, and costs no more: constants on which the program runs long hide few others."""
_MOST_SHARES = 4
"""Shares that an input may get where the program runs long on all: a dozen such inputs are tried at least."""
_KEPT_ENTRIES = 256
"""Inputs of which it is kept what the program does on them: the answers for a program share many constants."""


class ProgramLook:
    """The second look at the candidates for one program."""

    def __init__(self, suite: ProgramSuite, effort: float) -> None:
        self._suite, self._effort = suite, effort
        self._entries: dict[ProgramInput, ProgramEntry | None] = {}

    def preview(self, candidate: AssembledCode) -> tuple[ProgramEntry, ...]:
        """The inputs that are made for a candidate, with what the program does on each at first sight. Those on which
        the candidate differs are for `accept`."""
        under_test = self._suite.under_test
        if self._effort <= 0 or not under_test.has_varying_inputs:
            return ()
        tokens = self._token_finder.find(candidate)
        if not tokens:
            return ()
        self._suite.oracle.open()
        left, found = round(self._effort * _INSTRUCTIONS), []
        tried = itertools.islice(self._vary(tokens), round(self._effort * _TRIES))
        for program in dict.fromkeys(tried):
            entry = self._preview(program)
            left -= entry.expected.executed_bytes if entry else self._limit
            if left < 0:
                break
            if entry:
                found.append(entry)
        return tuple(found)

    def accept(self, entries: Iterable[ProgramEntry]) -> tuple[ProgramEntry, ...]:
        """The inputs of entries as far as the program is defined on them."""
        accepted = []
        for entry in entries:
            program = entry.program
            with contextlib.suppress(UndefinedInputError):
                accepted.append(self._suite.oracle.accept(to_corpus_input(program.standard_input, program.arguments)))
        return tuple(accepted)

    def _vary(self, tokens: OwnTokens) -> Iterator[ProgramInput]:
        """The bases with the tokens in standard input, and the one with most arguments with tokens in one of them."""
        series = [self._vary_standard_input(base.program, tokens) for base in self._bases]
        most = max((entry.program for entry in self._suite.entries), key=lambda program: len(program.arguments))
        series += [self._vary_argument(most, number, tokens) for number in range(len(most.arguments))]
        return take_in_turn(*series)

    def _vary_standard_input(self, base: ProgramInput, tokens: OwnTokens) -> Iterator[ProgramInput]:
        for text in vary_text(base.standard_input, tokens):
            yield replace(base, standard_input=text)

    def _vary_argument(self, base: ProgramInput, number: int, tokens: OwnTokens) -> Iterator[ProgramInput]:
        for text in [*(b"%d" % one for one in tokens.numbers), *tokens.words]:
            yield replace(base, arguments=(*base.arguments[:number], text, *base.arguments[number + 1 :]))

    @functools.cached_property
    def _token_finder(self) -> TokenFinder:
        golden = self._suite.under_test.reference.golden
        return TokenFinder(golden, golden.functions)

    @functools.cached_property
    def _limit(self) -> int:
        """The instructions after which an input is dropped, and what it costs then: its share of all, or twice what the
        longest input that is changed takes (an instruction has about four bytes), but no more than four shares."""
        longest = max((base.expected.executed_bytes for base in self._bases), default=0)
        share = _INSTRUCTIONS // _TRIES
        return min(max(share, longest // 2), _MOST_SHARES * share)

    @functools.cached_property
    def _bases(self) -> list[ProgramEntry]:
        """The inputs whose standard input is changed."""
        by_text = {entry.program.standard_input: entry for entry in reversed(self._suite.entries)}
        return [by_text[text] for text in choose_bases(list(by_text))]

    def _preview(self, program: ProgramInput) -> ProgramEntry | None:
        if program not in self._entries:
            try:
                entry = self._suite.oracle.preview(program, self._limit)
            except UndefinedInputError:
                entry = None
            if len(self._entries) >= _KEPT_ENTRIES:
                del self._entries[next(iter(self._entries))]
            self._entries[program] = entry
        return self._entries[program]

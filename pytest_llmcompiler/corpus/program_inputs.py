"""Inputs of whole programs: lists of arguments, and texts for standard input."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from pytest_llmcompiler.corpus.input_texts import InputTextGenerator
from pytest_llmcompiler.values.input import Input
from pytest_llmcompiler.values.program_input import to_corpus_input

_MOST_ARGUMENTS = 4
_VARIED_SHARE = 0.4
"""The share of inputs that are variations of given ones, where there are some."""


class ProgramInputGenerator:
    """Generates inputs. The same seed gives the same inputs.

    `given` are standard inputs that the case gives, of which variations are made. `argument_lists` are lists of
    arguments to choose from; where there are none, and the program `takes_arguments`, lists are made up.
    """

    def __init__(
        self,
        texts: InputTextGenerator,
        random_seed: int,
        given: Sequence[bytes],
        argument_lists: Sequence[tuple[bytes, ...]],
        *,
        takes_arguments: bool,
    ) -> None:
        self._texts, self._random = texts, random.Random(random_seed)
        self._given = [text for text in given if text]
        self._argument_lists, self._takes_arguments = argument_lists, takes_arguments

    def generate(self) -> Iterator[Input]:
        """Inputs without an end: the empty one first, then grown ones. Each is worth offering to a corpus."""
        yield to_corpus_input(b"", self._choose_arguments())
        while True:
            if self._given and self._random.random() < _VARIED_SHARE:
                yield to_corpus_input(self._texts.vary(self._random.choice(self._given)), self._choose_arguments())
            else:
                arguments = self._choose_arguments()
                yield self._texts.grow(lambda text, arguments=arguments: to_corpus_input(text, arguments))  # type: ignore[misc]

    def _choose_arguments(self) -> tuple[bytes, ...]:
        if self._argument_lists:
            return self._random.choice(self._argument_lists)
        if not self._takes_arguments:
            return ()
        return tuple(self._texts.choose_word() for _ in range(self._random.randrange(_MOST_ARGUMENTS)))

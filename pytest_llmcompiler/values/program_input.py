"""What a run of a whole program starts from: its arguments, standard input and files.

A corpus holds inputs of functions (`values.input`). So the texts that a program starts from are objects of such an
input, to which pseudo-variables lead: `standard input`, `argv[1]`, `argv[2]`, … The fuzzer changes them as it changes
any text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_llmcompiler.values.input import STANDARD_INPUT, Input, Object, point_to_text


@dataclass(frozen=True)
class ProgramInput:
    """What a process starts from."""

    standard_input: bytes = b""
    arguments: tuple[bytes, ...] = ()
    """Those behind the name of the program, without zeros."""
    files: tuple[tuple[str, bytes], ...] = ()
    """The names and contents of all files that there are. The program can't write them."""

    @property
    def size(self) -> int:
        """Bytes of standard input and arguments."""
        return len(self.standard_input) + sum(map(len, self.arguments))


def to_corpus_input(standard_input: bytes, arguments: Sequence[bytes]) -> Input:
    """The input of a corpus that stands for a start of the program."""
    names = [STANDARD_INPUT, *(f"argv[{number}]" for number in range(1, len(arguments) + 1))]
    texts = zip(names, (standard_input, *arguments), strict=True)
    return Input((), globals=tuple((name, point_to_text(text)) for name, text in texts))


def to_program_input(input: Input, files: tuple[tuple[str, bytes], ...]) -> ProgramInput:
    """The start of the program for which an input of a corpus stands. An argument ends before its first zero."""
    standard_input, *arguments = _list_texts(input)
    return ProgramInput(standard_input, tuple(text.partition(b"\0")[0] for text in arguments), files)


def _list_texts(input: Input) -> Iterator[bytes]:
    for _, value in input.globals:
        _, target = value.links[0]
        assert isinstance(target, Object)
        yield target.data

"""Variations of texts that are tried one by one (see `systematic`).

- Texts whose brackets are nested as deep as the program allows, and one deeper.
- Texts of a single character, for each that the program compares with.
- Texts that get far, each without one of their characters, and with some room behind their end, in which a second look
  can insert characters.
- Texts of one letter, up to 257 times.
- Texts without some of their lines: what a parser takes for granted behind others.
- A text of one letter that another text has at each of its places.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from pytest_llmcompiler.corpus.grammar import find_phrases, nest
from pytest_llmcompiler.corpus.input_numbers import set_number
from pytest_llmcompiler.corpus.mutator import is_text, set_content
from pytest_llmcompiler.corpus.seed_edits import count_branches, enlarge, is_plain, set_data
from pytest_llmcompiler.corpus.seed_pool import Seed
from pytest_llmcompiler.values.input import Input

_RUN_LENGTHS = (33, 255, 256, 257)
"""Lengths of texts that have one letter only."""
_DEPTHS = (8, 16, 32)
_NESTED_SEEDS, _MAX_DEPTH = 4, 64
_MAX_CHARACTERS = 32
_FURTHEST_SEEDS, _SHORTENED_SEEDS, _PADDING, _MAX_VARIED = 16, 3, 8, 64
"""Seeds whose texts get so many zeros behind them; those of which each character is left out; and the bytes of the
longest such text."""
_MAX_LINES, _MAX_LINE_BYTES = 10, 512
"""Lines of a text of which each run is left out, and its bytes."""
_MATCHED_LENGTH = 31
"""The length of a text that has one letter among others. Some functions take no more than 31."""
_FURTHEST_SHARE, _SHORT_TEXT, _MAX_REPLACED = 0.9, 4, 96
"""Seeds that take so many of the branches of the one that takes most count as those that get furthest. Texts of up to
the second number have no character replaced, and of longer ones the first ones only."""


def vary_texts(seeds: Sequence[Seed], by_reach: Sequence[Seed], constants: Collection[int]) -> list[Iterator[Input]]:
    """Series of inputs with other texts. `by_reach` has the seeds, those first that get furthest; `constants` are the
    numbers that the program compares with."""
    return [
        _repeat_letters(seeds),
        _drop_lines(by_reach[:_SHORTENED_SEEDS]),
        _match_once(seeds),
        _nest_texts(seeds, constants),
        _single_characters(seeds, constants),
        _shorten_and_pad(by_reach),
    ]


def _repeat_letters(seeds: Sequence[Seed]) -> Iterator[Input]:
    """Texts of one letter, with as much room in the other objects."""
    texts = ((seed, number) for seed in seeds for number, target in enumerate(seed.objects) if is_text(target))
    for seed, number in itertools.islice(texts, 1):
        for length in _RUN_LENGTHS:
            input = seed.input
            for other, target in enumerate(seed.objects):
                if is_plain(target) and target.data:
                    input = enlarge(seed, input, other)
            yield set_data(input, number, b"a" * length + b"\0")


def _drop_lines(seeds: Sequence[Seed]) -> Iterator[Input]:
    """Texts without a run of their lines, and with the numbers that count their characters."""
    for seed in seeds:
        for number, target in enumerate(seed.objects):
            lines = target.data.splitlines(keepends=True) if is_text(target) and target.count <= _MAX_LINE_BYTES else []
            for start, end in itertools.combinations(range(min(len(lines), _MAX_LINES) + 1), 2):
                data = b"".join((*lines[:start], *lines[end:]))
                if len(lines) < 3 or not data:
                    continue
                input = set_data(seed.input, number, data)
                for counter in seed.counters:
                    if counter.value == target.count:
                        input = set_number(input, counter, len(data))
                yield input


def _match_once(seeds: Sequence[Seed]) -> Iterator[Input]:
    for seed in seeds:
        first, *others = [number for number, target in enumerate(seed.objects) if is_text(target)] or [0]
        if others:
            for place in range(_MATCHED_LENGTH):
                text = b"a" * place + b"x" + b"a" * (_MATCHED_LENGTH - 1 - place) + b"\0"
                yield set_content(replace(seed, input=set_content(seed, first, b"x\0")), others[0], text)
            return


def _nest_texts(seeds: Sequence[Seed], constants: Collection[int]) -> Iterator[Input]:
    """For each kind of bracket, the shortest text that has it, with the bracket at several depths."""
    shortest: dict[int, tuple[int, Seed, int]] = {}
    for seed in seeds:
        for number, target in enumerate(seed.objects):
            text = target.data.partition(b"\0")[0] if is_text(target) else b""
            for start, end in find_phrases(text[:256]):
                if end - start > 1 and text[start] in b"([{<" and len(text) < shortest.get(text[start], (1 << 30,))[0]:
                    shortest[text[start]] = len(text), seed, number
    limits = {depth + step for depth in constants if 2 < depth < _MAX_DEPTH for step in (-1, 0, 1)}
    for _, seed, number in sorted(shortest.values(), key=lambda item: item[0])[:_NESTED_SEEDS]:
        data = seed.objects[number].data
        text, rest = data.partition(b"\0")[0], data[len(data.partition(b"\0")[0]) :]
        for depth in sorted({*_DEPTHS, *limits}):
            yield set_content(seed, number, nest(text, depth) + rest)


def _single_characters(seeds: Sequence[Seed], constants: Collection[int]) -> Iterator[Input]:
    texts = ((seed, number) for seed in seeds for number, target in enumerate(seed.objects) if is_text(target))
    seed, number = next(texts, (None, 0))
    for character in sorted({constant for constant in constants if 0 < constant < 128})[:_MAX_CHARACTERS]:
        if seed is not None:
            yield set_content(seed, number, bytes((character, 0)))


def _shorten_and_pad(seeds: Sequence[Seed]) -> Iterator[Input]:
    for place, seed in enumerate(seeds[:_FURTHEST_SEEDS]):
        for number, target in enumerate(seed.objects):
            if not (is_text(target) and 1 < target.count <= _MAX_VARIED and target.data.endswith(b"\0")):
                continue
            yield set_content(seed, number, target.data + bytes(_PADDING))
            text = target.data.partition(b"\0")[0] if place < _SHORTENED_SEEDS else b""
            for at in range(len(text)):
                yield set_content(seed, number, target.data[:at] + target.data[at + 1 :])


def replace_characters(seeds: Sequence[Seed]) -> Iterator[Input]:
    """The shortest of the texts that get furthest, with each of its characters replaced by one of its neighbours: one
    that is compared is then larger, or smaller. What no comparison tells from another is of no use."""
    most = max(map(count_branches, seeds), default=0)
    furthest = [seed for seed in seeds if count_branches(seed) >= _FURTHEST_SHARE * most]
    texts = [
        (target.count, place, number)
        for place, seed in enumerate(furthest)
        for number, target in enumerate(seed.objects)
        if is_text(target) and target.count > _SHORT_TEXT
    ]
    for _, place, number in sorted(texts)[:1]:
        data = furthest[place].objects[number].data
        for at, step in itertools.product(range(min(len(data), _MAX_REPLACED)), (-1, 1)):
            changed = bytes([(data[at] + step) % 256])
            yield set_data(furthest[place].input, number, data[:at] + changed + data[at + 1 :])

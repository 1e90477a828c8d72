"""The vocabulary: frequent pieces of IR and assembly, and every byte.

    python training/vocabulary.py FOLDER

A text is tokenised from its start, each time with the longest piece that fits, as llama.cpp does for the tokenizer
model `rwkv`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

END = b"\xff<end>"
"""The name of token 0, which stands before a prompt and behind an answer. llama.cpp would read the name in a text as
the token, so it begins with a byte that no text has."""
LONGEST = 31
"""The largest number of bytes of a piece: llama-cpp-python's first buffer holds no more."""
_LEXEMES = re.compile(r"%\d+\b|-?\d+\(%rbp\)|\d+, %rsp|\.L\d+|\d+:|\bi\d+\b|%[a-z]\w*|[A-Za-z_.@]+|\d|\s|[^\w\s]")
_UNMERGED = re.compile(r"%\d+|-?\d+\(%rbp\)|\d+, %rsp|\.L\d+|\d+:|[-\d]")
"""Lexemes that are never merged into a larger piece: values, labels, stack slots, digits, signs."""
_RARE = 20
"""A lexeme with fewer occurrences gets no token, and is spelt in bytes."""


class Vocabulary:
    """Pieces and their token numbers."""

    def __init__(self, pieces: list[str]) -> None:
        """`pieces` get the numbers after the end token and the 256 bytes."""
        self.pieces = pieces
        self._numbers = {piece.encode(): number for number, piece in enumerate(pieces, 257)}
        ordered = sorted(pieces, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(re.escape(piece.encode()) for piece in ordered) + rb"|[\x00-\xff]", re.S)

    def __len__(self) -> int:
        return 257 + len(self.pieces)

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text."""
        numbers = self._numbers
        return [numbers[piece] if piece in numbers else 1 + piece[0] for piece in self._pattern.findall(text.encode())]

    def decode_token(self, token: int) -> bytes:
        """The text of a token; nothing for the end token."""
        if token > 256:
            return self.pieces[token - 257].encode()
        return bytes([token - 1]) if token else b""

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read what `save` wrote."""
        return cls(json.loads(path.read_text(encoding="utf-8")))

    def save(self, path: Path) -> None:
        """Write the pieces."""
        path.write_text(json.dumps(self.pieces, indent=0) + "\n", encoding="utf-8")

    @classmethod
    def build(cls, texts: Iterable[str], count: int) -> Vocabulary:
        """Choose up to `count` pieces for texts: frequent lexemes, then again and again the most frequent pair of
        neighbouring pieces."""
        lexemes = [_LEXEMES.findall(text) for text in texts]
        single = Counter(lexeme for text in lexemes for lexeme in text)
        pieces = [lexeme for lexeme, times in single.most_common() if times >= _RARE and lexeme.isascii()]
        runs = Counter(run for text in lexemes for run in _split_runs(text))
        while len(pieces) < count:
            pairs: Counter[tuple[str, str]] = Counter()
            for run, times in runs.items():
                for pair in itertools.pairwise(run):
                    pairs[pair] += times
            best = next((pair for pair, _ in pairs.most_common() if len("".join(pair)) <= LONGEST), None)
            if best is None:
                break
            pieces.append("".join(best))
            joined: Counter[tuple[str, ...]] = Counter()
            for run, times in runs.items():
                joined[_join_pair(run, best)] += times
            runs = joined
        return cls([piece for piece in dict.fromkeys(pieces) if len(piece) > 1])


def _split_runs(lexemes: list[str]) -> Iterator[tuple[str, ...]]:
    """The lexemes between those that are never merged."""
    run: list[str] = []
    for lexeme in (*lexemes, "0"):
        if not _UNMERGED.fullmatch(lexeme):
            run.append(lexeme)
        elif run:
            yield tuple(run)
            run = []


def _join_pair(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    if pair[0] not in word:
        return word
    joined: list[str] = []
    for lexeme in word:
        if joined and (joined[-1], lexeme) == pair:
            joined[-1] += lexeme
        else:
            joined.append(lexeme)
    return tuple(joined)


def main() -> None:
    """Build the vocabulary of a folder of pairs, unless it exists."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pieces", type=int, default=980)
    parser.add_argument("--files", type=int, default=4, help="number of files of pairs to count pieces in")
    options = parser.parse_args()
    path = options.folder / "vocabulary.json"
    if not path.exists():
        wanted = (options.folder / f"pairs-{number}.jsonl" for number in range(options.files))
        files = [file for file in wanted if file.exists()]
        pairs = [json.loads(line) for file in files for line in file.open(encoding="utf-8")]
        texts = [text for pair in pairs for text in (pair["prompt"], pair["answer"])]
        Vocabulary.build(texts, options.pieces).save(path)
    print(f"{path}: {len(Vocabulary.load(path))} tokens")


if __name__ == "__main__":
    main()

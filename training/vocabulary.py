"""The vocabulary: pieces of IR and assembly, chosen by how often they occur, and every byte.

    python training/vocabulary.py FOLDER

A text is cut from its start, always at the longest piece that fits: what llama.cpp does for the tokenizer model `rwkv`.
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
"""Token 0: before a prompt, and after an answer. llama.cpp would take its name in a text for it, so it is no text."""
LONGEST = 31
"""Bytes of a piece: llama-cpp-python reads no more into its first buffer."""
_LEXEMES = re.compile(r"%\d+\b|-?\d+\(%rbp\)|\d+, %rsp|\.L\d+|\d+:|\bi\d+\b|%[a-z]\w*|[A-Za-z_.@]+|\d|\s|[^\w\s]")
_WHOLE = re.compile(r"%\d+|-?\d+\(%rbp\)|\d+, %rsp|\.L\d+|\d+:|[-\d]")
"""Lexemes that are never a part of a larger piece: values, labels, places on the stack, digits, signs."""
_SELDOM = 20
"""Occurrences below which a value or a place is spelled out."""


class Vocabulary:
    """The pieces by their numbers."""

    def __init__(self, pieces: list[str]) -> None:
        """`pieces` come after the end token and the 256 bytes."""
        self.pieces = pieces
        self._numbers = {piece.encode(): number for number, piece in enumerate(pieces, 257)}
        ordered = sorted(pieces, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(re.escape(piece.encode()) for piece in ordered) + rb"|[\x00-\xff]", re.S)

    def __len__(self) -> int:
        return 257 + len(self.pieces)

    def tokens(self, text: str) -> list[int]:
        """The numbers of a text's pieces."""
        numbers = self._numbers
        return [numbers[piece] if piece in numbers else 1 + piece[0] for piece in self._pattern.findall(text.encode())]

    def bytes_of(self, token: int) -> bytes:
        """What a token writes; nothing for the end."""
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
    def made(cls, texts: Iterable[str], count: int) -> Vocabulary:
        """Choose up to `count` pieces for texts: lexemes, and the pairs of neighbours that are most frequent."""
        lexemes = [_LEXEMES.findall(text) for text in texts]
        single = Counter(lexeme for text in lexemes for lexeme in text)
        pieces = [one for one, times in single.most_common() if times >= _SELDOM and one.isascii()]
        runs = Counter(run for text in lexemes for run in _runs(text))
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
                joined[_joined(run, best)] += times
            runs = joined
        return cls([piece for piece in dict.fromkeys(pieces) if len(piece) > 1])


def _runs(lexemes: list[str]) -> Iterator[tuple[str, ...]]:
    """What stands between the lexemes that are never joined."""
    run: list[str] = []
    for lexeme in (*lexemes, "0"):
        if not _WHOLE.fullmatch(lexeme):
            run.append(lexeme)
        elif run:
            yield tuple(run)
            run = []


def _joined(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    if pair[0] not in word:
        return word
    made: list[str] = []
    for lexeme in word:
        if made and (made[-1], lexeme) == pair:
            made[-1] += lexeme
        else:
            made.append(lexeme)
    return tuple(made)


def main() -> None:
    """Make the vocabulary of a folder of pairs, unless it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pieces", type=int, default=980)
    parser.add_argument("--files", type=int, default=4, help="the first files of pairs, up to so many, are looked at")
    options = parser.parse_args()
    path = options.folder / "vocabulary.json"
    if not path.exists():
        wanted = (options.folder / f"pairs-{number}.jsonl" for number in range(options.files))
        files = [file for file in wanted if file.exists()]
        pairs = [json.loads(line) for file in files for line in file.open(encoding="utf-8")]
        texts = [text for pair in pairs for text in (pair["prompt"], pair["answer"])]
        Vocabulary.made(texts, options.pieces).save(path)
    print(f"{path}: {len(Vocabulary.load(path))} tokens")


if __name__ == "__main__":
    main()

"""Corpora on disk: a corpus that was generated once is read by every later process and session."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pytest_llmcompiler.cache_files import CacheFile, describe_libraries
from pytest_llmcompiler.corpus.relations import ParameterRelations, RelationScope
from pytest_llmcompiler.values.c_types import Array, Float, Int, Type, Vector
from pytest_llmcompiler.values.input import Alias, Callback, Input, Object, StandardStream, SymbolPointer, Value
from pytest_llmcompiler.values.pickled import PickleFormat

FORMAT = 14
"""The version of the file format and of the generation of inputs. Raise it with every change after which a saved corpus
can't be read, or after which a new corpus would have other inputs: corpora of another version are generated anew. A
changed field of a saved class is noticed without that. Any other edit of this package keeps users' corpora."""
_LIBRARIES = ("hypothesis", "unicorn", "llvmlite", "ziglang")
"""The libraries whose releases may change the inputs that are generated."""


@dataclass(frozen=True)
class SavedCorpus:
    """The data of a corpus that is saved. The entries are computed again from the inputs."""

    inputs: tuple[Input, ...]
    dropped: Counter[str]
    """The number of different inputs that were of no use, by reason."""
    learned: dict[RelationScope, ParameterRelations]
    cut: dict[str, list[int]]
    """What the budget cut (`Budget.cut`)."""
    coverage: dict[str, Any] | None
    """The fact `coverage` of verdicts."""
    builds: frozenset[str]
    """The names of the builds of the reference that some inputs needed (`ReferenceBuilds.further`)."""
    adequacy: dict[str, Any] | None = None
    """The fact `adequacy` of verdicts; None where it is not known."""
    reserve: tuple[Input, ...] = ()
    """Inputs of second looks (`Corpus.reserve`)."""

    @property
    def is_valid(self) -> bool:
        """Whether the parts have the types that they should have: a file can hold anything."""
        return (
            isinstance(self.dropped, Counter)
            and isinstance(self.learned, dict)
            and isinstance(self.cut, dict)
            and isinstance(self.coverage, dict | None)
            and isinstance(self.adequacy, dict | None)
            and isinstance(self.builds, frozenset)
            and isinstance(self.reserve, tuple)
        )


_TARGET_CLASSES = (Object, Callback, Alias, SymbolPointer, StandardStream)
"""The classes of what a pointer leads to."""
SAVED_CLASSES = (SavedCorpus, Input, Value, *_TARGET_CLASSES, ParameterRelations, Int, Float, Array, Vector)
"""The dataclasses of which a saved corpus consists."""


class CorpusFile:
    """The file of one corpus. Its name is a digest of `key`, of `types`, and of what generated it."""

    def __init__(self, key: Iterable[str], types: Iterable[Type | None]) -> None:
        self._format = PickleFormat(SAVED_CLASSES, types)
        self._file = CacheFile("corpora", (describe_generator(), *key, *self._format.describe()))
        self.path = self._file.path

    def load(self) -> SavedCorpus | None:
        """The saved corpus; None where there is no file, or where it can't be read."""
        data = self._file.read()
        try:
            corpus = self._format.load(data) if data is not None else None
        except Exception:  # unpickling a broken file can raise any exception
            return None
        return corpus if isinstance(corpus, SavedCorpus) and corpus.is_valid else None

    def save(self, corpus: SavedCorpus) -> None:
        """Write a corpus to the file. Does nothing where the disk is full or the folder can't be written."""
        self._file.write(self._format.dump(corpus))


def describe_generator() -> str:
    """The format, and the releases of the libraries that generate corpora."""
    return f"format {FORMAT} {describe_libraries(*_LIBRARIES)}"

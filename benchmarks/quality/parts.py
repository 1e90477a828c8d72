"""Parts of how inputs are found, each of which can be left out, to measure what it adds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any

from pytest_llmcompiler.corpus.fuzzer import Corpus
from pytest_llmcompiler.corpus.grammar import TextGrammar
from pytest_llmcompiler.corpus.mending import Mender
from pytest_llmcompiler.judge import second_look, suite_generation
from pytest_llmcompiler.judge.engine_fuzzing import EngineFuzzer


def _leave_out_reserve() -> None:
    _replace(Corpus, "vary", lambda self, *_: None)
    keep = Corpus.keep
    _replace(Corpus, "keep", lambda self, inputs, count: keep(self, inputs, 0))


def _leave_out_variations() -> None:
    _replace(Corpus, "vary", lambda self, *_: None)


def _leave_out_constants() -> None:
    _replace(second_look, "find_constants", lambda *_, **__: ())


def _leave_out_mutants() -> None:
    _replace(suite_generation, "choose_inputs", lambda entries, *_: list(entries))


def _leave_out_grammar() -> None:
    _replace(TextGrammar, "derive", lambda self, seed: None)


def _leave_out_mending() -> None:
    _replace(Mender, "is_needed", lambda self, *_: False)


def _leave_out_reaching() -> None:
    _replace(EngineFuzzer, "search", lambda self, entries: [])


def _leave_out_fuzzing() -> None:
    _replace(Corpus, "fuzz", lambda self, *_: None)


def _replace(owner: Any, name: str, new: Callable[..., Any]) -> None:
    assert hasattr(owner, name), f"{owner} has no {name} any more"
    setattr(owner, name, functools.wraps(getattr(owner, name))(new))


PARTS: dict[str, Callable[[], None]] = {
    "fuzzing": _leave_out_fuzzing,
    "grammar": _leave_out_grammar,
    "mending": _leave_out_mending,
    "reaching": _leave_out_reaching,
    "mutants": _leave_out_mutants,
    "variations": _leave_out_variations,
    "reserve": _leave_out_reserve,
    "constants": _leave_out_constants,
}
"""How each part is left out in this process, by its name."""


def leave_out(names: Collection[str]) -> None:
    """Leave parts out, in this process. Corpora from a cache have what they were generated with: use another one."""
    for name in names:
        PARTS[name]()

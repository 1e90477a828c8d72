"""For comparison: fixed asserts in the place of the judge's own inputs, as published evaluations use them."""

from __future__ import annotations

from pytest_llmcompiler.judge.harness import Harness
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.values.input import Input

COUNT = 5
RULE = (
    f"Asserts: {COUNT} inputs a function, first those that the file's own `main` passes, then inputs spread evenly "
    "over the corpus from small to large. An assert sees the return value and what pointers lead to, and that the "
    "program crashes or hangs; it sees no output, globals, calls, memory around objects, or calling convention."
)
_UNSEEN = ("global ", "stdout", "stderr", "call ", "memory ", "live heap ")


def choose_assert_inputs(harness: Harness) -> list[Input]:
    """The inputs that hand-written asserts would use."""
    corpus = list(harness.corpus.entries)
    chosen = [input for input in harness.from_main if input in harness.corpus.entries][:COUNT]
    places = [len(corpus) * (2 * number + 1) // (2 * COUNT) for number in range(COUNT)]
    for place in places:
        if len(chosen) < COUNT and corpus[place] not in chosen:
            chosen.append(corpus[place])
    return chosen


def is_seen_by_assert(verdict: Verdict) -> bool:
    """Whether an assert would notice a failure. The first difference of the verdict decides."""
    if verdict.kind == "mismatch":
        return not verdict.message.startswith(_UNSEEN)
    return verdict.kind in ("crash", "hang")

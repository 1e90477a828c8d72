"""BLEU, by the library sacrebleu."""

from __future__ import annotations

from importlib.util import find_spec


def compute_bleu(text: str, reference: str) -> float | None:
    """The BLEU score, from 0 to 100, of one text against one reference; None where sacrebleu is not installed.

    It is sacrebleu's score of a sentence: tokens as in mteval-v13a, exponential smoothing.
    """
    if find_spec("sacrebleu") is None:
        return None
    from sacrebleu import sentence_bleu

    return round(float(sentence_bleu(text, [reference]).score), 2)

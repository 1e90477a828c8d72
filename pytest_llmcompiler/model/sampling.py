"""What the generating backends share: where an answer ends, and its seed."""

from __future__ import annotations

import hashlib

STOP = "</code>"
"""Generation ends here; the tag itself is not part of the answer."""

MINIMAL_ANSWER = 16
"""Tokens that must be left for an answer: with fewer no function fits."""


def sample_seed(seed: int, key: tuple[str, str, str, str], sample: int) -> int:
    """The seed of one sample: 31 bits that depend on nothing but the question, its number and `seed`.

    So an answer doesn't change with the selection or the order of the questions.
    """
    text = "\0".join((str(seed), *key, str(sample)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1

"""Where an answer ends, and its seed: the same for all backends."""

from __future__ import annotations

import hashlib

STOP = "</code>"
"""The stop string: the models write it behind the code. It is not part of the answer."""

MINIMAL_ANSWER = 16
"""The smallest number of tokens that a prompt must leave for an answer: no function has fewer."""


def sample_seed(seed: int, key: tuple[str, str, str, str], sample: int) -> int:
    """The seed of one sample: 31 bits that depend on the question's `key`, the number of the sample and `seed` alone.

    So an answer does not change with the selection or the order of the questions.
    """
    text = "\0".join((str(seed), *key, str(sample)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1

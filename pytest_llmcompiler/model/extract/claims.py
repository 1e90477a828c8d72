"""The sizes that an answer claims for its code: `instruction count 29 and binary sise 129 bytes`, as models spell
it."""

from __future__ import annotations

import re

_INSTRUCTIONS = re.compile(r"instruction count\s+(?:from\s+\d+\s+to\s+|of\s+)?(\d{1,9})\b", re.IGNORECASE)
_SIZE = re.compile(r"binary si[sz]e\s+(?:from\s+\d+\s+to\s+|of\s+)?(\d{1,9})\b", re.IGNORECASE)

_PROMPTED = re.compile(r"the input code has instruction count \d+ and binary si[sz]e \d+", re.IGNORECASE)
"""A sentence of the prompt that answers may repeat. It is no claim."""

_WORDS = ("instruction count", "binary si")
"""What claims begin with."""


def find_claimed_sizes(answer: str) -> dict[str, int]:
    """The claimed sizes: `instructions`, the number of IR instructions, and `size`, in bytes of text and data of the
    object. A size that the answer does not claim is missing."""
    if answer.isascii() and not any(word in answer.lower() for word in _WORDS):
        return {}  # as most answers: to look for words is a tenth of the work
    answer = _PROMPTED.sub("", answer)
    matches = {"instructions": _INSTRUCTIONS.search(answer), "size": _SIZE.search(answer)}
    return {name: int(match[1]) for name, match in matches.items() if match}

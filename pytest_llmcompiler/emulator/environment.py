"""What an input's environment seed chooses outside of the function: the error number, how much memory there is, and
what can be read from standard input.

The clock, the random bytes and the process's number, which the seed chooses too, are in `kernel.py`.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence

MEMORY_SHORTAGES = {
    21: "finds no memory",
    22: "finds no memory for sizes that are not multiples of 8",
    23: "finds no memory for sizes that are multiples of 8",
}
"""What malloc does under these environment seeds. Functions that allocate get seeds 0 to 23, so that an eighth of the
seeds has a shortage."""

OUTPUT_FAILURE = 8
"""The environment seed under which standard output can't be written, as on a full disk. Functions that write get seeds
0 to 8."""

_MAX_INPUT_LINES = 6
_INPUT_NUMBERS = ("0", "1", "-7", "42", "3.5", "255", "65536", "0x1f", "1e3")
_INPUT_WORDS = ("a", "Key", "value", "x1", "hello", "end", "#", '"q"', "", *_INPUT_NUMBERS)
"""What lines of standard input consist of. The first line has only numbers for odd seeds."""


def initial_errno(environment_seed: int) -> int:
    """The C library's error number before a run: 0, or for odd seeds a number that no function of the library sets."""
    return 131 * (environment_seed & 1)


def has_no_memory(environment_seed: int, size: int) -> bool:
    """Whether malloc returns NULL for a size.

    Only the size decides, because a correct candidate may make the same allocations in another order.
    """
    is_multiple = size % 8 == 0
    return environment_seed in MEMORY_SHORTAGES and (environment_seed == 21 or is_multiple == (environment_seed == 23))


@functools.lru_cache(maxsize=256)
def standard_input(environment_seed: int) -> bytes:
    """What a run can read from standard input: nothing for seed 0, else some lines of text."""
    choice = random.Random(f"standard input {environment_seed}")
    count = choice.randint(1, _MAX_INPUT_LINES) if environment_seed else 0
    lines = [_choose_line(choice, _INPUT_WORDS, choice.choice((0, 1, 1, 2, 3, 5))) for _ in range(count)]
    if environment_seed % 2:
        lines[0] = _choose_line(choice, _INPUT_NUMBERS, choice.randint(1, 4))
    text = "\n".join(lines)
    return (text + "\n" * (count > 0 and choice.random() < 0.75)).encode()


def _choose_line(choice: random.Random, words: Sequence[str], count: int) -> str:
    """A line of so many words, with one separator between them."""
    separator = choice.choice((" ", " ", ",", "=", ":", "\t", "/"))
    return separator.join(choice.choice(words) for _ in range(count))

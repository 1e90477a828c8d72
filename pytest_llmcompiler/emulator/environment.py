"""What an input's environment seed chooses outside of the function: the error number and how much memory there is.

The clock, the random bytes and the process's number, which the seed chooses too, are in `kernel.py`.
"""

from __future__ import annotations

MEMORY_SHORTAGES = {
    21: "finds no memory",
    22: "finds no memory for sizes that are not multiples of 8",
    23: "finds no memory for sizes that are multiples of 8",
}
"""What malloc does under these environment seeds. Functions that allocate get seeds 0 to 23, so that an eighth of the
seeds has a shortage."""


def initial_errno(environment_seed: int) -> int:
    """The C library's error number before a run: 0, or for odd seeds a number that no function of the library sets."""
    return 131 * (environment_seed & 1)


def has_no_memory(environment_seed: int, size: int) -> bool:
    """Whether malloc returns NULL for a size.

    Only the size decides, because a correct candidate may make the same allocations in another order.
    """
    is_multiple = size % 8 == 0
    return environment_seed in MEMORY_SHORTAGES and (environment_seed == 21 or is_multiple == (environment_seed == 23))

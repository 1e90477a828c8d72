"""A llama.cpp context: the KV cache, and the call that evaluates a batch of tokens.

The KV cache is one pool of *cells*. A cell holds the keys and values of one token, and belongs to one or more
*sequences*: a token of a sequence attends to the cells of its own sequence alone. Copying a prefix to another sequence
marks its cells as belonging to both, and copies no data.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pytest_llmcompiler.errors import ModelError
from pytest_llmcompiler.model.llama.weights import Weights

BATCH_TOKENS = 512
"""The largest number of tokens in one batch: llama.cpp's own default. Longer prompts take several batches."""


@dataclass(frozen=True)
class ContextSize:
    """How much a context holds."""

    cells: int
    """Tokens in the KV cache, of all sequences together."""
    context: int
    """The largest number of tokens of one prompt together with its answer."""
    sequences: int
    """The largest number of answers that are generated at once."""


class BatchRow(NamedTuple):
    """One token of a batch."""

    token: int
    position: int
    """The 0-based position of the token in its sequence."""
    sequence: int


class CacheFullError(ModelError):
    """The KV cache has no free cell for more tokens now; it may have some once a sequence has ended."""


class LlamaContext:
    """One context with its KV cache. Only sampling may be called from several threads at a time."""

    def __init__(self, weights: Weights, size: ContextSize) -> None:
        """Allocate the KV cache. Raises ModelError where there is not enough memory."""
        self.handle = _create_context(weights, size)
        """llama.cpp's own pointer, for its samplers."""
        self._cache = _llama().llama_get_memory(self.handle)
        self._batch = _NativeBatch(BATCH_TOKENS)
        self._free_sequences = list(range(2 * size.sequences))

    def allocate_sequence(self) -> int:
        """The number of a sequence that nobody uses."""
        return self._free_sequences.pop()

    def release_sequence(self, sequence: int) -> None:
        """Free the cells and the number of a sequence."""
        self.truncate(sequence, -1)
        self._free_sequences.append(sequence)

    def copy_prefix(self, source: int, target: int, tokens: int) -> None:
        """Let the sequence `target` begin with the first `tokens` tokens of `source`, in the same cells."""
        _llama().llama_memory_seq_cp(self._cache, source, target, 0, tokens)

    def truncate(self, sequence: int, length: int) -> None:
        """Keep the first `length` tokens of a sequence; with -1 none. Raises ModelError where the model can't."""
        if not _llama().llama_memory_seq_rm(self._cache, sequence, length, -1):
            raise ModelError("this model can't forget the last tokens of a sequence: use --llmc-drafts off")

    def has_first_token(self, sequence: int) -> bool:
        """Whether the beginning of a sequence is in the cache: a model with sliding-window attention drops the tokens
        before the window."""
        return int(_llama().llama_memory_seq_pos_min(self._cache, sequence)) == 0

    def evaluate(self, rows: Sequence[BatchRow], *, logits: bool = True) -> bool:
        """Evaluate at most BATCH_TOKENS tokens, and keep the logits after each of them where `logits` is true.

        False where the KV cache has no room for them: then nothing was evaluated. Raises ModelError for other errors.
        """
        # Source of the status: llama_decode in llama.h: 0 is success, 1 no free slot in the cache.
        status = self._batch.decode(self.handle, rows, logits)
        if status not in (0, 1):
            raise ModelError(f"llama.cpp failed to evaluate {len(rows)} tokens: status {status}")
        return status == 0

    def order_logits(self) -> None:
        """Sort the logits of the last batch into the order of its rows. Afterwards sampling only reads the context, so
        that several threads may sample."""
        _llama().llama_get_logits(self.handle)

    def close(self) -> None:
        """Free the context."""
        _llama().llama_free(self.handle)


class _NativeBatch:
    """llama.cpp's `llama_batch`, whose arrays are numpy's: it is filled without a Python loop."""

    def __init__(self, size: int) -> None:
        import numpy as np

        self._table = np.zeros((3, size), np.int32)
        """Rows: tokens, positions, sequences."""
        self._logits, self._counts = np.zeros(size, np.int8), np.ones(size, np.int32)
        number, address = ctypes.POINTER(ctypes.c_int32), self._table[2].ctypes.data
        self._pointers = (number * size)(*(ctypes.cast(address + 4 * row, number) for row in range(size)))
        """For each token the address of its list of sequences, which has one entry."""
        self._batch = _llama().llama_batch()
        self._batch.token, self._batch.pos = (self._table[row].ctypes.data_as(number) for row in (0, 1))
        self._batch.n_seq_id = self._counts.ctypes.data_as(number)
        self._batch.seq_id = ctypes.cast(self._pointers, ctypes.POINTER(number))
        self._batch.logits = self._logits.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))

    def decode(self, context: Any, rows: Sequence[BatchRow], logits: bool) -> int:
        """Call llama_decode and return its status."""
        import numpy as np

        count = len(rows)
        self._table[:, :count] = np.asarray(rows, np.int32).T
        self._logits[:count] = logits
        self._batch.n_tokens = count
        return int(_llama().llama_decode(context, self._batch))


def _create_context(weights: Weights, size: ContextSize) -> Any:
    llama = _llama()
    params = llama.llama_context_default_params()
    # llama.cpp refuses a batch that is larger than the context.
    params.n_ctx = max(size.cells, BATCH_TOKENS)
    # Each sequence that is generated, and as many prompts.
    params.n_seq_max = 2 * size.sequences
    params.n_batch = params.n_ubatch = BATCH_TOKENS
    params.n_threads = params.n_threads_batch = weights.threads
    # One pool of cells for all sequences: without it the samples of a question can't share their prompt's cells.
    params.kv_unified = True
    if not weights.gpu_layers:  # on a CPU flash attention is slower
        params.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = llama.llama_init_from_model(weights.model, params)
    if not context:
        gigabytes = size.cells * weights.cache_bytes_per_token / 1e9
        raise ModelError(
            f"no memory for a KV cache of {size.cells} tokens, about {gigabytes:.1f} GB: "
            "lower --llmc-n-ctx or --llmc-streams"
        )
    return context


def _llama() -> Any:
    import llama_cpp

    return llama_cpp

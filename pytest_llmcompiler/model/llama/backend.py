"""The backend for GGUF files: llama.cpp in this process, which generates many answers at once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pytest_llmcompiler.errors import ModelError
from pytest_llmcompiler.model.answer import Sampling
from pytest_llmcompiler.model.llama.batching import USUAL_ANSWER, BatchingEngine
from pytest_llmcompiler.model.llama.context import BATCH_TOKENS, ContextSize
from pytest_llmcompiler.model.llama.weights import Weights
from pytest_llmcompiler.model.queue.job_queue import JobQueue

_MOST_ON_CPU, _MOST_ON_GPU = 16, 64
"""The largest number of answers that are generated at once, unless the user asks for more: more gain little on a CPU,
and take memory on a GPU."""
_SHARED_PASSES = 2.5
"""The part of a step on a CPU that all its answers share, in passes of one token through the weights. Measured with a
model of 134 million parameters; with 1.4 million it gives the best number of answers as well."""
_MOST_SEQUENCES = 128
"""llama.cpp knows 256 sequences, and each answer may need a second one for its prompt."""
EXTRA_CELLS = 1024
"""Tokens in the KV cache for each answer beyond the first, which needs a whole context: answers are seldom longer."""
_SPARE_CELLS = 64
"""Tokens in the KV cache beyond those of the answers: llama.cpp needs a few for itself."""


class LlamaBackend:
    """llama.cpp with one loaded model.

    Sampling is by temperature and top-p alone: llama.cpp's other default filters (top-k, min-p) are off.
    """

    def __init__(
        self,
        path: Path,
        sampling: Sampling,
        n_ctx: int | None = None,
        gpu_layers: int | None = None,
        streams: int | None = None,
        *,
        drafts: bool = True,
        threads: int | None = None,
        extra_cells: int = EXTRA_CELLS,
        usual_answer: int = USUAL_ANSWER,
    ) -> None:
        """Load the file. Raises ModelError where that fails.

        `n_ctx` is the context in tokens, of one prompt with its answer; `streams` the number of answers that are
        generated at once; with `drafts`, a question's draft speeds its answers up. None means: chosen by the model and
        the machine. `threads` is the number of threads that compute. `extra_cells` is the size of the KV cache for each
        answer beyond the first, and `usual_answer` the length that is expected of the first answers, both in tokens.
        """
        if streams and streams > _MOST_SEQUENCES:
            raise ModelError(f"--llmc-streams {streams}: llama.cpp can write at most {_MOST_SEQUENCES} answers at once")
        self._sampling, self._has_drafts = sampling, drafts
        self._weights = Weights(path, gpu_layers, threads=threads)
        self._size = _choose_size(self._weights, n_ctx, streams, extra_cells)
        self.engine = BatchingEngine(self._weights, self._size, sampling, drafts=drafts, usual_answer=usual_answer)

    def describe(self) -> dict[str, Any]:
        """`size` is in bytes. `gpu_layers` of `layers` are on the GPU, where the output layer counts as one."""
        from llama_cpp import __version__

        weights, sampling = self._weights, self._sampling
        return {
            "backend": "llama.cpp",
            "name": weights.name,
            "file": weights.path.name,
            "size": weights.size,
            "context": self._size.context,
            "streams": self._size.sequences,
            "drafts": self._has_drafts,
            "gpu": weights.gpu_layers > 0,
            "gpu_layers": weights.gpu_layers,
            "layers": weights.layers,
            "sampling": {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": sampling.seed},
            "llama_cpp_python": __version__,
        }

    def identity(self) -> dict[str, Any]:
        """The facts that an answer depends on, but for the content of the file, the question and the sampling.

        Sums in batches of another shape are rounded differently, so answers that were generated alone have an identity
        of their own.
        """
        from llama_cpp import __version__

        # Matrix units round differently as well.
        matrix_units = {} if self._weights.has_amx or self._weights.is_on_gpu else {"amx": False}
        return {
            "backend": "llama.cpp",
            "llama_cpp_python": __version__,
            "alone": self._size.sequences == 1 and not self._has_drafts,
            "context": self._size.context,
            "gpu_layers": self._weights.gpu_layers,
            **matrix_units,
        }

    def usage(self) -> dict[str, float]:
        """`tokens` written, how many of them `from_draft`, and the seconds `busy` with them and `idle` between them."""
        engine = self.engine
        return {
            "tokens": engine.tokens_written,
            "from_draft": engine.tokens_from_draft,
            "busy": engine.busy_seconds,
            "idle": engine.idle_seconds,
        }

    def work(self, job_queue: JobQueue) -> None:
        """Generate what the job queue wants until it is closed. Raises ModelError where llama.cpp fails."""
        self.engine.work(job_queue)

    def close(self) -> None:
        """Free the memory of the model."""
        self.engine.close()
        self._weights.close()


def _choose_size(weights: Weights, n_ctx: int | None, streams: int | None, extra_cells: int) -> ContextSize:
    """How much the context holds.

    Raises ModelError where there is no memory for it. A shorter context would do, but give other answers.
    """
    if n_ctx and n_ctx > weights.trained_context:
        raise ModelError(
            f"--llmc-n-ctx {n_ctx}: {weights.path} was made for contexts of {weights.trained_context} tokens"
        )
    scores = 0 if weights.gpu_layers else weights.compute_score_bytes(BATCH_TOKENS)
    bytes_per_token = weights.cache_bytes_per_token + scores
    most_cells = max(weights.measure_context_memory() // bytes_per_token - _SPARE_CELLS, 0)
    context = n_ctx or weights.default_context
    if most_cells < context:
        raise ModelError(
            f"{weights.path} needs {bytes_per_token} bytes for each token of context, so the free memory holds "
            f"{most_cells} tokens, and the context should have {context}: lower --llmc-n-ctx"
        )
    sequences = streams or (_MOST_ON_GPU if weights.gpu_layers else _choose_cpu_sequences(weights))
    cells = min(context + (sequences - 1) * min(extra_cells, context), most_cells)
    return ContextSize(cells + _SPARE_CELLS, context, sequences)


def _choose_cpu_sequences(weights: Weights) -> int:
    """The number of answers that a CPU generates at once.

    Each more answer lowers every answer's share of a step, but adds its tokens to those that attention goes through:
    attention on a CPU covers the cells of all answers. With n answers of T tokens, s the time of the shared part of a
    step and a the time of attention to one token, a token takes s/n + a n T/2, and a time that does not depend on n.
    That is least at n = sqrt(2 s / (a T)).
    """
    shared = _SHARED_PASSES * weights.pass_in_tokens
    return max(2, min(_MOST_ON_CPU, round(math.sqrt(2 * shared / USUAL_ANSWER))))

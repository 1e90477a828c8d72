"""A GGUF file through llama.cpp, in this process: many answers at once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pytest_llmcompiler.errors import ModelError
from pytest_llmcompiler.model.answer import Sampling
from pytest_llmcompiler.model.llama import amx
from pytest_llmcompiler.model.llama.batching import BATCH, USUAL, BatchingEngine, ContextSize
from pytest_llmcompiler.model.llama.weights import Weights
from pytest_llmcompiler.model.queue.job_queue import JobQueue

_STREAMS_CPU, _STREAMS_GPU = 16, 64
"""Answers side by side at the most, unless told otherwise: more gain little on a CPU, and take memory on a GPU."""
_SHARED = 2.5
"""What the rows of a step share on a CPU: so many times what a row's weights would take at the speed of attention.
Measured with 134 million parameters; for 1.4 million it gives what is best there too."""
_MOST_STREAMS = 128
"""llama.cpp knows 256 sequences, and each stream may need one for a prompt too."""
_EACH = 1024
"""Tokens of memory for each stream beyond the first, which must have room for a whole context."""
_SPARE = 64
"""Tokens that llama.cpp needs beside those of the answers."""


class LlamaBackend:
    """llama.cpp with one model loaded.

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
    ) -> None:
        """Load the file. Raises ModelError where that can't be done.

        `n_ctx` is in tokens, of one prompt and its answer; `streams` is how many answers are written at once; with
        `drafts`, texts that answers are expected to resemble make them faster.
        """
        if streams and streams > _MOST_STREAMS:
            raise ModelError(f"--llmc-streams {streams}: llama.cpp can write at most {_MOST_STREAMS} answers at once")
        self._sampling, self._drafts = sampling, drafts
        self._weights = Weights(path, gpu_layers)
        self._shape = _shape(self._weights, n_ctx, streams)
        self._streams = BatchingEngine(self._weights, self._shape, sampling, drafts=drafts)

    def describe(self) -> dict[str, Any]:
        """`size` is in bytes; `gpu_layers` of `layers` are on the GPU, the output layer counted in."""
        from llama_cpp import __version__

        weights, sampling = self._weights, self._sampling
        return {
            "backend": "llama.cpp",
            "name": weights.name,
            "file": weights.path.name,
            "size": weights.size,
            "context": self._shape.context,
            "streams": self._shape.streams,
            "drafts": self._drafts,
            "gpu": weights.gpu_layers > 0,
            "gpu_layers": weights.gpu_layers,
            "layers": weights.layers,
            "sampling": {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": sampling.seed},
            "llama_cpp_python": __version__,
        }

    def identity(self) -> dict[str, Any]:
        """What an answer depends on, but for the file's content, its question and the sampling.

        Batches of another shape round otherwise, so answers that were written alone are kept apart.
        """
        from llama_cpp import __version__

        units = {} if amx.works() else {"amx": False}  # sums are rounded otherwise there
        alone = self._shape.streams == 1 and not self._drafts
        context = {"context": self._shape.context, "gpu_layers": self._weights.gpu_layers}
        return {"backend": "llama.cpp", "llama_cpp_python": __version__, "alone": alone, **context, **units}

    def usage(self) -> dict[str, float]:
        """Tokens written, how many of them had been proposed, and seconds of writing and of waiting for work."""
        streams = self._streams
        counts = {"tokens": streams.written, "from_draft": streams.from_draft}
        return {**counts, "busy": streams.busy, "idle": streams.idle}

    def work(self, job_queue: JobQueue) -> None:
        """Make what the desk wants until it is closed. Raises ModelError where llama.cpp fails."""
        self._streams.work(job_queue)

    def close(self) -> None:
        """Free the model's memory."""
        self._streams.close()
        self._weights.close()


def _shape(weights: Weights, n_ctx: int | None, streams: int | None) -> ContextSize:
    """How much the context holds. Raises ModelError where there is no memory for it: a shorter one would give other
    answers."""
    if n_ctx and n_ctx > weights.trained:
        raise ModelError(f"--llmc-n-ctx {n_ctx}: {weights.path} was made for contexts of {weights.trained} tokens")
    each = weights.token_bytes + (0 if weights.gpu_layers else weights.score_bytes(BATCH))
    fits = max(weights.free_bytes() // each - _SPARE, 0)
    context = n_ctx or weights.context
    if fits < context:
        raise ModelError(
            f"{weights.path} needs {each} bytes for each token, so there is memory for {fits} tokens "
            f"beside it, and the context is to have {context}: lower --llmc-n-ctx"
        )
    wanted = streams or (_STREAMS_GPU if weights.gpu_layers else _streams_on_cpu(weights))
    cells = min(context + (wanted - 1) * min(_EACH, context), fits)
    return ContextSize(cells + _SPARE, context, wanted)


def _streams_on_cpu(weights: Weights) -> int:
    """How many answers are best written side by side: each token of one costs a share of the step, and attention to the
    tokens of all others as well.

    With n answers of T tokens a token takes s/n + a n T/2 beside what does not depend on n, where s is what a step's
    rows share, and a attention to one token: the least at n = sqrt(2 s / (a T)).
    """
    steps = _SHARED * weights.tokens_as_work
    return max(2, min(_STREAMS_CPU, round(math.sqrt(2 * steps / USUAL))))

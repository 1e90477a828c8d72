"""A GGUF file in memory: the weights of a model, its vocabulary, and the metadata of the file."""

from __future__ import annotations

import ctypes
import functools
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_llmcompiler.errors import ModelError
from pytest_llmcompiler.model.llama import amx
from pytest_llmcompiler.model.llama.resources import count_cores, measure_free_memory, measure_gpu_memory

CONTEXT_CAP = 16384
"""The largest context in tokens unless the user asks for more: that of LLM Compiler. A larger one takes memory, and
functions seldom need it."""

_SINGLE_THREAD_BYTES = 50_000_000
"""The file size below which one thread computes: the threads of a small model wait for each other longer than they
work."""

_REBUILD = 'CMAKE_ARGS="-DGGML_CUDA=on" pip install --force-reinstall --no-cache-dir llama-cpp-python'
_USABLE_MEMORY = 0.9
"""The share of the free memory that is used: the rest is for llama.cpp's working buffers and other processes."""


class Weights:
    """A loaded model, without a context: that is `context.LlamaContext`."""

    def __init__(
        self,
        path: Path,
        gpu_layers: int | None,
        *,
        threads: int | None = None,
        measure_memory: Callable[[], int] = measure_free_memory,
    ) -> None:
        """Load the file.

        `gpu_layers` is the number of layers on the GPU; None or -1: all of them, where this build can use one.
        `threads` is the number of threads that compute; None: what suits the size of the file and the machine.
        `measure_memory` returns the bytes of memory that are free.

        Raises ModelError where the file is missing, no GGUF, corrupt, without a vocabulary, or too large. Warns with
        UserWarning where a GPU can be expected but this build of llama.cpp can't use one.
        """
        if not path.is_file():
            raise ModelError(f"no model file {path}")
        try:
            import llama_cpp
        except (ImportError, OSError, RuntimeError) as error:
            raise ModelError(f"llama-cpp-python can't be imported ({error}): install it again") from error

        self.path, self.size = path, sum(part.stat().st_size for part in find_parts(path))
        # Measured before loading: afterwards the weights may be cached files, which count as free, or copies in another
        # layout, which don't.
        self._free_memory = measure_memory()
        self.uses_gpu = _can_offload(gpu_layers)
        self._requested_gpu_layers = gpu_layers
        llama_cpp.llama_backend_init()
        self._check_memory()
        self.has_amx = not self.is_on_gpu and amx.is_amx_usable()
        """Whether a processor's matrix units (AMX) may multiply. On a GPU there is nothing for them, and no trial."""
        self.model = _load_model(path, (-1 if gpu_layers is None else gpu_layers) if self.uses_gpu else 0, self.has_amx)
        self.vocabulary: Any = llama_cpp.llama_model_get_vocab(self.model)
        self._check_kind()
        self.threads = threads or (1 if self.size < _SINGLE_THREAD_BYTES else count_cores())
        """The number of threads that compute."""
        self._token_texts: dict[int, bytes | None] = {}

    @property
    def architecture(self) -> str:
        """The file's name for the kind of model, like `llama`."""
        return self.read_metadata("general.architecture") or "unknown"

    @property
    def name(self) -> str:
        """The file's own name for the model, else the name of the file."""
        return self.read_metadata("general.name") or self.path.stem

    @property
    def default_context(self) -> int:
        """The context in tokens unless the user asks for another: what the model was trained for, at most
        CONTEXT_CAP."""
        return min(self.trained_context, CONTEXT_CAP)

    @property
    def trained_context(self) -> int:
        """The context in tokens that the model was trained for."""
        import llama_cpp

        return int(llama_cpp.llama_model_n_ctx_train(self.model)) or CONTEXT_CAP

    @property
    def layers(self) -> int:
        """The number of layers, with the output layer."""
        import llama_cpp

        return int(llama_cpp.llama_model_n_layer(self.model)) + 1

    @property
    def is_on_gpu(self) -> bool:
        """Whether all layers go to a GPU."""
        return self.uses_gpu and (self._requested_gpu_layers is None or self._requested_gpu_layers < 0)

    @property
    def gpu_layers(self) -> int:
        """The number of layers on the GPU."""
        if self.is_on_gpu:
            return self.layers
        return min(self._requested_gpu_layers or 0, self.layers) if self.uses_gpu else 0

    @property
    def can_rewind(self) -> bool:
        """Whether the last tokens of a sequence can be forgotten: recurrent models keep only their latest state."""
        import llama_cpp

        return not (llama_cpp.llama_model_is_recurrent(self.model) or llama_cpp.llama_model_is_hybrid(self.model))

    @property
    def cache_bytes_per_token(self) -> int:
        """The size of a token in the KV cache, in bytes at 16 bits a value; an upper bound for some architectures."""
        import llama_cpp

        layers, heads = self.layers - 1, int(llama_cpp.llama_model_n_head(self.model))
        # Where layers differ, the file holds a list, and llama.cpp gives its first entry alone.
        listed = re.findall(r"\d+", self.read_metadata(f"{self.architecture}.attention.head_count_kv") or "")
        kv_heads = max(1, int(llama_cpp.llama_model_n_head_kv(self.model)), *map(int, listed))
        width = int(llama_cpp.llama_model_n_embd(self.model)) // max(heads, 1)
        prefix = f"{self.architecture}.attention"
        key, value = (int(self.read_metadata(f"{prefix}.{name}_length") or width) for name in ("key", "value"))
        return 2 * layers * kv_heads * (key + value)

    @property
    def pass_in_tokens(self) -> float:
        """The number of cached tokens to which attention takes as long as one token's pass through all weights.

        It is the number of parameters over the multiplications of attention to one token: with its keys for the scores
        and with its values for the result, both as wide as the embedding, in each layer.
        """
        import llama_cpp

        width = int(llama_cpp.llama_model_n_embd(self.model))
        return float(llama_cpp.llama_model_n_params(self.model)) / (2 * (self.layers - 1) * width)

    def read_metadata(self, key: str) -> str | None:
        """A value of the file's metadata as text, at most 255 bytes of it; None where it has no such key."""
        import llama_cpp

        buffer = ctypes.create_string_buffer(256)
        length = llama_cpp.llama_model_meta_val_str(self.model, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", errors="replace") if length >= 0 else None

    def tokenise(self, text: str, *, is_prompt: bool) -> list[int]:
        """The tokens of a text. A prompt begins with exactly one BOS token where the model expects one, whether the
        text spells it out or not. Raises ModelError."""
        import llama_cpp

        data = text.encode()
        size = len(data) + 8  # no token is shorter than a byte; a few are added, like BOS
        buffer = (llama_cpp.llama_token * size)()
        count = llama_cpp.llama_tokenize(self.vocabulary, data, len(data), buffer, size, False, is_prompt)
        if count < 0:
            raise ModelError(f"llama.cpp can't tokenize a prompt of {len(data)} bytes: {count}")
        tokens: list[int] = buffer[:count]
        bos = llama_cpp.llama_vocab_bos(self.vocabulary)
        if is_prompt and llama_cpp.llama_vocab_get_add_bos(self.vocabulary) and tokens[:1] != [bos]:
            tokens.insert(0, bos)
        return tokens

    def decode_token(self, token: int) -> bytes | None:
        """The text of a token, which may be a part of a character; None for a token that ends an answer."""
        if token not in self._token_texts:
            self._token_texts[token] = self._read_token(token)
        return self._token_texts[token]

    def _read_token(self, token: int) -> bytes | None:
        import llama_cpp

        if llama_cpp.llama_vocab_is_eog(self.vocabulary, token):
            return None
        size = 32
        buffer = ctypes.create_string_buffer(size)
        length = llama_cpp.llama_token_to_piece(self.vocabulary, token, buffer, size, 0, False)
        if length < 0:  # the text is longer: minus its length
            size = -length
            buffer = ctypes.create_string_buffer(size)
            length = llama_cpp.llama_token_to_piece(self.vocabulary, token, buffer, size, 0, False)
        return buffer.raw[:length]

    def compute_score_bytes(self, rows: int) -> int:
        """The bytes that attention takes for each cached token beyond the KV cache, in a batch of `rows` tokens: a
        32-bit score for each row and head. Flash attention takes none."""
        import llama_cpp

        return 4 * rows * int(llama_cpp.llama_model_n_head(self.model))

    def measure_context_memory(self) -> int:
        """The bytes of memory that are left for a context: on the GPUs where layers are there, else in the machine."""
        on_gpu = sum(gpu.free for gpu in measure_gpu_memory()) if self.gpu_layers else 0
        return int(_USABLE_MEMORY * (on_gpu or max(self._free_memory - self.size, 0)))

    def close(self) -> None:
        """Free the memory."""
        import llama_cpp

        llama_cpp.llama_model_free(self.model)

    def _check_memory(self) -> None:
        """Raise ModelError where the GPUs, or without them the machine, have no room for the weights."""
        if not self.uses_gpu and self.size > _USABLE_MEMORY * self._free_memory:
            raise ModelError(
                f"{self.path} has {_format_gigabytes(self.size)}, and {_format_gigabytes(self._free_memory)} of memory "
                "are free: use a file with a stronger quantisation, or a server (--llmc-model http://…)"
            )
        free = sum(gpu.free for gpu in measure_gpu_memory()) if self.is_on_gpu else 0
        if free and self.size > _USABLE_MEMORY * free:
            percent = int(_USABLE_MEMORY * free / self.size * 100)
            raise ModelError(
                f"{self.path} has {_format_gigabytes(self.size)}, and {_format_gigabytes(free)} are free on the GPU: "
                f"about {percent} percent of its layers fit (--llmc-gpu-layers N), or use a file with a stronger "
                "quantisation"
            )

    def _check_kind(self) -> None:
        """Raise ModelError for a model that can't write text."""
        import llama_cpp

        has_none = llama_cpp.llama_vocab_type(self.vocabulary) == llama_cpp.LLAMA_VOCAB_TYPE_NONE
        if has_none or not llama_cpp.llama_vocab_n_tokens(self.vocabulary):
            raise ModelError(f"{self.path} has no tokenizer: convert the model again, with its vocabulary")
        is_other_kind = llama_cpp.llama_model_has_encoder(self.model) or llama_cpp.llama_model_is_diffusion(self.model)
        if is_other_kind or not llama_cpp.llama_model_has_decoder(self.model):
            raise ModelError(
                f"{self.path} holds a model of the kind {self.architecture!r}, which does not write text: "
                "use a decoder-only language model"
            )


def find_parts(path: Path) -> list[Path]:
    """The files of a model, of which `path` is the first: llama.cpp finds the others by its name.

    Source of the names: llama_split_path in llama.h. Raises ModelError where one is missing.
    """
    split = re.fullmatch(r"(.*)-00001-of-(\d{5})\.gguf", path.name)
    if not split:
        return [path]
    parts = [path.with_name(f"{split[1]}-{number:05}-of-{split[2]}.gguf") for number in range(1, int(split[2]) + 1)]
    missing = next((part for part in parts if not part.is_file()), None)
    if missing:
        raise ModelError(f"{path} is the first of {len(parts)} files, and there is no {missing}")
    return parts


def _format_gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def _can_offload(gpu_layers: int | None) -> bool:
    """Whether layers go to a GPU. Warns where the user asks for that or the machine has a GPU, and this build of
    llama.cpp can't use one."""
    from llama_cpp import llama_supports_gpu_offload

    can_offload: bool = llama_supports_gpu_offload()
    if gpu_layers == 0:
        return False
    is_requested = gpu_layers is not None
    if not can_offload and (is_requested or Path("/dev/nvidia0").exists()):
        reason = f"{gpu_layers} layers are to go to the GPU" if is_requested else "this machine has an NVIDIA GPU"
        warnings.warn(
            f"{reason}, but this build of llama.cpp can't use one: the model runs on the CPU. Rebuild with {_REBUILD}",
            UserWarning,
            stacklevel=2,
        )
    return can_offload


def _load_model(path: Path, gpu_layers: int, has_amx: bool) -> Any:
    import llama_cpp

    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = gpu_layers
    params.use_extra_bufts = has_amx  # other layouts of the weights
    _install_log_callback()
    _ERRORS.clear()
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    if model is None:
        raise ModelError(f"llama.cpp can't load {path}: {_ERRORS[0] if _ERRORS else 'it gives no reason'}")
    return model


_ERRORS: list[str] = []
"""llama.cpp's error messages since the last load began."""


@functools.cache
def _install_log_callback() -> object:
    """Collect llama.cpp's error messages, and print its log to standard error. The cache keeps the callback alive."""
    import llama_cpp

    info_level, error_level = 2, 4  # GGML_LOG_LEVEL_INFO and _ERROR in ggml.h

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def receive(level: int, text: bytes, user_data: Any) -> None:
        message = text.decode("utf-8", errors="replace")
        if level == error_level:
            _ERRORS.append(message.strip())
        if level >= info_level:
            sys.stderr.write(message)

    llama_cpp.llama_log_set(receive, ctypes.c_void_p(0))
    return receive

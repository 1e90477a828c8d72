"""A GGUF file in memory: the model's vocabulary, and what the file says of itself."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

from pytest_llmcompiler.errors import ModelError
from pytest_llmcompiler.model.llama import amx

CONTEXT_CAP = 16384
"""Context in tokens unless told otherwise: what LLM Compiler has. More costs memory and is seldom of use."""

_TINY = 50_000_000
"""Below this size in bytes a model's threads spend longer waiting for each other than working."""

_REBUILD = 'CMAKE_ARGS="-DGGML_CUDA=on" pip install --force-reinstall --no-cache-dir llama-cpp-python'
_CGROUP = Path("/sys/fs/cgroup")
_ROOM = 0.9
"""How much of the free memory is used."""


class Weights:
    """A loaded model. It has no context yet: see `streams`."""

    def __init__(self, path: Path, gpu_layers: int | None) -> None:
        """Load the file. Raises ModelError where it is missing, no GGUF, corrupt, without a vocabulary, or too large.

        Warns with UserWarning where a GPU can be expected but this build of llama.cpp can't use one.
        """
        if not path.is_file():
            raise ModelError(f"no model file {path}")
        try:
            import llama_cpp
        except (ImportError, OSError, RuntimeError) as error:
            raise ModelError(f"llama-cpp-python can't be imported ({error}): install it again") from error

        self.path, self.size = path, sum(part.stat().st_size for part in parts(path))
        # Now, since afterwards nobody can tell which of the weights are only cached files and which are copies.
        self._free = _memory()
        self.offloads = _offloads(gpu_layers)
        self._asked = gpu_layers
        llama_cpp.llama_backend_init()
        self._check_memory()
        self.model = _load(path, (-1 if gpu_layers is None else gpu_layers) if self.offloads else 0)
        self.vocab: Any = llama_cpp.llama_model_get_vocab(self.model)
        self.vocabulary = int(llama_cpp.llama_vocab_n_tokens(self.vocab))
        if llama_cpp.llama_vocab_type(self.vocab) == llama_cpp.LLAMA_VOCAB_TYPE_NONE or not self.vocabulary:
            raise ModelError(f"{path} has no tokenizer: convert the model again, with its vocabulary")
        kind = llama_cpp.llama_model_has_encoder, llama_cpp.llama_model_is_diffusion
        if not llama_cpp.llama_model_has_decoder(self.model) or any(other(self.model) for other in kind):
            raise ModelError(f"{path} holds a model of the kind {self.architecture!r}, which does not write text")
        self._pieces: dict[int, bytes | None] = {}

    @property
    def architecture(self) -> str:
        """What the file calls the kind of model."""
        return self.fact("general.architecture") or "unknown"

    @property
    def name(self) -> str:
        """What the file calls itself."""
        return self.fact("general.name") or self.path.stem

    @property
    def context(self) -> int:
        """Tokens of context unless told otherwise: what it was trained for, at most CONTEXT_CAP."""
        return min(self.trained, CONTEXT_CAP)

    @property
    def trained(self) -> int:
        """Tokens of context that the model was trained for."""
        import llama_cpp

        return int(llama_cpp.llama_model_n_ctx_train(self.model)) or CONTEXT_CAP

    @property
    def layers(self) -> int:
        """Layers, the output layer counted in."""
        import llama_cpp

        return int(llama_cpp.llama_model_n_layer(self.model)) + 1

    @property
    def gpu_layers(self) -> int:
        """Layers on the GPU."""
        if not self.offloads:
            return 0
        return self.layers if self._asked is None or self._asked < 0 else min(self._asked, self.layers)

    @property
    def can_go_back(self) -> bool:
        """Whether tokens that were evaluated can be forgotten: recurrent models only know the latest state."""
        import llama_cpp

        return not (llama_cpp.llama_model_is_recurrent(self.model) or llama_cpp.llama_model_is_hybrid(self.model))

    @property
    def token_bytes(self) -> int:
        """What a token takes in the KV cache, in bytes at 16 bits a value; an upper bound for some architectures."""
        import llama_cpp

        layers, heads = self.layers - 1, int(llama_cpp.llama_model_n_head(self.model))
        # Layers may differ: the file then has a list, and llama.cpp answers for the first of them.
        listed = re.findall(r"\d+", self.fact(f"{self.architecture}.attention.head_count_kv") or "")
        shared = max(1, int(llama_cpp.llama_model_n_head_kv(self.model)), *map(int, listed))
        width = int(llama_cpp.llama_model_n_embd(self.model)) // max(heads, 1)
        key, value = (int(self.fact(f"{self.architecture}.attention.{n}_length") or width) for n in ("key", "value"))
        return 2 * layers * shared * (key + value)

    def fact(self, key: str) -> str | None:
        """A value of the file's metadata."""
        import llama_cpp

        buffer = ctypes.create_string_buffer(256)
        length = llama_cpp.llama_model_meta_val_str(self.model, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", errors="replace") if length >= 0 else None

    def tokens(self, text: str, *, start: bool) -> list[int]:
        """The tokens of a text; at the `start`, with one BOS where the model wants it, written out or not."""
        import llama_cpp

        data = text.encode()
        room = len(data) + 8
        buffer = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(self.vocab, data, len(data), buffer, room, False, start)
        if count < 0:
            raise ModelError(f"llama.cpp can't tokenize a prompt of {len(data)} bytes: {count}")
        tokens: list[int] = buffer[:count]
        bos = llama_cpp.llama_vocab_bos(self.vocab)
        if start and llama_cpp.llama_vocab_get_add_bos(self.vocab) and tokens[:1] != [bos]:
            tokens.insert(0, bos)
        return tokens

    def piece(self, token: int) -> bytes | None:
        """What a token writes; None for one that ends an answer."""
        if token not in self._pieces:
            self._pieces[token] = self._read(token)
        return self._pieces[token]

    def _read(self, token: int) -> bytes | None:
        import llama_cpp

        if llama_cpp.llama_vocab_is_eog(self.vocab, token):
            return None
        size = 32
        buffer = ctypes.create_string_buffer(size)
        length = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, size, 0, False)
        if length < 0:
            size = -length
            buffer = ctypes.create_string_buffer(size)
            length = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, size, 0, False)
        return buffer.raw[:length]

    def threads(self) -> int:
        """Threads to compute with: one for a small model, else all cores that this process may use."""
        return 1 if self.size < _TINY else cores()

    @property
    def tokens_as_work(self) -> float:
        """How many tokens in memory it takes as long to attend to as to go through the weights: parameters over the
        products of keys, queries, scores and values for one token."""
        import llama_cpp

        width = int(llama_cpp.llama_model_n_embd(self.model))
        return float(llama_cpp.llama_model_n_params(self.model)) / (2 * (self.layers - 1) * width)

    def score_bytes(self, rows: int) -> int:
        """What attention takes for each token in memory beside the KV cache, in bytes, where so many rows are evaluated
        at once: a number of 32 bits for each row and head. With flash attention it takes none."""
        import llama_cpp

        return 4 * rows * int(llama_cpp.llama_model_n_head(self.model))

    def free_bytes(self) -> int:
        """Memory that is left for contexts: of the GPUs where layers are there, else of the machine."""
        on_gpu = sum(free for free, _ in _gpu_memory()) if self.gpu_layers else 0
        return int(_ROOM * (on_gpu or max(self._free - self.size, 0)))

    def close(self) -> None:
        """Free the memory."""
        import llama_cpp

        llama_cpp.llama_model_free(self.model)

    def _check_memory(self) -> None:
        """Raise ModelError where the GPUs, or without them the machine, have no room for all that is to go there."""
        if not self.offloads and self.size > _ROOM * self._free:
            raise ModelError(
                f"{self.path} has {_gigabytes(self.size)}, and {_gigabytes(self._free)} of memory are free: take a "
                "file that is quantised more, or a server (--llmc-model http://…)"
            )
        free = sum(free for free, _ in _gpu_memory()) if self.offloads and (self._asked or -1) < 0 else 0
        if free and self.size > _ROOM * free:
            share = int(_ROOM * free / self.size * 100)
            raise ModelError(
                f"{self.path} has {_gigabytes(self.size)}, and {_gigabytes(free)} are free on the GPU: about {share} "
                f"percent of its layers fit (--llmc-gpu-layers N), or take a file that is quantised more"
            )


def parts(path: Path) -> list[Path]:
    """The files that a model is in: llama.cpp finds the others by the name of the first. Raises ModelError where one is
    missing. Source of the names: llama_split_path in llama.h."""
    split = re.fullmatch(r"(.*)-00001-of-(\d{5})\.gguf", path.name)
    if not split:
        return [path]
    found = [path.with_name(f"{split[1]}-{number:05}-of-{split[2]}.gguf") for number in range(1, int(split[2]) + 1)]
    missing = [one for one in found if not one.is_file()]
    if missing:
        raise ModelError(f"{path} is the first of {len(found)} files, and there is no {missing[0]}")
    return found


def cores() -> int:
    """Cores that this process may use: threads beyond them wait for each other."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        return allowed if quota == "max" else max(1, min(allowed, int(quota) // int(period)))
    except (OSError, ValueError):
        return allowed


def _memory() -> int:
    """Bytes that this process may have still, files that are only cached counted as free."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    try:
        most, used = ((_CGROUP / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        if most == "max":
            return free
        counts = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        cached = int(counts["active_file"]) + int(counts["inactive_file"])
        return max(0, min(free, int(most) - int(used) + cached))
    except (OSError, ValueError, KeyError):
        return free


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def _gpu_memory() -> list[tuple[int, int]]:
    """Free bytes and all bytes of each GPU that llama.cpp can use.

    Source of the calls: ggml-backend.h; llama-cpp-python has no names for them.
    """
    from llama_cpp._ggml import libggml

    gpus = 1, 2  # GGML_BACKEND_DEVICE_TYPE_GPU, and _IGPU, which shares the machine's memory
    device, memory = libggml.ggml_backend_dev_get, libggml.ggml_backend_dev_memory
    device.restype, device.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    memory.restype, memory.argtypes = None, [ctypes.c_void_p, *[ctypes.POINTER(ctypes.c_size_t)] * 2]
    kind = libggml.ggml_backend_dev_type
    kind.restype, kind.argtypes = ctypes.c_int, [ctypes.c_void_p]
    count = libggml.ggml_backend_dev_count
    count.restype = ctypes.c_size_t
    found = []
    for index in range(count()):
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        if kind(device(index)) in gpus:
            memory(device(index), ctypes.byref(free), ctypes.byref(total))
            found.append((free.value, total.value))
    return found


def _offloads(gpu_layers: int | None) -> bool:
    """Whether layers go to a GPU. Warns where one is asked for or there, and the build can't use it."""
    from llama_cpp import llama_supports_gpu_offload

    can: bool = llama_supports_gpu_offload()
    if gpu_layers == 0:
        return False
    asked = gpu_layers is not None
    if not can and (asked or Path("/dev/nvidia0").exists()):
        why = f"{gpu_layers} layers are to go to the GPU" if asked else "this machine has an NVIDIA GPU"
        warnings.warn(
            f"{why}, but this build of llama.cpp can't use one: the model runs on the CPU. Rebuild with {_REBUILD}",
            UserWarning,
            stacklevel=2,
        )
    return can


def _load(path: Path, gpu_layers: int) -> Any:
    import llama_cpp

    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = gpu_layers
    params.use_extra_bufts = amx.works()  # layouts of weights for a processor's special units
    _listen()
    _ERRORS.clear()
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    if model is None:
        raise ModelError(f"llama.cpp can't load {path}: {_ERRORS[0] if _ERRORS else 'it does not say why'}")
    return model


_ERRORS: list[str] = []
"""What llama.cpp complained about since the last load began."""


@functools.cache
def _listen() -> object:
    """Keep llama.cpp's complaints, and let what it says go to standard error. What is returned must live on."""
    import llama_cpp

    info_level, error_level = 2, 4

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def listen(level: int, text: bytes, user_data: Any) -> None:
        words = text.decode("utf-8", errors="replace")
        if level == error_level:
            _ERRORS.append(words.strip())
        if level >= info_level:
            sys.stderr.write(words)

    llama_cpp.llama_log_set(listen, ctypes.c_void_p(0))
    return listen

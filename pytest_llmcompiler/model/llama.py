"""A GGUF file through llama.cpp, in this process."""

from __future__ import annotations

import ctypes
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmcompiler.model.answer import Answer, ModelError, Prompt, PromptTooLong, Sampling, Stop
from pytest_llmcompiler.model.drawing import MINIMAL_ANSWER, STOP, sample_seed

if TYPE_CHECKING:
    from llama_cpp import Llama

CONTEXT_CAP = 16384
"""Context in tokens unless told otherwise: what LLM Compiler has. More costs memory and is seldom of use."""

_TINY = 50_000_000
"""Below this size in bytes a model's threads spend longer waiting for each other than working."""

_REBUILD = 'CMAKE_ARGS="-DGGML_CUDA=on" pip install --force-reinstall --no-cache-dir llama-cpp-python'


class LlamaModel:
    """llama.cpp with one model loaded.

    Sampling is by temperature and top-p alone: llama.cpp's other default filters (top-k, min-p) are off.
    """

    def __init__(self, path: Path, sampling: Sampling, n_ctx: int | None, gpu_layers: int | None) -> None:
        """Load the file. Raises ModelError where it is missing, no GGUF, corrupt or too large for the memory.

        Warns with UserWarning where a GPU can be expected but this build of llama.cpp can't use one.
        """
        if not path.is_file():
            raise ModelError(f"no model file {path}")
        self._path = path
        self._sampling = sampling
        self._offloads = _offloads(gpu_layers)
        self._requested_layers = gpu_layers
        self._llama = _load(path, n_ctx, gpu_layers if self._offloads else 0)
        # llama.cpp rounds the context up, its Python side has room for what was asked for.
        self._context = min(self._llama.n_ctx(), len(self._llama.input_ids))
        self._vocab = _vocab(self._llama)
        self._prefilled: list[int] = []

    def describe(self) -> dict[str, Any]:
        """`size` is in bytes; `gpu_layers` of `layers` are on the GPU, the output layer counted in."""
        from llama_cpp import __version__

        metadata = self._llama.metadata
        layers = int(metadata.get(f"{metadata.get('general.architecture')}.block_count", 0)) + 1
        requested = self._requested_layers
        wanted = layers if requested is None or requested < 0 else min(requested, layers)
        on_gpu = wanted if self._offloads else 0
        return {
            "backend": "llama.cpp",
            "name": metadata.get("general.name", self._path.stem),
            "file": self._path.name,
            "size": self._path.stat().st_size,
            "context": self._context,
            "gpu": on_gpu > 0,
            "gpu_layers": on_gpu,
            "layers": layers,
            "llama_cpp_python": __version__,
        }

    def answers(self, prompt: Prompt, samples: int) -> Iterator[Answer]:
        """Yield `samples` answers; each depends only on the model, the prompt's text and key, and its number."""
        tokens = self._tokenize(prompt.text)
        if len(tokens) + MINIMAL_ANSWER > self._context:
            raise PromptTooLong(len(tokens), self._context)
        for sample in range(samples):
            try:
                if self._prefilled != tokens:
                    self._prefill(tokens)
                answer = self._answer(prompt, tokens, sample)
            except RuntimeError as error:
                raise ModelError(f"llama.cpp failed on {prompt.function}, sample {sample}: {error}") from error
            yield answer

    def close(self) -> None:
        """Free the model's memory."""
        self._llama.close()

    def _tokenize(self, text: str) -> list[int]:
        """The prompt's tokens, with one BOS where the model wants it, also if the template wrote it out."""
        import llama_cpp

        tokens: list[int] = self._llama.tokenize(text.encode(), add_bos=False, special=True)
        bos = self._llama.token_bos()
        if llama_cpp.llama_vocab_get_add_bos(self._vocab) and tokens[:1] != [bos]:
            tokens.insert(0, bos)
        return tokens

    def _prefill(self, tokens: list[int]) -> None:
        """Evaluate all but the last token on an empty memory.

        Each sample then evaluates the last one alone, the first sample too: evaluated in another batch the
        logits would differ in the last bits, and with them now and then the answer.
        """
        self._prefilled = []
        self._llama.reset()
        self._llama.eval(tokens[:-1])
        self._prefilled = tokens

    def _answer(self, prompt: Prompt, tokens: list[int], sample: int) -> Answer:
        started = time.perf_counter()
        seed = sample_seed(self._sampling.seed, prompt.key, sample)
        text, count, stop = self._generate(tokens, seed)
        return Answer(
            text=text,
            sample=sample,
            stop=stop,
            prompt_tokens=len(tokens),
            answer_tokens=count,
            seconds=round(time.perf_counter() - started, 3),
            seed=seed,
        )

    def _generate(self, tokens: list[int], seed: int) -> tuple[str, int, Stop]:
        """One answer: its text, its length in tokens, and why it ended."""
        import llama_cpp

        limit = self._context - len(tokens)
        if self._sampling.max_tokens is not None:
            limit = min(limit, self._sampling.max_tokens)
        self._llama.set_seed(seed)
        stop_bytes = STOP.encode()
        text = bytearray()
        count = 0
        generated = self._llama.generate(
            tokens, temp=self._sampling.temperature, top_p=self._sampling.top_p, top_k=0, min_p=0.0
        )
        for token in generated:
            if llama_cpp.llama_vocab_is_eog(self._vocab, token):
                return _decode(text), count, "eos"
            piece = self._piece(token)
            text += piece
            count += 1
            found = text.find(stop_bytes, max(0, len(text) - len(piece) - len(stop_bytes)))
            if found >= 0:
                return _decode(text[:found]), count, "stop"
            if count >= limit:
                break
        return _decode(text), count, "length"

    def _piece(self, token: int) -> bytes:
        """The token's bytes. The library's own detokenizer can't hold tokens of over 32 bytes."""
        import llama_cpp

        size = 32
        buffer = ctypes.create_string_buffer(size)
        length = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, size, 0, False)
        if length < 0:
            size = -length
            buffer = ctypes.create_string_buffer(size)
            length = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, size, 0, False)
        return buffer.raw[:length]


def _decode(text: bytes | bytearray) -> str:
    return text.decode("utf-8", errors="replace")


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
            stacklevel=4,
        )
    return can


def _load(path: Path, n_ctx: int | None, gpu_layers: int | None) -> Llama:
    from llama_cpp import Llama

    threads = 1 if path.stat().st_size < _TINY else None
    with _errors_of_llama_cpp() as errors:
        try:
            return Llama(
                str(path),
                n_ctx=n_ctx or _trained_context(path),
                n_gpu_layers=-1 if gpu_layers is None else gpu_layers,
                n_threads=threads,
                n_threads_batch=threads,
                verbose=False,
            )
        except Exception as error:  # whatever it is, the model can't be had
            why = errors[0] if errors else error
            raise ModelError(f"llama.cpp can't load {path}: {why}") from error


def _trained_context(path: Path) -> int:
    """The context the model was trained for, at most CONTEXT_CAP. Reads the file's head alone."""
    import llama_cpp

    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    if model is None:
        raise ValueError("not a GGUF file, or a damaged one")
    try:
        architecture = _metadata(model, "general.architecture") or ""
        trained = _metadata(model, f"{architecture}.context_length")
    finally:
        llama_cpp.llama_model_free(model)
    return min(int(trained or CONTEXT_CAP), CONTEXT_CAP)


def _metadata(model: Any, key: str) -> str | None:
    import llama_cpp

    buffer = ctypes.create_string_buffer(256)
    length = llama_cpp.llama_model_meta_val_str(model, key.encode(), buffer, len(buffer))
    return buffer.value.decode() if length >= 0 else None


@contextmanager
def _errors_of_llama_cpp() -> Iterator[list[str]]:
    """Collect the error lines that llama.cpp logs meanwhile, and show none of its log."""
    import llama_cpp
    from llama_cpp._logger import llama_log_callback

    error_level = 4
    errors: list[str] = []

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def collect(level: int, text: bytes, user_data: Any) -> None:
        if level == error_level:
            errors.append(text.decode("utf-8", errors="replace").strip())

    llama_cpp.llama_log_set(collect, ctypes.c_void_p(0))
    try:
        yield errors
    finally:
        llama_cpp.llama_log_set(llama_log_callback, ctypes.c_void_p(0))


def _vocab(llama: Llama) -> Any:
    import llama_cpp

    return llama_cpp.llama_model_get_vocab(llama.model)

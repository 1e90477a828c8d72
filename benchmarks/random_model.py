"""A language model with random weights in a GGUF file, of any size: it takes as long as a trained one.

After each token one other token is nearly certain; which one is chosen at random when the model is written. A trained
model is as certain of most of its tokens. If all tokens were about equally likely, rounding alone would change an
answer after a dozen tokens.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from gguf import quants

WORDS = 32_000
_BYTES = 256
_BLOCK = 32
"""The number of weights that are quantised together, in all KINDS."""
_BRANCH = 0.1
"""The scale of what a layer adds to its input. It is small, so that the embedding of a token still decides the
output."""


@dataclass(frozen=True)
class Shape:
    """The size of a model of the llama architecture."""

    width: int
    layers: int
    heads: int
    feed_forward: int
    context: int


SHAPES = {
    "100m": Shape(width=768, layers=12, heads=12, feed_forward=2048, context=4096),
    "7b": Shape(width=4096, layers=32, heads=32, feed_forward=11008, context=16384),
}
KINDS = {
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
    "q4_0": gguf.GGMLQuantizationType.Q4_0,
    "f16": gguf.GGMLQuantizationType.F16,
}


def get_word(number: int) -> str:
    """The text of a token. No token begins with another, so a text is tokenised as it was written."""
    return f"w{number:05} "


def write_random_model(path: Path, shape: Shape, kind: str) -> Path:
    """Write a model to `path`, and return `path`. The same arguments give the same file. `kind` is a key of KINDS."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(f"random, {shape.layers} layers of {shape.width}")
    tokens = ["<end>", *(f"\\x{byte:02x}" for byte in range(_BYTES)), *map(get_word, range(WORDS))]
    _add_facts(writer, shape, tokens)
    _add_weights(writer, shape, len(tokens), KINDS[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_facts(writer: gguf.GGUFWriter, shape: Shape, tokens: list[str]) -> None:
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("rwkv")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] + [gguf.TokenType.NORMAL] * (len(tokens) - 1))
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)


def _add_weights(writer: gguf.GGUFWriter, shape: Shape, tokens: int, kind: gguf.GGMLQuantizationType) -> None:
    random = np.random.default_rng(0)

    def add(name: str, data: np.ndarray) -> None:
        writer.add_tensor(name, quants.quantize(data, kind), raw_dtype=kind)

    # Drawn once, and quantised once for each scale. Each matrix is a slice of it, so that billions of weights take
    # seconds.
    noise = random.standard_normal((2 * shape.width * shape.feed_forward // _BLOCK, _BLOCK), dtype=np.float32)

    @functools.cache
    def scaled(scale: float) -> np.ndarray:
        return quants.quantize(noise * np.float32(scale), kind)

    def matrix(name: str, rows: int, columns: int, scale: float = 1) -> None:
        blocks = rows * columns // _BLOCK
        first = random.integers(len(noise) - blocks)
        weights = scaled(scale / columns**0.5)[first : first + blocks]
        writer.add_tensor(name, weights.reshape(rows, -1), raw_dtype=kind)

    width, hidden = shape.width, shape.feed_forward
    ones = np.ones(width, np.float32)
    embeddings = random.standard_normal((tokens, width), dtype=np.float32)
    words = np.arange(tokens - WORDS, tokens)
    next_words = random.permutation(words)
    output = np.zeros_like(embeddings)  # neither a byte nor the end token is ever likely
    output[next_words] = embeddings[words] / np.float32(width**0.5)
    add("token_embd.weight", embeddings)
    writer.add_tensor("output_norm.weight", ones)
    add("output.weight", output)
    for layer in range(shape.layers):
        prefix = f"blk.{layer}"
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{prefix}.{name}.weight", ones)
        for name in ("attn_q", "attn_k", "attn_v"):
            matrix(f"{prefix}.{name}.weight", width, width)
        matrix(f"{prefix}.attn_output.weight", width, width, _BRANCH)
        matrix(f"{prefix}.ffn_gate.weight", hidden, width)
        matrix(f"{prefix}.ffn_up.weight", hidden, width)
        matrix(f"{prefix}.ffn_down.weight", width, hidden, _BRANCH)

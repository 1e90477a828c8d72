"""A small language model with random weights in a GGUF file. The same seed gives the same file."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

CONTEXT = 2048
LONG_TOKEN = "nop;" * 25
"""Real vocabularies have long tokens too, like runs of spaces."""

_EMBEDDING, _HEADS, _LAYERS, _FEED_FORWARD = 64, 4, 2, 128
_SPECIAL = ["<unk>", "<s>", "</s>"]
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_ASSEMBLY = """
    : , ( ) $ % . <code> </code> ``` asm The assembly .text .globl .size .Lfunc_end0: .cfi_endproc
    mov movl movq lea add addl sub cmp je jne jmp call push pop ret retq
    %eax %ecx %rdi %rsi %rsp %rbp $1 -4(%rbp) consume_line validate
"""
_WORDS = ["\u2581", "\n", "\t", LONG_TOKEN, *_ASSEMBLY.split()]


def write_random_gguf(
    path: Path,
    seed: int = 0,
    *,
    endless: bool = False,
    context: int = CONTEXT,
    window: int | None = None,
    files: int = 1,
) -> Path:
    """Write a model of the llama architecture to `path`. Returns `path`, or the first of several `files`.

    With a `window` it is a gemma2, in which every second layer attends to the last `window` tokens alone.

    Its vocabulary holds every byte, so it reads any prompt, and pieces of assembly, so its answers resemble code. All
    tokens are nearly equally likely: at temperature 1 an answer ends by itself after about 150 tokens. With `endless` a
    greedy answer never ends by itself.
    """
    tensors = (2 if window else 3) + (11 if window else 9) * _LAYERS
    writer = gguf.GGUFWriter(
        path, "gemma2" if window else "llama", split_max_tensors=-(-tensors // files) if files > 1 else 0
    )
    vocabulary = [*_SPECIAL, *_BYTES, *_WORDS]
    _add_shape(writer, len(vocabulary), context)
    if window:
        writer.add_sliding_window(window)
    _add_tokenizer(writer, vocabulary)
    unlikely = [vocabulary.index(token) for token in ("</s>", "</code>")] if endless else []
    norms = ["post_attention_norm", "post_ffw_norm"] if window else []
    _add_weights(writer, len(vocabulary), np.random.default_rng(seed), unlikely, norms)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path if files == 1 else path.with_name(f"{path.stem}-00001-of-{files:05}.gguf")


def _add_shape(writer: gguf.GGUFWriter, vocabulary: int, context: int) -> None:
    writer.add_name("random")
    writer.add_vocab_size(vocabulary)
    writer.add_context_length(context)
    writer.add_embedding_length(_EMBEDDING)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(_FEED_FORWARD)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_rope_dimension_count(_EMBEDDING // _HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def _add_tokenizer(writer: gguf.GGUFWriter, vocabulary: list[str]) -> None:
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.BYTE] * len(_BYTES) + [gguf.TokenType.NORMAL] * len(_WORDS)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(vocabulary)
    writer.add_token_scores([-float(index) for index in range(len(vocabulary))])
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)


def _add_weights(
    writer: gguf.GGUFWriter, vocabulary: int, random: np.random.Generator, unlikely: list[int], norms: list[str]
) -> None:
    def matrix(rows: int, columns: int) -> np.ndarray:
        return random.standard_normal((rows, columns), dtype=np.float32) / np.float32(columns**0.5)

    ones = np.ones(_EMBEDDING, dtype=np.float32)
    output = matrix(vocabulary, _EMBEDDING)
    output[unlikely] = 0
    writer.add_tensor("token_embd.weight", matrix(vocabulary, _EMBEDDING))
    writer.add_tensor("output_norm.weight", ones)
    if not norms:  # gemma2 uses the embedding as its output layer
        writer.add_tensor("output.weight", output)
    for layer in range(_LAYERS):
        prefix = f"blk.{layer}"
        for name in ("attn_norm", "ffn_norm", *norms):
            writer.add_tensor(f"{prefix}.{name}.weight", ones)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"{prefix}.{name}.weight", matrix(_EMBEDDING, _EMBEDDING))
        for name in ("ffn_gate", "ffn_up"):
            writer.add_tensor(f"{prefix}.{name}.weight", matrix(_FEED_FORWARD, _EMBEDDING))
        writer.add_tensor(f"{prefix}.ffn_down.weight", matrix(_EMBEDDING, _FEED_FORWARD))

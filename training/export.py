"""Write a checkpoint as a GGUF file of the llama architecture.

python training/export.py FOLDER tiny.gguf
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import numpy as np
import torch
from network import Network, Shape
from torch import Tensor
from train import CHECKPOINT
from vocabulary import END, Vocabulary

NAME = "llmc-tiny"


def load_checkpoint(folder: Path) -> tuple[Network, Vocabulary]:
    """The network of the latest checkpoint, and its vocabulary."""
    state = torch.load(folder / CHECKPOINT, weights_only=True)
    network = Network(Shape(**state["shape"]))
    network.load_state_dict(state["network"])
    return network.eval(), Vocabulary.load(folder / "vocabulary.json")


def write_gguf(network: Network, vocabulary: Vocabulary, path: Path, kind: gguf.GGMLQuantizationType) -> None:
    """Write the file. Matrices are stored as `kind`, norms in 32 bits."""
    writer = gguf.GGUFWriter(path, "llama")
    _add_shape(writer, network.shape, kind)
    _add_vocabulary(writer, vocabulary)
    for name, tensor in _name_tensors(network):
        values = tensor.detach().numpy().astype(np.float32)
        if values.ndim == 2 and kind != gguf.GGMLQuantizationType.F32:
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: gguf.GGUFWriter, shape: Shape, kind: gguf.GGMLQuantizationType) -> None:
    writer.add_name(NAME)
    writer.add_license("MIT")
    writer.add_description("Compiles small functions from short LLVM IR to x86-64 assembly; pytest-llmcompiler's own")
    writer.add_vocab_size(shape.vocabulary)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(
        gguf.LlamaFileType.MOSTLY_Q8_0 if kind == gguf.GGMLQuantizationType.Q8_0 else gguf.LlamaFileType.ALL_F32
    )


def _add_vocabulary(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    pieces = [_escape(piece) for piece in (END, *map(vocabulary.decode_token, range(1, len(vocabulary))))]
    writer.add_tokenizer_model("rwkv")
    writer.add_token_list(pieces)
    writer.add_token_types([gguf.TokenType.CONTROL, *[gguf.TokenType.NORMAL] * (len(pieces) - 1)])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)


def _escape(piece: bytes) -> str:
    """A piece as llama.cpp reads it for this tokenizer: in Python's notation for bytes."""
    return repr(piece)[2:-1]


def _name_tensors(network: Network) -> list[tuple[str, Tensor]]:
    """The tensors under llama.cpp's names. A file without an output layer uses the embedding as one."""
    shape = network.shape
    tensors = [("token_embd.weight", network.embedding.weight), ("output_norm.weight", network.norm.weight)]
    for number, layer in enumerate(network.layers):
        q, k, v = layer.qkv.weight.chunk(3)
        gate, up = layer.gate_up.weight.chunk(2)
        named = {
            "attn_norm": layer.attention_norm.weight,
            "attn_q": _interleave_rows(q, shape),
            "attn_k": _interleave_rows(k, shape),
            "attn_v": v,
            "attn_output": layer.out.weight,
            "ffn_norm": layer.feed_norm.weight,
            "ffn_gate": gate,
            "ffn_up": up,
            "ffn_down": layer.down.weight,
        }
        tensors += [(f"blk.{number}.{name}.weight", tensor) for name, tensor in named.items()]
    return tensors


def _interleave_rows(matrix: Tensor, shape: Shape) -> Tensor:
    """The rows in llama.cpp's order: its rotary positions pair neighbours, the network's pair the halves of a head."""
    heads = matrix.view(shape.heads, 2, shape.head_width // 2, shape.width)
    return heads.transpose(1, 2).reshape(matrix.shape)


def main() -> None:
    """Export the checkpoint that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("--type", default="Q8_0", choices=("Q8_0", "F16", "F32"))
    options = parser.parse_args()
    network, vocabulary = load_checkpoint(options.folder)
    write_gguf(network, vocabulary, options.gguf, gguf.GGMLQuantizationType[options.type])
    print(f"{options.gguf}: {options.gguf.stat().st_size} bytes")


if __name__ == "__main__":
    main()

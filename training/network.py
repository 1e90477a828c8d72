"""The network, of the llama architecture, and the optimiser of its matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """The size of a network."""

    vocabulary: int
    width: int = 128
    layers: int = 6
    heads: int = 4
    feed_forward: int = 384
    context: int = 1024

    @property
    def head_width(self) -> int:
        """The width of one head."""
        return self.width // self.heads


class Layer(nn.Module):
    """Attention and a gated feed-forward network, each with a norm before it and a residual connection around it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.attention_norm, self.feed_norm = nn.RMSNorm(shape.width, eps=1e-5), nn.RMSNorm(shape.width, eps=1e-5)
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)
        self.gate_up = nn.Linear(shape.width, 2 * shape.feed_forward, bias=False)
        self.down = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Map (batch, tokens, width) to the same shape."""
        batch, tokens, width = x.shape
        heads = self.qkv(self.attention_norm(x)).view(batch, tokens, 3, self.shape.heads, self.shape.head_width)
        heads = heads.permute(2, 0, 3, 1, 4)
        (q, k), v = _rotate(heads[:2], cosine, sine), heads[2]
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, tokens, width))
        gate, up = self.gate_up(self.feed_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Network(nn.Module):
    """Maps tokens to the logits of the next token. The embedding is also the output layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=1e-5)
        nn.init.normal_(self.embedding.weight, std=0.05)
        for layer in self.layers:
            for matrix in (layer.out, layer.down):
                nn.init.zeros_(matrix.weight)
        half = shape.head_width // 2
        angles = torch.outer(torch.arange(shape.context), 10000.0 ** (-torch.arange(half) / half))
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, tokens: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Map (batch, tokens) to logits (batch, tokens, vocabulary).

        With the mask `wanted`, of shape (batch, tokens), to (n, vocabulary) for its n positions alone.
        """
        x = self.embedding(tokens)
        cosine, sine = self.cosine[: tokens.shape[1]], self.sine[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, cosine, sine)
        x = self.norm(x if wanted is None else x[wanted])
        return x @ self.embedding.weight.T


def stack_layers(network: Network, layers: int) -> Network:
    """A deeper network that repeats the layers of `network`. It trains faster than one with random weights."""
    deeper = Network(replace(network.shape, layers=layers))
    state = network.state_dict()
    for name in deeper.state_dict():
        if name.startswith("layers."):
            _, number, rest = name.split(".", 2)
            state[name] = state[f"layers.{int(number) % network.shape.layers}.{rest}"]
    deeper.load_state_dict(state)
    return deeper


def _rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Apply rotary position embeddings, with the first half of a head paired with the second."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


class Muon:
    """The optimiser Muon for matrices: orthogonalised momentum. The processes share the work by rank.

    Source: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
    """

    def __init__(self, matrices: list[nn.Parameter], rank: int, ranks: int, share: Callable[[Tensor], None]) -> None:
        """`share` sums a tensor over all processes in place."""
        self.matrices, self._rank, self._ranks, self._share = matrices, rank, ranks, share
        self.momenta = [torch.zeros_like(matrix) for matrix in matrices]

    @torch.no_grad()
    def step(self, rate: float, momentum: float) -> None:
        """Update the matrices by their gradients, which are the same in all processes."""
        updates = []
        for number, (matrix, momentum_buffer) in enumerate(zip(self.matrices, self.momenta)):
            assert matrix.grad is not None
            momentum_buffer.lerp_(matrix.grad, 1 - momentum)
            is_mine = number % self._ranks == self._rank
            update = matrix.grad.lerp(momentum_buffer, momentum)
            updates.append(_orthogonalise(update) if is_mine else torch.zeros_like(matrix))
        flat = torch.cat([update.flatten() for update in updates])
        self._share(flat)
        for matrix, update in zip(self.matrices, flat.split([matrix.numel() for matrix in self.matrices])):
            matrix.mul_(1 - rate * 0.01)
            matrix.sub_(update.view_as(matrix), alpha=rate)


def _orthogonalise(update: Tensor) -> Tensor:
    """A matrix with the same singular vectors and all singular values near 1, by five Newton-Schulz iterations.

    The coefficients are those of Muon's authors.
    """
    rows, columns = update.shape
    # q, k and v are stacked in one matrix, as are gate and up. Each square part is orthogonalised by itself.
    is_stacked = rows > columns and rows % columns == 0
    parts = update.view(-1, columns, columns) if is_stacked else update[None]
    x = parts / (parts.norm(dim=(1, 2), keepdim=True) + 1e-7)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    for _ in range(5):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return (x.mT if tall else x).reshape(rows, columns)

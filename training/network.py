"""The network, of the llama architecture, and how its weights are changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """The numbers of a network."""

    vocabulary: int
    width: int = 128
    layers: int = 6
    heads: int = 4
    feed_forward: int = 384
    context: int = 1024

    @property
    def head_width(self) -> int:
        """Numbers of one head."""
        return self.width // self.heads


class Layer(nn.Module):
    """Attention and a gated feed-forward network, each after a norm and added to what was there."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.attention_norm, self.feed_norm = nn.RMSNorm(shape.width, eps=1e-5), nn.RMSNorm(shape.width, eps=1e-5)
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)
        self.gate_up = nn.Linear(shape.width, 2 * shape.feed_forward, bias=False)
        self.down = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """(batch, tokens, width) -> the same."""
        batch, tokens, width = x.shape
        heads = self.qkv(self.attention_norm(x)).view(batch, tokens, 3, self.shape.heads, self.shape.head_width)
        heads = heads.permute(2, 0, 3, 1, 4)
        (q, k), v = _turned(heads[:2], cosine, sine), heads[2]
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, tokens, width))
        pass_criteria, up = self.gate_up(self.feed_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(pass_criteria) * up)


class Network(nn.Module):
    """Tokens to the logits of the next; the embedding is also the output layer."""

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
        """(batch, tokens) -> logits (batch, tokens, vocabulary), or (n, vocabulary) of the n `wanted` places alone."""
        x = self.embedding(tokens)
        cosine, sine = self.cosine[: tokens.shape[1]], self.sine[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, cosine, sine)
        x = self.norm(x if wanted is None else x[wanted])
        return x @ self.embedding.weight.T


def stacked(network: Network, layers: int) -> Network:
    """A deeper network: the layers that there are, over and over. It learns the rest sooner than one from nothing."""
    grown = Network(replace(network.shape, layers=layers))
    state = network.state_dict()
    for name in grown.state_dict():
        if name.startswith("layers."):
            _, number, rest = name.split(".", 2)
            state[name] = state[f"layers.{int(number) % network.shape.layers}.{rest}"]
    grown.load_state_dict(state)
    return grown


def _turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary positions, the first half of a head paired with the second."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


class Muon:
    """Muon for matrices: momentum, orthogonalised (K. Jordan et al., 2024). Processes share the work by rank."""

    def __init__(self, matrices: list[nn.Parameter], rank: int, ranks: int, share: Callable[[Tensor], None]) -> None:
        """`share` sums a tensor over all processes in place."""
        self.matrices, self._rank, self._ranks, self._share = matrices, rank, ranks, share
        self.momenta = [torch.zeros_like(matrix) for matrix in matrices]

    @torch.no_grad()
    def step(self, rate: float, momentum: float) -> None:
        """Change the matrices by their gradients, which are the same in all processes."""
        updates = []
        for number, (matrix, kept) in enumerate(zip(self.matrices, self.momenta)):
            assert matrix.grad is not None
            kept.lerp_(matrix.grad, 1 - momentum)
            mine = number % self._ranks == self._rank
            updates.append(_orthogonal(matrix.grad.lerp(kept, momentum)) if mine else torch.zeros_like(matrix))
        flat = torch.cat([update.flatten() for update in updates])
        self._share(flat)
        for matrix, update in zip(self.matrices, flat.split([matrix.numel() for matrix in self.matrices])):
            matrix.mul_(1 - rate * 0.01)
            matrix.sub_(update.view_as(matrix), alpha=rate)


def _orthogonal(update: Tensor) -> Tensor:
    """The nearest matrix with all singular values near one, by Newton and Schulz; square parts each for itself."""
    rows, columns = update.shape
    # q, k and v stand one below the other; so do gate and up, of which each square part is taken for itself.
    stacked = rows > columns and rows % columns == 0
    parts = update.view(-1, columns, columns) if stacked else update[None]
    x = parts / (parts.norm(dim=(1, 2), keepdim=True) + 1e-7)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    for _ in range(5):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return (x.mT if tall else x).reshape(rows, columns)

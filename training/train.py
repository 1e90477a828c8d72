"""Train the network on the pairs in FOLDER, to which files may still be added. Started again, it resumes.

    python training/train.py FOLDER --minutes 120

The learning rate falls to zero over the last `--decay` minutes (by default 45 percent of all). So training can be
finished from any checkpoint with other `--minutes` and `--decay`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
import torch.multiprocessing
import torch.nn.functional as F  # noqa: N812
from generate import HELD_OUT
from network import Muon, Network, Shape, stack_layers
from torch import Tensor
from vocabulary import Vocabulary

CHECKPOINT = "checkpoint.pt"
_MATRIX_RATE, _REST_RATE, _WARM_UP = 0.02, 0.004, 100
"""The learning rates of matrices and of all other parameters, and the steps of linear warm-up."""
_SHALLOW = 0.3
"""The share of the training time in which the network has half of its layers: a step then takes half the time."""
_TOKENS = 1600, 4800
"""Tokens of a step, of all processes together: at the start, and after 0.4 of the training time. They grow linearly
between."""
_LONGEST_STEP = 20.0
"""The largest number of seconds that a step counts for: a process that was suspended loses no training time."""
_CHECKPOINT_INTERVAL = 120.0
"""Seconds between two checkpoints."""


class PairFiles:
    """The files of pairs, tokenised. The file that was used least often comes next."""

    def __init__(self, folder: Path, vocabulary: Vocabulary, context: int) -> None:
        self._folder, self._vocabulary, self._context = folder, vocabulary, context
        self.visits: dict[int, int] = {}

    def next_file(self) -> tuple[int, list[tuple[list[int], int]]]:
        """The number of the next file, and its examples: the tokens, and the index of the answer's first token."""
        numbers = [number for number in map(_read_number, self._folder.glob("pairs-*.jsonl")) if number < HELD_OUT]
        number = min(numbers, key=lambda number: (self.visits.get(number, 0), number))
        return number, self.read_file(number)

    def read_file(self, number: int) -> list[tuple[list[int], int]]:
        """The examples of a file, which is counted as used."""
        self.visits[number] = self.visits.get(number, 0) + 1
        return list(self._read(number))

    def _read(self, number: int) -> Iterator[tuple[list[int], int]]:
        excluded, seen = find_excluded_prompts(self._folder), set()
        for line in (self._folder / f"pairs-{number}.jsonl").open(encoding="utf-8"):
            pair = json.loads(line)
            if pair["prompt"] in excluded or pair["prompt"] in seen:
                continue
            seen.add(pair["prompt"])
            prompt = [0, *self._vocabulary.tokens(pair["prompt"])]
            tokens = [*prompt, *self._vocabulary.tokens(pair["answer"]), 0]
            if len(tokens) <= self._context:
                yield tokens, len(prompt)


def find_excluded_prompts(folder: Path) -> frozenset[str]:
    """The prompts that are never trained on: those for evaluation, and those of this repository's cases."""
    files = [path for path in folder.glob("pairs-*.jsonl") if _read_number(path) >= HELD_OUT]
    lines = (line for file in (*files, *folder.glob("cases.jsonl")) for line in file.open(encoding="utf-8"))
    return frozenset(json.loads(line)["prompt"] for line in lines)


def _read_number(path: Path) -> int:
    return int(path.stem.split("-")[1])


def build_batches(examples: list[tuple[list[int], int]], budget: int, seed: int) -> list[list[tuple[list[int], int]]]:
    """Group examples of about equal length. A batch has up to `budget` tokens, padding included."""
    order = random.Random(seed)
    examples = sorted(examples, key=lambda example: len(example[0]) * order.uniform(0.9, 1.1))
    batches: list[list[tuple[list[int], int]]] = [[]]
    longest = 0
    for example in examples:
        longest = max(longest, len(example[0]))
        if batches[-1] and longest * (len(batches[-1]) + 1) > budget:
            batches.append([])
            longest = len(example[0])
        batches[-1].append(example)
    order.shuffle(batches)
    return batches


def build_tensors(batch: list[tuple[list[int], int]]) -> tuple[Tensor, Tensor, Tensor]:
    """The inputs (batch, tokens); a mask of the positions whose next token belongs to an answer; and these n tokens."""
    longest = max(len(tokens) for tokens, _ in batch) - 1
    inputs = np.zeros((len(batch), longest), np.int64)
    targets, mask = np.zeros_like(inputs), np.zeros(inputs.shape, bool)
    for row, (tokens, answer) in enumerate(batch):
        inputs[row, : len(tokens) - 1] = tokens[:-1]
        targets[row, : len(tokens) - 1] = tokens[1:]
        mask[row, answer - 1 : len(tokens) - 1] = True
    return torch.from_numpy(inputs), torch.from_numpy(mask), torch.from_numpy(targets[mask])


class Trainer:
    """One process of the training."""

    def __init__(self, rank: int, options: argparse.Namespace) -> None:
        self.rank, self.options, self.folder = rank, options, options.folder
        vocabulary = Vocabulary.load(options.folder / "vocabulary.json")
        torch.manual_seed(options.seed)
        self.pairs = PairFiles(self.folder, vocabulary, Shape.context)
        self.steps, self.tokens, self.minutes = 0, 0, 0.0
        self._passed = 0.0
        path = self.folder / CHECKPOINT
        if path.exists():
            self._load(torch.load(path, weights_only=True))
        else:
            self._set_network(Network(Shape(len(vocabulary), layers=options.layers // 2)))

    def _sum_over_processes(self, tensor: Tensor) -> None:
        """Sum a tensor over all processes, in place."""
        if self.options.processes > 1:
            torch.distributed.all_reduce(tensor)

    def _set_network(self, network: Network) -> None:
        """Train this network from now on, with new optimisers."""
        self.network = network
        matrices = [p for layer in network.layers for p in layer.parameters() if p.ndim == 2]
        rest = [p for p in network.parameters() if not any(p is matrix for matrix in matrices)]
        self.muon = Muon(matrices, self.rank, self.options.processes, self._sum_over_processes)
        self.adam = torch.optim.AdamW(rest, lr=0, betas=(0.9, 0.98), weight_decay=0.01)

    def _grow(self) -> None:
        """Give the network its full depth once the shallow part of the training is over."""
        if self.network.shape.layers < self.options.layers and self.minutes > _SHALLOW * self.options.minutes:
            momenta = self.muon.momenta
            self._set_network(stack_layers(self.network, self.options.layers))
            for number, momentum in enumerate(self.muon.momenta):
                momentum.copy_(momenta[number % len(momenta)])

    def run(self) -> None:
        """Train until the training time is used up."""
        saved = shown = time.monotonic()
        losses: list[float] = []
        tokens = 0
        while self.minutes < self.options.minutes:
            number, examples = self._choose_file()
            share = min(1.0, self.minutes / (0.4 * self.options.minutes))
            budget = int(_TOKENS[0] + share * (_TOKENS[1] - _TOKENS[0])) // self.options.processes
            self._grow()
            batches = build_batches(examples, budget, 1000 * number + self.pairs.visits[number])
            batches = batches[: len(batches) // self.options.processes * self.options.processes]
            for batch in batches[self.rank :: self.options.processes]:
                loss, count = self._step(batch)
                losses.append(loss)
                tokens += count
                now = time.monotonic()
                if self.rank == 0 and now - shown > 30:
                    print(
                        f"{self.minutes:.1f} min, step {self.steps}, {self.tokens / 1e6:.2f} M tokens, "
                        f"{tokens / (now - shown):.0f} tokens/s, loss {sum(losses) / len(losses):.4f}, "
                        f"rate {self._rate():.2f}, file {number}",
                        flush=True,
                    )
                    losses, tokens, shown = [], 0, now
                if self.rank == 0 and now - saved > _CHECKPOINT_INTERVAL:
                    self._save()
                    saved = now
                if self.minutes >= self.options.minutes:
                    break
        if self.rank == 0:
            self._save()
            print(f"done: {self.steps} steps, {self.tokens} tokens", flush=True)

    def _choose_file(self) -> tuple[int, list[tuple[list[int], int]]]:
        """The next file, which the first process chooses for all."""
        if self.rank == 0:
            number, examples = self.pairs.next_file()
        choice = torch.tensor([float(number) if self.rank == 0 else 0.0])
        self._sum_over_processes(choice)
        if self.rank > 0:
            number = int(choice)
            examples = self.pairs.read_file(number)
        return number, examples

    def _rate(self) -> float:
        """The share of the full learning rate."""
        decay = self.options.decay or 0.45 * self.options.minutes
        left = max(self.options.minutes - self.minutes, 0) / decay
        return min(1.0, (self.steps + 1) / _WARM_UP, left)

    def _step(self, batch: list[tuple[list[int], int]]) -> tuple[float, int]:
        """Train on one batch. Returns the mean loss of an answer's token, and the number of tokens of all processes."""
        started = time.monotonic()
        inputs, wanted, targets = build_tensors(batch)
        self.network.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self.network(inputs, wanted), targets, reduction="sum")
        loss.backward()
        parameters = list(self.network.parameters())
        facts = torch.tensor([float(len(targets)), loss.item(), float(inputs.numel()), self._passed])
        flat = torch.cat([*(p.grad.flatten() for p in parameters if p.grad is not None), facts])
        self._sum_over_processes(flat)
        answers, total, count, passed = flat[-4:].tolist()
        self.minutes += passed
        flat /= answers
        for parameter, gradient in zip(parameters, flat[:-4].split([p.numel() for p in parameters])):
            parameter.grad = gradient.view_as(parameter)
        rate = self._rate()
        self.muon.step(rate * _MATRIX_RATE, 0.95 if self.steps > 300 else 0.85 + self.steps / 3000)
        for group in self.adam.param_groups:
            group["lr"] = rate * _REST_RATE
        self.adam.step()
        self.steps += 1
        self.tokens += int(count)
        if self.rank == 0:  # the other processes get it with the next step
            self._passed = min(time.monotonic() - started, _LONGEST_STEP) / 60
        return total / answers, int(count)

    def _save(self) -> None:
        state: dict[str, Any] = {
            "shape": asdict(self.network.shape),
            "network": self.network.state_dict(),
            "momenta": self.muon.momenta,
            "adam": self.adam.state_dict(),
            "visits": self.pairs.visits,
            "progress": (self.steps, self.tokens, self.minutes),
        }
        unfinished = self.folder / f"{CHECKPOINT}.new"
        torch.save(state, unfinished)
        unfinished.rename(self.folder / CHECKPOINT)

    def _load(self, state: dict[str, Any]) -> None:
        self._set_network(Network(Shape(**state["shape"])))
        self.network.load_state_dict(state["network"])
        for momentum, saved in zip(self.muon.momenta, state["momenta"]):
            momentum.copy_(saved)
        self.adam.load_state_dict(state["adam"])
        self.pairs.visits = state["visits"]
        self.steps, self.tokens, self.minutes = state["progress"]


def _run_process(rank: int, options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    if options.processes > 1:
        torch.distributed.init_process_group(
            "gloo",
            f"file://{options.folder.resolve()}/.meeting-{os.getppid()}",
            rank=rank,
            world_size=options.processes,
            timeout=timedelta(days=7),
        )
    Trainer(rank, options).run()


def main() -> None:
    """Start the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=120, help="training time, with that before a restart")
    parser.add_argument("--decay", type=float, help="minutes at the end in which the learning rate falls to zero")
    parser.add_argument("--processes", type=int, default=2, help="with one thread each")
    parser.add_argument("--layers", type=int, default=6, help="layers of the finished network")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.processes == 1:
        _run_process(0, options)
    else:
        torch.multiprocessing.spawn(_run_process, (options,), options.processes)


if __name__ == "__main__":
    main()

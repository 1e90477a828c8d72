"""Train the network on the pairs in FOLDER, which may still be growing; start it again and it goes on.

    python training/train.py FOLDER --minutes 120

The rate falls to zero over the last `--decay` minutes (45 percent unless told otherwise), so a training can be brought
to its end from any checkpoint: give `--minutes` and `--decay` anew.
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
from network import Muon, Network, Shape, stacked
from torch import Tensor
from vocabulary import Vocabulary

CHECKPOINT = "checkpoint.pt"
_MATRIX_RATE, _REST_RATE, _WARM_UP = 0.02, 0.004, 100
"""Learning rates of matrices and of all else, and steps until they are reached."""
_SHALLOW = 0.3
"""The share of the training in which the network has half of its layers, which takes half of the time."""
_TOKENS = 1600, 4800
"""Tokens of a step, all processes together: at the start and from 0.4 of the training on."""
_PAUSE = 20.0
"""Seconds that a step may count as: a process that was stopped does not lose its training time."""
_EVERY = 120.0
"""Seconds between checkpoints."""


class Pairs:
    """The files of pairs, tokenised; batches of about equal length, the file that was used least first."""

    def __init__(self, folder: Path, vocabulary: Vocabulary, context: int) -> None:
        self._folder, self._vocabulary, self._context = folder, vocabulary, context
        self.visits: dict[int, int] = {}

    def next_file(self) -> tuple[int, list[tuple[list[int], int]]]:
        """The number of a file and its examples: tokens, and where the answer begins."""
        there = [number for number in map(_number, self._folder.glob("pairs-*.jsonl")) if number < HELD_OUT]
        number = min(there, key=lambda number: (self.visits.get(number, 0), number))
        return number, self.file(number)

    def file(self, number: int) -> list[tuple[list[int], int]]:
        """The examples of a file, which counts as used then."""
        self.visits[number] = self.visits.get(number, 0) + 1
        return list(self._read(number))

    def _read(self, number: int) -> Iterator[tuple[list[int], int]]:
        left_out, seen = prompts_left_out(self._folder), set()
        for line in (self._folder / f"pairs-{number}.jsonl").open(encoding="utf-8"):
            pair = json.loads(line)
            if pair["prompt"] in left_out or pair["prompt"] in seen:
                continue
            seen.add(pair["prompt"])
            prompt = [0, *self._vocabulary.tokens(pair["prompt"])]
            tokens = [*prompt, *self._vocabulary.tokens(pair["answer"]), 0]
            if len(tokens) <= self._context:
                yield tokens, len(prompt)


def prompts_left_out(folder: Path) -> frozenset[str]:
    """The prompts that are for evaluation, and those of the cases of this repository."""
    files = [path for path in folder.glob("pairs-*.jsonl") if _number(path) >= HELD_OUT]
    lines = (line for file in (*files, *folder.glob("cases.jsonl")) for line in file.open(encoding="utf-8"))
    return frozenset(json.loads(line)["prompt"] for line in lines)


def _number(path: Path) -> int:
    return int(path.stem.split("-")[1])


def batches(examples: list[tuple[list[int], int]], budget: int, seed: int) -> list[list[tuple[list[int], int]]]:
    """Examples of about equal length together, each batch of up to `budget` tokens with its padding."""
    order = random.Random(seed)
    examples = sorted(examples, key=lambda example: len(example[0]) * order.uniform(0.9, 1.1))
    made: list[list[tuple[list[int], int]]] = [[]]
    longest = 0
    for example in examples:
        longest = max(longest, len(example[0]))
        if made[-1] and longest * (len(made[-1]) + 1) > budget:
            made.append([])
            longest = len(example[0])
        made[-1].append(example)
    order.shuffle(made)
    return made


def tensors(batch: list[tuple[list[int], int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, the places whose next token belongs to an answer, and those tokens."""
    longest = max(len(tokens) for tokens, _ in batch) - 1
    inputs = np.zeros((len(batch), longest), np.int64)
    targets, mask = np.zeros_like(inputs), np.zeros(inputs.shape, bool)
    for row, (tokens, answer) in enumerate(batch):
        inputs[row, : len(tokens) - 1] = tokens[:-1]
        targets[row, : len(tokens) - 1] = tokens[1:]
        mask[row, answer - 1 : len(tokens) - 1] = True
    return torch.from_numpy(inputs), torch.from_numpy(mask), torch.from_numpy(targets[mask])


class Trainer:
    """One process of a training."""

    def __init__(self, rank: int, options: argparse.Namespace) -> None:
        self.rank, self.options, self.folder = rank, options, options.folder
        vocabulary = Vocabulary.load(options.folder / "vocabulary.json")
        torch.manual_seed(options.seed)
        self.pairs = Pairs(self.folder, vocabulary, Shape.context)
        self.steps, self.tokens, self.minutes = 0, 0, 0.0
        self._passed = 0.0
        path = self.folder / CHECKPOINT
        if path.exists():
            self._load(torch.load(path, weights_only=True))
        else:
            self._take(Network(Shape(len(vocabulary), layers=options.layers // 2)))

    def _sum(self, tensor: Tensor) -> None:
        """Over all processes, in place."""
        if self.options.processes > 1:
            torch.distributed.all_reduce(tensor)

    def _take(self, network: Network) -> None:
        """Train this network from now on."""
        self.network = network
        matrices = [p for layer in network.layers for p in layer.parameters() if p.ndim == 2]
        rest = [p for p in network.parameters() if not any(p is other for other in matrices)]
        self.muon = Muon(matrices, self.rank, self.options.processes, self._sum)
        self.adam = torch.optim.AdamW(rest, lr=0, betas=(0.9, 0.98), weight_decay=0.01)

    def _grow(self) -> None:
        """Give the network its full depth when it is time."""
        if self.network.shape.layers < self.options.layers and self.minutes > _SHALLOW * self.options.minutes:
            momenta = self.muon.momenta
            self._take(stacked(self.network, self.options.layers))
            for number, kept in enumerate(self.muon.momenta):
                kept.copy_(momenta[number % len(momenta)])

    def run(self) -> None:
        """Train until the minutes are over."""
        saved = shown = time.monotonic()
        losses: list[float] = []
        tokens = 0
        while self.minutes < self.options.minutes:
            number, examples = self._agreed_file()
            share = min(1.0, self.minutes / (0.4 * self.options.minutes))
            budget = int(_TOKENS[0] + share * (_TOKENS[1] - _TOKENS[0])) // self.options.processes
            self._grow()
            todo = batches(examples, budget, 1000 * number + self.pairs.visits[number])
            todo = todo[: len(todo) // self.options.processes * self.options.processes]
            for batch in todo[self.rank :: self.options.processes]:
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
                if self.rank == 0 and now - saved > _EVERY:
                    self._save()
                    saved = now
                if self.minutes >= self.options.minutes:
                    break
        if self.rank == 0:
            self._save()
            print(f"done: {self.steps} steps, {self.tokens} tokens", flush=True)

    def _agreed_file(self) -> tuple[int, list[tuple[list[int], int]]]:
        """The next file, the same in all processes: the first says which."""
        if self.rank == 0:
            number, examples = self.pairs.next_file()
        agreed = torch.tensor([float(number) if self.rank == 0 else 0.0])
        self._sum(agreed)
        if self.rank > 0:
            number = int(agreed)
            examples = self.pairs.file(number)
        return number, examples

    def _rate(self) -> float:
        """The share of the full learning rate."""
        decay = self.options.decay or 0.45 * self.options.minutes
        left = max(self.options.minutes - self.minutes, 0) / decay
        return min(1.0, (self.steps + 1) / _WARM_UP, left)

    def _step(self, batch: list[tuple[list[int], int]]) -> tuple[float, int]:
        """One step; the mean loss of an answer's token, and the tokens of all processes."""
        started = time.monotonic()
        inputs, wanted, targets = tensors(batch)
        self.network.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self.network(inputs, wanted), targets, reduction="sum")
        loss.backward()
        parameters = list(self.network.parameters())
        facts = torch.tensor([float(len(targets)), loss.item(), float(inputs.numel()), self._passed])
        flat = torch.cat([*(p.grad.flatten() for p in parameters if p.grad is not None), facts])
        self._sum(flat)
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
        if self.rank == 0:  # the others hear of it in the next step
            self._passed = min(time.monotonic() - started, _PAUSE) / 60
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
        self._take(Network(Shape(**state["shape"])))
        self.network.load_state_dict(state["network"])
        for mine, other in zip(self.muon.momenta, state["momenta"]):
            mine.copy_(other)
        self.adam.load_state_dict(state["adam"])
        self.pairs.visits = state["visits"]
        self.steps, self.tokens, self.minutes = state["progress"]


def _process(rank: int, options: argparse.Namespace) -> None:
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
    parser.add_argument("--minutes", type=float, default=120, help="of training, those before a restart counted in")
    parser.add_argument("--decay", type=float, help="minutes at the end in which the rate falls to zero")
    parser.add_argument("--processes", type=int, default=2, help="with one thread each")
    parser.add_argument("--layers", type=int, default=6, help="of the network in the end")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.processes == 1:
        _process(0, options)
    else:
        torch.multiprocessing.spawn(_process, (options,), options.processes)


if __name__ == "__main__":
    main()

"""How the cost grows with the size of the function, the number of inputs, and the size of objects."""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pytest_llmcompiler.judge.api import check_file
from pytest_llmcompiler.judge.harness import JudgeSettings
from speed.answers import FreshTexts, open_reference
from speed.clock import Seconds
from speed.preparing import call_in_process
from speed.tables import format_table

_INSTRUCTIONS = (10, 100, 1_000)
_EXAMPLES = (10, 100, 1_000, 10_000)
_OBJECT_BYTES = (16, 256, 4_096, 65_536)
_REPEATS = 7
"""Verdicts of each row; the median counts."""
_FOLD = "unsigned fold(const unsigned char *p, unsigned n) {{ unsigned h = 1; {body} return h; }}\n"
_LOOP = "for (unsigned i = 0; i < n; i++) h = h * 31 + p[i];"


@dataclass(frozen=True)
class Program:
    """A generated function."""

    grows: str
    """What grows, for the table."""
    size: int
    source: str
    function: str
    examples: int = JudgeSettings().examples


@dataclass(frozen=True)
class Cost:
    """What one program costs, in seconds."""

    program: Program
    instructions: int
    """Of the answer."""
    inputs: int
    """Of the suite."""
    prepare: float
    verdict: Seconds


def list_programs() -> Iterator[Program]:
    """The programs, by what grows."""
    for count in _INSTRUCTIONS:
        yield Program("instructions", count, write_straight_code(count), "mix")
    for examples in _EXAMPLES:
        yield Program("inputs", examples, _FOLD.format(body=_LOOP), "fold", examples)
    for size in _OBJECT_BYTES:
        fields = f"struct block {{ unsigned char bytes[{size}]; }};\n"
        loop = f"for (int i = 0; i < {size}; i++) {{ h = h * 31 + b->bytes[i]; b->bytes[i] ^= h; }}"
        source = f"{fields}unsigned turn(struct block *b) {{ unsigned h = 1; {loop} return h; }}\n"
        yield Program("object bytes", size, source, "turn")


def write_straight_code(instructions: int) -> str:
    """C that clang -O2 makes about so many instructions of, a branch in each fifteen."""
    lines = ["unsigned mix(unsigned a, unsigned b) {"]
    for number in range(max(1, instructions // 15)):
        first, second = 2654435761 + 2 * number, 40503 + 4 * number
        lines.append(f"    if ((a ^ b) % 8 == {number % 8}) a += {second}; else b ^= a >> {1 + number % 13};")
        lines.append(f"    b = b * {first}u + a;")
    return "\n".join([*lines, "    return a ^ b;", "}"]) + "\n"


@dataclass
class GrowthPart:
    """Each program in a process of its own."""

    costs: list[Cost] = field(default_factory=list)

    def measure(self) -> None:
        """Measure all programs."""
        for program in list_programs():
            self.costs.append(call_in_process(measure_program, program))

    def report(self) -> Iterator[str]:
        """The table, and what a further input costs."""
        yield "## How it grows"
        yield ""
        yield (
            "Generated functions, through `check_file()`, answered by clang -O2. *First verdict* includes generating "
            "the inputs; *verdict* the median of further ones."
        )
        yield ""
        heading = ["grows", "to", "instructions", "inputs", "first verdict s", "verdict ms", "CPU ms"]
        yield from format_table(heading, map(_row, self.costs))
        by_inputs = [cost for cost in self.costs if cost.program.grows == "inputs"]
        first, last = by_inputs[0], by_inputs[-1]
        seconds = statistics.median(last.verdict.wall) - statistics.median(first.verdict.wall)
        yield ""
        microseconds = 1e6 * seconds / max(last.inputs - first.inputs, 1)
        yield f"A further input costs a verdict {microseconds:,.1f} µs."


def _row(cost: Cost) -> list[str]:
    verdict = cost.verdict
    return [
        cost.program.grows,
        f"{cost.program.size:,}",
        f"{cost.instructions:,}",
        f"{cost.inputs:,}",
        f"{cost.prepare:.2f}",
        f"{1000 * statistics.median(verdict.wall):,.1f}",
        f"{1000 * verdict.cpu / len(verdict.wall):,.1f}",
    ]


def measure_program(program: Program) -> Cost:
    """Judge clang's own text several times. Raises RuntimeError where it does not pass."""
    fresh = FreshTexts()
    with tempfile.TemporaryDirectory(prefix="llmc-speed-") as folder:
        path = Path(folder, "grows.c")
        path.write_text("int warm_up(int x) { return x; }\n" + program.source, encoding="utf-8")
        reference = open_reference(path)
        warm_up = reference.texts.assembly("warm_up", "O2")
        check_file(path, "warm_up", warm_up, examples=program.examples)
        text = reference.texts.assembly(program.function, "O2")
        start = time.perf_counter()
        verdict = check_file(path, program.function, text, examples=program.examples)
        prepare = time.perf_counter() - start
        if verdict.kind != "pass":
            raise RuntimeError(f"{program.function} {program.size}: {verdict}")
        seconds = Seconds()
        for _ in range(_REPEATS):
            judge = partial(check_file, path, program.function, fresh.renew_code(text), examples=program.examples)
            seconds.measure(judge)
    instructions = len(re.findall(r"^\t[a-z]", text, re.MULTILINE))
    return Cost(program, instructions, int(verdict.detail["inputs"]), prepare, seconds)

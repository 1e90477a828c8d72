"""Which of a whole program's code the inputs of a suite reach."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_llmcompiler.errors import LLMCompilerError
from pytest_llmcompiler.judge.coverage import MAX_LINES, Coverage, FunctionBlocks, list_unreached_lines
from pytest_llmcompiler.judge.program_oracle import ProgramEntry
from pytest_llmcompiler.judge.program_under_test import ProgramUnderTest


def measure_program_coverage(under_test: ProgramUnderTest, entries: Iterable[ProgramEntry]) -> Coverage | None:
    """The coverage of all functions of a program; None where the build that counts blocks can't be made."""
    reference = under_test.reference
    try:
        machine = under_test.open_machine(reference.block_counters)
    except LLMCompilerError:
        return None
    names = [name for name in machine.program.functions if name in machine.program.symbols]
    functions = {name: FunctionBlocks(machine, name) for name in sorted(names)}
    reached: dict[str, set[int]] = {name: set() for name in functions}
    for entry in entries:
        machine.run_process(entry.program, 0)  # it ends: it is the reference's own code
        for name, blocks in functions.items():
            reached[name] |= blocks.read_reached()
    machine.close()
    count = sum(blocks.count for blocks in functions.values())
    lines = [
        line
        for name, blocks in functions.items()
        for missed in [[block for block in range(blocks.count) if block not in reached[name]]]
        for line in list_unreached_lines(reference, name, blocks.count, missed, {})
    ]
    return {
        "edges": sum(map(len, reached.values())),
        "of": count,
        "unreached": sorted(lines, key=lambda line: int(line["line"]))[:MAX_LINES],
    }

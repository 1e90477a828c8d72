"""benchmarks/judge_speed.py: the contenders tell right answers from wrong ones, so that their times count."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

pytest.importorskip("z3", reason="z3-solver is not installed")
pytest.importorskip("capstone", reason="capstone is not installed")

from speed.answers import FreshTexts, MeasuredFunction, open_reference  # noqa: E402
from speed.clock import Seconds  # noqa: E402
from speed.compile_and_run import CompileAndRun  # noqa: E402
from speed.growth import list_programs  # noqa: E402
from speed.hypothesis_loop import HypothesisLoop  # noqa: E402
from speed.tables import format_spread, format_table  # noqa: E402

from pytest_llmcompiler.judge.api import check  # noqa: E402

SOURCE = """
struct point { short x; short y; };
struct list { int value; struct list *next; };
static int offset = 3;
struct point turn(struct point p, double by, const struct list *list)
{
    struct point turned = {(short)-p.y, (short)(p.x + (by > 0.5))};
    for (; list; list = list->next)
        turned.x ^= list->value;
    return turned;
}
unsigned scale(unsigned *values, int count, unsigned by)
{
    unsigned last = 0;
    for (int i = 0; i < count; i++)
        last = values[i] = values[i] * by + offset;
    return last;
}
void move(int by) { offset += by; }
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_contenders_tell_right_answers_from_wrong_ones(tmp_path: Path) -> None:
    path = tmp_path / "functions.c"
    path.write_text(SOURCE)
    reference = open_reference(path)
    for name in ("turn", "scale"):
        text = reference.texts.assembly(name, "O1")
        wrong = text.replace("\tretq", "\tincl\t%eax\n\tretq")
        contender = CompileAndRun(MeasuredFunction("functions", path, name), tmp_path)
        for passes in (contender.passes, contender.passes_with_compiled_driver):
            assert passes(text)
            assert not passes(wrong)
    wrong_memory = text.replace("imull", "addl")
    assert wrong_memory != text
    assert not contender.passes(wrong_memory)
    loop = HypothesisLoop(MeasuredFunction("functions", path, "scale"), tmp_path)
    assert loop.passes(text)
    assert not loop.passes(wrong)
    assert not loop.passes(wrong_memory)


def test_generated_programs_are_of_the_sizes_that_the_table_names() -> None:
    programs = {(program.grows, program.size): program for program in list_programs()}
    program = programs["instructions", 100]
    assert 80 <= program.source.count("\n") * 15 / 2 <= 130
    assert check(program.source, "mix", "mix:\n\tmovl $1, %eax\n\tretq\n", examples=10).kind == "mismatch"
    assert programs["inputs", 10_000].examples == 10_000


def test_texts_are_renewed_and_figures_formatted() -> None:
    fresh = FreshTexts()
    texts = [fresh.renew("f:\n\tretq\n") for _ in range(2)]
    assert texts == ["f:\t# 1\n\tretq\n", "f:\t# 2\n\tretq\n"]
    seconds = Seconds()
    seconds.measure(lambda: None)
    assert len(seconds.wall) == 1
    assert format_spread([0.001, 0.002, 0.003], 1e-3) == ["2.0", "3.0"]
    assert list(format_table(["a", "b"], [["1", "2"]])) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]

"""Verdicts do not depend on the engine: right and wrong code of drawn functions, judged with it and without it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

pytest.importorskip("z3", reason="z3-solver is not installed")
pytest.importorskip("capstone", reason="capstone is not installed")

from engine_equality import Comparison, compare_function, draw_functions  # noqa: E402
from quality.measure import Plan  # noqa: E402


@pytest.mark.parametrize(("target", "functions"), [("x86_64-linux", 5), ("x86_64-windows", 2), ("aarch64-linux", 2)])
def test_verdicts_with_and_without_the_engine(target: str, functions: int) -> None:
    comparison = Comparison()
    plan = Plan(examples=(30,), faults=4, seed=20, target=target, texts=2)
    folders = [BENCHMARKS.parent / "cases", BENCHMARKS / "functions"]
    for reference, function in draw_functions(folders, target, functions, 20):
        compare_function(comparison, reference, function, plan)
    assert comparison.differences == []
    assert comparison.kinds["pass"] >= functions and comparison.kinds.total() > 2 * comparison.kinds["pass"]
    assert comparison.settled > comparison.kinds["pass"] / 2, "the engine is not used"

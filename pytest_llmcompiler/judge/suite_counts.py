"""What is said of the inputs of a suite: how many there are, and what to think of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pytest_llmcompiler.judge.compiler_bug import describe_compiler_bug
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.oracle import SuiteEntry
from pytest_llmcompiler.judge.published_tests import describe_unrunnable
from pytest_llmcompiler.values.input import Input

_FEW = 10
"""The verdict warns where the function is defined on less than one in so many generated inputs."""
_VERY_FEW = 3
"""The verdict warns where the function runs so long that it has no more inputs than this."""


def describe_emptiness(function: str, dropped: Counter[str]) -> str:
    """Why a suite has no inputs."""
    return f"no input found on which {function} is defined ({_format_dropped(dropped) or 'none was generated'})"


def list_warnings(
    under_test: FunctionUnderTest, used: int, dropped: Counter[str], *, is_cut: bool, lacks_program: bool
) -> list[str]:
    """What users should know where so many inputs are used. `is_cut` says that the budget allowed no more,
    `lacks_program` that the whole program does not run."""
    function, case, warnings = under_test.function, under_test.reference.case, []
    if used * _FEW < used + dropped.total():
        warnings.append(
            f"{function} is defined on only {used} of {used + dropped.total()} inputs "
            f"({_format_dropped(dropped)}): `LLMC: arg` directives can say which inputs are meant"
        )
    if used <= _VERY_FEW and is_cut:
        warnings.append(f"{function} is judged on {used} input{'s'[: used != 1]} alone: it runs too long for more")
    fixed = under_test.reference.fixed_globals(function)
    if fixed:
        warnings.append(
            "what is too large for inputs, or of a type that inputs can't have, always has its initial value: "
            f"{', '.join(fixed)}"
        )
    if case.tests and lacks_program:
        warnings.append(describe_unrunnable(case, function))
    return warnings


def note_compiler_bug(
    counts: dict[str, Any], warnings: list[str], under_test: FunctionUnderTest, entries: dict[Input, SuiteEntry]
) -> None:
    """Add what clang -O2 does wrongly on the inputs, if it does."""
    bug = describe_compiler_bug(entries, under_test.function, under_test.signature)
    if bug:
        warning, counts["compiler_bug"] = bug
        warnings.append(warning)


def _format_dropped(dropped: Counter[str]) -> str:
    return ", ".join(f"{count} × {reason}" for reason, count in dropped.most_common())

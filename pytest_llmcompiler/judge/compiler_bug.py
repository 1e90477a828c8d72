"""A bug of clang -O2 that the inputs of a function show, as a warning for people and as facts for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pytest_llmcompiler.judge.format_c import format_input
from pytest_llmcompiler.judge.oracle import SuiteEntry
from pytest_llmcompiler.values.c_types import Function
from pytest_llmcompiler.values.input import Input


def describe_compiler_bug(
    entries: Mapping[Input, SuiteEntry], function: str, signature: Function
) -> tuple[str, dict[str, Any]] | None:
    """The warning and the facts; None where clang -O2 is right on every input. The first such input is shown."""
    wrong = [(input, entry.bug) for input, entry in entries.items() if entry.bug]
    if not wrong:
        return None
    input, bug = wrong[0]
    arguments = " ".join(format_input(replace(input, globals=()), signature.params))
    warning = (
        f"the bundled clang -O2 computes {function} wrongly on {len(wrong)} of {len(entries)} inputs; what -O0 does "
        f"counts: {arguments}: {bug.place}: {bug.expected} at -O0, {bug.observed} at -O2"
    )
    facts = {
        "inputs": len(wrong),
        "input": format_input(input, signature.params),
        "location": bug.place,
        "expected": bug.expected,
        "observed": bug.observed,
    }
    return warning, facts

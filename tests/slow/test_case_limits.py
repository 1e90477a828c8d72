"""Cases that make clang take whatever there is."""

from __future__ import annotations

import pytest
from faces import Compile

from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.program import tool_run


def test_macros_that_grow_without_end(monkeypatch: pytest.MonkeyPatch, compiled: Compile) -> None:
    """Each macro has the one before ten times. clang keeps all of it in memory before it compiles a line."""
    monkeypatch.setattr(tool_run, "_ADDRESS_BYTES", 1 << 30)
    macros = "\n".join(f"#define A{number + 1} {f'A{number} ' * 10}" for number in range(9))
    case = compiled(f"#define A0 x,\n{macros}\nint x;\nint f(int y) {{ return (A9 y); }}\n")
    with pytest.raises(CaseError, match="out of memory"):
        case.ir  # noqa: B018

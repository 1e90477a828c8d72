"""From the text of a candidate to its code, or to the verdict on a text that gives none."""

from __future__ import annotations

from collections.abc import Callable

from pytest_llmcompiler.errors import AssemblyError, LinkError, UnsupportedError
from pytest_llmcompiler.judge.failure import quote_line
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.targets.code import AssembledCode


def assemble_or_judge(assemble: Callable[[str], AssembledCode], function: str, text: str) -> AssembledCode | Verdict:
    """The code of a text for a function, or the verdict on a text that gives no code for it.

    Raises ChildLostError where the machine did not let a process finish.
    """
    try:
        candidate = assemble(text)
    except UnsupportedError as error:
        return Verdict("inconclusive", str(error))
    except AssemblyError as error:
        place = f"line {error.line}, column {error.column}: " if error.line else ""
        position = {"line": error.line or None, "column": error.column or None}
        return Verdict("assemble", f"{place}{error}", quote_line(text, error.line), position)
    except LinkError as error:
        return Verdict("link", str(error))
    start = candidate.symbols[function]
    if not any(s.is_executable and s.address <= start < s.address + len(s.data) for s in candidate.segments):
        return Verdict("link", f"{function} is defined, but not as code of this text")
    return candidate

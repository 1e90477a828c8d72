"""Judge machine code that language models write: run it beside the clang-compiled reference, on generated inputs."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from pytest_llmcompiler.errors import CaseError, JudgeError, LLMCompilerError
from pytest_llmcompiler.judge.api import check, check_file
from pytest_llmcompiler.judge.verdict import KINDS, Counterexample, Kind, Verdict
from pytest_llmcompiler.service.sample import Sample

if TYPE_CHECKING:
    from pytest_llmcompiler.service.judge import Judge

__version__ = version("pytest-llmcompiler")

__all__ = (
    "KINDS",
    "CaseError",
    "Counterexample",
    "Judge",
    "JudgeError",
    "Kind",
    "LLMCompilerError",
    "Sample",
    "Verdict",
    "__version__",
    "check",
    "check_file",
)


def __getattr__(name: str) -> object:
    """`Judge` is imported when it is first used: with asyncio and threads it takes longer than all the rest."""
    if name == "Judge":
        from pytest_llmcompiler.service.judge import Judge

        return Judge
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Judge machine code that language models write: run it beside the clang-compiled reference, on generated inputs."""

from __future__ import annotations

from importlib.metadata import version

from pytest_llmcompiler.errors import CaseError, JudgeError, LLMCompilerError
from pytest_llmcompiler.judge.api import check, check_file
from pytest_llmcompiler.judge.verdict import KINDS, Counterexample, Kind, Verdict

__version__ = version("pytest-llmcompiler")

__all__ = (
    "KINDS",
    "CaseError",
    "Counterexample",
    "JudgeError",
    "Kind",
    "LLMCompilerError",
    "Verdict",
    "__version__",
    "check",
    "check_file",
)

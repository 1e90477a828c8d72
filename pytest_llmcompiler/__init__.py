"""Judge machine code that language models write: run it beside the clang-compiled reference, on generated inputs."""

from pytest_llmcompiler.errors import CaseError, JudgeError
from pytest_llmcompiler.judge.api import check
from pytest_llmcompiler.judge.verdict import KINDS, Kind, Verdict

__all__ = ("KINDS", "CaseError", "JudgeError", "Kind", "Verdict", "check")

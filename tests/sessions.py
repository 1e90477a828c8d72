"""A case of two functions, answers to it, and functions that run pytest inside a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

CASE = """\
int twice(int x) { return (int)(2u * (unsigned)x); }
unsigned char low(unsigned x) { return (unsigned char)x; }
"""
TWICE = "twice:\n\tleal\t(%rdi,%rdi), %eax\n\tretq\n"
WRONG = "twice:\n\tmovl\t%edi, %eax\n\tretq\n"
LOW = "low:\n\tmovl\t%edi, %eax\n\tretq\n"
VEX = "twice:\n\tvpxor\t%xmm0, %xmm0, %xmm0\n\tleal\t(%rdi,%rdi), %eax\n\tretq\n"
PROMPT_MODEL = """
import pytest
from pytest_llmcompiler.model.answer import Answer

class Mine:
    def describe(self):
        return {"backend": "mine", "name": "me"}

    def answers(self, prompt, samples):
        print("PROMPT", repr(prompt.text))
        yield Answer(prompt.reference())

    def close(self):
        pass

@pytest.fixture(scope="session")
def llmc_model():
    return Mine()
"""


def put(project: pytest.Pytester, name: str, text: str) -> Path:
    path = project.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def run(project: pytest.Pytester, *args: str | Path) -> pytest.RunResult:
    """pytest with few inputs for each function, and without the plugin of hypothesis, whose import takes a second."""
    return project.runpytest_subprocess("--llmc-examples=10", "-p", "no:xdist", "-p", "no:hypothesispytest", *args)


def run_here(project: pytest.Pytester, *args: str) -> pytest.RunResult:
    """pytest in this process, for what ends before any code is judged or a model is loaded."""
    return project.runpytest_inprocess("-p", "no:xdist", *args)


def replay(project: pytest.Pytester, *answers: str | tuple[str, str], **fields: Any) -> str:
    """The model that gives these answers: to `twice`, sample by sample, or (function, answer)."""
    lines = []
    for number, answer in enumerate(answers):
        function, text = answer if isinstance(answer, tuple) else ("twice", answer)
        sample = 0 if isinstance(answer, tuple) else number
        record = {"case": "a.c", "function": function, "task": "asm", "passes": "O0", "sample": sample, "answer": text}
        lines.append(json.dumps(record | fields) + "\n")
    put(project, "answers.jsonl", "".join(lines))
    return "--llmc-model=replay:answers.jsonl"


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def text_of(result: pytest.RunResult) -> str:
    return "\n".join([*result.outlines, *result.errlines])


def assert_no_traceback(result: pytest.RunResult) -> None:
    text = text_of(result)
    assert "Traceback" not in text and "INTERNALERROR" not in text and "_pytest/" not in text, text

"""From an answer, or from assembly in hand, to a verdict."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.program.case import Case, read_case
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.target import DEFAULT

if TYPE_CHECKING:
    from pytest_llmcompiler.judge.service import Judge
    from pytest_llmcompiler.model.answer import Answer, Task
    from pytest_llmcompiler.model.extract.blocks import ExtractedCode


def judge_answer(
    judge: Judge,
    case: Case,
    function: str,
    answer: Answer,
    *,
    task: Task = "asm",
    passes: str = "",
    explain: bool = True,
    reproducer: bool = False,
) -> Verdict:
    """Judge a model's answer to a task: find the code in it and run that. Lines in the verdict are lines of the answer,
    where it is assembly, and else of the assembly that LLVM makes of it.

    Without `explain`, no smaller input is looked for. With `reproducer`, the verdict on code that ran and failed has
    all that it takes to show the failure elsewhere.
    """
    from pytest_llmcompiler.errors import NoCodeError, TruncatedError
    from pytest_llmcompiler.judge.tasks import TaskQuestion
    from pytest_llmcompiler.model.extract.claims import find_claimed_sizes

    try:
        text = code_in(answer, function, task).aligned_text
    except NoCodeError as error:
        return Verdict("no-answer", str(error))
    except TruncatedError as error:
        return Verdict("truncated", str(error))
    question = TaskQuestion(task, passes, find_claimed_sizes(answer.text))
    return judge.judge(case, function, text, question, explain=explain, reproducer=reproducer)


def code_in(answer: Answer, function: str, task: Task) -> ExtractedCode:
    """What of an answer is to become machine code. Raises NoCode or Truncated."""
    from pytest_llmcompiler.model.extract.assembly import extract_assembly
    from pytest_llmcompiler.model.extract.ir import extract_ir
    from pytest_llmcompiler.model.extract.passes import extract_passes

    if task == "tune":
        return extract_passes(answer)
    return extract_assembly(answer, function) if task == "asm" else extract_ir(answer, function)


def check(
    source: str | Path,
    function: str,
    assembly: str,
    *,
    examples: int = 100,
    seed: int = 1,
    explain: bool = True,
    task: Task = "asm",
    passes: str = "O0",
    target: str = DEFAULT,
) -> Verdict:
    """Judge assembly for a function of a C or IR source, without pytest and without harm to the calling process.

    `source` is the path of a .c or .ll file, or C source text. `assembly` is bare assembly or a model's answer with
    code in it, for x86-64 in AT&T or Intel syntax; for another `task` than `asm`, what that asks for. `passes` is the
    pass list of the question: `detail` compares with what opt makes of it, and no verdict depends on that.
    `target` says what the code is for (see `--llmc-target`). `examples` inputs are drawn, others for another `seed`.
    Without `explain`, no small input is looked for that shows a failure, which takes most of the time that wrong code
    takes; the verdict is of the same kind.

    Raises CaseError where the source is at fault (a file that is missing or does not compile, no such function),
    ValueError for a target that there is not, JudgeError where the harness is at fault; anything about `assembly` is a
    verdict.
    """
    from pytest_llmcompiler.model.answer import Answer

    case = _case_of(source)
    judge = _judge(examples, seed, get_target(target).name)
    return judge_answer(judge, case, function, Answer(assembly), task=task, passes=passes, explain=explain)


def _case_of(source: str | Path) -> Case:
    if isinstance(source, Path) or ("\n" not in source and "{" not in source):
        return read_case(Path(source))
    return _written(source)


def _written(source: str) -> Case:
    """C text as a file, which a compiler can read and which the judge's process can keep."""
    with _LOCK:
        path = _folder() / f"{hashlib.sha256(source.encode('utf-8', 'replace')).hexdigest()}.c"
        if not path.exists():
            path.write_bytes(source.encode("utf-8", "replace"))
    return read_case(path, "source.c")


@functools.cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="llmc-"))
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child leaves it to its parent
        shutil.rmtree(folder, ignore_errors=True)


def _judge(examples: int, seed: int = 1, target: str = DEFAULT) -> Judge:
    with _LOCK:
        return _kept_judge(examples, seed, target)


@functools.cache
def _kept_judge(examples: int, seed: int, target: str) -> Judge:
    from pytest_llmcompiler.judge.harness import JudgeSettings
    from pytest_llmcompiler.judge.service import Judge

    judge = Judge(JudgeSettings(examples, seed, target=target))
    atexit.register(judge.close)
    return judge


_LOCK = threading.Lock()

"""From a model's answer to a verdict: `check`, `check_file` and `judge_answer`."""

from __future__ import annotations

import atexit
import functools
import os
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmcompiler.judge.reproducer import ReproducibleVerdict
from pytest_llmcompiler.judge.source_texts import write_source
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.model.llama.resources import count_cores
from pytest_llmcompiler.program.case import SUFFIXES, Case, read_case
from pytest_llmcompiler.program.compile_flags import FlagSources
from pytest_llmcompiler.program.flag_words import parse_flags
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.target import DEFAULT

if TYPE_CHECKING:
    from pytest_llmcompiler.judge.client import JudgeClient
    from pytest_llmcompiler.judge.pool import JudgePool
    from pytest_llmcompiler.judge.settings import NativeMode
    from pytest_llmcompiler.model.answer import Answer, Task
    from pytest_llmcompiler.model.extract.blocks import ExtractedCode
    from pytest_llmcompiler.targets.levels import IsaLevel


def judge_answer(
    judge: JudgeClient,
    case: Case,
    function: str,
    answer: Answer,
    *,
    task: Task = "asm",
    passes: str = "",
    explain: bool = True,
    taught: Sequence[Mapping[str, Any]] = (),
) -> Verdict:
    """Judge a model's answer to a task: extract the code and run it.

    Line numbers in the verdict are lines of the answer where the answer is assembly, otherwise lines of the assembly
    that LLVM makes of it. Without `explain`, no smaller input is searched for. `taught` are inputs that failed earlier
    answers (`TaskQuestion.taught`).

    Raises CaseError where the case is at fault, JudgeError where the harness is.
    """
    return _judge_answer(judge, case, function, answer, task, passes, taught, explain=explain, capture=False).verdict


def judge_answer_with_reproducer(
    judge: JudgeClient,
    case: Case,
    function: str,
    answer: Answer,
    *,
    task: Task = "asm",
    passes: str = "",
    taught: Sequence[Mapping[str, Any]] = (),
) -> ReproducibleVerdict:
    """Judge as `judge_answer` does, and capture what a native program needs to show the same failure."""
    return _judge_answer(judge, case, function, answer, task, passes, taught, explain=True, capture=True)


def _judge_answer(
    judge: JudgeClient,
    case: Case,
    function: str,
    answer: Answer,
    task: Task,
    passes: str,
    taught: Sequence[Mapping[str, Any]],
    *,
    explain: bool,
    capture: bool,
) -> ReproducibleVerdict:
    from pytest_llmcompiler.errors import NoCodeError, TruncatedError
    from pytest_llmcompiler.judge.foreign_names import describe_missing_code
    from pytest_llmcompiler.judge.settings import TaskQuestion
    from pytest_llmcompiler.model.extract.claims import find_claimed_sizes

    try:
        text = extract_code(answer, function, task).aligned_text
    except NoCodeError as error:
        return ReproducibleVerdict(describe_missing_code(error, function))
    except TruncatedError as error:
        return ReproducibleVerdict(Verdict("truncated", str(error)))
    question = TaskQuestion(task, passes, find_claimed_sizes(answer.text), taught)
    if capture:
        return judge.judge_with_reproducer(case, function, text, question)
    return ReproducibleVerdict(judge.judge(case, function, text, question, explain=explain))


def extract_code(answer: Answer, function: str, task: Task) -> ExtractedCode:
    """The part of an answer that is to become machine code: assembly, IR or a pass list.

    Raises NoCodeError where there is none, TruncatedError where the token limit cut it.
    """
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
    cflags: Sequence[str] = (),
    effort: float = 1.0,
    prove: bool = False,
    native: NativeMode = "off",
    isa: IsaLevel = "x86-64",
    program: bool = False,
) -> Verdict:
    """Judge assembly for a function of C source text, without pytest and without harm to the calling process.

    `source` is C source text; `check_file` takes a file. `assembly` is bare assembly or a model's answer with code in
    it: for x86-64 in AT&T, Intel or NASM syntax; for another `task` than `asm` the IR or pass list that it asks
    for. `passes` is the pass list of the question: `detail` compares the answer with what opt makes with it, and no
    verdict depends on it. `target` names the processor and system that the code is for (see `--llmc-target`).

    `cflags` are flags of clang for the source, such as `["-std=gnu89", "-Iinclude"]`. Their paths start at the current
    folder.

    `examples` is the number of generated inputs; another `seed` gives other inputs. Code that passes all of them is
    looked at once more, on inputs made for this code and seed: `effort` is a factor of the usual budget for that, and
    0 leaves it out. Without `explain`, no smaller input that shows a failure is searched for. That search takes most of
    the time that wrong code takes; the verdict is of the same kind without it. With `prove`, it is tried to prove that
    code which passes is equal to the reference on every input; `detail["proved"]` says whether it is.

    With `native="auto"`, code that the emulator can't run, such as AVX2, runs on this machine's processor, in a
    confined process, where `isa` allows it: `"x86-64-v3"` or `"x86-64-v4"`. Otherwise it is `inconclusive`.

    With `program`, and where a directive of the source says `LLMC: program`, the answer is the whole program, and
    `function` is `main`: it is run as a process, and what it writes and how it ends are compared.

    Raises CaseError where the source is at fault (it does not compile, it does not define the function), ValueError for
    an unknown target, mode or level and for an effort that is no number of 0 or more, SettingError where the libraries
    for proofs are missing, JudgeError where the harness is at fault. Whatever is wrong with `assembly` is a verdict.

    For one more version, the path of a .c or .ll file is taken as `source` too, with a DeprecationWarning.
    """
    from pytest_llmcompiler.model.answer import Answer

    if _is_case_file(source):
        warnings.warn(
            "check() takes C source text: use check_file() for the path of a file", DeprecationWarning, stacklevel=2
        )
        source = Path(source)
    case = open_case(source, cflags, program=program)
    judge = shared_judge(examples, seed, target, effort, prove, native, isa)
    return judge_answer(judge, case, function, Answer(assembly), task=task, passes=passes, explain=explain)


def check_file(
    path: str | os.PathLike[str],
    function: str,
    assembly: str,
    *,
    examples: int = 100,
    seed: int = 1,
    explain: bool = True,
    task: Task = "asm",
    passes: str = "O0",
    target: str = DEFAULT,
    cflags: Sequence[str] = (),
    effort: float = 1.0,
    prove: bool = False,
    native: NativeMode = "off",
    isa: IsaLevel = "x86-64",
    program: bool = False,
) -> Verdict:
    """Judge assembly for a function of a .c or .ll file. All but `path` is as for `check`.

    Flags of clang also come from the compilation database (`compile_commands.json`) above the file that has an entry
    for it; `cflags` come after them.

    Raises what `check` raises, and CaseError for a file that can't be read or is of another type.
    """
    from pytest_llmcompiler.model.answer import Answer

    case = open_case(Path(path), cflags, program=program)
    judge = shared_judge(examples, seed, target, effort, prove, native, isa)
    return judge_answer(judge, case, function, Answer(assembly), task=task, passes=passes, explain=explain)


def open_case(source: str | Path, cflags: Sequence[str] = (), *, program: bool = False) -> Case:
    """The case of C source text, or of a .c or .ll file where `source` is a path. With `program`, it is a whole program
    where it has a `main`. Compilation databases count for files
    alone. Raises CaseError for a file that can't be read or is of another type, and for flags that are not allowed."""
    if isinstance(source, Path):
        return read_case(source, flag_sources=_flag_sources(cflags), program=program)
    flag_sources = replace(_flag_sources(cflags), has_databases=False)
    return read_case(write_source(source), "source.c", flag_sources, program=program)


def _flag_sources(cflags: Sequence[str]) -> FlagSources:
    return FlagSources((parse_flags(cflags, Path.cwd(), "cflags"),) if cflags else ())


def _is_case_file(source: str | Path) -> bool:
    """Whether `source` is a path, or one line that ends as the name of a case does, which no C text does."""
    return isinstance(source, Path) or (source.endswith(SUFFIXES) and "\n" not in source)


def shared_judge(
    examples: int = 100,
    seed: int = 1,
    target: str = DEFAULT,
    effort: float = 1.0,
    prove: bool = False,
    native: NativeMode = "off",
    isa: IsaLevel = "x86-64",
) -> JudgeClient:
    """The judge that all calls of `check` and `check_file` with these settings share; all such judges share one pool of
    processes, as many as there are cores, which end with this process. Raises ValueError for an unknown target, mode or
    level and for an effort that is no number of 0 or more."""
    from pytest_llmcompiler.judge.settings import check_effort, check_native, check_prover

    if prove:
        check_prover()
    with _LOCK:
        native, isa = check_native(native, isa)
        return _open_judge(examples, seed, get_target(target).name, check_effort(effort), prove, native, isa)


@functools.cache
def _open_judge(
    examples: int, seed: int, target: str, effort: float, prove: bool, native: NativeMode, isa: IsaLevel
) -> JudgeClient:
    from pytest_llmcompiler.judge.client import JudgeClient
    from pytest_llmcompiler.judge.settings import JudgeSettings

    settings = JudgeSettings(examples, seed, target=target, effort=effort, prove=prove, native=native, isa=isa)
    return JudgeClient(settings, pool=_open_pool())


@functools.cache
def _open_pool() -> JudgePool:
    from pytest_llmcompiler.judge.pool import JudgePool

    pool = JudgePool(count_cores())
    atexit.register(pool.close)
    return pool


_LOCK = threading.Lock()
"""Guards the creation of the folder of sources, of shared judges and of their pool."""

"""The lines about model and judge in the header of a session."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from pytest_llmcompiler import landlock, seccomp
from pytest_llmcompiler.assembler.keystone_engine import find_library
from pytest_llmcompiler.targets.levels import ISA_LEVELS, IsaLevel
from pytest_llmcompiler.targets.target import DEFAULT


def header_lines(facts: dict[str, Any], compiler: str, target: str) -> list[str]:
    """Name the model with its hardware, the reference compiler, and the target unless it is the default.

    `facts` is the result of the model's `describe`.
    """
    parts = [f"{facts['name']} ({facts['backend']})"]
    if "gpu" in facts:
        where = f"{facts['gpu_layers']} of {facts['layers']} layers on the GPU" if facts["gpu"] else "all on the CPU"
        parts.append(f"{where}, context {facts['context']} tokens")
    if "answers" in facts:
        parts.append(f"{facts['answers']} answers")
    lines = [f"llmc: model {', '.join(parts)}", f"llmc: reference {compiler}"]
    return lines if target == DEFAULT else [*lines, f"llmc: target {target}"]


def native_line(level: IsaLevel, problem: str) -> str:
    """Say that code above the emulator's instructions, up to a level, runs natively, or why none does."""
    if level not in ISA_LEVELS[2:]:
        problem = problem or f"this machine's processor is {level}"
    if problem:
        return f"llmc: no native runs, so code with AVX is inconclusive: {problem}"
    return f"llmc: code with AVX, up to {level}, runs on this machine's processor, confined"


def judge_lines(jobs: int, processes: int, megabytes: int, engine_problem: str, effort: float) -> list[str]:
    """Say what the judge may take of the machine, why the kernel does not confine the processes that run answers, if it
    does not, whether keystone is missing, why there is no engine, if there is none, and the effort of the second look.

    There are up to `jobs` judge processes for each of the `processes` that run tests. `megabytes` is the memory, in
    MiB, above which each of them lets prepared functions go where little is free.
    """
    workers = "1 worker" if jobs * processes == 1 else f"up to {jobs * processes} workers"
    lines = [f"llmc: judge {workers}, each keeps functions ready in {megabytes} MiB, and in more that is free"]
    for what, reason in (
        ("keep all system calls", seccomp.find_missing_reason()),
        ("are not confined by Landlock", landlock.find_missing_reason()),
    ):
        if reason:
            lines.append(f"llmc: processes that run answers {what}, see SECURITY.md: {reason}")
    if find_library() is None:
        lines.append(f"llmc: LLVM assembles all answers, which takes longer: no keystone on {platform.machine()}")
    if engine_problem:
        words = "llmc: no engine, so that each verdict takes some twenty times as long, and no second look"
        return [*lines, f"{words}: {engine_problem}"]
    look = f"second look at samples that pass, effort {effort:g}" if effort else "no second look, since effort is 0"
    return [*lines, f"llmc: {look}"]


def cache_lines(folder: Path) -> list[str]:
    """Say where the cache can't be written: another user's, or read-only."""
    place = next(path for path in (folder, *folder.parents) if os.access(path, os.F_OK))  # Path.exists raises
    if os.access(place, os.W_OK | os.X_OK):
        return []
    return [f"llmc: nothing is kept for the next session, which takes as long again: can't write {folder}"]

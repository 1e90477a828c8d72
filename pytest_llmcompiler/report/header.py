"""The lines about the model in the header of a session."""

from __future__ import annotations

from typing import Any

from pytest_llmcompiler.targets.target import DEFAULT


def header_lines(
    facts: dict[str, Any], compiler: str, target: str, jobs: int, megabytes: int, engine_problem: str = ""
) -> list[str]:
    """Name the model with its hardware, the reference compiler, the target unless it is the default, what the judge may
    take of the machine, and why there is no engine.

    `facts` is the result of the model's `describe`. `megabytes` is the memory, in MiB, above which each of the `jobs`
    judge processes lets prepared functions go.
    """
    parts = [f"{facts['name']} ({facts['backend']})"]
    if "gpu" in facts:
        where = f"{facts['gpu_layers']} of {facts['layers']} layers on the GPU" if facts["gpu"] else "all on the CPU"
        parts.append(f"{where}, context {facts['context']} tokens")
    if "answers" in facts:
        parts.append(f"{facts['answers']} answers")
    lines = [f"llmc: model {', '.join(parts)}", f"llmc: reference {compiler}"]
    if target != DEFAULT:
        lines.append(f"llmc: target {target}")
    workers = "1 worker" if jobs == 1 else f"up to {jobs} workers"
    lines.append(f"llmc: judge {workers}, each keeps functions ready in up to {megabytes} MiB")
    if engine_problem:
        lines.append(f"llmc: no engine, so that each verdict takes some twenty times as long: {engine_problem}")
    return lines

"""The lines about the model in the header of a session."""

from __future__ import annotations

from typing import Any

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

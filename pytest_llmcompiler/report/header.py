"""What the head of a session says of the model."""

from __future__ import annotations

from typing import Any

from pytest_llmcompiler.targets.target import DEFAULT


def header_lines(facts: dict[str, Any], compiler: str, target: str) -> list[str]:
    """What a model's `describe` tells, with where its layers are, the reference compiler's version, and the target
    where it is not the default."""
    words = [f"{facts['name']} ({facts['backend']})"]
    if "gpu" in facts:
        where = f"{facts['gpu_layers']} of {facts['layers']} layers on the GPU" if facts["gpu"] else "all on the CPU"
        words.append(f"{where}, context {facts['context']} tokens")
    if "answers" in facts:
        words.append(f"{facts['answers']} answers")
    other = [f"llmc: target {target}"] if target != DEFAULT else []
    return [f"llmc: model {', '.join(words)}", f"llmc: reference {compiler}", *other]

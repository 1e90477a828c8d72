"""What the head of a session says of the model."""

from __future__ import annotations

from typing import Any


def header_lines(facts: dict[str, Any], compiler: str) -> list[str]:
    """What a model's `describe` tells, with where its layers are, and the reference compiler's version."""
    words = [f"{facts['name']} ({facts['backend']})"]
    if "gpu" in facts:
        where = f"{facts['gpu_layers']} of {facts['layers']} layers on the GPU" if facts["gpu"] else "all on the CPU"
        words.append(f"{where}, context {facts['context']} tokens")
    return [f"llmc: model {', '.join(words)}", f"llmc: reference {compiler}"]

"""The reference compiler as the model: proves that a suite passes when the answers are right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_llmcompiler.model.answer import Answer, Prompt


class ReferenceModel:
    """Answers with the reference compiler's own assembly, the same for every sample."""

    def describe(self) -> dict[str, Any]:
        """The report header says which compiler that is."""
        return {"backend": "reference", "name": "reference"}

    def answers(self, prompt: Prompt, samples: int) -> Iterator[Answer]:
        """Yield the reference's assembly `samples` times; what the compiler raises passes through."""
        if samples > 0:
            text = prompt.reference()
            for sample in range(samples):
                yield Answer(text, sample)

    def close(self) -> None:
        """Nothing is held open."""

"""The reference compiler as the model: proves that a suite passes when the answers are right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pytest_llmcompiler.model.answer import Answer, Prompt, Task

if TYPE_CHECKING:
    from pytest_llmcompiler.program.clang import Syntax
    from pytest_llmcompiler.program.reference import Reference


def build_reference_answer(reference: Reference, function: str, task: Task, passes: str, syntax: Syntax) -> str:
    """What the reference compiler answers. Raises CaseError and ClangError."""
    if task == "asm":
        return reference.texts.assembly(function, passes, syntax)
    return "opt -p 'default<Oz>'" if task == "tune" else reference.texts.optimised_ir(function, passes)


class ReferenceModel:
    """Answers with what the reference compiler itself makes, the same for every sample."""

    def describe(self) -> dict[str, Any]:
        """The report header says which compiler that is."""
        return {"backend": "reference", "name": "reference"}

    def answers(self, prompt: Prompt, samples: int) -> Iterator[Answer]:
        """Yield the reference's answer `samples` times; what the compiler raises passes through."""
        if samples > 0:
            text = prompt.reference()
            for sample in range(samples):
                yield Answer(text, sample)

    def close(self) -> None:
        """Nothing is held open."""

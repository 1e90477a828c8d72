"""The reference compiler as a model: it shows that correct answers pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pytest_llmcompiler.model.answer import Answer, Prompt, Task

if TYPE_CHECKING:
    from pytest_llmcompiler.program.clang import Syntax
    from pytest_llmcompiler.program.reference import Reference


def build_reference_answer(reference: Reference, function: str, task: Task, passes: str, syntax: Syntax) -> str:
    """The reference compiler's answer to a task. Raises CaseError and ClangError."""
    if task == "asm":
        return reference.texts.assembly(function, passes, syntax)
    return "opt -p 'default<Oz>'" if task == "tune" else reference.texts.optimised_ir(function, passes)


class ReferenceModel:
    """Answers with the reference compiler's output, the same for every sample."""

    def describe(self) -> dict[str, Any]:
        """The facts of the model. The report header names the compiler."""
        return {"backend": "reference", "name": "reference"}

    def answers(self, prompt: Prompt, samples: int) -> Iterator[Answer]:
        """Yield the reference's answer `samples` times. Raises CaseError and ClangError."""
        if samples > 0:
            text = prompt.reference()
            for sample in range(samples):
                yield Answer(text, sample)

    def close(self) -> None:
        """There is nothing to free."""

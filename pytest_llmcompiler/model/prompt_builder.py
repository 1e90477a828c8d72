"""From a compiled case to the prompts that are asked about its functions."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pytest_llmcompiler.model.answer import Prompt, PromptSource, QuestionKey, Task, has_pass_list
from pytest_llmcompiler.model.reference import build_reference_answer
from pytest_llmcompiler.program.ir_names import spell_as_llvm

if TYPE_CHECKING:
    from pytest_llmcompiler.model.prompt import Template
    from pytest_llmcompiler.program.clang import Syntax
    from pytest_llmcompiler.program.reference import Reference
    from pytest_llmcompiler.program.short import ShortIR


class CaseQuestion(NamedTuple):
    """What one question about a case asks for."""

    function: str
    task: Task
    passes: str
    """Empty if the task has no pass list."""
    template: str
    """Name or path of the prompt template."""


def list_case_questions(
    reference: Reference, tasks: Sequence[Task], templates: Sequence[str], passes: Sequence[str]
) -> Iterator[CaseQuestion]:
    """Every question about the functions of a case, in the order in which they are asked.

    Pass lists that a directive of the case names replace `passes`. Raises CaseError.
    """
    pass_lists = reference.case.passes or passes
    for function, task, template in itertools.product(reference.functions, tasks, templates):
        for one in pass_lists if has_pass_list(task) else ("",):
            yield CaseQuestion(function, task, one, template)


def build_prompt(reference: Reference, template: Template, key: QuestionKey, syntax: Syntax) -> Prompt:
    """The prompt of the question with a key, from the template of its task.

    Raises CaseError or ClangError if the case is at fault, NoCSourceError if the template shows C and the case has
    none.
    """
    function, task, passes = key.function, template.task, key.passes
    short = reference.texts.short_ir(function) if "short_ir" in template.fields else None
    text = template.render(_list_fields(reference, template, key, syntax, short))
    return Prompt(
        case=key.case,
        function=function,
        task=task,
        passes=passes,
        template=template.name,
        text=text,
        reference=lambda: build_reference_answer(reference, function, task, passes, syntax),
        source=PromptSource(reference.case.path, reference.case.cflags, lambda: reference.texts.ir(function)),
        digest=hashlib.sha256(f"{text}\0{reference.fingerprint}".encode("utf-8", "surrogatepass")).hexdigest(),
        instructions=reference.texts.sizes(function)[0],
        label=key.label,
        task_label=key.task,
        symbol_names=short.names if short else {},
    )


def _list_fields(
    reference: Reference, template: Template, key: QuestionKey, syntax: Syntax, short: ShortIR | None
) -> dict[str, str | int]:
    """The values of the fields that a template may use; the costly ones only if it uses them."""
    function = key.function
    count, size = reference.texts.sizes(function)
    fields: dict[str, str | int] = {
        "ir": spell_as_llvm(reference.texts.ir(function)),
        "ir_count": count,
        "bin_size": size,
        "function": function,
    }
    if has_pass_list(template.task):
        fields["passes"] = key.passes
    if template.task == "disassemble":
        fields["asm"] = reference.texts.lowered_assembly(function, key.passes, syntax)
    if "c" in template.fields:
        fields["c"] = reference.texts.c_source(function)
    if short:
        fields["short_ir"] = spell_as_llvm(short.text)
    return fields

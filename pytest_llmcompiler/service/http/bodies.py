"""The body of `POST /judge`, its answer, and the JSON Schema of both."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_llmcompiler.judge.verdict import Kind, Verdict
from pytest_llmcompiler.model.answer import Task
from pytest_llmcompiler.service.http.faces import Batch
from pytest_llmcompiler.service.http.refusals import FieldFault, RefusalError
from pytest_llmcompiler.service.sample import Sample
from pytest_llmcompiler.targets import list_target_names
from pytest_llmcompiler.targets.target import DEFAULT

_EXACT = {"extra": "forbid", "strict": True}
"""How pydantic reads a class: no unknown field, and no number for a string. https://docs.pydantic.dev/latest/api/config/"""


@dataclass(frozen=True)
class SampleBody:
    """One answer to judge."""

    __pydantic_config__ = _EXACT

    source: str
    """C source text."""
    function: str
    """The name of the function of the source that the answer is for."""
    answer: str
    """Bare assembly, or a model's answer with code in it."""
    task: Task = "asm"
    """What the model was asked for."""
    passes: str = "O0"
    """The pass list of the question. No verdict depends on it."""
    target: str = DEFAULT
    """The processor and system that the code is for."""
    cflags: list[str] = field(default_factory=list)
    """Flags of clang for the source, of those that name no file."""
    program: bool = False
    """Whether the answer is for the whole program, whose function is `main`."""


@dataclass(frozen=True)
class JudgeBody:
    """The body of `POST /judge`."""

    __pydantic_config__ = _EXACT

    samples: list[SampleBody]
    stream: bool = False
    """Whether the answer is one JSON line for each verdict, as soon as it is there."""


@dataclass(frozen=True)
class VerdictBody:
    """A verdict, as `Verdict.from_json` reads it."""

    verdict: Kind
    detail: dict[str, Any]
    """Its message, the evidence and the facts, as in records."""


@dataclass(frozen=True)
class JudgeAnswer:
    """The answer of `POST /judge`."""

    verdicts: list[VerdictBody]
    """In the order of the samples."""


@dataclass(frozen=True)
class VerdictLine(VerdictBody):
    """A line of the streamed answer."""

    index: int
    """The place of the sample in the request, counted from 0."""


def read_judge_body(body: bytes) -> Batch:
    """The samples of a body of `POST /judge`. Raises RefusalError with the fields that are at fault."""
    from pydantic import ValidationError

    try:
        request: JudgeBody = _open_adapter(JudgeBody).validate_json(body)
    except ValidationError as error:
        raise _describe(error.errors(include_url=False, include_input=False, include_context=False)) from None
    known = list_target_names()
    faults = [
        FieldFault(f"samples.{index}.target", f"no target of this name; there are: {', '.join(known)}")
        for index, sample in enumerate(request.samples)
        if sample.target not in known
    ]
    if faults:
        raise RefusalError(422, "fields", _summarise(faults), faults)
    return Batch(
        [_build_sample(sample) for sample in request.samples],
        lambda verdicts: {"verdicts": [verdict.to_json() for verdict in verdicts]},
        lambda index, name: f"samples.{index}.{name}",
        request.stream,
    )


def parse_json(body: bytes) -> object:
    """The JSON of a body. Raises RefusalError."""
    from pydantic_core import from_json

    try:
        value: object = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise RefusalError(400, "json", f"the body is no JSON: {error}") from None
    return value


def build_line(index: int, verdict: Verdict) -> dict[str, Any]:
    """A line of the streamed answer."""
    return {"index": index, **verdict.to_json()}


def build_schemas() -> dict[str, Any]:
    """The JSON Schema of the body, of the answer and of a line of the streamed answer."""
    return {
        "request": _open_adapter(JudgeBody).json_schema(),
        "answer": _open_adapter(JudgeAnswer).json_schema(mode="serialization"),
        "line": _open_adapter(VerdictLine).json_schema(mode="serialization"),
    }


@functools.cache
def _open_adapter(kind: type) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _build_sample(body: SampleBody) -> Sample:
    return Sample(
        body.source,
        body.function,
        body.answer,
        body.task,
        body.passes,
        body.target,
        cflags=tuple(body.cflags),
        program=body.program,
    )


def _describe(errors: Sequence[Any]) -> RefusalError:
    """The refusal for what pydantic found."""
    if errors[0]["type"] == "json_invalid":
        return RefusalError(400, "json", f"the body is no JSON: {errors[0]['msg'].removeprefix('Invalid JSON: ')}")
    faults = [FieldFault(".".join(map(str, error["loc"])) or "body", error["msg"]) for error in errors]
    return RefusalError(422, "fields", _summarise(faults), faults)


def _summarise(faults: Sequence[FieldFault]) -> str:
    more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
    return f"{faults[0].field}: {faults[0].message}{more}"

"""The questions that samples answer, as requests of the judge."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pytest_llmcompiler.judge.api import open_case
from pytest_llmcompiler.judge.messages import AnswerRequest, describe_function
from pytest_llmcompiler.judge.settings import JudgeSettings
from pytest_llmcompiler.judge.ticket import EncodedRequest
from pytest_llmcompiler.service.sample import Sample
from pytest_llmcompiler.targets import get_target

_KEPT = 4096
"""Questions that are kept: a few kilobytes each, with the source text, which is a file for as long."""
_KEPT_CHARACTERS = 64 << 20
"""Characters of their source texts: a client may send long ones."""


class EncodedQuestions:
    """Encodes the questions of samples, each once for all answers to it. Thread-safe."""

    def __init__(self, settings: JudgeSettings, *, explain: bool) -> None:
        self._settings, self._explain = settings, explain
        self._requests: OrderedDict[tuple[Any, ...], EncodedRequest] = OrderedDict()

    def encode(self, sample: Sample) -> EncodedRequest:
        """The request for a verdict on the answer of a sample. Raises CaseError for a source that can't be read,
        ValueError for an unknown target."""
        key = _find_key(sample)
        request = self._requests.get(key)
        if request is None:
            request = self._requests[key] = EncodedRequest(self._describe(sample))
            while len(self._requests) > _KEPT or self._count_characters() > _KEPT_CHARACTERS:
                self._requests.popitem(last=False)
        return request

    def _count_characters(self) -> int:
        """Those of the source texts; 0.2 ms for 4,096, which is nothing beside a new question."""
        return sum(len(key[0]) for key in list(self._requests) if isinstance(key[0], str))

    def has(self, sample: Sample) -> bool:
        """Whether the question of a sample is encoded already."""
        return _find_key(sample) in self._requests

    def _describe(self, sample: Sample) -> AnswerRequest:
        settings = asdict(replace(self._settings, target=get_target(sample.target).name))
        case = open_case(sample.source, sample.cflags, program=sample.program)
        return {
            "action": "answer",
            "function": describe_function(case, sample.function, None, settings),
            "task": sample.task,
            "passes": sample.passes,
            "stop": sample.stop,
            "explain": self._explain,
        }


def _find_key(sample: Sample) -> tuple[Any, ...]:
    """What tells a question from others in this process."""
    has_place = isinstance(sample.source, Path) or bool(sample.cflags)
    return (
        *(sample.source, sample.function, sample.task, sample.passes, sample.target, sample.cflags, sample.stop),
        sample.program,
        os.getcwd() if has_place else None,  # noqa: PTH109 (a Path takes far longer)
        os.getpid(),  # a forked child writes its own files of source texts
    )

"""Records of answers: reading them, and the model that gives the recorded answers again."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pytest_llmcompiler.errors import LLMCompilerError, ModelError
from pytest_llmcompiler.model.answer import Answer, Prompt, QuestionKey, StopReason, read_question_key

SCHEMA: Literal[1] = 1
"""The version of the records' layout, their `schema`."""

_NEEDED: dict[str, type] = {
    "case": str,
    "function": str,
    "task": str,
    "passes": str,
    "sample": int,
    "answer": str,
}
_STOPS = get_args(StopReason)


class _NoRecordError(LLMCompilerError):
    """A line that isn't a record, and why."""


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read a JSON Lines file of records: one dict a line, blank lines left out.

    A last line without an end that isn't whole is what a killed writer leaves: it is left out too.
    Raises ModelError naming file and line for anything else that isn't a record.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ModelError(f"can't read the records {path}: {error.strerror}") from error
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                records.append(_record(line))
        except _NoRecordError as error:
            is_cut = number == len(lines)
            if not is_cut:
                raise ModelError(f"{path}:{number}: {error}") from error
    return records


def _record(line: bytes) -> dict[str, Any]:
    """Parse one line. Raises _NoRecord saying what is wrong with it."""
    try:
        record = json.loads(line)
    except ValueError as error:
        raise _NoRecordError(f"not JSON: {error}") from None
    if not isinstance(record, dict):
        raise _NoRecordError("a record is a JSON object")
    if record.get("schema", SCHEMA) != SCHEMA:
        raise _NoRecordError(f"schema {record['schema']!r} is not known, only {SCHEMA}")
    for key, kind in _NEEDED.items():
        if key not in record:
            raise _NoRecordError(f"a record needs {key!r}")
        if not isinstance(record[key], kind) or isinstance(record[key], bool):
            raise _NoRecordError(f"{key!r} must be {'text' if kind is str else 'a whole number'}, not {record[key]!r}")
    if record.get("stop", "eos") not in _STOPS:
        raise _NoRecordError(f"'stop' must be one of {', '.join(_STOPS)}, not {record['stop']!r}")
    if not isinstance(record.get("tokens") or {}, dict):
        raise _NoRecordError(f"'tokens' must be an object, not {record['tokens']!r}")
    tokens = record.get("tokens") or {}
    for name, value in (("seconds", record.get("seconds")), *tokens.items()):
        if value is not None and not _is_amount(value):
            raise _NoRecordError(f"{name!r} must be a number from 0, not {value!r}")
    return record


def _is_amount(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


class ReplayModel:
    """Answers from a file of records.

    A question without recorded answers yields nothing. Where one sample of a question was recorded more than once, the
    last counts. Records that do not say to which prompt they are the answers, or all of which are to the same, are
    answers to any.
    """

    def __init__(self, path: Path) -> None:
        """Raises ModelError where the file can't be read or a line is no record."""
        self._path = path
        self._samples: dict[tuple[QuestionKey, str | None], dict[int, tuple[Answer, object]]] = defaultdict(dict)
        """Answers with their verdicts, by the question and the prompt's name, by the number of the sample."""
        digest = hashlib.sha256()
        for record in read_records(path):
            key, answer = read_question_key(record)._replace(label=""), read_answer(record)
            self._samples[key, record.get("prompt")][answer.sample] = answer, record.get("verdict")
            digest.update(repr((key, record.get("prompt"), answer)).encode())
        self._digest = digest.hexdigest()
        self._templates = sorted({template for _, template in self._samples if template is not None})

    def describe(self) -> dict[str, Any]:
        """`answers` is the number of recorded samples; `sha256` is the same for the same answers."""
        count = sum(map(len, self._samples.values()))
        return {"backend": "replay", "name": self._path.name, "answers": count, "sha256": self._digest}

    def check_prompts(self, names: Sequence[str]) -> None:
        """Raise ModelError where it can't be said which answers are those to the prompts of these names."""
        unknown = [name for name in names if name not in self._templates]
        if unknown and self._templates and max(len(self._templates), len(names)) > 1:
            raise ModelError(
                f"{self._path} holds answers to the prompts {', '.join(self._templates)}, and none to "
                f"{', '.join(unknown)}: use --llmc-prompt {','.join(self._templates)}"
            )

    def find_recorded_verdict(self, prompt: Prompt, sample: int) -> object:
        """What the record says of a sample, whatever that is; None where it says nothing."""
        found = self._of(prompt).get(sample)
        return found and found[1]

    def answers(self, prompt: Prompt, samples: int) -> Iterator[Answer]:
        """Yield the first `samples` recorded answers in the order of their numbers, or as many as there are."""
        recorded = self._of(prompt)
        for number in sorted(recorded)[:samples]:
            yield recorded[number][0]

    def _of(self, prompt: Prompt) -> dict[int, tuple[Answer, object]]:
        key = prompt.key._replace(label="")
        template = self._templates[0] if len(self._templates) == 1 else prompt.template
        return {**self._samples.get((key, None), {}), **self._samples.get((key, template), {})}

    def close(self) -> None:
        """Nothing is held open."""


def read_answer(record: Mapping[str, Any]) -> Answer:
    """The answer of a record that `read_records` gave."""
    tokens = record.get("tokens") or {}
    return Answer(
        text=record["answer"],
        sample=record["sample"],
        stop=record.get("stop", "eos"),
        prompt_tokens=tokens.get("prompt"),
        answer_tokens=tokens.get("answer"),
        seconds=record.get("seconds"),
        seed=record.get("seed"),
    )

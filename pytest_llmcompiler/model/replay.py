"""Reading records, and the model that replays recorded answers."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmcompiler.errors import ModelError
from pytest_llmcompiler.model.answer import Answer, Prompt, QuestionKey, read_question_key
from pytest_llmcompiler.model.record_layout import RecordLayoutError, parse_record


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read a JSON Lines file of records. Blank lines are skipped.

    An incomplete last line, as a killed writer leaves it, is skipped too. Raises ModelError, with file and line, for
    any other line that is no record.
    """
    records = []
    for number, record in read_lines(path):
        if isinstance(record, RecordLayoutError):
            raise ModelError(f"{path}:{number}: {record}") from record
        records.append(record)
    return records


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | RecordLayoutError]]:
    """Yield the number of each line and its record, or what is wrong with it. Lines are skipped as by `read_records`.

    Raises ModelError if the file can't be read.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    yield number, parse_record(line)
                except RecordLayoutError as error:
                    is_incomplete = not line.endswith(b"\n")
                    if not is_incomplete:
                        yield number, error
    except OSError as error:
        raise ModelError(f"can't read the records {path}: {error.strerror}") from error


class ReplayModel:
    """Answers from a file of records.

    A question without recorded answers yields nothing. Where a sample of a question was recorded more than once, the
    last record counts. Records that name no prompt template, and those of a file that names only one, are answers to
    the question with any template.
    """

    def __init__(self, path: Path) -> None:
        """Read the file. Raises ModelError where it can't be read, or a line is no record."""
        self._path = path
        self._samples: dict[tuple[QuestionKey, str | None], dict[int, tuple[Answer, object]]] = defaultdict(dict)
        """For each question and prompt template: by the number of the sample, the answer and its recorded verdict."""
        digest = hashlib.sha256()
        for record in read_records(path):
            key, answer = read_question_key(record)._replace(label=""), read_answer(record)
            self._samples[key, record.get("prompt")][answer.sample] = answer, record.get("verdict")
            digest.update(repr((key, record.get("prompt"), answer)).encode())
        self._digest = digest.hexdigest()
        self._templates = sorted({template for _, template in self._samples if template is not None})

    def describe(self) -> dict[str, Any]:
        """`answers` is the number of recorded samples. `sha256` is the same for the same answers."""
        count = sum(map(len, self._samples.values()))
        return {"backend": "replay", "name": self._path.name, "answers": count, "sha256": self._digest}

    def check_prompts(self, names: Sequence[str]) -> None:
        """Raise ModelError where the records name other prompt templates than those with these names."""
        unknown = [name for name in names if name not in self._templates]
        if unknown and self._templates and max(len(self._templates), len(names)) > 1:
            raise ModelError(
                f"{self._path} holds answers to the prompts {', '.join(self._templates)}, and none to "
                f"{', '.join(unknown)}: use --llmc-prompt {','.join(self._templates)}"
            )

    def find_recorded_verdict(self, prompt: Prompt, sample: int) -> object:
        """The verdict in the record of a sample, unchecked; None where there is none."""
        recorded = self._find_samples(prompt).get(sample)
        return recorded and recorded[1]

    def answers(self, prompt: Prompt, samples: int) -> Iterator[Answer]:
        """Yield the first `samples` recorded answers in the order of their numbers, or fewer where fewer were
        recorded."""
        recorded = self._find_samples(prompt)
        for number in sorted(recorded)[:samples]:
            yield recorded[number][0]

    def _find_samples(self, prompt: Prompt) -> dict[int, tuple[Answer, object]]:
        key = prompt.key._replace(label="")
        template = self._templates[0] if len(self._templates) == 1 else prompt.template
        return {**self._samples.get((key, None), {}), **self._samples.get((key, template), {})}

    def close(self) -> None:
        """There is nothing to free."""


def read_answer(record: Mapping[str, Any]) -> Answer:
    """The answer of a record from `read_records`."""
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

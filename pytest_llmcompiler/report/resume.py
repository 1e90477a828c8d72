"""Resuming a session: which samples its record holds already."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_llmcompiler.errors import ResumeError
from pytest_llmcompiler.model.answer import Prompt, QuestionKey, read_question_key
from pytest_llmcompiler.report.records import Record, RecordSettings, fill_in, read_records

MODEL_IDENTITY = ("backend", "name", "file", "url", "sha256")
"""The facts about a model by which two models are told apart. The hardware that it runs on is not among them."""


class Resumption:
    """The samples of a record. If the file has a sample twice, the last one counts."""

    def __init__(self, path: Path) -> None:
        """Read the record; a missing file is an empty record. Raises ModelError if it can't be read."""
        self._path = path
        self._samples: dict[QuestionKey, dict[int, Record]] = defaultdict(dict)
        for record in read_records(path) if path.exists() else ():
            self._samples[read_question_key(record)][record["sample"]] = fill_in(record)

    def __len__(self) -> int:
        return sum(map(len, self._samples.values()))

    def check(self, settings: RecordSettings) -> None:
        """Raise ResumeError unless all samples were made with these settings (`Session.recorded_settings`)."""
        now: Mapping[str, object] = settings
        for record in self._records():
            then: Mapping[str, object] | None = record.get("settings")
            if not isinstance(then, dict):
                raise ResumeError(
                    f"{self._path} holds {_name_sample(record)} without the settings that it was judged with"
                )
            for name in sorted(now.keys() | then.keys()):
                label = "version of pytest-llmcompiler" if name == "version" else f"--llmc-{name.replace('_', '-')}"
                self._compare(record, label, then.get(name), now.get(name))

    def check_model(self, facts: Mapping[str, Any]) -> None:
        """Raise ResumeError unless the model that these `facts` describe gave all answers."""
        for record in self._records():
            self._compare_model(record, facts)

    def samples_of(self, prompt: Prompt, facts: Mapping[str, Any]) -> dict[int, Record]:
        """The records of a question by sample number, without those of another prompt text or another case text.

        Raises ResumeError if another model than the one that `facts` describe gave the answers.
        """
        samples = self._samples.get(prompt.key, {})
        records = {number: record for number, record in samples.items() if record.get("question") == prompt.digest}
        for record in records.values():
            self._compare_model(record, facts)
        return records

    def _records(self) -> Iterator[Record]:
        return (record for samples in self._samples.values() for record in samples.values())

    def _compare_model(self, record: Record, facts: Mapping[str, Any]) -> None:
        recorded: Mapping[str, object] | None = record.get("model")
        for name in MODEL_IDENTITY:
            if isinstance(recorded, dict) and name in recorded and name in facts:
                self._compare(record, f"model ({name})", recorded[name], facts[name])

    def _compare(self, record: Record, name: str, then: object, now: object) -> None:
        if then != now:
            raise ResumeError(
                f"{self._path} was recorded with another {name}: {_name_sample(record)} has {then!r}, this session "
                f"{now!r}; use the same, or record to another file"
            )


def _name_sample(record: Record) -> str:
    return f"{read_question_key(record)} sample {record['sample']}"

"""Going on where a record stops: which samples it holds already."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from pytest_llmcompiler.errors import ResumeError
from pytest_llmcompiler.model.answer import Prompt, QuestionKey, read_question_key
from pytest_llmcompiler.model.replay import read_records

_IDENTITY = ("backend", "name", "file", "url", "sha256")
"""What tells models apart, of what they say of themselves. On what hardware they run does not."""


class Resumption:
    """The samples of a record. Where one is there more than once, the last counts."""

    def __init__(self, path: Path) -> None:
        """Read the record; one that is not there yet is empty. Raises ModelError where it can't be read."""
        self._path = path
        self._samples: dict[QuestionKey, dict[int, dict[str, Any]]] = defaultdict(dict)
        for record in read_records(path) if path.exists() else ():
            self._samples[read_question_key(record)][record["sample"]] = record

    def __len__(self) -> int:
        return sum(map(len, self._samples.values()))

    def check(self, settings: dict[str, Any]) -> None:
        """Raise ResumeError unless all samples were made with these settings (`Session.recorded_settings`)."""
        for record in self._records():
            if not isinstance(record.get("settings"), dict):
                raise ResumeError(f"{self._path} holds {_named(record)}, and not with what settings it was judged")
            for name in sorted(settings.keys() | record["settings"].keys()):
                label = "version of pytest-llmcompiler" if name == "version" else f"--llmc-{name.replace('_', '-')}"
                self._compare(record, label, record["settings"].get(name), settings.get(name))

    def check_model(self, facts: dict[str, Any]) -> None:
        """Raise ResumeError unless all answers are of the model that says this of itself."""
        for record in self._records():
            self._compare_model(record, facts)

    def of(self, prompt: Prompt, facts: dict[str, Any]) -> dict[int, dict[str, Any]]:
        """The records of a question by sample: those alone that were asked the same of the same case.

        Raises ResumeError where they are of another model than the one that says this of itself.
        """
        recorded = self._samples.get(prompt.key, {})
        found = {number: one for number, one in recorded.items() if one.get("question") == prompt.digest}
        for record in found.values():
            self._compare_model(record, facts)
        return found

    def _records(self) -> list[dict[str, Any]]:
        return [record for samples in self._samples.values() for record in samples.values()]

    def _compare_model(self, record: dict[str, Any], facts: dict[str, Any]) -> None:
        recorded = record.get("model")
        for name in _IDENTITY:
            if isinstance(recorded, dict) and name in recorded and name in facts:
                self._compare(record, f"model ({name})", recorded[name], facts[name])

    def _compare(self, record: dict[str, Any], name: str, then: object, now: object) -> None:
        if then != now:
            raise ResumeError(
                f"{self._path} was recorded with another {name}: {_named(record)} has {then!r}, this session {now!r}; "
                "use the same, or record to another file"
            )


def _named(record: dict[str, Any]) -> str:
    return f"{read_question_key(record)} sample {record['sample']}"

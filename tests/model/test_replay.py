"""Recorded answers, the reference model, and unknown models."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_llmcompiler.errors import ModelError
from pytest_llmcompiler.model.answer import Answer, ModelSettings, Prompt
from pytest_llmcompiler.model.specs import open_model

PROMPT = Prompt(
    case="git_lfs.c",
    function="f",
    task="asm",
    passes="O0",
    template="meta",
    text="the prompt",
    reference=lambda: "f:\n\tret\n",
)
MINIMAL_RECORD = {"case": "git_lfs.c", "function": "f", "task": "asm", "passes": "O0", "sample": 0, "answer": "f: ret"}


def write(folder: Path, *records: dict[str, Any] | str) -> str:
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    (folder / "r.jsonl").write_text("\n".join(lines) + "\n")
    return f"replay:{folder / 'r.jsonl'}"


def replay(spec: str, samples: int = 10, prompt: Prompt = PROMPT) -> list[Answer]:
    return list(open_model(spec, ModelSettings()).answers(prompt, samples))


def test_six_keys_are_enough(tmp_path: Path) -> None:
    assert replay(write(tmp_path, MINIMAL_RECORD)) == [Answer("f: ret")]


def test_samples_come_in_the_order_of_their_numbers_and_as_many_as_asked(tmp_path: Path) -> None:
    spec = write(tmp_path, *(MINIMAL_RECORD | {"sample": number, "answer": str(number)} for number in (4, 0, 2, 1)))
    assert [(answer.sample, answer.text) for answer in replay(spec)] == [(0, "0"), (1, "1"), (2, "2"), (4, "4")]
    assert [answer.sample for answer in replay(spec, 2)] == [0, 1]
    facts = open_model(spec, ModelSettings()).describe()
    assert (facts["backend"], facts["name"], facts["answers"]) == ("replay", "r.jsonl", 4)


def test_other_answers_have_another_hash(tmp_path: Path) -> None:
    answers = [MINIMAL_RECORD, MINIMAL_RECORD | {"sample": 1}]
    digests = [
        open_model(write(tmp_path, *records), ModelSettings()).describe()["sha256"]
        for records in (answers, answers[:1], [*answers[:1], answers[1] | {"answer": "f:"}], answers)
    ]
    assert digests[0] == digests[3] and len(set(digests)) == 3


def test_the_last_record_of_a_sample_counts(tmp_path: Path) -> None:
    assert [
        answer.text for answer in replay(write(tmp_path, MINIMAL_RECORD, "", MINIMAL_RECORD | {"answer": "new"}))
    ] == ["new"]


@pytest.mark.parametrize("other", [{"case": "x.c"}, {"function": "g"}, {"task": "ir"}, {"passes": "O1"}])
def test_another_question_has_no_answers(tmp_path: Path, other: dict[str, str]) -> None:
    assert replay(write(tmp_path, MINIMAL_RECORD | other)) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{oops", "not JSON: Expecting property name"),
        ("[]", "a record is a JSON object"),
        (
            json.dumps({key: MINIMAL_RECORD[key] for key in MINIMAL_RECORD if key != "passes"}),
            "a record needs 'passes'",
        ),
        (json.dumps(MINIMAL_RECORD | {"sample": "0"}), "'sample' must be a whole number from 0, not '0'"),
        (json.dumps(MINIMAL_RECORD | {"sample": True}), "'sample' must be a whole number from 0, not True"),
        (json.dumps(MINIMAL_RECORD | {"answer": None}), "'answer' must be text, not None"),
        (json.dumps(MINIMAL_RECORD | {"stop": "tired"}), "'stop' must be one of eos, stop, length, not 'tired'"),
        (json.dumps(MINIMAL_RECORD | {"schema": 2}), "schema 2 is not known, only 1"),
        (json.dumps(MINIMAL_RECORD | {"seconds": float("nan")}), "'seconds' must be a number from 0, not nan"),
        (json.dumps(MINIMAL_RECORD | {"seconds": "1.2"}), "'seconds' must be a number from 0, not '1.2'"),
        (
            json.dumps(MINIMAL_RECORD | {"tokens": {"answer": -1}}),
            "'tokens.answer' must be a whole number from 0, not -1",
        ),
        (json.dumps(MINIMAL_RECORD | {"tokens": 5}), "'tokens' must be an object, not 5"),
        (
            json.dumps(MINIMAL_RECORD | {"tokens": {"prompt": 1.5}}),
            "'tokens.prompt' must be a whole number from 0, not 1.5",
        ),
        (json.dumps(MINIMAL_RECORD | {"prompt": [1]}), "'prompt' must be text, not [1]"),
        (json.dumps(MINIMAL_RECORD | {"seed": 10**50}), "'seed' must be a whole number, not 1000"),
        (json.dumps(MINIMAL_RECORD | {"seconds": 10**400}), "'seconds' must be a number from 0, not 1000"),
        (json.dumps(MINIMAL_RECORD | {"model": []}), "'model' must be an object, not []"),
        (
            json.dumps(MINIMAL_RECORD | {"detail": {"adequacy": {"mutants": 2}}}),
            "'detail.adequacy' needs 'killed'",
        ),
        (json.dumps(MINIMAL_RECORD | {"verdict": "good"}), "'verdict' must be one of pass, no-answer, "),
        (json.dumps(MINIMAL_RECORD | {"detail": {"evidence": ["", 1]}}), "'detail.evidence[1]' must be text, not 1"),
        (
            json.dumps(MINIMAL_RECORD | {"detail": {"differences": [["return value", "1"]]}}),
            "'detail.differences[0]' must have 3 entries, not ['return value', '1']",
        ),
        (
            json.dumps(MINIMAL_RECORD | {"detail": {"coverage": {"edges": 1, "of": 2, "unreached": [{"line": 0}]}}}),
            "'detail.coverage.unreached[0]' needs 'reason'",
        ),
        (
            json.dumps(MINIMAL_RECORD | {"detail": {"promised": {"size": {"said": 1, "is": None}, "x": 1}}}),
            "'detail.promised.x' is not known",
        ),
        (
            json.dumps(MINIMAL_RECORD | {"detail": {"cost": {"instructions": 1, "bytes": 1, "references": {"O0": 3}}}}),
            "'detail.cost.references.O0' must be an object, not 3",
        ),
        ("[" * 100_000, "nested too deeply"),
        (json.dumps(MINIMAL_RECORD)[:-1] + ', "mine": ' + "[" * 60 + "]" * 60 + "}", "'mine' is nested too deeply"),
    ],
)
def test_an_invalid_line_is_an_error_with_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ModelError, match=r"r\.jsonl:3: ") as error:
        open_model(write(tmp_path, MINIMAL_RECORD, "", line, MINIMAL_RECORD), ModelSettings())
    assert message in str(error.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"can't read the records .*no\.jsonl: No such file"):
        open_model(f"replay:{tmp_path / 'no.jsonl'}", ModelSettings())


def test_the_reference_gives_the_same_answer_for_every_sample() -> None:
    model = open_model("reference", ModelSettings())
    assert model.describe()["backend"] == "reference"
    assert list(model.answers(PROMPT, 3)) == [Answer("f:\n\tret\n", sample) for sample in range(3)]


@pytest.mark.parametrize("spec", ["tiny", "r.gguf"])
def test_without_llama_cpp_an_error_says_what_to_install(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.gguf").touch()
    with pytest.raises(
        ModelError, match=rf"^{spec} needs llama\.cpp: pip install 'pytest-llmcompiler\[gguf\]'"
    ) as error:
        open_model(spec, ModelSettings())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("spec", ["gpt-4", "", "model.bin", "Reference"])
def test_an_unknown_model_is_an_error_that_lists_the_forms(spec: str) -> None:
    with pytest.raises(ModelError, match=r"FILE\.gguf .*http://HOST:PORT/v1 .*replay:FILE\.jsonl .*reference"):
        open_model(spec, ModelSettings())

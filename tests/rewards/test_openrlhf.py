"""OpenRLHF's bodies: a prompt with the answer behind it, and a row of the dataset as the label."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_llmcompiler import Sample, Verdict
from pytest_llmcompiler.errors import BodyError, ColumnError
from pytest_llmcompiler.rewards import Columns
from pytest_llmcompiler.rewards.openrlhf import read_body, write_response

ROW = {"code": "int f(void) { return 1; }", "name": "f"}
COLUMNS = Columns(source="code", function="name")


def body(query: str, prompt: str = "Compile f.", label: object = None) -> dict[str, Any]:
    return {"query": [query], "prompts": [prompt], "labels": [json.dumps(ROW) if label is None else label]}


def test_the_answer_is_what_follows_the_prompt() -> None:
    [sample] = read_body(body("<s>Compile f.f:\n  ret"), COLUMNS)
    assert sample == Sample(ROW["code"], "f", "f:\n  ret")


@pytest.mark.parametrize("end", ["</s>", "<|im_end|>\n", "<|end_of_text|><|eot_id|>", " </s> " * 100_000])
def test_tokens_at_the_end_are_no_part_of_the_answer(end: str) -> None:
    assert read_body(body(f"Compile f.f: ret{end}"), COLUMNS)[0].answer == "f: ret"


def test_another_token_at_the_end_can_be_named() -> None:
    assert read_body(body("Compile f.f: ret[END]"), COLUMNS, end_tokens=["[END]"])[0].answer == "f: ret"


def test_an_answer_that_repeats_the_prompt_stays_whole() -> None:
    assert read_body(body("Compile f.Compile f. f: ret"), COLUMNS)[0].answer == "Compile f. f: ret"


def test_a_prompt_that_was_cut_at_the_front_is_found() -> None:
    prompt = "".join(f"line {number}\n" for number in range(200))
    assert read_body(body(prompt[500:] + "f: ret", prompt), COLUMNS)[0].answer == "f: ret"


def test_a_label_may_be_an_object() -> None:
    assert read_body(body("Compile f.f: ret", label=ROW), COLUMNS)[0].function == "f"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "expected a JSON object"),
        ({"query": []}, "expected an array as 'prompts'"),
        ({"query": ["a"], "prompts": [], "labels": []}, "arrays of 1, 0 and 0 items"),
        ({"query": [1], "prompts": [""], "labels": [""]}, "expected texts"),
        (body("Something else"), "does not contain the prompt"),
    ],
)
def test_a_body_of_another_form_is_refused(wrong: object, message: str) -> None:
    with pytest.raises(BodyError, match=message):
        read_body(wrong, COLUMNS)


def test_a_label_without_the_columns_is_refused() -> None:
    with pytest.raises(ColumnError, match="no column 'code'"):
        read_body(body("Compile f.f: ret", label="f"), COLUMNS)


def test_the_response_has_a_number_for_each_query() -> None:
    response = write_response([Verdict("pass"), Verdict("link"), Verdict("inconclusive")], "staged")
    assert response == {
        "rewards": [1.0, 0.2, 0.0],
        "scores": [1.0, 0.2, 0.0],
        "extra_logs": {"pass": [1.0, 0.0, 0.0], "inconclusive": [0.0, 0.0, 1.0]},
    }
    assert write_response([Verdict("inconclusive")], {"inconclusive": 0.5})["rewards"] == [0.5]

"""NeMo Gym's bodies: a response of the model's API, and the dataset's columns beside it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pytest_llmcompiler import Sample, Verdict
from pytest_llmcompiler.errors import BodyError
from pytest_llmcompiler.rewards import Columns
from pytest_llmcompiler.rewards.nemo_gym import NeMoGymReward, read_body, write_response

SOURCE = "int same(int a) { return a; }"
COLUMNS = Columns(source="code", function="name", target="arch")


def request(*texts: str, **more: object) -> dict[str, Any]:
    """A request as `simple_agent` of NeMo Gym sends it."""
    content = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
    output = [
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "First, same: ret"}]},
        {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": content},
    ]
    return {
        "responses_create_params": {"input": [{"role": "user", "content": "Compile same."}]},
        "response": {"id": "x", "object": "response", "output": output},
        "verifier_metadata": {"code": SOURCE, "name": "same", "arch": None},
        **more,
    }


def test_the_answer_is_the_text_of_the_messages() -> None:
    assert read_body(request("same:\n", "  ret"), COLUMNS) == Sample(SOURCE, "same", "same:\n  ret")


def test_columns_may_stand_beside_the_response() -> None:
    body = request("ret", verifier_metadata=None, code=SOURCE, name="other", arch="aarch64-linux")
    assert read_body(body, COLUMNS) == Sample(SOURCE, "other", "ret", target="aarch64-linux")


@pytest.mark.parametrize("wrong", [None, {}, {"response": 3}, {"response": {"output": {}}}])
def test_a_body_of_another_form_is_refused(wrong: object) -> None:
    with pytest.raises(BodyError, match="expected a"):
        read_body(wrong, COLUMNS)


def test_the_response_is_the_request_with_a_reward() -> None:
    body = request("same: ret")
    response = write_response(body, Verdict("mismatch", "return value"), "staged")
    assert response == {**body, "reward": 0.3, "verdict": "mismatch", "message": "return value"}


def test_what_could_not_be_judged_is_no_wrong_answer() -> None:
    verdict = Verdict("inconclusive", "too little of it was reached")
    marks = {"_ng_failure_class": "judge_failed", "_ng_failure_judge_error": verdict.message}
    assert marks.items() <= write_response({}, verdict).items()
    assert not marks.keys() & write_response({}, verdict, {"inconclusive": 0.0}).keys()


def test_verify_judges() -> None:
    reward = NeMoGymReward(COLUMNS)

    async def verify() -> list[float]:
        answers = ("same:\n\tmovl %edi, %eax\n\tret\n", "same:\n\txorl %eax, %eax\n\tret\n")
        return [response["reward"] for response in await asyncio.gather(*(reward.verify(request(a)) for a in answers))]

    assert asyncio.run(verify()) == [1.0, 0.0]

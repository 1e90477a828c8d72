"""NeMo Gym 0.5: `verify` of a resources server, and its bodies.

The forms are those of NeMo Gym's `nemo_gym/base_resources_server.py` (`BaseVerifyRequest`, `BaseVerifyResponse`),
`nemo_gym/openai_utils.py` (`NeMoGymResponse`) and `nemo_gym/judge.py` (`judge_failsafe`), version 0.5.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_llmcompiler.errors import BodyError
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.rewards.columns import Columns, gather_columns
from pytest_llmcompiler.rewards.reward import Reward
from pytest_llmcompiler.rewards.table import RewardTable, reward_of
from pytest_llmcompiler.service.sample import Sample

_FORMAL = ("responses_create_params", "response")
"""The members of a request that are no columns of the dataset."""


def read_body(body: object, columns: Columns) -> Sample:
    """The sample of a request: `{"responses_create_params": …, "response": …, "verifier_metadata": {…}}`.

    The answer is the text of the response's messages. The columns are the other members of the request and those of
    `verifier_metadata`. Raises BodyError and ColumnError.
    """
    if not isinstance(body, Mapping):
        raise BodyError("expected a JSON object with the members responses_create_params and response")
    response = body.get("response")
    if not isinstance(response, Mapping) or not isinstance(response.get("output"), list):
        raise BodyError("expected an object with an array 'output' as 'response'")
    own = {name: value for name, value in body.items() if name not in _FORMAL}
    row = gather_columns(own, body.get("verifier_metadata"))
    return columns.read_sample(row, "".join(_list_texts(response["output"])))


def write_response(body: Mapping[str, Any], verdict: Verdict, table: str | RewardTable | None = None) -> dict[str, Any]:
    """The response to a request: the request itself with `reward`, `verdict` and `message`.

    Where a verdict is `inconclusive`, and the table has no number for that, the reward is 0 and the response is marked
    as a failed judgement, which NeMo Gym keeps apart from wrong answers and asks again.
    """
    reward = reward_of(verdict, table)
    response = {**body, "reward": reward or 0.0, "verdict": verdict.kind, "message": verdict.message}
    if reward is None:
        response |= {"_ng_failure_class": "judge_failed", "_ng_failure_judge_error": verdict.message}
    return response


class NeMoGymReward(Reward):
    """Rewards for NeMo Gym: the method `verify` of a resources server returns what `verify` here returns."""

    async def verify(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The response to a request, both as JSON objects (see `read_body`, `write_response`).

        Raises BodyError and ColumnError.
        """
        [verdict] = await self.ajudge([read_body(body, self.columns)])
        return write_response(body, verdict, self.table)


def _list_texts(output: list[object]) -> Iterator[str]:
    """The texts of a response's messages, as `output_text` of the `openai` package joins them."""
    for item in output:
        if not isinstance(item, Mapping) or item.get("type") != "message":
            continue
        content = item.get("content")
        for part in content if isinstance(content, list) else []:
            if isinstance(part, Mapping) and part.get("type") == "output_text" and isinstance(part.get("text"), str):
                yield part["text"]

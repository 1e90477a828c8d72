"""OpenRLHF 0.11: the function `reward_func`, and the bodies of the same over HTTP.

The forms are those of OpenRLHF's `openrlhf/utils/agent.py` (`SingleTurnAgentExecutor`), versions 0.11.0 to 0.11.2. It
loads `reward_func` from a file, or posts JSON to a URL (`--reward.remote_url`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytest_llmcompiler.errors import BodyError
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.rewards.columns import Columns, gather_columns
from pytest_llmcompiler.rewards.reward import BatchJudge, Reward
from pytest_llmcompiler.rewards.table import RewardTable, reward_of
from pytest_llmcompiler.service.sample import Sample

END_TOKENS = (
    "</s>",
    "<eos>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<｜end▁of▁sentence｜>",
)
"""Ends of a sequence in the vocabularies of widespread models: OpenRLHF leaves them in the text of an answer."""

_LOCATED_CHARACTERS = 200
"""Last characters of a prompt by which its end is found in a query that lacks the beginning: OpenRLHF cuts prompts that
are too long at the front."""


def read_body(body: object, columns: Columns, end_tokens: Sequence[str] = END_TOKENS) -> list[Sample]:
    """The samples of a request: `{"query": […], "prompts": […], "labels": […]}`, three arrays of one length.

    A query is a prompt with the answer behind it. A label is the row of the dataset: an object, or text with a JSON
    object. Raises BodyError and ColumnError.
    """
    if not isinstance(body, Mapping):
        raise BodyError("expected a JSON object with the members query, prompts and labels")
    queries, prompts, labels = (_read_array(body, name) for name in ("query", "prompts", "labels"))
    if not len(queries) == len(prompts) == len(labels):
        raise BodyError(f"arrays of {len(queries)}, {len(prompts)} and {len(labels)} items, expected the same length")
    return [_read_sample(*item, columns, end_tokens) for item in zip(queries, prompts, labels, strict=True)]


def write_response(verdicts: Sequence[Verdict], table: str | RewardTable | None = None) -> dict[str, Any]:
    """The response to a request: `rewards`, `scores` for dynamic filtering, and `extra_logs`, all arrays of numbers in
    the order of the queries.

    OpenRLHF needs a number for each: where a verdict is `inconclusive` and the table has no number for that, it is 0.
    """
    rewards = [reward_of(verdict, table) or 0.0 for verdict in verdicts]
    logs = {
        "pass": [float(verdict.passed) for verdict in verdicts],
        "inconclusive": [float(not verdict.conclusive) for verdict in verdicts],
    }
    return {"rewards": rewards, "scores": rewards, "extra_logs": logs}


class OpenRLHFReward(Reward):
    """Rewards for OpenRLHF: a file with `reward_func = OpenRLHFReward(…).reward_func` is what `--reward.remote_url`
    names, and `--data.label_key` names the column with the rest of the row (see `read_body`).

    `end_tokens` are removed from the end of an answer.
    """

    def __init__(
        self,
        columns: Columns | None = None,
        *,
        table: str | RewardTable | None = None,
        open_judge: Callable[[], BatchJudge] | None = None,
        end_tokens: Sequence[str] = END_TOKENS,
    ) -> None:
        super().__init__(columns, table=table, open_judge=open_judge)
        self.end_tokens = tuple(end_tokens)

    def reward_func(
        self, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[object], **kwargs: object
    ) -> dict[str, Any]:
        """The rewards of a batch: as `write_response` has them, each a tensor of the shape (batch,).

        Raises BodyError where a prompt is not in its query, and ColumnError.
        """
        import torch

        body = {"query": list(queries), "prompts": list(prompts), "labels": list(labels)}
        response = write_response(self.judge(read_body(body, self.columns, self.end_tokens)), self.table)
        logs = {name: torch.tensor(values) for name, values in response.pop("extra_logs").items()}
        return {name: torch.tensor(values) for name, values in response.items()} | {"extra_logs": logs}


def _read_array(body: Mapping[str, object], name: str) -> list[object]:
    value = body.get(name)
    if not isinstance(value, list):
        raise BodyError(f"expected an array as {name!r}")
    return value


def _read_sample(query: object, prompt: object, label: object, columns: Columns, end_tokens: Sequence[str]) -> Sample:
    if not isinstance(query, str) or not isinstance(prompt, str):
        raise BodyError("expected texts in the arrays 'query' and 'prompts'")
    return columns.read_sample(gather_columns(label), _find_answer(query, prompt, end_tokens))


def _find_answer(query: str, prompt: str, end_tokens: Sequence[str]) -> str:
    """The part of a query behind its prompt, without the token that ends it. Raises BodyError.

    Special tokens may stand in front of the prompt. The first place that fits is the prompt's: what the model writes
    comes later.
    """
    needle = prompt if prompt in query else prompt[-_LOCATED_CHARACTERS:]
    _, found, answer = query.partition(needle) if needle else ("", "prompt", query)
    if not found:
        raise BodyError(f"the query does not contain the prompt {prompt[:60]!r}, so the answer in it can't be told")
    return answer[: _find_end(answer, end_tokens)]


def _find_end(answer: str, end_tokens: Sequence[str]) -> int:
    """The length of an answer without blanks and tokens at its end. Nothing is copied: there may be many."""
    end = len(answer.rstrip())
    while token := next((token for token in end_tokens if token and answer.endswith(token, 0, end)), None):
        end -= len(token)
        while end and answer[end - 1].isspace():
            end -= 1
    return end

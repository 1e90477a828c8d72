"""OpenRLHF's own executor of rollouts calls the rewards: the function in a file, and a server over HTTP."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from reward_rows import RIGHT, WRONG

agent = pytest.importorskip("openrlhf.utils.agent")
web = pytest.importorskip("aiohttp.test_utils")


class Engine:
    """In the place of vLLM: it writes one answer, as tokens."""

    def __init__(self, tokenizer: Any, answer: str) -> None:
        self._ids = tokenizer(answer + tokenizer.eos_token)["input_ids"]

    async def generate(self, prompt_ids: list[int], params: Any, multi_modal_data: object = None) -> Any:
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=self._ids, finish_reason="stop", logprobs=None)])


async def roll_out(executor: Any, tokenizer: Any, row: dict[str, str], answer: str) -> dict[str, Any]:
    params = SimpleNamespace(max_tokens=200, logprobs=None)
    engine = Engine(tokenizer, answer)
    return dict(await executor.execute(row["input"], row["label"], params, 1000, tokenizer, engine))


def test_a_function_in_a_file(write_examples: Callable[[str], Path], tokenizer: Any) -> None:
    folder = write_examples("openrlhf")
    executor = agent.SingleTurnAgentExecutor(str(folder / "reward_func.py"))
    row = runpy.run_path("row.py")["row"]
    right, wrong = (asyncio.run(roll_out(executor, tokenizer, row, answer)) for answer in (RIGHT, WRONG))
    assert (right["reward"].tolist(), right["scores"].tolist()) == ([1.0], [1.0])
    assert (wrong["reward"].tolist(), wrong["extra_logs"]["inconclusive"].tolist()) == ([0.0], [0.0])


def test_a_server(write_examples: Callable[[str], Path], tokenizer: Any) -> None:
    write_examples("openrlhf")
    row = runpy.run_path("row.py")["row"]

    async def roll_out_all() -> list[dict[str, Any]]:
        async with web.TestServer(runpy.run_path("server.py")["app"]) as server:
            executor = agent.SingleTurnAgentExecutor([str(server.make_url("/get_reward"))])
            return await asyncio.gather(*(roll_out(executor, tokenizer, row, answer) for answer in (RIGHT, WRONG)))

    right, wrong = asyncio.run(roll_out_all())
    assert (right["reward"], right["scores"], wrong["reward"]) == ([1.0], [1.0], [0.0])
    assert right["extra_logs"] == {"pass": [1.0], "inconclusive": [0.0]}

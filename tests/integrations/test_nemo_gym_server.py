"""NeMo Gym's own resources server, with the `verify` of the page. NeMo Gym needs Python 3.12 or later."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reward_rows import BROKEN_SOURCE, RIGHT, ROW, WRONG

pytest.importorskip("nemo_gym.judge")

from fastapi.testclient import TestClient
from nemo_gym.base_resources_server import BaseResourcesServerConfig
from nemo_gym.server_utils import ServerClient

from pytest_llmcompiler import Verdict
from pytest_llmcompiler.rewards.nemo_gym import write_response


@pytest.fixture
def client(write_examples: Callable[[str], Path]) -> TestClient:
    write_examples("nemo_gym")
    server_class = runpy.run_path("app.py", run_name="app")["CompileResourcesServer"]
    config = BaseResourcesServerConfig(host="localhost", port=1, entrypoint="app.py", name="compile")
    server = server_class(config=config, server_client=ServerClient.model_construct())
    return TestClient(server.setup_webserver())


def request(answer: str, **columns: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": answer, "annotations": []}]
    message = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": content}
    return {
        "responses_create_params": {"input": [{"role": "user", "content": "Compile next."}]},
        "response": {
            "id": "r",
            "object": "response",
            "created_at": 0,
            "model": "tiny",
            "output": [message],
            "parallel_tool_calls": False,
            "tool_choice": "none",
            "tools": [],
        },
        "verifier_metadata": {**ROW, **columns},
    }


@pytest.mark.parametrize(("answer", "reward", "verdict"), [(RIGHT, 1.0, "pass"), (WRONG, 0.0, "mismatch")])
def test_an_answer_is_verified(client: TestClient, answer: str, reward: float, verdict: str) -> None:
    response = client.post("/verify", json=request(answer)).raise_for_status().json()
    assert (response["reward"], response["verdict"]) == (reward, verdict)
    assert response["response"]["output"][0]["content"][0]["text"] == answer


def test_what_could_not_be_judged_is_marked_as_the_body_form_marks_it(client: TestClient) -> None:
    body = request(RIGHT, code=BROKEN_SOURCE)
    response = client.post("/verify", json=body).raise_for_status().json()
    marked = write_response(body, Verdict("inconclusive", response["_ng_failure_judge_error"]))
    ours = marked.keys() - {"verdict", "message", "response", "responses_create_params"}
    assert {name: response[name] for name in ours} == {name: marked[name] for name in ours}

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from random_gguf import CONTEXT, write_random_gguf

from pytest_llmcompiler.model import ModelSettings, open_model
from pytest_llmcompiler.model.answer import Answer, Model, ModelError, Prompt, PromptTooLong, Sampling
from pytest_llmcompiler.model.server import ServerModel

SAMPLING = Sampling(temperature=1.0, top_p=0.95, max_tokens=40, seed=1)


def ask(text: str = "[INST] Give the assembly [/INST]") -> Prompt:
    return Prompt("a.c", "f", "asm", "O0", "meta", text, reference=lambda: "")


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no key of the surroundings."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "LLMC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def llama_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of llama-cpp-python's own server, with a random model."""
    pytest.importorskip("uvicorn", reason="llama-cpp-python's [server] extra is not installed")
    folder = tmp_path_factory.mktemp("server")
    model = write_random_gguf(folder / "random.gguf")
    port = free_port()
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(model), "--model_alias", "random"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--n_ctx", str(CONTEXT), "--n_threads", "1"]
    surroundings = {key: value for key, value in os.environ.items() if key not in ("HOST", "PORT", "CONFIG_FILE")}
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=surroundings)
        try:
            wait_for(f"http://127.0.0.1:{port}/v1/models", process, folder / "log")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()
            process.wait(30)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 60
    while True:
        try:
            opener.open(url, timeout=5).close()
            return
        except urllib.error.URLError:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the server did not come up:\n{log.read_text()}")
            time.sleep(0.1)


def open_server(url: str, sampling: Sampling = SAMPLING) -> Model:
    return open_model(url, ModelSettings(sampling))


def test_a_real_server_answers(llama_server: str) -> None:
    model = open_server(llama_server)
    assert model.describe() == {"backend": "server", "name": "random", "url": llama_server}
    answers = list(model.answers(ask(), 3))
    assert [one.sample for one in answers] == [0, 1, 2]
    assert len({one.text for one in answers}) == len({one.seed for one in answers}) == 3
    for one in answers:
        assert one.prompt_tokens == 2 + len(ask().text)
        # This server goes on for up to three tokens where the limit falls into a character.
        assert one.answer_tokens is not None and 0 < one.answer_tokens <= 43
        assert one.stop == ("length" if one.answer_tokens >= 40 else "stop")
        assert one.seconds is not None and "</code>" not in one.text


def test_a_real_server_s_answers_depend_on_the_seed(llama_server: str) -> None:
    first, again = (list(open_server(llama_server).answers(ask(), 1)) for _ in range(2))
    other = list(open_server(llama_server, Sampling(1.0, max_tokens=40, seed=2)).answers(ask(), 1))
    assert first[0].text == again[0].text != other[0].text


def test_a_real_server_without_a_token_limit_goes_on(llama_server: str) -> None:
    answers = open_server(llama_server, Sampling(1.0, 1.0)).answers(ask(), 4)
    assert max(one.answer_tokens or 0 for one in answers) > 16


def test_a_real_server_s_refusal_of_a_long_prompt_has_both_counts(llama_server: str) -> None:
    with pytest.raises(PromptTooLong) as caught:
        next(open_server(llama_server).answers(ask("x" * CONTEXT), 1))
    assert (caught.value.prompt_tokens, caught.value.context) == (CONTEXT + 2, CONTEXT)


def test_a_wrong_path_is_an_error_with_a_hint(llama_server: str) -> None:
    with pytest.raises(ModelError, match=r"HTTP 404.*mostly ends in /v1"):
        open_server(llama_server.removesuffix("/v1"))


def test_no_server_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"no server listens at http://127\.0\.0\.1:\d+/v1/models"):
        open_server(f"http://127.0.0.1:{free_port()}/v1")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:port/v1", "is not a URL"),
        ("http:///v1", "is not a URL|can't reach"),
        ("http://no-such-host.invalid/v1", "can't reach"),
        ("http://me:secret@127.0.0.1/v1", "LLMC_API_KEY"),
    ],
)
def test_an_unusable_url_is_an_error(url: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        open_server(url)
    assert "secret" not in str(caught.value)


# What follows needs a server that misbehaves, so it is one of these tests': real HTTP all the same.

Reply = tuple[int, dict[str, str], Any]
"""Status, headers, body (JSON, or bytes as they are)."""

MODELS: Reply = (200, {}, {"data": [{"id": "m"}]})


def completion(text: str = "f:\n\tret\n", **more: Any) -> Reply:
    return 200, {}, {"choices": [{"text": text, "finish_reason": "stop", **more}]}


class Script:
    """A server that gives the listed replies one after another and remembers the requests."""

    def __init__(self, *replies: Reply | Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.replies = list(replies)
        self.requests: list[tuple[str, dict[str, str], Any]] = []

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.requests.append((handler.path, headers, json.loads(body) if body else None))
        reply = self.replies.pop(0)
        if callable(reply):
            reply(handler)
            return
        status, more, content = reply
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **more}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)


@contextmanager
def serve(*replies: Reply | Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, Script]]:
    script = Script(*replies)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script.handle(self)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection with no answer."""
    handler.close_connection = True


def dawdle(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(1)
    handler.close_connection = True


def first(url: str) -> Answer:
    return next(open_server(url).answers(ask(), 1))


def test_the_request_says_all_that_the_sampling_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "other")
    monkeypatch.setenv("LLMC_API_KEY", "key")
    usage = {"usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    reply = completion(finish_reason="length")
    with serve(MODELS, (*reply[:2], reply[2] | usage)) as (url, script):
        answer = first(url + "/")
    assert (answer.text, answer.stop) == ("f:\n\tret\n", "length")
    assert (answer.prompt_tokens, answer.answer_tokens) == (7, 3)
    assert [path for path, _, _ in script.requests] == ["/v1/models", "/v1/completions"]
    assert [headers["authorization"] for _, headers, _ in script.requests] == ["Bearer key"] * 2
    assert script.requests[1][2] == {
        "model": "m",
        "prompt": ask().text,
        "temperature": 1.0,
        "top_p": 0.95,
        "max_tokens": 40,
        "stop": ["</code>"],
        "seed": answer.seed,
    }


def test_a_busy_server_is_asked_again_after_the_time_it_names() -> None:
    busy: Reply = (503, {"Retry-After": "1"}, b"busy")
    gone: Reply = (429, {"Retry-After": formatdate(time.time() - 60, usegmt=True)}, b"")
    started = time.monotonic()
    with serve(MODELS, busy, gone, completion()) as (url, script):
        assert first(url).text == "f:\n\tret\n"
    assert 1 <= time.monotonic() - started < 5
    assert len(script.requests) == 4


def test_a_broken_connection_is_made_again() -> None:
    with serve(MODELS, reset, completion()) as (url, _):
        assert first(url).text == "f:\n\tret\n"


def test_a_server_that_stays_busy_is_given_up() -> None:
    busy: Reply = (503, {"Retry-After": "0"}, b"come back later")
    message = "HTTP 503 Service Unavailable: come back later"
    with serve(MODELS, busy, busy, busy, busy) as (url, script), pytest.raises(ModelError, match=message):
        first(url)
    assert len(script.requests) == 5


def test_a_server_that_gives_no_answer_in_time_is_an_error() -> None:
    message = r"gave no answer in 0\.2 s"
    with serve(MODELS, dawdle) as (url, script), pytest.raises(ModelError, match=message):
        next(ServerModel(url, SAMPLING, timeout=0.2).answers(ask(), 1))
    assert len(script.requests) == 2


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((500, {}, b"it  \n broke"), "HTTP 500 Internal Server Error: it broke"),
        ((401, {}, b"who?"), r"HTTP 401 .*LLMC_API_KEY or OPENAI_API_KEY\): who\?"),
        ((307, {"Location": "http://127.0.0.1:1/v1"}, b""), "HTTP 307"),
        ((200, {}, b"<html>" + b"x" * 500), r"something else than JSON: <html>x{191}\.\.\.$"),
        ((200, {}, {"choices": []}), "gave no completion"),
        ((200, {}, {"choices": [{"text": None}]}), "gave no completion"),
        ((200, {}, [1]), "gave no completion"),
        (completion(finish_reason="content_filter"), "unknown reason 'content_filter'"),
        ((400, {}, {"error": {"message": "no such model"}}), "HTTP 400.*no such model"),
    ],
)
def test_a_reply_of_no_use_is_an_error_with_its_text(reply: Reply, message: str) -> None:
    with serve(MODELS, reply) as (url, _), pytest.raises(ModelError, match=message):
        first(url)


LLAMA_CPP = {"code": 400, "message": "the request exceeds", "n_prompt_tokens": 4100, "n_ctx": 4096}
VLLM = (
    "This model's maximum context length is 4096 tokens. However, your request has 4100 input tokens. "
    "Please reduce the length of the input messages."
)
OPENAI = (
    "This model's maximum context length is 4096 tokens, however you requested 4140 tokens "
    "(4100 in your prompt; 40 for the completion). Please reduce your prompt; or completion length."
)


@pytest.mark.parametrize("error", [LLAMA_CPP, {"message": VLLM}, {"message": OPENAI}])
def test_other_servers_refusals_of_a_long_prompt_have_both_counts(error: dict[str, Any]) -> None:
    with serve(MODELS, (400, {}, {"error": error})) as (url, _), pytest.raises(PromptTooLong) as caught:
        first(url)
    assert (caught.value.prompt_tokens, caught.value.context) == (4100, 4096)


def test_a_refusal_of_the_token_limit_is_in_the_server_s_words() -> None:
    error = {"message": OPENAI.replace("4100", "100")}
    with (
        serve(MODELS, (400, {}, {"error": error})) as (url, _),
        pytest.raises(ModelError, match="100 in your prompt"),
    ):
        first(url)


@pytest.mark.parametrize(
    ("reply", "message"), [({"data": []}, "serves no model"), ({}, "lists no models"), ([], "lists no")]
)
def test_a_server_without_a_model_is_an_error(reply: Any, message: str) -> None:
    with serve((200, {}, reply)) as (url, _), pytest.raises(ModelError, match=message):
        open_server(url)


def test_of_several_models_the_first_answers_and_a_warning_says_so() -> None:
    message = "serves 2 models; the first, a, answers"
    with (
        serve((200, {}, {"data": [{"id": "a"}, {"id": "b"}]})) as (url, _),
        pytest.warns(UserWarning, match=message),
    ):
        assert open_server(url).describe()["name"] == "a"

"""A model behind an OpenAI-compatible server: requests, replies, retries and limits."""

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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from random_gguf import CONTEXT, write_random_gguf
from servers import MODELS, Reply, completion, completions, reset, serve

from pytest_llmcompiler.errors import ModelError, PromptTooLongError
from pytest_llmcompiler.model.answer import Answer, Question, Sampling
from pytest_llmcompiler.model.queue.backend import Backend
from pytest_llmcompiler.model.queue.job_queue import Job, JobQueue
from pytest_llmcompiler.model.sampling import sample_seed
from pytest_llmcompiler.model.server.backend import ServerBackend
from pytest_llmcompiler.model.server.http import choose_pause
from pytest_llmcompiler.model.server.throttle import Throttle, ThrottleStoppedError
from pytest_llmcompiler.model.server.workers import RequestWorkers

SAMPLING = Sampling(temperature=1.0, top_p=0.95, max_tokens=40, seed=1)


def ask(text: str = "[INST] Give the assembly [/INST]", function: str = "f") -> Question:
    return Question(case="a.c", function=function, task="asm", passes="O0", text=text)


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no API key of the environment."""
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
    environment = {key: value for key, value in os.environ.items() if key not in ("HOST", "PORT", "CONFIG_FILE")}
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
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


def choose_short_pause(failures: int) -> float:
    return 0.001 * 2 ** (failures - 1)


def open_server(url: str, sampling: Sampling = SAMPLING, **options: Any) -> ServerBackend:
    return ServerBackend(url, sampling, **{"choose_pause": choose_short_pause, **options})


@contextmanager
def run_backend(backend: Backend, job_queue: JobQueue | None = None) -> Iterator[JobQueue]:
    """A job queue that the backend serves in a thread. The thread has to end when the queue is closed."""
    job_queue = job_queue or JobQueue()

    def work() -> None:
        try:
            backend.work(job_queue)
        except ModelError as error:
            job_queue.fail(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield job_queue
    finally:
        job_queue.close()
        thread.join(10)
        assert not thread.is_alive()


def gather(backend: Backend, question: Question, samples: int = 1) -> list[Answer]:
    with run_backend(backend) as job_queue:
        return sorted(job_queue.answers(question, samples), key=lambda answer: answer.sample)


def test_a_real_server_answers(llama_server: str) -> None:
    model = open_server(llama_server)
    assert model.describe() == {
        "backend": "server",
        "name": "random",
        "url": llama_server,
        "sampling": {"temperature": 1.0, "top_p": 0.95, "max_tokens": 40, "seed": 1},
    }
    answers = gather(model, ask(), 3)
    assert [answer.sample for answer in answers] == [0, 1, 2]
    assert len({answer.text for answer in answers}) == len({answer.seed for answer in answers}) == 3
    for answer in answers:
        assert answer.prompt_tokens == 2 + len(ask().text)
        # This server writes up to three more tokens where the limit falls into a multi-byte character.
        assert answer.answer_tokens is not None and 0 < answer.answer_tokens <= 43
        assert answer.stop == ("length" if answer.answer_tokens >= 40 else "stop")
        assert answer.seconds is not None and "</code>" not in answer.text


def test_a_real_server_s_answers_depend_on_the_seed(llama_server: str) -> None:
    first, again = (gather(open_server(llama_server), ask()) for _ in range(2))
    other = gather(open_server(llama_server, Sampling(1.0, max_tokens=40, seed=2)), ask())
    assert first[0].text == again[0].text != other[0].text


def test_a_real_server_without_a_token_limit_goes_on(llama_server: str) -> None:
    answers = gather(open_server(llama_server, Sampling(1.0, 1.0)), ask(), 4)
    assert max(answer.answer_tokens or 0 for answer in answers) > 16


def test_a_real_server_s_refusal_of_a_long_prompt_has_both_counts(llama_server: str) -> None:
    with pytest.raises(PromptTooLongError) as error:
        gather(open_server(llama_server), ask("x" * CONTEXT), 2)
    assert (error.value.prompt_tokens, error.value.context) == (CONTEXT + 2, CONTEXT)


def test_a_real_server_chats(llama_server: str) -> None:
    backend = open_server(llama_server + "/chat/completions")
    assert backend.describe()["name"] == "random"
    answers = gather(backend, ask(), 2)
    assert len({answer.text for answer in answers}) == 2
    # The server puts the tokens of its chat template around the question.
    assert all((answer.prompt_tokens or 0) > 2 + len(ask().text) for answer in answers)


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
    with pytest.raises(ModelError, match=message) as error:
        open_server(url)
    assert "secret" not in str(error.value)


# The following tests need a server that misbehaves.


def dawdle(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(0.8)
    handler.close_connection = True


def first(url: str) -> Answer:
    return gather(open_server(url), ask())[0]


def test_a_request_holds_all_sampling_settings(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_busy_server_is_asked_again_after_the_time_of_its_header() -> None:
    busy: Reply = (503, {"Retry-After": "0.5"}, b"busy")
    gone: Reply = (429, {"Retry-After": formatdate(time.time() - 60, usegmt=True)}, b"")
    started = time.monotonic()
    with serve(MODELS, busy, gone, completion()) as (url, script):
        assert first(url).text == "f:\n\tret\n"
    assert time.monotonic() - started >= 0.5
    assert len(script.requests) == 4


def test_a_server_that_asks_to_wait_for_hours_is_given_up() -> None:
    for retry_after in ("36000", formatdate(time.time() + 36000, usegmt=True)):
        with serve(MODELS, (429, {"Retry-After": retry_after}, b"no quota")) as (url, script):
            with pytest.raises(ModelError, match=r"HTTP 429.*no quota \(it asks to wait 3\d{4} s"):
                first(url)
            assert len(script.requests) == 2


@pytest.mark.parametrize("fault", [reset, *((status, {}, b"") for status in (408, 429, 500, 502, 503, 504, 529))])
def test_a_transient_error_is_followed_by_another_attempt(fault: Any) -> None:
    with serve(MODELS, fault, fault, completion()) as (url, script):
        assert first(url).text == "f:\n\tret\n"
    assert len(script.requests) == 4


def test_a_reply_cut_short_is_requested_again() -> None:
    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b'{"choices"')
        handler.close_connection = True

    with serve(MODELS, cut, completion()) as (url, _):
        assert first(url).text == "f:\n\tret\n"


def test_a_restarted_server_is_waited_for() -> None:
    refused = threading.Event()

    def record_failure(failures: int) -> float:
        refused.set()
        return 0.1

    with serve(MODELS) as (url, _):
        backend = open_server(url, choose_pause=record_failure)
        port = int(url.split(":")[2].removesuffix("/v1"))
    with run_backend(backend) as job_queue:
        job_queue.plan(ask(), 1, 0)
        assert refused.wait(10)
        with serve(completion(), port=port):
            assert [answer.text for answer in job_queue.answers(ask(), 1)] == ["f:\n\tret\n"]


def test_pauses_double_up_to_a_minute_with_jitter() -> None:
    for failures, longest in ((1, 1), (2, 2), (4, 8), (50, 60)):
        pauses = [choose_pause(failures) for _ in range(100)]
        assert longest / 2 <= min(pauses) < max(pauses) <= longest


def test_a_connection_that_times_out_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.create_connection
    timeouts = []

    def slow_at_first(address: Any, timeout: float, *more: Any) -> socket.socket:
        timeouts.append(timeout)
        if len(timeouts) == 1:
            raise TimeoutError
        return connect(address, timeout, *more)

    with serve(MODELS, completion()) as (url, _):
        backend = open_server(url)
        monkeypatch.setattr(socket, "create_connection", slow_at_first)
        assert len(gather(backend, ask())) == 1
    assert timeouts == [30, 30]


def test_a_server_that_stays_unreachable_is_given_up() -> None:
    with serve(MODELS) as (url, _):
        backend = open_server(url)
    with pytest.raises(ModelError, match=r"no server listens at .*given up after 6 attempts"):
        gather(backend, ask())


def test_a_server_that_stays_busy_is_given_up() -> None:
    busy: Reply = (503, {"Retry-After": "0"}, b"come back later")
    message = r"HTTP 503 Service Unavailable: come back later \(given up after 8 attempts\)"
    with serve(MODELS, rest=lambda _: busy) as (url, script), pytest.raises(ModelError, match=message):
        first(url)
    assert len(script.requests) == 9


def test_a_server_that_gives_no_answer_in_time_is_an_error() -> None:
    message = r"gave no answer in 0\.2 s"
    with serve(MODELS, dawdle, dawdle) as (url, script), pytest.raises(ModelError, match=message):
        gather(open_server(url, timeout=0.2), ask())
    assert len(script.requests) == 3


def test_a_request_that_times_out_is_sent_a_second_time() -> None:
    with serve(MODELS, dawdle, completion()) as (url, _):
        assert gather(open_server(url, timeout=0.2), ask())[0].text == "f:\n\tret\n"


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((500, {}, b"it  \n broke"), r"HTTP 500 Internal Server Error: it broke \(given up"),
        ((401, {}, b"who?"), r"HTTP 401 .*LLMC_API_KEY or OPENAI_API_KEY\): who\?"),
        ((307, {"Location": "http://127.0.0.1:1/v1"}, b""), "HTTP 307"),
        ((200, {}, b"<html>" + b"x" * 500), r"something else than JSON: <html>x{191}\.\.\.$"),
        ((200, {}, {"choices": []}), "gave no completion"),
        ((200, {}, {"choices": [{"text": 5}]}), "gave no completion"),
        ((200, {}, [1]), "gave no completion"),
        ((400, {}, {"error": {"message": "no such model"}}), "HTTP 400.*no such model"),
    ],
)
def test_an_unusable_reply_is_an_error_with_its_text(reply: Reply, message: str) -> None:
    with serve(MODELS, rest=lambda _: reply) as (url, _), pytest.raises(ModelError, match=message):
        first(url)


@pytest.mark.parametrize("finish", ["content_filter", None, [1]])
def test_an_answer_without_text_is_an_empty_answer(finish: Any) -> None:
    reply = {"choices": [{"text": None, "finish_reason": finish}], "usage": {"completion_tokens": "many"}}
    with serve(MODELS, rest=lambda _: (200, {}, reply)) as (url, _):
        answer = first(url)
    assert (answer.text, answer.stop, answer.answer_tokens) == ("", "stop", None)


LLAMA_CPP = {"code": 400, "message": "the request exceeds", "n_prompt_tokens": 4100, "n_ctx": 4096}
VLLM = (
    "This model's maximum context length is 4096 tokens. However, your request has 4100 input tokens. "
    "Please reduce the length of the input messages."
)
OPENAI = (
    "This model's maximum context length is 4096 tokens, however you requested 4140 tokens "
    "(4100 in your prompt; 40 for the completion). Please reduce your prompt; or completion length."
)
VLLM_BEFORE = (
    "This model's maximum context length is 4096 tokens. However, you requested 4100 tokens in the messages, "
    "Please reduce the length of the messages."
)
OPENAI_CHAT = (
    "This model's maximum context length is 4096 tokens. However, your messages resulted in 4100 tokens. "
    "Please reduce the length of the messages."
)
TOGETHER = "The input (4100 tokens) is longer than the model's context length (4096 tokens)."


@pytest.mark.parametrize(
    "error",
    [
        {"error": LLAMA_CPP},
        *({"error": {"message": words}} for words in (VLLM, VLLM_BEFORE, OPENAI, OPENAI_CHAT, TOGETHER)),
        {"message": VLLM},
    ],
)
def test_refusals_of_a_long_prompt_have_both_counts_for_each_kind_of_server(error: dict[str, Any]) -> None:
    with serve(MODELS, (400, {}, error)) as (url, _), pytest.raises(PromptTooLongError) as error:
        first(url)
    assert (error.value.prompt_tokens, error.value.context) == (4100, 4096)


def test_a_refusal_of_the_token_limit_has_the_server_s_message() -> None:
    error = {"message": OPENAI.replace("4100", "100")}
    with (
        serve(MODELS, (400, {}, {"error": error})) as (url, _),
        pytest.raises(ModelError, match="100 in your prompt"),
    ):
        first(url)


def test_a_token_limit_beyond_the_context_is_lowered() -> None:
    error = {"message": OPENAI.replace("4100", "3000")}

    def reply(request: Any) -> Reply:
        return completion() if request["max_tokens"] <= 1096 else (400, {}, {"error": error})

    with serve(MODELS, rest=reply) as (url, script):
        gather(open_server(url, Sampling(max_tokens=2048)), ask(), 9)
    assert 1096 in script.sent("max_tokens")


@pytest.mark.parametrize(
    ("reply", "message"), [({"data": []}, "serves no model"), ({}, "lists no models"), ([], "lists no")]
)
def test_a_server_without_a_model_is_an_error(reply: Any, message: str) -> None:
    with serve((200, {}, reply)) as (url, _), pytest.raises(ModelError, match=message):
        open_server(url)


def test_one_of_several_models_has_to_be_named() -> None:
    two: Reply = (200, {}, {"data": [{"id": "a"}, {"id": "org/b"}]})
    with serve(rest=lambda request: completion() if request else two) as (url, script):
        with pytest.raises(ModelError, match=f"serves 2 models: name one as {url}#a; they are a, org/b"):
            open_server(url)
        with pytest.raises(ModelError, match="serves no model 'c', but a, org/b"):
            open_server(f"{url}#c")
        backend = open_server(f"{url}/completions#org/b")
        gather(backend, ask())
    assert backend.identity() == {"backend": "server", "url": url, "name": "org/b", "endpoint": "completions"}
    assert script.requests[-1][2]["model"] == "org/b"


# Many samples and many requests.


def test_several_samples_share_a_request() -> None:
    with serve(MODELS, rest=lambda request: completions(request.get("n", 1))) as (url, script):
        answers = gather(open_server(url, in_flight=1), ask(), 11)
    assert script.sent("n") == [8, 3]
    assert [answer.text for answer in answers] == [*"01234567", *"012"]
    # Each answer has the seed that was sent: that of the first sample of its request.
    seeds = script.sent("seed")
    assert [answer.seed for answer in answers] == [seeds[0]] * 8 + [seeds[1]] * 3
    assert seeds == [seed_of(0), seed_of(8)]


def seed_of(sample: int) -> int:
    return sample_seed(SAMPLING.seed, ask().key, sample)


def test_the_tokens_of_several_answers_in_one_reply_are_unknown() -> None:
    usage = {"usage": {"prompt_tokens": 7, "completion_tokens": 30}}
    with serve(MODELS, (200, {}, completions(2)[2] | usage)) as (url, _):
        answers = gather(open_server(url), ask(), 2)
    assert [(answer.prompt_tokens, answer.answer_tokens) for answer in answers] == [(7, None)] * 2


def test_usage_counts_tokens_and_time() -> None:
    usage = {"usage": {"prompt_tokens": 7, "completion_tokens": 30}}
    replies: list[Reply] = [(200, {}, completions(1)[2] | usage)] * 2
    with serve(MODELS, *replies, completion()) as (url, _):
        backend = open_server(url, in_flight=1)
        assert backend.usage() == {"tokens": 0, "from_draft": 0, "busy": 0, "idle": 0}
        gather(backend, ask(), 2)
        gather(backend, ask(function="g"))
    final = backend.usage()
    assert final["tokens"] == 60 and final["busy"] > 0 and final["idle"] > 0


def test_a_server_that_gives_one_answer_a_request_is_asked_for_one() -> None:
    with serve(MODELS, rest=lambda _: completion()) as (url, script):
        backend = open_server(url, in_flight=1)
        answers = gather(backend, ask(), 4)
        gather(backend, ask(function="g"), 2)
    assert script.sent("n") == [4, None, None, None, None, None]
    assert [answer.seed for answer in answers] == [seed_of(sample) for sample in range(4)]


def test_waiting_threads_share_samples_once_the_server_gives_one_a_request() -> None:
    waiting = threading.Semaphore(0)
    together = threading.Barrier(4)

    class Counting(JobQueue):
        def take(self, most: int, *, wait: bool) -> list[Job]:
            waiting.release()
            return super().take(most, wait=wait)

    def reply(request: Any) -> Reply:
        if "n" in request:
            for _ in range(4):
                assert waiting.acquire(timeout=10)
        elif request["prompt"] == "second":
            together.wait(10)
        return completion()

    with (
        serve(MODELS, rest=reply) as (url, script),
        run_backend(open_server(url, in_flight=4), Counting()) as job_queue,
    ):
        assert len(list(job_queue.answers(ask("first"), 2))) == 2
        assert len(list(job_queue.answers(ask("second"), 4))) == 4
        assert not job_queue.take(9, wait=False)
    assert len(script.requests) == 1 + 2 + 4


REFUSALS = {
    "OpenAI": {"error": {"message": "Unsupported parameter, as temperature is", "param": "FIELD"}},
    "vLLM": {"object": "error", "message": "FIELD must be 1 when using greedy sampling, got 2.", "param": None},
    "FastAPI": {"detail": [{"loc": ["body", "FIELD"], "msg": "no", "input": {"seed": 1, "top_p": 1, "n": 1}}]},
    "text": "I know no FIELD",
}


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("field", ["n", "seed", "top_p"])
@pytest.mark.parametrize("status", [400, 422])
def test_a_refused_field_is_left_out_of_later_requests(refusal: str, field: str, status: int) -> None:
    text = json.dumps(REFUSALS[refusal]).replace("FIELD", field).encode()

    def reply(request: Any) -> Reply:
        return (status, {}, text) if field in request else completions(request.get("n", 1))

    with serve(MODELS, rest=reply) as (url, script), pytest.warns(UserWarning) as warned:
        answers = gather(open_server(url, in_flight=1), ask(), 10)
    assert [f"refuses {field}: left out" in str(warning.message) for warning in warned] == [True]
    assert [field in request for _, _, request in script.requests[1:]] == [True] + [False] * (len(script.requests) - 2)
    assert [answer.sample for answer in answers] == list(range(10))
    assert all((answer.seed is None) == (field == "seed") for answer in answers)


def test_llama_server_s_name_for_n_is_known() -> None:
    error = {"error": {"message": "n_cmpl cannot be greater than the number of slots, please increase -np"}}
    with serve(MODELS, (400, {}, error), rest=lambda _: completion()) as (url, script), pytest.warns(UserWarning):
        gather(open_server(url, in_flight=1), ask(), 2)
    assert script.sent("n") == [2, None, None]


def test_many_threads_that_meet_a_refusal_warn_once() -> None:
    together = threading.Barrier(4)

    def reply(request: Any) -> Reply:
        if "seed" not in request:
            return completion()
        together.wait(10)
        return 400, {}, b"no seed"

    with (
        serve(MODELS, rest=reply) as (url, script),
        pytest.warns(UserWarning) as warned,
        run_backend(open_server(url, in_flight=4)) as job_queue,
    ):
        for name in "abcd":
            job_queue.plan(ask(function=name), 1, 0)
        assert [len(list(job_queue.answers(ask(function=name), 1))) for name in "abcd"] == [1] * 4
    assert len(warned) == 1 and len(script.requests) == 9


def test_many_requests_are_in_flight() -> None:
    together = threading.Barrier(4)

    def reply(request: Any) -> Reply:
        together.wait(10)
        return completion(request["prompt"])

    with serve(MODELS, rest=reply) as (url, _), run_backend(open_server(url, in_flight=4)) as job_queue:
        questions = [ask(f"question {number}") for number in range(8)]
        for order, question in enumerate(questions):
            job_queue.plan(question, 1, order)
        assert [[answer.text for answer in job_queue.answers(question, 1)] for question in questions] == [
            [question.text] for question in questions
        ]


def test_no_more_requests_are_in_flight_than_allowed() -> None:
    counted = threading.Semaphore(3)

    def reply(_: Any) -> Reply:
        if not counted.acquire(blocking=False):
            return 401, {}, b"too many"
        time.sleep(0.01)
        counted.release()
        return completion()

    with serve(MODELS, rest=reply) as (url, _):
        assert len(gather(open_server(url, in_flight=3), ask(), 20)) == 20


def test_a_pause_that_a_busy_server_asks_for_holds_for_all_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    paused = threading.Event()
    pause = Throttle.pause

    def record_pause(throttle: Throttle, seconds: float) -> None:
        pause(throttle, seconds)
        paused.set()

    monkeypatch.setattr(Throttle, "pause", record_pause)
    refused: list[float] = []
    arrived: list[float] = []

    def reply(request: Any) -> Reply:
        if request["prompt"] == "a" and not refused:
            refused.append(time.monotonic())
            return 429, {"Retry-After": "0.4"}, b"too many"
        if request["prompt"] == "b":
            # Answered only after the other request was refused: its thread then takes the next question.
            assert paused.wait(10)
        else:
            arrived.append(time.monotonic())
        return completion()

    with serve(MODELS, rest=reply) as (url, _), run_backend(open_server(url, in_flight=2)) as job_queue:
        for order, name in enumerate("abcd"):
            job_queue.plan(ask(name), 1, order)
        assert [len(list(job_queue.answers(ask(name), 1))) for name in "abcd"] == [1] * 4
    assert len(arrived) == 3 and min(arrived) >= refused[0] + 0.4


def test_a_server_that_answers_others_is_not_given_up() -> None:
    """A rate limit sends the same request away many times in a long session."""
    requests_for_a = 0

    def reply(request: Any) -> Reply:
        nonlocal requests_for_a
        if request["prompt"] != "a":
            return completion()
        requests_for_a += 1
        return (429, {}, b"") if requests_for_a <= 20 else completion()

    with serve(MODELS, rest=reply) as (url, _), run_backend(open_server(url, in_flight=2)) as job_queue:
        for number in range(2000):
            job_queue.plan(ask(f"{number}"), 1, number)
        assert len(list(job_queue.answers(ask("a"), 1))) == 1
    assert requests_for_a == 21


def test_requests_in_flight_at_one_time_halve_the_limit_once_and_successes_raise_it() -> None:
    throttle = Throttle(4)
    with ExitStack() as slots:
        numbers = [slots.enter_context(throttle.hold_slot()) for _ in range(4)]
        for number in numbers:
            throttle.halve(number)
        assert throttle.limit == 2
    for _ in range(3):
        with throttle.hold_slot() as number:
            throttle.halve(number)
    assert throttle.limit == 1
    limits = []
    for _ in range(12):
        throttle.record_success()
        limits.append(throttle.limit)
    assert limits == sorted(limits) and limits[-1] == 4 and len(set(limits)) == 3


def test_a_stopped_throttle_lets_no_request_through() -> None:
    throttle = Throttle(1)
    caught = []

    def wait() -> None:
        with pytest.raises(ThrottleStoppedError), throttle.hold_slot():
            pass
        caught.append(True)

    with throttle.hold_slot():
        thread = threading.Thread(target=wait)
        thread.start()
        throttle.stop()
        thread.join(10)
    assert caught == [True]


def test_after_an_error_the_other_requests_end(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Event()
    fail = RequestWorkers.fail

    def record_failure(workers: RequestWorkers, error: Exception) -> None:
        fail(workers, error)
        failed.set()

    monkeypatch.setattr(RequestWorkers, "fail", record_failure)
    begun = threading.Event()

    def reply(request: Any) -> Reply:
        if request["prompt"] == "bad":
            assert begun.wait(10)
            return 401, {}, b"the key has run out"
        begun.set()
        assert failed.wait(10)
        return completions(request.get("n", 1) - 1)

    job_queue = JobQueue()
    for order, name in enumerate(["good", "bad", "never"]):
        job_queue.plan(ask(name), 3 if name == "good" else 1, order)
    with (
        serve(MODELS, rest=reply) as (url, script),
        pytest.raises(ModelError, match="the key has run out") as error,
    ):
        open_server(url, in_flight=2).work(job_queue)
    assert [request["prompt"] for _, _, request in script.requests[1:]] in (["good", "bad"], ["bad", "good"])
    # Samples that were not generated can be taken again.
    left = [job for _ in range(3) for job in job_queue.take(9, wait=False)]
    assert [(job.question.text, job.sample) for job in left] == [("good", 2), ("bad", 0), ("never", 0)]
    job_queue.fail(error.value)
    with pytest.raises(ModelError, match="the key has run out"):
        samples = []
        for answer in job_queue.answers(ask("good"), 3):
            samples.append(answer.sample)
    assert samples == [0, 1]


def test_answers_before_an_unusable_one_are_delivered() -> None:
    reply = completions(3)
    reply[2]["choices"][1]["text"] = 5
    with serve(MODELS, reply) as (url, _), run_backend(open_server(url)) as job_queue:
        answers = job_queue.answers(ask(), 3)
        assert next(answers).text == "0"
        with pytest.raises(ModelError, match="gave no completion"):
            next(answers)


def test_an_unexpected_error_in_a_thread_ends_the_work() -> None:
    class Full(JobQueue):
        def deliver(self, job: Job, answer: Answer) -> None:
            raise OSError("disk full")

    job_queue = Full()
    job_queue.plan(ask(), 1, 0)
    with serve(MODELS, completion()) as (url, _), pytest.raises(OSError, match="disk full"):
        open_server(url).work(job_queue)


def test_after_a_prompt_that_is_too_long_the_work_goes_on() -> None:
    with (
        serve(MODELS, (400, {}, {"error": LLAMA_CPP}), completion()) as (url, script),
        run_backend(open_server(url)) as job_queue,
    ):
        with pytest.raises(PromptTooLongError):
            next(job_queue.answers(ask("long"), 8))
        assert next(job_queue.answers(ask("short"), 1)).text == "f:\n\tret\n"
    assert len(script.requests) == 3


def test_after_a_question_without_an_answer_the_work_goes_on() -> None:
    def reply(request: Any) -> Reply:
        return (
            (400, {}, b"I don't like it") if request["prompt"].startswith("bad") else completions(request.get("n", 1))
        )

    with serve(MODELS, rest=reply) as (url, _), run_backend(open_server(url, in_flight=1)) as job_queue:
        for number in range(9):
            with pytest.raises(ModelError, match="I don't like it"):
                next(job_queue.answers(ask(f"bad {number}"), 20))
            assert len(list(job_queue.answers(ask(f"good {number}"), 20))) == 20


def test_a_server_that_answers_five_questions_in_a_row_with_errors_is_given_up() -> None:
    with serve(MODELS, rest=lambda _: (422, {}, b"no")) as (url, script), run_backend(open_server(url)) as job_queue:
        for number in range(40):
            with pytest.raises(ModelError, match=r"HTTP 422 .*: no"):
                next(job_queue.answers(ask(f"{number}"), 1))
    assert len(script.requests) == 6


def test_closing_the_job_queue_ends_the_work_with_requests_in_flight() -> None:
    arrived, enough = threading.Event(), threading.Event()

    def reply(_: Any) -> Reply:
        arrived.set()
        enough.wait(10)
        return completion()

    with serve(MODELS, rest=reply) as (url, _):
        with run_backend(open_server(url, in_flight=3)) as job_queue:
            job_queue.plan(ask(), 1, 0)
            assert arrived.wait(10)
        enough.set()


def test_a_chat_is_one_message() -> None:
    message: Reply = (200, {}, {"choices": [{"message": {"content": "f:\n"}, "finish_reason": "length"}] * 2})
    with serve(MODELS, message) as (url, script):
        backend = open_server(url + "/chat/completions/", Sampling())
        answers = gather(backend, ask(), 2)
    assert [(answer.text, answer.stop) for answer in answers] == [("f:\n", "length")] * 2
    assert [path for path, _, _ in script.requests] == ["/v1/models", "/v1/chat/completions"]
    request = script.requests[1][2]
    assert request["messages"] == [{"role": "user", "content": ask().text}]
    assert not {"prompt", "max_tokens"} & request.keys()
    assert backend.describe()["url"] == url + "/chat/completions"
    assert backend.identity() == {"backend": "server", "url": url, "name": "m", "endpoint": "chat/completions"}


@pytest.mark.parametrize("message", [{}, {"content": 5}, "f:", None])
def test_a_chat_without_text_is_an_error(message: Any) -> None:
    reply: Reply = (200, {}, {"choices": [{"message": message, "finish_reason": "stop"}]})
    with serve(MODELS, reply) as (url, _), pytest.raises(ModelError, match="chat/completions gave no completion"):
        first(url + "/chat/completions")


def test_the_address_may_name_the_completions_endpoint() -> None:
    with serve(MODELS, MODELS, completion()) as (url, script):
        backends = [open_server(url), open_server(url + "/completions")]
        gather(backends[1], ask())
    assert backends[0].identity() == backends[1].identity()
    assert [path for path, _, _ in script.requests] == ["/v1/models", "/v1/models", "/v1/completions"]


@pytest.mark.parametrize("key", ["se\ncret", "secr\u00e9t"])
def test_an_error_about_the_api_key_does_not_show_it(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with serve(MODELS) as (url, _), pytest.raises(ModelError, match="OPENAI_API_KEY holds a character") as error:
        open_server(url)
    assert "cr" not in str(error.value)[len("OPENAI_API_KEY holds a char") :]


def test_whitespace_around_an_api_key_is_removed() -> None:
    with pytest.MonkeyPatch.context() as patch, serve(MODELS, completion()) as (url, script):
        patch.setenv("LLMC_API_KEY", "secret\n")
        first(url)
    assert [headers["authorization"] for _, headers, _ in script.requests] == ["Bearer secret"] * 2

"""`llmc serve`, as a process of its own on loopback: verdicts, streams, shapes of other tools, refusals."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from http_service import RIGHT, TWICE, WRONG, RunningServer, fresh_samples, sample, serve
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmcompiler import Judge, Sample, Verdict

TOKEN = "a token of this test alone".replace(" ", "-")
MAX_SAMPLES, MAX_QUEUE = 8, 10


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    limits = ("--max-body", "1", "--max-samples", str(MAX_SAMPLES), "--max-queue", str(MAX_QUEUE))
    with serve(*limits, "--workers", "1", "--examples", "5", "--column", "source=code", token=TOKEN) as server:
        yield server


@pytest.fixture(scope="module")
def schema(server: RunningServer) -> Any:
    return server.ask("GET", "/schema").json()


def test_verdicts_are_those_of_the_judge(server: RunningServer, schema: Any) -> None:
    answers = [RIGHT, WRONG, "no code", RIGHT]
    body = {"samples": [*map(sample, answers), sample(source="int twice(")]}
    reply = server.post("/judge", body)
    assert reply.status == 200
    jsonschema.validate(body, schema["request"])
    jsonschema.validate(reply.json(), schema["answer"])
    with Judge(1, examples=5) as judge:
        expected = [judge.check(Sample(TWICE, "twice", answer)) for answer in answers]
    *verdicts, broken = map(Verdict.from_json, reply.json()["verdicts"])
    assert verdicts == expected
    assert broken.kind == "inconclusive"
    assert broken.detail["error"]["type"] == "CaseError"


def test_all_fields_of_a_sample_count(server: RunningServer) -> None:
    ir = "define i32 @twice(i32 %x) {\n  %r = mul i32 %x, 2\n  ret i32 %r\n}\n"
    arm = "twice:\n\tlsl w0, w0, #1\n\tret\n"
    flagged = sample(source="int twice(int x) { return FACTOR * x; }", cflags=["-DFACTOR=2", "-std=gnu89"])
    reply = server.judge(sample(ir, task="ir", passes="Oz"), sample(arm, target="aarch64-linux"), flagged)
    assert [verdict["verdict"] for verdict in reply.json()["verdicts"]] == ["pass", "pass", "pass"], reply.body


def test_no_samples_are_a_batch_too(server: RunningServer) -> None:
    assert server.judge().json() == {"verdicts": []}
    assert server.post("/judge", {"samples": [], "stream": True}).body == b""


@pytest.mark.parametrize(
    ("fields", "headers"), [({"stream": True}, {}), ({}, {"Accept": "application/x-ndjson"})], ids=["field", "header"]
)
def test_verdicts_as_lines(server: RunningServer, schema: Any, fields: Any, headers: dict[str, str]) -> None:
    body = {"samples": [sample(WRONG), sample(RIGHT)], **fields}
    reply = server.post("/judge", body, headers)
    assert reply.headers["content-type"] == "application/x-ndjson"
    lines = list(map(json.loads, reply.body.splitlines()))
    for line in lines:
        jsonschema.validate(line, schema["line"])
    assert [(line["index"], Verdict.from_json(line).kind) for line in lines] == [(0, "mismatch"), (1, "pass")]


def test_a_line_comes_as_soon_as_its_verdict(server: RunningServer) -> None:
    server.judge(sample())
    connection = server.connect()
    samples = [sample(), *fresh_samples(3, "later")]
    headers = {**server.headers(), "Content-Type": "application/json"}
    connection.request("POST", "/judge", json.dumps({"samples": samples, "stream": True}), headers)
    response = connection.getresponse()
    assert json.loads(response.readline())["index"] == 0
    assert server.measure()["llmc_queue_samples"] > 0  # the others are still in work
    assert len(response.read().splitlines()) == 3
    connection.close()


# -- the token


@pytest.mark.parametrize(
    "credentials", ["", "Bearer", "Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Basic !", "Bearer \xe9"]
)
def test_without_the_token_nothing_is_answered(server: RunningServer, credentials: str) -> None:
    body = json.dumps({"samples": [sample()]}).encode()
    replies = [
        server.ask("POST", "/judge", body, {"Authorization": credentials}),
        server.ask("GET", "/metrics", None, {"Authorization": credentials}),
        server.ask("GET", "/nowhere", None, {"Authorization": credentials}),
    ]
    assert [reply.status for reply in replies] == [401, 401, 401]
    assert replies[0].headers["www-authenticate"] == "Bearer"
    assert server.ask("GET", "/health", None, {"Authorization": credentials}).status == 200


def test_the_token_as_a_password(server: RunningServer) -> None:
    """A client that has only a URL says `http://llmc:TOKEN@HOST/`."""
    credentials = base64.b64encode(f"llmc:{TOKEN}".encode()).decode()
    assert server.ask("GET", "/metrics", None, {"Authorization": f"Basic {credentials}"}).status == 200


# -- limits


def test_a_long_body_is_refused_before_it_is_read_whole(server: RunningServer) -> None:
    body = b" " * (3 << 20)
    announced = server.ask("POST", "/judge", body)
    assert (announced.status, announced.json()["reason"]) == (413, "body")
    chunked = server.ask("POST", "/judge", iter([body[: 1 << 20]] * 3))
    assert (chunked.status, chunked.json()["reason"]) == (413, "body")


def test_a_client_that_asks_before_it_sends_is_refused_at_once(server: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        head = f"POST /judge HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
        connection.sendall(head.encode() + b"Expect: 100-continue\r\nContent-Length: 100000000\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_body_of_the_longest_length_is_taken(server: RunningServer) -> None:
    body = json.dumps({"samples": []}).encode()
    assert server.ask("POST", "/judge", body + b" " * ((1 << 20) - len(body))).status == 200
    assert server.ask("POST", "/judge", body + b" " * ((1 << 20) - len(body) + 1)).status == 413


def test_a_batch_of_too_many_samples_is_refused(server: RunningServer) -> None:
    reply = server.judge(*[sample()] * (MAX_SAMPLES + 1))
    assert (reply.status, reply.json()["reason"]) == (413, "batch")


def test_a_full_queue_refuses_and_says_when_to_come_again(server: RunningServer) -> None:
    replies = []
    thread = threading.Thread(target=lambda: replies.append(server.judge(*fresh_samples(MAX_SAMPLES, "full"))))
    thread.start()
    server.wait_for("llmc_queue_samples", MAX_SAMPLES)
    refused = server.judge(*[sample()] * (MAX_QUEUE - MAX_SAMPLES + 1))
    assert (refused.status, refused.json()["reason"]) == (429, "queue")
    assert int(refused.headers["retry-after"]) >= 1
    thread.join()
    assert [verdict["verdict"] for verdict in replies[0].json()["verdicts"]] == ["pass"] * MAX_SAMPLES
    assert server.judge(*[sample()] * (MAX_QUEUE - MAX_SAMPLES + 1)).status == 200


def test_a_client_that_leaves_frees_its_places(server: RunningServer) -> None:
    before = server.measure()["llmc_abandoned_samples_total"]
    for stream in (False, True):
        connection = server.connect()
        body = json.dumps({"samples": fresh_samples(MAX_SAMPLES, f"left{stream:d}_"), "stream": stream})
        connection.request("POST", "/judge", body, {**server.headers(), "Content-Type": "application/json"})
        server.wait_for("llmc_queue_samples", MAX_SAMPLES)
        connection.close()
        server.wait_for("llmc_queue_samples", 0)
    assert server.measure()["llmc_abandoned_samples_total"] - before > MAX_SAMPLES
    assert server.judge(sample()).status == 200


# -- bodies


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"function": None}, "samples.1.function"),
        ({"answer": 3}, "samples.1.answer"),
        ({"task": "sing"}, "samples.1.task"),
        ({"target": "pdp11"}, "samples.1.target"),
        ({"cflags": "-DA"}, "samples.1.cflags"),
        ({"cflags": ["-DA", 3]}, "samples.1.cflags.1"),
        ({"path": "/etc/passwd"}, "samples.1.path"),
        ({"source": {"path": "/etc/passwd"}}, "samples.1.source"),
    ],
)
def test_the_field_that_is_wrong_is_named(server: RunningServer, change: Any, field: str) -> None:
    reply = server.judge(sample(), sample(**change))
    assert reply.status == 422
    assert [fault["field"] for fault in reply.json()["fields"]] == [field]


def test_a_missing_field_is_named(server: RunningServer) -> None:
    reply = server.judge({"source": TWICE, "function": "twice"})
    assert (reply.status, reply.json()["fields"]) == (422, [{"field": "samples.0.answer", "message": "Field required"}])


def test_what_is_no_json_is_refused(server: RunningServer) -> None:
    for body in (b"", b"{", b"\xff", b'{"samples": [NaN]}', b"[" * 100_000, b'"\\ud800"'):
        for path in ("/judge", "/openrlhf", "/verify", "/seed_session"):
            assert server.ask("POST", path, body).status in (400, 422), (path, body[:10])
    assert server.ask("POST", "/judge", b"{}", {"Content-Type": "text/plain"}).status == 415
    assert server.ask("GET", "/judge").status == 405


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("source", "function", "answer", "task", "passes", "target", "cflags", "code")
ROWS = st.dictionaries(st.sampled_from(FIELDS), JSON | st.sampled_from(["asm", TWICE, "twice", RIGHT]), max_size=8)
BODIES = (
    JSON
    | st.fixed_dictionaries({"samples": st.lists(ROWS | JSON, max_size=3)}, optional={"stream": JSON})
    | st.fixed_dictionaries({name: st.lists(ROWS | JSON, max_size=2) for name in ("query", "prompts", "labels")})
    | st.fixed_dictionaries({"response": JSON | st.just({"output": []}), "verifier_metadata": ROWS | JSON})
)


@given(body=BODIES, path=st.sampled_from(["/judge", "/openrlhf", "/verify", "/seed_session"]))
@settings(max_examples=150, deadline=None)
def test_whatever_json_comes_is_answered(server: RunningServer, body: object, path: str) -> None:
    reply = server.post(path, body)
    assert reply.status in (200, 400, 413, 422), reply
    if reply.status != 200:
        assert reply.json()["error"]


# -- files of the server

READING = [
    '#include "/etc/passwd"',
    "#include </etc/passwd>",
    '#include "../../etc/passwd"',
    '%:include "/etc/passwd"',
    '??=include "/etc/passwd"',
    '#inc\\\nlude "/etc/passwd"',
    '#inc\\ \t\nlude "/etc/passwd"',
    '#/**/include "/etc/passwd"',
    '#define FILE "/etc/passwd"\n#include FILE',
    'const char text[] = {\n#embed "/etc/passwd"\n};',
    '#if __has_include("/etc/passwd")\n#endif',
    "#define HAS __has_include",
    '#pragma GCC dependency "/etc/passwd"',
    '__asm__(".incbin \\"/etc/passwd\\"");',
    'asm(".inc" "bin \\"/etc/passwd\\"");',
    'asm("\\x2eincbin \\"/etc/passwd\\"");',
    'asm(R"(.incbin "/etc/passwd")");',
    "#define a asm",
    "// LLMC: cflags -include /etc/passwd",
    "// LLMC: link /etc/*.c",
    "// LLMC: tests /etc/tests.c",
    "#include\0 </etc/passwd>",
]


@pytest.mark.parametrize("text", READING, ids=range(len(READING)))
def test_a_source_that_reaches_for_files_is_refused(server: RunningServer, text: str) -> None:
    reply = server.judge(sample(source=f"{text}\n{TWICE}"))
    assert (reply.status, reply.json()["reason"]) == (422, "files"), reply.body
    assert reply.json()["fields"][0]["field"] == "samples.0.source"


@pytest.mark.parametrize(
    "flags",
    [
        ["-I/etc"],
        ["-I", "/etc"],
        ["-include", "/etc/passwd"],
        ["-imacros/etc/passwd"],
        ["@/etc/passwd"],
        ["-isystem", "/etc"],
        ["-Wp,-include,/etc/passwd"],
        ["-Xclang", "-include"],
        ["-fplugin=/tmp/x.so"],
        ["--sysroot=/tmp"],
        ["-x", "c"],
        ["/etc/passwd"],
        ["-o", "/tmp/x"],
        ["-MF", "/tmp/x"],
        ["-D"],
        ["-DX=1\n#include </etc/passwd>"],
        ['-DX=asm(".incbin")'],
        ["-ivfsoverlay", "/tmp/x"],
        ["-fprofile-use=/tmp/x"],
    ],
    ids=str,
)
def test_a_flag_that_reaches_for_files_is_refused(server: RunningServer, flags: list[str]) -> None:
    reply = server.judge(sample(cflags=flags))
    assert (reply.status, reply.json()["reason"]) == (422, "files"), reply.body
    assert reply.json()["fields"][0]["field"] == "samples.0.cflags"


def test_ordinary_sources_and_flags_are_taken(server: RunningServer) -> None:
    source = """
#include <string.h>
#include "sys/types.h"
#ifdef __has_include
#if __has_include(<stdint.h>)
#include <stdint.h>
#endif
#endif
// LLMC: arg twice.x range 0..100
int twice(int x) { __asm__ volatile("" ::: "memory"); asm("nop\\n\\tnop"); return 2 * x; }
"""
    flags = ["-std=gnu99", "-D", "A=1", "-UB", "-fwrapv", "-O2", "-Wall", "-Wno-unused-variable", "-g"]
    reply = server.judge(sample(source=source, cflags=flags))
    assert [verdict["verdict"] for verdict in reply.json()["verdicts"]] == ["pass"], reply.body


# -- other tools


def test_the_bodies_of_openrlhf(server: RunningServer) -> None:
    prompt, label = "Compile this.", json.dumps({"code": TWICE, "function": "twice"})
    body = {"query": [prompt + RIGHT, prompt + WRONG], "prompts": [prompt] * 2, "labels": [label] * 2}
    reply = server.post("/openrlhf", body)
    assert reply.status == 200, reply.body
    assert (reply.json()["rewards"], reply.json()["scores"]) == ([1.0, 0.0], [1.0, 0.0])
    bad = server.post("/openrlhf", {**body, "labels": [label, "{}"]})
    assert (bad.status, bad.json()["fields"][0]["field"]) == (422, "labels")
    source = json.dumps({"code": '#include "/etc/passwd"', "function": "twice"})
    bad = server.post("/openrlhf", {**body, "labels": [label, source]})
    assert (bad.status, bad.json()["fields"][0]["field"]) == (422, "labels.1.code")


def test_the_bodies_of_nemo_gym(server: RunningServer) -> None:
    content = [{"type": "output_text", "text": RIGHT, "annotations": []}]
    body = {
        "responses_create_params": {"input": "Compile this."},
        "response": {"output": [{"type": "message", "role": "assistant", "content": content}]},
        "verifier_metadata": {"code": TWICE, "function": "twice"},
    }
    assert server.post("/seed_session", {}).json() == {}
    assert server.ask("GET", "/reverify_mode").json() == "stateless"
    reply = server.post("/verify", body)
    assert reply.status == 200, reply.body
    assert reply.json() == {**body, "reward": 1.0, "verdict": "pass", "message": ""}
    assert server.post("/verify", {**body, "response": {}}).status == 422


def test_rewards_by_stage() -> None:
    """Wrong code that runs is worth more where it is right on more inputs."""
    never, often = "f:\n\tmovl $7, %eax\n\tretq\n", "f:\n\tmovl $1, %eax\n\tretq\n"
    label = json.dumps({"source": "int f(int x) { return x != 5; }", "function": "f"})
    answers = [never, often, "no code"]
    body = {"query": answers, "prompts": [""] * 3, "labels": [label] * 3}
    with serve("--staged", "--workers", "1") as server:
        low, high, none = server.post("/openrlhf", body).json()["rewards"]
    assert none < low < high < 1


# -- metrics


def test_the_numbers_add_up(server: RunningServer) -> None:
    before = server.measure()
    server.judge(sample(), sample(WRONG), sample("no code"))
    server.judge(sample(task="sing"))
    server.ask("GET", "/nowhere")
    after = server.measure()
    grown = {name: value - before.get(name, 0) for name, value in after.items()}
    assert grown["llmc_samples_total"] == 3
    assert grown['llmc_verdicts_total{verdict="pass"}'] == 1
    assert grown['llmc_verdicts_total{verdict="mismatch"}'] == 1
    assert grown['llmc_verdicts_total{verdict="no-answer"}'] == 1
    assert grown["llmc_verdict_seconds_count"] == 3
    assert grown['llmc_refused_requests_total{reason="fields"}'] == 1
    assert grown['llmc_requests_total{path="/judge",status="200"}'] == 1
    assert grown['llmc_requests_total{path="/judge",status="422"}'] == 1
    assert grown['llmc_requests_total{path="other",status="404"}'] == 1
    verdicts = sum(value for name, value in after.items() if name.startswith("llmc_verdicts_total{"))
    taken = verdicts + after["llmc_abandoned_samples_total"] + after["llmc_queue_samples"]
    assert after["llmc_samples_total"] == taken


def test_a_connection_is_used_again(server: RunningServer) -> None:
    connection: http.client.HTTPConnection = server.connect()
    for body, status in ((b"{", 400), (b'{"samples": []}', 200), (b"{}", 422)):
        connection.request("POST", "/judge", body, {**server.headers(), "Content-Type": "application/json"})
        response = connection.getresponse()
        assert (response.status, bool(response.read())) == (status, True)
    connection.close()

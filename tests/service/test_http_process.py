"""`llmc serve` as a process: its start, its end under load, killed judge processes, what the kernel keeps it from."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from http_service import RIGHT, SECONDS, TWICE, WRONG, RunningServer, fresh_samples, list_children, sample, serve, start
from native_code import needs_avx

from pytest_llmcompiler import landlock
from pytest_llmcompiler.service.http.limits import ServiceLimits


def refusal_to_start(*arguments: str, token: str = "") -> str:
    """What a server that does not start says; its exit status is 1."""
    process, errors = start(*arguments, variables={"LLMC_SERVE_TOKEN": token} if token else None)
    assert process.wait(SECONDS) == 1
    said = errors.read_text()
    errors.unlink()
    assert said.startswith("llmc: ") and said.count("\n") == 1, said
    return said


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"can't listen at 127.0.0.1, port {port}" in (said := refusal_to_start("--port", port))
        assert "--port" in said


def test_an_address_of_another_machine() -> None:
    assert "192.0.2.1" in refusal_to_start("--host", "192.0.2.1", "--port", "0", token="t" * 16)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org"])
def test_a_server_that_others_reach_needs_a_token(host: str) -> None:
    assert "needs a token" in refusal_to_start("--host", host, "--port", "0")


def test_a_token_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("short\n")
    assert "16 or more" in refusal_to_start("--token-file", str(tmp_path / "token"))
    assert "can't be read" in refusal_to_start("--token-file", str(tmp_path / "nothing"))
    assert "16 or more" in refusal_to_start(token="with a blank in it, but long")


def test_limits_that_contradict_each_other() -> None:
    assert "--max-queue" in refusal_to_start("--max-samples", "10", "--max-queue", "9")


@needs_avx
def test_code_with_avx_where_the_server_allows_it() -> None:
    """The process that runs it is a program in the cache, which the kernel lets the server start."""
    answer = "twice:\n\tvmovd %edi, %xmm0\n\tvpaddd %xmm0, %xmm0, %xmm0\n\tvmovd %xmm0, %eax\n\tretq\n"
    flags = ("--workers", "1", "--examples", "5", "--effort", "0")
    with serve(*flags, "--native", "auto", "--isa", "x86-64-v3") as server:
        [verdict] = server.judge(sample(answer)).json()["verdicts"]
    assert (verdict["verdict"], verdict["detail"]["native"]) == ("pass", True)


def test_the_token_of_a_file_which_nobody_sees_later(tmp_path: Path) -> None:
    token = "t" * 20
    (tmp_path / "token").write_text(f"{token}\n")
    with serve("--token-file", str(tmp_path / "token")) as server:
        assert server.ask("GET", "/metrics").status == 401
        server.token = token
        assert server.ask("GET", "/metrics").status == 200
        assert server.end() == 0
    with serve(token=token) as server:
        assert server.ask("GET", "/metrics").status == 200
        assert token.encode() not in Path(f"/proc/{server.process.pid}/environ").read_bytes()


# -- the end


def test_an_end_under_load_answers_what_was_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with serve("--workers", "2", "--examples", "5") as server, ThreadPoolExecutor(6) as threads:
        server.judge(sample())
        [folder] = tmp_path.glob("llmc-*")
        taken = [threads.submit(server.judge, *fresh_samples(4, f"end{number}_")) for number in range(4)]
        streamed = threads.submit(server.post, "/judge", {"samples": fresh_samples(4, "line"), "stream": True})
        server.wait_for("llmc_samples_total", 1 + 20)
        children = list_children(server.process.pid)
        server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + SECONDS
        while server.ask("GET", "/health").status == 200:
            assert time.monotonic() < deadline
        refused = server.judge(sample())
        assert (refused.status, refused.json()["reason"]) == (503, "closing")
        assert int(refused.headers["retry-after"]) >= 1
        for reply in taken:
            assert [verdict["verdict"] for verdict in reply.result().json()["verdicts"]] == ["pass"] * 4
        lines = map(json.loads, streamed.result().body.splitlines())
        assert [(line["index"], line["verdict"]) for line in lines] == [(index, "pass") for index in range(4)]
        assert server.process.wait(SECONDS) == 0
        assert "Traceback" not in server.said
        assert children
        assert not [child for child in children if is_running(child)]
        assert not folder.exists()
        with pytest.raises(ConnectionError):
            server.ask("GET", "/health")


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_idle_server_ends_at_once(number: signal.Signals) -> None:
    with serve() as server:
        connection = server.connect()
        connection.request("GET", "/health")
        connection.getresponse().read()  # the connection stays open, as those of a pool of connections do
        server.process.send_signal(number)
        assert server.process.wait(20) == 0
        connection.close()


def test_a_second_signal_waits_for_nobody() -> None:
    with serve("--workers", "1") as server, ThreadPoolExecutor(1) as threads:
        lost = threads.submit(server.judge, *fresh_samples(30, "lost"))
        server.wait_for("llmc_samples_total", 30)
        server.process.send_signal(signal.SIGTERM)
        while "ending" not in server.said:
            time.sleep(0.05)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 1
        assert lost.exception() or lost.result().status == 500


def test_a_client_that_never_ends_its_body_holds_up_no_end() -> None:
    with serve() as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        head = (
            b"POST /judge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        connection.sendall(head)
        time.sleep(0.2)
        begin = time.monotonic()
        assert server.end() == 0
        assert time.monotonic() - begin < 20


def test_requests_under_another_name_and_too_many_connections() -> None:
    """Without a token a server answers to its machine's own names alone: a browser asks by the name of the page."""
    with serve() as server:
        for name in ("localhost", f"127.0.0.1:{server.port}", "[::1]:80"):
            assert server.ask("GET", "/health", None, {"Host": name}).status == 200
        for name in ("example.org", f"example.org:{server.port}", "localhost.example.org", "192.0.2.1", ""):
            reply = server.ask("GET", "/health", None, {"Host": name})
            assert (reply.status, reply.json()["reason"]) == (421, "host")
        with contextlib.ExitStack() as stack:
            address = "127.0.0.1", server.port
            for _ in range(ServiceLimits.connections):
                stack.enter_context(socket.create_connection(address, timeout=20))
            reply = server.ask("GET", "/health")
            assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        server.wait_for("llmc_connections", 1)  # the places are free again
        assert server.measure()['llmc_refused_requests_total{reason="connections"}'] == 1


# -- killed judge processes


def test_killed_judge_processes_change_no_verdict() -> None:
    with serve("--workers", "2", "--examples", "5") as server:
        server.judge(sample())
        stop = threading.Event()
        killed: set[int] = set()
        killer = threading.Thread(target=kill_children, args=(server, stop, killed))
        killer.start()
        replies = []
        for number in range(4):
            answers = [sample(f"{WRONG if index % 3 else RIGHT}# {number}.{index}\n") for index in range(30)]
            replies.append(server.judge(*answers, *fresh_samples(2, f"loud{number}_")).json())
        stop.set()
        killer.join()
        assert killed
        for reply in replies:
            kinds = [verdict["verdict"] for verdict in reply["verdicts"]]
            assert kinds == ["mismatch" if index % 3 else "pass" for index in range(30)] + ["pass"] * 2


def kill_children(server: RunningServer, stop: threading.Event, killed: set[int]) -> None:
    """Kill a judge process each time some more samples have their verdicts, four in all."""
    judged = server.measure()["llmc_verdict_seconds_count"]
    for _ in range(4):
        judged += 12
        while server.measure()["llmc_verdict_seconds_count"] < judged and not stop.is_set():
            time.sleep(0.01)
        for child in list_children(server.process.pid)[:1]:
            os.kill(child, signal.SIGKILL)
            killed.add(child)


def test_a_killed_server_leaves_no_process_behind() -> None:
    with serve("--workers", "2") as server:
        server.judge(sample(), *fresh_samples(2, "orphan"))
        children = list_children(server.process.pid)
        assert children
        server.process.kill()
        deadline = time.monotonic() + SECONDS
        while any(map(is_running, children)):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_the_time_of_a_sample_is_limited() -> None:
    with serve("--timeout", "0.001", "--examples", "5") as server:
        [verdict] = server.judge(sample()).json()["verdicts"]
        assert (verdict["verdict"], verdict["detail"]["error"]["type"]) == ("inconclusive", "Timeout")


# -- what the kernel keeps the server from


@pytest.mark.skipif(landlock.find_missing_reason() is not None, reason="the kernel has no Landlock")
def test_a_file_that_macros_reach_for_is_not_read(tmp_path: Path) -> None:
    """No search of the text finds a keyword that macros put together."""
    (tmp_path / "secret").write_bytes(b"K")
    source = f"""
#define JOIN(a, b) a##b
JOIN(as, m)(".section .rodata, \\"a\\"\\n.globl stolen\\nstolen: .incbin \\"{tmp_path}/secret\\"\\n.text");
extern const char stolen[1];
int twice(int x) {{ return stolen[0] == 'K' ? 2 * x : 0; }}
"""
    with serve("--examples", "5") as server:
        assert "confined by Landlock" in server.said
        answers = server.judge(sample(source=source), sample(source=TWICE)).json()["verdicts"]
        assert [answer["verdict"] for answer in answers] == ["inconclusive", "pass"]
        assert answers[0]["detail"]["error"]["type"] in ("CaseError", "ClangError")
        assert server.end() == 0

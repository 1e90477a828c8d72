"""The engine's processes may die, or not exist at all: no sample is lost, and no verdict changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_runner import RIGHT
from faces import Compile

from pytest_llmcompiler.assembler.job import AssemblerLimits
from pytest_llmcompiler.emulator import engine_build, engine_server
from pytest_llmcompiler.errors import EngineError
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.judge.verdict import Verdict

SOURCE = "int total(const int *p, unsigned char n) { int sum = 0; while (n--) sum += *p++; return sum; }"
WRONG = RIGHT.replace("addl", "subl")
CRASHING = RIGHT.replace("addl (%rdi,%rsi,4)", "addl 4096(%rdi,%rsi,4)")


@pytest.fixture
def harness(compiled: Compile) -> Harness:
    return Harness(compiled(SOURCE), "total", JudgeSettings(examples=20, effort=0))


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_server, "_SERVER", engine_server._Server())
    engine_build.server_path.cache_clear()


@pytest.fixture(autouse=True)
def built_again() -> Iterator[None]:
    yield
    engine_build.server_path.cache_clear()


def verdicts(harness: Harness, end: str = "") -> list[Verdict]:
    """`end` is code that never runs: with another one, all texts have code that has not run before."""
    return [harness.judge(text + end) for text in (RIGHT, WRONG, CRASHING)]


def describe(verdicts: list[Verdict]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(verdict.kind, verdict.message, verdict.evidence) for verdict in verdicts]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def servers_of_this_process() -> list[int]:
    return [pid for pid in children(os.getpid()) if Path(f"/proc/{pid}/comm").read_text().startswith("engine-server")]


def server_of_this_process() -> int:
    return next(server for server in servers_of_this_process() if children(server))


def test_right_code_needs_no_python(harness: Harness) -> None:
    assert [verdict.kind for verdict in verdicts(harness)] == ["pass", "mismatch", "crash"]
    statistics = harness.engine.statistics
    assert statistics.candidates == 3 and statistics.settled == 1 and statistics.runs > 60


def test_the_same_code_runs_once(compiled: Compile) -> None:
    harness = Harness(compiled(SOURCE), "total", JudgeSettings(examples=20))
    first, runs = harness.judge(RIGHT), harness.engine.statistics.runs
    renamed = "# another comment\n" + RIGHT.replace("1:", ".Lagain:").replace("1b", ".Lagain")
    assert harness.judge(renamed) == first and first.detail["second_look"]["inputs"] > 100
    assert harness.engine.statistics.runs == runs and harness.engine.statistics.settled == 2
    assert harness.judge(RIGHT.replace("xorl %eax, %eax", "movl $0, %eax")).passed
    assert harness.engine.statistics.runs > runs, "other code"


def test_failing_code_runs_once(compiled: Compile) -> None:
    harness = Harness(compiled(SOURCE), "total", JudgeSettings(examples=20))
    statistics = harness.engine.statistics
    failed, runs = harness.judge(WRONG, explain=False), statistics.runs
    commented = harness.judge("# a comment\n" + WRONG, explain=False)
    assert failed.kind == commented.kind == "mismatch" and failed.evidence == commented.evidence
    assert statistics.runs == runs and statistics.shown == 2
    crashed = [harness.judge(CRASHING), harness.judge(CRASHING, explain=False)]
    assert [verdict.kind for verdict in crashed] == ["crash"] * 2
    assert statistics.shown == 3, "what nobody asked for when the code ran first is shown by another run"


def test_the_process_of_a_sample_has_no_system_calls_but_those_that_computing_takes(
    harness: Harness,
) -> None:
    harness.judge(RIGHT)
    with harness.engine.sample():
        assert harness.engine.encode("nop", 0x1000, AssemblerLimits()) == b"\x90"
        templates = [template for server in servers_of_this_process() for template in children(server)]
        assert {find_seccomp_mode(pid) for template in templates for pid in children(template)} == {"2"}
        assert {find_seccomp_mode(template) for template in templates} == {"0"}


def find_seccomp_mode(pid: int) -> str:
    """0 for none, 2 for a filter: see proc_pid_status(5)."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in status if line.startswith("Seccomp:"))


def test_killed_processes_lose_no_sample(harness: Harness, no_server: None) -> None:
    expected = describe(verdicts(harness))
    server = server_of_this_process()
    for template in children(server):
        os.kill(template, signal.SIGKILL)
    assert describe(verdicts(harness, "nop\n")) == expected
    os.kill(server_of_this_process(), signal.SIGKILL)
    assert describe(verdicts(harness, "ud2\n")) == expected
    assert harness.engine.statistics.settled == 3, "a new template and a new server serve at once"


def test_no_compiler(harness: Harness, no_server: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    expected = verdicts(harness)
    monkeypatch.setattr(engine_server, "_SERVER", engine_server._Server())
    engine_build.server_path.cache_clear()
    monkeypatch.setenv("LLMC_CACHE", str(tmp_path))
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    monkeypatch.setattr("pytest_llmcompiler.emulator.direct_build.glibc_driver", lambda: ["/nonexistent/zig"])
    without = Harness(harness.reference, "total", JudgeSettings(examples=20, effort=0))
    assert verdicts(without) == expected
    assert without.engine.statistics.candidates == 0
    looking = Harness(harness.reference, "total", JudgeSettings(examples=20)).judge(RIGHT)
    assert looking.passed and "got no second look: the engine can't be built: " in looking.detail["warning"]
    assert "can't be built" in engine_server.find_problem()
    with pytest.raises(EngineError):
        engine_server.open_template(b"")


def test_a_start_that_fails_is_tried_again(
    harness: Harness, no_server: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    starts = []

    def find_none() -> Path:
        starts.append(1)
        return tmp_path / "none"

    with monkeypatch.context() as patched:
        patched.setattr(engine_server, "server_path", find_none)
        with pytest.raises(EngineError, match="can't be started"):
            engine_server._SERVER.get()
    assert engine_server._SERVER.get().is_usable
    monkeypatch.setattr(engine_server, "_SERVER", engine_server._Server())
    monkeypatch.setattr(engine_server, "server_path", find_none)
    starts.clear()
    for _ in range(9):
        with pytest.raises(EngineError, match="can't be started"):
            engine_server._SERVER.get()
    assert 1 < len(starts) < 9


def test_a_cache_that_cannot_be_written(harness: Harness, no_server: None, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = verdicts(harness)
    monkeypatch.setattr(engine_server, "_SERVER", engine_server._Server())
    engine_build.server_path.cache_clear()
    monkeypatch.setenv("LLMC_CACHE", "/dev/null/cache")
    other = Harness(harness.reference, "total", JudgeSettings(examples=20, effort=0))
    assert verdicts(other) == expected
    assert other.engine.statistics.settled == 1, "the engine is built in a folder of its own"


FAILING_FORK = """
#include <stdlib.h>
long syscall(long number, ...) { return -1; } /* The server forks templates, but these can't clone themselves. */
int kill(int pid, int number) {
    if (pid <= 0) abort(); /* All processes of the user. */
    long result = 62;
    __asm__ volatile("syscall" : "+a"(result) : "D"((long)pid), "S"((long)number) : "rcx", "r11", "memory");
    return (int)result;
}
"""


def test_no_process_for_a_child(
    harness: Harness, no_server: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = verdicts(harness)
    monkeypatch.setattr(engine_server, "_SERVER", engine_server._Server())
    (tmp_path / "fork.c").write_text(FAILING_FORK)
    library = tmp_path / "fork.so"
    command = [sys.executable, "-m", "ziglang", "cc", "-shared", "-fPIC", "-o", library, tmp_path / "fork.c"]
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    engine_server._SERVER.get()
    monkeypatch.delenv("LD_PRELOAD")
    without = Harness(harness.reference, "total", JudgeSettings(examples=20, effort=0))
    assert verdicts(without) == expected
    assert without.engine.statistics.candidates == 0
    (template,) = children(server_of_this_process())
    assert not children(template), "the template has not ended, and has no children"


def test_hostile_text_ends_only_its_own_child(harness: Harness) -> None:
    before = harness.judge(RIGHT)
    assert harness.judge("total: mov (%r8),%ah\n ret").kind != "pass"
    assert harness.judge("total: jmp total").kind == "hang"
    assert harness.judge("total:\n" + ".rept 100000000\n nop\n .endr\n ret").kind != "pass"
    assert harness.judge(RIGHT) == before


def test_candidates_that_need_more_of_the_c_library(compiled: Compile) -> None:
    harness = Harness(
        compiled("unsigned length(const char *s) { unsigned n = 0; while (s[n]) n++; return n; }"),
        "length",
        JudgeSettings(examples=20, effort=0),
    )
    text = """length:
            pushq %rdi
            xorl %esi, %esi
            call rawmemchr
            popq %rdi
            subl %edi, %eax
            ret
    """
    assert "rawmemchr" not in harness.reference.golden.addresses
    assert harness.judge(text).passed
    assert harness.engine.statistics.settled == 1
    assert harness.judge(text.replace("subl", "addl")).kind == "mismatch"
    assert (
        harness.judge(text.replace("pushq %rdi", "movq %rdi, %rbx").replace("popq %rdi", "movq %rbx, %rdi")).kind
        == "abi"
    )
    assert harness.judge(text.replace("xorl %esi, %esi", "movl $1, %esi")).kind == "crash"
    assert harness.engine.statistics.candidates == 4
    harness.engine.close()
    assert harness.judge(text).passed
    assert harness.engine.statistics.settled == 2, "the template is started again"


def test_candidates_with_results_of_glibc(compiled: Compile) -> None:
    harness = Harness(
        compiled("#include <ctype.h>\nint kind(int c) { c &= 127; return isalpha(c) ? isalpha(c) : -isdigit(c); }"),
        "kind",
        JudgeSettings(examples=30, effort=0),
    )
    text = """kind:
            subq $8, %rsp
            andl $127, %edi
            movl %edi, 4(%rsp)
            call __ctype_b_loc
            movq (%rax), %rax
            movl 4(%rsp), %edi
            movzwl (%rax,%rdi,2), %edx
            movl %edx, %eax
            andl $1024, %eax
            jne 1f
            andl $2048, %edx
            negl %edx
            movl %edx, %eax
    1:      addq $8, %rsp
            ret
    """
    assert harness.judge(text).passed
    assert harness.engine.statistics.settled == 1
    assert harness.judge(text.replace("$1024", "$512")).kind == "mismatch"
    assert harness.judge(text.replace("andl $2048", "andl $4096")).kind == "mismatch"
    mixed = text.replace("andl $1024, %eax", "andl $1024, %eax\n shrl $10, %eax\n testl %eax, %eax")
    assert harness.judge(mixed).passed, "of musl on letters, of glibc on digits"
    assert harness.engine.statistics.settled == 1, "Python decides what neither shows alone"

"""The live line, on the screen of a terminal emulator."""

from __future__ import annotations

import os
import pty
import struct
import subprocess
import sys
from collections.abc import Mapping
from fcntl import ioctl
from termios import TIOCSWINSZ

import pyte
import pytest
from sessions import put, replay

from pytest_llmcompiler.report.live import Progress

WIDTH, HEIGHT = 90, 60


def on_terminal(project: pytest.Pytester, *args: str, **environment: str) -> tuple[str, list[str]]:
    """Everything that pytest writes to a terminal, and the final contents of its screen."""
    leader, follower = pty.openpty()
    ioctl(follower, TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    known = {name: value for name, value in os.environ.items() if name not in ("CI", "BUILD_NUMBER", "COLUMNS")}
    command = [sys.executable, "-m", "pytest", "--llmc-examples=10", *args]
    with subprocess.Popen(
        command,
        cwd=project.path,
        env={**known, "TERM": "xterm", **environment},
        **dict.fromkeys(("stdin", "stdout", "stderr"), follower),
    ) as process:
        os.close(follower)
        written = b""
        try:
            while part := os.read(leader, 65536):
                written += part
        except OSError:  # what a terminal says when nobody writes to it any more
            pass
    os.close(leader)
    assert process.returncode in (0, 1), written
    screen = pyte.Screen(WIDTH, HEIGHT)
    pyte.Stream(screen).feed(written.decode())
    return written.decode(), [line.rstrip() for line in screen.display]


def lasting(lines: list[str]) -> list[str]:
    """The lines of a screen without times, which differ from run to run."""
    return [line for line in lines if " in " not in line]


@pytest.fixture
def answers(project: pytest.Pytester) -> str:
    """Answers that are judged without running them."""
    put(project, "test_other.py", "import time\ndef test_other():\n    time.sleep(0.7)\n")
    return replay(project, "I can't.", "No.", ("low", "Sorry."))


DONE = "llmc: 2 of 2 items, 3 samples: 3 no-answer, 0:00 left"


def test_a_line_tells_how_far_it_is_and_leaves_nothing_behind(project: pytest.Pytester, answers: str) -> None:
    options = (answers, "--llmc-samples=2", ".")
    written, screen = on_terminal(project, *options)
    _, quiet = on_terminal(project, *options, TERM="dumb")
    assert DONE in written
    assert lasting(screen) == lasting(quiet)
    assert any("language model as compiler" in line for line in screen)


def test_workers_have_one_line(project: pytest.Pytester, answers: str) -> None:
    written, screen = on_terminal(project, answers, "--llmc-samples=2", "-n", "2", ".")
    assert DONE in written
    assert not any("of 2 items" in line for line in screen)
    assert any("language model as compiler" in line for line in screen)


@pytest.mark.parametrize(("option", "environment"), [("-q", {}), ("-v", {"CI": "true"})])
def test_it_is_quiet_where_it_would_be_in_the_way(
    project: pytest.Pytester, answers: str, option: str, environment: dict[str, str]
) -> None:
    written, _ = on_terminal(project, answers, option, "-k", "low", **environment)
    assert "1 failed" in written and "of 1 items" not in written


def records(*verdicts: str) -> list[dict[str, str]]:
    return [{"verdict": verdict} for verdict in verdicts]


@pytest.mark.parametrize(
    ("usage", "line"),
    [
        ({}, "llmc: 1 of 5 items, 4 samples: 2 pass 1 crash 1 abi, 6:40 left"),
        (
            {"tokens": 30_000, "busy": 20.0},
            "llmc: 1 of 5 items, 4 samples: 2 pass 1 crash 1 abi, 1,500 tokens a second, 6:40 left",
        ),
    ],
)
def test_the_line(usage: Mapping[str, float], line: str) -> None:
    progress = Progress(items=5)
    progress.begin(100)
    progress.add(records("pass", "crash"))
    progress.begin(150)
    assert progress.format_line(200, records("pass", "abi"), usage) == line


def test_before_anything_is_done_there_is_no_time_left() -> None:
    assert Progress(items=2).format_line(0, [], {}) == "llmc: 0 of 2 items, 0 samples"
    assert Progress().format_line(0, [], {}) == ""

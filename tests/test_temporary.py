"""Temporary folders are gone after the process that made them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from processes import is_alive

from pytest_llmcompiler.temporary import make_folder, temporary_folder

PROGRAM = """
import os, sys, time
from pathlib import Path
from pytest_llmcompiler.temporary import make_folder, temporary_folder
(make_folder("x") / "file").write_text("")
if os.fork() == 0:
    sys.exit(0)  # a child removes nothing
os.wait()
with temporary_folder() as one, temporary_folder(beside=Path(sys.argv[1], "place")) as other:
    (other / "deep").mkdir()
    (other / "deep" / "file").write_text("")
    assert one.is_dir() and other.is_dir()
    print(one, flush=True)
    time.sleep(60 if sys.argv[2] == "wait" else 0)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, None])
def test_nothing_is_left_of_a_process_that_ends(tmp_path: Path, number: signal.Signals | None) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), "wait" if number else "go"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        start_new_session=True,
    ) as process:
        assert process.stdout
        folder = Path(process.stdout.readline().strip())
        assert folder.parent.parent == tmp_path
        if number:
            os.killpg(process.pid, number)
        process.wait()
    deadline = time.monotonic() + 20
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not list(tmp_path.iterdir())


STARTER = """
import subprocess, sys, time
from pytest_llmcompiler.temporary import _get_remover, end_at_end
child, other = (subprocess.Popen(["sleep", "60"], start_new_session=True) for _ in range(2))
end_at_end(child.pid)
_get_remover().add(b"%d:1" % other.pid)  # another process has this number now
print(child.pid, other.pid, flush=True)
time.sleep(60)
"""


def test_a_process_that_notices_nothing_by_itself() -> None:
    with subprocess.Popen([sys.executable, "-c", STARTER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        child, other = map(int, process.stdout.readline().split())
        process.kill()
    deadline = time.monotonic() + 20
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(child)
    assert is_alive(other)
    os.kill(other, signal.SIGKILL)


def test_a_block_removes_its_folder(tmp_path: Path) -> None:
    with temporary_folder() as folder:
        (folder / "file").write_text("")
    with temporary_folder(beside=tmp_path / "place") as other:
        (other / "whole").mkdir()
        (other / "whole").rename(tmp_path / "place")
    assert not folder.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_another_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`llmc serve` may write to its own alone, which it names after it has begun."""
    first = make_folder()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert make_folder().parent.parent == tmp_path
    assert first.parent.parent != tmp_path

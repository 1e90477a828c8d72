"""The header of a session."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_llmcompiler.report.header import cache_lines, judge_lines
from pytest_llmcompiler.seccomp import find_missing_reason


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    find_missing_reason.cache_clear()
    yield
    find_missing_reason.cache_clear()


def test_a_machine_without_filters_of_system_calls_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "processes that run answers keep all system calls"
    assert not any(words in line for line in judge_lines(1, 1, 512, "", 1))
    find_missing_reason.cache_clear()
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert f"llmc: {words}, see SECURITY.md: no list of system calls for riscv64" in judge_lines(1, 1, 512, "", 1)


def test_a_cache_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    assert cache_lines(tmp_path / "new" / "cache") == []
    (tmp_path / "file").write_text("no folder")
    [line] = cache_lines(tmp_path / "file" / "cache")
    assert line.endswith(f"can't write {tmp_path / 'file' / 'cache'}")

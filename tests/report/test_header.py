"""The header of a session."""

from __future__ import annotations

import platform
from collections.abc import Iterator

import pytest

from pytest_llmcompiler.report.header import judge_lines
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

"""Where keystone is not installed, as on AArch64, LLVM assembles, and the engine runs candidates all the same."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from assembly_runner import BASE, code

from pytest_llmcompiler.assembler.assemble import assemble
from pytest_llmcompiler.assembler.keystone_engine import find_library
from pytest_llmcompiler.cache_files import describe_libraries
from pytest_llmcompiler.emulator.engine_server import EngineServer
from pytest_llmcompiler.report.header import judge_lines

TEXT = "f:\n\tleal 1(%rdi), %eax\n\tretq\n"
MISSING = "llmc: LLVM assembles all answers, which takes longer: no keystone on "


@pytest.fixture
def without_keystone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "keystone", None)  # to import it fails, and it is not found
    find_library.cache_clear()
    yield
    find_library.cache_clear()


def test_llvm_assembles_instead(without_keystone: None) -> None:
    assembled = assemble(TEXT, "f", BASE, {})
    assert (assembled.assembler, assembled.fallback_reason) == ("llvm", None)
    assert code(assembled) == b"\x8d\x47\x01\xc3"


def test_the_engine_starts(without_keystone: None) -> None:
    server = EngineServer()
    try:
        assert server.is_usable
    finally:
        server.close()


def test_the_header_says_so(without_keystone: None) -> None:
    assert any(line.startswith(MISSING) for line in judge_lines(1, 1, 512, "", 1))


@pytest.mark.skipif(find_library() is None, reason="keystone has no wheel for this machine")
def test_nothing_is_said_where_it_is_there() -> None:
    assert not any(line.startswith(MISSING) for line in judge_lines(1, 1, 512, "", 1))


def test_what_is_not_installed_has_no_release() -> None:
    assert describe_libraries("no-such-library") == "no-such-library none"

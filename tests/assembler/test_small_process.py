"""A small process forks for assemblers: same results and errors as without it, and none is lost where it dies."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from pytest_llmcompiler import sandbox
from pytest_llmcompiler.assembler.job import AssemblerLimits
from pytest_llmcompiler.assembler.keystone_engine import run_keystone
from pytest_llmcompiler.assembler.llvm_engine import assemble_in_sandbox
from pytest_llmcompiler.assembler.operands import KeystoneRefusalError
from pytest_llmcompiler.assembler.small_process import (
    _PRESENT,
    SmallProcess,
    call_in_small_process,
    start_small_process,
)
from pytest_llmcompiler.errors import ChildDiedError, ChildTimeoutError, LLMCompilerError
from pytest_llmcompiler.targets import get_target


@pytest.fixture
def process() -> Iterator[SmallProcess]:
    start_small_process()
    [process] = _PRESENT
    yield process
    process.close()
    _PRESENT.clear()


def read_processes() -> list[int]:
    """The process that would fork a child, and its parent."""
    return [os.getpid(), os.getppid()]


def loop() -> int:
    return sandbox.call(_loop, seconds=1, megabytes=64)  # type: ignore[no-any-return]


def _loop() -> None:
    while True:
        pass


def describe_outcomes() -> list[tuple[object, ...]]:
    """What assemblers say of texts: an object, LLVM's message, keystone's bytes, refusal and death."""
    limits, outcomes = AssemblerLimits(), list[tuple[object, ...]]()
    for text in ("f: ret\n", "f: frobl %eax\n"):
        try:
            outcomes.append((assemble_in_sandbox(text, limits, get_target()),))
        except ChildDiedError as error:
            outcomes.append((type(error), str(error), error.reason, error.status, error.signal, error.stderr))
    for text in ("nop", "frobl %eax", "mov (%r8), %ah"):
        try:
            outcomes.append((run_keystone(text, 0x1000, limits),))
        except KeystoneRefusalError as error:
            outcomes.append((str(error),))
    return outcomes


def test_results_and_errors_are_the_same(process: SmallProcess) -> None:
    process_id, parent = call_in_small_process(read_processes, seconds=2)
    assert process_id != os.getpid() and parent == os.getpid()
    outcomes = describe_outcomes()
    with pytest.raises(ChildTimeoutError, match=r"^not finished after 1 s$") as caught:
        call_in_small_process(loop, seconds=1)
    assert caught.value.seconds == 1
    assert process.is_usable
    process.close()
    assert call_in_small_process(read_processes, seconds=2)[0] == os.getpid()
    assert describe_outcomes() == outcomes
    assert "frobl" in str(outcomes[1][-1]), "LLVM's message"


def test_a_killed_process_loses_nothing(process: SmallProcess) -> None:
    killer = threading.Timer(0.1, os.kill, (process._pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(ChildTimeoutError):
        call_in_small_process(loop, seconds=1)
    assert not process.is_usable
    assert call_in_small_process(read_processes, seconds=2)[0] == os.getpid()


def test_faults_show_where_they_are(process: SmallProcess) -> None:
    with pytest.raises(ZeroDivisionError):
        call_in_small_process(divmod, 1, 0, seconds=1)
    with pytest.raises(LLMCompilerError, match="ZeroDivisionError"):
        call_in_small_process(sandbox_division, seconds=1)


def sandbox_division() -> None:
    sandbox.call(divmod, 1, 0, seconds=1, megabytes=64)

"""The engine: it takes only those runs for the same that the Python machine takes for the same."""

from __future__ import annotations

import pytest
from engine_runner import EngineRunner
from faces import Compile

from pytest_llmcompiler.emulator.engine import Engine
from pytest_llmcompiler.errors import EngineError

SOURCE = (
    "int total(const int *p, unsigned char n) { int sum = 0; for (int i = 0; i < n; i++) sum += p[i]; return sum; }"
)
RIGHT = """total:
        xorl %eax, %eax
        movzbl %sil, %esi
1:      decl %esi
        js 2f
        addl (%rdi,%rsi,4), %eax
        jmp 1b
2:      ret
"""


@pytest.fixture(scope="module")
def runner(compiled: Compile) -> EngineRunner:
    return EngineRunner(compiled(SOURCE), "total")


def test_runs_that_show_the_same(runner: EngineRunner) -> None:
    assert set(runner.run()) == {"not left"}
    assert set(runner.run(RIGHT)) == {"not left"}


def test_runs_that_show_anything_else_are_left(runner: EngineRunner) -> None:
    assert "result" in runner.run(RIGHT.replace("addl", "subl"))
    assert set(runner.run(RIGHT.replace("ret", "incl %ebx\n ret"))) == {"register"}
    assert set(runner.run(RIGHT.replace("ret", "ud2"))) == {"fault"}
    assert set(runner.run("total: jmp total")) == {"limit"}


def test_what_the_engine_cannot_load_is_an_error(runner: EngineRunner) -> None:
    with pytest.raises(EngineError):
        Engine.open(b"no image")
    engine = Engine.open(runner.image)
    with pytest.raises(EngineError):
        engine.run(engine.entry_count)
    engine.close()

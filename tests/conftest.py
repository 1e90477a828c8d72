"""What the tests of the judge share: cases compiled once, and one judge for all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import llvmlite.binding  # noqa: F401  (a session inside a test forgets what it imports, and a process may load LLVM once)
import pytest
from faces import CaseOf, Compile, Judged
from sessions import CASE, put

from pytest_llmcompiler.judge.client import JudgeClient
from pytest_llmcompiler.judge.harness import JudgeSettings
from pytest_llmcompiler.program.case import Case, read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.target import DEFAULT

SLOW = Path(__file__).parent / "slow"
"""Tests that take more than 20 s each on two cores."""
_LIMIT, _SLOW_LIMIT = 300, 1800
"""Seconds of wall-clock time after which pytest-timeout ends a test: fifteen times what one takes on an idle machine."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the slow tests out unless the command line names them."""
    if collection_path != SLOW:
        return None
    named = ((config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args)
    return None if any(path == SLOW or SLOW in path.parents for path in named) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Limit the time of each test."""
    for item in items:
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_SLOW_LIMIT if SLOW in item.path.parents else _LIMIT))


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the tests' own, one for all workers: corpora of earlier sessions have no part in them."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMC_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def case_of(tmp_path_factory: pytest.TempPathFactory) -> CaseOf:
    """A case from source text; the same text gives the same case."""
    made: dict[tuple[str, str], Case] = {}

    def make(source: str, suffix: str = ".c") -> Case:
        if (source, suffix) not in made:
            path = tmp_path_factory.mktemp("case") / f"case{suffix}"
            path.write_text(source, encoding="utf-8")
            made[source, suffix] = read_case(path)
        return made[source, suffix]

    return make


@pytest.fixture(scope="session")
def compiled(case_of: CaseOf) -> Compile:
    """The reference of a source text, compiled once for each compiler."""
    made: dict[tuple[Path, str | None, str], Reference] = {}

    def make(source: str, suffix: str = ".c", clang: str | None = None, target: str = DEFAULT) -> Reference:
        case = case_of(source, suffix)
        return made.setdefault((case.path, clang, target), Reference(case, Toolchain(clang, get_target(target))))

    return make


@pytest.fixture(scope="session")
def lfs() -> Reference:
    """The reference of `cases/git_lfs.c`."""
    return Reference(read_case(Path(__file__).parents[1] / "cases" / "git_lfs.c"), Toolchain())


@pytest.fixture(scope="session")
def judge() -> Iterator[JudgeClient]:
    judge = JudgeClient(JudgeSettings(examples=40))
    yield judge
    judge.close()


@pytest.fixture(scope="session")
def judged(judge: JudgeClient, case_of: CaseOf) -> Judged:
    """The verdict on the assembly of a function of a C source text."""
    return lambda source, function, assembly: judge.judge(case_of(source), function, assembly)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with one case of two functions."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    pytester.makeini("[pytest]\nllmc_cases = cases\n")
    put(pytester, "cases/a.c", CASE)
    return pytester

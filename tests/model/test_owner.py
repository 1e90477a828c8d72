"""The process that owns the model: one for all workers, kept apart from the session, and never in its way."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from random_gguf import write_random_gguf
from sessions import CASE, assert_no_traceback, put, records, run, text_of

from pytest_llmcompiler.errors import ModelError
from pytest_llmcompiler.model.answer import ModelSettings, Prompt, Sampling
from pytest_llmcompiler.model.owner.client import OwnedModel
from pytest_llmcompiler.model.specs import open_model

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")

MORE = "".join(f"int f{number}(int x) {{ return x + {number}; }}\n" for number in range(6))
FLAGS = ("--llmc-model=random.gguf", "--llmc-max-tokens=40", "--llmc-record=record.jsonl", "--llmc-samples=3")
ITEMS = 8


@pytest.fixture(scope="session")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_gguf(tmp_path_factory.mktemp("model") / "random.gguf", context=8192)


@pytest.fixture
def cases(project: pytest.Pytester, gguf: Path) -> pytest.Pytester:
    """A project with a model and eight functions in two files."""
    put(project, "cases/b.c", MORE)
    os.link(gguf, project.path / "random.gguf")
    return project


def found_in_cache(result: pytest.RunResult) -> int:
    match = re.search(r"([\d,]+)\s+answers\s+were\s+found", text_of(result))
    return int(match[1].replace(",", "")) if match else 0


def wrote_something(result: pytest.RunResult) -> bool:
    return "the model wrote" in text_of(result)


def told(project: pytest.Pytester, name: str = "record.jsonl") -> dict[tuple[str, int], str]:
    return {(one["function"], one["sample"]): one["answer"] for one in records(project.path / name)}


def owners(parent: int | None = None) -> list[int]:
    """The processes that own a model, or those of them that a process started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
            above = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if b"pytest_llmcompiler.model.owner.process" in words and parent in (None, above):
            found.append(int(process.name))
    return found


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# -- what is made, and what is not made again


def test_a_second_session_makes_nothing(cases: pytest.Pytester) -> None:
    first = run(cases, *FLAGS)
    first.assert_outcomes(failed=ITEMS)
    made = told(cases)
    assert len(made) == 3 * ITEMS and wrote_something(first) and not found_in_cache(first)
    (cases.path / "record.jsonl").unlink()
    second = run(cases, *FLAGS)
    assert found_in_cache(second) == 3 * ITEMS and not wrote_something(second)
    assert told(cases) == made


def test_more_samples_make_only_those(cases: pytest.Pytester) -> None:
    run(cases, *FLAGS, "--llmc-samples=2", "-k", "f1 or f2")
    made = told(cases)
    (cases.path / "record.jsonl").unlink()
    more = run(cases, *FLAGS, "--llmc-samples=4", "-k", "f1 or f2")
    assert found_in_cache(more) == 4 and wrote_something(more)
    assert made.items() < told(cases).items() and len(told(cases)) == 8


@pytest.mark.parametrize("other", ["--llmc-seed=2", "--llmc-temperature=0.5", "--llmc-max-tokens=30"])
def test_other_settings_are_other_answers(cases: pytest.Pytester, other: str) -> None:
    run(cases, *FLAGS, "-k", "f1")
    again = run(cases, *FLAGS, "-k", "f1", other)
    assert found_in_cache(again) == 0 and wrote_something(again)


def test_refresh_makes_them_anew_and_off_keeps_nothing(cases: pytest.Pytester) -> None:
    assert found_in_cache(run(cases, *FLAGS, "-k", "f1", "--llmc-cache=off")) == 0
    assert found_in_cache(run(cases, *FLAGS, "-k", "f1")) == 0
    refreshed = run(cases, *FLAGS, "-k", "f1", "--llmc-cache=refresh")
    assert found_in_cache(refreshed) == 0 and wrote_something(refreshed)
    assert found_in_cache(run(cases, *FLAGS, "-k", "f1")) == 3


def test_what_is_deselected_is_not_asked(cases: pytest.Pytester) -> None:
    run(cases, *FLAGS, "-k", "f1 or f2")
    everything = run(cases, *FLAGS)
    assert found_in_cache(everything) == 6


def test_a_session_that_was_killed_loses_no_answer(cases: pytest.Pytester) -> None:
    # So many and so long that the model is not done before the judge has begun.
    asked = (*FLAGS, "--llmc-samples=40", "--llmc-max-tokens=200")
    flags = [*asked, "--llmc-examples=10", "-p", "no:xdist"]
    with (cases.path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "pytest", *flags], cwd=cases.path, stdout=log, stderr=log)
    record = cases.path / "record.jsonl"
    wait_until(lambda: record.exists() and record.read_bytes().count(b"\n") >= 5)
    [owner] = owners(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not Path(f"/proc/{owner}").exists())
    kept = told(cases)
    assert 5 <= len(kept) < 40 * ITEMS
    record.unlink()
    rest = run(cases, *asked)
    assert len(kept) <= found_in_cache(rest) < 40 * ITEMS and wrote_something(rest)
    assert kept.items() <= told(cases).items() and len(told(cases)) == 40 * ITEMS


@pytest.mark.parametrize("flags", [(), ("-n", "2")], ids=["alone", "workers"])
def test_clearing_pytest_s_cache_clears_the_answers_once(cases: pytest.Pytester, flags: tuple[str, ...]) -> None:
    run(cases, *FLAGS, "-k", "f1")
    cleared = cases.runpytest_subprocess(*FLAGS, "--cache-clear", "--llmc-examples=10", *flags)
    assert found_in_cache(cleared) == 0 and wrote_something(cleared)
    assert found_in_cache(run(cases, *FLAGS)) == 3 * ITEMS


def test_what_is_skipped_or_comes_after_the_last_failure_is_not_asked(cases: pytest.Pytester) -> None:
    cases.makeconftest(
        """
        import pytest
        def pytest_collection_modifyitems(items):
            for item in items:
                if item.name.startswith("f"):
                    item.add_marker(pytest.mark.skip)
        """
    )
    run(cases, *FLAGS).assert_outcomes(failed=2, skipped=6)
    (cases.path / "conftest.py").unlink()
    assert found_in_cache(run(cases, *FLAGS, "-x")) == 3
    assert found_in_cache(run(cases, *FLAGS)) == 6


# -- the process


def test_a_module_of_the_project_with_a_name_of_python_s_own(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "signal.py").write_text("raise SystemExit('this is not the module that was meant')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    opened = open_model(str(gguf), ModelSettings())
    opened.close()
    assert opened.describe()["name"] == "random"


def test_the_model_s_own_process_dies(cases: pytest.Pytester) -> None:
    cases.makeconftest(
        """
        import os, pathlib, signal
        def pytest_runtest_setup(item):
            if item.name.startswith("f3"):
                for process in pathlib.Path("/proc").glob("[0-9]*"):
                    try:
                        mine = b"model.owner" in (process / "cmdline").read_bytes()
                        mine = mine and f") S {os.getpid()} " in (process / "stat").read_text().replace(") R ", ") S ")
                    except OSError:
                        continue
                    if mine:
                        os.kill(int(process.name), signal.SIGKILL)
        """
    )
    result = run(cases, *FLAGS, "--llmc-cache=off")
    outcomes = result.parseoutcomes()
    assert outcomes["failed"] == 5 and outcomes["errors"] == 3
    assert "the model's process ended" in text_of(result)
    assert_no_traceback(result)


def test_ctrl_c_ends_the_session_and_the_model(cases: pytest.Pytester) -> None:
    flags = [*FLAGS, "--llmc-samples=40", "-p", "no:xdist"]
    with (cases.path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *flags],
            cwd=cases.path,
            stdout=log,
            stderr=log,
            start_new_session=True,
            # A shell starts what it runs in the background with SIGINT ignored, which would be inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    record = cases.path / "record.jsonl"
    wait_until(lambda: record.exists() and record.read_bytes().count(b"\n") >= 3)
    [owner] = owners(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == pytest.ExitCode.INTERRUPTED, (cases.path / "log").read_text()[-3000:]
    assert not Path(f"/proc/{owner}").exists()


def test_what_the_model_warns_of_reaches_pytest(cases: pytest.Pytester) -> None:
    import llama_cpp

    if llama_cpp.llama_supports_gpu_offload():
        pytest.skip("this build of llama.cpp has nothing to warn of")
    result = run(cases, *FLAGS, "-k", "f1", "--llmc-gpu-layers=5")
    assert "this build of llama.cpp can't use one" in " ".join(text_of(result).split())


def test_the_log_of_llama_cpp(cases: pytest.Pytester) -> None:
    silent = run(cases, *FLAGS, "-k", "f1")
    assert "llama_model_loader" not in text_of(silent)
    run(cases, *FLAGS, "-k", "f1", "--llmc-model-log=llama.log")
    assert "llama_model_loader" in (cases.path / "llama.log").read_text()


def test_a_log_that_can_t_be_written(cases: pytest.Pytester) -> None:
    result = run(cases, *FLAGS, "--llmc-model-log=missing/llama.log")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "can't write llama.cpp's log" in text_of(result)
    assert_no_traceback(result)


def test_a_fixture_s_own_model_keeps_the_other_from_being_asked(cases: pytest.Pytester) -> None:
    cases.makeconftest(
        """
        import pytest
        from pytest_llmcompiler.model.reference import ReferenceModel
        @pytest.fixture(scope="session")
        def llmc_model():
            return ReferenceModel()
        """
    )
    result = run(cases, *FLAGS)
    result.assert_outcomes(passed=ITEMS)
    assert not wrote_something(result)


# -- many workers


def loads(log: Path) -> int:
    return log.read_text().count("llama_model_loader: loaded meta data")


def test_workers_share_one_model(cases: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    alone = run(cases, *FLAGS, "--llmc-cache=off")
    alone.assert_outcomes(failed=ITEMS)
    expected = told(cases)
    (cases.path / "record.jsonl").unlink()
    flags = ("--llmc-cache=off", "--llmc-model-log=llama.log", "--llmc-examples=10")
    both = cases.runpytest_subprocess(*FLAGS, *flags, "-n", "2")
    both.assert_outcomes(failed=ITEMS)
    assert wrote_something(both)
    assert told(cases) == expected
    assert loads(cases.path / "llama.log") == 1


def test_a_worker_that_dies_takes_nothing_with_it(cases: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    cases.makeconftest(
        """
        import os, signal
        def pytest_runtest_setup(item):
            if item.name.startswith("f3"):
                os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    flags = ("--llmc-model-log=llama.log", "--llmc-examples=10")
    result = cases.runpytest_subprocess(*FLAGS, *flags, "-n", "2")
    assert "crashed while running 'cases/b.c::f3" in text_of(result)
    assert result.parseoutcomes()["failed"] == ITEMS
    assert {function for function, _ in told(cases)} == {"twice", "low", "f0", "f1", "f2", "f4", "f5"}
    assert loads(cases.path / "llama.log") == 1


# -- in Python


@pytest.fixture
def model(gguf: Path) -> Iterator[OwnedModel]:
    opened = open_model(str(gguf), ModelSettings(Sampling(0.8, max_tokens=20)))
    assert isinstance(opened, OwnedModel)
    yield opened
    opened.close()


PROMPT = Prompt("a.c", "twice", "asm", "O0", "meta", CASE, lambda: "twice:\n\tretq\n")


def test_answers_come_from_another_process(model: OwnedModel) -> None:
    answers = list(model.answers(PROMPT, 4))
    assert sorted(answer.sample for answer in answers) == [0, 1, 2, 3]
    told = sum(answer.answer_tokens or 0 for answer in answers)
    assert told <= model.usage()["tokens"] <= told + 4  # an end of sequence is written too
    [owner] = owners(os.getpid())
    model.close()
    assert not Path(f"/proc/{owner}").exists()
    with pytest.raises(ModelError, match="process ended"):
        list(model.answers(replace(PROMPT, text="another"), 1))


def test_nobody_else_is_let_in(model: OwnedModel) -> None:
    folder = Path(model._address.socket).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    model.close()
    assert not folder.exists()


def test_a_client_that_says_nothing_or_nonsense_is_in_nobody_s_way(model: OwnedModel) -> None:
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as noisy:
        silent.connect(model._address.socket)
        noisy.connect(model._address.socket)
        noisy.sendall(b"\0\0\0\4oops")
        assert len(list(model.answers(PROMPT, 2))) == 2


@pytest.mark.parametrize("data", [b"", b"GGUF", b"no model at all" * 100])
def test_a_file_that_is_no_model(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)
    before = owners(os.getpid())
    with pytest.raises(ModelError, match=re.escape(str(path))):
        open_model(str(path), ModelSettings())
    assert owners(os.getpid()) == before

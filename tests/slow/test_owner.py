"""The process that owns the model: one for all workers, apart from the session, and stopping nobody."""

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
FLAGS += ("-p", "no:hypothesispytest")
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


def count_found_answers(result: pytest.RunResult) -> int:
    match = re.search(r"([\d,]+)\s+answers\s+were\s+found", text_of(result))
    return int(match[1].replace(",", "")) if match else 0


def has_generated(result: pytest.RunResult) -> bool:
    return "the model wrote" in text_of(result)


def read_answers(project: pytest.Pytester, name: str = "record.jsonl") -> dict[tuple[str, int], str]:
    return {(record["function"], record["sample"]): record["answer"] for record in records(project.path / name)}


def find_owners(parent: int | None = None) -> list[int]:
    """The process ids of all owner processes, or of those with a parent."""
    owners = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            actual_parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if b"pytest_llmcompiler.model.owner.process" in command and parent in (None, actual_parent):
            owners.append(int(process.name))
    return owners


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# -- What is generated, and what is found in the cache.


def test_a_second_session_generates_nothing(cases: pytest.Pytester) -> None:
    first = run(cases, *FLAGS)
    first.assert_outcomes(failed=ITEMS)
    answers = read_answers(cases)
    assert len(answers) == 3 * ITEMS and has_generated(first) and not count_found_answers(first)
    (cases.path / "record.jsonl").unlink()
    second = run(cases, *FLAGS)
    assert count_found_answers(second) == 3 * ITEMS and not has_generated(second)
    assert read_answers(cases) == answers


def test_only_additional_samples_are_generated(cases: pytest.Pytester) -> None:
    run(cases, *FLAGS, "--llmc-samples=2", "-k", "f1 or f2")
    answers = read_answers(cases)
    (cases.path / "record.jsonl").unlink()
    more = run(cases, *FLAGS, "--llmc-samples=4", "-k", "f1 or f2")
    assert count_found_answers(more) == 4 and has_generated(more)
    assert answers.items() < read_answers(cases).items() and len(read_answers(cases)) == 8


@pytest.mark.parametrize("other", ["--llmc-seed=2", "--llmc-temperature=0.5", "--llmc-max-tokens=30"])
def test_other_settings_find_no_answers(cases: pytest.Pytester, other: str) -> None:
    run(cases, *FLAGS, "-k", "f1")
    again = run(cases, *FLAGS, "-k", "f1", other)
    assert count_found_answers(again) == 0 and has_generated(again)


def test_refresh_generates_anew_and_off_stores_nothing(cases: pytest.Pytester) -> None:
    assert count_found_answers(run(cases, *FLAGS, "-k", "f1", "--llmc-cache=off")) == 0
    assert count_found_answers(run(cases, *FLAGS, "-k", "f1")) == 0
    refreshed = run(cases, *FLAGS, "-k", "f1", "--llmc-cache=refresh")
    assert count_found_answers(refreshed) == 0 and has_generated(refreshed)
    assert count_found_answers(run(cases, *FLAGS, "-k", "f1")) == 3


def test_deselected_items_are_not_asked(cases: pytest.Pytester) -> None:
    run(cases, *FLAGS, "-k", "f1 or f2")
    everything = run(cases, *FLAGS)
    assert count_found_answers(everything) == 6


def test_a_killed_session_loses_no_answer(cases: pytest.Pytester) -> None:
    # So many and so long that the model has not finished when the judge begins.
    options = (*FLAGS, "--llmc-samples=40", "--llmc-max-tokens=200")
    flags = [*options, "--llmc-examples=10", "-p", "no:xdist"]
    with (cases.path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "pytest", *flags], cwd=cases.path, stdout=log, stderr=log)
    record = cases.path / "record.jsonl"
    wait_until(lambda: record.exists() and record.read_bytes().count(b"\n") >= 5)
    [owner] = find_owners(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not Path(f"/proc/{owner}").exists())
    stored = read_answers(cases)
    assert 5 <= len(stored) < 40 * ITEMS
    record.unlink()
    rest = run(cases, *options)
    assert len(stored) <= count_found_answers(rest) < 40 * ITEMS and has_generated(rest)
    assert stored.items() <= read_answers(cases).items() and len(read_answers(cases)) == 40 * ITEMS


@pytest.mark.parametrize("flags", [(), ("-n", "2")], ids=["alone", "workers"])
def test_clearing_pytest_s_cache_clears_the_answers_once(cases: pytest.Pytester, flags: tuple[str, ...]) -> None:
    run(cases, *FLAGS, "-k", "f1")
    cleared = cases.runpytest_subprocess(*FLAGS, "--cache-clear", "--llmc-examples=10", *flags)
    assert count_found_answers(cleared) == 0 and has_generated(cleared)
    assert count_found_answers(run(cases, *FLAGS)) == 3 * ITEMS


def test_skipped_items_and_items_after_the_last_failure_are_not_asked(cases: pytest.Pytester) -> None:
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
    assert count_found_answers(run(cases, *FLAGS, "-x")) == 3
    assert count_found_answers(run(cases, *FLAGS)) == 6


# -- The process.


def test_a_project_s_module_does_not_hide_one_of_python(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "signal.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    model = open_model(str(gguf), ModelSettings())
    model.close()
    assert model.describe()["name"] == "random"


def test_the_owner_process_dies(cases: pytest.Pytester) -> None:
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
            # A shell starts background processes with SIGINT ignored, which would be inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    record = cases.path / "record.jsonl"
    wait_until(lambda: record.exists() and record.read_bytes().count(b"\n") >= 3)
    [owner] = find_owners(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == pytest.ExitCode.INTERRUPTED, (cases.path / "log").read_text()[-3000:]
    assert not Path(f"/proc/{owner}").exists()


def test_the_model_s_warnings_reach_pytest(cases: pytest.Pytester) -> None:
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


def test_an_unwritable_log_is_a_usage_error(cases: pytest.Pytester) -> None:
    result = run(cases, *FLAGS, "--llmc-model-log=missing/llama.log")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "can't write llama.cpp's log" in text_of(result)
    assert_no_traceback(result)


def test_a_fixture_s_model_replaces_that_of_the_flag(cases: pytest.Pytester) -> None:
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
    assert not has_generated(result)


# -- Workers of xdist.


def loads(log: Path) -> int:
    return log.read_text().count("llama_model_loader: loaded meta data")


def test_workers_share_one_model(cases: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    alone = run(cases, *FLAGS, "--llmc-cache=off")
    alone.assert_outcomes(failed=ITEMS)
    expected = read_answers(cases)
    (cases.path / "record.jsonl").unlink()
    flags = ("--llmc-cache=off", "--llmc-model-log=llama.log", "--llmc-examples=10")
    both = cases.runpytest_subprocess(*FLAGS, *flags, "-n", "2")
    both.assert_outcomes(failed=ITEMS)
    assert has_generated(both)
    assert read_answers(cases) == expected
    assert loads(cases.path / "llama.log") == 1


def test_a_worker_that_dies_loses_no_answer(cases: pytest.Pytester) -> None:
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
    assert {function for function, _ in read_answers(cases)} == {"twice", "low", "f0", "f1", "f2", "f4", "f5"}
    assert loads(cases.path / "llama.log") == 1


# -- In Python.


@pytest.fixture
def model(gguf: Path) -> Iterator[OwnedModel]:
    owned = open_model(str(gguf), ModelSettings(Sampling(0.8, max_tokens=20)))
    assert isinstance(owned, OwnedModel)
    yield owned
    owned.close()


PROMPT = Prompt(
    case="a.c",
    function="twice",
    task="asm",
    passes="O0",
    template="meta",
    text=CASE,
    reference=lambda: "twice:\n\tretq\n",
)


def test_answers_come_from_another_process(model: OwnedModel) -> None:
    answers = list(model.answers(PROMPT, 4))
    assert sorted(answer.sample for answer in answers) == [0, 1, 2, 3]
    tokens = sum(answer.answer_tokens or 0 for answer in answers)
    assert tokens <= model.usage()["tokens"] <= tokens + 4  # an end-of-sequence token counts as written
    [owner] = find_owners(os.getpid())
    model.close()
    assert not Path(f"/proc/{owner}").exists()
    with pytest.raises(ModelError, match="process ended"):
        list(model.answers(replace(PROMPT, text="another"), 1))


def test_other_users_cannot_reach_the_socket(model: OwnedModel) -> None:
    folder = Path(model.address.socket).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    model.close()
    assert not folder.exists()


def test_a_silent_and_a_broken_client_block_no_other(model: OwnedModel) -> None:
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as noisy:
        silent.connect(model.address.socket)
        noisy.connect(model.address.socket)
        noisy.sendall(b"\0\0\0\4oops")
        assert len(list(model.answers(PROMPT, 2))) == 2


@pytest.mark.parametrize("data", [b"", b"GGUF", b"no model at all" * 100])
def test_a_file_that_is_no_model_is_an_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)
    before = find_owners(os.getpid())
    with pytest.raises(ModelError, match=re.escape(str(path))):
        open_model(str(path), ModelSettings())
    assert find_owners(os.getpid()) == before

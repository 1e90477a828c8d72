"""Answers on disk: found again where nothing they depend on has changed, and never lost."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import random
import resource
import sqlite3
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmcompiler.errors import ModelError
from pytest_llmcompiler.model.answer import Answer, Question, Sampling
from pytest_llmcompiler.model.queue import answer_cache as module
from pytest_llmcompiler.model.queue.answer_cache import AnswerCache, content_hash
from pytest_llmcompiler.model.queue.job_queue import Job, JobQueue

SAMPLING = Sampling(0.8, 0.95, 400, seed=1)
IDENTITY = {"backend": "llama.cpp", "sha256": "0123", "context": 4096}
QUESTION = Question("a.c", "f", "asm", "O0", "Give the assembly of f")
NOBODY = 65534


def opened(path: Path, identity: dict[str, Any] = IDENTITY, sampling: Sampling = SAMPLING, **how: bool) -> Any:
    return closing(AnswerCache(path, identity, sampling, **how))


def answer(sample: int = 0, text: str = "f:\n\tret\n") -> Answer:
    return Answer(text, sample, "stop", 12, 34, 0.5, 987654321)


def ask(number: int) -> Question:
    return dataclasses.replace(QUESTION, text=f"question {number}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "answers.sqlite"


def test_an_answer_is_found_again_with_all_its_fields(path: Path) -> None:
    made = [answer(0), Answer("", 1), Answer("é\0\ud800", 2, "length", None, None, 0.0, 0)]
    with opened(path) as store:
        assert store.get(QUESTION, range(3)) == {}
        for one in made:
            store.put(QUESTION, one)
        assert store.get(QUESTION, [2, 0]) == {0: made[0], 2: made[2]}
    with opened(path) as store:
        assert store.get(QUESTION, range(9)) == dict(enumerate(made))


@given(text=st.text(st.characters(blacklist_categories=[])), sample=st.integers(0, 10**6))
def test_any_text_is_kept_as_it_is(tmp_path_factory: pytest.TempPathFactory, text: str, sample: int) -> None:
    with opened(tmp_path_factory.getbasetemp() / "any.sqlite") as store:
        store.put(QUESTION, Answer(text, sample))
        assert store.get(QUESTION, [sample]) == {sample: Answer(text, sample)}


OTHERS: dict[str, tuple[dict[str, Any], Sampling, Question]] = {
    "content": ({**IDENTITY, "sha256": "4567"}, SAMPLING, QUESTION),
    "backend": ({**IDENTITY, "backend": "server"}, SAMPLING, QUESTION),
    "temperature": (IDENTITY, dataclasses.replace(SAMPLING, temperature=0.7), QUESTION),
    "top-p": (IDENTITY, dataclasses.replace(SAMPLING, top_p=1.0), QUESTION),
    "limit": (IDENTITY, dataclasses.replace(SAMPLING, max_tokens=401), QUESTION),
    "no limit": (IDENTITY, dataclasses.replace(SAMPLING, max_tokens=None), QUESTION),
    "seed": (IDENTITY, dataclasses.replace(SAMPLING, seed=2), QUESTION),
    "prompt": (IDENTITY, SAMPLING, dataclasses.replace(QUESTION, text=QUESTION.text + " ")),
    "function": (IDENTITY, SAMPLING, dataclasses.replace(QUESTION, function="g")),
    "task": (IDENTITY, SAMPLING, dataclasses.replace(QUESTION, task="disasm")),
    "passes": (IDENTITY, SAMPLING, dataclasses.replace(QUESTION, passes="O2")),
    # The seed of a sample is drawn from the case's name too: found under another, it would depend on earlier sessions.
    "case": (IDENTITY, SAMPLING, dataclasses.replace(QUESTION, case="b.c")),
}


@pytest.mark.parametrize("other", OTHERS)
def test_an_answer_to_anything_else_is_not_found(path: Path, other: str) -> None:
    identity, sampling, question = OTHERS[other]
    with opened(path) as store:
        store.put(QUESTION, answer())
    with opened(path, identity, sampling) as store:
        assert store.get(question, [0]) == {}
        store.put(question, answer(text="other"))
        assert store.get(question, [0])[0].text == "other"
    with opened(path) as store:
        assert store.get(QUESTION, [0]) == {0: answer()}
        assert store.get(QUESTION, [1]) == {}


def test_what_an_answer_does_not_depend_on_is_not_asked_for(path: Path) -> None:
    with opened(path) as store:
        store.put(QUESTION, answer())
    same = dict(reversed(IDENTITY.items()))
    with opened(path, same, dataclasses.replace(SAMPLING)) as store:
        assert store.get(dataclasses.replace(QUESTION, draft="<code>f: ret</code>"), [0]) == {0: answer()}


def test_only_the_samples_that_are_new_are_made(path: Path) -> None:
    def session(samples: int) -> tuple[list[int], int]:
        """The samples that had to be made, and the count of those that were found."""
        with opened(path) as store:
            job_queue = JobQueue(store)
            job_queue.plan(QUESTION, samples, 0)
            jobs = job_queue.take(99, wait=False)
            for job in jobs:
                job_queue.deliver(job, answer(job.sample, f"{job.sample}"))
            told = sorted(job_queue.answers(QUESTION, samples), key=lambda one: one.sample)
            assert [one.text for one in told] == [f"{sample}" for sample in range(samples)]
            return [job.sample for job in jobs], job_queue.found

    assert session(3) == ([0, 1, 2], 0)
    assert session(5) == ([3, 4], 3)
    assert session(2) == ([], 2)


def test_a_refresh_finds_only_what_is_made_after_it(path: Path) -> None:
    with opened(path) as store:
        for sample in range(3):
            store.put(QUESTION, answer(sample, "old"))
    with opened(path, refresh=True) as store:
        assert store.get(QUESTION, range(3)) == {}
        store.put(QUESTION, answer(2, "new"))
        store.put(QUESTION, answer(0, "new"))
        assert {sample: one.text for sample, one in store.get(QUESTION, range(3)).items()} == {0: "new", 2: "new"}
    with opened(path) as store:
        assert [store.get(QUESTION, range(3))[sample].text for sample in range(3)] == ["new", "old", "new"]
    with opened(path, refresh=True) as store:
        assert store.get(QUESTION, range(3)) == {}


def test_a_refresh_of_an_empty_store_is_one(path: Path) -> None:
    with opened(path, refresh=True) as store:
        store.put(QUESTION, answer())
        assert store.get(QUESTION, [0]) == {0: answer()}


def test_fifty_thousand_samples_of_assembly_take_little_room(path: Path) -> None:
    text = "".join(f"\tmovq\t%rax, -{8 * number}(%rbp)\n\taddl\t${number}, %eax\n" for number in range(100))
    with opened(path) as store:
        for sample in range(200):
            store.put(QUESTION, answer(sample, text))
    assert path.stat().st_size < 200 * len(text) / 2


# Several at a time.


def test_threads_share_a_store(path: Path) -> None:
    faults: list[BaseException] = []

    def write_and_read(number: int) -> None:
        try:
            for sample in range(50):
                store.put(ask(number), answer(sample, f"{number} {sample}"))
                assert store.get(ask(number), [sample])[sample].text == f"{number} {sample}"
        except BaseException as fault:
            faults.append(fault)

    with opened(path) as store:
        threads = [threading.Thread(target=write_and_read, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not faults
    with opened(path) as store:
        assert [len(store.get(ask(number), range(50))) for number in range(4)] == [50] * 4


SPAWN = multiprocessing.get_context("spawn")


def write_many(path: Path, number: int, start: Any, to: Connection) -> None:
    """Open the store at the same moment as others do, and write to it."""
    warnings.simplefilter("error")
    start.wait(60)
    with opened(path) as store:
        for sample in range(100):
            store.put(ask(number), answer(sample, f"{number} {sample}"))
            store.put(ask(99), answer(sample, "the same"))
    to.send("done")


def test_processes_that_write_at_a_time_lose_nothing(path: Path) -> None:
    writers = 3
    start = SPAWN.Barrier(writers)
    pipes = [SPAWN.Pipe(duplex=False) for _ in range(writers)]
    processes = [
        SPAWN.Process(target=write_many, args=(path, number, start, pipe)) for number, (_, pipe) in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * writers
    with opened(path) as store:
        for number in range(writers):
            found = store.get(ask(number), range(100))
            assert [found[sample].text for sample in range(100)] == [f"{number} {sample}" for sample in range(100)]
        assert len(store.get(ask(99), range(100))) == 100


def long_text(sample: int) -> str:
    """One that takes a while to write, and that nothing makes smaller."""
    return random.Random(sample).randbytes(60_000).hex()


def write_for_ever(path: Path, to: Connection) -> None:
    with opened(path) as store:
        for sample in range(10**6):
            store.put(QUESTION, answer(sample, long_text(sample)))
            to.send(sample)


@pytest.mark.parametrize("written", [1, 20, 90])
def test_a_writer_that_is_killed_leaves_all_that_it_put(path: Path, written: int) -> None:
    kept = -1
    for _ in range(2):  # the second finds what the first left
        reader, writer = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(target=write_for_ever, args=(path, writer))
        process.start()
        writer.close()
        while (told := reader.recv()) < written:
            pass
        process.kill()
        process.join(60)
        with pytest.raises(EOFError):  # what it told before it died
            while True:
                told = reader.recv()
        kept = max(kept, told)
        with opened(path) as store:
            found = store.get(QUESTION, range(kept + 1))
            assert found == {sample: answer(sample, long_text(sample)) for sample in range(kept + 1)}
            store.put(QUESTION, answer(10**6))
            assert store.get(QUESTION, [10**6]) == {10**6: answer(10**6)}
    assert kept >= written


# What can be in the way.


def of_another_layout(path: Path) -> None:
    with opened(path):
        pass
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")


def of_somebody_else(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE theirs (x)")


def of_the_same_layout_without_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE theirs (x)")
        database.execute("PRAGMA user_version = 1")


DAMAGES: list[Callable[[Path], object]] = [
    lambda path: path.write_bytes(b"not a database at all" * 100),
    lambda path: path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000),
    Path.mkdir,
    of_another_layout,
    of_somebody_else,
    of_the_same_layout_without_tables,
]


@pytest.mark.parametrize(
    "damage", DAMAGES, ids=["text", "noise", "folder", "other layout", "other tables", "no tables"]
)
def test_what_can_t_be_used_is_an_error_that_says_what_to_do(path: Path, damage: Callable[[Path], object]) -> None:
    path.parent.mkdir()
    damage(path)
    message = r"/answers\.sqlite, .*; remove it, .*--llmc-cache off"
    with pytest.raises(ModelError, match=message):
        AnswerCache(path, IDENTITY, SAMPLING)
    with pytest.raises(ModelError, match=message):
        content_hash(Path(__file__), path)
    path.rmdir() if path.is_dir() else path.unlink()
    with opened(path) as store:
        store.put(QUESTION, answer())
        assert store.get(QUESTION, [0]) == {0: answer()}


def cut_short(data: bytes) -> bytes:
    return data[:20_000]


def spoilt(data: bytes) -> bytes:
    whole = 8192  # the first pages say what tables there are
    return data[:whole] + b"\xee" * (len(data) - whole)


@pytest.mark.parametrize("damage", [cut_short, spoilt])
def test_damage_that_is_met_later_is_an_error_too(path: Path, damage: Callable[[bytes], bytes]) -> None:
    with opened(path) as store:
        for sample in range(60):
            store.put(QUESTION, answer(sample, long_text(sample)))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=r"/answers\.sqlite, .*remove it"), opened(path) as store:
        store.get(QUESTION, range(60))


def test_text_that_is_damaged_is_an_error(path: Path) -> None:
    with opened(path) as store:
        store.put(QUESTION, answer())
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE answers SET text = x'00'")
    with opened(path) as store, pytest.raises(ModelError, match=r"/answers\.sqlite, .*remove it"):
        store.get(QUESTION, [0])


@pytest.fixture
def foreign() -> Iterator[Path]:
    """A folder that a user without rights can enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def without_rights(*paths: Path) -> Iterator[None]:
    """Nothing may be written at the paths: not by root either, who is somebody else for the time."""
    modes = [(path, path.stat().st_mode) for path in paths]
    for path, mode in modes:
        path.chmod(mode & 0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for path, mode in modes:
            path.chmod(mode)


@pytest.mark.parametrize("closed", ["file", "folder", "both"])
def test_a_store_that_is_read_only_is_read_and_warns_once(foreign: Path, closed: str) -> None:
    path = foreign / "answers.sqlite"
    with opened(path) as store:
        store.put(QUESTION, answer())
    if os.geteuid() == 0:
        os.chown(foreign, NOBODY, NOBODY)
        os.chown(path, NOBODY, NOBODY)
    paths = {"file": [path], "folder": [foreign], "both": [foreign, path]}[closed]
    with without_rights(*paths), opened(path) as store:
        assert store.get(QUESTION, [0, 1]) == {0: answer()}
        with pytest.warns(UserWarning, match=r"can't keep answers in .*/answers\.sqlite: attempt to write a") as warned:
            for _ in range(3):
                store.put(QUESTION, answer(1))
        assert len(warned) == 1
        assert store.get(QUESTION, [0, 1]) == {0: answer()}
        assert content_hash(Path(__file__), path) == content_hash(Path(__file__), path)


def test_a_store_that_a_killed_writer_left_is_read_where_nothing_may_be_written_and_can_be_removed(
    foreign: Path,
) -> None:
    path = foreign / "answers.sqlite"
    reader, writer = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=write_for_ever, args=(path, writer))
    process.start()
    reader.recv()
    process.kill()
    process.join(60)
    assert {file.name for file in foreign.iterdir()} > {path.name}
    with without_rights(foreign, *foreign.iterdir()), opened(path) as store:
        assert store.get(QUESTION, [0]) == {0: answer(0, long_text(0))}
    path.unlink()  # and not what lies beside it
    with opened(path) as store:
        assert store.get(QUESTION, [0]) == {}
        store.put(QUESTION, answer())
    with opened(path) as store:
        assert store.get(QUESTION, [0]) == {0: answer()}


def test_where_no_store_can_be_made_answers_last_as_long_as_the_session(foreign: Path) -> None:
    path = foreign / "new" / "answers.sqlite"
    with without_rights(foreign):
        with pytest.warns(
            UserWarning, match=r"can't keep answers in .*/answers\.sqlite: .*Permission denied"
        ) as warned:
            store = AnswerCache(path, IDENTITY, SAMPLING)
            store.put(QUESTION, answer())
        assert len(warned) == 1
        assert store.get(QUESTION, [0]) == {0: answer()}
        store.close()
        assert len(content_hash(Path(__file__), path)) == 64
    assert list(foreign.iterdir()) == []


def test_a_store_that_may_not_be_read_is_an_error(foreign: Path) -> None:
    path = foreign / "answers.sqlite"
    with opened(path):
        pass
    path.chmod(0)
    with without_rights(foreign, path), pytest.raises(ModelError, match=r"/answers\.sqlite, .*--llmc-cache off"):
        AnswerCache(path, IDENTITY, SAMPLING)


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file can grow beyond a size in bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_costs_no_answer_of_the_session(path: Path) -> None:
    with opened(path) as store:
        job_queue = JobQueue(store)
        job_queue.plan(QUESTION, 50, 0)
        with full_disk(1_000_000), pytest.warns(UserWarning, match=r"can't keep answers in .*sqlite: ") as warned:
            for job in job_queue.take(50, wait=False):
                job_queue.deliver(job, answer(job.sample, long_text(job.sample)))
        assert len(warned) == 1
        assert {one.sample: one.text for one in job_queue.answers(QUESTION, 50)} == {n: long_text(n) for n in range(50)}
        kept = store.get(QUESTION, range(50))
        assert 0 < len(kept) < 50
        assert all(one.text == long_text(sample) for sample, one in kept.items())
    with opened(path) as store:
        assert store.get(QUESTION, range(50)) == kept
        store.put(QUESTION, answer(49))
        assert store.get(QUESTION, [49]) == {49: answer(49)}


def test_a_disk_that_is_full_from_the_start_is_a_warning(path: Path) -> None:
    with full_disk(0), pytest.warns(UserWarning, match="can't keep answers in"), opened(path) as store:
        store.put(QUESTION, answer())
        assert store.get(QUESTION, [0]) == {0: answer()}
    with opened(path) as store:
        assert store.get(QUESTION, [0]) == {}
        store.put(QUESTION, answer())
        assert store.get(QUESTION, [0]) == {0: answer()}


def test_another_process_that_never_ends_writing_stops_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.1)
    monkeypatch.setattr(module, "_RESPITE", 10**6)
    with opened(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        store.put(QUESTION, answer())
        other.execute("BEGIN IMMEDIATE")
        with pytest.warns(UserWarning, match=r"can't keep answers in .*locked") as warned:
            for sample in range(1, 100):
                store.put(QUESTION, answer(sample))
        assert len(warned) == 1
        assert store.get(QUESTION, range(100)) == {0: answer()}
        other.execute("COMMIT")
        store.put(QUESTION, answer(1))  # it doesn't wait again so soon, not even to see whether it would have to
        assert store.get(QUESTION, range(100)) == {0: answer()}


def test_answers_are_kept_again_when_the_other_has_ended(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.1)
    monkeypatch.setattr(module, "_RESPITE", 0)
    with opened(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.warns(UserWarning, match="locked"):
            store.put(QUESTION, answer())
        other.execute("COMMIT")
        store.put(QUESTION, answer(1))
        assert store.get(QUESTION, range(9)) == {1: answer(1)}


# What a model's file holds.


def file_of(path: Path, data: bytes, changed: int = 10**18) -> Path:
    path.write_bytes(data)
    os.utime(path, ns=(changed, changed))
    return path


def test_the_hash_of_a_file_is_that_of_its_content(tmp_path: Path, path: Path) -> None:
    # The value for "abc" is from FIPS 180-2, appendix B.1.
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    for name in ("one.gguf", "two.gguf"):
        assert content_hash(file_of(tmp_path / name, b"abc"), path) == expected
    assert content_hash(file_of(tmp_path / "one.gguf", b"abd"), tmp_path / "other.sqlite") != expected
    assert len({content_hash(file_of(tmp_path / "x", bytes(size)), path) for size in (0, 1 << 20, 3 << 20)}) == 3


def test_a_file_that_did_not_change_is_not_read_again(tmp_path: Path, path: Path) -> None:
    file = file_of(tmp_path / "model.gguf", b"abc")
    first = content_hash(file, path)
    file_of(file, b"xyz")  # of the same size, time and inode: only who reads it could know
    assert content_hash(file, path) == first
    assert content_hash(tmp_path / "." / "model.gguf", path) == first
    (tmp_path / "link.gguf").symlink_to(file)
    assert content_hash(tmp_path / "link.gguf", path) == first


@pytest.mark.parametrize("change", ["size", "time", "inode"])
def test_a_file_that_changed_is_read_again(tmp_path: Path, path: Path, change: str) -> None:
    file = file_of(tmp_path / "model.gguf", b"abc")
    first = content_hash(file, path)
    if change == "inode":
        file_of(tmp_path / "new", b"xyz").replace(file)
    else:
        file_of(file, b"xyz" * (1 + (change == "size")), 10**18 + (change == "time"))
    changed = content_hash(file, path)
    assert changed != first
    assert content_hash(file, tmp_path / "other.sqlite") == changed
    # What it was before is no longer known, so it can't come back by mistake.
    assert content_hash(file, path) == changed


def test_a_file_that_was_just_written_is_not_trusted_to_stay(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SETTLED", 600 * 10**9)
    file, now = tmp_path / "model.gguf", time.time_ns()
    # The clock of a file system is coarse: what is written at once may have the same time.
    assert content_hash(file_of(file, b"abc", now), path) != content_hash(file_of(file, b"xyz", now), path)


def test_the_hash_and_the_answers_are_in_one_file(tmp_path: Path, path: Path) -> None:
    file = file_of(tmp_path / "model.gguf", b"abc")
    with opened(path) as store:
        store.put(QUESTION, answer())
        first = content_hash(file, path)
        assert store.get(QUESTION, [0]) == {0: answer()}
    file_of(file, b"xyz")
    assert content_hash(file, path) == first
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_job_names_the_sample_that_is_kept(path: Path) -> None:
    with opened(path) as store:
        job_queue = JobQueue(store)
        job_queue.plan(QUESTION, 2, 0)
        job_queue.deliver(Job(QUESTION, 1), answer(1))
        assert store.get(QUESTION, range(2)) == {1: answer(1)}

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
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmcompiler.errors import ModelError
from pytest_llmcompiler.model.answer import Answer, Question, Sampling
from pytest_llmcompiler.model.queue.answer_cache import AnswerCache
from pytest_llmcompiler.model.queue.file_hash import hash_file
from pytest_llmcompiler.model.queue.job_queue import Job, JobQueue

SAMPLING = Sampling(0.8, 0.95, 400, seed=1)
IDENTITY = {"backend": "llama.cpp", "sha256": "0123", "context": 4096}
QUESTION = Question(case="a.c", function="f", task="asm", passes="O0", text="Give the assembly of f")
NOBODY = 65534


def open_cache(path: Path, identity: dict[str, Any] = IDENTITY, sampling: Sampling = SAMPLING, **options: Any) -> Any:
    return closing(AnswerCache(path, identity, sampling, **options))


def build_answer(sample: int = 0, text: str = "f:\n\tret\n") -> Answer:
    return Answer(
        text=text,
        sample=sample,
        stop="stop",
        prompt_tokens=12,
        answer_tokens=34,
        seconds=0.5,
        seed=987654321,
    )


def ask(number: int) -> Question:
    return dataclasses.replace(QUESTION, text=f"question {number}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "answers.sqlite"


def test_an_answer_is_found_again_with_all_its_fields(path: Path) -> None:
    answers = [build_answer(0), Answer("", 1), Answer("é\0\ud800", 2, "length", seconds=0.0, seed=0)]
    with open_cache(path) as cache:
        assert cache.get(QUESTION, range(3)) == {}
        for answer in answers:
            cache.put(QUESTION, answer)
        assert cache.get(QUESTION, [2, 0]) == {0: answers[0], 2: answers[2]}
    with open_cache(path) as cache:
        assert cache.get(QUESTION, range(9)) == dict(enumerate(answers))


@settings(deadline=None)  # writing to a disk takes as long as it takes
@given(text=st.text(st.characters(blacklist_categories=[])), sample=st.integers(0, 10**6))
def test_any_text_is_stored_unchanged(tmp_path_factory: pytest.TempPathFactory, text: str, sample: int) -> None:
    with open_cache(tmp_path_factory.getbasetemp() / "any.sqlite") as cache:
        cache.put(QUESTION, Answer(text, sample))
        assert cache.get(QUESTION, [sample]) == {sample: Answer(text, sample)}


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
def test_an_answer_to_another_question_or_of_another_model_is_not_found(path: Path, other: str) -> None:
    identity, sampling, question = OTHERS[other]
    with open_cache(path) as cache:
        cache.put(QUESTION, build_answer())
    with open_cache(path, identity, sampling) as cache:
        assert cache.get(question, [0]) == {}
        cache.put(question, build_answer(text="other"))
        assert cache.get(question, [0])[0].text == "other"
    with open_cache(path) as cache:
        assert cache.get(QUESTION, [0]) == {0: build_answer()}
        assert cache.get(QUESTION, [1]) == {}


def test_a_draft_and_the_order_of_facts_do_not_matter(path: Path) -> None:
    with open_cache(path) as cache:
        cache.put(QUESTION, build_answer())
    same = dict(reversed(IDENTITY.items()))
    with open_cache(path, same, dataclasses.replace(SAMPLING)) as cache:
        assert cache.get(dataclasses.replace(QUESTION, draft="<code>f: ret</code>"), [0]) == {0: build_answer()}


def test_only_new_samples_are_generated(path: Path) -> None:
    def session(samples: int) -> tuple[list[int], int]:
        """The samples that were generated, and the number of those that were found."""
        with open_cache(path) as cache:
            job_queue = JobQueue(cache)
            job_queue.plan(QUESTION, samples, 0)
            jobs = job_queue.take(99, wait=False)
            for job in jobs:
                job_queue.deliver(job, build_answer(job.sample, f"{job.sample}"))
            answers = sorted(job_queue.answers(QUESTION, samples), key=lambda answer: answer.sample)
            assert [answer.text for answer in answers] == [f"{sample}" for sample in range(samples)]
            return [job.sample for job in jobs], job_queue.found_in_store

    assert session(3) == ([0, 1, 2], 0)
    assert session(5) == ([3, 4], 3)
    assert session(2) == ([], 2)


def test_a_refresh_finds_only_later_answers(path: Path) -> None:
    with open_cache(path) as cache:
        for sample in range(3):
            cache.put(QUESTION, build_answer(sample, "old"))
    with open_cache(path, refresh=True) as cache:
        assert cache.get(QUESTION, range(3)) == {}
        cache.put(QUESTION, build_answer(2, "new"))
        cache.put(QUESTION, build_answer(0, "new"))
        assert {sample: answer.text for sample, answer in cache.get(QUESTION, range(3)).items()} == {0: "new", 2: "new"}
    with open_cache(path) as cache:
        assert [cache.get(QUESTION, range(3))[sample].text for sample in range(3)] == ["new", "old", "new"]
    with open_cache(path, refresh=True) as cache:
        assert cache.get(QUESTION, range(3)) == {}


def test_a_refresh_of_an_empty_cache(path: Path) -> None:
    with open_cache(path, refresh=True) as cache:
        cache.put(QUESTION, build_answer())
        assert cache.get(QUESTION, [0]) == {0: build_answer()}


def test_assembly_is_stored_in_half_its_size(path: Path) -> None:
    text = "".join(f"\tmovq\t%rax, -{8 * number}(%rbp)\n\taddl\t${number}, %eax\n" for number in range(100))
    with open_cache(path) as cache:
        for sample in range(200):
            cache.put(QUESTION, build_answer(sample, text))
    assert path.stat().st_size < 200 * len(text) / 2


# Several threads and processes.


def test_threads_share_a_cache(path: Path) -> None:
    errors: list[BaseException] = []

    def write_and_read(number: int) -> None:
        try:
            for sample in range(50):
                cache.put(ask(number), build_answer(sample, f"{number} {sample}"))
                assert cache.get(ask(number), [sample])[sample].text == f"{number} {sample}"
        except BaseException as error:
            errors.append(error)

    with open_cache(path) as cache:
        threads = [threading.Thread(target=write_and_read, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors
    with open_cache(path) as cache:
        assert [len(cache.get(ask(number), range(50))) for number in range(4)] == [50] * 4


SPAWN = multiprocessing.get_context("spawn")


def write_many(path: Path, number: int, start: Any, to: Connection) -> None:
    """Open the cache at the same moment as other processes do, and write to it."""
    warnings.simplefilter("error")
    start.wait(60)
    with open_cache(path) as cache:
        for sample in range(100):
            cache.put(ask(number), build_answer(sample, f"{number} {sample}"))
            cache.put(ask(99), build_answer(sample, "the same"))
    to.send("done")


def test_processes_that_write_at_the_same_time_lose_nothing(path: Path) -> None:
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
    with open_cache(path) as cache:
        for number in range(writers):
            answers = cache.get(ask(number), range(100))
            assert [answers[sample].text for sample in range(100)] == [f"{number} {sample}" for sample in range(100)]
        assert len(cache.get(ask(99), range(100))) == 100


def create_long_text(sample: int) -> str:
    """A text that takes some time to write, and that does not compress."""
    return random.Random(sample).randbytes(60_000).hex()


def write_for_ever(path: Path, to: Connection) -> None:
    with open_cache(path) as cache:
        for sample in range(10**6):
            cache.put(QUESTION, build_answer(sample, create_long_text(sample)))
            to.send(sample)


@pytest.mark.parametrize("written", [1, 20, 90])
def test_a_killed_writer_leaves_all_that_it_wrote(path: Path, written: int) -> None:
    stored = -1
    for _ in range(2):  # the second writer finds what the first left
        reader, writer = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(target=write_for_ever, args=(path, writer))
        process.start()
        writer.close()
        while (received := reader.recv()) < written:
            pass
        process.kill()
        process.join(60)
        with pytest.raises(EOFError):  # what it sent before it died
            while True:
                received = reader.recv()
        stored = max(stored, received)
        with open_cache(path) as cache:
            answers = cache.get(QUESTION, range(stored + 1))
            assert answers == {sample: build_answer(sample, create_long_text(sample)) for sample in range(stored + 1)}
            cache.put(QUESTION, build_answer(10**6))
            assert cache.get(QUESTION, [10**6]) == {10**6: build_answer(10**6)}
    assert stored >= written


# Damaged and unusable databases.


def create_other_layout(path: Path) -> None:
    with open_cache(path):
        pass
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")


def create_other_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE other (x)")


def create_same_layout_without_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE other (x)")
        database.execute("PRAGMA user_version = 1")


def create_table_without_a_column(path: Path) -> None:
    with open_cache(path):
        pass
    with closing(sqlite3.connect(path)) as database:
        database.execute("ALTER TABLE answers DROP COLUMN seconds")


DAMAGES: list[Callable[[Path], object]] = [
    lambda path: path.write_bytes(b"not a database at all" * 100),
    lambda path: path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000),
    Path.mkdir,
    create_other_layout,
    create_other_tables,
    create_same_layout_without_tables,
    create_table_without_a_column,
]


@pytest.mark.parametrize(
    "damage", DAMAGES, ids=["text", "noise", "folder", "other layout", "other tables", "no tables", "no column"]
)
def test_an_unusable_database_is_an_error_that_says_what_to_do(path: Path, damage: Callable[[Path], object]) -> None:
    path.parent.mkdir()
    damage(path)
    message = r"/answers\.sqlite, .*; remove it, .*--llmc-cache off"
    with pytest.raises(ModelError, match=message):
        AnswerCache(path, IDENTITY, SAMPLING)
    with pytest.raises(ModelError, match=message):
        hash_file(Path(__file__), path)
    path.rmdir() if path.is_dir() else path.unlink()
    with open_cache(path) as cache:
        cache.put(QUESTION, build_answer())
        assert cache.get(QUESTION, [0]) == {0: build_answer()}


def truncate(data: bytes) -> bytes:
    return data[:20_000]


def overwrite(data: bytes) -> bytes:
    whole = 8192  # the first pages describe the tables
    return data[:whole] + b"\xee" * (len(data) - whole)


@pytest.mark.parametrize("damage", [truncate, overwrite])
def test_damage_found_later_is_an_error_too(path: Path, damage: Callable[[bytes], bytes]) -> None:
    with open_cache(path) as cache:
        for sample in range(60):
            cache.put(QUESTION, build_answer(sample, create_long_text(sample)))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=r"/answers\.sqlite, .*remove it"), open_cache(path) as cache:
        cache.get(QUESTION, range(60))


def test_a_damaged_text_is_an_error(path: Path) -> None:
    with open_cache(path) as cache:
        cache.put(QUESTION, build_answer())
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE answers SET text = x'00'")
    with open_cache(path) as cache, pytest.raises(ModelError, match=r"/answers\.sqlite, .*remove it"):
        cache.get(QUESTION, [0])


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that an unprivileged user can enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def read_only(*paths: Path) -> Iterator[None]:
    """Nobody may write at the paths: not root either, which becomes another user meanwhile."""
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
def test_a_read_only_cache_is_read_and_warns_once(open_folder: Path, closed: str) -> None:
    path = open_folder / "answers.sqlite"
    with open_cache(path) as cache:
        cache.put(QUESTION, build_answer())
    if os.geteuid() == 0:
        os.chown(open_folder, NOBODY, NOBODY)
        os.chown(path, NOBODY, NOBODY)
    paths = {"file": [path], "folder": [open_folder], "both": [open_folder, path]}[closed]
    with read_only(*paths), open_cache(path) as cache:
        assert cache.get(QUESTION, [0, 1]) == {0: build_answer()}
        with pytest.warns(
            UserWarning, match=r"can't keep answers in .*/answers\.sqlite: attempt to write a"
        ) as warnings_seen:
            for _ in range(3):
                cache.put(QUESTION, build_answer(1))
        assert len(warnings_seen) == 1
        assert cache.get(QUESTION, [0, 1]) == {0: build_answer()}
        assert hash_file(Path(__file__), path) == hash_file(Path(__file__), path)


def test_a_killed_writer_s_cache_can_be_read_only_or_removed(
    open_folder: Path,
) -> None:
    path = open_folder / "answers.sqlite"
    reader, writer = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=write_for_ever, args=(path, writer))
    process.start()
    reader.recv()
    process.kill()
    process.join(60)
    assert {file.name for file in open_folder.iterdir()} > {path.name}
    with read_only(open_folder, *open_folder.iterdir()), open_cache(path) as cache:
        assert cache.get(QUESTION, [0]) == {0: build_answer(0, create_long_text(0))}
    path.unlink()  # but not the files beside it
    with open_cache(path) as cache:
        assert cache.get(QUESTION, [0]) == {}
        cache.put(QUESTION, build_answer())
    with open_cache(path) as cache:
        assert cache.get(QUESTION, [0]) == {0: build_answer()}


def test_where_no_cache_can_be_created_answers_last_for_the_session(open_folder: Path) -> None:
    path = open_folder / "new" / "answers.sqlite"
    with read_only(open_folder):
        with pytest.warns(
            UserWarning, match=r"can't keep answers in .*/answers\.sqlite: .*Permission denied"
        ) as warnings_seen:
            cache = AnswerCache(path, IDENTITY, SAMPLING)
            cache.put(QUESTION, build_answer())
        assert len(warnings_seen) == 1
        assert cache.get(QUESTION, [0]) == {0: build_answer()}
        cache.close()
        assert len(hash_file(Path(__file__), path)) == 64
    assert list(open_folder.iterdir()) == []


def test_an_unreadable_cache_is_an_error(open_folder: Path) -> None:
    path = open_folder / "answers.sqlite"
    with open_cache(path):
        pass
    path.chmod(0)
    with read_only(open_folder, path), pytest.raises(ModelError, match=r"/answers\.sqlite, .*--llmc-cache off"):
        AnswerCache(path, IDENTITY, SAMPLING)


@contextmanager
def limit_file_size(size: int) -> Iterator[None]:
    """No file can grow beyond a size in bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_loses_no_answer_of_the_session(path: Path) -> None:
    with open_cache(path) as cache:
        job_queue = JobQueue(cache)
        job_queue.plan(QUESTION, 50, 0)
        with (
            limit_file_size(1_000_000),
            pytest.warns(UserWarning, match=r"can't keep answers in .*sqlite: ") as warnings_seen,
        ):
            for job in job_queue.take(50, wait=False):
                job_queue.deliver(job, build_answer(job.sample, create_long_text(job.sample)))
        assert len(warnings_seen) == 1
        assert {answer.sample: answer.text for answer in job_queue.answers(QUESTION, 50)} == {
            n: create_long_text(n) for n in range(50)
        }
        stored = cache.get(QUESTION, range(50))
        assert 0 < len(stored) < 50
        assert all(answer.text == create_long_text(sample) for sample, answer in stored.items())
    with open_cache(path) as cache:
        assert cache.get(QUESTION, range(50)) == stored
        cache.put(QUESTION, build_answer(49))
        assert cache.get(QUESTION, [49]) == {49: build_answer(49)}


def test_a_disk_that_is_full_from_the_start_is_a_warning(path: Path) -> None:
    with limit_file_size(0), pytest.warns(UserWarning, match="can't keep answers in"), open_cache(path) as cache:
        cache.put(QUESTION, build_answer())
        assert cache.get(QUESTION, [0]) == {0: build_answer()}
    with open_cache(path) as cache:
        assert cache.get(QUESTION, [0]) == {}
        cache.put(QUESTION, build_answer())
        assert cache.get(QUESTION, [0]) == {0: build_answer()}


def test_a_process_that_never_ends_writing_blocks_no_other(path: Path) -> None:
    with (
        open_cache(path, lock_timeout=0.1, backoff=10**6) as cache,
        closing(sqlite3.connect(path, isolation_level=None)) as writer,
    ):
        cache.put(QUESTION, build_answer())
        writer.execute("BEGIN IMMEDIATE")
        with pytest.warns(UserWarning, match=r"can't keep answers in .*locked") as warnings_seen:
            for sample in range(1, 100):
                cache.put(QUESTION, build_answer(sample))
        assert len(warnings_seen) == 1
        assert cache.get(QUESTION, range(100)) == {0: build_answer()}
        writer.execute("COMMIT")
        cache.put(QUESTION, build_answer(1))  # not even tried again so soon
        assert cache.get(QUESTION, range(100)) == {0: build_answer()}


def test_answers_are_stored_again_once_the_other_process_has_ended(path: Path) -> None:
    with (
        open_cache(path, lock_timeout=0.1, backoff=0) as cache,
        closing(sqlite3.connect(path, isolation_level=None)) as writer,
    ):
        writer.execute("BEGIN IMMEDIATE")
        with pytest.warns(UserWarning, match="locked"):
            cache.put(QUESTION, build_answer())
        writer.execute("COMMIT")
        cache.put(QUESTION, build_answer(1))
        assert cache.get(QUESTION, range(9)) == {1: build_answer(1)}


# The hash of a model file.


def write_file(path: Path, data: bytes, changed: int = 10**18) -> Path:
    path.write_bytes(data)
    os.utime(path, ns=(changed, changed))
    return path


def test_the_hash_of_a_file_depends_on_its_content_alone(tmp_path: Path, path: Path) -> None:
    # The value for "abc" is from FIPS 180-2, appendix B.1.
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    for name in ("one.gguf", "two.gguf"):
        assert hash_file(write_file(tmp_path / name, b"abc"), path) == expected
    assert hash_file(write_file(tmp_path / "one.gguf", b"abd"), tmp_path / "other.sqlite") != expected
    assert len({hash_file(write_file(tmp_path / "x", bytes(size)), path) for size in (0, 1 << 20, 3 << 20)}) == 3


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, path: Path) -> None:
    file = write_file(tmp_path / "model.gguf", b"abc")
    first = hash_file(file, path)
    write_file(file, b"xyz")  # same size, time and inode: only reading it could tell
    assert hash_file(file, path) == first
    assert hash_file(tmp_path / "." / "model.gguf", path) == first
    (tmp_path / "link.gguf").symlink_to(file)
    assert hash_file(tmp_path / "link.gguf", path) == first


@pytest.mark.parametrize("change", ["size", "time", "inode"])
def test_a_changed_file_is_read_again(tmp_path: Path, path: Path, change: str) -> None:
    file = write_file(tmp_path / "model.gguf", b"abc")
    first = hash_file(file, path)
    if change == "inode":
        write_file(tmp_path / "new", b"xyz").replace(file)
    else:
        write_file(file, b"xyz" * (1 + (change == "size")), 10**18 + (change == "time"))
    changed = hash_file(file, path)
    assert changed != first
    assert hash_file(file, tmp_path / "other.sqlite") == changed
    # The former hash is forgotten, so it can't come back by mistake.
    assert hash_file(file, path) == changed


def test_the_hash_of_a_file_just_written_is_not_remembered(tmp_path: Path, path: Path) -> None:
    file, now, ten_minutes = tmp_path / "model.gguf", time.time_ns(), 600 * 10**9
    # The clock of a file system is coarse: two writes in a row may have the same time.
    hashes = [hash_file(write_file(file, data, now), path, ten_minutes) for data in (b"abc", b"xyz")]
    assert hashes[0] != hashes[1]


def test_hashes_and_answers_share_one_database(tmp_path: Path, path: Path) -> None:
    file = write_file(tmp_path / "model.gguf", b"abc")
    with open_cache(path) as cache:
        cache.put(QUESTION, build_answer())
        first = hash_file(file, path)
        assert cache.get(QUESTION, [0]) == {0: build_answer()}
    write_file(file, b"xyz")
    assert hash_file(file, path) == first
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_delivered_job_is_stored_under_its_sample(path: Path) -> None:
    with open_cache(path) as cache:
        job_queue = JobQueue(cache)
        job_queue.plan(QUESTION, 2, 0)
        job_queue.deliver(Job(QUESTION, 1), build_answer(1))
        assert cache.get(QUESTION, range(2)) == {1: build_answer(1)}

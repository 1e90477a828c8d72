"""Corpora on disk: generated once, replaced when out of date, and safe to read whatever a file has."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
import shutil
import subprocess
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faces import Compile

from pytest_llmcompiler import cache_files
from pytest_llmcompiler.corpus import store
from pytest_llmcompiler.corpus.fuzzer import Corpus
from pytest_llmcompiler.corpus.store import CorpusFile, SavedCorpus
from pytest_llmcompiler.files import cache_folder
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.values.input import Input

SOURCE = r"""
struct node { struct node *next; int value; };
static struct node *spare;
int total(const struct node *list, const int *extra, int m) {
    return (spare ? 1 : 0) ^ (list ? list->value : 0) ^ (m > 2 ? extra[2] : 0);
}
int applied(int (*f)(int), int x) { return f(x); }
int same(int x) { return x; }
"""
FEW = JudgeSettings(examples=12)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of corpora in an empty cache."""
    monkeypatch.setenv("LLMC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "corpora"


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The random seeds of the searches for inputs, in order."""
    seeds: list[int] = []
    explore = Corpus.explore

    def record_seed(corpus: Corpus[Any], inputs: Any, examples: int, seed: int, *phase: Any) -> None:
        seeds.append(seed)
        explore(corpus, inputs, examples, seed, *phase)

    monkeypatch.setattr(Corpus, "explore", record_seed)
    return seeds


@pytest.fixture(scope="module")
def program(compiled: Compile) -> Reference:
    return compiled(SOURCE)


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


def corpus(reference: Reference, function: str = "total", settings: JudgeSettings = FEW) -> list[Input]:
    """The inputs of a new harness that has no suite in the cache."""
    shutil.rmtree(cache_folder() / "suites", ignore_errors=True)
    return list(Harness(reference, function, settings).corpus.entries)


def test_a_corpus_is_generated_once(program: Reference, folder: Path, generated: list[int]) -> None:
    for function in ("total", "applied"):
        generated.clear()
        first = corpus(program, function)
        assert generated
        generated.clear()
        assert corpus(program, function) == first
        assert not generated
    assert len(files(folder)) == 2


def test_the_folder_of_a_case_does_not_matter(folder: Path, generated: list[int], tmp_path: Path) -> None:
    for place in ("here/a.c", "some/where/else/b.c"):
        path = tmp_path / place
        path.parent.mkdir(parents=True)
        path.write_text(SOURCE)
        assert corpus(Reference(read_case(path), Toolchain()))
        assert len(files(folder)) == 1
    assert len(generated) == 2, "one corpus is explored in two parts"


CHANGES = {
    "code": (SOURCE.replace("? list->value", "? -list->value"), FEW),
    "another function": (SOURCE.replace("return f(x);", "return f(x) + 1;"), FEW),
    "a sign": (SOURCE.replace("int value;", "unsigned value;"), FEW),
    "a name": (SOURCE.replace("int m)", "int n)").replace("(m >", "(n >"), FEW),
    "restrict": (SOURCE.replace("const int *extra", "const int *restrict extra"), FEW),
    "a directive": (SOURCE + "// LLMC: arg total.list non-null\n", FEW),
    "examples": (SOURCE, JudgeSettings(examples=13)),
    "seed": (SOURCE, JudgeSettings(examples=12, seed=2)),
}


def test_each_change_gives_another_corpus(
    program: Reference, compiled: Compile, folder: Path, generated: list[int]
) -> None:
    corpus(program)
    for before, (change, (source, settings)) in enumerate(CHANGES.items(), 1):
        generated.clear()
        corpus(compiled(source), settings=settings)
        assert generated, change
        assert len(files(folder)) == before + 1, change


def test_another_compiler_has_other_corpora(folder: Path, generated: list[int], compiled: Compile) -> None:
    if not Path("/usr/bin/clang-16").exists():
        pytest.skip("no second clang")
    corpus(compiled(SOURCE))
    generated.clear()
    corpus(compiled(SOURCE, clang="/usr/bin/clang-16"))
    assert generated


def test_a_corpus_of_another_format_is_generated_anew(
    program: Reference, folder: Path, generated: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus(program)
    generated.clear()
    monkeypatch.setattr(store, "FORMAT", store.FORMAT + 1)
    corpus(program)
    assert generated


def test_the_file_of_a_corpus_depends_on_the_fields_of_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def path_with(**renamed: str) -> Path:
        [index] = [number for number, one in enumerate(store.SAVED_CLASSES) if one is Input]
        names = [renamed.get(field.name, field.name) for field in dataclasses.fields(Input)]
        classes = list(store.SAVED_CLASSES)
        classes[index] = dataclasses.make_dataclass("Input", names)
        with monkeypatch.context() as patch:
            patch.setattr(store, "SAVED_CLASSES", tuple(classes))
            return CorpusFile(("key",), ()).path

    assert path_with() == CorpusFile(("key",), ()).path
    assert path_with(environment_seed="salt") != path_with()


def test_a_corpus_outlives_an_edit_of_the_package(folder: Path, tmp_path: Path) -> None:
    """This package and a copy with one more line in each file use the same corpus file."""
    copy = tmp_path / "copy" / "pytest_llmcompiler"
    shutil.copytree(Path(store.__file__).parents[1], copy, ignore=shutil.ignore_patterns("__pycache__", "*.gguf"))
    for path in copy.rglob("*.py"):
        path.write_text(path.read_text(encoding="utf-8") + "\n# an edit\n", encoding="utf-8")
    code = (
        "import pytest_llmcompiler; from pytest_llmcompiler import check; print(pytest_llmcompiler.__file__); "
        "print(check('int same(int x) { return x; }', 'same', 'same: movl %edi, %eax; ret', examples=4))"
    )
    for place in (Path(store.__file__).parents[2], copy.parent):
        environment = os.environ | {"PYTHONPATH": str(place), "LLMC_CACHE": str(folder.parent)}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path, check=True
        )
        assert done.stdout.split() == [str(place / "pytest_llmcompiler" / "__init__.py"), "pass"]
        assert len(files(folder)) == 1


def test_the_verdict_is_the_same_from_disk(program: Reference, folder: Path, generated: list[int]) -> None:
    right = program.texts.assembly("total", "O1")
    wrong = right.replace("xorl", "addl"), "total:\n movl (%rdi), %eax\n ret\n", "total:\n xorl %eax, %eax\n ret\n"
    assert all(text != right for text in wrong)
    fresh = [Harness(program, "total", FEW).judge(text) for text in (right, *wrong)]
    generated.clear()
    again = [Harness(program, "total", FEW).judge(text) for text in (right, *wrong)]
    assert not generated
    assert fresh[0].passed
    assert not any(verdict.passed for verdict in fresh[1:])
    assert again == fresh
    assert [str(verdict) for verdict in again] == [str(verdict) for verdict in fresh]


# -- broken and hostile files


class Evil:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> object:
        return os.mkdir, (str(self._path),)


def hostile(tmp_path: Path) -> Iterator[bytes]:
    """Contents of a file that is no corpus."""
    yield b""
    yield b"\0" * 100
    yield zlib.compress(b"")
    yield zlib.compress(b"\x80\x04N.")
    yield zlib.compress(bytes(1 << 20))
    for content in (
        Evil(tmp_path / "made"),
        [Evil(tmp_path / "made")],
        SavedCorpus((Evil(tmp_path / "made"),), Counter(), {}, {}, None, frozenset()),  # type: ignore[arg-type]
        SavedCorpus(5, Counter(), {}, {}, None, frozenset()),  # type: ignore[arg-type]
        SavedCorpus(("text",), Counter(), {}, {}, None, frozenset()),  # type: ignore[arg-type]
        SavedCorpus((Input(("x",)),), Counter(), {}, {}, None, frozenset()),  # type: ignore[arg-type]
        SavedCorpus((), 7, {}, {}, None, frozenset()),  # type: ignore[arg-type]
        SavedCorpus((), Counter(), 7, {}, None, frozenset()),  # type: ignore[arg-type]
        SavedCorpus((), Counter(), {}, 7, None, frozenset()),  # type: ignore[arg-type]
        SavedCorpus((), Counter(), {}, {}, 7, frozenset()),  # type: ignore[arg-type]
        SavedCorpus((), Counter(), {}, {}, None, 7),  # type: ignore[arg-type]
    ):
        yield zlib.compress(pickle.dumps(content))
    yield zlib.compress(b"\x80\x04\x8c\x02osP.")
    yield zlib.compress(b"\x80\x04K\x7fQ.")
    yield zlib.compress(b"\x80\x04J\xff\xff\xff\xffQ.")
    yield zlib.compress(b"\x80\x04cpytest_llmcompiler.inputs.store\nPath\n.")
    yield zlib.compress(b"\x80\x04(i__main__\nmain\n.")


def with_checksum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest() + data


def test_broken_and_hostile_files_are_written_anew(
    program: Reference, folder: Path, generated: list[int], tmp_path: Path
) -> None:
    least = "same", JudgeSettings(examples=2)
    first = corpus(program, *least)
    [path] = files(folder)
    good = path.read_bytes()
    damaged = [b"", good[:-1], good[: len(good) // 2], good[:40] + bytes([good[40] ^ 1]) + good[41:]]
    for data in (*map(with_checksum, hostile(tmp_path)), *damaged):
        path.write_bytes(data)
        generated.clear()
        assert corpus(program, *least) == first, data[:60]
        assert generated, data[:60]
        assert path.read_bytes() == good
    assert not (tmp_path / "made").exists()


def test_a_folder_in_the_place_of_a_file(program: Reference, folder: Path) -> None:
    first = corpus(program, "same")
    [path] = files(folder)
    path.unlink()
    path.mkdir()
    (path / "inside").touch()
    assert corpus(program, "same") == first
    assert files(folder) == [path], "no file is left half-way"


def test_a_cache_folder_that_can_not_be_created(
    program: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generated: list[int]
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LLMC_CACHE", str(tmp_path / "file" / "cache"))
    first = corpus(program, "same")
    assert len(first) > 5
    assert corpus(program, "same") == first
    assert (tmp_path / "file").read_text() == "in the way"


def test_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LLMC_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "pytest-llmcompiler"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "pytest-llmcompiler"
    monkeypatch.setenv("LLMC_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_the_least_recently_used_files_are_deleted(
    program: Reference, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_files, "MAX_FILES", 4)
    folder.mkdir(parents=True)
    for number in range(4):
        (folder / f"old{number}").touch()
        os.utime(folder / f"old{number}", (number, number))
    corpus(program, "same")
    left = files(folder)
    assert len(left) == 2
    assert {path.name for path in left} - {"old3"} == {path.name for path in left if len(path.name) == 64}


# -- several at once


PRINT_CORPUS = """
import sys
from pathlib import Path
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference
harness = Harness(Reference(read_case(Path(sys.argv[1])), Toolchain()), "total", JudgeSettings(examples=12))
for input in harness.corpus.entries:
    print(repr(input))
print(sorted(harness.corpus.dropped.items()))
print(harness.judge("total:\\n xorl %eax, %eax\\n ret\\n"))
"""


def print_corpus_in_a_process(path: Path, cache: Path, hash_seed: str) -> str:
    environment = {**os.environ, "LLMC_CACHE": str(cache), "PYTHONHASHSEED": hash_seed}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", PRINT_CORPUS, str(path)], capture_output=True, text=True, env=environment, check=True
    )
    return done.stdout


def test_a_corpus_does_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    path = tmp_path / "a.c"
    path.write_text(SOURCE)
    one, two = (print_corpus_in_a_process(path, tmp_path / f"cache{seed}", seed) for seed in ("1", "4242"))
    assert one == two
    assert len(one.splitlines()) > 12
    [first], [second] = (files(tmp_path / f"cache{seed}" / "corpora") for seed in ("1", "4242"))
    assert first.name == second.name
    assert print_corpus_in_a_process(path, tmp_path / "cache1", "7") == one, "from disk too"


def test_writers_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "a.c"
    path.write_text(SOURCE)
    outputs: list[str] = []
    threads = [
        threading.Thread(
            target=lambda seed=seed: outputs.append(print_corpus_in_a_process(path, tmp_path / "cache", seed))
        )
        for seed in ("1", "2", "3")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outputs) == 3
    assert len(set(outputs)) == 1
    [written] = files(tmp_path / "cache" / "corpora")
    digest = hashlib.sha256(written.read_bytes()).hexdigest()
    assert print_corpus_in_a_process(path, tmp_path / "cache", "4") == outputs[0]
    assert hashlib.sha256(written.read_bytes()).hexdigest() == digest

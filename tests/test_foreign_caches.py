"""A cache of another user, one that is read-only, and one of another version: it is read as far as that goes, nothing
fails, and it is said once."""

from __future__ import annotations

import json
import os
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_llmcompiler import cache_files, temporary
from pytest_llmcompiler.cache_files import CacheFile, describe_package
from pytest_llmcompiler.emulator import engine_build
from pytest_llmcompiler.emulator.engine_build import build_in_cache
from pytest_llmcompiler.report.header import cache_lines

NOBODY = 65534


def run_as_other_user(function: Callable[[], Any]) -> Any:
    """What a function returns in a child that may write nothing here. Only root can become another user; for others
    the folders are read-only."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            temporary._removers.clear()  # what the parent has is root's
            engine_build._temporary_folder.cache_clear()
            os.write(writer, json.dumps(function()).encode())
            status = 0
        except Exception:
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(status)
    os.close(writer)
    data = b""
    while part := os.read(reader, 1 << 16):
        data += part
    os.close(reader)
    assert os.waitpid(child, 0)[1] == 0, data.decode()
    return json.loads(data)


def build(folder: Path) -> None:
    (folder / "product").write_text("built")


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A filled cache in which everybody may read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "cache")
        monkeypatch.setenv("LLMC_CACHE", str(folder))
        CacheFile("suites", ["key"]).write(b"contents")
        build_in_cache("engine", "old", "product", build)
        paths = [Path(name), folder, *folder.rglob("*")]
        for path in paths:
            path.chmod(0o555 if path.is_dir() else 0o444)
        yield folder
        for path in paths:
            path.chmod(0o755)


def test_a_cache_of_another_user(cache: Path) -> None:
    before = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}

    def use() -> list[Any]:
        file, other = CacheFile("suites", ["key"]), CacheFile("suites", ["other"])
        file.write(b"changed")
        other.write(b"new")
        old, new = (build_in_cache("engine", key, "product", build) for key in ("old", "new"))
        return [
            cache_lines(cache),
            (file.read() or b"").decode(),
            other.read(),
            str(old),
            str(new),
            new.read_text(),
        ]

    lines, contents, other, old, new, product = run_as_other_user(use)
    assert lines == [f"llmc: nothing is kept for the next session, which takes as long again: can't write {cache}"]
    assert (contents, other, product) == ("contents", None, "built")
    assert old == str(cache / "engine" / "old" / "product")
    assert not new.startswith(str(cache))
    assert before == {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
    assert cache_lines(cache) == [] or os.geteuid() != 0, "its own user may write"


def test_a_cache_of_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for other code of this package has other names, and what is no file of the cache is none."""
    monkeypatch.setenv("LLMC_CACHE", str(tmp_path))
    CacheFile("suites", [describe_package()]).write(b"contents")
    with monkeypatch.context() as patched:
        patched.setattr(cache_files, "_ROOMS", ("values",))
        describe_package.cache_clear()
        assert CacheFile("suites", [describe_package()]).read() is None
    describe_package.cache_clear()
    file = CacheFile("suites", [describe_package()])
    assert file.read() == b"contents"
    file.path.write_bytes(b"a file of another format")
    assert file.read() is None

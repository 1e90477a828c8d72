"""Caches for tests that look at what is stored."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def new_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, but for what is built once for all: the engine, and objects of the package's own C files."""
    folder = tmp_path / "cache"
    folder.mkdir()
    for shared in ("engine", "objects"):
        (folder / shared).symlink_to(Path(os.environ["LLMC_CACHE"], shared))
        (folder / shared).resolve().mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("LLMC_CACHE", str(folder))
    return folder


def without_compiler(folder: Path) -> str:
    """A PYTHONPATH by which new processes find no bundled compiler."""
    (folder / "ziglang").mkdir()
    (folder / "ziglang" / "__init__.py").touch()
    return os.pathsep.join((str(folder), os.environ.get("PYTHONPATH", "")))

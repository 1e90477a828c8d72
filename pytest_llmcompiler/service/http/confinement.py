"""The server's processes confined by the kernel: which files they may open, and that they connect to nobody."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pytest_llmcompiler import landlock
from pytest_llmcompiler.files import cache_folder


def confine(temporary: Path) -> str | None:
    """Confine this process, its later threads and its later children. To be called before there are any.

    They may read the installed programs and packages, write into the cache and into `temporary`, open no TCP connection
    and listen on no further port, and signal no process outside. Returns None, or the reason why the kernel can't.
    """
    rules = [(path, landlock.READABLE) for path in landlock.list_installed()]
    rules += [(path, landlock.EVERYTHING) for path in _writable(temporary)]
    rules.append((temporary.parent, landlock.REMOVE_FOLDER))  # so that `temporary` itself can be removed
    return landlock.restrict(rules)


def _writable(temporary: Path) -> Iterable[Path]:
    """The folders in which files are made: those of the judge and of the bundled compiler."""
    zig = os.environ.get("ZIG_GLOBAL_CACHE_DIR")
    shared = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folders = (cache_folder(), Path(zig) if zig else shared / "zig")
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    return (*folders, temporary, Path("/dev/null"))

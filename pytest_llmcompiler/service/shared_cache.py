"""What machines do about the files of the cache: tell whether they have one folder, and send files where they have not.

The files are named by digests of all that their contents depend on, and have a checksum (`cache_files`). So a file of
another machine is as good as one's own, and two machines that write the same one write the same contents.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pytest_llmcompiler.files import cache_folder

_FOLDERS = ("cases", "programs", "corpora", "suites", "images", "builds")
"""The folders whose files depend on no machine. Objects and links name files of their machine, and the engine is
compiled for its processor."""
_LATE_NANOSECONDS = 1_000_000_000
"""By which the time of a file may be before the clock at its last use: file systems round down."""


class CacheMarker:
    """A file in the cache folder of this machine. Who sees it has the same folder."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self.path = cache_folder() / f".marker-{uuid.uuid4().hex}"
        with contextlib.suppress(OSError):  # a folder that can't be written has no news to share
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()

    def close(self) -> None:
        """Remove the file. Does nothing in a forked child: the file is its parent's."""
        if os.getpid() == self._owner:
            with contextlib.suppress(OSError):
                self.path.unlink()


def read_used_files(since_ns: int) -> dict[str, bytes]:
    """The contents of the files that were read or written since a time in nanoseconds, by their names in the cache.

    Reading a file of the cache sets its time too, so these are all that somebody needed since then.
    """
    return {name: data for name, path in _list_used(since_ns) if (data := _read(path))}


def list_missing(names: Iterable[str]) -> list[str]:
    """Those names of files that the cache of this machine does not have."""
    folder = cache_folder()
    return [name for name in names if not (folder / name).exists()]


def store_files(files: Mapping[str, bytes]) -> None:
    """Put files into the cache of this machine, each in one step. Does nothing where the folder can't be written."""
    folder = cache_folder()
    with contextlib.suppress(OSError):
        for name in list_missing(files):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
                file.write(files[name])
            Path(file.name).replace(path)


def _list_used(since_ns: int) -> Iterator[tuple[str, Path]]:
    for kind in _FOLDERS:
        folder = cache_folder() / kind
        with contextlib.suppress(OSError):
            for entry in os.scandir(folder):
                is_new = entry.stat().st_mtime_ns >= since_ns - _LATE_NANOSECONDS
                if is_new and not entry.name.startswith("."):  # a file that is being written
                    yield f"{kind}/{entry.name}", Path(entry.path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # another process has deleted it
        return b""

"""C source texts as files: the compiler reads files, and judge processes keep them.

A server gets new ones for as long as it runs. So a file is kept while a request is held that names it: one that waits
for a reply, or whose question is kept for the next answer to it. Of the others, the latest are kept.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import secrets
import shutil
import sys
import tempfile
import threading
import weakref
from collections import Counter, deque
from pathlib import Path

from pytest_llmcompiler.temporary import remove_at_end

_MOST_UNHELD_BYTES = 64 << 20
"""Bytes of the files that are kept though no request names them: of requests that are being made, and of those that
were asked for last. A process that has prepared a function of such a text knows its file when it is asked again."""


class SourceTexts:
    """The source texts that are files of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        """The bytes of each file."""
        self._holders: Counter[str] = Counter()
        """How many requests name a file, for those that any names."""
        self._unheld: dict[str, None] = {}
        """The other files, the one that was asked for longest ago first."""
        self._unheld_bytes = 0
        self._released: deque[str] = deque()
        """Files that a request named which is gone. What is called at an object's end may run anywhere, so it takes no
        lock."""

    def __len__(self) -> int:
        return len(self._sizes)

    def write(self, source: str) -> Path:
        """The file of a text. It ends with this process, and before that where no request holds it and others were
        asked for since."""
        data = source.encode("utf-8", "replace")
        folder = choose_folder()
        path = folder / f"{hashlib.sha256(data).hexdigest()}.c"
        with self._lock:
            if not path.exists():
                if not folder.exists():
                    remove_at_end(folder)
                    folder.mkdir(mode=0o700)
                    _remove_at_exit(folder)
                path.write_bytes(data)
            self._sizes[str(path)] = len(data)
            self._add_released()
            if not self._holders[str(path)]:
                self._forget_unheld(str(path))
                self._add_unheld(str(path))
            self._remove_unheld()
        return path

    def hold(self, path: str, holder: object) -> None:
        """Keep a file while an object lives. Other paths are left alone."""
        with self._lock:
            if path in self._sizes:
                self._forget_unheld(path)
                self._holders[path] += 1
                weakref.finalize(holder, self._released.append, path).atexit = False

    def _add_unheld(self, path: str) -> None:
        self._unheld[path] = None
        self._unheld_bytes += self._sizes[path]

    def _forget_unheld(self, path: str) -> None:
        if path in self._unheld:
            del self._unheld[path]
            self._unheld_bytes -= self._sizes[path]

    def _add_released(self) -> None:
        while self._released:
            path = self._released.popleft()
            self._holders[path] -= 1
            if not self._holders[path]:
                self._add_unheld(path)

    def _remove_unheld(self) -> None:
        """Remove the files above the limit that no request names, but the last one: its request is being made."""
        while self._unheld_bytes > _MOST_UNHELD_BYTES and len(self._unheld) > 1:
            path = next(iter(self._unheld))
            self._forget_unheld(path)
            del self._sizes[path], self._holders[path]
            Path(path).unlink(missing_ok=True)


_TEXTS = SourceTexts()


def write_source(source: str) -> Path:
    """The file of a C source text; the same text is one file (`SourceTexts.write`)."""
    return _TEXTS.write(source)


def hold_source(path: str, holder: object) -> None:
    """Keep the file of a source text while an object lives (`SourceTexts.hold`)."""
    _TEXTS.hold(path, holder)


def count_sources() -> int:
    """How many source texts are files of this process."""
    return len(_TEXTS)


def choose_folder() -> Path:
    """The folder of this process for source texts, which may not exist yet. Nobody can guess its name. A forked child
    has its own: that of its parent ends with the parent."""
    return _choose_folder(os.getpid())


@functools.cache
def _choose_folder(_: int) -> Path:
    return Path(tempfile.gettempdir()) / f"llmc-{secrets.token_hex(8)}"


def _remove_at_exit(folder: Path) -> None:
    atexit.register(_remove_folder, folder, os.getpid())
    util = sys.modules.get("multiprocessing.util")
    if util:  # a child of multiprocessing ends without what is registered above
        util.Finalize(None, _remove_folder, args=(folder, os.getpid()), exitpriority=0)


def _remove_folder(folder: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _renew_texts() -> None:
    global _TEXTS
    _TEXTS = SourceTexts()  # the files are the parent's


os.register_at_fork(after_in_child=_renew_texts)

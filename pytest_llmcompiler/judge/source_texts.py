"""C source texts as files: the compiler reads files, and judge processes keep them."""

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
from pathlib import Path

_LOCK = threading.Lock()


def write_source(source: str) -> Path:
    """The file of a C source text; the same text is one file. The files end with this process."""
    data = source.encode("utf-8", "replace")
    folder = choose_folder()
    path = folder / f"{hashlib.sha256(data).hexdigest()}.c"
    with _LOCK:
        if not path.exists():
            if not folder.exists():
                folder.mkdir(mode=0o700)
                _remove_at_exit(folder)
            path.write_bytes(data)
    return path


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


def _renew_lock() -> None:
    global _LOCK
    _LOCK = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)

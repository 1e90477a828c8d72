"""C source texts as files: the compiler reads files, and judge processes keep them.

A server gets new ones for as long as it runs. So a file is removed that nobody has asked for long, and is written anew
where somebody does.
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
import time
from pathlib import Path

from pytest_llmcompiler.temporary import remove_at_end

_LOCK = threading.Lock()
_KEPT_SECONDS = 86400.0
"""How long a file is kept that nobody asks for: longer than a request waits that needs it, but for one of thousands
that take minutes each."""
_SWEEP_SECONDS = 60.0
"""How often it is looked for such files."""
_ASKED: dict[Path, float] = {}
"""When each file was asked for last, the one that was asked for longest ago first."""
_SWEPT = [0.0]


def write_source(source: str) -> Path:
    """The file of a C source text; the same text is one file. The files end with this process, or a day after they
    were asked for."""
    data = source.encode("utf-8", "replace")
    folder = choose_folder()
    path = folder / f"{hashlib.sha256(data).hexdigest()}.c"
    with _LOCK:
        if not path.exists():
            if not folder.exists():
                remove_at_end(folder)
                folder.mkdir(mode=0o700)
                _remove_at_exit(folder)
            path.write_bytes(data)
        now = time.monotonic()
        _ASKED.pop(path, None)
        _ASKED[path] = now
        _remove_forgotten(now)
    return path


def _remove_forgotten(now: float) -> None:
    """Remove the files that nobody has asked for."""
    if now < _SWEPT[0] + _SWEEP_SECONDS:
        return
    _SWEPT[0] = now
    for path, asked in list(_ASKED.items()):
        if now < asked + _KEPT_SECONDS:
            return
        del _ASKED[path]
        path.unlink(missing_ok=True)


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
    _ASKED.clear()  # the files are the parent's


os.register_at_fork(after_in_child=_renew_lock)

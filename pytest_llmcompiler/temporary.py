"""Folders for temporary files, which are gone after the process that makes them, however that ends.

Python removes its temporary folders where it gets to it, and a process that a signal ends does not. So all temporary
folders of a process lie in one, and a shell that does nothing but wait for the end of the process removes that one. It
also ends processes that do not notice the end of this one by themselves yet.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

_REMOVER = """
trap '' INT TERM HUP
end() {
    process=$1 start=$2
    { IFS= read -r state < "/proc/$process/stat"; } 2>/dev/null || return 0
    set -- ${state##*) }
    [ "${20}" != "$start" ] || kill -KILL "$process" 2>/dev/null
}
processes=
while IFS= read -r line; do
    case $line in
        /*) set -- "$@" "$line" ;;
        *) processes="$processes $line" ;;
    esac
done
[ -z "$processes" ] || sleep 0.3
for process in $processes; do end "${process%:*}" "${process#*:}"; done
for try in 1 2 3 4 5 6 7 8 9 10; do
    for folder; do rm -rf -- "$folder"; done 2>/dev/null && exit
    sleep 0.1
done
"""
"""It reads the folders that it shall remove, and the processes that it shall end, until this process ends, which holds
the other end of its standard input. A process has 0.3 s to end by itself. It is known by the time of its start, since
its number may be another's by then. A compiler that runs on may write into a folder: then it is removed once more."""
_START_FIELD = 19
"""How many fields of /proc/PID/stat lie between the name of a program and the time of its start, see proc(5)."""
_WAIT_SECONDS = 1.0
"""How long a process that ends waits for the end of the shell, which has nothing left to do."""
_NAME_BYTES = 12
"""Random bytes of a name: nobody can have a folder of that name, and it is not guessed."""

_lock = threading.Lock()
_removers: dict[str, _Remover] = {}
"""The folder for temporary files of the system -> the remover of this process for it."""


class _Remover:
    """The shell that waits, and the folder that it removes."""

    def __init__(self, parent: str) -> None:
        """Raises OSError where the folder can't be made. It is made when there is somebody to remove it."""
        self.folder = Path(parent, f"llmc-{secrets.token_hex(_NAME_BYTES)}")
        self._owner = os.getpid()
        self._process = self._start()
        atexit.register(self.close)
        self.folder.mkdir(0o700)

    def _start(self) -> subprocess.Popen[bytes] | None:
        """Start the shell. None where this process may start none: its own end has to do then."""
        try:
            return subprocess.Popen(
                ["/bin/sh", "-c", _REMOVER, "llmc-remover", str(self.folder)],
                cwd="/",
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,  # what ends the process group of this process does not end it
            )
        except OSError:
            return None

    def add(self, line: bytes) -> None:
        """Have one folder more removed, wherever it is, or one process more ended."""
        if self._process and self._process.stdin and b"\n" not in line:
            with contextlib.suppress(OSError):
                self._process.stdin.write(line + b"\n")

    def close(self) -> None:
        """Remove the folder. A forked child of the process that made it leaves it alone."""
        if os.getpid() == self._owner:
            shutil.rmtree(self.folder, ignore_errors=True)
            if self._process and self._process.stdin:
                with contextlib.suppress(OSError):  # Landlock refuses signals to processes outside of it
                    self._process.kill()
                self._process.stdin.close()
                with contextlib.suppress(subprocess.TimeoutExpired):  # a forked child holds the pipe open
                    self._process.wait(_WAIT_SECONDS)


def make_folder(prefix: str = "") -> Path:
    """A new folder, which is removed at the end of this process. Raises OSError."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir=_get_remover().folder))


@contextlib.contextmanager
def temporary_folder(beside: Path | None = None) -> Iterator[Path]:
    """A folder for the time of a block. `beside`: it is made in the folder of this path, under a hidden name, so that
    its contents can be renamed to it. Raises OSError."""
    if beside is None:
        folder = make_folder()
    else:
        folder = beside.with_name(f".{beside.name}-{secrets.token_hex(_NAME_BYTES)}")
        remove_at_end(folder)
        folder.mkdir(0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_at_end(folder: Path) -> None:
    """Have a folder removed when this process ends by a signal. Where it ends by itself, the caller removes it. Raises
    OSError."""
    _get_remover().add(os.fsencode(folder.absolute()))


def end_at_end(process: int) -> None:
    """Have a process ended when this one ends by a signal. Raises OSError."""
    start = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[_START_FIELD]
    _get_remover().add(b"%d:%s" % (process, start))


def _get_remover() -> _Remover:
    parent = tempfile.gettempdir()
    with _lock:
        remover = _removers.get(parent)
        if remover is None or not remover.folder.is_dir():
            remover = _removers[parent] = _Remover(parent)
        return remover


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)

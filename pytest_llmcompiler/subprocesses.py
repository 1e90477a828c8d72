"""Python processes that run this package's own modules, and end with the process that starts them.

This file is also the program of such a process. So it imports nothing of the package, and little else: the process must
notice the end of its parent while it still imports what it is for, which takes seconds on a busy machine.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_INTERRUPT_SECONDS = 0.1
"""How long a process that is interrupted has to end by itself."""
_LOOK_SECONDS = 0.2
"""How often it is looked whether a parent has ended, where the system does not tell."""


def build_command(module: str, arguments: Sequence[str] = (), *, folder: str | Path | None = None) -> list[str]:
    """The command of a process that calls `main` of a module, with the import path of this process.

    Installed packages come first in that path. pytest puts the folder of the user's project on its own path, and a file
    there may have the name of a standard module, like `signal.py`.

    The process ignores Ctrl-C from before its first long import, so that it prints no traceback then: this process ends
    it. As soon as this process ends, however it does, the other one removes `folder` and ends. Where it is the leader
    of its process group, all processes of the group end.
    """
    facts = [module, json.dumps(sys.path), str(os.getpid()), str(folder or "")]
    return [sys.executable, str(Path(__file__).resolve()), *facts, *arguments]


def wait_for_end(parent: int, end: Callable[[], object]) -> None:
    """Call `end` in a thread as soon as the parent of this process ends, however that does.

    The end of standard input does not tell in time: a forked child of the parent may hold the other end of the pipe.
    PR_SET_PDEATHSIG would kill this process alone, and would do so when the *thread* that started it ends. A thread
    that waits for the end of the process has neither fault. Where the system has no descriptors of processes, it looks
    now and then.
    """

    def wait() -> None:
        _wait_for_process(parent)
        end()

    threading.Thread(target=wait, name="llmc-end", daemon=True).start()


def _wait_for_process(parent: int) -> None:
    """Wait until the parent of this process has ended."""
    try:
        descriptor = os.pidfd_open(parent)
    except (OSError, AttributeError):  # it has ended, or the system does not know how
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        return
    if os.getppid() == parent:  # else it had ended before, and its number may be another's
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll()


def end_with_controller() -> None:
    """End this worker of pytest-xdist with the process that started it. It is interrupted first, so that fixtures can
    clean up. execnet, which would end it else, gives a test five seconds and more."""

    def end() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(_INTERRUPT_SECONDS)
        os._exit(1)

    wait_for_end(os.getppid(), end)


def _end_all(folder: str) -> None:
    """Remove a folder, and end this process; with it compilers, the engine and all children, where they are in its
    process group."""
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _run() -> None:
    """Run the module that the command line names."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    program, module, path, parent, folder, *arguments = sys.argv
    wait_for_end(int(parent), lambda: _end_all(folder))
    here = str(Path(__file__).parent)  # Python puts the folder of its program on the path
    sys.path = list(dict.fromkeys(entry for entry in (*sys.path, *json.loads(path)) if entry not in ("", here)))
    sys.argv = [program, *arguments]
    importlib.import_module(module).main()


if __name__ == "__main__":
    _run()

"""Python processes that run this package's own modules."""

from __future__ import annotations

import sys


def build_command(module: str) -> list[str]:
    """The command of a process that calls `main` of a module, with the import path of this process.

    Installed packages come first in that path. pytest puts the folder of the user's project on its own path, and a file
    there may have the name of a standard module, like `signal.py`.

    The process ignores Ctrl-C from before its first long import, so that it prints no traceback then: this process ends
    it.
    """
    code = (
        f"import sys; sys.path = list(dict.fromkeys(filter(None, sys.path + {sys.path!r}))); "
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    )
    return [sys.executable, "-c", f"{code}from {module} import main; main()"]

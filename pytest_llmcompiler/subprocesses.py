"""Python processes of this package's own."""

from __future__ import annotations

import sys


def build_command(module: str) -> list[str]:
    """The command of a process that calls `main` of a module and finds the same packages as this process.

    What is installed comes first: the folder of a project, which pytest puts on its own path, may hold a `signal.py`.
    """
    code = f"import sys; sys.path = list(dict.fromkeys(filter(None, sys.path + {sys.path!r})))"
    return [sys.executable, "-c", f"{code}; from {module} import main; main()"]

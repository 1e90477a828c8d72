"""The processes of a judge, as the kernel lists them."""

from __future__ import annotations

from pathlib import Path


def is_alive(pid: int) -> bool:
    """Whether a process runs. One that has ended and was not waited for does not."""
    return _read_stat(pid)[:1] not in ([], ["Z"], ["X"])


def list_group(leader: int) -> list[int]:
    """The processes that run in the process group of a judge process: itself, compilers, the engine, children."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if _read_stat(pid)[2:3] == [str(leader)] and is_alive(pid)]


def _read_stat(pid: int) -> list[str]:
    """State, parent, group, … of a process (proc(5)); nothing where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []

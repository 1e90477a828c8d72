"""Names of files as text, the cache folder, and writing files in one step, so that no reader sees a part of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def escape_name(name: str) -> str:
    """A path or node id as text that can be written anywhere: bytes that are not UTF-8 become `\\xE9`."""
    return name.encode("utf-8", "surrogateescape").decode(errors="backslashreplace")


def cache_folder() -> Path:
    """The folder of all files that are kept between sessions: $LLMC_CACHE, else a folder in the user's cache."""
    own = os.environ.get("LLMC_CACHE")
    if own:
        return Path(own)
    try:
        shared = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # the user has no home folder
        return Path(tempfile.gettempdir()) / f"pytest-llmcompiler-{os.getuid()}"
    return shared / "pytest-llmcompiler"


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file beside `path`, to be written in the `with` block.

    At the end of the block it replaces the file at `path`, which is untouched until then. If the block raises, the
    temporary file is removed. Raises OSError.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        # Where the whole folder is gone, removing fails too; the first error is the one to report.
        with suppress(OSError):
            part.unlink(missing_ok=True)

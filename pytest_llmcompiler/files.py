"""Names of files as text, and writing files in one step, so that no reader sees a part of one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def escape_name(name: str) -> str:
    """A path or node id as text that can be written anywhere: bytes that are not UTF-8 become `\\xE9`."""
    return name.encode("utf-8", "surrogateescape").decode(errors="backslashreplace")


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

"""Files that are written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to: when all is written it takes the place of `path`, and where that fails it goes.

    What was at `path` stays until then. Raises OSError.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        with suppress(OSError):  # of a folder that is gone too: what went wrong first is what is told
            part.unlink(missing_ok=True)

"""The files that a C file includes, as a compiler lists them for `make`."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path


def parse_dependencies(text: bytes) -> list[Path]:
    """The files in a rule of `make` that a compiler wrote, the source file first.

    A backslash stands before a blank or a `#` in a name and at the end of a line that goes on; a dollar is doubled.
    """
    _, _, names = os.fsdecode(text).replace("\\\n", " ").partition(": ")
    words = re.findall(r"(?:\\[ #]|\S)+", names)
    return [Path(re.sub(r"\\([ #])", r"\1", word).replace("$$", "$")) for word in words]


def without_folders(files: Iterable[Path], folders: Sequence[str]) -> tuple[Path, ...]:
    """The files that lie in none of the folders, with absolute paths."""
    return tuple(file.absolute() for file in files if not any(file.is_relative_to(folder) for folder in folders))


def hash_contents(files: Iterable[Path]) -> str:
    """A SHA-256 digest, in hexadecimal, of the contents of files, wherever they lie. A missing file is an empty one."""
    digest = hashlib.sha256()
    for file in files:
        try:
            data = file.read_bytes()
        except OSError:
            data = b""
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()

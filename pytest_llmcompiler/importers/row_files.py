"""The rows of a data set's files: JSON, JSON Lines, Parquet and Arrow, compressed or not; and folders of texts.

Files are read row by row, but for JSON, which is one value. What can't be read as a row is one `BadRow`; a file that
can't be read as a whole raises DatasetError.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from pytest_llmcompiler.errors import DatasetError
from pytest_llmcompiler.files import escape_name
from pytest_llmcompiler.importers.imported import Row
from pytest_llmcompiler.judge.verdict import harmless
from pytest_llmcompiler.program.directive_comments import decode_source

_MAX_LINE_BYTES = 64 << 20
"""The longest line of a file of JSON Lines. The longest rows of ExeBench have some megabytes."""
_MAX_JSON_BYTES = 1 << 30
"""The longest JSON file, which is read as a whole."""
_MAX_TEXT_BYTES = 4 << 20
"""The longest file of a folder of texts."""
_BATCH_ROWS = 256
"""Rows of Parquet that are held in memory at a time."""
_COMPRESSED = (".gz", ".zst")
_LINES, _VALUE = (".jsonl", ".ndjson"), ".json"
_TABLES = (".parquet", ".arrow")
_ARCHIVE, _ARCHIVES = ".tar", (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_NOT_ROWS = ("dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json")
"""Files that `datasets` writes beside its tables."""


class BadRow(NamedTuple):
    """What should be a row and can't be read as one."""

    place: str
    reason: str


def read_rows(path: Path) -> Iterator[Row | BadRow]:
    """The rows of a file, or of all files of rows below a folder, in the order of their names. Raises DatasetError."""
    if not path.is_dir():
        yield from _read_file(path, path.name)
        return
    files = [(file, name) for file, name in _list_files(path) if _find_format(file) and file.name not in _NOT_ROWS]
    if not files:
        raise DatasetError(f"{path}: no file of rows lies in this folder ({_describe_formats()})")
    for file, name in files:
        yield from _read_file(file, name)


def read_texts(path: Path, suffix: str) -> Iterator[Row | BadRow]:
    """The files of a folder with a suffix as rows with the columns `path`, relative to the folder, and `text`.

    Links are left out: they may lead to files that are no part of the data set. Raises DatasetError.
    """
    files = _list_files(path) if path.is_dir() else [(path, path.name)]
    found = False
    for number, (file, name) in enumerate(one for one in files if one[0].suffix == suffix):
        found = True
        try:
            with file.open("rb") as stream:
                data = stream.read(_MAX_TEXT_BYTES + 1)
        except OSError as error:
            raise DatasetError(f"{file}: can't be read: {error.strerror}") from error
        if len(data) > _MAX_TEXT_BYTES:
            yield BadRow(name, f"longer than {_MAX_TEXT_BYTES >> 20} MiB")
        else:
            yield Row(name, number, {"path": name, "text": decode_source(data)})
    if not found:
        raise DatasetError(f"{path}: no {suffix} file lies here")


def is_row_file(path: Path) -> bool:
    """Whether a file has rows, by its name."""
    return _find_format(path) is not None


def _list_files(folder: Path) -> list[tuple[Path, str]]:
    """The regular files below a folder, without links, by path: each with its name relative to the folder."""
    found = []
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in names:
            file = Path(root) / name
            if not file.is_symlink() and file.is_file():
                found.append((file, escape_name(file.relative_to(folder).as_posix())))
    return sorted(found, key=lambda one: one[1])


def _find_format(path: Path) -> str | None:
    """The suffix that says how a file holds rows; None where it holds none."""
    if path.name.endswith(_ARCHIVES):
        return _ARCHIVE
    name = Path(path.stem) if path.suffix in _COMPRESSED else path
    known = (*_LINES, _VALUE, *(() if path.suffix in _COMPRESSED else _TABLES))
    return name.suffix if name.suffix in known else None


def _describe_formats() -> str:
    return ".json, .jsonl and .ndjson, each also with .gz or .zst, .parquet, .arrow, .tar and .tar.gz with such files"


def _read_file(path: Path, name: str) -> Iterator[Row | BadRow]:
    format = _find_format(path)
    if format is None:
        raise DatasetError(f"{path}: rows are read from {_describe_formats()}")
    try:
        if format in _TABLES:
            yield from _read_table(path, name, format)
        elif format == _ARCHIVE:
            yield from _read_archive(path)
        else:
            with path.open("rb") as stream:
                yield from _read_stream(stream, path.name, name)
    except OSError as error:
        raise DatasetError(f"{path}: can't be read: {error.strerror or error}") from error
    except (EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, _zstd_error()) as error:
        raise DatasetError(f"{path}: can't be unpacked: {error}") from error


def _read_archive(path: Path) -> Iterator[Row | BadRow]:
    """The rows of the files in a tar archive, in its order: ExeBench is published so."""
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isfile() else None
            if stream and _find_format(Path(member.name)) in (*_LINES, _VALUE):
                yield from _read_stream(stream, member.name, harmless(escape_name(member.name)))


def _read_stream(stream: IO[bytes], file: str, name: str) -> Iterator[Row | BadRow]:
    """The rows of an open file of JSON or JSON Lines, packed or not; `file` is its own name."""
    read = _read_lines if _find_format(Path(file)) in _LINES else _read_value
    if file.endswith(".gz"):
        yield from read(cast("IO[bytes]", gzip.GzipFile(fileobj=stream)), name)
    elif file.endswith(".zst"):
        try:
            import zstandard
        except ImportError:
            raise DatasetError(f"{name}: .zst needs zstandard: pip install 'pytest-llmcompiler[import]'") from None
        # A frame may ask for a window of any size: 128 MiB is what `zstd` itself takes.
        unpacker = zstandard.ZstdDecompressor(max_window_size=128 << 20)
        reader = unpacker.stream_reader(stream, read_across_frames=True)
        yield from read(cast("IO[bytes]", io.BufferedReader(reader)), name)  # the reader itself has no readline
    else:
        yield from read(stream, name)


def _zstd_error() -> type[Exception]:
    """The exception of broken .zst files; where zstandard is missing, one that nothing raises there."""
    try:
        from zstandard import ZstdError
    except ImportError:
        return EOFError
    return cast("type[Exception]", ZstdError)


def _read_lines(stream: IO[bytes], name: str) -> Iterator[Row | BadRow]:
    number = 0
    while line := stream.readline(_MAX_LINE_BYTES):
        number += 1
        place = f"{name}:{number}"
        if len(line) == _MAX_LINE_BYTES and not line.endswith(b"\n"):
            while (rest := stream.readline(_MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield BadRow(place, f"longer than {_MAX_LINE_BYTES >> 20} MiB")
        elif line.strip():
            yield _parse_row(place, number - 1, lambda: json.loads(line))


def _read_value(stream: IO[bytes], name: str) -> Iterator[Row | BadRow]:
    data = stream.read(_MAX_JSON_BYTES + 1)
    if len(data) > _MAX_JSON_BYTES:
        raise DatasetError(f"{name}: longer than {_MAX_JSON_BYTES >> 30} GiB; JSON Lines are read row by row")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{name}: no JSON: {error}; files with a value on each line end in .jsonl") from error
    rows = [value] if isinstance(value, dict) and not _has_rows(value) else value
    tables = rows.items() if isinstance(rows, dict) else [("", rows)]
    for title, table in tables:
        if not isinstance(table, list):
            raise DatasetError(f"{name}: expected a list of objects, found {type(table).__name__}")
        for number, row in enumerate(table):
            place = f"{name}:{title}:{number}" if title else f"{name}:{number}"
            yield _parse_row(place, number, lambda row=row: row)  # type: ignore[misc]


def _has_rows(value: Mapping[str, Any]) -> bool:
    """Whether an object has lists of rows, one for each split of a data set."""
    return bool(value) and all(
        isinstance(part, list) and all(isinstance(r, dict) for r in part) for part in value.values()
    )


def _read_table(path: Path, name: str, format: str) -> Iterator[Row | BadRow]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DatasetError(f"{path}: {format} needs pyarrow: pip install 'pytest-llmcompiler[import]'") from None
    try:
        batches: Iterable[Any]
        if format == ".parquet":
            batches = pq.ParquetFile(path).iter_batches(batch_size=_BATCH_ROWS)
        else:
            batches = _open_arrow(path)
        number = 0
        for batch in batches:
            for row in batch.to_pylist():
                yield _parse_row(f"{name}:{number}", number, lambda row=row: row)  # type: ignore[misc]
                number += 1
    except (pa.ArrowException, ValueError) as error:
        raise DatasetError(f"{path}: no {format[1:]} file: {error}") from error


def _open_arrow(path: Path) -> Iterator[Any]:
    """The batches of an Arrow file: a stream, as `datasets` writes them, or a file with an index."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        try:
            reader = pa.ipc.open_stream(source)
        except pa.ArrowInvalid:
            file = pa.ipc.open_file(source)
            yield from (file.get_batch(number) for number in range(file.num_record_batches))
            return
        yield from reader


def _parse_row(place: str, number: int, read: Callable[[], object]) -> Row | BadRow:
    try:
        value = read()
    except (ValueError, RecursionError) as error:
        return BadRow(place, f"no JSON: {str(error).partition(':')[0]}")
    return Row(place, number, value) if isinstance(value, dict) else BadRow(place, "no JSON object")

"""A cache of what is computed from files, in which nothing outlives a change of its files."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

_Value = TypeVar("_Value")


class FileState(NamedTuple):
    """A file as it was at some time. Size and time are -1 where there is none."""

    path: Path
    size: int
    modified: int

    @classmethod
    def read(cls, path: Path) -> FileState:
        """The state of a file now."""
        try:
            state = path.stat()
        except OSError:
            return cls(path, -1, -1)
        return cls(path, state.st_size, state.st_mtime_ns)

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> FileState:
        """The state from the values that `to_json` gives."""
        return cls(Path(values[0]), *values[1:])

    def to_json(self) -> tuple[str, int, int]:
        """The state as values of JSON."""
        return str(self.path), self.size, self.modified


class FileCache(Generic[_Value]):
    """The last values, up to a number. One is computed anew where a file that it depends on has changed."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: dict[Hashable, tuple[_Value, tuple[FileState, ...]]] = {}

    def find(self, key: Hashable, compute: Callable[[], tuple[_Value, Iterable[Path]]]) -> _Value:
        """The value for a key. `compute` returns it with the files that it depends on."""
        value = self.find_current(key)
        if value is None:
            value, files = compute()
            self._entries.pop(key, None)
            self._entries[key] = value, tuple(map(FileState.read, files))
            if len(self._entries) > self._capacity:
                del self._entries[next(iter(self._entries))]
        return value

    def find_current(self, key: Hashable) -> _Value | None:
        """The value for a key; None where there is none, or where one of its files has changed."""
        entry = self._entries.get(key)
        if entry is None or any(state != FileState.read(state.path) for state in entry[1]):
            return None
        self._entries[key] = self._entries.pop(key)  # what was asked for last is forgotten last
        return entry[0]

    def files(self, key: Hashable) -> tuple[FileState, ...]:
        """The files that the value for a key was computed from, as they were then."""
        return self._entries[key][1]

    def keep(self, is_wanted: Callable[[_Value], bool]) -> None:
        """Forget all values but those that are wanted."""
        self._entries = {key: entry for key, entry in self._entries.items() if is_wanted(entry[0])}

"""Replies to the last requests, for requests that are the same."""

from __future__ import annotations

from collections import OrderedDict

from pytest_llmcompiler.program.file_cache import FileState

_MOST_BYTES = 32 << 20
"""Bytes of the replies that are kept: some tens of thousands of verdicts."""

Files = tuple[FileState, ...]


class RecentReplies:
    """Replies, each for as long as the files that it depends on stay as they were. The most recent ones are kept."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._replies: OrderedDict[bytes, tuple[Files, bytes]] = OrderedDict()
        """By the key of the request."""
        self._current: dict[int, bool] = {}
        """Whether files are as they were, by `id`: what was looked up since `forget_files`."""

    def find(self, key: bytes) -> bytes | None:
        """The reply to a request; None where there is none, or where a file has changed."""
        found = self._replies.get(key)
        if found is None:
            return None
        files, reply = found
        if id(files) not in self._current:
            self._current[id(files)] = all(state == FileState.read(state.path) for state in files)
        if not self._current[id(files)]:
            self._remove(key)
            return None
        self._replies.move_to_end(key)
        return reply

    def add(self, key: bytes, files: Files, reply: bytes) -> None:
        """Keep the reply to a request, which depends on files."""
        self._remove(key)
        self._replies[key] = files, reply
        self._bytes += len(reply)
        while self._bytes > self._most_bytes:
            self._remove(next(iter(self._replies)))

    def forget_files(self) -> None:
        """Look at files again from now on."""
        self._current.clear()

    def _remove(self, key: bytes) -> None:
        _, reply = self._replies.pop(key, (None, b""))
        self._bytes -= len(reply)

"""The model as the rest of the package sees it: questions go to the process that owns it, answers come back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import IO, Any, NamedTuple

from pytest_llmcompiler.errors import ModelError, PromptTooLongError
from pytest_llmcompiler.model.answer import Answer, ModelSettings, Prompt, Question
from pytest_llmcompiler.program.short import restore_names
from pytest_llmcompiler.subprocesses import build_command

_LAST_LINES = 8
"""Lines of a dead process's log that are shown."""
_LONGEST = 100
"""Bytes that the path of a socket may have."""


class OwnerAddress(NamedTuple):
    """Where a model's owner is found by processes of this machine. Plain texts: xdist hands it to workers."""

    socket: str
    """Its folder lets nobody in but this user, so whoever finds it may ask."""
    log: str


class OwnerProcess:
    """The owner's process, which this process started and will end."""

    def __init__(self, spec: str, settings: ModelSettings) -> None:
        """Start it, for a GGUF file or a URL. The model itself is opened when it is first needed.

        Raises ModelError where the process does not start.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="llmc-"))
        if len(str(self._folder)) > _LONGEST:
            self._folder = Path(tempfile.mkdtemp(prefix="llmc-", dir="/tmp"))
        log = settings.log or self._folder / "log"
        self.address = OwnerAddress(str(self._folder / "socket"), str(log))
        line = json.dumps({"spec": spec, **asdict(settings), "address": self.address.socket}, default=str)
        with self._opened(log) as errors:
            self._process = subprocess.Popen(
                build_command("pytest_llmcompiler.model.owner.process"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                # Where llama.cpp gives up it would have a debugger print the stack, over what it says itself.
                env={**os.environ, "GGML_NO_BACKTRACE": "1"},
                encoding="utf-8",
            )
        assert self._process.stdin and self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        if not self._process.stdout.readline():
            fault = _died(self.address)
            self.close()
            raise fault

    def _opened(self, log: Path) -> IO[str]:
        try:
            return log.open("w")
        except OSError as error:
            shutil.rmtree(self._folder)
            raise ModelError(f"can't write llama.cpp's log (--llmc-model-log) to {log}: {error.strerror}") from error

    def close(self) -> None:
        """End the process at once; what is finished is in the store."""
        self._process.kill()
        self._process.communicate()
        shutil.rmtree(self._folder, ignore_errors=True)


class OwnedModel:
    """A model in another process. Usable from several threads."""

    def __init__(self, address: OwnerAddress, owner: OwnerProcess | None = None) -> None:
        """`owner` is closed with it."""
        self._address, self._owner = address, owner
        self._questions: dict[Prompt, Question] = {}
        self._facts: dict[str, Any] | None = None

    def describe(self, *, warn: bool = True) -> dict[str, Any]:
        """What the backend says of itself; with `warn`, what it warned of becomes warnings. Raises ModelError where the
        model can't be had."""
        if self._facts is None:
            self._facts = self._value("describe")
            self.usage(warn=warn)
        return self._facts

    def question(self, prompt: Prompt) -> Question:
        """What is asked, with a draft where the model uses drafts: made once, by the reference compiler."""
        if prompt not in self._questions:
            # Under other names the reference's assembly has nothing in common with answers.
            drafts = self.describe().get("drafts") and not prompt.symbol_names
            draft = _draft(prompt) if drafts else ""
            self._questions[prompt] = Question(*prompt.key[:4], prompt.text, draft)
        return self._questions[prompt]

    def plan(self, question: Question, samples: int, turn: int, known: frozenset[int] = frozenset()) -> None:
        """Have samples made before anybody waits for them, but for the `known`; the smaller `turn`, the earlier."""
        self._value("plan", question, samples, turn, known)

    def answers(self, prompt: Prompt, samples: int, known: frozenset[int] = frozenset()) -> Iterator[Answer]:
        """Yield answers number 0 to `samples` - 1 that are not `known`, in the order in which they are made.

        Raises PromptTooLong, or ModelError where the model fails.
        """
        for kind, *values in self._replies("answers", self.question(prompt), samples, known):
            assert kind == "answer"
            answer: Answer = values[0]
            names = prompt.symbol_names
            yield replace(answer, text=restore_names(answer.text, names)) if names else answer

    def usage(self, *, warn: bool = True) -> dict[str, Any]:
        """What the owner did so far. What it warned of since the last time becomes warnings here, or is kept."""
        usage: dict[str, Any] = self._value("usage", warn)
        for words in usage.pop("warnings"):
            warnings.warn(words, UserWarning, stacklevel=3)
        return usage

    def close(self) -> None:
        """End the owner's process, where this process started it."""
        if self._owner:
            self._owner.close()

    def _value(self, *request: Any) -> Any:
        [(_, value)] = self._replies(*request)
        return value

    def _replies(self, *request: Any) -> Iterator[tuple[Any, ...]]:
        with self._connection() as connection:
            connection.send(request)
            while (reply := connection.recv())[0] != "end":
                if reply[0] == "error":
                    raise ModelError(reply[1])
                if reply[0] == "too-long":
                    raise PromptTooLongError(*reply[1:])
                yield reply

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        try:
            with Client(self._address.socket, "AF_UNIX") as connection:
                yield connection
        except (EOFError, OSError) as error:
            raise _died(self._address) from error


def _draft(prompt: Prompt) -> str:
    """What a good answer looks like: the reference compiler's own, in the tags that models put around it."""
    try:
        return f"<code>{prompt.reference()}</code>"
    except Exception:  # a pass list that clang does not know, for one: then there is no draft
        return ""


def _died(address: OwnerAddress) -> ModelError:
    """What there is to say of an owner that is gone."""
    try:
        lines = Path(address.log).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ModelError("the model's process ended, or is on another machine: there only a server can be asked")
    said = "".join(f"\n  {line}" for line in lines[-_LAST_LINES:])
    return ModelError(f"the model's process ended{'; the last lines of its log:' if said else ''}{said}")

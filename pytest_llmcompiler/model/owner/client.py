"""The client of the owner process: it starts the process, sends questions, and receives answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import IO, Any, NamedTuple

from pytest_llmcompiler.errors import ModelError
from pytest_llmcompiler.model.answer import Answer, ModelSettings, Prompt, Question
from pytest_llmcompiler.model.owner.messages import Action, End, ErrorReply, OwnerConfiguration, Reply, Request
from pytest_llmcompiler.program.short import restore_names
from pytest_llmcompiler.subprocesses import build_command
from pytest_llmcompiler.temporary import make_folder

_LOG_LINES = 8
"""Last lines of a dead process's log that an error message shows."""
_LONGEST_FOLDER = 100
"""Bytes of the path of the socket's folder: Linux allows 107 for a socket (unix(7)), with `/socket` at its end."""


class OwnerAddress(NamedTuple):
    """Where processes of this machine find the owner process. Plain texts: xdist sends it to its workers."""

    socket: str
    """The path of the socket. No other user may enter its folder, so whoever finds the socket may ask."""
    log: str
    """The path of llama.cpp's log."""


class OwnerProcess:
    """The owner process, which this process starts and ends."""

    def __init__(self, spec: str, settings: ModelSettings) -> None:
        """Start the process for a GGUF file or a URL. It opens the model when the model is first needed.

        Raises ModelError where the process does not start.
        """
        self._folder = make_folder()
        if len(str(self._folder)) > _LONGEST_FOLDER:
            self._folder = Path(tempfile.mkdtemp(prefix="llmc-", dir="/tmp"))
        log = settings.log or self._folder / "log"
        self.address = OwnerAddress(socket=str(self._folder / "socket"), log=str(log))
        configuration = OwnerConfiguration(spec=spec, socket=self.address.socket, settings=settings)
        with self._open_log(log) as errors:
            self._process = subprocess.Popen(
                build_command("pytest_llmcompiler.model.owner.process", folder=self._folder),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                # Without this llama.cpp prints a debugger's stack over its own last message when it aborts.
                env={**os.environ, "GGML_NO_BACKTRACE": "1"},
                encoding="utf-8",
            )
        assert self._process.stdin and self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.write(configuration.to_json() + "\n")
            self._process.stdin.flush()
        if not self._process.stdout.readline():
            error = _describe_death(self.address)
            self.close()
            raise error

    def _open_log(self, log: Path) -> IO[str]:
        try:
            return log.open("w")
        except OSError as error:
            shutil.rmtree(self._folder)
            raise ModelError(f"can't write llama.cpp's log (--llmc-model-log) to {log}: {error.strerror}") from error

    def close(self) -> None:
        """End the process at once. Finished answers are in the answer cache."""
        self._process.kill()
        self._process.communicate()
        shutil.rmtree(self._folder, ignore_errors=True)


class OwnedModel:
    """A model in an owner process. Thread-safe."""

    def __init__(self, address: OwnerAddress, owner: OwnerProcess | None = None) -> None:
        """`owner` is the process, where `close` should end it."""
        self.address = address
        self._owner = owner
        self._questions: dict[Prompt, Question] = {}
        self._facts: dict[str, Any] | None = None

    def describe(self, *, warn: bool = True) -> dict[str, Any]:
        """The facts of the backend. With `warn` its warnings are warned of here. Raises ModelError where the model
        can't be opened."""
        if self._facts is None:
            self._facts = self._get_value("describe")
            self.usage(warn=warn)
        return self._facts

    def build_question(self, prompt: Prompt) -> Question:
        """The question of a prompt, with a draft where the model uses drafts. The draft is compiled once."""
        if prompt not in self._questions:
            # With other symbol names the reference's assembly has nothing in common with answers.
            has_draft = self.describe().get("drafts") and not prompt.symbol_names
            self._questions[prompt] = Question(
                case=prompt.key.case,
                function=prompt.key.function,
                task=prompt.key.task,
                passes=prompt.key.passes,
                text=prompt.text,
                draft=_build_draft(prompt) if has_draft else "",
            )
        return self._questions[prompt]

    def plan(self, question: Question, samples: int, order: int, known: frozenset[int] = frozenset()) -> None:
        """Have samples that are not `known` generated before anybody waits for them; the smallest `order` first."""
        self._get_value("plan", question, samples, order, known)

    def answers(self, prompt: Prompt, samples: int, known: frozenset[int] = frozenset()) -> Iterator[Answer]:
        """Yield answers number 0 to `samples` - 1 that are not `known`, in the order in which they are finished.

        Raises PromptTooLongError, or ModelError where the model fails.
        """
        names = prompt.symbol_names
        for answer in self._get_values("answers", self.build_question(prompt), samples, known):
            yield replace(answer, text=restore_names(answer.text, names)) if names else answer

    def usage(self, *, warn: bool = True) -> dict[str, Any]:
        """What the backend did so far, and `found`, the number of answers from the cache. With `warn` the backend's
        warnings since the last call are warned of here; else they are left for a later call."""
        usage: dict[str, Any] = self._get_value("usage", warn)
        for message in usage.pop("warnings"):
            warnings.warn(message, UserWarning, stacklevel=3)
        return usage

    def close(self) -> None:
        """End the owner process, if it belongs to this object."""
        if self._owner:
            self._owner.close()

    def _get_value(self, action: Action, *arguments: Any) -> Any:
        [value] = self._get_values(action, *arguments)
        return value

    def _get_values(self, action: Action, *arguments: Any) -> Iterator[Any]:
        """Send a request, and yield the values of its replies. Raises the error of an error reply."""
        with self._connect() as connection:
            connection.send(Request(action, arguments))
            while True:
                reply: Reply = connection.recv()
                if isinstance(reply, End):
                    return
                if isinstance(reply, ErrorReply):
                    raise reply.to_error()
                yield reply.value

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        try:
            with Client(self.address.socket, "AF_UNIX") as connection:
                yield connection
        except (EOFError, OSError) as error:
            raise _describe_death(self.address) from error


def _build_draft(prompt: Prompt) -> str:
    """What a correct answer looks like: the reference compiler's, between the tags that models write around it."""
    try:
        return f"<code>{prompt.reference()}</code>"
    except Exception:  # without a draft answers take longer and are the same; clang may not know the pass list
        return ""


def _describe_death(address: OwnerAddress) -> ModelError:
    """The error for an owner process that is gone."""
    try:
        lines = Path(address.log).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ModelError(
            "the model's process ended, or runs on another machine: workers on other machines need a server "
            "(--llmc-model http://…)"
        )
    shown = "".join(f"\n  {line}" for line in lines[-_LOG_LINES:])
    return ModelError(f"the model's process ended{'; the last lines of its log:' if shown else ''}{shown}")

"""The process that owns the model. Whoever needs answers, in whatever process, asks it.

So a model is loaded once for all of xdist's workers, a crash of llama.cpp ends no session, and the model generates
answers while pytest does other things. The process ends with its parent (`subprocesses.py`).
"""

from __future__ import annotations

import hashlib
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any, NamedTuple

from pytest_llmcompiler.errors import ModelError, PromptTooLongError
from pytest_llmcompiler.model.answer import Answer, Question
from pytest_llmcompiler.model.llama.weights import find_parts
from pytest_llmcompiler.model.owner.messages import (
    Action,
    End,
    ErrorReply,
    OwnerConfiguration,
    Reply,
    ReplyValue,
    Request,
)
from pytest_llmcompiler.model.queue.answer_cache import AnswerCache
from pytest_llmcompiler.model.queue.backend import Backend
from pytest_llmcompiler.model.queue.file_hash import hash_file
from pytest_llmcompiler.model.queue.job_queue import JobQueue

_BACKLOG = 64
"""Clients that may wait to be accepted: more than a machine has workers of xdist."""
_ACCEPT_PAUSE = 0.1
"""Seconds before the next attempt to accept a client, after an error like too many open files."""


class OpenModel(NamedTuple):
    """A model that answers."""

    backend: Backend
    job_queue: JobQueue
    sha256: str | None
    """The hash of the model's file, where one was computed for the answer cache."""


class ModelOwner:
    """Opens the model when a client first needs it, and answers requests of clients."""

    def __init__(self, configuration: OwnerConfiguration) -> None:
        self._configuration = configuration
        self._lock = threading.Lock()
        self._model: OpenModel | ModelError | None = None
        """None before the first need; the error where the model can't be opened."""
        self._warnings: list[str] = []
        """Warnings that no client has fetched yet."""
        warnings.showwarning = lambda message, *_, **__: self._warnings.append(str(message))
        warnings.simplefilter("always")

    def serve(self, listener: Listener) -> None:
        """Accept any number of clients, for ever."""
        while True:
            try:
                connection = listener.accept()
            except OSError:
                time.sleep(_ACCEPT_PAUSE)
                continue
            threading.Thread(target=self._serve_client, args=(connection,), daemon=True).start()

    def _serve_client(self, connection: Connection) -> None:
        """Answer the requests of one client until it goes."""
        try:
            while True:
                for reply in self._reply(connection.recv()):
                    connection.send(reply)
        except (EOFError, OSError):
            connection.close()

    def _reply(self, request: Request) -> Iterator[Reply]:
        """The replies to a request. Errors are replies too."""
        actions: dict[Action, Callable[..., Iterator[Any]]] = {
            "describe": self._describe,
            "plan": self._plan,
            "answers": self._answers,
            "usage": self._usage,
        }
        try:
            yield from map(ReplyValue, actions[request.action](*request.arguments))
            yield End()
        except (ModelError, PromptTooLongError) as error:
            yield ErrorReply.from_error(error)
        except Exception:
            yield ErrorReply(f"the model's process failed:\n{traceback.format_exc()}")

    def _describe(self) -> Iterator[dict[str, Any]]:
        model = self._open()
        yield model.backend.describe() | ({"sha256": model.sha256} if model.sha256 else {})

    def _plan(self, question: Question, samples: int, order: int, known: frozenset[int]) -> Iterator[None]:
        self._open().job_queue.plan(question, samples, order, known)
        yield None

    def _answers(self, question: Question, samples: int, known: frozenset[int]) -> Iterator[Answer]:
        yield from self._open().job_queue.answers(question, samples, known)

    def _usage(self, fetch_warnings: bool) -> Iterator[dict[str, Any]]:
        usage: dict[str, Any] = {}
        if self._model is not None:  # a model that nobody has needed is not opened for its usage
            model = self._open()
            usage = {"found": model.job_queue.found_in_store, **model.backend.usage()}
        messages: list[str] = []
        if fetch_warnings:
            messages, self._warnings = self._warnings, []
        yield {**usage, "warnings": messages}

    def _open(self) -> OpenModel:
        """The model, which is opened if it is not yet. Raises ModelError, with each call again."""
        with self._lock:
            if self._model is None:
                self._model = _open_model(self._configuration)
            model = self._model
        if isinstance(model, ModelError):
            raise model
        return model


def _open_model(configuration: OwnerConfiguration) -> OpenModel | ModelError:
    """Open the model and start to generate; or return why that failed."""
    try:
        backend = _create_backend(configuration)
        sha256, answer_cache = _open_answer_cache(configuration, backend)
    except ModelError as error:
        return error
    except Exception:
        return ModelError(f"the model can't be opened:\n{traceback.format_exc()}")
    job_queue = JobQueue(answer_cache)
    threading.Thread(target=_generate, args=(backend, job_queue), daemon=True).start()
    return OpenModel(backend, job_queue, sha256)


def _create_backend(configuration: OwnerConfiguration) -> Backend:
    spec, settings = configuration.spec, configuration.settings
    if spec.startswith(("http://", "https://")):
        from pytest_llmcompiler.model.server.backend import ServerBackend

        return ServerBackend(spec, settings.sampling)
    from pytest_llmcompiler.model.llama.backend import LlamaBackend

    return LlamaBackend(
        Path(spec),
        settings.sampling,
        n_ctx=settings.n_ctx,
        gpu_layers=settings.gpu_layers,
        streams=settings.streams,
        drafts=settings.drafts,
    )


def _open_answer_cache(configuration: OwnerConfiguration, backend: Backend) -> tuple[str | None, AnswerCache | None]:
    """The hash of the model's file, None for a server; and the answer cache, None where the settings name none."""
    settings = configuration.settings
    if settings.store is None:
        return None, None
    file, identity, sha256 = Path(configuration.spec), backend.identity(), None
    if file.is_file():
        hashes = [hash_file(part, settings.store) for part in find_parts(file)]
        sha256 = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
        identity["sha256"] = sha256
    return sha256, AnswerCache(settings.store, identity, settings.sampling, refresh=settings.refresh)


def _generate(backend: Backend, job_queue: JobQueue) -> None:
    """Let the backend work. Its failure is the error of all who wait for answers."""
    try:
        backend.work(job_queue)
    except ModelError as error:
        job_queue.fail(error)
    except Exception:
        job_queue.fail(ModelError(f"the model's process failed:\n{traceback.format_exc()}"))


def main() -> None:
    """Read the configuration from standard input, and print a line once clients can connect."""
    configuration = OwnerConfiguration.from_json(sys.stdin.readline())
    with Listener(configuration.socket, "AF_UNIX", backlog=_BACKLOG) as listener:
        print("ready", flush=True)
        ModelOwner(configuration).serve(listener)

"""The process that owns the model: whoever needs answers, in whatever process, asks it.

So a model is loaded once for all workers, llama.cpp can take no session down with it, and the model goes on while
pytest does other things. It ends when its standard input does.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

from pytest_llmcompiler.errors import ModelError, PromptTooLongError
from pytest_llmcompiler.model.answer import Question, Sampling
from pytest_llmcompiler.model.llama.weights import find_parts
from pytest_llmcompiler.model.queue.answer_cache import AnswerCache, content_hash
from pytest_llmcompiler.model.queue.backend import Backend
from pytest_llmcompiler.model.queue.job_queue import JobQueue


class ModelOwner:
    """Opens the model when somebody first needs it."""

    def __init__(self, order: dict[str, Any]) -> None:
        """`order` holds the fields of ModelSettings, and the `spec` of a file or server."""
        self._order = order
        self._lock = threading.Lock()
        self._sha256: str | None = None
        """Of the model's file, where it was made for the store."""
        self._warnings: list[str] = []
        warnings.showwarning = lambda message, *_, **__: self._warnings.append(str(message))
        warnings.simplefilter("always")

    def serve(self, listener: Listener) -> None:
        """Let any number of clients in, for ever."""
        while True:
            try:
                connection = listener.accept()
            except OSError:  # too many open files, for one
                time.sleep(0.1)
                continue
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    @functools.cached_property
    def _opened(self) -> tuple[Backend, JobQueue] | ModelError:
        try:
            backend = _backend(self._order)
            job_queue = JobQueue(self._store(backend))
        except ModelError as error:
            return error
        except Exception:
            return ModelError(f"the model can't be opened:\n{traceback.format_exc()}")
        threading.Thread(target=_work, args=(backend, job_queue), daemon=True).start()
        return backend, job_queue

    def _open(self) -> tuple[Backend, JobQueue]:
        with self._lock:
            opened = self._opened
        if isinstance(opened, ModelError):
            raise opened
        return opened

    def _store(self, backend: Backend) -> AnswerCache | None:
        if not self._order["store"]:
            return None
        path, identity = Path(self._order["store"]), backend.identity()
        file = Path(self._order["spec"])
        if file.is_file():
            hashes = [content_hash(part, path) for part in find_parts(file)]
            whole = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
            identity["sha256"] = self._sha256 = whole
        return AnswerCache(path, identity, Sampling(**self._order["sampling"]), refresh=self._order["refresh"])

    def _answer(self, connection: Connection) -> None:
        """Answer the requests of one client until it goes."""
        actions: dict[str, Callable[..., Iterator[tuple[Any, ...]]]] = {
            "describe": self._describe,
            "plan": self._plan,
            "answers": self._answers,
            "usage": self._usage,
        }
        try:
            while True:
                name, *args = connection.recv()
                for reply in _told(actions[name], args):
                    connection.send(reply)
        except (EOFError, OSError):
            connection.close()

    def _describe(self) -> Iterator[tuple[Any, ...]]:
        facts = self._open()[0].describe()
        yield "value", facts | ({"sha256": self._sha256} if self._sha256 else {})

    def _plan(self, question: Question, samples: int, turn: int, known: frozenset[int]) -> Iterator[tuple[Any, ...]]:
        self._open()[1].plan(question, samples, turn, known)
        yield "value", None

    def _answers(self, question: Question, samples: int, known: frozenset[int]) -> Iterator[tuple[Any, ...]]:
        for answer in self._open()[1].answers(question, samples, known):
            yield "answer", answer

    def _usage(self, warned: bool) -> Iterator[tuple[Any, ...]]:
        usage: dict[str, Any] = {}
        if "_opened" in self.__dict__:  # a model that nobody asked is not opened for that
            backend, job_queue = self._open()
            usage = {"found": job_queue.found, **backend.usage()}
        told: list[str] = []
        if warned:
            told, self._warnings = self._warnings, []
        yield "value", {**usage, "warnings": told}


def _told(action: Callable[..., Iterator[tuple[Any, ...]]], args: list[Any]) -> Iterator[tuple[Any, ...]]:
    """The replies to a request; faults are replies too."""
    try:
        yield from action(*args)
        yield ("end",)
    except PromptTooLongError as error:
        yield "too-long", error.prompt_tokens, error.context
    except ModelError as error:
        yield "error", str(error)
    except Exception:
        yield "error", f"the model's process failed:\n{traceback.format_exc()}"


def _backend(order: dict[str, Any]) -> Backend:
    spec, sampling = order["spec"], Sampling(**order["sampling"])
    if spec.startswith(("http://", "https://")):
        from pytest_llmcompiler.model.server.backend import ServerBackend

        return ServerBackend(spec, sampling)
    from pytest_llmcompiler.model.llama.backend import LlamaBackend

    fields = {name: order[name] for name in ("n_ctx", "gpu_layers", "streams", "drafts")}
    return LlamaBackend(Path(spec), sampling, **fields)


def _work(backend: Backend, job_queue: JobQueue) -> None:
    try:
        backend.work(job_queue)
    except ModelError as error:
        job_queue.fail(error)
    except Exception:
        job_queue.fail(ModelError(f"the model's process failed:\n{traceback.format_exc()}"))


def _end_with_parent(folder: Path) -> None:
    sys.stdin.read()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def main() -> None:
    """Read the order, a line of JSON, from standard input; say on standard output when clients can come."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the session decides when a run is over
    order = json.loads(sys.stdin.readline())
    with Listener(order["address"], "AF_UNIX", backlog=64) as listener:
        threading.Thread(target=_end_with_parent, args=(Path(order["address"]).parent,), daemon=True).start()
        print("ready", flush=True)
        ModelOwner(order).serve(listener)

"""`Judge`: verdicts on single answers and on batches, for threads and for asyncio."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from pytest_llmcompiler.errors import JudgeTimeoutError
from pytest_llmcompiler.judge.pool import JudgePool, read_reply
from pytest_llmcompiler.judge.settings import JudgeSettings, NativeMode, check_effort, check_native, check_prover
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.model.llama.resources import count_cores
from pytest_llmcompiler.service.error_verdict import describe_error
from pytest_llmcompiler.service.face import JudgeFace
from pytest_llmcompiler.service.questions import EncodedQuestions
from pytest_llmcompiler.service.sample import Sample
from pytest_llmcompiler.targets.levels import IsaLevel

_QUICK_CHARACTERS = 1 << 17
"""Characters of source and answer that are hashed in an event loop, which takes a tenth of a millisecond. Longer ones,
and questions that are new, of which files are read and written, are left to another thread."""


class Judge(JudgeFace[bytes]):
    """Judges samples in a pool of processes. Any number of threads and event loops may use one judge.

    `workers` is the number of processes, all cores by default. `examples`, `seed`, `effort` and `prove` are as for
    `check`. A smaller input that shows a failure is searched for only with `explain`: the search takes most of the time
    that wrong code takes. With `count_agreeing`, `detail["agreeing"]` of code that runs and fails is the number of the
    `detail["inputs"]` on which it does what the reference does. Each of them is run for that, which takes several times
    as long as the verdict.

    `timeout` is a limit for each sample, in seconds of wall-clock time: where it is reached, the verdict is
    `inconclusive`, with the type `Timeout` in `detail["error"]`, and the process is replaced. The time begins when a
    process has the sample and has prepared its function. Preparing has limits of its own. Without `timeout` a sample is
    limited by the instructions that its code may execute.

    The same answer to the same question is judged once, while it is judged and for some time after: tens of thousands
    of verdicts are kept. A process that dies is replaced, and the sample that it judged is judged again, twice at most.

    The processes end with `close`, at the end of a `with` block, with the judge itself, and with the process that holds
    it, however that ends. A child process has to use a judge in its own way: a forked one may use that of its parent,
    and gets processes of its own; a judge that is pickled becomes another one with the same settings.

    `native` and `isa` are as for `check`.

    Raises ValueError for a number of processes below 1, for an unknown mode or level, for an effort that is no number
    of 0 or more and for a time limit that is no number above 0; SettingError where libraries for proofs are missing.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        examples: int = 100,
        seed: int = 1,
        effort: float = 1.0,
        explain: bool = False,
        prove: bool = False,
        count_agreeing: bool = False,
        timeout: float | None = None,
        native: NativeMode = "off",
        isa: IsaLevel = "x86-64",
    ) -> None:
        if prove:
            check_prover()
        native, isa = check_native(native, isa)
        self.workers = count_cores() if workers is None else check_workers(workers)
        self._timeout = check_timeout(timeout)
        self._explain = explain
        self._settings = JudgeSettings(
            examples,
            seed,
            effort=check_effort(effort),
            prove=prove,
            count_agreeing=count_agreeing,
            native=native,
            isa=isa,
        )
        self._questions = EncodedQuestions(self._settings, explain=explain)
        self._pool = JudgePool(self.workers)

    def check(self, sample: Sample) -> Verdict:
        """The verdict on one sample.

        Raises CaseError where the source is at fault, ValueError for an unknown target, JudgeError where the harness
        is at fault, and after `close`. Whatever is wrong with the answer is a verdict.
        """
        future = self._submit(sample)
        try:
            return _read_verdict(self._pool.wait(future))
        except JudgeTimeoutError as error:
            return describe_error(error)

    async def acheck(self, sample: Sample) -> Verdict:
        """The verdict on one sample, as `check` gives it, without holding up the event loop. Raises as `check` does."""
        is_quick = self._is_quick(sample)
        future = self._submit(sample) if is_quick else await asyncio.to_thread(self._submit, sample)
        try:
            return _read_verdict(read_reply(await asyncio.wrap_future(future)))
        except JudgeTimeoutError as error:
            return describe_error(error)
        finally:
            self._pool.forget([future])

    def close(self) -> None:
        """End the processes for good. Calls that wait for a verdict raise JudgeError."""
        self._is_closed = True
        self._pool.close(for_good=True)

    def __reduce__(self) -> tuple[Any, ...]:
        settings = self._settings
        return _open_judge, (
            self.workers,
            {
                "examples": settings.examples,
                "seed": settings.seed,
                "effort": settings.effort,
                "explain": self._explain,
                "prove": settings.prove,
                "count_agreeing": settings.count_agreeing,
                "timeout": self._timeout,
                "native": settings.native,
                "isa": settings.isa,
            },
        )

    def _submit(self, sample: Sample) -> Future[bytes]:
        self._check_open()
        return self._pool.submit(self._questions.encode(sample), sample.answer, self._timeout)

    def _is_quick(self, sample: Sample) -> bool:
        size = len(sample.answer) + (0 if isinstance(sample.source, Path) else len(sample.source))
        return size <= _QUICK_CHARACTERS and self._questions.has(sample)

    def _read(self, future: Future[bytes]) -> Verdict:
        return _read_verdict(read_reply(future.result()))

    def _forget(self, futures: Iterable[Future[bytes]]) -> None:
        self._pool.forget(futures)


def _open_judge(workers: int, settings: dict[str, Any]) -> Judge:
    return Judge(workers, **settings)


def check_workers(workers: int) -> int:
    """A number of processes. Raises ValueError for what is none."""
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"expected a number of processes of 1 or more, found {workers!r}")
    return workers


def check_timeout(timeout: float | None) -> float | None:
    """A time limit in seconds. Raises ValueError for what is none."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < math.inf:
        raise ValueError(f"expected a time limit in seconds above 0, found {timeout!r}")
    return float(timeout)


def _read_verdict(reply: Any) -> Verdict:
    return Verdict.from_json(reply["verdict"])

"""`RayJudge`: the face of `Judge`, with processes on all machines of a Ray cluster."""

from __future__ import annotations

import asyncio
import functools
import os
import weakref
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from pytest_llmcompiler.errors import SettingError
from pytest_llmcompiler.judge.settings import NativeMode, check_effort, check_native, check_prover
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.service.error_verdict import raise_error
from pytest_llmcompiler.service.face import JudgeFace
from pytest_llmcompiler.service.judge import check_timeout, check_workers
from pytest_llmcompiler.service.ray_actor import ActorPlace, JudgeActor
from pytest_llmcompiler.service.ray_dispatcher import RayDispatcher
from pytest_llmcompiler.service.sample import Sample
from pytest_llmcompiler.service.shared_cache import CacheMarker
from pytest_llmcompiler.targets.levels import IsaLevel


class RayJudge(JudgeFace[Verdict]):
    """Judges samples with actors of Ray, each of which takes one CPU and has one judge process.

    `num_workers` is the number of actors, all CPUs of the cluster by default. They are used as soon as they run, so
    there may be more than the cluster has CPUs now. `address` is that of the cluster, as for `ray.init`; it is not used
    where this process is connected already. The other arguments are those of `Judge`.

    An actor that dies is started again, on another machine if need be, and its samples are judged by others, a sample
    at most twice more. A batch always comes back whole and in order. Any number of threads and event loops may use one
    judge; a forked child may not, as it may not use Ray.

    Sources that are text are sent along. A `Path`, and paths in `cflags`, must name the same files on all machines;
    relative ones start at the folder in which the judge was made.

    Raises SettingError where Ray, or what proofs need, is not installed, ValueError for a setting that `Judge` refuses,
    ConnectionError where there is no cluster at the address.
    """

    def __init__(
        self,
        num_workers: int | None = None,
        *,
        address: str | None = None,
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
        settings = {
            "examples": examples,
            "seed": seed,
            "effort": check_effort(effort),
            "explain": explain,
            "prove": prove,
            "count_agreeing": count_agreeing,
            "timeout": check_timeout(timeout),
            "native": native,
            "isa": isa,
        }
        if num_workers is not None:
            check_workers(num_workers)
        _connect(address)
        self.workers = num_workers or _count_cpus()
        marker = CacheMarker()
        cache = os.environ.get("LLMC_CACHE")
        place = ActorPlace(str(Path.cwd()), str(Path(cache).absolute()) if cache else None, marker.path.name)
        self._dispatcher = RayDispatcher(self.workers, functools.partial(_create_actor, settings, place))
        self._finalizer = weakref.finalize(self, _close, self._dispatcher, marker)

    def check(self, sample: Sample) -> Verdict:
        """The verdict on one sample. Raises what `Judge.check` raises, and JudgeError where three actors died of it."""
        future = self._submit(sample)
        try:
            return self._read(future)
        finally:
            self._forget([future])

    async def acheck(self, sample: Sample) -> Verdict:
        """The verdict on one sample, as `check` gives it, without holding up the event loop. Raises as `check` does."""
        return raise_error(await asyncio.wrap_future(self._submit(sample)))  # ended, it cancels the future

    def close(self) -> None:
        """End the actors for good. Calls that wait for a verdict raise JudgeError. The connection to Ray stays."""
        self._is_closed = True
        self._finalizer()

    def _submit(self, sample: Sample) -> Future[Verdict]:
        self._check_open()
        return self._dispatcher.submit(sample)

    def _read(self, future: Future[Verdict]) -> Verdict:
        return raise_error(future.result())

    def _forget(self, futures: Iterable[Future[Verdict]]) -> None:
        for future in futures:
            future.cancel()


def _connect(address: str | None) -> None:
    try:
        import ray
    except ImportError as error:
        raise SettingError("a judge on Ray needs ray: pip install 'pytest-llmcompiler[ray]'") from error
    if not ray.is_initialized():
        ray.init(address=address)


def _count_cpus() -> int:
    """The CPUs of the cluster."""
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _create_actor(settings: Mapping[str, Any], place: ActorPlace) -> Any:
    import ray

    # Restarted as often as it dies; what becomes of its calls is the schedule's own business.
    options = {"num_cpus": 1, "max_restarts": -1, "max_task_retries": 0}
    return ray.remote(JudgeActor).options(**options).remote(settings, place)


def _close(dispatcher: RayDispatcher, marker: CacheMarker) -> None:
    dispatcher.close()
    marker.close()

"""What an actor of Ray does: it holds a judge with one process, and judges the samples that it is sent."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pytest_llmcompiler.cache_files import describe_libraries, describe_package
from pytest_llmcompiler.files import cache_folder
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.service.judge import Judge
from pytest_llmcompiler.service.sample import Sample
from pytest_llmcompiler.service.shared_cache import list_missing, read_used_files, store_files

_LIBRARIES = ("llvmlite", "ziglang", "unicorn", "keystone-engine", "capstone", "hypothesis")
"""The libraries on whose releases verdicts may depend."""


_FETCH_SECONDS = 30.0
"""How long files may take to come from another machine, before they are computed here."""


class ActorPlace(NamedTuple):
    """How actors are to find what the driver has."""

    folder: str
    """The current folder of the driver, at which relative paths of samples start."""
    cache: str | None
    """The driver's $LLMC_CACHE."""
    marker: str
    """The name of a file in the driver's cache folder."""


class ActorDescription(NamedTuple):
    """What an actor says of itself when it is ready."""

    package: str
    """A digest of the package's text, and the releases of its libraries."""
    shares_cache: bool
    """Whether its cache folder is the driver's."""


class Shipment(NamedTuple):
    """The files of the cache that preparing a function took, in the object store."""

    names: tuple[str, ...]
    files: Any
    """A reference to their contents by their names."""


class TimedVerdict(NamedTuple):
    """A verdict, and the seconds that the judge took for it."""

    verdict: Verdict
    seconds: float


class ActorReply(NamedTuple):
    """What a call of an actor returns."""

    judged: list[TimedVerdict]
    """In the order of the samples."""
    shipment: Shipment | None


class JudgeActor:
    """A judge with one process. Ray makes it an actor. Nothing is lost with it but time: what it has prepared is in the
    cache."""

    def __init__(self, settings: Mapping[str, Any], place: ActorPlace) -> None:
        with contextlib.suppress(OSError):  # where the machine has no such folder, samples have no relative paths
            os.chdir(place.folder)
        if place.cache:
            os.environ["LLMC_CACHE"] = place.cache
        self._marker = place.marker
        self._judge = Judge(1, **settings)

    def describe(self) -> ActorDescription:
        """What the driver needs to know before it sends samples."""
        return ActorDescription(describe_judge(), (cache_folder() / self._marker).exists())

    def judge(self, samples: Sequence[Sample], shipments: Sequence[Shipment], is_shipping: bool) -> ActorReply:
        """Judge samples. `shipments` has what other actors prepared for them. With `is_shipping`, the reply has the
        files that the samples needed."""
        for shipment in shipments:
            _unpack(shipment)
        start = time.time_ns()
        judged = list(self._judge_all(samples))
        return ActorReply(judged, _pack(start) if is_shipping else None)

    def _judge_all(self, samples: Sequence[Sample]) -> Iterator[TimedVerdict]:
        last = time.monotonic()
        for verdict in self._judge.check_many(samples):
            now = time.monotonic()
            yield TimedVerdict(verdict, now - last)
            last = now


def describe_judge() -> str:
    """All that the verdicts of a machine depend on beside samples and settings."""
    return f"{describe_package()} {describe_libraries(*_LIBRARIES)}"


def _pack(start_ns: int) -> Shipment | None:
    import ray

    files = read_used_files(start_ns)
    return Shipment(tuple(files), ray.put(files)) if files else None


def _unpack(shipment: Shipment) -> None:
    """Put the files into the cache, unless it has them. What was lost with its machine is prepared once more."""
    import ray

    if list_missing(shipment.names):
        with contextlib.suppress(ray.exceptions.RayError):
            store_files(ray.get(shipment.files, timeout=_FETCH_SECONDS))

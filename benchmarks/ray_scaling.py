"""Measure how the judge on Ray grows with its workers, and what a sample costs the driver.

    python benchmarks/ray_scaling.py [--functions 20] [--answers 50] [--workers 1 2] [--empty 20000]
    python benchmarks/ray_scaling.py --functions 20 --answers 100 --kill 20

Two tables, in Markdown, and a line about placement among a thousand actors.

The first table has verdicts a second of `Judge` and of `RayJudge` with so many workers, on the same answers, a third of
them wrong, all different, with all functions prepared before. More workers than cores tell nothing. The processor time
of all processes says what a verdict costs on a machine that has other work too.

The second has what the driver alone does: actors that judge nothing reply at once, as many samples in a call as there
would be of samples that take 100, 5 or 1.5 ms each. What is measured is the processor time of the driver's process with
all threads of Ray in it, so that a busy machine changes it little.

With `--kill`, so many actors are killed at random in the middle of the batch, and the verdicts are compared.

A cluster of this machine alone is started. Files go to a temporary folder; the user's cache is not used.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

try:
    import ray
except ImportError as error:
    sys.exit(f"{error}: ray_scaling.py needs Ray; install `pip install -e .[ray]`")

from pytest_llmcompiler import Judge, Sample, Verdict
from pytest_llmcompiler.service.actor_slots import ActorSlot, KnownFunctions
from pytest_llmcompiler.service.ray_actor import ActorPlace, ActorReply, JudgeActor, Shipment, TimedVerdict
from pytest_llmcompiler.service.ray_dispatcher import RayDispatcher
from pytest_llmcompiler.service.ray_judge import RayJudge

_EMPTY_WORKERS = 2
"""Actors that judge nothing: enough to keep the driver busy."""
_READ_AHEAD = 1024
"""Samples that are under way at once."""
_SAMPLE_SECONDS = (0.1, 0.005, 0.0015)
"""Times of a sample for which the driver makes calls of 1, 20 and 64 samples."""


class IdleActor(JudgeActor):
    """Replies at once, and says that each sample took `seconds`."""

    def __init__(self, seconds: float, place: ActorPlace) -> None:
        super().__init__({}, place)
        self._seconds = seconds

    def judge(self, samples: Sequence[Sample], shipments: Sequence[Shipment], is_shipping: bool) -> ActorReply:
        verdict = Verdict("mismatch", "return value: expected 7, observed 4", ("x = 3", "the return value differs"))
        return ActorReply([TimedVerdict(verdict, self._seconds) for _ in samples], None)


def main() -> None:
    """The command line."""
    options = _parse_arguments()
    with tempfile.TemporaryDirectory(prefix="llmc-ray-") as folder:
        os.environ["LLMC_CACHE"] = folder
        ray.init("local", num_cpus=max(*options.workers, _EMPTY_WORKERS), include_dashboard=False, log_to_driver=False)
        samples = list(make_samples(options.functions, options.answers))
        if options.kill:
            _kill_actors(samples, max(options.workers), options.kill)
        else:
            _measure_workers(samples, options.workers)
            empty = list(make_samples(options.functions, max(1, options.empty // options.functions)))
            _measure_driver(empty)
            _measure_placement(empty)
        ray.shutdown()


def make_samples(functions: int, answers: int) -> Iterator[Sample]:
    """Right and wrong answers to functions with a loop and a buffer, function by function in turn, all different."""
    for number in range(answers):
        for function in range(functions):
            name, factor = f"digest{function}", 2 * function + 3
            source = (
                f"unsigned {name}(const unsigned char *data, int size)\n{{\n    unsigned sum = {function}u;\n"
                f"    for (int i = 0; i < size; i++) sum = sum * {factor}u + data[i];\n    return sum;\n}}\n"
            )
            used = factor if number % 3 else factor + 1
            answer = (
                f"{name}:\n\tmovl ${function}, %eax\n\txorl %ecx, %ecx\n\tmovl ${number}, %r8d\n1:\tcmpl %esi, %ecx\n"
                f"\tjge 2f\n\timull ${used}, %eax, %eax\n\tmovzbl (%rdi,%rcx), %edx\n\taddl %edx, %eax\n\tincl %ecx\n"
                "\tjmp 1b\n2:\tretq\n"
            )
            yield Sample(source, name, answer)


def _measure_workers(samples: list[Sample], workers: Sequence[int]) -> None:
    first = {sample.function: sample for sample in samples}.values()
    judges: list[tuple[str, Callable[[], Judge | RayJudge]]] = []
    for count in workers:
        judges += [(f"Judge, {count}", functools.partial(Judge, count))]
        judges += [(f"RayJudge, {count}", functools.partial(RayJudge, count))]
    print(f"{len(samples)} answers to {len(first)} functions, {os.cpu_count()} cores\n")
    _print_head("judge, workers", "verdicts a second", "processor time, ms a verdict", "of that the driver's process")
    kinds: set[tuple[str, ...]] = set()
    for name, open_judge in judges:
        with open_judge() as judge:
            list(judge.check_many(first))
            start, used, driver = time.perf_counter(), _read_tree_seconds(os.getpid()), time.process_time()
            kinds.add(tuple(verdict.kind for verdict in judge.check_many(samples)))
            seconds, driver = time.perf_counter() - start, time.process_time() - driver
            used = _read_tree_seconds(os.getpid()) - used
        count = len(samples)
        print(f"| {name} | {count / seconds:.0f} | {used / count * 1e3:.2f} | {driver / count * 1e3:.3f} |", flush=True)
    print(f"\nThe verdicts are {'the same' if len(kinds) == 1 else 'NOT THE SAME'}.\n")


def _kill_actors(samples: list[Sample], workers: int, kills: int) -> None:
    """Kill actors at random, each once a random number of verdicts is there, and compare with a quiet run."""
    with Judge(workers) as judge:
        quiet = list(judge.check_many(samples))
    chance, killed = random.Random(1), set[int]()
    times = set(chance.sample(range(1, len(samples)), kills))

    def kill(count: int) -> None:
        while count in times and not (alive := [pid for pid in _list_actors() if pid not in killed]):
            time.sleep(0.1)  # all are starting again
        if count in times:
            killed.add(pid := chance.choice(alive))
            os.kill(pid, signal.SIGKILL)

    with RayJudge(workers) as judge:
        judged = list(judge.check_many(samples, kill))
    differing = sum(one != other for one, other in zip(judged, quiet))
    print(f"{len(killed)} actors killed: {len(judged)} of {len(samples)} verdicts, {differing} unlike the quiet run")


def _list_actors() -> list[int]:
    tree = _list_tree(os.getpid())
    return [pid for pid in tree if b"JudgeActor" in _read(pid, "cmdline")]


def _list_tree(pid: int) -> list[int]:
    """A process with all below it."""
    children = [_read(pid, f"task/{task.name}/children").split() for task in Path(f"/proc/{pid}/task").glob("*")]
    return [pid, *(one for child in children for number in child for one in _list_tree(int(number)))]


def _read_tree_seconds(pid: int) -> float:
    """The processor time of a process and of all below it, with those that have ended and were waited for (proc(5))."""
    states = (_read(pid, "stat").rpartition(b")")[2].split() for pid in _list_tree(pid))
    return sum(int(ticks) for state in states for ticks in state[11:15]) / os.sysconf("SC_CLK_TCK")


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # the process has ended
        return b""


def _measure_driver(samples: list[Sample]) -> None:
    print(f"{len(samples)} samples to {_EMPTY_WORKERS} actors that judge nothing\n")
    _print_head("ms a sample", "samples a call", "driver's processor time, µs a sample", "samples a second")
    place = ActorPlace(str(Path.cwd()), os.environ["LLMC_CACHE"], "none")
    for seconds in _SAMPLE_SECONDS:
        create = functools.partial(ray.remote(IdleActor).options(num_cpus=1).remote, seconds, place)
        dispatcher = RayDispatcher(_EMPTY_WORKERS, create)
        _judge_all(dispatcher, samples[: len(samples) // 10])
        start, used = time.perf_counter(), time.process_time()
        _judge_all(dispatcher, samples)
        wall, used = time.perf_counter() - start, time.process_time() - used
        dispatcher.close()
        call = max(1, min(64, round(0.1 / seconds)))
        each = used / len(samples) * 1e6
        print(f"| {seconds * 1e3:g} | {call} | {each:.0f} | {len(samples) / wall:.0f} |", flush=True)


def _measure_placement(samples: Sequence[Sample], actors: int = 1000) -> None:
    """What it takes to find the actor of a sample, without Ray: 100 functions, and 5 ms of work a sample."""
    slots = [ActorSlot(number, actor=None, is_live=True) for number in range(actors)]
    known, start = KnownFunctions(slots), time.perf_counter()
    functions = [known.find(replace(samples[0], function=str(number))) for number in range(100)]
    ranked, chance = time.perf_counter(), random.Random(1)
    for count in range(len(samples)):
        chance.choice(functions).choose_slot(count * 0.005 / actors).load += 0.005
    chosen = time.perf_counter()
    print(
        f"\n{actors} actors: {(ranked - start) / len(functions) * 1e3:.1f} ms to rank them for a new function,", end=" "
    )
    print(f"{(chosen - ranked) / len(samples) * 1e6:.1f} µs to choose one for a sample")


def _judge_all(dispatcher: RayDispatcher, samples: list[Sample]) -> None:
    waiting: deque[Future[Verdict]] = deque()
    for sample in samples:
        waiting.append(dispatcher.submit(sample))
        if len(waiting) >= _READ_AHEAD:
            waiting.popleft().result()
    for future in waiting:
        future.result()


def _print_head(*columns: str) -> None:
    print("|", " | ".join(columns), "|")
    print("|", " | ".join("---" for _ in columns), "|")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--functions", type=int, default=20)
    parser.add_argument("--answers", type=int, default=50, help="answers to each function")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--empty", type=int, default=20000, help="samples to actors that judge nothing")
    parser.add_argument("--kill", type=int, default=0, help="actors to kill during the batch, instead of measuring")
    return parser.parse_args()


if __name__ == "__main__":
    main()

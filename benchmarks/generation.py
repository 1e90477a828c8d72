"""How fast are answers generated? Compared with a loop over `Llama.create_completion`, and llama-cpp-python's server.

    python benchmarks/generation.py [--shape 100m|7b] [--kind q8_0|q4_0|f16] [--model FILE.gguf]
        [--prompt 1000] [--tokens 256] [--server] [--cases cases]

All competitors answer the same prompts with the same numbers of tokens in one run, so that their times can be compared.
Nothing else should run on the machine. Unless `--model` names one, the model has random weights and is written first.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import io
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from random_model import KINDS, SHAPES, WORDS, get_word, write_random_model

from pytest_llmcompiler.model.answer import Question, Sampling
from pytest_llmcompiler.model.llama.backend import LlamaBackend
from pytest_llmcompiler.model.llama.resources import count_cores
from pytest_llmcompiler.model.queue.job_queue import JobQueue
from pytest_llmcompiler.model.sampling import sample_seed

TEMPERATURE = 0.8
"""The temperature of samples, which differ from each other."""
DRAFTS = ("equal to the answer", "every 25th token changed", "every 10th token changed", "not related")
"""Kinds of drafts."""


@dataclass(frozen=True)
class Workload:
    """Questions, the number of samples of each, and the number of tokens of each sample."""

    questions: Sequence[Question]
    samples: int
    tokens: int

    def jobs(self) -> Iterator[tuple[int, int]]:
        """Each sample, as the number of its question and its own number."""
        for number in range(len(self.questions)):
            for sample in range(self.samples):
                yield number, sample


@dataclass(frozen=True)
class TimedAnswers:
    """The seconds that a competitor took, and its answers by question and sample."""

    seconds: float
    texts: dict[tuple[int, int], str]


class PluginEngine:
    """This package's backend."""

    def __init__(self, model: Path, context: int, temperature: float, streams: int | None, *, drafts: bool) -> None:
        self._model, self._context, self._temperature = model, context, temperature
        self._streams, self._drafts = streams, drafts

    def answer(self, workload: Workload) -> TimedAnswers:
        """Answer all questions. Loading the model is not timed."""
        options = {"n_ctx": self._context, "streams": self._streams, "drafts": self._drafts}
        backend = LlamaBackend(self._model, Sampling(self._temperature, max_tokens=workload.tokens), **options)
        job_queue = JobQueue()
        worker = threading.Thread(target=backend.work, args=(job_queue,))
        worker.start()
        warm_up = _build_question("warm", _build_text(random.Random(9), 8))
        list(job_queue.answers(warm_up, 1))  # reads the weights into memory
        start = time.perf_counter()
        for order, question in enumerate(workload.questions):
            job_queue.plan(question, workload.samples, order)
        texts = {
            (number, answer.sample): answer.text
            for number, question in enumerate(workload.questions)
            for answer in job_queue.answers(question, workload.samples)
        }
        seconds = time.perf_counter() - start
        job_queue.close()
        worker.join()
        backend.close()
        return TimedAnswers(seconds, texts)


class CompletionLoop:
    """The usual loop: one call after another. llama-cpp-python keeps the common prefix with the previous prompt in its
    cache."""

    def __init__(self, model: Path, context: int, temperature: float) -> None:
        from llama_cpp import Llama

        threads = count_cores()
        self._llama = Llama(
            str(model), n_ctx=context, n_threads=threads, n_threads_batch=threads, n_gpu_layers=-1, verbose=False
        )
        self._temperature = temperature

    def answer(self, workload: Workload) -> TimedAnswers:
        """Answer all questions."""
        # In a thread that ends: OpenMP keeps worker threads for each thread that ever computed. With more threads than
        # cores they wait by sleeping, and a step takes a tenth longer.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self._answer, workload).result()

    def _answer(self, workload: Workload) -> TimedAnswers:
        self._llama.reset()
        self._llama.create_completion(_build_text(random.Random(9), 8), max_tokens=1)
        start = time.perf_counter()
        texts = {}
        for number, sample in workload.jobs():
            question = workload.questions[number]
            seed = sample_seed(Sampling().seed, question.key, sample)
            texts[number, sample] = self._llama.create_completion(
                question.text, max_tokens=workload.tokens, seed=seed, **_sampling_options(self._temperature)
            )["choices"][0]["text"]
        return TimedAnswers(time.perf_counter() - start, texts)


def _sampling_options(temperature: float) -> dict[str, float]:
    """The options for the plugin's own sampling: temperature and top-p alone."""
    return {"temperature": temperature, "top_p": Sampling().top_p, "top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0}


class LlamaServer:
    """llama-cpp-python's own server, which gets all requests at once and answers one after another."""

    def __init__(self, model: Path, context: int, temperature: float) -> None:
        import subprocess
        import sys

        self._temperature, self._address = temperature, f"http://127.0.0.1:{_find_free_port()}"
        port = self._address.rpartition(":")[2]
        command = [sys.executable, "-m", "llama_cpp.server", "--model", str(model), "--n_ctx", str(context)]
        threads = ["--n_threads", str(count_cores()), "--n_threads_batch", str(count_cores()), "--n_gpu_layers", "-1"]
        self._process = subprocess.Popen(
            [*command, *threads, "--port", port], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._wait()

    def _wait(self) -> None:
        import urllib.request

        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self._address}/v1/models", timeout=5).close()
                return
            except OSError:
                time.sleep(0.5)
        raise SystemExit("llama_cpp.server did not start: pip install 'llama-cpp-python[server]'")

    def answer(self, workload: Workload) -> TimedAnswers:
        """Answer all questions."""
        warm_up = Workload([_build_question("warm", _build_text(random.Random(9), 8))], samples=1, tokens=1)
        self._ask(warm_up, 0, 0)  # clears the last prompt from the server's cache
        start = time.perf_counter()
        with ThreadPoolExecutor(8) as pool:
            jobs = list(workload.jobs())
            texts = dict(zip(jobs, pool.map(lambda job: self._ask(workload, *job), jobs)))
        return TimedAnswers(time.perf_counter() - start, texts)

    def _ask(self, workload: Workload, number: int, sample: int) -> str:
        import json
        import urllib.request

        question = workload.questions[number]
        body = {"prompt": question.text, "max_tokens": workload.tokens, **_sampling_options(self._temperature)}
        body["seed"] = sample_seed(Sampling().seed, question.key, sample)
        request = urllib.request.Request(
            f"{self._address}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as response:
            return str(json.load(response)["choices"][0]["text"])

    def close(self) -> None:
        """End the server."""
        self._process.kill()
        self._process.wait()


def _find_free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


# -- Questions.


def _build_text(rng: random.Random, words: int) -> str:
    return "".join(get_word(rng.randrange(WORDS)) for _ in range(words))


def _build_question(name: str, text: str) -> Question:
    return Question(case="benchmark", function=name, task="asm", passes="O0", text=text)


def build_one_function(samples: int, prompt: int, tokens: int) -> Workload:
    """Samples of one prompt of `prompt` tokens."""
    return Workload([_build_question("f", _build_text(random.Random(1), prompt))], samples, tokens)


def build_many_functions(functions: int, samples: int, prompt: int, tokens: int, prefix: int) -> Workload:
    """Prompts of a quarter to one and a half of `prompt` tokens, with a common prefix of `prefix` tokens."""
    rng = random.Random(2)
    shared = _build_text(rng, prefix)
    lengths = [max(1, int(prompt * rng.choice((0.25, 0.5, 1, 1.5))) - prefix) for _ in range(functions)]
    questions = [
        _build_question(f"f{number}", shared + _build_text(rng, length)) for number, length in enumerate(lengths)
    ]
    return Workload(questions, samples, tokens)


def add_drafts(workload: Workload, answer: str, kind: str) -> Workload:
    """The same questions with drafts made from an answer. `kind` is one of DRAFTS.

    Changes alternate: a token is replaced, inserted, deleted.
    """
    rng = random.Random(3)
    words = answer.split()
    every = 25 if "25th" in kind else 10
    tokens: list[str] = []
    for position, token in enumerate(words):
        change = (position // every) % 3 if position % every == every - 1 and "changed" in kind else None
        if change in (0, 1):
            tokens.append(get_word(rng.randrange(WORDS)).strip())
        if change in (None, 1):
            tokens.append(token)
    text = _build_text(rng, len(words)) if kind == "not related" else "".join(f"{token} " for token in tokens)
    return replace(workload, questions=[replace(question, draft=text) for question in workload.questions])


# -- Measurements.


def _count_equal(mine: TimedAnswers, other: TimedAnswers) -> str:
    same = sum(mine.texts[job] == text for job, text in other.texts.items())
    return f"{same} of {len(other.texts)} answers equal"


def measure_one_function(options: argparse.Namespace, model: Path, competitors: dict[str, Any]) -> None:
    """Print the times for samples of one function."""
    for count in (1, 4, 16, 64):
        workload = build_one_function(count, options.prompt, options.tokens)
        few = build_one_function(min(count, 16), options.prompt, options.tokens)
        # A single short answer is the most easily disturbed: the best of three, measured alternately.
        repetitions = 3 if count == 1 else 1
        engine = PluginEngine(model, options.context, TEMPERATURE, None, drafts=False)
        rounds = [
            (engine.answer(workload), *(competitor.answer(few) for competitor in competitors.values()))
            for _ in range(repetitions)
        ]
        mine, *others = (min(times, key=lambda timed: timed.seconds) for times in zip(*rounds))
        print(f"\n{count} samples of one function: {mine.seconds:.2f} s")
        for name, other in zip(competitors, others):
            scaled = other.seconds * count / min(count, 16)  # each sample takes as long
            print(
                f"  {name:8} {scaled:8.2f} s  {scaled / mine.seconds:5.2f} times as long, {_count_equal(mine, other)}"
            )


def measure_many_functions(options: argparse.Namespace, model: Path, competitors: dict[str, Any]) -> None:
    """Print the times for many functions, whose prompts have nothing in common or a common prefix."""
    for prefix in (0, options.prompt // 4):
        workload = build_many_functions(32, 8, options.prompt, options.tokens, prefix)
        mine = PluginEngine(model, options.context, TEMPERATURE, None, drafts=False).answer(workload)
        prefix_text = f"a common prefix of {prefix} tokens" if prefix else "nothing in common"
        print(f"\n32 functions, 8 samples each, {prefix_text}: {mine.seconds:.2f} s")
        for name, competitor in competitors.items():
            other = competitor.answer(workload)
            times = other.seconds / mine.seconds
            print(f"  {name:8} {other.seconds:8.2f} s  {times:5.2f} times as long, {_count_equal(mine, other)}")


def measure_drafts(options: argparse.Namespace, model: Path) -> None:
    """Print the times with drafts, for one and for eight greedy answers, which all resemble the draft.

    A draft does not speed the prompt up, so times without the prompt are printed as well.
    """
    tokens = 2 * options.tokens
    loop = CompletionLoop(model, options.context, 0)
    prompt = loop.answer(build_one_function(1, options.prompt, 1)).seconds
    for count in (1, 8):
        workload = build_one_function(count, options.prompt, tokens)
        usual = loop.answer(workload)
        plain = PluginEngine(model, options.context, 0, count, drafts=False).answer(workload)
        print(f"\n{count} greedy answers of {tokens} tokens; the prompt takes {prompt:.2f} s of each time")
        print(f"  a loop {usual.seconds:.2f} s, without a draft {plain.seconds:.2f} s, {_count_equal(plain, usual)}")
        for kind in DRAFTS:
            timed = PluginEngine(model, options.context, 0, count, drafts=True).answer(
                add_drafts(workload, plain.texts[0, 0], kind)
            )
            times = [
                f"{other.seconds / timed.seconds:.2f} ({(other.seconds - prompt) / (timed.seconds - prompt):.2f})"
                for other in (usual, plain)
            ]
            against = f"{times[0]} times the loop, {times[1]} times no draft (without the prompt)"
            print(f"  draft {kind:26} {timed.seconds:7.2f} s  {against}, {_count_equal(timed, plain)}")


def measure_session(cases: Sequence[str], samples: int, tokens: int, model: Path) -> None:
    """Print the time of a session over case files, how long the model was idle, and the same for a second session."""
    import re
    import subprocess
    import sys

    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", *cases, "--llmc-model", str(model), "-q", "--no-header", "--tb=no"]
        command += ["-o", f"cache_dir={folder}", f"--llmc-samples={samples}", f"--llmc-max-tokens={tokens}"]
        for session in ("first", "second"):
            start = time.perf_counter()
            out = subprocess.run(command, capture_output=True, text=True).stdout
            seconds = time.perf_counter() - start
            lines = re.findall(r"^(?:model|answers)\b.*|^.*\b(?:passed|failed|skipped)\b.* in .*", out, re.M)
            print(f"\n{session} session over {' '.join(cases)}, {samples} samples of {tokens} tokens: {seconds:.0f} s")
            print(*(f"  {line.strip('= ')}" for line in lines), sep="\n")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="100m")
    parser.add_argument("--kind", choices=KINDS, default="q8_0")
    parser.add_argument("--model", type=Path, help="a GGUF file, instead of random weights")
    parser.add_argument("--prompt", type=int, default=1000, help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=256, help="tokens of an answer")
    parser.add_argument("--server", action="store_true", help="measure llama-cpp-python's server as well")
    parser.add_argument("--only", choices=("one", "many", "drafts", "cases"), action="append")
    parser.add_argument("--cases", nargs="+", default=["cases"], help="files or folders for the session")
    return parser.parse_args()


def main() -> None:
    """Measure what the command line asks for."""
    options = _parse_arguments()
    options.context = 2 * options.prompt + 2 * options.tokens
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or write_random_model(Path(folder) / "random.gguf", SHAPES[options.shape], options.kind)
        print(
            f"{model.name}: {model.stat().st_size / 1e6:.0f} MB, {options.shape} {options.kind}; {count_cores()} cores"
        )
        measurements: dict[str, Callable[[], None]] = {
            "drafts": lambda: measure_drafts(options, model),
            "cases": lambda: measure_session(options.cases, 16, options.tokens, model),
        }
        if not options.only or {"one", "many"} & set(options.only):
            competitors: dict[str, Any] = {"loop": CompletionLoop(model, options.context, TEMPERATURE)}
            if options.server:
                competitors["server"] = server = LlamaServer(model, options.context, TEMPERATURE)
                atexit.register(server.close)
            measurements = {
                "one": lambda: measure_one_function(options, model, competitors),
                "many": lambda: measure_many_functions(options, model, competitors),
                **measurements,
            }
        for name, measure in measurements.items():
            if not options.only or name in options.only:
                with contextlib.redirect_stderr(io.StringIO()):  # llama.cpp's log
                    measure()


if __name__ == "__main__":
    main()

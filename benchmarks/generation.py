"""How fast are answers made? Against a loop over `Llama.create_completion`, and against llama-cpp-python's server.

    python benchmarks/generation.py [--shape 100m|7b] [--kind q8_0|q4_0|f16] [--model FILE.gguf]
        [--prompt 1000] [--tokens 256] [--server] [--cases cases]

All ways answer the same prompts with as many tokens each, in this one run, so that the ratios hold; the times are of
this machine, which should have nothing else to do. The model is of random weights and made here unless one is given.
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

from random_model import KINDS, SHAPES, WORDS, word, write_random_model

from pytest_llmcompiler.model.answer import Question, Sampling
from pytest_llmcompiler.model.llama.backend import LlamaBackend
from pytest_llmcompiler.model.llama.resources import count_cores
from pytest_llmcompiler.model.queue.job_queue import JobQueue
from pytest_llmcompiler.model.sampling import sample_seed

TEMPERATURE = 0.8
"""Of samples that differ."""
DRAFTS = ("equal to the answer", "every 25th token changed", "every 10th token changed", "not related")


@dataclass(frozen=True)
class Work:
    """Questions, and how many samples of how many tokens each is asked for."""

    questions: Sequence[Question]
    samples: int
    tokens: int

    def jobs(self) -> Iterator[tuple[int, int]]:
        """Each sample, as the numbers of its question and of itself."""
        for number in range(len(self.questions)):
            for sample in range(self.samples):
                yield number, sample


@dataclass(frozen=True)
class Timed:
    """What a way of answering took, and what it answered, by question and sample."""

    seconds: float
    texts: dict[tuple[int, int], str]


class Engine:
    """This package's own way."""

    def __init__(self, model: Path, context: int, temperature: float, streams: int | None, *, drafts: bool) -> None:
        self._model, self._context, self._temperature = model, context, temperature
        self._streams, self._drafts = streams, drafts

    def answer(self, work: Work) -> Timed:
        """Answer all questions. Loading the model is not timed."""
        options = {"n_ctx": self._context, "streams": self._streams, "drafts": self._drafts}
        backend = LlamaBackend(self._model, Sampling(self._temperature, max_tokens=work.tokens), **options)
        job_queue = JobQueue()
        worker = threading.Thread(target=backend.work, args=(job_queue,))
        worker.start()
        list(job_queue.answers(_question("warm", _text(random.Random(9), 8)), 1))  # so that the weights are in memory
        start = time.perf_counter()
        for turn, question in enumerate(work.questions):
            job_queue.plan(question, work.samples, turn)
        texts = {
            (number, answer.sample): answer.text
            for number, question in enumerate(work.questions)
            for answer in job_queue.answers(question, work.samples)
        }
        seconds = time.perf_counter() - start
        job_queue.close()
        worker.join()
        backend.close()
        return Timed(seconds, texts)


class Loop:
    """The usual way: one call after another. It keeps the tokens that a prompt has in common with the one before."""

    def __init__(self, model: Path, context: int, temperature: float) -> None:
        from llama_cpp import Llama

        threads = count_cores()
        self._llama = Llama(
            str(model), n_ctx=context, n_threads=threads, n_threads_batch=threads, n_gpu_layers=-1, verbose=False
        )
        self._temperature = temperature

    def answer(self, work: Work) -> Timed:
        """Answer all questions."""
        # In a thread that ends: OpenMP keeps the threads of each that ever computed, and where they are more than there
        # are cores, all of them wait by sleeping, which makes a step a tenth slower.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self._answer, work).result()

    def _answer(self, work: Work) -> Timed:
        self._llama.reset()
        self._llama.create_completion(_text(random.Random(9), 8), max_tokens=1)
        start = time.perf_counter()
        texts = {}
        for number, sample in work.jobs():
            question = work.questions[number]
            seed = sample_seed(Sampling().seed, question.key, sample)
            texts[number, sample] = self._llama.create_completion(
                question.text, max_tokens=work.tokens, seed=seed, **_sampling(self._temperature)
            )["choices"][0]["text"]
        return Timed(time.perf_counter() - start, texts)


def _sampling(temperature: float) -> dict[str, float]:
    """The same filters as the engine's: temperature and top-p alone."""
    return {"temperature": temperature, "top_p": Sampling().top_p, "top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0}


class Server:
    """llama-cpp-python's own server, asked for all samples at once: it answers one after another."""

    def __init__(self, model: Path, context: int, temperature: float) -> None:
        import subprocess
        import sys

        self._temperature, self._address = temperature, f"http://127.0.0.1:{_free_port()}"
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

    def answer(self, work: Work) -> Timed:
        """Answer all questions."""
        self._ask(Work([_question("warm", _text(random.Random(9), 8))], 1, 1), 0, 0)  # or it still has the last prompt
        start = time.perf_counter()
        with ThreadPoolExecutor(8) as pool:
            jobs = list(work.jobs())
            texts = dict(zip(jobs, pool.map(lambda job: self._ask(work, *job), jobs)))
        return Timed(time.perf_counter() - start, texts)

    def _ask(self, work: Work, number: int, sample: int) -> str:
        import json
        import urllib.request

        question = work.questions[number]
        body = {"prompt": question.text, "max_tokens": work.tokens, **_sampling(self._temperature)}
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


def _free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


# -- what is asked


def _text(choose: random.Random, words: int) -> str:
    return "".join(word(choose.randrange(WORDS)) for _ in range(words))


def _question(name: str, text: str) -> Question:
    return Question(case="benchmark", function=name, task="asm", passes="O0", text=text)


def one_function(samples: int, prompt: int, tokens: int) -> Work:
    """Samples of one prompt of so many tokens."""
    return Work([_question("f", _text(random.Random(1), prompt))], samples, tokens)


def many_functions(functions: int, samples: int, prompt: int, tokens: int, head: int) -> Work:
    """Prompts of a quarter of the usual length to one and a half; all begin with `head` tokens alike."""
    choose = random.Random(2)
    shared = _text(choose, head)
    lengths = [max(1, int(prompt * choose.choice((0.25, 0.5, 1, 1.5))) - head) for _ in range(functions)]
    questions = [_question(f"f{number}", shared + _text(choose, length)) for number, length in enumerate(lengths)]
    return Work(questions, samples, tokens)


def drafted(work: Work, answer: str, kind: str) -> Work:
    """The same with a draft that is like the answer, by a kind of DRAFTS; changes take turns: another token, one more,
    one less."""
    choose = random.Random(3)
    words = answer.split()
    every = 25 if "25th" in kind else 10
    made: list[str] = []
    for place, one in enumerate(words):
        change = (place // every) % 3 if place % every == every - 1 and "changed" in kind else None
        if change in (0, 1):
            made.append(word(choose.randrange(WORDS)).strip())
        if change in (None, 1):
            made.append(one)
    text = _text(choose, len(words)) if kind == "not related" else "".join(f"{one} " for one in made)
    return replace(work, questions=[replace(question, draft=text) for question in work.questions])


# -- tables


def _equal(mine: Timed, other: Timed) -> str:
    same = sum(mine.texts[job] == text for job, text in other.texts.items())
    return f"{same} of {len(other.texts)} answers equal"


def samples_of_one(given: argparse.Namespace, model: Path, ways: dict[str, Any]) -> None:
    """Print how samples of one function go."""
    for count in (1, 4, 16, 64):
        work = one_function(count, given.prompt, given.tokens)
        few = one_function(min(count, 16), given.prompt, given.tokens)
        turns = 3 if count == 1 else 1  # the shortest is the most disturbed: the best of three, taken in turns
        engine = Engine(model, given.context, TEMPERATURE, None, drafts=False)
        rounds = [(engine.answer(work), *(way.answer(few) for way in ways.values())) for _ in range(turns)]
        mine, *others = (min(made, key=lambda one: one.seconds) for made in zip(*rounds))
        print(f"\n{count} samples of one function: {mine.seconds:.2f} s")
        for name, other in zip(ways, others):
            scaled = other.seconds * count / min(count, 16)  # it takes as long for each
            print(f"  {name:8} {scaled:8.2f} s  {scaled / mine.seconds:5.2f} times as long, {_equal(mine, other)}")


def samples_of_many(given: argparse.Namespace, model: Path, ways: dict[str, Any]) -> None:
    """Print how many functions go, without a common head of prompts and with one."""
    for head in (0, given.prompt // 4):
        work = many_functions(32, 8, given.prompt, given.tokens, head)
        mine = Engine(model, given.context, TEMPERATURE, None, drafts=False).answer(work)
        heads = f"{head} tokens of head in common" if head else "nothing in common"
        print(f"\n32 functions, 8 samples each, {heads}: {mine.seconds:.2f} s")
        for name, way in ways.items():
            other = way.answer(work)
            times = other.seconds / mine.seconds
            print(f"  {name:8} {other.seconds:8.2f} s  {times:5.2f} times as long, {_equal(mine, other)}")


def speculation(given: argparse.Namespace, model: Path) -> None:
    """Print what drafts give, for one stream and for eight; the answers are greedy, so that all are like the draft.

    A draft can't make the prompt's share shorter, so the time without it is printed as well.
    """
    tokens = 2 * given.tokens
    loop = Loop(model, given.context, 0)
    prompt = loop.answer(one_function(1, given.prompt, 1)).seconds
    for count in (1, 8):
        work = one_function(count, given.prompt, tokens)
        usual = loop.answer(work)
        plain = Engine(model, given.context, 0, count, drafts=False).answer(work)
        print(f"\n{count} greedy answers of {tokens} tokens; the prompt takes {prompt:.2f} s of each time")
        print(f"  a loop {usual.seconds:.2f} s, without a draft {plain.seconds:.2f} s, {_equal(plain, usual)}")
        for kind in DRAFTS:
            made = Engine(model, given.context, 0, count, drafts=True).answer(drafted(work, plain.texts[0, 0], kind))
            times = [
                f"{other.seconds / made.seconds:.2f} ({(other.seconds - prompt) / (made.seconds - prompt):.2f})"
                for other in (usual, plain)
            ]
            against = f"{times[0]} times the loop, {times[1]} times no draft (without the prompt)"
            print(f"  draft {kind:26} {made.seconds:7.2f} s  {against}, {_equal(made, plain)}")


def whole_run(cases: Sequence[str], samples: int, tokens: int, model: Path) -> None:
    """Print the time of a session over case files, how long the model waited, and what a second session makes."""
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


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="100m")
    parser.add_argument("--kind", choices=KINDS, default="q8_0")
    parser.add_argument("--model", type=Path, help="a GGUF file, rather than one of random weights")
    parser.add_argument("--prompt", type=int, default=1000, help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=256, help="tokens of an answer")
    parser.add_argument("--server", action="store_true", help="measure llama-cpp-python's server as well")
    parser.add_argument("--only", choices=("one", "many", "drafts", "cases"), action="append")
    parser.add_argument("--cases", nargs="+", default=["cases"], help="files or folders of the whole run")
    return parser.parse_args()


def main() -> None:
    """The command line."""
    given = _arguments()
    given.context = 2 * given.prompt + 2 * given.tokens
    with tempfile.TemporaryDirectory() as folder:
        model = given.model or write_random_model(Path(folder) / "random.gguf", SHAPES[given.shape], given.kind)
        print(f"{model.name}: {model.stat().st_size / 1e6:.0f} MB, {given.shape} {given.kind}; {count_cores()} cores")
        tables: dict[str, Callable[[], None]] = {
            "drafts": lambda: speculation(given, model),
            "cases": lambda: whole_run(given.cases, 16, given.tokens, model),
        }
        if not given.only or {"one", "many"} & set(given.only):
            ways: dict[str, Any] = {"loop": Loop(model, given.context, TEMPERATURE)}
            if given.server:
                ways["server"] = server = Server(model, given.context, TEMPERATURE)
                atexit.register(server.close)
            tables = {
                "one": lambda: samples_of_one(given, model, ways),
                "many": lambda: samples_of_many(given, model, ways),
                **tables,
            }
        for name, table in tables.items():
            if not given.only or name in given.only:
                with contextlib.redirect_stderr(io.StringIO()):  # llama.cpp's log
                    table()


if __name__ == "__main__":
    main()

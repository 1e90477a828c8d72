"""Answers written side by side: all in one llama.cpp context, each step one batch.

Samples of a question share the memory of its prompt. A stream that ends makes room for the next sample, of whatever
question. Where memory runs out, the youngest stream gives way and goes on later from what it wrote.
"""

from __future__ import annotations

import ctypes
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from pytest_llmcompiler.errors import ModelError, PromptTooLongError
from pytest_llmcompiler.model.answer import Answer, Question, Sampling, StopReason
from pytest_llmcompiler.model.llama.speculative import Draft, DraftFollower
from pytest_llmcompiler.model.llama.stopping import StopDetector
from pytest_llmcompiler.model.llama.weights import Weights
from pytest_llmcompiler.model.queue.job_queue import Job, JobQueue
from pytest_llmcompiler.model.sampling import MINIMAL_ANSWER, sample_seed

BATCH = 512
"""Tokens that are evaluated at once, at the most."""
_WORTH_SHARING = 16
"""Tokens that two prompts must have in common at their head for one to borrow them."""
USUAL = 512
"""Tokens that an answer is expected to have where nothing is known of it."""
_SPARE_CPU, _SPARE_GPU = 3, 100
"""What a step costs beside the time of its tokens, in tokens: two CPU cores with 100 million parameters take 13 ms and
4.2 ms a token; a GPU reads its weights in the time in which it could multiply with a hundred tokens or more."""


@dataclass(frozen=True)
class ContextSize:
    """How much a context holds."""

    cells: int
    """Tokens in memory, of all streams."""
    context: int
    """Tokens of one prompt with its answer, at the most."""
    streams: int


@dataclass(frozen=True, eq=False)
class _TokenisedQuestion:
    """A question as the model reads it."""

    question: Question
    tokens: list[int]
    draft: Draft | None


@dataclass(eq=False)
class _CachedPrompt:
    """A prompt in memory, in a sequence of its own."""

    asked: _TokenisedQuestion
    sequence: int
    users: int = 0
    """Streams that go on from it."""

    @property
    def tokens(self) -> list[int]:
        """The prompt's."""
        return self.asked.tokens


@dataclass(eq=False)
class _Sequence:
    """A sample that is being written."""

    job: Job
    asked: _TokenisedQuestion
    seed: int
    sampler: Any
    ending: StopDetector
    limit: int
    follower: DraftFollower | None
    started: float | None = None
    """When the first token of it was asked for, by perf_counter."""
    written: list[int] = field(default_factory=list)
    held: _CachedPrompt | None = None
    """The prompt; None while the stream waits."""
    sequence: int = -1
    proposed: tuple[int, ...] = ()

    @property
    def position(self) -> int:
        """Of the last token, which is not evaluated yet."""
        return len(self.asked.tokens) + len(self.written) - 1

    @property
    def last(self) -> int:
        """The last token."""
        return self.written[-1] if self.written else self.asked.tokens[-1]


class _NoRoomError(ModelError):
    """There is no memory for more tokens now."""


class BatchingEngine:
    """A context, the prompts in it, and the answers that are being written."""

    def __init__(self, weights: Weights, shape: ContextSize, sampling: Sampling, *, drafts: bool) -> None:
        """Raises ModelError where the memory does not suffice."""
        self._weights, self._shape, self._sampling = weights, shape, sampling
        self._drafts = drafts and weights.can_go_back
        self._context = _open(weights, shape)
        self._memory = _llama().llama_get_memory(self._context)
        self._batch = _Batch(BATCH)
        self._threads = weights.threads()
        self._drawers = ThreadPoolExecutor(self._threads) if self._threads > 1 else None
        self._held: dict[Question, _CachedPrompt] = {}
        """The prompts, those used last at the end."""
        self._running: list[_Sequence] = []
        self._waiting: deque[_Sequence] = deque()
        self._sequences = list(range(2 * shape.streams))
        self._answers, self._tokens = 0, 0
        self.written = self.from_draft = 0
        """Tokens of all streams, and how many of them had been proposed."""
        self.busy = self.idle = 0.0
        """Seconds in which answers were written, and in which the model waited for the next question."""

    def work(self, job_queue: JobQueue) -> None:
        """Make what the desk wants until it is closed. Raises ModelError where llama.cpp fails."""
        while not job_queue.closed:
            asked = time.perf_counter()
            was_idle = not self._running
            self._begin(job_queue)
            started = time.perf_counter()
            if was_idle and self._waiting:
                self.idle += started - asked
            self._admit()
            if self._running:
                for stream, stop in self._step():
                    job_queue.deliver(stream.job, self._finish(stream, stop))
            self.busy += time.perf_counter() - started

    def close(self) -> None:
        """Free the context."""
        if self._drawers:
            self._drawers.shutdown()
        for stream in (*self._running, *self._waiting):
            _llama().llama_sampler_free(stream.sampler)
        _llama().llama_free(self._context)

    # -- who is written

    def _begin(self, job_queue: JobQueue) -> None:
        """Take samples from the desk for the places that are free."""
        while len(self._running) + len(self._waiting) < self._shape.streams and not job_queue.closed:
            free = self._shape.streams - len(self._running) - len(self._waiting)
            jobs = job_queue.take(free, wait=not self._running and not self._waiting)
            if not jobs:
                return
            question = jobs[0].question
            asked = self._asked(question)
            if len(asked.tokens) + MINIMAL_ANSWER > self._shape.context:
                job_queue.refuse(question, PromptTooLongError(len(asked.tokens), self._shape.context))
                continue
            self._waiting += [self._stream(job, asked) for job in jobs]

    def _asked(self, question: Question) -> _TokenisedQuestion:
        held = self._held.get(question)
        if held:
            return held.asked
        tokens = self._weights.tokens(question.text, start=True)
        has_draft = self._drafts and question.draft
        draft = Draft(self._weights.tokens(question.draft, start=False)) if has_draft else None
        return _TokenisedQuestion(question, tokens, draft)

    def _stream(self, job: Job, asked: _TokenisedQuestion) -> _Sequence:
        seed = sample_seed(self._sampling.seed, job.question.key, job.sample)
        limit = self._shape.context - len(asked.tokens)
        if self._sampling.max_tokens is not None:
            limit = min(limit, self._sampling.max_tokens)
        return _Sequence(
            *(job, asked, seed, _sampler(self._sampling, seed), StopDetector(job.question.function), limit),
            DraftFollower(asked.draft) if asked.draft else None,
        )

    def _admit(self) -> None:
        """Let waiting streams run, in their order, while there is room for what they are expected to write."""
        while self._waiting:
            stream = self._waiting[0]
            if self._running and not self._has_room(stream):
                return
            self._waiting.popleft()
            try:
                self._start(stream)
            except _NoRoomError:
                if not self._running:
                    raise
                self._waiting.appendleft(stream)
                return

    def _has_room(self, stream: _Sequence) -> bool:
        """Whether a stream can run beside those that do; prompts that nobody needs are forgotten for it."""
        held = self._held.get(stream.job.question)
        needed = len(stream.written) + self._expected(stream) + sum(map(self._expected, self._running))
        if not held:
            return self._make_room(needed + len(stream.asked.tokens))
        held.users += 1  # or its own prompt could be forgotten for it
        has = self._make_room(needed)
        held.users -= 1
        return has

    def _expected(self, stream: _Sequence) -> int:
        """Tokens that a stream is still expected to write."""
        usual = self._tokens // self._answers if self._answers else USUAL
        return max(min(usual, stream.limit) - len(stream.written), 1)

    def _start(self, stream: _Sequence) -> None:
        """Let a stream run. Raises _NoRoom, and then it does not."""
        stream.started = stream.started or time.perf_counter()
        held = self._hold(stream.asked)
        stream.held, stream.sequence = held, self._sequences.pop()
        held.users += 1
        ready = len(held.tokens) - 1
        _llama().llama_memory_seq_cp(self._memory, held.sequence, stream.sequence, 0, ready)
        try:
            # One that gave way before evaluates again what it wrote.
            self._evaluate(stream.sequence, [*held.tokens[ready:], *stream.written][:-1], ready)
        except _NoRoomError:
            self._leave(stream)
            raise
        self._running.append(stream)

    def _hold(self, asked: _TokenisedQuestion) -> _CachedPrompt:
        """The question's prompt in memory, all but its last token.

        Each sample evaluates that one alone, the first sample too: evaluated in another batch the logits would
        differ in the last bits, and with them now and then the answer.
        """
        held = self._held.pop(asked.question, None)
        if held is None:
            tokens = asked.tokens
            # A step looks at all that is in memory, needed or not: one that nobody needs is kept for its head alone.
            while self._unneeded() > 1 or len(self._held) >= self._shape.streams or not self._make_room(len(tokens)):
                if not self._forget():
                    break
            held = _CachedPrompt(asked, self._sequences.pop())
            shared = self._borrow(held)
            try:
                self._evaluate(held.sequence, tokens[shared:-1], shared)
            except _NoRoomError:
                self._clear(held.sequence)
                raise
        self._held[asked.question] = held
        return held

    def _borrow(self, held: _CachedPrompt) -> int:
        """Take over the head that another prompt has in common, where that is worth it; its length in tokens."""
        lengths = {_common(held.tokens, other.tokens): other for other in self._held.values() if self._is_whole(other)}
        most = min(max(lengths, default=0), len(held.tokens) - 1)
        if most < _WORTH_SHARING or self._shape.streams == 1 or not self._weights.can_go_back:
            return 0
        other = lengths[max(lengths)]
        most = min(most, len(other.tokens) - 1)
        _llama().llama_memory_seq_cp(self._memory, other.sequence, held.sequence, 0, most)
        return most

    def _is_whole(self, held: _CachedPrompt) -> bool:
        """Whether all of a prompt is still in memory: a model with a sliding window forgets what lies before it."""
        return int(_llama().llama_memory_seq_pos_min(self._memory, held.sequence)) == 0

    # -- memory

    def _used(self) -> int:
        return sum(len(held.tokens) for held in self._held.values()) + sum(len(one.written) for one in self._running)

    def _unneeded(self) -> int:
        """How many prompts nobody needs now."""
        return sum(not held.users for held in self._held.values())

    def _make_room(self, tokens: int) -> bool:
        """Forget prompts that nobody needs until so many tokens fit; whether they do. If not, nothing is forgotten."""
        spare = sum(len(held.tokens) for held in self._held.values() if not held.users)
        if self._used() - spare + tokens > self._shape.cells:
            return False
        while self._used() + tokens > self._shape.cells:
            self._forget()
        return True

    def _forget(self) -> bool:
        """Forget the prompt that was not used for longest; whether there is one that nobody needs."""
        held = next((held for held in self._held.values() if not held.users), None)
        if held is None:
            return False
        self._clear(held.sequence)
        del self._held[held.asked.question]
        return True

    def _clear(self, sequence: int, start: int = -1) -> None:
        """Take a sequence out of memory, from a position on or whole. Raises ModelError where the model can't."""
        if not _llama().llama_memory_seq_rm(self._memory, sequence, start, -1):
            raise ModelError("this model can't go back to an earlier token: --llmc-drafts off")
        if start < 0:
            self._sequences.append(sequence)

    def _give_way(self) -> bool:
        """Let the youngest stream wait, so that the others can go on; whether there are others."""
        if len(self._running) < 2:
            return False
        stream = self._running.pop()
        self._leave(stream)
        self._waiting.appendleft(stream)
        return True

    def _leave(self, stream: _Sequence) -> None:
        assert stream.held is not None
        stream.held.users -= 1
        self._clear(stream.sequence)
        stream.held, stream.sequence = None, -1

    # -- a step

    def _step(self) -> Iterator[tuple[_Sequence, StopReason]]:
        """Write the next tokens of every stream; those that end, and why."""
        while True:
            rows = self._propose()
            if self._make_room(len(rows)) and self._decode(rows):
                break
            if not self._give_way():
                raise _NoRoomError(f"llama.cpp has no room for {len(rows)} tokens more")
        for stream, tokens in self._drawn():
            stop = self._read(stream, tokens)
            if stop:
                self._running.remove(stream)
                yield stream, stop

    def _propose(self) -> list[tuple[int, int, int]]:
        """The step's batch: each stream's last token and what may come after it, as (token, position, sequence)."""
        running = max(len(self._running), 1)
        most = BATCH // running - 1
        spare = (_SPARE_GPU if self._weights.gpu_layers else _SPARE_CPU) / running
        rows = []
        for stream in self._running:
            left = min(most, stream.limit - len(stream.written) - 1)
            stream.proposed = stream.follower.propose(left, spare) if stream.follower and left > 0 else ()
            for offset, token in enumerate((stream.last, *stream.proposed)):
                rows.append((token, stream.position + offset, stream.sequence))
        return rows

    def _drawn(self) -> list[tuple[_Sequence, list[int]]]:
        """Each stream's next tokens. For 64 streams of 32,000 tokens to choose from one core would take longer than a
        GPU takes for the step, so each core draws for a share of them."""
        rows = accumulate((1 + len(stream.proposed) for stream in self._running), initial=0)
        asked = list(zip(self._running, rows))
        _llama().llama_get_logits(self._context)  # puts them in order: from here on llama.cpp is only read
        if not self._drawers or len(asked) == 1:
            return self._draw_all(asked)
        share = -(-len(asked) // self._threads)
        shares = [asked[first : first + share] for first in range(0, len(asked), share)]
        return [drawn for some in self._drawers.map(self._draw_all, shares) for drawn in some]

    def _draw_all(self, asked: Sequence[tuple[_Sequence, int]]) -> list[tuple[_Sequence, list[int]]]:
        return [(stream, self._draw(stream, row)) for stream, row in asked]

    def _draw(self, stream: _Sequence, row: int) -> list[int]:
        """A stream's next tokens, as far as its proposals turn out right."""
        tokens: list[int] = []
        for place, expected in enumerate((*stream.proposed, None)):
            tokens.append(int(_llama().llama_sampler_sample(stream.sampler, self._context, row + place)))
            if tokens[-1] != expected:
                break
        return tokens

    def _read(self, stream: _Sequence, tokens: Sequence[int]) -> StopReason | None:
        """Write a stream's next tokens; why it ends, if it does."""
        before = stream.position
        new, stop = 0, None
        for token in tokens:
            stop = self._write(stream, token)
            new += 1
            if stop:
                break
        self.written += new
        self.from_draft += new - 1
        if stream.follower and not stop:
            stream.follower.learn(stream.written, new)
        if len(stream.proposed) >= new:
            self._clear(stream.sequence, before + new)
        return stop

    def _write(self, stream: _Sequence, token: int) -> StopReason | None:
        piece = self._weights.piece(token)
        if piece is None:
            return "eos"
        stream.written.append(token)
        if stream.ending.ends(piece):
            return "stop"
        return "length" if len(stream.written) >= stream.limit else None

    def _finish(self, stream: _Sequence, stop: StopReason) -> Answer:
        assert stream.started is not None
        self._leave(stream)
        _llama().llama_sampler_free(stream.sampler)
        self._answers += 1
        self._tokens += len(stream.written)
        return Answer(
            text=stream.ending.text,
            sample=stream.job.sample,
            stop=stop,
            prompt_tokens=len(stream.asked.tokens),
            answer_tokens=len(stream.written),
            seconds=round(time.perf_counter() - stream.started, 3),
            seed=stream.seed,
        )

    # -- llama.cpp

    def _evaluate(self, sequence: int, tokens: Sequence[int], start: int) -> None:
        """Put tokens into memory, from a position on. Raises _NoRoom."""
        for first in range(0, len(tokens), BATCH):
            rows = [(token, start + first + i, sequence) for i, token in enumerate(tokens[first : first + BATCH])]
            while not self._decode(rows, logits=False):
                if not self._forget():
                    raise _NoRoomError(f"llama.cpp has no room for a prompt of {start + len(tokens)} tokens")

    def _decode(self, rows: Sequence[tuple[int, int, int]], *, logits: bool = True) -> bool:
        """Evaluate rows of (token, position, sequence); whether there was room. Raises ModelError for other faults."""
        status = self._batch.decode(self._context, rows, logits)
        if status not in (0, 1):
            raise ModelError(f"llama.cpp failed to evaluate {len(rows)} tokens: status {status}")
        return status == 0


class _Batch:
    """Room for a batch, in memory that llama.cpp reads as it is."""

    def __init__(self, size: int) -> None:
        import numpy as np

        self._table = np.zeros((3, size), np.int32)
        """Tokens, positions, sequences."""
        self._logits, self._counts = np.zeros(size, np.int8), np.ones(size, np.int32)
        number, address = ctypes.POINTER(ctypes.c_int32), self._table[2].ctypes.data
        self._pointers = (number * size)(*(ctypes.cast(address + 4 * row, number) for row in range(size)))
        self._batch = _llama().llama_batch()
        self._batch.token, self._batch.pos = (self._table[row].ctypes.data_as(number) for row in (0, 1))
        self._batch.n_seq_id = self._counts.ctypes.data_as(number)
        self._batch.seq_id = ctypes.cast(self._pointers, ctypes.POINTER(number))
        self._batch.logits = self._logits.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))

    def decode(self, context: Any, rows: Sequence[tuple[int, int, int]], logits: bool) -> int:
        """llama_decode's own status."""
        import numpy as np

        count = len(rows)
        self._table[:, :count] = np.asarray(rows, np.int32).T
        self._logits[:count] = logits
        self._batch.n_tokens = count
        return int(_llama().llama_decode(context, self._batch))


def _open(weights: Weights, shape: ContextSize) -> Any:
    llama = _llama()
    params = llama.llama_context_default_params()
    # llama.cpp takes no batch that is larger than the context.
    params.n_ctx, params.n_seq_max = max(shape.cells, BATCH), 2 * shape.streams
    params.n_batch = params.n_ubatch = BATCH
    params.n_threads = params.n_threads_batch = weights.threads()
    # One pool of cells for all: only so do samples share their prompt's.
    params.kv_unified = True
    if not weights.gpu_layers:  # on the CPU flash attention is slower
        params.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = llama.llama_init_from_model(weights.model, params)
    if not context:
        size = shape.cells * weights.token_bytes / 1e9
        raise ModelError(
            f"no memory for {shape.cells} tokens, some {size:.1f} GB: lower --llmc-n-ctx or --llmc-streams"
        )
    return context


def _sampler(sampling: Sampling, seed: int) -> Any:
    llama = _llama()
    params = llama.llama_sampler_chain_default_params()
    params.no_perf = True
    chain = llama.llama_sampler_chain_init(params)
    if sampling.temperature <= 0:
        links = [llama.llama_sampler_init_greedy()]
    else:
        links = [llama.llama_sampler_init_top_p(sampling.top_p, 1)] if sampling.top_p < 1 else []
        links += [llama.llama_sampler_init_temp(sampling.temperature), llama.llama_sampler_init_dist(seed)]
    for link in links:
        llama.llama_sampler_chain_add(chain, link)
    return chain


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two prompts begin with alike."""
    for place, (one, other) in enumerate(zip(first, second)):
        if one != other:
            return place
    return min(len(first), len(second))


def _llama() -> Any:
    import llama_cpp

    return llama_cpp

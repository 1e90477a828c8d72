"""Continuous batching: many answers are generated at once in one llama.cpp context.

To generate one token a processor reads all weights of the model from memory, and that takes far longer than the
arithmetic. The next tokens of sixteen answers, evaluated together, take little longer than the next token of one. So
this module repeats one *step*:

1. Each running sequence puts its last token into the batch, and behind it the tokens that its draft proposes
   (`speculative.py`).
2. llama.cpp evaluates the batch. Its result is the logits after each token.
3. Each sequence samples its next tokens with its own sampler.
4. Sequences that have ended are delivered.

Waiting samples take the place of those that have ended before the next step, not when all others have ended as well:
therefore *continuous* batching. An example with room for three sequences, the samples 0, 1, 2 of `f`, then 0 of `g`::

    step   batch          afterwards
    1      f0  f1  f2     f1 has ended: g0 is admitted
    2      f0  f2  g0     the KV cache is full: g0 is preempted
    3      f0  f2         f0 has ended: g0 is admitted again, and its tokens are evaluated anew
    4      f2  g0

**What is shared.** The samples of a question share the KV cache cells of its prompt, and prompts share the cells of
their common prefix (`prompt_cache.py`).

**Who is preempted.** Where no cell is free for a step, prompts that no sample uses are evicted first. Then the youngest
sequence loses its cells. It keeps its tokens and its sampler, waits at the head of the queue, and later goes on where
it stopped. The youngest has the fewest tokens to evaluate anew, and since the oldest never waits, every answer ends.

**Why the answers are the same.** A token attends to its own sequence alone, and a sampler has a seed of its own, made
from the question and the number of the sample. So an answer does not depend on what else is generated, but for
rounding: sums in a batch of another shape differ in their last bits, and that changes about one token in ten thousand.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import accumulate

from pytest_llmcompiler.errors import PromptTooLongError
from pytest_llmcompiler.model.answer import Answer, Question, Sampling, StopReason
from pytest_llmcompiler.model.llama.context import BATCH_TOKENS, BatchRow, CacheFullError, ContextSize, LlamaContext
from pytest_llmcompiler.model.llama.prompt_cache import CachedPrompt, PromptCache, TokenisedQuestion
from pytest_llmcompiler.model.llama.speculative import Draft, DraftFollower
from pytest_llmcompiler.model.llama.stopping import StopDetector
from pytest_llmcompiler.model.llama.token_sampler import TokenSampler
from pytest_llmcompiler.model.llama.weights import Weights
from pytest_llmcompiler.model.queue.job_queue import Job, JobQueue
from pytest_llmcompiler.model.sampling import MINIMAL_ANSWER, sample_seed

USUAL_ANSWER = 512
"""The expected length of an answer in tokens, before any has ended; later the mean of those that have."""
_STEP_COST_CPU, _STEP_COST_GPU = 3, 100
"""The time of a step beyond that of its tokens, in the time of one token. Measured with 100 million parameters on two
CPU cores: 13 ms a step and 4.2 ms a token. A GPU can multiply with a hundred tokens or more while it reads the
weights."""


@dataclass(eq=False)
class AnswerSequence:
    """One sample that is generated, or waits to be."""

    job: Job
    tokenised: TokenisedQuestion
    seed: int
    sampler: TokenSampler
    stop_detector: StopDetector
    limit: int
    """The largest number of tokens of the answer."""
    follower: DraftFollower | None
    started: float | None = None
    """When the sequence was first admitted, by perf_counter; None before."""
    written: list[int] = field(default_factory=list)
    """The tokens of the answer so far."""
    prompt: CachedPrompt | None = None
    """The prompt in the KV cache; None while the sequence waits."""
    number: int = -1
    """llama.cpp's number of the sequence; -1 while it waits."""
    proposed: tuple[int, ...] = ()
    """The draft's tokens in the current batch."""

    @property
    def position(self) -> int:
        """The position of the last token. It is not in the KV cache yet."""
        return len(self.tokenised.tokens) + len(self.written) - 1

    @property
    def last_token(self) -> int:
        """The token that the next step evaluates."""
        return self.written[-1] if self.written else self.tokenised.tokens[-1]


class BatchingEngine:
    """A context, the prompts in it, and the answers that are generated."""

    def __init__(
        self,
        weights: Weights,
        size: ContextSize,
        sampling: Sampling,
        *,
        drafts: bool,
        usual_answer: int = USUAL_ANSWER,
    ) -> None:
        """`usual_answer` is the expected length of an answer in tokens, before any has ended.

        Raises ModelError where there is not enough memory.
        """
        self._weights, self._size, self._sampling = weights, size, sampling
        self._has_drafts = drafts and weights.can_rewind
        self._usual_answer = usual_answer
        self._context = LlamaContext(weights, size)
        self._prompts = PromptCache(self._context, size, can_rewind=weights.can_rewind)
        self._samplers = ThreadPoolExecutor(weights.threads) if weights.threads > 1 else None
        self._running: list[AnswerSequence] = []
        """The oldest first."""
        self._waiting: deque[AnswerSequence] = deque()
        self._ended = self._tokens_of_ended = 0
        self.tokens_written = self.tokens_from_draft = 0
        """Tokens of all answers, and how many of these a draft had proposed."""
        self.preemptions = 0
        """How often a sequence lost its cells to others."""
        self.busy_seconds = self.idle_seconds = 0.0
        """Time in which answers were generated, and in which the engine waited for the next question."""

    def work(self, job_queue: JobQueue) -> None:
        """Generate what the job queue wants until it is closed. Raises ModelError where llama.cpp fails."""
        while not job_queue.is_closed:
            waiting_since = time.perf_counter()
            was_idle = not self._running
            self._take_jobs(job_queue)
            started = time.perf_counter()
            if was_idle and self._waiting:
                self.idle_seconds += started - waiting_since
            self._admit()
            if self._running:
                for sequence, stop in self._step():
                    job_queue.deliver(sequence.job, self._finish(sequence, stop))
            self.busy_seconds += time.perf_counter() - started

    def close(self) -> None:
        """Free the context."""
        if self._samplers:
            self._samplers.shutdown()
        for sequence in (*self._running, *self._waiting):
            sequence.sampler.close()
        self._context.close()

    # -- Which sequences run.

    def _take_jobs(self, job_queue: JobQueue) -> None:
        """Take as many samples from the job queue as there are free places; wait for one if nothing runs."""
        while not job_queue.is_closed:
            free = self._size.sequences - len(self._running) - len(self._waiting)
            jobs = job_queue.take(free, wait=not self._running and not self._waiting) if free > 0 else []
            if not jobs:
                return
            question = jobs[0].question
            tokenised = self._tokenise(question)
            if len(tokenised.tokens) + MINIMAL_ANSWER > self._size.context:
                job_queue.refuse(question, PromptTooLongError(len(tokenised.tokens), self._size.context))
                continue
            self._waiting += [self._create_sequence(job, tokenised) for job in jobs]

    def _tokenise(self, question: Question) -> TokenisedQuestion:
        cached = self._prompts.find(question)
        if cached:
            return cached.tokenised
        tokens = self._weights.tokenise(question.text, is_prompt=True)
        has_draft = self._has_drafts and question.draft
        draft = Draft(self._weights.tokenise(question.draft, is_prompt=False)) if has_draft else None
        return TokenisedQuestion(question, tokens, draft)

    def _create_sequence(self, job: Job, tokenised: TokenisedQuestion) -> AnswerSequence:
        seed = sample_seed(self._sampling.seed, job.question.key, job.sample)
        limit = self._size.context - len(tokenised.tokens)
        if self._sampling.max_tokens is not None:
            limit = min(limit, self._sampling.max_tokens)
        return AnswerSequence(
            job=job,
            tokenised=tokenised,
            seed=seed,
            sampler=TokenSampler(self._sampling, seed),
            stop_detector=StopDetector(job.question.function),
            limit=limit,
            follower=DraftFollower(tokenised.draft) if tokenised.draft else None,
        )

    def _admit(self) -> None:
        """Start waiting sequences, in their order, while the cells suffice for their expected lengths."""
        while self._waiting:
            sequence = self._waiting[0]
            if self._running and not self._has_room(sequence):
                return
            self._waiting.popleft()
            try:
                self._start(sequence)
            except CacheFullError:
                if not self._running:
                    raise
                self._waiting.appendleft(sequence)
                return

    def _has_room(self, sequence: AnswerSequence) -> bool:
        """Whether a sequence can run beside those that run. Unused prompts are evicted for it."""
        prompt = self._prompts.find(sequence.job.question)
        expected = self._expect_tokens(sequence) + sum(map(self._expect_tokens, self._running))
        needed = self._count_written() + len(sequence.written) + expected
        if not prompt:
            return self._prompts.make_room(needed + len(sequence.tokenised.tokens))
        prompt.users += 1  # else its own prompt could be evicted to make room for it
        has_room = self._prompts.make_room(needed)
        prompt.users -= 1
        return has_room

    def _expect_tokens(self, sequence: AnswerSequence) -> int:
        """The number of tokens that an answer is expected to lack, at least 1."""
        usual = self._tokens_of_ended // self._ended if self._ended else self._usual_answer
        return max(min(usual, sequence.limit) - len(sequence.written), 1)

    def _start(self, sequence: AnswerSequence) -> None:
        """Give a sequence its cells, and let it run. Raises CacheFullError, and then it does not run."""
        sequence.started = sequence.started or time.perf_counter()
        prompt = self._prompts.acquire(sequence.tokenised, self._count_written())
        sequence.prompt, sequence.number = prompt, self._context.allocate_sequence()
        prompt.users += 1
        cached = len(prompt.tokens) - 1
        self._context.copy_prefix(prompt.sequence, sequence.number, cached)
        try:
            # After a preemption the tokens written so far are evaluated again.
            self._prompts.evaluate(sequence.number, [*prompt.tokens[cached:], *sequence.written][:-1], cached)
        except CacheFullError:
            self._release(sequence)
            raise
        self._running.append(sequence)

    def _preempt(self) -> bool:
        """Let the youngest sequence wait, so that the others can go on. Whether there are others."""
        if len(self._running) < 2:
            return False
        sequence = self._running.pop()
        self._release(sequence)
        self._waiting.appendleft(sequence)
        self.preemptions += 1
        return True

    def _release(self, sequence: AnswerSequence) -> None:
        """Free the cells of a sequence."""
        assert sequence.prompt is not None
        sequence.prompt.users -= 1
        self._context.release_sequence(sequence.number)
        sequence.prompt, sequence.number = None, -1

    def _count_written(self) -> int:
        return sum(len(sequence.written) for sequence in self._running)

    # -- One step.

    def _step(self) -> Iterator[tuple[AnswerSequence, StopReason]]:
        """Generate the next tokens of every running sequence. Yields those that end, with the reason."""
        while True:
            rows = self._build_batch()
            if self._prompts.make_room(self._count_written() + len(rows)) and self._context.evaluate(rows):
                break
            if not self._preempt():
                raise CacheFullError(f"llama.cpp has no room for {len(rows)} more tokens: lower --llmc-n-ctx")
        for sequence, tokens in self._sample_all():
            stop = self._append(sequence, tokens)
            if stop:
                self._running.remove(sequence)
                yield sequence, stop

    def _build_batch(self) -> list[BatchRow]:
        """Each sequence's last token, and behind it the tokens that its draft proposes."""
        running = max(len(self._running), 1)
        most = BATCH_TOKENS // running - 1
        step_cost = (_STEP_COST_GPU if self._weights.gpu_layers else _STEP_COST_CPU) / running
        rows = []
        for sequence in self._running:
            left = min(most, sequence.limit - len(sequence.written) - 1)
            follower = sequence.follower if left > 0 else None
            sequence.proposed = follower.propose(left, step_cost) if follower else ()
            for position, token in enumerate((sequence.last_token, *sequence.proposed), sequence.position):
                rows.append(BatchRow(token, position, sequence.number))
        return rows

    def _sample_all(self) -> list[tuple[AnswerSequence, list[int]]]:
        """The next tokens of each sequence.

        For 64 sequences and a vocabulary of 32,000 tokens one core would take longer to sample than a GPU for the step,
        so each core samples for a share of the sequences.
        """
        rows = accumulate((1 + len(sequence.proposed) for sequence in self._running), initial=0)
        sequences = list(zip(self._running, rows))
        self._context.order_logits()
        if not self._samplers or len(sequences) == 1:
            return self._sample_share(sequences)
        size = -(-len(sequences) // self._weights.threads)
        shares = [sequences[first : first + size] for first in range(0, len(sequences), size)]
        return [sampled for share in self._samplers.map(self._sample_share, shares) for sampled in share]

    def _sample_share(self, sequences: Sequence[tuple[AnswerSequence, int]]) -> list[tuple[AnswerSequence, list[int]]]:
        """The next tokens of some sequences. Each comes with the row of its last token in the batch."""
        return [(sequence, self._sample(sequence, row)) for sequence, row in sequences]

    def _sample(self, sequence: AnswerSequence, first_row: int) -> list[int]:
        """The next tokens of one sequence: the proposed ones that the model chooses too, and one of its own."""
        tokens: list[int] = []
        for row, proposed in enumerate((*sequence.proposed, None), first_row):
            tokens.append(sequence.sampler.sample(self._context, row))
            if tokens[-1] != proposed:
                break
        return tokens

    def _append(self, sequence: AnswerSequence, tokens: Sequence[int]) -> StopReason | None:
        """Append sampled tokens to an answer. Returns why it ends, None where it does not."""
        before = sequence.position
        appended, stop = 0, None
        for token in tokens:
            stop = self._append_token(sequence, token)
            appended += 1
            if stop:
                break
        self.tokens_written += appended
        self.tokens_from_draft += appended - 1
        if sequence.follower and not stop:
            sequence.follower.observe(sequence.written, appended)
        if len(sequence.proposed) >= appended:  # the cells of proposed tokens that were not chosen
            self._context.truncate(sequence.number, before + appended)
        return stop

    def _append_token(self, sequence: AnswerSequence, token: int) -> StopReason | None:
        text = self._weights.decode_token(token)
        if text is None:
            return "eos"
        sequence.written.append(token)
        if sequence.stop_detector.add(text):
            return "stop"
        return "length" if len(sequence.written) >= sequence.limit else None

    def _finish(self, sequence: AnswerSequence, stop: StopReason) -> Answer:
        """Free what a sequence holds, and return its answer."""
        assert sequence.started is not None
        self._release(sequence)
        sequence.sampler.close()
        self._ended += 1
        self._tokens_of_ended += len(sequence.written)
        return Answer(
            text=sequence.stop_detector.text,
            sample=sequence.job.sample,
            stop=stop,
            prompt_tokens=len(sequence.tokenised.tokens),
            answer_tokens=len(sequence.written),
            seconds=round(time.perf_counter() - sequence.started, 3),
            seed=sequence.seed,
        )

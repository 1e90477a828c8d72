"""Prompts in the KV cache, which the samples of a question share.

A prompt has a sequence of its own. A sample's sequence begins as a copy of it, in the same cells: sixteen samples of a
prompt of 1,000 tokens take 1,000 cells and not 16,000, and the prompt is evaluated once. A prompt that no sample uses
stays in the cache until its cells are needed, as the next prompt may begin with the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmcompiler.model.answer import Question
from pytest_llmcompiler.model.llama.context import BATCH_TOKENS, BatchRow, CacheFullError, ContextSize, LlamaContext
from pytest_llmcompiler.model.llama.speculative import Draft

_MINIMAL_PREFIX = 16
"""The smallest number of tokens for which a common prefix is copied: evaluating fewer takes no longer than a step."""


@dataclass(frozen=True, eq=False)
class TokenisedQuestion:
    """A question as the model reads it."""

    question: Question
    tokens: list[int]
    """The prompt."""
    draft: Draft | None


@dataclass(eq=False)
class CachedPrompt:
    """A prompt in the KV cache: all its tokens but the last."""

    tokenised: TokenisedQuestion
    sequence: int
    """llama.cpp's number of the sequence that holds the prompt."""
    users: int = 0
    """Running answers to the prompt. It is not evicted while there are any."""

    @property
    def tokens(self) -> list[int]:
        """The tokens of the prompt, the last one too."""
        return self.tokenised.tokens


class PromptCache:
    """The prompts in one context."""

    def __init__(self, context: LlamaContext, size: ContextSize, *, can_rewind: bool) -> None:
        """`can_rewind`: whether the model can forget the last tokens of a sequence; else no prefix is shared."""
        self._context, self._size, self._can_rewind = context, size, can_rewind
        self._prompts: dict[Question, CachedPrompt] = {}
        """The least recently used prompt first."""

    def find(self, question: Question) -> CachedPrompt | None:
        """The prompt of a question, if it is in the cache."""
        return self._prompts.get(question)

    def acquire(self, tokenised: TokenisedQuestion, generated: int) -> CachedPrompt:
        """The prompt of a question, which is evaluated where it is not in the cache yet.

        `generated` is the number of cells that the running answers take. All tokens of the prompt but the last are
        evaluated. Each sample evaluates the last one alone, the first sample too: in a batch with other tokens the
        logits would differ in their last bits, and with them now and then the answer.

        Raises CacheFullError.
        """
        prompt = self._prompts.pop(tokenised.question, None) or self._load(tokenised, generated)
        self._prompts[tokenised.question] = prompt
        return prompt

    def make_room(self, generated: int) -> bool:
        """Evict unused prompts until the others and `generated` tokens of answers fit into the cells.

        Whether they fit. If not, nothing is evicted.
        """
        unused = sum(len(prompt.tokens) for prompt in self._prompts.values() if not prompt.users)
        if self._count_tokens() - unused + generated > self._size.cells:
            return False
        while self._count_tokens() + generated > self._size.cells:
            self.evict()
        return True

    def evict(self) -> bool:
        """Drop the least recently used prompt without users. Whether there was one."""
        prompt = next((prompt for prompt in self._prompts.values() if not prompt.users), None)
        if prompt is None:
            return False
        self._context.release_sequence(prompt.sequence)
        del self._prompts[prompt.tokenised.question]
        return True

    def evaluate(self, sequence: int, tokens: Sequence[int], start: int) -> None:
        """Put tokens into the cache from the position `start` on, and evict prompts where that needs room.

        Raises CacheFullError.
        """
        for first in range(0, len(tokens), BATCH_TOKENS):
            batch = tokens[first : first + BATCH_TOKENS]
            rows = [BatchRow(token, position, sequence) for position, token in enumerate(batch, start + first)]
            while not self._context.evaluate(rows, logits=False):
                if not self.evict():
                    raise CacheFullError(f"llama.cpp has no room for a prompt of {start + len(tokens)} tokens")

    def _load(self, tokenised: TokenisedQuestion, generated: int) -> CachedPrompt:
        """Evaluate a prompt. Raises CacheFullError."""
        tokens = tokenised.tokens
        # Attention goes through all cells, used or not, so more than one unused prompt costs every step time. One is
        # kept, since the new prompt may begin with the same tokens.
        while (
            self._count_unused() > 1
            or len(self._prompts) >= self._size.sequences
            or not self.make_room(generated + len(tokens))
        ):
            if not self.evict():
                break
        prompt = CachedPrompt(tokenised, self._context.allocate_sequence())
        shared = self._copy_prefix(prompt)
        try:
            self.evaluate(prompt.sequence, tokens[shared:-1], shared)
        except CacheFullError:
            self._context.release_sequence(prompt.sequence)
            raise
        return prompt

    def _copy_prefix(self, prompt: CachedPrompt) -> int:
        """Copy the longest prefix that a cached prompt has in common with this one. Returns its length in tokens; 0
        where copying is not worth it or not possible."""
        donors = {
            _count_common(prompt.tokens, cached.tokens): cached
            for cached in self._prompts.values()
            if self._context.has_first_token(cached.sequence)
        }
        shared = min(max(donors, default=0), len(prompt.tokens) - 1)
        if shared < _MINIMAL_PREFIX or self._size.sequences == 1 or not self._can_rewind:
            return 0
        donor = donors[max(donors)]
        shared = min(shared, len(donor.tokens) - 1)
        self._context.copy_prefix(donor.sequence, prompt.sequence, shared)
        return shared

    def _count_tokens(self) -> int:
        return sum(len(prompt.tokens) for prompt in self._prompts.values())

    def _count_unused(self) -> int:
        return sum(not prompt.users for prompt in self._prompts.values())


def _count_common(first: Sequence[int], second: Sequence[int]) -> int:
    """The number of tokens that two prompts have in common at their beginning."""
    for index, (left, right) in enumerate(zip(first, second)):
        if left != right:
            return index
    return min(len(first), len(second))

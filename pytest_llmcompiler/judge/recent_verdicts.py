"""The verdicts on the texts that were judged last, for texts that differ from one of them in comments alone.

The samples of one question are often alike: models write the same code with other comments. Texts that are the same
without comments and without blanks at the ends of lines are assembled to the same code with the same lines
(`assembler.recent_code`), so they get the same verdict. Only a quoted line may have a comment.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import Any
from weakref import WeakKeyDictionary

from pytest_llmcompiler.assembler.recent_code import strip_text
from pytest_llmcompiler.judge.messages import VerdictReply
from pytest_llmcompiler.judge.program_harness import AnyHarness
from pytest_llmcompiler.judge.recent_replies import RecentReplies
from pytest_llmcompiler.judge.settings import TaskQuestion
from pytest_llmcompiler.judge.verdict import RUN_FAILURES

_MOST_BYTES = 16 << 20
"""Bytes of the verdicts that are kept, of about a KiB each."""
_KEPT_KINDS = frozenset(("pass", "assemble", "link", *RUN_FAILURES))
"""An inconclusive verdict may be another one the next time."""


class RecentVerdicts:
    """Verdicts of harnesses, without explanations."""

    def __init__(self) -> None:
        self._replies = RecentReplies(_MOST_BYTES)
        self._numbers: WeakKeyDictionary[AnyHarness, int] = WeakKeyDictionary()
        """One for each harness: a file that changes gives a function another one."""
        self._next_numbers = itertools.count()

    def find(self, harness: AnyHarness, question: TaskQuestion, text: str) -> VerdictReply | None:
        """The verdict on a text; None where there is none."""
        bare = strip_text(text, harness.reference.target.dialect)
        data = None if bare is None else self._replies.find(self._build_key(harness, question, bare))
        if bare is None or data is None:
            return None
        reply: VerdictReply = json.loads(data)
        return None if _quotes_comment(reply, text, bare) else reply

    def add(self, harness: AnyHarness, question: TaskQuestion, text: str, reply: VerdictReply) -> None:
        """Keep the verdict on a text, if it is the same for all texts with the same code."""
        bare = strip_text(text, harness.reference.target.dialect)
        if bare is None or not _is_final(reply["verdict"]) or _quotes_comment(reply, text, bare):
            return
        self._replies.add(self._build_key(harness, question, bare), (), json.dumps(reply).encode())

    def _build_key(self, harness: AnyHarness, question: TaskQuestion, bare: str) -> bytes:
        number = self._numbers.get(harness)
        if number is None:
            number = self._numbers[harness] = next(self._next_numbers)
        facts = number, question.passes, sorted(question.claimed_sizes.items())
        return hashlib.blake2b(f"{facts}\0{bare}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _is_final(verdict: dict[str, Any]) -> bool:
    """Whether a verdict is the same the next time. An assembler that took too long names no line."""
    kind, line = verdict["verdict"], verdict["detail"].get("line")
    return kind in _KEPT_KINDS and (kind != "assemble" or line is not None)


def _quotes_comment(reply: VerdictReply, text: str, bare: str) -> bool:
    """Whether the line that a verdict names, which is the one that it quotes, has a comment."""
    line = reply["verdict"]["detail"].get("line")
    return bool(line) and text.split("\n")[line - 1].split() != bare.split("\n")[line - 1].split()

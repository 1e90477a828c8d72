"""Inputs that failed one answer to a question are tried with the later ones too.

The second look finds an input for one answer. A later answer may go wrong on the same input, and its own search may
miss it. So an answer that passes is judged again with the inputs that earlier answers to the same question failed by.

"Earlier" is the order of the samples, in which their verdicts are read, and not the order in which processes are done:
so the number of processes has no say. Nor have other questions, so that a part of the items gets the verdicts that all
get. An answer that repeats an earlier one has its verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytest_llmcompiler.errors import JudgeError
from pytest_llmcompiler.judge.reproducer import ReproducibleVerdict
from pytest_llmcompiler.judge.sample_queue import JudgedAnswer
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.model.answer import Answer

_MAX_INPUTS = 8
"""Inputs that are kept, the first ones. Each later answer that passes is run on all."""

JudgeAgain = Callable[[Answer, Sequence[Mapping[str, Any]]], ReproducibleVerdict]
"""Judges an answer on further inputs, as `TaskQuestion.taught` has them. Raises JudgeError."""


class TaughtInputs:
    """The inputs that failed the answers to one question so far."""

    def __init__(self, judge_again: JudgeAgain) -> None:
        self._judge_again = judge_again
        self._inputs: list[Mapping[str, Any]] = []
        self._seen: dict[tuple[str, str], ReproducibleVerdict] = {}
        """The verdicts of answers that passed at first, by text and stop reason."""

    def judge(self, judged: JudgedAnswer, *, is_final: bool = False) -> JudgedAnswer:
        """The next answer, with the verdict that the inputs so far make of it. A verdict that `is_final` only
        teaches."""
        answer, outcome = judged
        if isinstance(outcome, JudgeError):
            return judged
        if outcome.verdict.passed and not is_final:
            try:
                outcome = self._seen.setdefault((answer.text, answer.stop), self._try_inputs(answer, outcome))
            except JudgeError as error:
                return JudgedAnswer(answer, error)
        self._learn(outcome.verdict)
        return JudgedAnswer(answer, outcome)

    def _try_inputs(self, answer: Answer, passed: ReproducibleVerdict) -> ReproducibleVerdict:
        if not self._inputs or (answer.text, answer.stop) in self._seen:
            return passed
        judged = self._judge_again(answer, tuple(self._inputs))
        return judged if judged.verdict.conclusive else passed

    def _learn(self, verdict: Verdict) -> None:
        look = verdict.detail.get("second_look")
        input = look.get("input") if isinstance(look, dict) else None
        if isinstance(input, dict) and input not in self._inputs and len(self._inputs) < _MAX_INPUTS:
            self._inputs.append(input)

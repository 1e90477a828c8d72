"""`pytest_llmcompiler/compile`: the plugin's questions as a task of inspect_ai, with a scorer and a metric.

inspect_ai registers what is decorated when a module is loaded. It is an extra, so its decorators are called here when
one of the registered names is first asked for: by inspect_ai through the entry point, or by an import of the name.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from pytest_llmcompiler.frameworks.folder_questions import FolderQuestion, list_folder_questions, open_judge
from pytest_llmcompiler.judge.verdict import KINDS, Verdict
from pytest_llmcompiler.targets.target import DEFAULT

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.scorer import Metric, Score, Scorer
    from inspect_ai.solver import TaskState

    # The functions below as inspect_ai registers them.
    compile: Callable[..., Task]
    verdict: Callable[..., Scorer]
    verdict_shares: Callable[..., Metric]


def __getattr__(name: str) -> Any:
    """The registered task, scorer or metric of a name. Raises AttributeError for another name, ImportError without
    inspect_ai."""
    if name not in ("compile", "verdict", "verdict_shares"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _register()[name]


@functools.cache
def _register() -> dict[str, Any]:
    """Register all with inspect_ai, in the order in which one needs the other."""
    from inspect_ai import task
    from inspect_ai.scorer import accuracy, metric, scorer, stderr

    shares = metric(name="verdict_shares", scores="unreduced")(_verdict_shares)
    metrics = [accuracy(), stderr(), shares()]
    return {
        "verdict_shares": shares,
        "verdict": scorer(metrics=metrics, name="verdict")(_verdict),
        "compile": task(name="compile")(_compile),
    }


def _compile(
    cases: str = "cases",
    task: str = "asm",
    passes: str | list[str] = "O0",
    target: str = DEFAULT,
    prompt: str = "meta",
    cflags: str | list[str] = "",
    examples: int = 100,
    seed: int = 1,
    effort: float = 1.0,
) -> Task:
    """Compile the functions of a folder of C and IR files, one sample for each function and pass list.

    The questions are those of `list_folder_questions`, and the parameters named there are the same here. `examples`,
    `seed` and `effort` are as for `check`.
    """
    from inspect_ai import Task
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.solver import generate

    questions = list_folder_questions(cases, task=task, passes=passes, target=target, prompt=prompt, cflags=cflags)
    samples = [Sample(id=one.id, input=one.text, metadata=one.to_json()) for one in questions]
    return Task(
        dataset=MemoryDataset(samples, name=cases),
        solver=generate(),
        scorer=_register()["verdict"](examples=examples, seed=seed, effort=effort),
    )


def _verdict(examples: int = 100, seed: int = 1, effort: float = 1.0) -> Scorer:
    """Judge the completion by running its code beside the reference. The sample's metadata is that of `compile`."""

    async def score(state: TaskState, target: object) -> Score:
        question = FolderQuestion.from_json(state.metadata)
        stop: Literal["length", "eos"] = (
            "length" if state.output.stop_reason in ("max_tokens", "model_length") else "eos"
        )
        sample = question.build_sample(state.output.completion, stop)
        return _build_score(await open_judge(examples, seed, effort).acheck(sample), state.output.completion)

    return score


def _build_score(verdict: Verdict, completion: str) -> Score:
    """A verdict as a score: `C` for a pass, `N` where there is no whole code, `I` for wrong code. What can't be judged
    is neither: it is unscored, which metrics and reducers leave out and count."""
    from inspect_ai.scorer import CORRECT, INCORRECT, NOANSWER, Score

    metadata = {
        "verdict": verdict.kind,
        "message": verdict.message,
        "evidence": list(verdict.evidence),
        "counterexample": asdict(verdict.counterexample) if verdict.counterexample else None,
        "detail": verdict.detail,
    }
    if not verdict.conclusive:
        return Score.unscored(reason="scoring_failed", explanation=str(verdict), metadata=metadata)
    if verdict.kind in ("no-answer", "truncated"):
        reason = "invalid_response_format" if completion.strip() else "no_response"
        reason = "truncated" if verdict.kind == "truncated" else reason
        return Score(value=NOANSWER, reason=reason, explanation=str(verdict), metadata=metadata)
    return Score(value=CORRECT if verdict.passed else INCORRECT, explanation=str(verdict), metadata=metadata)


def _verdict_shares() -> Metric:
    """The share of each verdict among all judged answers, those of every epoch."""

    def compute(scores: list[Any]) -> dict[str, float]:
        counts = Counter((one.score.metadata or {}).get("verdict") for one in scores)
        judged = [kind for kind in KINDS if kind != "inconclusive"]
        return {kind: counts[kind] / len(scores) for kind in judged} if scores else {}

    return compute

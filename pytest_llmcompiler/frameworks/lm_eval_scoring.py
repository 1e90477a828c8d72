"""The functions that the tasks for lm-evaluation-harness name: data set, judge and score."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmcompiler.frameworks.folder_questions import FolderQuestion, list_folder_questions, open_judge
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.report.passk import pass_at_k
from pytest_llmcompiler.targets.target import DEFAULT

if TYPE_CHECKING:
    from datasets import Dataset

TASKS_FOLDER = Path(__file__).parent / "lm_eval_tasks"
"""The folder of the tasks, for `--include_path`."""


def load_dataset(
    *,
    cases: str | None = None,
    task: str = "asm",
    passes: str | list[str] = "O0",
    target: str = DEFAULT,
    prompt: str = "meta",
    cflags: str | list[str] = "",
    pass_k: Sequence[int] = (1,),
    examples: int = 100,
    seed: int = 1,
    effort: float = 1.0,
    **_: object,
) -> dict[str, Dataset]:
    """The questions about a folder of cases, one document for each function and pass list, as the split `test`.

    The parameters come from `--metadata`; other ones, such as `version`, are the harness's own. Those about questions
    are as for `list_folder_questions`, `pass_k` are the k for which pass@k is reported, and `examples`, `seed` and
    `effort` are as for `check`. Nothing is downloaded.

    Raises ValueError without `cases`, and what `list_folder_questions` raises.
    """
    from datasets import Dataset

    if cases is None:
        raise ValueError("""name the folder of cases: --metadata '{"cases": "FOLDER"}'""")
    questions = list_folder_questions(cases, task=task, passes=passes, target=target, prompt=prompt, cflags=cflags)
    judge = {"examples": examples, "seed": seed, "effort": effort}
    rows = (
        # Facts of different functions have different types, and a column has one: so they are JSON.
        {
            "id": one.id,
            "function": one.function,
            "prompt": one.text,
            "question": json.dumps(one.to_json()),
            "judge": json.dumps(judge),
            "pass_k": list(pass_k),
        }
        for one in questions
    )
    return {"test": Dataset.from_list(list(rows))}


def judge_answers(answers: Sequence[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
    """The verdicts on all answers to all documents, as JSON objects, judged on all cores.

    The harness hands over a filter's answers at once, and calls its scoring function for each document in turn. What
    can't be judged is `inconclusive`, also where the fault is the judge's own: `detail["error"]` has it.
    """
    verdicts = _judge_in_order(answers, docs)
    return [[next(verdicts).to_json() for _ in texts] for texts in answers]


def _judge_in_order(answers: Sequence[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> Iterator[Verdict]:
    if not docs:
        return
    judge = open_judge(**json.loads(docs[0]["judge"]))  # the same for all: `load_dataset` wrote it
    samples = (
        FolderQuestion.from_json(json.loads(doc["question"])).build_sample(text)
        for texts, doc in zip(answers, docs)
        for text in texts
    )
    yield from judge.check_many(samples)


def score_question(doc: Mapping[str, Any], results: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """The scores of one document: pass@k of its judged answers, and the share of those that can't be judged.

    An answer that can't be judged is neither passed nor failed. pass@k is left out for a document with fewer than k
    judged answers, and the harness takes the mean over the others.
    """
    verdicts = [Verdict.from_json(one) for one in results[0]]
    judged = [verdict.passed for verdict in verdicts if verdict.conclusive]
    scores = {f"pass@{k}": pass_at_k(len(judged), sum(judged), k) for k in doc["pass_k"] if k <= len(judged)}
    return {**scores, "inconclusive": 1 - len(judged) / len(verdicts)}

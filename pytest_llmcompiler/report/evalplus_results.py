"""Records as the sample results that EvalPlus writes and reads (`*_eval_results.json`).

The layout is that of `evalplus/evaluate.py` of EvalPlus 0.3.1: `eval` has for each task a list of samples, in their
order. EvalPlus judges by a base suite and by a larger one, "plus". A sample counts for pass@k of "plus" where both
statuses are `pass`.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmcompiler.model.answer import QuestionKey, read_question_key
from pytest_llmcompiler.report.passk import pass_at_k
from pytest_llmcompiler.report.records import Record

_KS = (1, 10, 100)
"""The k for which EvalPlus computes pass@k, where every task has as many samples."""
_Sample = Mapping[str, Any]


def write_evalplus_results(records: Sequence[Record], path: Path, ks: Sequence[int]) -> None:
    """Write the samples that have a conclusive verdict. Raises OSError.

    `plus_status` is the verdict. `base_status` is what the tests that came with the case say, or the verdict where
    none came. A sample without a conclusive verdict is neither passed nor failed, and EvalPlus has no word for that:
    such samples are left out, and counted in `left_out`, a member that EvalPlus does not know. `ks` is not used.
    """
    samples: dict[QuestionKey, dict[int, _Sample]] = defaultdict(dict)
    left_out: dict[QuestionKey, set[int]] = defaultdict(set)
    questions = {}
    for record in records:
        key, number = read_question_key(record), record["sample"]
        questions[key] = record.get("question", "")
        if record.get("verdict") in (None, "inconclusive"):
            samples[key].pop(number, None)
            left_out[key].add(number)
        else:
            samples[key][number] = _build_sample(key, record)
            left_out[key].discard(number)
    tasks = {str(key): [numbered[number] for number in sorted(numbered)] for key, numbered in samples.items()}
    judged = {task: results for task, results in tasks.items() if results}
    result = {
        "date": f"{datetime.datetime.now():%Y-%m-%d %H:%M}",
        "hash": _hash_questions(questions),
        "eval": judged,
        "pass_at_k": {"base": _pass_at_k(judged, _passes_base), "plus": _pass_at_k(judged, _passes_both)},
        "left_out": {str(key): len(numbers) for key, numbers in left_out.items() if numbers},
    }
    with path.open("w", encoding="utf-8") as file:
        json.dump(result, file)


def _build_sample(key: QuestionKey, record: Record) -> _Sample:
    detail = record.get("detail", {})
    status = _status(record)
    published = detail.get("published")
    base_failures = [published["message"]] if published and published.get("message") else []
    own_failures = [detail["input"]] if detail.get("input") else []
    return {
        "task_id": str(key),
        "solution": record["answer"],
        "base_status": status if published is None else "pass" if published["holds"] else "fail",
        "plus_status": status,
        "base_fail_tests": own_failures if published is None else base_failures,
        "plus_fail_tests": own_failures,
    }


def _status(record: Record) -> str:
    return {"pass": "pass", "hang": "timeout"}.get(record.get("verdict") or "", "fail")


def _hash_questions(questions: Mapping[QuestionKey, str]) -> str:
    """A hash of what was asked; EvalPlus has that of its data set in this place, an MD5 sum."""
    lines = sorted(f"{key} {digest}\n" for key, digest in questions.items())
    return hashlib.md5("".join(lines).encode("utf-8", "backslashreplace"), usedforsecurity=False).hexdigest()


def _passes_base(sample: _Sample) -> bool:
    return bool(sample["base_status"] == "pass")


def _passes_both(sample: _Sample) -> bool:
    return bool(sample["base_status"] == sample["plus_status"] == "pass")


def _pass_at_k(tasks: Mapping[str, Sequence[_Sample]], passes: Callable[[_Sample], bool]) -> dict[str, float]:
    counts = [(len(samples), Counter(map(passes, samples))[True]) for samples in tasks.values()]
    fewest = min((total for total, _ in counts), default=0)
    return {
        f"pass@{k}": math.fsum(pass_at_k(total, passed, k) for total, passed in counts) / len(counts)
        for k in _KS
        if k <= fewest
    }

"""Records as the summary that lm-evaluation-harness writes (`results_*.json`).

The layout is that of `lm_eval/result_schema.py` of lm-evaluation-harness 0.4.13: `results` has for each task its
metrics, named `METRIC,FILTER`, and the standard error of each as `METRIC_stderr,FILTER`. Tasks, metrics and filter have
the names that the tasks of this package have there (`frameworks/lm_eval_tasks/`), so that both stand in one table.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmcompiler.model.answer import read_question_key
from pytest_llmcompiler.report.passk import SampleCounts, count_samples, estimate
from pytest_llmcompiler.report.records import Record

_FILTER = "judge"
_VERSION = 1.0
"""The version of the tasks in `frameworks/lm_eval_tasks/`."""
_NOT_KNOWN = "N/A"
"""What lm-evaluation-harness writes in the place of a standard error that it can't compute."""


def write_lm_eval_results(records: Sequence[Record], path: Path, ks: Sequence[int]) -> None:
    """Write a summary of records with verdicts: pass@k for each of `ks`, task by task. Raises OSError.

    The standard error of pass@k is that of the mean over items, with functions as clusters. A document of a task is an
    item; `effective` counts those that have a judged sample. `config` and `configs` say what the first record of a task
    says of model and settings.
    """
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        key = read_question_key(record)
        groups[_task_name(key.task, key.label)].append(record)
    counts = {task: count_samples(group) for task, group in groups.items()}
    model: Mapping[str, Any] = records[0].get("model") or {} if records else {}
    name = str(model.get("name", ""))
    result: dict[str, Any] = {
        "results": {task: {"alias": task, **_metrics(items, ks)} for task, items in counts.items()},
        "group_subtasks": {task: [] for task in groups},
        "configs": {task: _task_config(task, groups[task], items, ks) for task, items in counts.items()},
        "versions": dict.fromkeys(groups, _VERSION),
        "n-shot": dict.fromkeys(groups, 0),
        "higher_is_better": dict.fromkeys(groups, {f"pass@{k}": True for k in ks} | {"inconclusive": False}),
        "n-samples": {
            task: {"original": len(items), "effective": sum(item.judged > 0 for item in items)}
            for task, items in counts.items()
        },
        "config": {"model": model.get("backend"), "model_args": dict(model)},
        "date": time.time(),
        "model_source": model.get("backend"),
        "model_name": name,
        "model_name_sanitized": name.replace("/", "__"),
    }
    with path.open("w", encoding="utf-8") as file:
        json.dump(result, file, indent=2)


def _task_name(task: str, label: str) -> str:
    return "-".join(filter(None, (f"llmcompiler_{task}", label)))


def _metrics(items: Sequence[SampleCounts], ks: Sequence[int]) -> dict[str, float | str]:
    """pass@k of the k for which there are enough samples, and the share of samples that are inconclusive."""
    metrics: dict[str, float | str] = {}
    for k in ks:
        mean = estimate(items, k)
        if mean:
            error = mean.standard_error
            metrics[f"pass@{k},{_FILTER}"] = mean.value
            metrics[f"pass@{k}_stderr,{_FILTER}"] = _NOT_KNOWN if error is None else error
    samples = sum(len(item.verdicts) for item in items)
    inconclusive = sum(item.verdicts.count("inconclusive") for item in items)
    return {**metrics, f"inconclusive,{_FILTER}": inconclusive / samples}


def _task_config(
    task: str, records: Sequence[Record], items: Sequence[SampleCounts], ks: Sequence[int]
) -> dict[str, Any]:
    settings: Mapping[str, Any] = records[0].get("settings") or {}
    sampling = {"temperature": "temperature", "top_p": "top_p", "max_tokens": "max_gen_toks"}
    return {
        "task": task,
        "output_type": "generate_until",
        "num_fewshot": 0,
        "repeats": max(len(item.verdicts) for item in items),
        "generation_kwargs": {theirs: settings[ours] for ours, theirs in sampling.items() if ours in settings},
        "metric_list": [{"metric": f"pass@{k}", "aggregation": "mean", "higher_is_better": True} for k in ks],
        "metadata": {"version": _VERSION, **settings},
    }

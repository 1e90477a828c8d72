"""The tasks for lm-evaluation-harness, run by the harness itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sessions import CASE, LOW, TWICE, VEX, WRONG

pytest.importorskip("lm_eval")

import lm_eval
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager
from lm_eval.utils import make_table
from made_records import made_samples

from pytest_llmcompiler.frameworks.folder_questions import list_folder_questions
from pytest_llmcompiler.frameworks.lm_eval_scoring import TASKS_FOLDER
from pytest_llmcompiler.results import Results


class Written(LM):
    """A model that answers the n-th request for a prompt with what a function says."""

    def __init__(self, choose: Callable[[str, int], str]) -> None:
        super().__init__()
        self.prompts: list[str] = []
        self._choose = choose

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        answers = []
        for request in requests:
            prompt = request.args[0]
            answers.append(self._choose(prompt, self.prompts.count(prompt)))
            self.prompts.append(prompt)
        return answers

    def loglikelihood(self, requests: list[Any]) -> list[Any]:
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    folder = tmp_path / "cases"
    folder.mkdir()
    (folder / "case.c").write_text(CASE)
    return folder


def run(model: LM, task: str, folder: Path = TASKS_FOLDER, **metadata: Any) -> dict[str, Any]:
    facts = {"examples": 20, **metadata}
    tasks = TaskManager(include_path=str(folder), include_defaults=False, metadata=facts)
    results: dict[str, Any] = lm_eval.simple_evaluate(model, tasks=[task], task_manager=tasks, bootstrap_iters=0)
    return results


def test_answers_are_judged(cases: Path) -> None:
    model = Written(lambda prompt, _: LOW if "@low" in prompt else WRONG)
    results = run(model, "llmcompiler_asm", cases=str(cases))
    figures = results["results"]["llmcompiler_asm"]
    assert (figures["pass@1,judge"], figures["inconclusive,judge"]) == (0.5, 0.0)
    assert model.prompts == [one.text for one in list_folder_questions(cases)]
    verdicts = {one["doc"]["function"]: one["filtered_resps"][0][0] for one in results["samples"]["llmcompiler_asm"]}
    assert verdicts["low"]["verdict"] == "pass"
    assert verdicts["twice"]["verdict"] == "mismatch"
    assert verdicts["twice"]["detail"]["input"][0].startswith("x = ")


def test_what_cannot_be_judged_is_left_out_of_the_mean(cases: Path) -> None:
    model = Written(lambda prompt, _: LOW if "@low" in prompt else VEX)
    figures = run(model, "llmcompiler_asm", cases=str(cases))["results"]["llmcompiler_asm"]
    assert (figures["pass@1,judge"], figures["inconclusive,judge"]) == (1.0, 0.5)


def test_pass_at_k_of_a_task_of_ones_own(cases: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    text = f"include: {TASKS_FOLDER}/llmcompiler_asm.yaml\ntask: mine\nrepeats: 4\nmetadata:\n  pass_k: [1, 2]\n"
    (own / "mine.yaml").write_text(text)
    model = Written(lambda prompt, earlier: LOW if "@low" in prompt else TWICE if earlier == 2 else WRONG)
    figures = run(model, "mine", own, cases=str(cases))["results"]["mine"]
    assert figures["pass@1,judge"] == pytest.approx((1 + 0.25) / 2)
    assert figures["pass@2,judge"] == pytest.approx((1 + 0.5) / 2)


@pytest.mark.parametrize("task", ["ir", "tune", "disassemble"])
def test_the_other_tasks_ask_their_questions(cases: Path, task: str) -> None:
    model = Written(lambda *_: "opt -p 'default<Oz>'" if task == "tune" else "no code")
    results = run(model, f"llmcompiler_{task}", cases=str(cases))
    assert model.prompts == [one.text for one in list_folder_questions(cases, task=task)]
    [kind] = {one["filtered_resps"][0][0]["verdict"] for one in results["samples"][f"llmcompiler_{task}"]}
    assert kind == ("pass" if task == "tune" else "no-answer")


def test_exported_results_stand_in_the_table_of_the_harness(cases: Path, tmp_path: Path) -> None:
    """The table that the harness prints has a session's results and those of its own run under the same names."""
    records = made_samples("twice", "pass crash pass pass") + made_samples("low", "crash crash crash crash")
    Results(records).export(f"lm-eval:{tmp_path / 'results.json'}")
    exported = json.loads((tmp_path / "results.json").read_text())
    theirs = run(Written(lambda prompt, _: LOW if "@low" in prompt else WRONG), "llmcompiler_asm", cases=str(cases))
    for result, value in ((exported, 0.375), (theirs, 0.5)):
        (line,) = [line for line in make_table(result).splitlines() if "|pass@1" in line]
        cells = [cell.strip() for cell in line.split("|")]
        assert (cells[3], float(cells[7])) == ("judge", value)
    assert exported["results"]["llmcompiler_asm"].keys() >= {"alias", "pass@1,judge", "inconclusive,judge"}
    assert exported["results"].keys() == theirs["results"].keys()
    assert set(exported) >= {
        "results",
        "group_subtasks",
        "configs",
        "versions",
        "n-shot",
        "higher_is_better",
        "n-samples",
    }
    for name in ("n-samples", "higher_is_better", "versions"):
        assert exported[name].keys() == theirs[name].keys()

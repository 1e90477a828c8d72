"""`pytest_llmcompiler/compile` in evaluations of inspect_ai, with its mock model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sessions import CASE, LOW, TWICE, VEX, WRONG

pytest.importorskip("inspect_ai")

from inspect_ai import eval as evaluate
from inspect_ai.log import EvalLog
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from pytest_llmcompiler.frameworks.folder_questions import list_folder_questions

Answer = Callable[[str, int], ModelOutput]


def answer(text: str, stop: str = "stop") -> ModelOutput:
    output = ModelOutput.from_content("mockllm/model", text, stop_reason=stop)
    output.usage = ModelUsage()  # without it, the mock model downloads a tokenizer
    return output


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    folder = tmp_path / "cases"
    folder.mkdir()
    (folder / "case.c").write_text(CASE)
    return folder


def run(cases: Path, choose: Answer, **options: Any) -> EvalLog:
    """Evaluate a model that is asked for each prompt how often it has been asked for it before."""
    asked: dict[str, int] = {}

    def outputs(messages: list[Any], *_: object) -> ModelOutput:
        text = messages[-1].text
        asked[text] = asked.get(text, -1) + 1
        return choose(text, asked[text])

    args = {"cases": str(cases), "examples": 20, **options.pop("task_args", {})}
    model = get_model("mockllm/model", custom_outputs=outputs)
    folder = str(cases.parent / "logs")
    [log] = evaluate(
        "pytest_llmcompiler/compile", model=model, task_args=args, log_dir=folder, display="none", **options
    )
    assert log.status == "success", log.error
    return log


def metrics(log: EvalLog) -> dict[str, float]:
    assert log.results
    return {name: metric.value for score in log.results.scores for name, metric in score.metrics.items()}


def test_scores_have_the_verdict(cases: Path) -> None:
    log = run(cases, lambda text, _: answer(LOW if "@low" in text else WRONG))
    assert log.samples
    scores = {sample.id: sample.scores["verdict"] for sample in log.samples if sample.scores}
    right, wrong = scores["case.c::low[asm-O0]"], scores["case.c::twice[asm-O0]"]
    assert (right.value, right.metadata["verdict"], right.metadata["counterexample"]) == ("C", "pass", None)
    assert (wrong.value, wrong.metadata["verdict"]) == ("I", "mismatch")
    assert wrong.explanation.startswith("mismatch: return value")
    assert wrong.metadata["counterexample"]["input"][0].startswith("x = ")
    shares = metrics(log)
    assert (shares["accuracy"], shares["pass"], shares["mismatch"], shares["hang"]) == (0.5, 0.5, 0.5, 0.0)


def test_prompts_are_those_of_the_plugin(cases: Path) -> None:
    prompts: list[str] = []

    def choose(text: str, _: int) -> ModelOutput:
        prompts.append(text)
        return answer("")

    log = run(cases, choose, task_args={"passes": ["O0", "O2"]})
    assert sorted(prompts) == sorted(one.text for one in list_folder_questions(cases, passes="O0,O2"))
    assert metrics(log)["no-answer"] == 1.0
    assert {sample.scores["verdict"].reason for sample in log.samples or [] if sample.scores} == {"no_response"}


def test_what_cannot_be_judged_is_unscored(cases: Path) -> None:
    log = run(cases, lambda text, _: answer(LOW if "@low" in text else VEX))
    assert log.results and log.samples
    [reduced, every] = log.results.scores
    assert (reduced.scored_samples, reduced.unscored_samples) == (1, 1)
    assert (every.scored_samples, every.unscored_samples) == (1, 1)
    assert metrics(log)["accuracy"] == metrics(log)["pass"] == 1.0
    reasons = {sample.scores["verdict"].metadata["verdict"]: sample.scores["verdict"].reason for sample in log.samples}
    assert reasons == {"pass": None, "inconclusive": "scoring_failed"}


def test_a_cut_answer_is_truncated(cases: Path) -> None:
    cut = "twice:\n\tcmpl $3, %edi\n\tjne .LBB0_2\n\tleal"
    log = run(cases, lambda text, _: answer(f"<code>{LOW}</code>" if "@low" in text else cut, "max_tokens"))
    verdicts = {
        sample.scores["verdict"].metadata["verdict"]: sample.scores["verdict"].value for sample in log.samples or []
    }
    assert verdicts == {"pass": "C", "truncated": "N"}


def test_pass_at_k_comes_from_the_reducers(cases: Path) -> None:
    from inspect_ai import Epochs

    def choose(text: str, earlier: int) -> ModelOutput:
        return answer(LOW if "@low" in text else TWICE if earlier == 2 else WRONG)

    log = run(cases, choose, epochs=Epochs(4, ["pass_at_1", "pass_at_2"]))
    assert log.results
    accuracies = {score.reducer: score.metrics["accuracy"].value for score in log.results.scores if score.reducer}
    assert accuracies == {"pass_at_1": pytest.approx((1 + 0.25) / 2), "pass_at_2": pytest.approx((1 + 0.5) / 2)}
    assert metrics(log)["mismatch"] == pytest.approx(3 / 8)


def test_the_loop_runs_on_while_answers_are_judged(cases: Path) -> None:
    from inspect_ai.model import ModelName
    from inspect_ai.scorer import Target
    from inspect_ai.solver import TaskState

    from pytest_llmcompiler.frameworks.inspect_tasks import verdict

    async def judge() -> tuple[int, list[object]]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        states = [
            TaskState(ModelName("mockllm/model"), one.id, 0, one.text, [], output=answer(WRONG), metadata=one.to_json())
            for one in list_folder_questions(cases)
            if one.function == "twice"
        ]
        scores = [await verdict(examples=21)(state, Target("")) for state in states]
        ticking.cancel()
        return ticks, [score.value for score in scores if score]

    ticks, values = asyncio.run(judge())
    assert values == ["I"]
    assert ticks > 10  # a call that holds the loop up leaves a handful of turns


def test_an_unusable_case_ends_the_evaluation(cases: Path) -> None:
    from pytest_llmcompiler.errors import CaseError

    (cases / "bad.c").write_text("int broken(")
    with pytest.raises(CaseError, match=r"(?s)^1 cases of .*/bad\.c:1:12: error"):
        run(cases, lambda *_: answer(""))

"""All judges have one face. Nothing here needs Ray."""

from __future__ import annotations

import inspect

import pytest

from pytest_llmcompiler import CaseError, Judge, Verdict
from pytest_llmcompiler.errors import JudgeTimeoutError
from pytest_llmcompiler.service.error_verdict import describe_error, raise_error
from pytest_llmcompiler.service.ray_judge import RayJudge


def test_the_judge_on_ray_takes_what_a_judge_takes() -> None:
    own, on_ray = (inspect.signature(judge).parameters for judge in (Judge, RayJudge))
    assert len(own) > 5
    assert {name: on_ray.get(name) for name in own if name != "workers"} == {
        name: parameter for name, parameter in own.items() if name != "workers"
    }


@pytest.mark.parametrize("name", ["check", "check_many", "acheck", "acheck_many", "close"])
def test_the_judge_on_ray_is_called_as_a_judge_is(name: str) -> None:
    assert inspect.signature(getattr(RayJudge, name)) == inspect.signature(getattr(Judge, name))


def test_an_error_is_the_same_after_its_way_as_a_verdict() -> None:
    verdict = describe_error(CaseError("no such function"))
    assert verdict.kind == "inconclusive"
    with pytest.raises(CaseError, match="no such function"):
        raise_error(Verdict.from_json(verdict.to_json()))
    late = describe_error(JudgeTimeoutError("no verdict within 1 s"))
    assert late.detail["error"]["type"] == "Timeout"
    assert raise_error(late) is late
    failed = Verdict("mismatch", detail={"error": "a fact of another kind"})
    assert raise_error(failed) is failed


@pytest.mark.parametrize("settings", [{"num_workers": 0}, {"timeout": 0}, {"effort": -1}])
def test_settings_are_refused_before_ray_is_started(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        RayJudge(**settings)  # type: ignore[arg-type]

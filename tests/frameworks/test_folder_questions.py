"""The questions about a folder of cases that evaluation frameworks ask."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from sessions import CASE, PROMPT_MODEL, put, run

from pytest_llmcompiler.errors import CaseError, TemplateError
from pytest_llmcompiler.frameworks.folder_questions import FolderQuestion, list_folder_questions
from pytest_llmcompiler.frameworks.lm_eval_scoring import load_dataset, score_question
from pytest_llmcompiler.judge.verdict import Verdict


@pytest.mark.parametrize("flags", [{"passes": "O0,O2"}, {"task": "tune"}, {"task": "disassemble", "prompt": "meta"}])
def test_prompts_are_those_of_a_session(project: pytest.Pytester, flags: dict[str, str]) -> None:
    put(project, "cases/deep/two.ll", "define i32 @three(i32 %x) {\n  %y = mul i32 %x, 3\n  ret i32 %y\n}\n")
    put(project, "cases/.hidden/bad.c", "int broken(")
    project.makeconftest(PROMPT_MODEL)
    options = [f"--llmc-{name}={value}" for name, value in flags.items()]
    lines = run(project, "-s", *options, "cases").outlines
    asked = [ast.literal_eval(line.partition("PROMPT ")[2]) for line in lines if "PROMPT " in line]
    questions = list_folder_questions(project.path / "cases", **flags)
    assert {one.function for one in questions} == {"twice", "low", "three"}
    assert sorted(one.text for one in questions) == sorted(asked)


def test_every_case_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    for name, text in {"good.c": CASE, "one.c": "int broken(", "two.c": "// LLMC: nonsense\nint f(void);"}.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(CaseError, match=r"(?s)^2 cases of .*/one\.c:1:12: error.*/two\.c:1: unknown directive"):
        list_folder_questions(tmp_path)
    with pytest.raises(CaseError, match="has no function to ask for"):
        list_folder_questions(tmp_path / "none")


@pytest.mark.parametrize(
    ("setting", "message"), [({"task": "art"}, "unknown task"), ({"target": "vax"}, "vax"), ({"prompt": "odd"}, "odd")]
)
def test_unknown_settings(tmp_path: Path, setting: dict[str, str], message: str) -> None:
    with pytest.raises((ValueError, TemplateError), match=message):
        list_folder_questions(tmp_path, **setting)


def test_a_question_survives_json(tmp_path: Path) -> None:
    (tmp_path / "case.c").write_text("#ifdef WANTED\nint seen; int f(void) { return seen; }\n#endif\n")
    [question] = list_folder_questions(tmp_path, prompt="tiny", cflags="-DWANTED")
    assert question.symbol_names
    read = FolderQuestion.from_json(json.loads(json.dumps(question.to_json())) | {"more": 1})
    [new] = [new for new, old in question.symbol_names.items() if old == "seen"]
    sample = read.build_sample(f"f:\n\tmovl {new}(%rip), %eax\n\tretq\n", "length")
    assert sample == question.build_sample(f"f:\n\tmovl {new}(%rip), %eax\n\tretq\n", "length")
    assert (sample.answer, sample.stop, sample.cflags) == (
        "f:\n\tmovl seen(%rip), %eax\n\tretq\n",
        "length",
        ("-DWANTED",),
    )


def test_scores_of_a_document() -> None:
    kinds = ("pass", "mismatch", "inconclusive", "no-answer")
    verdicts = [Verdict(kind).to_json() for kind in kinds]
    assert score_question({"pass_k": [1, 2, 4]}, [verdicts]) == {
        "pass@1": pytest.approx(1 / 3),
        "pass@2": pytest.approx(2 / 3),
        "inconclusive": 0.25,
    }
    assert score_question({"pass_k": [1]}, [verdicts[2:3]]) == {"inconclusive": 1.0}


def test_a_data_set_needs_cases() -> None:
    pytest.importorskip("datasets")
    with pytest.raises(ValueError, match="name the folder of cases"):
        load_dataset(version=1.0)

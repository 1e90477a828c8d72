"""Records with any value in any place: a file either says which member of which line is wrong, or nothing that reads
records fails."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pytest_llmcompiler.errors import ModelError, ResumeError
from pytest_llmcompiler.model.answer import Prompt
from pytest_llmcompiler.model.replay import ReplayModel
from pytest_llmcompiler.report.comparison import compare_files
from pytest_llmcompiler.report.item_report import build_item_report
from pytest_llmcompiler.report.page import ReportPage
from pytest_llmcompiler.report.passk import count_samples
from pytest_llmcompiler.report.rejudged import changed_verdict_lines
from pytest_llmcompiler.report.resume import Resumption
from pytest_llmcompiler.report.terminal import summary_lines
from pytest_llmcompiler.results import Results, ResultsError

CODE = {"instructions": 30, "bytes": 20}
WHOLE: dict[str, Any] = {
    "schema": 1,
    "case": "a.c",
    "function": "f",
    "task": "asm",
    "passes": "O0",
    "prompt": "meta",
    "question": "0" * 64,
    "sample": 0,
    "answer": "f:\n\tret\n",
    "stop": "eos",
    "tokens": {"prompt": 20, "answer": 7},
    "seconds": 1.5,
    "seed": 3,
    "model": {"backend": "replay", "name": "mine"},
    "settings": {
        "version": "0.2.0",
        "prompt": "meta",
        "seed": 1,
        "examples": 9,
        "assembler": "llvm",
        "target": "x86_64-linux",
    },
    "verdict": "pass",
    "previous": "hang",
    "detail": {
        "message": "",
        "evidence": ["reaches 1 of 2 edges"],
        "assembler": "llvm",
        "inputs": 9,
        "agreeing": 4,
        "dropped": {"undefined": 2},
        "coverage": {"edges": 1, "of": 2, "unreached": [{"line": 3, "reason": "not found"}]},
        "adequacy": {"mutants": 10, "killed": 4},
        "second_look": {"inputs": 9, "leads": 1, "input": {"entry": 1, "numbers": [[1, 2]]}, "taught": False},
        "proved": False,
        "proof": {"steps": 4, "reason": "too long"},
        "cut": {"reserve": [1, 2]},
        "warning": "none",
        "compiler_bug": {"inputs": 1, "input": ["x = 1"], "location": "return value", "expected": "1", "observed": "2"},
        "line": 2,
        "column": 1,
        "parts": 1,
        "input": ["x = 1"],
        "expected": "1",
        "observed": "2",
        "differences": [["return value", "1", "2"]],
        "instructions": 12,
        "lowered": "f:\n\tret\n",
        "origin": 3,
        "ir": {"instructions": 2, "size": 3, "exact": True, "canonical": True, "opt_instructions": 2, "opt_size": 3},
        "round_trip": {"exact": True, "bleu": 41.5},
        "tune": {"passes": "sroa", "size": 80, "oz": 100, "improvement": 20.0},
        "promised": {"instructions": {"said": 2, "is": 2}, "size": {"said": 9, "is": None}},
        "cost": {**CODE, "references": {"O0": CODE, "O2": CODE, "O3": CODE, "Oz": CODE}},
        "published": {"tests": "asserts", "holds": True, "message": ""},
    },
}
"""A record with every member; no verdict has all of them."""
PROMPT = Prompt(
    case="a.c", function="f", task="asm", passes="O0", template="meta", text="", reference=lambda: "", digest="0" * 64
)


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each member of a value."""
    if place:
        yield place
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        yield from places(member, (*place, name))


PLACES = list(places(WHOLE))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from([10**400, -1, 2**64]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def similar(value: Any) -> st.SearchStrategy[Any]:
    """Other values of the same type, most of which a record may have."""
    if isinstance(value, dict):
        return st.sets(st.sampled_from(sorted(value)), max_size=len(value)).map(
            lambda names: {n: value[n] for n in names}
        )
    if isinstance(value, list):
        return st.lists(st.sampled_from(value), max_size=3) if value else st.just([])
    kinds = {bool: st.booleans(), int: st.integers(0, 2**128), float: st.floats(0, 2.0**128), str: st.text(max_size=9)}
    return kinds.get(type(value), st.none())


def member(value: Any, place: tuple[Any, ...]) -> Any:
    for name in place:
        value = value[name]
    return value


def changed(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The record with another value in one place."""
    record: dict[str, Any] = json.loads(json.dumps(WHOLE))
    holder: Any = record
    for name in place[:-1]:
        holder = holder[name]
    holder[place[-1]] = value
    return record


def read_by_all(path: Path) -> None:
    """Everything that reads records from a file, and everything that is made of them."""
    ReplayModel(path)
    resumption = Resumption(path)
    try:
        resumption.check({"version": "0.2.0"})  # type: ignore[typeddict-item]
        resumption.samples_of(PROMPT, {"backend": "replay", "name": "mine"})
    except ResumeError as error:
        assert "\n" not in str(error)
    results = Results.read(path)
    judged = [record for record in results if record.get("verdict")]
    assert "pass@1" in "\n".join([*summary_lines(judged, [1], 80), "pass@1"])
    changed_verdict_lines(record for record in judged if "verdict" in record)
    count_samples(judged)
    try:
        compare_files(path, path)
    except ModelError as error:
        assert "were not judged" in str(error)
    for name in ("t.csv", "t.parquet", "evalplus:e.json", "lm-eval:l.json"):
        kind, _, file = name.rpartition(":")
        try:
            results.export(f"{kind}:{path.with_name(file)}" if kind else str(path.with_name(file)))
        except ResultsError as error:
            assert "can't write" in str(error)
    resumed = resumption.samples_of(PROMPT, {})
    if resumed:
        page = ReportPage(path.with_name("page.html"))
        page.add(build_item_report(PROMPT, list(resumed.values()), None, lambda number: None))
        page.write({}, [1])


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(PLACES).flatmap(lambda place: st.tuples(st.just(place), VALUES | similar(member(WHOLE, place)))))
@example((("detail",), {}))
@example((("tokens", "prompt"), 1.5))
@example((("prompt",), [1]))
@example((("model", "name"), {"deep": [1]}))
@example((("sample",), 10**30))
@example((("seconds",), 2.0**127))
@example((("detail", "cost", "bytes"), 0))
@example((("detail", "adequacy", "mutants"), 2**127))
def test_any_value_is_read_or_named(tmp_path: Path, change: tuple[tuple[Any, ...], Any]) -> None:
    path = tmp_path / "r.jsonl"
    good = {**WHOLE, "sample": 1, "function": "g"}
    path.write_text(json.dumps(good) + "\n" + json.dumps(changed(*change)) + "\n")
    try:
        ReplayModel(path)
    except ModelError as error:
        assert re.match(rf"{re.escape(str(path))}:2: .", str(error)) and "\n" not in str(error)
        for reader in (Resumption, Results.read, lambda file: compare_files(file, file)):
            with pytest.raises((ModelError, ResultsError), match=re.escape(f"{path}:2: ")):
                reader(path)
    else:
        read_by_all(path)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_a_wrong_type_names_the_member(tmp_path: Path, place: tuple[Any, ...]) -> None:
    """An object in the place of a scalar, and a number in the place of an object or a list."""
    value = {"a": 1} if not isinstance(member(WHOLE, place), (dict, list)) else 5
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(changed(place, value)) + "\n")
    if place[:2] in (("model", "backend"), ("model", "name")):  # that is up to the model
        read_by_all(path)
        return
    with pytest.raises(ModelError) as error:
        ReplayModel(path)
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
    expected = "schema {'a': 1} is not known" if name == "schema" else f"'{name}' must be "
    assert str(error.value).startswith(f"{path}:1: {expected}")

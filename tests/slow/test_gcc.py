"""gcc's code for the cases of this repository: every verdict must be `pass`."""

from __future__ import annotations

import shutil
from pathlib import Path

import gcc_answers
import pytest
from suite_runs import CASES, ROOT, functions, run_suite, verdicts


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")
@pytest.mark.parametrize(("level", "intel", "step"), [("O2", True, 4), ("O0", False, 6)])
def test_gcc_s_code_passes(tmp_path: Path, level: str, intel: bool, step: int) -> None:
    """For some of the files; at -O0, where compilers differ least, for fewer."""
    wanted = {path.relative_to(CASES).as_posix() for path in sorted(CASES.rglob("*.c"))[::step]}
    answered = [item for item in gcc_answers.records(CASES, level=level, intel=intel) if item["case"] in wanted]
    answers = tmp_path / "gcc.jsonl"
    gcc_answers.write(answers, iter(answered))
    files = sorted(path for path in CASES.rglob("*") if path.suffix in (".c", ".ll"))
    others = [path for path in files if path.relative_to(CASES).as_posix() not in wanted]
    ignored = [f"--ignore={path.relative_to(ROOT)}" for path in others]
    records = run_suite(tmp_path, f"--llmc-model=replay:{answers}", "--llmc-require=all", *ignored)
    assert verdicts(records) == {"pass": len(answered)}
    assert functions(records) == functions(answered)
    assert len(answered) > 20

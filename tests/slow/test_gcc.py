"""gcc's code for the cases of this repository: every verdict must be `pass`."""

from __future__ import annotations

import shutil
from pathlib import Path

import gcc_answers
import pytest
from suite_runs import CASES, ROOT, functions, run_suite, verdicts


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")
def test_gcc_s_code_passes(tmp_path: Path) -> None:
    kinds = [("O2", True), ("O0", False)]
    answered = [
        record | {"sample": sample}
        for sample, (level, intel) in enumerate(kinds)
        for record in gcc_answers.records(CASES, level=level, intel=intel)
    ]
    answers = tmp_path / "gcc.jsonl"
    gcc_answers.write(answers, iter(answered))
    ignored = [f"--ignore={path.relative_to(ROOT)}" for path in sorted(CASES.rglob("*.ll"))]
    args = [f"--llmc-model=replay:{answers}", f"--llmc-samples={len(kinds)}", "--llmc-require=all"]
    records = run_suite(tmp_path, *args, *ignored)
    assert verdicts(records) == {"pass": len(answered)}
    assert functions(records) == functions(answered)

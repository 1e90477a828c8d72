"""clang's own code for the cases of this repository, at three levels: every verdict must be `pass`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from suite_runs import functions, run_suite, verdicts


def test_the_reference_s_own_code_passes_at_every_level(tmp_path: Path) -> None:
    records = run_suite(tmp_path, "--llmc-model=reference", "--llmc-passes=O0,O2,O3")
    assert set(verdicts(records)) == {"pass"}
    levels = Counter(record["passes"] for record in records)
    assert set(levels) == {"O0", "O2", "O3"} and len(set(levels.values())) == 1
    assert len(functions(records)) == levels["O0"]
    # A function of one enumeration has the fewest inputs, because an enumeration has few values.
    assert {(record["case"], record["function"]) for record in records if record["detail"]["inputs"] < 15} == set()

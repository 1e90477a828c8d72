"""Thousands of hostile answers: see `benchmarks/hostile.py`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "hostile.py"


def test_hostile_answers_do_no_harm() -> None:
    """No error of the judge, no file read or written, no connection, and nothing that is left behind."""
    result = subprocess.run([sys.executable, str(SCRIPT), "2000", "--seed", "3"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    for line in (
        "errors of the judge: 0",
        "verdicts that hold what is in the canary: none",
        "the canary: as it was, and unread; connections: 0",
    ):
        assert line in result.stdout
    states = [
        [int(cell.replace(",", "")) for cell in re.findall(r"[\d,]+", line)] for line in list_states(result.stdout)
    ]
    assert len(states) == 10 and states[-1][1] == 2000
    zombies = [state[6] for state in states]
    assert max(zombies) < 10
    # The first tenth has prepared everything: after that, memory and open files may not grow with the answers.
    assert states[-1][2] < 1.5 * states[2][2] + 200
    assert states[-1][4] < 1.5 * states[2][4] + 100


def list_states(output: str) -> list[str]:
    """The rows of the last table."""
    return output.rpartition("| seconds |")[2].splitlines()[2:]

"""Sessions that signals end: see `benchmarks/kills.py`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kills.py"


def test_nothing_is_left_of_a_session_that_is_ended_and_it_can_be_resumed() -> None:
    """The three signals, without workers of pytest-xdist."""
    command = [sys.executable, str(SCRIPT), "3", "--functions", "1", "--samples", "1", "--seed", "2"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    rows = re.findall(r"^\| (SIG\w+) \| no \|.*\| none \| none \| the same \|$", result.stdout, re.MULTILINE)
    assert rows == ["SIGTERM", "SIGKILL", "SIGINT"], result.stdout

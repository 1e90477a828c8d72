"""benchmarks/serve_load.py: a short run, in which processes are killed, loses no request and changes no verdict."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "serve_load.py"


def test_a_short_run() -> None:
    limits = ["--clients", "4", "--requests", "30", "--kill-every", "6", "--workers", "2"]
    result = subprocess.run([sys.executable, str(BENCHMARK), *limits], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "30 requests with 2 samples each" in result.stdout
    assert "lost: 0; verdicts of another kind than recorded: 0" in result.stdout
    assert "exit status of the server: 0" in result.stdout

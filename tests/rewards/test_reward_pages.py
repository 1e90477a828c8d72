"""The pages on rewards: each example that needs no training library runs, and prints what it says."""

from __future__ import annotations

import asyncio
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from reward_rows import RIGHT

PAGES = Path(__file__).parents[2] / "docs" / "pages" / "rewards"
BLOCK = re.compile(r'^```python title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
LIBRARIES = re.compile(r"^(?:import|from) (?:trl|datasets|skyrl_gym|nemo_gym|aiohttp)\b", re.MULTILINE)
EXAMPLES = {
    f"{page.stem}/{title}": text
    for page in sorted(PAGES.glob("*.md"))
    for title, text in BLOCK.findall(page.read_text(encoding="utf-8"))
}
"""The others run in `tests/integrations`, with the libraries."""


@pytest.mark.parametrize("name", [name for name, text in EXAMPLES.items() if not LIBRARIES.search(text)])
def test_examples_print_what_they_say(name: str, tmp_path: Path) -> None:
    text = EXAMPLES[name]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    result = subprocess.run(
        [sys.executable, "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == re.findall(r"^print\(.+\)  # (.+)$", text, re.MULTILINE)


def test_every_page_has_an_example() -> None:
    assert {name.partition("/")[0] for name in EXAMPLES} == {page.stem for page in PAGES.glob("*.md")}


def test_the_functions_of_the_page_on_verl_score_its_row(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    for title in ("compile_reward.py", "row.py"):
        (tmp_path / title).write_text(EXAMPLES[f"verl/{title}"], encoding="utf-8")
        found |= runpy.run_path(str(tmp_path / title))
    row = found["row"]
    call = (row["data_source"], RIGHT, row["reward_model"]["ground_truth"], row["extra_info"])
    assert found["compute_score"](*call)["score"] == 1.0
    assert asyncio.run(found["acompute_score"](*call))["score"] == 1.0
    assert [score["score"] for score in found["compute_scores"](*([part] for part in call))] == [1.0]

"""The examples of the documentation's pages about frameworks work and print what their comments say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[2] / "docs" / "pages"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("page", "extra"), [("inspect", "inspect_ai"), ("lm_eval", "lm_eval")])
def test_example(page: str, extra: str, tmp_path: Path) -> None:
    pytest.importorskip(extra)
    [case] = [text for _, title, text in BLOCK.findall((PAGES / "index.md").read_text()) if title == "cases/clamp.c"]
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "clamp.c").write_text(case)
    [example] = [
        text for language, _, text in BLOCK.findall((PAGES / f"{page}.md").read_text()) if language == "python"
    ]
    result = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    promised = re.findall(r"^print\(.+\)  # (.+)$", example, re.MULTILINE)
    assert promised
    assert [line for line in result.stdout.splitlines() if line in promised] == promised, result.stdout

"""The files for readers of the repository: links lead somewhere, and the README is one page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "docs/ARCHITECTURE.md")
LINK = re.compile(r"\]\(([^)#:]+)(?:#([^)]+))?\)")
MAX_README_LINES = 120


@pytest.mark.parametrize("name", FILES)
def test_links_lead_to_files(name: str) -> None:
    path = ROOT / name
    targets = [path.parent / link for link, _ in LINK.findall(path.read_text(encoding="utf-8"))]
    assert [target for target in targets if not target.exists()] == []


def test_the_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MAX_README_LINES


def test_versions_agree() -> None:
    version = re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version
    assert f"\nversion: {version[1]}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## [{version[1]}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

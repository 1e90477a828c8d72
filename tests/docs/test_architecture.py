"""`docs/ARCHITECTURE.md` names every module of the package, and no other."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pytest_llmcompiler"
TEXT = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
ROOM = re.compile(r"^### (?:`(\w+)/`)?", re.MULTILINE)
ROW = re.compile(r"^\| `([\w/]+\.py)` \|", re.MULTILINE)
PATH = re.compile(r"`((?:\w+/)+\w+\.\w+)`")


def listed() -> list[str]:
    """The modules in the tables under "Files", as paths inside the package."""
    _, _, files = TEXT.partition("\n## Files\n")
    files, _, _ = files.partition("\n## ")
    _, *sections = re.split(r"^(?=### )", files, flags=re.MULTILINE)
    rooms = ((ROOM.match(section), section) for section in sections)
    return [
        f"{room[1]}/{name}" if room and room[1] else name for room, section in rooms for name in ROW.findall(section)
    ]


def test_every_module_is_named_once() -> None:
    modules = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.stem != "__init__")
    assert sorted(listed()) == modules


def test_every_path_in_the_text_exists() -> None:
    paths = [path for path in PATH.findall(TEXT) if "PROCESSOR_SYSTEM" not in path]
    assert paths
    assert [path for path in paths if not (PACKAGE / path).exists() and not listed_in_a_room(path)] == []


def listed_in_a_room(path: str) -> bool:
    """Whether a path is that of a row, which stands in the table of its room without the room's name."""
    return any(module.endswith(f"/{path}") for module in listed())


def test_the_layers_are_those_of_the_contract() -> None:
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    contract = re.search(r'type = "layers".*?^layers = \[\n(.*?)^\]', settings, re.MULTILINE | re.DOTALL)
    assert contract
    layers = re.findall(r'"([^"]+)"', contract[1])
    section = TEXT.partition("\n## The layers\n")[2].partition("\n## ")[0]
    assert [line.strip() for line in section.splitlines() if line.startswith("    ")] == layers

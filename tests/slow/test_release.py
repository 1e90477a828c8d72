"""A release: what is built, and the documentation's first page followed with it, outside of the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIRST_PAGE = (ROOT / "docs" / "pages" / "index.md").read_text(encoding="utf-8")
FILES = re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', FIRST_PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", FIRST_PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
INSTALLATION = re.search(r"^```text\npip install (.+)\n```$", FIRST_PAGE, re.MULTILINE)


def run(command: list[str | Path], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder without anything of this checkout or of this session in its environment."""
    hidden = ("PYTEST_", "PYTHONPATH", "VIRTUAL_ENV", "LLMC_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return subprocess.run(command, cwd=folder, env=kept | environment, capture_output=True, text=True)


def run_well(command: list[str | Path], folder: Path, **environment: str) -> str:
    result = run(command, folder, **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sdist and the wheel, which `build` makes in environments of its own."""
    folder = tmp_path_factory.mktemp("dist")
    run_well([sys.executable, "-m", "build", "--outdir", folder, ROOT], folder)
    return folder


def wheel_in(folder: Path) -> Path:
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_what_is_built_can_be_uploaded(built: Path) -> None:
    run_well([sys.executable, "-m", "twine", "check", "--strict", *built.iterdir()], built)
    assert len(list(built.iterdir())) == 2


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", "-z", "pytest_llmcompiler"], cwd=ROOT, capture_output=True, text=True)
    names = zipfile.ZipFile(wheel_in(built)).namelist()
    assert {name for name in names if ".dist-info/" not in name} == set(tracked.stdout.split("\0")) - {""}
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        shipped = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "README.md",
        "LICENSE",
        "pyproject.toml",
        "cases/small.c",
        "tests/conftest.py",
        "docs/mkdocs.yml",
    } <= shipped


class Project:
    """An empty environment, and a folder with the files of the first page."""

    def __init__(self, folder: Path) -> None:
        run_well([sys.executable, "-m", "venv", folder / "environment"], folder)
        self._programs, self._cache = folder / "environment" / "bin", folder / "cache"
        self._folder = folder / "project"
        for name, text in FILES:
            (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self._folder / name).write_text(text, encoding="utf-8")

    def install(self, wheel: Path, extra: str) -> str:
        """Install the wheel with an extra, and return the list of all that is installed."""
        run_well([self._programs / "pip", "install", "--quiet", "--prefer-binary", f"{wheel}{extra}"], self._folder)
        return run_well([self._programs / "pip", "list"], self._folder)

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        program, *arguments = command.split()
        return run([self._programs / program, *arguments], self._folder, LLMC_CACHE=str(self._cache))


def assert_judged(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), result.stdout + result.stderr
    assert re.search(r"\d+ (passed|failed)", result.stdout), result.stdout
    assert str(ROOT) not in result.stdout


def test_the_first_page_is_followed(built: Path, tmp_path: Path) -> None:
    """Without the extra the judge works, and a model file is one line that names the extra, which then is installed."""
    assert INSTALLATION and INSTALLATION[1] == "'pytest-llmcompiler[gguf]'"
    with_clang, with_tiny = COMMANDS
    assert "reference" in with_clang and "tiny" in with_tiny
    project = Project(tmp_path)
    assert "llama" not in project.install(wheel_in(built), "")
    assert_judged(project.run(with_clang))
    refused = project.run(with_tiny)
    assert refused.returncode == pytest.ExitCode.USAGE_ERROR
    assert refused.stderr.strip().splitlines() == [
        "ERROR: --llmc-model: tiny needs llama.cpp: pip install 'pytest-llmcompiler[gguf]', which compiles it in some minutes"
    ]
    assert "llama" in project.install(wheel_in(built), "[gguf]")
    assert_judged(project.run(with_tiny))

"""The documentation: the site builds without a warning, and every command and Python example of the pages works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from random_gguf import write_random_gguf

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "pages"
BLOCK = re.compile(r'^( *)```(\w+)(?: title="([^"]+)")?\n(.*?)^\1```$', re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str | None, str]]:
    """Page, title and text of each code block in a language."""
    return [
        (path.stem, title or None, re.sub(f"^{indent}", "", text, flags=re.MULTILINE))
        for path in sorted(PAGES.glob("*.md"))
        for indent, block_language, title, text in BLOCK.findall(path.read_text(encoding="utf-8"))
        if block_language == language
    ]


COMMANDS = [(page, line) for page, _, text in blocks("sh") for line in text.splitlines()]
PAGES_WITH_COMMANDS = list(dict.fromkeys(page for page, _ in COMMANDS))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the files that the pages show."""
    folder = tmp_path_factory.mktemp("project")
    for language in ("c", "toml", "text"):
        for _, title, text in blocks(language):
            if title:
                (folder / title).parent.mkdir(exist_ok=True)
                (folder / title).write_text(text, encoding="utf-8")
    with (folder / "pyproject.toml").open("a") as settings:  # short answers and few inputs: the test stays fast
        settings.write('llmc_max_tokens = "40"\nllmc_examples = "20"\n')
    (folder / "elsewhere").mkdir()
    shutil.copy(folder / "cases" / "clamp.c", folder / "elsewhere" / "one.c")
    (folder / "tests").symlink_to(ROOT / "tests")
    (folder / "validate.s").write_text(assembly_of("validate"))
    write_random_gguf(folder / "model.gguf", context=16384)
    return folder


def assembly_of(function: str) -> str:
    """The text between the tags of the first recorded answer for a function."""
    lines = (ROOT / "tests" / "faults" / "git_lfs.jsonl").read_text(encoding="utf-8").splitlines()
    answer = next(record["answer"] for record in map(json.loads, lines) if record["function"] == function)
    return str(answer.partition("<code>")[2].partition("</code>")[0])


def run(project: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "CI"))}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS)
def test_commands(project: Path, page: str) -> None:
    """Each command judges at least one item. Items may fail, as wrong answers do; nothing else may go wrong. The commands of
    a page run in order, since one may read what another one writes."""
    for other, line in COMMANDS:
        if other == page:
            check_command(project, line)


def check_command(project: Path, line: str) -> None:
    program, *args = line.split()
    if "cases/git_lfs.c" in args:
        shutil.copy(ROOT / "cases" / "git_lfs.c", project / "cases")
    result = run(project, [sys.executable, "-m", {"llmc": "pytest_llmcompiler"}.get(program, program), *args])
    (project / "cases" / "git_lfs.c").unlink(missing_ok=True)
    assert result.returncode in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), result.stdout + result.stderr
    if program == "llmc":
        assert (result.returncode, result.stderr) == (0, "")
        return
    assert re.search(r"\d+ (passed|failed|xfailed)", result.stdout), result.stdout
    assert " error" not in result.stdout.splitlines()[-1], result.stdout


@pytest.mark.parametrize("page", ["python", "results", "cost"])
def test_python_examples(project: Path, page: str) -> None:
    """A comment behind a call of `print` says what that prints. The examples of results read what its commands write."""
    for other, line in COMMANDS if page == "results" else ():
        if other == page:
            check_command(project, line)
    for text in [text for other, _, text in blocks("python") if other == page]:
        result = run(project, [sys.executable, "-c", text])
        assert result.returncode == 0, result.stderr
        promised = re.findall(r"^ *print\(.+\)  # (.+)$", text, re.MULTILINE)
        printed = result.stdout.splitlines()
        assert [line for line in printed if line not in ("pass True", "mismatch")] == promised, result.stdout


def test_the_example_of_a_custom_model(project: Path, tmp_path: Path) -> None:
    [(title, text)] = [(title, text) for page, title, text in blocks("python") if page == "models"]
    shutil.copytree(project / "cases", tmp_path / "cases")
    shutil.copy(project / "pyproject.toml", tmp_path)
    (tmp_path / str(title)).write_text(text)
    result = run(tmp_path, [sys.executable, "-m", "pytest", "cases/sum.c", "--llmc-model", "reference"])
    assert "mismatch" in result.stdout, result.stdout


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--quiet",
        "-f",
        "docs/mkdocs.yml",
        "-d",
        str(tmp_path / "site"),
    ]
    result = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "--llmc-pass-k" in (tmp_path / "site" / "flags" / "index.html").read_text(encoding="utf-8")

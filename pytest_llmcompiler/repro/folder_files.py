"""The files of one folder, and the `README.txt` that describes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_llmcompiler.judge.verdict import harmless

TITLE = "A sample that failed, for inspection (pytest-llmcompiler)"
"""The first line of every README.txt. A folder whose README.txt begins so was written here and may be replaced."""

_USAGE = (
    "./run                       runs reference and candidate on the same input, and prints the differences",
    "gdb -x break.gdb ./run      runs the candidate alone, and stops where it goes wrong",
    "",
    "`run` is a model's machine code and has your rights: nothing checks what it does. Start it in a sandbox, such as",
    "a container without network and without files that matter. It has never been started.",
    "",
    "Memory, registers, stack and heap are as in the judge's emulator, at the same addresses. The differences:",
    "- The program's own code, constants and variables have other addresses, and other neighbours in memory.",
    "- The emulator has no files, no network and an empty environment; here the kernel is a real one.",
    "- A hang is decided by time, not by the number of instructions.",
    "- Pointers to the heap are compared by address; the judge compares what they point to.",
)


class FolderFiles:
    """Writes files into one folder and remembers what each is for. Errors of the file system are raised as OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptions: dict[str, str] = {}

    def write(self, name: str, data: str | bytes, description: str, *, executable: bool = False) -> None:
        """Write one file. `description` is its line in the README.txt."""
        path = self.folder / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
        path.chmod(0o755 if executable else 0o644)
        self._descriptions[name] = description

    def write_readme(self, headline: str, report: str, notes: Sequence[str]) -> None:
        """Write the README.txt: a headline, the report on the verdict, the files, how to use `run` if there is one, and
        notes. Called last."""
        lines = [
            TITLE,
            "",
            headline,
            report,
            "",
            *(f"{name:<14}{description}" for name, description in self._descriptions.items()),
            *(("", *_USAGE) if "run" in self._descriptions else ()),
            *(("", *(f"- {harmless(note)}" for note in notes)) if notes else ()),
        ]
        (self.folder / "README.txt").write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogatepass")

"""A hook of MkDocs: the table of flags, made of the table that pytest is given."""

from __future__ import annotations

from typing import Any

from pytest_llmcompiler.options import COMPARE, OPTIONS

MARK = "<!-- flags -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the table in the place of its mark."""
    return markdown.replace(MARK, table())


def table() -> str:
    """A row for each flag: how it is typed, its ini key and what it does."""
    rows = ["| flag | ini key | meaning |", "| --- | --- | --- |"]
    for option in OPTIONS:
        flag = f"--llmc-{option.name.replace('_', '-')}"
        typed = " ".join(filter(None, (flag, option.metavar)))
        cells = (f"`{typed}`", f"`llmc_{option.name}`", option.help)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    rows.append(f"| `--llmc-compare A.jsonl B.jsonl` | | {COMPARE} |")
    return "\n".join(rows)

"""A hook of MkDocs: the table of flags, from the same table of options that pytest is given."""

from __future__ import annotations

from typing import Any

from pytest_llmcompiler.option_table import COMPARE_HELP, OPTIONS

MARK = "<!-- flags -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark in a page with the table."""
    return markdown.replace(MARK, table())


def table() -> str:
    """A row for each flag: its usage, its ini key and its help."""
    rows = ["| flag | ini key | meaning |", "| --- | --- | --- |"]
    for option in OPTIONS:
        usage = f"`{' '.join(filter(None, (option.flag, option.metavar)))}`"
        if option.is_switch:
            usage += f", `{option.negative_flag}`"
        cells = (usage, f"`{option.key}`", option.full_help)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    rows.append(f"| `--llmc-compare A.jsonl B.jsonl` | | {COMPARE_HELP} |")
    return "\n".join(rows)

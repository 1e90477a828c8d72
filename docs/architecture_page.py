"""A hook of MkDocs: `ARCHITECTURE.md`, which lies beside the pages for readers of the repository, is a page too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

SOURCE = Path(__file__).with_name("ARCHITECTURE.md")
REPOSITORY_LINKS = ("../CONTRIBUTING.md", "../SECURITY.md")
"""Files that are no pages: in the site their names stay, without the link."""


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the page."""
    text = SOURCE.read_text(encoding="utf-8")
    for link in REPOSITORY_LINKS:
        text = text.replace(f"]({link})", "]").replace(f"[{link[3:]}]", f"`{link[3:]}`")
    files.append(File.generated(config, "architecture.md", content=text))
    return files

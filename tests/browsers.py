"""The browser that the report is looked at with."""

from __future__ import annotations

import os
import shutil

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def browser_path() -> str | None:
    """A Chromium: the one that LLMC_BROWSER names, or one that is installed; None where there is none."""
    return os.environ.get("LLMC_BROWSER") or next(filter(None, map(shutil.which, _NAMES)), None)

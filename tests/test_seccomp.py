"""The list of system calls that confined processes keep."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmcompiler import seccomp

NUMBERS = {**seccomp._CALLS, "tgkill": seccomp._SIGNAL_CALL}


@pytest.mark.parametrize("processor", ["x86_64", "aarch64"])
def test_numbers_are_those_of_the_kernels_headers(processor: str, tmp_path: Path) -> None:
    """The headers of the bundled C library say them for each processor; a call that they lack has no number."""
    column = seccomp._COLUMNS[processor]
    lines = (f"#ifdef __NR_{name}\nnumber of {name} __NR_{name}\n#endif" for name in NUMBERS)
    source = tmp_path / "numbers.c"
    source.write_text("\n".join(("#include <sys/syscall.h>", *lines, "")))
    command = (sys.executable, "-m", "ziglang", "cc", "-target", f"{processor}-linux-musl", "-E", "-P", source)
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {name: int(number) for name, number in re.findall(r"number of (\w+) (\d+)", text)}
    assert found == {name: numbers[column] for name, numbers in NUMBERS.items() if numbers[column] != seccomp._NONE}

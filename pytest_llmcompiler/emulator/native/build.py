"""The confined process's program: compiled by the bundled clang without a C library, and kept in the cache."""

from __future__ import annotations

import functools
import hashlib
from importlib.metadata import version
from pathlib import Path

from pytest_llmcompiler.emulator.engine_build import build_in_cache, run_compiler
from pytest_llmcompiler.temporary import temporary_folder

SHARED_HEADER = Path(__file__).with_name("foreign_code.h")
"""What the programs of reproducers are built from too."""
_NAME = "confined"
_COMPILER_FLAGS = (
    *("-target", "x86_64-linux-musl", "-std=c11", "-D_GNU_SOURCE", "-O2", "-g0", "-fno-pie"),
    *("-fno-sanitize=all", "-fno-stack-protector", "-fno-builtin"),
)
_LINKER_FLAGS = (
    *("-target", "x86_64-linux-musl", "-static", "-nostdlib"),
    # No program, stack or heap of a guest lies there.
    "-Wl,--image-base=0x70000000",
)


@functools.cache
def program_path() -> Path:
    """The program. It is compiled when the cache does not have it. Raises EngineError."""
    source, header = (Path(__file__).with_name(f"confined.{suffix}") for suffix in "ch")
    facts = " ".join((*_COMPILER_FLAGS, *_LINKER_FLAGS, version("ziglang"))).encode()
    key = hashlib.sha256(
        b"".join((facts, *(path.read_bytes() for path in (source, header, SHARED_HEADER))))
    ).hexdigest()
    return build_in_cache("native", key, _NAME, lambda folder: _compile(source, folder / _NAME))


def _compile(source: Path, path: Path) -> None:
    with temporary_folder() as folder:
        unit = str(folder / "confined.o")
        run_compiler("the confined process", [*_COMPILER_FLAGS, "-c", "-o", unit, str(source)])
        run_compiler("the confined process", [*_LINKER_FLAGS, "-o", str(path), unit])

"""Objects of this package's own C files, which are linked into programs.

They are the same for every case. So they are compiled once for all processes, and kept in the cache folder.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_llmcompiler.cache_files import CacheFile, describe_libraries
from pytest_llmcompiler.program.clang import BLOCK_COUNTER_FLAG, Toolchain, object_flags, start_compiling_ir
from pytest_llmcompiler.program.ir_rewrites import count_endless_loops
from pytest_llmcompiler.targets.target import Target

_COVERAGE_FLAG = "-fsanitize-coverage=trace-pc-guard,trace-cmp,trace-gep"
"""The instrumentation whose functions `probe.c` defines."""
_RUNTIME_FLAGS = ("-O2", "-fomit-frame-pointer", "-fvisibility=hidden", "-fno-sanitize=all", "-g0")
"""Flags for `probe.c`: each store, such as of a frame pointer, costs the emulator much."""
_LIBRARY_FLAGS = ("-O1", "-fno-builtin", "-fno-sanitize=all", "-g0", "-c")
"""Flags for what takes the place of functions of the C library."""


def start_compiling(ir: str, target: Target, *flags: str) -> Callable[[], list[bytes]]:
    """Start to compile a module of IR. The function that is returned waits for its one object."""
    run = start_compiling_ir(ir, *flags, target=target)
    return lambda: [run.result().stdout]


def start_with_coverage(ir: str, target: Target) -> Callable[[], list[bytes]]:
    """Start to compile a module of IR with instrumentation for coverage and comparisons. The function that is returned
    waits for two objects: that of the module, and that of `probe.c`, which the instrumentation calls."""
    run = start_compiling_ir(count_endless_loops(ir), _COVERAGE_FLAG, target=target)
    return lambda: [run.result().stdout, _compile_runtime("probe.c", target)]


def start_with_block_counters(ir: str, target: Target) -> Callable[[], list[bytes]]:
    """Start to compile a module of IR with a counter for each block. The function that is returned waits for two
    objects: that of the module, and that of `coverage.c`."""
    run = start_compiling_ir(ir, BLOCK_COUNTER_FLAG, target=target)
    return lambda: [run.result().stdout, _compile_runtime("coverage.c", target)]


@functools.cache
def _compile_runtime(name: str, target: Target) -> bytes:
    return _compile_once(Path(__file__).with_name(name), target, (*_RUNTIME_FLAGS, *object_flags(target)))


@functools.cache
def compile_glibc(target: Target) -> bytes:
    """The object of `glibc.c`: functions of glibc that the bundled C library lacks."""
    flags = (*_LIBRARY_FLAGS, "-ffunction-sections")
    return _compile_once(Path(__file__).with_name("glibc.c"), target.host, flags)


@functools.cache
def compile_bridge(target: Target) -> bytes:
    """The object through which a guest's code calls the C library of its host."""
    assert target.foreign_system is not None
    return _compile_once(target.foreign_system.library_wrapper, target.host, _LIBRARY_FLAGS)


def _compile_once(source: Path, target: Target, flags: Sequence[str]) -> bytes:
    """The object of a C file that includes no other one of this package, from the cache if it is there."""
    text = hashlib.sha256(source.read_bytes()).hexdigest()
    file = CacheFile("objects", (describe_libraries("ziglang"), target.name, *flags, str(source), text))
    data = file.read()
    if data is None:
        data = Toolchain(target=target).compile_file(source, *flags)
        file.write(data)
    return data

"""Which code can run on this machine's processor, and whether it can be confined here."""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path

from pytest_llmcompiler.emulator.native.process import ConfinedProcess
from pytest_llmcompiler.errors import EngineError
from pytest_llmcompiler.targets.levels import ISA_LEVELS, IsaLevel, is_within

_FEATURES: dict[IsaLevel, frozenset[str]] = {
    "x86-64-v2": frozenset(("cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3")),
    "x86-64-v3": frozenset(("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave")),
    "x86-64-v4": frozenset(("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")),
}
"""What each level has beyond the one before, as Linux names it in /proc/cpuinfo."""
_LEVEL_VARIABLE = "LLMC_PROCESSOR"
"""An environment variable: the level that the processor is taken to have, if it has that or a higher one."""


@functools.cache
def find_processor_level() -> IsaLevel:
    """The highest level of which this machine's processor has all features, and the system supports them."""
    features = _read_features()
    level: IsaLevel = "x86-64"
    for name in ISA_LEVELS[1:]:
        if not _FEATURES[name] <= features:
            break
        level = name
    limit = os.environ.get(_LEVEL_VARIABLE, "")
    return next((name for name in ISA_LEVELS if name == limit and is_within(name, level)), level)


@functools.cache
def find_problem() -> str:
    """Why no code can run natively here; empty where it can. A confined process is started to see whether it starts."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return f"it needs Linux on x86-64, and this is {platform.system()} on {platform.machine()}"
    try:
        memory = os.memfd_create("llmc-guest")
        try:
            ConfinedProcess(memory, (), 0).close()
        finally:
            os.close(memory)
    except (EngineError, OSError) as error:
        return str(error)
    return ""


def find_native_level(limit: IsaLevel) -> IsaLevel:
    """The highest level, up to a limit, of which code can run natively here."""
    own = find_processor_level()
    return own if is_within(own, limit) else limit


def _read_features() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())

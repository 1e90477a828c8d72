"""Whether this machine's processor can run what tests judge natively."""

from __future__ import annotations

import pytest

from pytest_llmcompiler.emulator.native.support import find_native_level, find_problem

needs_avx = pytest.mark.skipif(
    bool(find_problem()) or find_native_level("x86-64-v3") != "x86-64-v3",
    reason="code with AVX can't run natively here",
)
needs_avx512 = pytest.mark.skipif(
    bool(find_problem()) or find_native_level("x86-64-v4") != "x86-64-v4",
    reason="code with AVX-512 can't run natively here",
)

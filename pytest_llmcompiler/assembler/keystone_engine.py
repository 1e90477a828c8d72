"""Keystone itself, in a child process: some texts end the process, and others make it loop for ever."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytest_llmcompiler import sandbox
from pytest_llmcompiler.assembler.job import AssemblerLimits
from pytest_llmcompiler.assembler.operands import KeystoneRefusalError
from pytest_llmcompiler.assembler.small_process import call_in_small_process
from pytest_llmcompiler.errors import SandboxError


@lru_cache(maxsize=1)
def find_library() -> Path | None:
    """Keystone's library, which is not loaded; None where keystone is not installed: where there is no ready wheel of
    it, as on AArch64. LLVM does all that it does."""
    spec = find_spec("keystone")
    return Path(spec.origin).with_name("libkeystone.so") if spec and spec.origin else None


def run_keystone(text: str, base: int, limits: AssemblerLimits) -> bytes:
    """The bytes of a text at an address. Raises KeystoneRefusalError for every failure."""
    seconds = limits.keystone_seconds
    try:
        answer = call_in_small_process(_encode, text, base, seconds, limits.megabytes, seconds=seconds)
    except SandboxError as error:
        raise KeystoneRefusalError(f"keystone: {error}") from None
    if isinstance(answer, bytes):
        return answer
    raise KeystoneRefusalError(f"keystone: {answer}")


def _encode(text: str, base: int, seconds: int, megabytes: int) -> Any:
    """The answer of `encode_text`, in a child of this process. Raises SandboxError."""
    return sandbox.call(encode_text, create_engine(), text, base, seconds=seconds, megabytes=megabytes)


@lru_cache(maxsize=1)
def create_engine() -> Any:
    """Keystone's engine for x86-64."""
    keystone = import_module("keystone")
    # No option is ever set: after any, `syntax` too, keystone reads numbers as hexadecimal.
    return keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_64)


def encode_text(engine: Any, text: str, base: int) -> bytes | str:
    """The bytes, or a message. To be called in a sandbox only. Keystone may report success without any bytes."""
    keystone = import_module("keystone")
    try:
        code, _ = engine.asm(text.encode(), base, True)
    except keystone.KsError as error:
        return str(error)
    return code or "no output"

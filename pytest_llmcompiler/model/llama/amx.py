"""Whether llama.cpp's code for Intel's matrix units (AMX) works in this build.

gcc may drop the instructions that configure the units, and then the first product of quantised weights ends the process
with SIGILL (https://github.com/ggml-org/llama.cpp/pull/26954). So a child process evaluates a prompt first.
"""

from __future__ import annotations

import ctypes
import functools
import signal
import subprocess
import sys
from pathlib import Path

from pytest_llmcompiler import subprocesses

PROBE_MODEL = Path(__file__).parent.parent / "tiny" / "tiny.gguf"
"""A small model with quantised weights: AMX is used for these alone."""
_PROMPT_TOKENS = 32
"""AMX multiplies tiles of 16 rows: 32 tokens fill two."""
_TIMEOUT = 60.0
"""Seconds for the child, which takes well under one: a hang counts as a crash."""


@functools.cache
def is_amx_usable() -> bool:
    """False where this build uses AMX and crashes with it."""
    import llama_cpp

    if b"AMX_INT8 = 1" not in llama_cpp.llama_print_system_info():
        return True
    return run_probe() >= 0


def run_probe(model: Path = PROBE_MODEL) -> int:
    """Evaluate a prompt in a new process. Returns its exit status, which is 0 where it succeeded and 1 where the model
    can't be loaded; or minus the signal that ended the process.

    It is a new process and no fork: llama.cpp may have started threads in this one, which a fork would not have.
    """
    try:
        command = subprocesses.build_command(__name__, [str(model)])
        return subprocess.run(command, capture_output=True, timeout=_TIMEOUT).returncode
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL


def main() -> None:
    """Evaluate a prompt to the model that the command line names. The exit status is llama_decode's."""
    import llama_cpp

    no_gpu = (ctypes.c_void_p * 1)()
    model_params = llama_cpp.llama_model_default_params()
    model_params.devices = ctypes.cast(no_gpu, ctypes.c_void_p)
    model = llama_cpp.llama_model_load_from_file(sys.argv[1].encode(), model_params)
    if model is None:
        raise SystemExit(1)
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_threads, params.n_threads_batch = 2 * _PROMPT_TOKENS, 1, 1
    context = llama_cpp.llama_init_from_model(model, params)
    tokens = (llama_cpp.llama_token * _PROMPT_TOKENS)(*range(1, 1 + _PROMPT_TOKENS))
    raise SystemExit(llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, _PROMPT_TOKENS)))

"""Whether llama.cpp's code for Intel's matrix units (AMX) works as it was built here.

gcc leaves out the shapes that the units are to be given, and the first product of quantised weights then ends the
process with SIGILL (https://github.com/ggml-org/llama.cpp/pull/26954). So it is tried, where it can do no harm.
"""

from __future__ import annotations

import ctypes
import functools
import signal
import subprocess
from pathlib import Path

from pytest_llmcompiler import subprocesses as child

QUANTISED = Path(__file__).parent.parent / "tiny" / "tiny.gguf"
_TOKENS = 32
_SECONDS = 60.0


@functools.cache
def works() -> bool:
    """False where a build for AMX dies of a prompt to a small quantised model."""
    import llama_cpp

    if b"AMX_INT8 = 1" not in llama_cpp.llama_print_system_info():
        return True
    return _differential() >= 0


def _differential() -> int:
    """The exit status of a new process that reads a prompt, or less the signal that ended it. What is forked could not
    do it: threads that compute may have been started already."""
    try:
        done = subprocess.run(child.build_command(__name__), capture_output=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL
    return done.returncode


def main() -> None:
    """Read a prompt, or die of it."""
    import llama_cpp

    nowhere = (ctypes.c_void_p * 1)()  # no GPU
    model_params = llama_cpp.llama_model_default_params()
    model_params.devices = ctypes.cast(nowhere, ctypes.c_void_p)
    model = llama_cpp.llama_model_load_from_file(str(QUANTISED).encode(), model_params)
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_threads, params.n_threads_batch = 2 * _TOKENS, 1, 1
    context = llama_cpp.llama_init_from_model(model, params)
    tokens = (llama_cpp.llama_token * _TOKENS)(*range(1, 1 + _TOKENS))
    llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, _TOKENS))

"""The engine's C code, compiled by the bundled clang for unicorn's own headers and library, and kept in the cache."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

from pytest_llmcompiler.emulator.direct_build import (
    COMPILER_FLAGS,
    LIBRARY,
    LINKER_FLAGS,
    SERVER,
    build_directly,
)
from pytest_llmcompiler.errors import EngineError
from pytest_llmcompiler.files import cache_folder
from pytest_llmcompiler.seccomp import list_numbers
from pytest_llmcompiler.temporary import make_folder, temporary_folder

_FLAGS = (
    *("-std=c11", "-D_GNU_SOURCE", "-O2", "-g0"),
    # The bundled clang turns sanitizers and stack protectors on by default.
    *("-fno-sanitize=all", "-fno-stack-protector"),
    f"-DALLOWED_CALLS={','.join(map(str, list_numbers(with_python=False)))}",
)
_LIBRARY_FLAGS = ("-fPIC", "-shared")
_SECONDS = 300
"""Time limit of the compiler. It takes 5 to 7 s of CPU time, and far longer on a machine that has much else to do."""
_LOOK_SECONDS = 0.05
"""How often it is looked whether another process has built what this one needs."""
_MESSAGE_CHARACTERS = 1000
"""The end of the compiler's message that is passed on."""


@functools.cache
def library_path() -> Path:
    """The engine as a shared library. It is compiled when the cache does not have it. Raises EngineError."""
    return _build(LIBRARY, _LIBRARY_FLAGS)


@functools.cache
def server_path() -> Path:
    """The engine's server, an executable. It is compiled when the cache does not have it. Raises EngineError."""
    return _build(SERVER, ())


def _build(name: str, flags: tuple[str, ...]) -> Path:
    sources = sorted(_source_folder().iterdir())
    units = [source for source in sources if source.suffix == ".c"]

    def compile(folder: Path) -> None:
        try:
            build_directly(units, _FLAGS, _unicorn_folder(), folder)
        except EngineError:  # zig's front end knows more machines
            _compile(units, flags, str(folder / name))

    return build_in_cache("engine", _key(sources), name, compile)


def build_in_cache(folder: str, key: str, name: str, compile: Callable[[Path], None]) -> Path:
    """The path of a build, in the cache or, where that can't be written, in a folder of this process.

    `compile` writes files to the folder whose path it is given, where there is none of that `name` for the `key`: one
    with the name, and perhaps others. Of several processes one builds, and the others wait. Raises what it raises.
    """
    path = cache_folder() / folder / key / name
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = (path.parent / ".lock").open("w")
    except OSError:
        path = _temporary_folder() / name
        lock = (path.parent / ".lock").open("w")
    with lock:
        _wait_for(lock)
        if path.exists():
            return path
        with temporary_folder(beside=path) as products:
            compile(products)
            for product in products.iterdir():
                product.chmod(0o755)
                product.replace(path.with_name(product.name))
    return path


def _wait_for(lock: TextIO) -> None:
    """Wait until no other process builds; in vain where the file system has no locks, or the other one takes too
    long. Then both build, and the last one wins with the same contents."""
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOOK_SECONDS)
        except OSError:
            return
        else:
            return


@functools.cache
def _temporary_folder() -> Path:
    return make_folder()


def _source_folder() -> Path:
    return Path(__file__).parent / "engine"


def _unicorn_folder() -> Path:
    import unicorn

    return Path(unicorn.__file__).parent


def _key(sources: list[Path]) -> str:
    """A digest of all that the library depends on: sources, flags, the releases of unicorn and of the compiler, and the
    machine. The compiler makes code for its own processor, and machines may share the folder of the cache."""
    digest = hashlib.sha256(
        " ".join((*COMPILER_FLAGS, *_FLAGS, *LINKER_FLAGS, version("unicorn"), version("ziglang"))).encode()
    )
    digest.update(str(_unicorn_folder()).encode())  # the library is found there at run time
    digest.update(_describe_machine().encode())
    for source in sources:
        digest.update(f"{source.name}\0".encode() + source.read_bytes())
    return digest.hexdigest()


def _describe_machine() -> str:
    """The features of the processor, as Linux names them, and the release of the C library."""
    features = ""
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
        features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return " ".join((platform.machine(), *platform.libc_ver(), *features.split()))


def _compile(sources: list[Path], flags: tuple[str, ...], path: str) -> None:
    library = _unicorn_folder() / "lib"
    command = [*_FLAGS, *flags, f"-I{_unicorn_folder() / 'include'}", "-o", path, *map(str, sources)]
    run_compiler("the engine", [*command, f"-L{library}", "-l:libunicorn.so.2", f"-Wl,-rpath,{library}"])


def run_compiler(product: str, arguments: list[str]) -> None:
    """Run the bundled clang. Raises EngineError, whose message begins with what is built."""
    command = [sys.executable, "-m", "ziglang", "cc", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise EngineError(f"{product} can't be built: the compiler was not done within {_SECONDS} s") from None
    except OSError as error:
        raise EngineError(f"{product} can't be built: {error}") from error
    if done.returncode:
        raise EngineError(f"{product} can't be built: {done.stderr.strip()[-_MESSAGE_CHARACTERS:]}")

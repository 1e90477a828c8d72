"""The kernel that the emulated program finds around it, with few system calls."""

from __future__ import annotations

import random
from collections.abc import Callable

import unicorn

from pytest_llmcompiler.errors import LLMCompilerError
from pytest_llmcompiler.targets.processor import Processor

OUTPUT_LIMIT = 1 << 20
_ENOENT, _EBADF, _EFAULT, _ESPIPE, _ENOSYS, _EAFNOSUPPORT = 2, 9, 14, 29, 38, 97
_EPOCH, _SPAN = 1_400_000_000, 1 << 28
"""The clock starts within so many seconds after a day in May 2014."""
_PROCESS_CLOCKS = (2, 3)


class GuestExitError(LLMCompilerError):
    """The program ended itself."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class GuestTrapError(LLMCompilerError):
    """The program did what would have ended it on real hardware or in a real library; the message says what.

    `address` and `size` are of the memory that it would have used, where it is that.
    """

    def __init__(self, what: str, address: int | None = None, size: int = 0) -> None:
        super().__init__(what)
        self.address, self.size = address, size


class Kernel:
    """The few system calls that musl makes: output is captured; there are no files and no network; input has ended.

    The clock, random bytes and the process's number are part of the input: its salt chooses them. Each look at the
    clock finds it a microsecond later.
    """

    def __init__(self, uc: unicorn.Uc, processor: Processor) -> None:
        self._uc = uc
        self._names = processor.system_call_names
        self._asked = [processor.register_number(name) for name in processor.system_call_registers[:-1]]
        self._result = processor.register_number(processor.system_call_registers[-1])
        self._set_thread = processor.set_thread_pointer
        self.output: dict[int, bytearray] = {}
        self._calls: dict[str, Callable[[int, int, int], int]] = {
            "read": lambda number, *_: -_EBADF if number else 0,
            "write": self._write,
            "close": lambda number, *_: 0 if number < 3 else -_EBADF,
            "lseek": lambda number, *_: -_ESPIPE if number < 3 else -_EBADF,
            "ioctl": lambda *_: -_ENOSYS,  # standard output is no terminal
            "readv": lambda number, *_: -_EBADF if number else 0,
            "writev": self._writev,
            "nanosleep": lambda *_: 0,
            "getpid": self._process,
            "socket": lambda *_: -_EAFNOSUPPORT,
            "exit": self._exit,
            "futex": self._wait,
            "gettimeofday": lambda address, *_: self._time(address, 1000),
            "arch_prctl": self._arch_prctl,
            "gettid": self._process,
            "time": self._seconds,
            "set_tid_address": lambda *_: 1,
            "clock_gettime": self._clock,
            "clock_nanosleep": lambda *_: 0,
            "exit_group": self._exit,
            "getrandom": self._random,
            "path": lambda *_: -_ENOENT,  # those that name a file: open, stat, access, rename, unlink, readlink, …
            # Those that take the number of an open file for what only a file does: pread, fcntl, fsync, ftruncate, …
            "file": lambda *_: -_EBADF,
        }
        self.reset(0)

    def _wait(self, _: int, __: int, ___: int) -> int:
        raise GuestTrapError("a wait for what nobody will do")

    def reset(self, environment_seed: int) -> None:
        """Forget the output, and set the clock."""
        self.output = {}
        self._environment_seed, self._looks = environment_seed, 0
        self._bytes: random.Random | None = None

    def syscall(self) -> None:
        """Answer the system call that the registers hold."""
        number, *args = (self._uc.reg_read(register) for register in self._asked)
        call = self._calls.get(self._names.get(number, ""))
        try:
            result = call(*args) if call else -_ENOSYS
        except unicorn.UcError:
            result = -_EFAULT
        self._uc.reg_write(self._result, result & (1 << 64) - 1)

    def _write(self, number: int, address: int, size: int) -> int:
        if number not in (1, 2):
            return -_EBADF
        data = self.output.setdefault(number, bytearray())
        if size > OUTPUT_LIMIT - len(data):
            raise GuestTrapError("more than 1 MiB of output")
        try:
            data += self._uc.mem_read(address, size)
        except unicorn.UcError:
            raise GuestTrapError("output from memory that is not there") from None
        return size

    def _writev(self, number: int, vectors: int, count: int) -> int:
        words = bytes(self._uc.mem_read(vectors, 16 * min(count, 1024)))
        pairs = [words[start : start + 16] for start in range(0, len(words), 16)]
        sizes = (
            self._write(number, int.from_bytes(pair[:8], "little"), int.from_bytes(pair[8:], "little"))
            for pair in pairs
        )
        return sum(sizes)

    def _exit(self, code: int, _: int, __: int) -> int:
        raise GuestExitError(code & 0xFF)

    def _arch_prctl(self, code: int, address: int, _: int) -> int:
        if code != 0x1002:  # ARCH_SET_FS
            return -_ENOSYS
        self._set_thread(self._uc, address)
        return 0

    def _process(self, _: int, __: int, ___: int) -> int:
        return 1000 + self._environment_seed % 30_000

    def _now(self) -> tuple[int, int]:
        """Seconds since 1970 and nanoseconds."""
        self._looks += 1
        seed = random.Random(self._environment_seed)
        seconds, micros = _EPOCH + seed.randrange(_SPAN), seed.randrange(10**6) + self._looks
        return seconds + micros // 10**6, micros % 10**6 * 1000

    def _clock(self, clock: int, address: int, _: int) -> int:
        return self._time(address, 1, _EPOCH if clock in _PROCESS_CLOCKS else 0)

    def _time(self, address: int, unit: int, since: int = 0) -> int:
        """Store the time, as seconds and parts of `unit` nanoseconds."""
        seconds, nanos = self._now()
        if address:
            words = (seconds - since, nanos // unit)
            self._uc.mem_write(address, b"".join(word.to_bytes(8, "little") for word in words))
        return 0

    def _seconds(self, address: int, _: int, __: int) -> int:
        seconds, _nanos = self._now()
        if address:
            self._uc.mem_write(address, seconds.to_bytes(8, "little"))
        return seconds

    def _random(self, address: int, size: int, _: int) -> int:
        self._bytes = self._bytes or random.Random(self._environment_seed)
        size = min(size, 256)
        self._uc.mem_write(address, self._bytes.randbytes(size))
        return size

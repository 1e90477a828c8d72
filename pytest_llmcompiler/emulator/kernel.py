"""The kernel of the emulated process: the few system calls that musl makes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import unicorn

from pytest_llmcompiler.emulator.environment import OUTPUT_FAILURE, standard_input
from pytest_llmcompiler.emulator.guest_files import EROFS, GuestFiles
from pytest_llmcompiler.errors import LLMCompilerError
from pytest_llmcompiler.targets.processor import Processor

OUTPUT_LIMIT = 1 << 20
"""Bytes that a run may write to one file descriptor, so that an endless loop that prints ends early."""
_ENOENT, _ESRCH, _EBADF, _EFAULT, _EINVAL, _ENOSPC, _ESPIPE, _ENOSYS, _EAFNOSUPPORT = 2, 3, 9, 14, 22, 28, 29, 38, 97
_EPOCH, _SPAN = 1_400_000_000, 1 << 28
"""The clock starts at a second that the environment seed chooses, in the 8.5 years from 13 May 2014 on."""
_CPU_CLOCKS = (2, 3)
"""CLOCK_PROCESS_CPUTIME_ID and CLOCK_THREAD_CPUTIME_ID: the process has just begun, so that they count from zero."""
_FIRST_PROCESS, _PROCESSES = 1000, 30_000
"""The smallest process number, and how many there are."""
_FIRST_THREAD = 1
"""The number of the thread that the C library learns when the process starts, before an environment is chosen."""
_MAX_RANDOM_BYTES = 256
"""Bytes that one call of getrandom returns at most: as many as Linux always returns at once."""
TOO_MUCH_OUTPUT = "more than 1 MiB of output"
"""The description of the fault that ends a run at that."""
MAX_SYSTEM_CALLS = 20_000
"""System calls of a run: an endless loop of them ends early, and they take less than a second together."""
_MAX_VECTORS = 1024
"""Pieces of one writev (Linux's IOV_MAX)."""
_MAX_NAME_BYTES = 4096
"""Bytes of the name of a file (Linux's PATH_MAX)."""
_ARCH_SET_FS = 0x1002
REFUSED_CALLS = 3
"""The number in `Kernel.output`, beside descriptors, of the text about system calls that a real kernel would have
carried out, and others would see: one line each. Nothing can be written to a descriptor of this number."""
_MOST_REFUSED_BYTES = 4096
"""The longest such text."""
_REFUSALS = {
    **dict.fromkeys(
        ("rename", "mkdir", "rmdir", "creat", "link", "unlink", "symlink", "chmod", "chown", "mkdirat", "unlinkat",
         "renameat", "renameat2", "truncate", "chdir", "symlinkat", "linkat", "fchmodat", "fchownat"), -_ENOENT),
    **dict.fromkeys(("pwrite64", "ftruncate", "fchmod"), -_EBADF),
    "socket": -_EAFNOSUPPORT,
}  # fmt: skip
"""What those calls return of which this is known; all others return -ENOSYS."""
_TERMINAL_QUERIES = (0x5401, 0x5413)
"""The requests of ioctl that the C library makes: TCGETS and TIOCGWINSZ, whether a descriptor is a terminal."""
_DESCRIPTOR_QUERIES = (1, 2, 3)
"""The commands of fcntl that change nothing that others see: F_GETFD, F_SETFD, F_GETFL."""
_U32, _U64 = (1 << 32) - 1, (1 << 64) - 1
SIGNAL_CODE = 256
"""What is added to the number of a signal that ends the program: exit codes are below it."""


_SIGNALS = 64
"""The highest number of a signal."""
_UNHEEDED = (17, 18, 23, 28)
"""The signals that do nothing by default: SIGCHLD, SIGCONT, SIGURG, SIGWINCH."""
_STOPPING = (19, 20, 21, 22)
"""The signals that stop the process by default: SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU."""
_KILL, _STOP = 9, 19
"""The signals that no program can ignore."""
_ABORT = 6
_ACTION_BYTES = 32
"""The kernel's `struct sigaction`: handler, flags, restorer and mask."""
_DEFAULT, _IGNORE = 0, 1
"""SIG_DFL and SIG_IGN, in the place of a handler."""


class GuestExitError(LLMCompilerError):
    """The program ends: itself, with `code` from 0 to 255, or by the signal `code - SIGNAL_CODE`."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class GuestAbortError(LLMCompilerError):
    """The program ends by SIGABRT, as `abort` does it."""


class GuestUnsupportedError(LLMCompilerError):
    """The program does what the emulated system lacks and a real one has; the message says what."""


class GuestLimitError(LLMCompilerError):
    """The program does more of what the host has to do for it than a run may."""


class GuestTrapError(LLMCompilerError):
    """The program does what would end it on real hardware or in a real library; the message says what.

    `address` and `size` are those of a bad access to memory, where the error is one.
    """

    def __init__(self, message: str, address: int | None = None, size: int = 0) -> None:
        super().__init__(message)
        self.address, self.size = address, size


def choose_clock(environment_seed: int) -> tuple[int, int]:
    """When a run starts: seconds since 1970, and microseconds."""
    choice = random.Random(environment_seed)
    return _EPOCH + choice.randrange(_SPAN), choice.randrange(10**6)


def choose_process_number(environment_seed: int) -> int:
    """The number of the process."""
    return _FIRST_PROCESS + environment_seed % _PROCESSES


class Kernel:
    """Answers system calls: output is captured, there is no network, and there are no files but those of a program's
    input.

    The text of standard input, the clock, random bytes and the process's number are functions of the input's
    environment seed. Each call that reads the clock finds it a microsecond later than the call before.
    """

    def __init__(self, uc: unicorn.Uc, processor: Processor) -> None:
        self._uc = uc
        self._names = processor.system_call_names
        *call_registers, result_register = processor.system_call_registers
        self._call_registers = [processor.register_number(name) for name in call_registers]
        self._result_register = processor.register_number(result_register)
        self._set_thread_pointer = processor.set_thread_pointer
        self.output: dict[int, bytearray] = {}
        """What the run has written to each file descriptor; under `REFUSED_CALLS`, the calls that it was refused."""
        self.input, self.input_position = b"", 0
        """The text of standard input, and how many bytes of it have been read."""
        self._files = GuestFiles(result_register)
        self._handlers: dict[str, Callable[[int, int, int], int]] = {
            "read": self._read,
            "write": self._write,
            "close": self._close,
            "lseek": self._seek,
            "ioctl": self._control,
            "readv": self._read_vector,
            "writev": self._write_vector,
            "nanosleep": lambda *_: 0,
            "getpid": self._get_process_number,
            "exit": self._exit,
            "futex": self._wait,
            "gettimeofday": lambda address, *_: self._store_time(address, 1000),
            "arch_prctl": self._set_thread,
            "gettid": self._get_process_number,
            "time": self._get_seconds,
            "set_tid_address": lambda *_: _FIRST_THREAD,
            "clock_gettime": self._get_clock,
            "clock_nanosleep": lambda *_: 0,
            "exit_group": self._exit,
            "getrandom": self._get_random,
            "kill": self._kill,
            "tkill": lambda thread, signal, _: self._send_to_thread(thread, signal),
            "tgkill": lambda _, thread, signal: self._send_to_thread(thread, signal),
            "rt_sigaction": self._set_signal_action,
            "open": lambda name, flags, _: self._open(name, flags),
            "openat": lambda _, name, flags: self._open(name, flags),
            "access": lambda name, *_: self._files.find(self._read_name(name)),
            "faccessat": lambda _, name, __: self._files.find(self._read_name(name)),
            "stat": lambda name, address, _: self._describe_named(name, address),
            "newfstatat": lambda _, name, address: self._describe_named(name, address),
            "fstat": self._describe_open,
            "path": lambda *_: -_ENOENT,  # all others that ask about a file by its name: readlink, getcwd, …
            "file": lambda *_: -_EBADF,  # all others that use the descriptor of an open file: pread, fsync, …
            "fcntl": self._control_descriptor,
            "query": lambda *_: -_ENOSYS,
        }
        self.reset(0)

    def reset(self, environment_seed: int, text: bytes | None = None, files: Iterable[tuple[str, bytes]] = ()) -> None:
        """Forget the output, set clock, random bytes and process number, and take in which files there are.

        `text` is what can be read from standard input; None for what the seed chooses.
        """
        self.output = {}
        self.input, self.input_position = standard_input(environment_seed) if text is None else text, 0
        self._files.reset(files)
        self.call_count = 0
        """System calls of the run."""
        self._environment_seed, self._clock_reads = environment_seed, 0
        self._signal_actions: dict[int, bytes] = {}
        """What the program wants signals to do, by their numbers, as the system call has it."""
        self._random_bytes: random.Random | None = None

    def syscall(self) -> None:
        """Answer the system call in the registers.

        Raises GuestExitError, GuestTrapError or GuestLimitError where it ends the run.
        """
        self.call_count += 1
        if self.call_count > MAX_SYSTEM_CALLS:
            raise GuestLimitError(f"more than {MAX_SYSTEM_CALLS} system calls")
        number, *args = (self._uc.reg_read(register) for register in self._call_registers)
        name = self._names.get(number, f"system call {number}")
        handler = self._handlers.get(name)
        try:
            result = handler(*args) if handler else self._refuse(name, _REFUSALS.get(name, -_ENOSYS))
        except unicorn.UcError:
            result = -_EFAULT
        self._uc.reg_write(self._result_register, result & _U64)

    def _refuse(self, call: str, result: int) -> int:
        """Note a call that would have had an effect for others, and return the result that the program gets."""
        text = self.output.setdefault(REFUSED_CALLS, bytearray())
        text += f"{call}\n".encode("utf-8", "backslashreplace")[: _MOST_REFUSED_BYTES - len(text)]
        return result

    def _close(self, descriptor: int, _: int, __: int) -> int:
        return self._refuse(f"close({descriptor})", 0) if descriptor < 3 else self._files.close(descriptor)

    def _control(self, descriptor: int, request: int, _: int) -> int:
        """Standard output is no terminal."""
        is_query = request & _U32 in _TERMINAL_QUERIES
        return -_ENOSYS if is_query else self._refuse(f"ioctl({descriptor}, {request:#x})", -_ENOSYS)

    def _control_descriptor(self, descriptor: int, command: int, _: int) -> int:
        is_query = command in _DESCRIPTOR_QUERIES
        return -_EBADF if is_query else self._refuse(f"fcntl({descriptor}, {command})", -_EBADF)

    def _wait(self, _: int, __: int, ___: int) -> int:
        raise GuestTrapError("a wait for a lock that no other thread can release")

    def _write(self, descriptor: int, address: int, size: int) -> int:
        if descriptor not in (1, 2):
            # On a terminal standard input can be written to.
            return -_EBADF if descriptor else self._refuse("write(0)", -_EBADF)
        if descriptor == 1 and self._environment_seed == OUTPUT_FAILURE:
            return -_ENOSPC
        data = self.output.setdefault(descriptor, bytearray())
        if size > OUTPUT_LIMIT - len(data):
            raise GuestTrapError(TOO_MUCH_OUTPUT)
        try:
            data += self._uc.mem_read(address, size)
        except unicorn.UcError:
            raise GuestTrapError("output from unmapped memory") from None
        return size

    def _write_vector(self, descriptor: int, vectors: int, count: int) -> int:
        written = [self._write(descriptor, address, size) for address, size in self._pieces(vectors, count)]
        return min(written) if written and min(written) < 0 else sum(written)

    def _pieces(self, vectors: int, count: int) -> list[tuple[int, int]]:
        """The addresses and sizes of the pieces of a readv or writev."""
        data = bytes(self._uc.mem_read(vectors, 16 * min(count, _MAX_VECTORS)))
        words = [int.from_bytes(data[start : start + 8], "little") for start in range(0, len(data), 8)]
        return list(zip(words[::2], words[1::2], strict=True))

    def _read(self, descriptor: int, address: int, size: int) -> int:
        if descriptor and descriptor not in self._files:
            return -_EBADF
        if descriptor:
            data = self._files.read(descriptor, size)
        else:
            data = self.input[self.input_position : self.input_position + size]
        self._uc.mem_write(address, data)
        if not descriptor:
            self.input_position += len(data)
        return len(data)

    def _read_vector(self, descriptor: int, vectors: int, count: int) -> int:
        if descriptor and descriptor not in self._files:
            return -_EBADF
        return sum(self._read(descriptor, address, size) for address, size in self._pieces(vectors, count))

    def _seek(self, descriptor: int, offset: int, origin: int) -> int:
        if descriptor < 3:
            return -_ESPIPE
        return self._files.seek(descriptor, offset - (1 << 64) * (offset >> 63), origin)

    def _open(self, name: int, flags: int) -> int:
        text = self._read_name(name)
        result = self._files.open(text, flags)
        return self._refuse(f'open("{text}") for writing', result) if result == -EROFS else result

    def _describe_named(self, name: int, address: int) -> int:
        text = self._read_name(name)
        error = self._files.find(text)
        if not error:
            self._uc.mem_write(address, self._files.describe(text))
        return error

    def _describe_open(self, descriptor: int, address: int, _: int) -> int:
        if descriptor not in self._files:
            return -_EBADF
        self._uc.mem_write(address, self._files.describe(descriptor))
        return 0

    def _read_name(self, address: int) -> str:
        """The name of a file. Raises UcError where it does not lie in memory."""
        name = bytearray()
        while len(name) < _MAX_NAME_BYTES:
            byte = self._uc.mem_read(address + len(name), 1)
            if byte == b"\0":
                break
            name += byte
        return name.decode("utf-8", "surrogateescape")

    def _exit(self, code: int, _: int, __: int) -> int:
        raise GuestExitError(code & 0xFF)

    def _kill(self, process: int, signal: int, _: int) -> int:
        """The process is alone in its group: 0 names the group, and -1 all that it may send a signal to."""
        itself = 0, _U32, choose_process_number(self._environment_seed)
        return self._send_signal(signal, is_meant=process & _U32 in itself)

    def _send_to_thread(self, thread: int, signal: int) -> int:
        itself = _FIRST_THREAD, choose_process_number(self._environment_seed)
        return self._send_signal(signal, is_meant=thread & _U32 in itself)

    def _send_signal(self, signal: int, *, is_meant: bool) -> int:
        """A signal to this process, which is its only thread, or to another one."""
        signal &= _U32
        if signal > _SIGNALS:
            return -_EINVAL
        if not is_meant:
            return self._refuse("kill", -_ESRCH) if signal else -_ESRCH
        handler = int.from_bytes(self._signal_actions.get(signal, b"")[:8], "little")
        if signal == 0 or handler == _IGNORE or (handler == _DEFAULT and signal in _UNHEEDED):
            return 0
        if handler != _DEFAULT:
            raise GuestUnsupportedError(f"a handler of signal {signal}")
        if signal in _STOPPING:
            raise GuestTrapError(f"signal {signal}, which stops the process")
        if signal == _ABORT:
            raise GuestAbortError
        raise GuestExitError(SIGNAL_CODE + signal)

    def _set_signal_action(self, signal: int, new: int, old: int) -> int:
        if not 0 < signal <= _SIGNALS or (new and signal in (_KILL, _STOP)):
            return -_EINVAL
        before = self._signal_actions.get(signal, bytes(_ACTION_BYTES))
        if new:
            self._signal_actions[signal] = bytes(self._uc.mem_read(new, _ACTION_BYTES))
        if old:
            self._uc.mem_write(old, before)
        return 0

    def _set_thread(self, code: int, address: int, _: int) -> int:
        if code != _ARCH_SET_FS:
            return -_ENOSYS
        self._set_thread_pointer(self._uc, address)
        return 0

    def _get_process_number(self, _: int, __: int, ___: int) -> int:
        return choose_process_number(self._environment_seed)

    def _read_clock(self) -> tuple[int, int]:
        """Seconds since 1970 and nanoseconds."""
        self._clock_reads += 1
        seconds, micros = choose_clock(self._environment_seed)
        micros += self._clock_reads
        return seconds + micros // 10**6, micros % 10**6 * 1000

    def _get_clock(self, clock: int, address: int, _: int) -> int:
        return self._store_time(address, 1, _EPOCH if clock in _CPU_CLOCKS else 0)

    def _store_time(self, address: int, nanoseconds: int, epoch: int = 0) -> int:
        """Store the time since a second: the seconds, and the rest in units of so many nanoseconds."""
        seconds, rest = self._read_clock()
        if address:
            words = (seconds - epoch, rest // nanoseconds)
            self._uc.mem_write(address, b"".join(word.to_bytes(8, "little") for word in words))
        return 0

    def _get_seconds(self, address: int, _: int, __: int) -> int:
        seconds, _nanoseconds = self._read_clock()
        if address:
            self._uc.mem_write(address, seconds.to_bytes(8, "little"))
        return seconds

    def _get_random(self, address: int, size: int, _: int) -> int:
        self._random_bytes = self._random_bytes or random.Random(self._environment_seed)
        size = min(size, _MAX_RANDOM_BYTES)
        self._uc.mem_write(address, self._random_bytes.randbytes(size))
        return size

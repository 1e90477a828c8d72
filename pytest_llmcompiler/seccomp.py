"""A process that gives up all system calls but those that computing takes, by the kernel's seccomp filters.

A filter is a program for a small machine in the kernel, which looks at each system call
(https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html). This one has it refuse all but a list
of calls, with the error EPERM: memory, the descriptors that are open, the clock, signals to the process itself, and its
end. No file or socket can be opened, no process or thread started, and no other process touched, whoever has taken the
process over. It takes no rights of an administrator, holds for all that the process does later, and can't be undone.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import struct

_LIBRARY = ctypes.CDLL(None, use_errno=True)
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVILEGES, _FILTER_MODE = 22, 38, 2
"""From <linux/prctl.h> and <linux/seccomp.h>."""
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
"""Instructions of the filter, from <linux/bpf_common.h>: load a word of the call's data, compare it, end."""
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _FIRST_ARGUMENT_OFFSET = 0, 4, 16
"""Where the call's number, the processor and the low half of the first argument stand in `struct seccomp_data`."""
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
_COLUMNS = {"x86_64": 0, "aarch64": 1}
_ARCHITECTURES = (0xC000003E, 0xC00000B7)
"""AUDIT_ARCH_X86_64 and AUDIT_ARCH_AARCH64, from <linux/audit.h>."""
_NONE = -1
_CALLS = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "poll": (7, _NONE),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "readv": (19, 65),
    "writev": (20, 66),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "exit": (60, 93),
    "uname": (63, 160),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "sigaltstack": (131, 132),
    "arch_prctl": (158, _NONE),
    "gettid": (186, 178),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "ppoll": (271, 73),
    "set_robust_list": (273, 99),
    "getrandom": (318, 278),
    "membarrier": (324, 283),
    "rseq": (334, 293),
}
"""The numbers of the allowed calls on x86-64 and on AArch64, from <asm/unistd.h>. The engine is built with
those of them that it needs."""
_PYTHON_CALLS = frozenset(
    ("fstat", "lseek", "pread64", "nanosleep", "uname", "getrusage", "sysinfo", "arch_prctl", "set_robust_list", "rseq")
    + ("sched_getaffinity", "clock_getres")
)
"""Those that the engine does not need."""
_SIGNAL_CALL = (234, 131)
"""`tgkill`, allowed for the process itself alone: it is how a process aborts."""


class _Program(ctypes.Structure):
    """`struct sock_fprog`: a filter's number of instructions, and their address."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


@functools.cache
def find_missing_reason() -> str | None:
    """Why this machine has no such filters; None where it has."""
    if platform.machine() not in _COLUMNS:
        return f"no list of system calls for {platform.machine()}"
    # A filter at address 0 is no filter: a kernel that knows filters looks for it, and finds a bad address.
    _LIBRARY.prctl(_PR_SET_SECCOMP, _FILTER_MODE, None, 0, 0)
    code = ctypes.get_errno()
    return None if code == errno.EFAULT else f"seccomp: {os.strerror(code)}"


def give_up_system_calls() -> bool:
    """Have the kernel refuse this process all system calls but those that computing takes. Returns whether it does."""
    if find_missing_reason():
        return False
    head, tail = _build_filter()
    code = head + struct.pack("=I", os.getpid()) + tail
    program = _Program(len(code) // 8, ctypes.cast(ctypes.c_char_p(code), ctypes.c_void_p))
    _LIBRARY.prctl(_PR_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return bool(_LIBRARY.prctl(_PR_SET_SECCOMP, _FILTER_MODE, ctypes.byref(program), 0, 0) == 0)


def prepare() -> None:
    """Do what does not depend on the process, so that forked children need not."""
    if not find_missing_reason():
        _build_filter()


def list_numbers(*, with_python: bool = True) -> list[int]:
    """The numbers of the allowed calls on this machine, with those of Python or without; none where there is no list
    for it."""
    column = _COLUMNS.get(platform.machine())
    if column is None:
        return []
    calls = (call for name, call in _CALLS.items() if with_python or name not in _PYTHON_CALLS)
    return [call[column] for call in calls if call[column] != _NONE]


@functools.cache
def _build_filter() -> tuple[bytes, bytes]:
    """The filter, 8 bytes an instruction, `struct sock_filter`: what is before the number of the process that may
    signal itself, and what is behind it.

    A jump goes over so many of the next instructions: one number where the comparison holds, another where not.
    """
    column, numbers = _COLUMNS[platform.machine()], list_numbers()
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE_OFFSET),
        (_JUMP_IF_EQUAL, 1, 0, _ARCHITECTURES[column]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
        # To the last instruction, over the other numbers and the four instructions before it.
        *((_JUMP_IF_EQUAL, len(numbers) - index + 3, 0, number) for index, number in enumerate(numbers)),
        (_JUMP_IF_EQUAL, 0, 2, _SIGNAL_CALL[column]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_OFFSET),
        (_JUMP_IF_EQUAL, 1, 0, 0),  # with the number of the process
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    place = len(code) - 2 * 8 - 4
    return code[:place], code[place + 4 :]

"""The self-test of unicorn: a few instructions whose effects verdicts rest on, so that a build that computes something
else is noticed before it judges.

Releases differ: 2.2 has another QEMU, and distributions patch what they build. The test takes some 20 ms. So its
success is kept in the cache for the very file of the library, and a judge process only looks that up.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmcompiler.cache_files import CacheFile, describe_package
from pytest_llmcompiler.errors import EmulatorError
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.processor import Processor

_CODE, _DATA, _CONSTANT, _NOWHERE = 0x10000, 0x20000, 0x30000, 0xDEAD0000
"""The addresses of code, of data that can be written, of data that can't, and of nothing."""
_PAGE, _CODE_STEP = 0x1000, 0x40
_ENDLESS_LIMIT = 1000
"""Instructions that an endless loop may run."""
_THIRD = 0x3FD5555555555555
"""1/3 as a double, rounded to nearest."""


@dataclass(frozen=True)
class _CodeEffect:
    """Some code, and what it must do."""

    name: str
    code: str
    """In hexadecimal."""
    before: Mapping[str, int]
    after: Mapping[str, tuple[int, int]]
    """By register: which bits are compared, and what they must be."""
    stored: bytes = b""
    """What must lie at the start of the data."""


@dataclass(frozen=True)
class _CodeFault:
    """Some code that must fault."""

    name: str
    code: str
    before: Mapping[str, int]
    offset: int
    """Where in the code the instruction at fault lies."""
    address: int | None
    """Of the access; None where the code is no instruction."""
    size: int = 0
    """Bytes of the access."""


_ALL = (1 << 64) - 1
_WIDE = (1 << 128) - 1
_CONDITIONS = 0x8D5
"""The flags O, S, Z, A, P and C of x86."""

_X86 = (
    # Intel's manual, volume 2, has the flags; volume 1, 8.1, the state of x87 and 10.2, that of SSE.
    _CodeEffect("add", "83c001", {"rax": 0x7FFFFFFF}, {"rax": (_ALL, 0x80000000), "eflags": (_CONDITIONS, 0x894)}),
    _CodeEffect("sub", "83e901", {"rcx": 0}, {"rcx": (_ALL, 0xFFFFFFFF), "eflags": (_CONDITIONS, 0x95)}),
    _CodeEffect(
        "mul", "48f7e3", {"rax": _ALL, "rbx": 3}, {"rax": (_ALL, _ALL - 2), "rdx": (_ALL, 2), "eflags": (0x801, 0x801)}
    ),
    _CodeEffect(
        "adc", "4911d0", {"rdx": _ALL, "r8": 1, "eflags": 0x203}, {"r8": (_ALL, 1), "eflags": (_CONDITIONS, 0x11)}
    ),
    _CodeEffect("shld", "480fa4f704", {"rdi": 1, "rsi": 0xA << 60}, {"rdi": (_ALL, 0x1A)}),
    _CodeEffect("bsf", "4d0fbcd1", {"r9": 0x50}, {"r10": (_ALL, 4)}),
    _CodeEffect(
        "divsd",
        "f20f2ac0f20f5ec1",
        {"rax": 1, "xmm0": 0, "xmm1": 0x4008 << 48},
        {"xmm0": (_ALL, _THIRD), "mxcsr": (0xFFC0, 0x1F80)},
    ),
    _CodeEffect(
        "pmaddwd",
        "660ff5da",
        {"xmm2": 0x7FFF0001_00020003, "xmm3": 0x7FFF0004_00050006},
        {"xmm3": (_WIDE, (0x7FFF * 0x7FFF + 4) << 32 | 2 * 5 + 3 * 6)},
    ),
    _CodeEffect(
        "faddp",
        "d9ebd9e8dec1dd1f",
        {"rdi": _DATA},
        {"fpcw": (0xFFFF, 0x37F), "fptag": (0xFFFF, 0xFFFF)},
        struct.pack("<d", 4.141592653589793),
    ),
    _CodeFault("read", "90488b4708", {"rdi": _NOWHERE}, 1, _NOWHERE + 8, 8),
    _CodeFault("write", "9090894704", {"rdi": _CONSTANT, "rax": 1}, 2, _CONSTANT + 4, 4),
    _CodeFault("ud2", "900f0b", {}, 1, None),
)
_AARCH64 = (
    # Arm's manual, C6.2: the flags are N, Z, C and V from bit 31 down.
    _CodeEffect("adds", "00040031", {"x0": 0x7FFFFFFF}, {"x0": (_ALL, 0x80000000), "nzcv": (0xF << 28, 9 << 28)}),
    _CodeEffect("subs", "210400f1", {"x1": 0}, {"x1": (_ALL, _ALL), "nzcv": (0xF << 28, 8 << 28)}),
    _CodeEffect("umulh", "627cc49b", {"x3": _ALL, "x4": 3}, {"x2": (_ALL, 2)}),
    _CodeEffect("csel", "c5b0879a", {"x6": 6, "x7": 7, "nzcv": 9 << 28}, {"x5": (_ALL, 7)}),
    _CodeEffect("fdiv", "2018621e", {"v1": 0x3FF0 << 48, "v2": 0x4008 << 48}, {"v0": (_WIDE, _THIRD)}),
    _CodeEffect("addv", "20b8314e", {"v1": int.from_bytes(bytes(range(16)), "little")}, {"v0": (_WIDE, 120)}),
    _CodeFault("ldr", "1f2003d5200440f9", {"x1": _NOWHERE}, 4, _NOWHERE + 8, 8),
    _CodeFault("str", "1f2003d51f2003d5200400b9", {"x1": _CONSTANT}, 8, _CONSTANT + 4, 4),
    _CodeFault("udf", "1f2003d500000000", {}, 4, None),
)
_CHECKS = (("x86_64-linux", _X86, "ebfe"), ("aarch64-linux", _AARCH64, "00000014"))
"""By target: what is checked, and the code of an endless loop."""
_REFUSED = ("c5f058c2", "c4e37918c101", "62f1744858c2")
"""Instructions of AVX and AVX-512, which unicorn 2.1 computes wrongly: the judge must refuse each of them."""


@functools.cache
def check_emulator() -> None:
    """Raise EmulatorError where unicorn does not compute what verdicts rest on. Successes are kept in the cache."""
    import unicorn
    from unicorn.unicorn_py3.unicorn import uclib

    path = Path(uclib._name)
    file = _success_file(path)
    if file and file.read() is not None:
        return
    fault = next(find_faults(), None)
    if fault:
        raise EmulatorError(
            f"unicorn {unicorn.__version__} ({path}) can't judge: {fault}; pip install 'unicorn>=2.1.4,<2.2'"
        )
    if file:
        file.write(b"")


def _success_file(library: Path) -> CacheFile | None:
    """The file that is there once the test of a library has succeeded; None where the system found the library."""
    try:
        state = library.stat()
    except OSError:
        return None
    return CacheFile("emulator", [str(library), str(state.st_size), str(state.st_mtime_ns), describe_package()])


def find_faults() -> Iterator[str]:
    """What unicorn does otherwise than the processors whose code it runs."""
    for target, checks, endless in _CHECKS:
        sandbox = _Sandbox(get_target(target).processor)
        for check in checks:
            fault = sandbox.find_fault(check)
            if fault:
                yield f"`{check.name}` of {target} {fault}"
        start = sandbox.run(bytes.fromhex(endless), {}, _ENDLESS_LIMIT)
        if sandbox.error or sandbox.read_counter() != start:
            yield f"an endless loop of {target} does not end at its limit"
    x86 = get_target("x86_64-linux").processor
    for code in _REFUSED:
        if not x86.find_hazard("it", bytes.fromhex(code)):
            yield f"the instruction {code} of x86_64-linux is not refused"


class _Sandbox:
    """An emulator with a page of each kind."""

    def __init__(self, processor: Processor) -> None:
        import unicorn

        self._processor, self._uc = processor, processor.create_emulator()
        self._next_code = _CODE
        self.access: tuple[int, int] | None = None
        """Address and size of the access that ended the last run."""
        self.error = ""
        """How unicorn names the end of the last run; empty where it ended as it should."""
        processor.initialise(self._uc)
        for address, rights in (
            (_CODE, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC),
            (_DATA, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE),
            (_CONSTANT, unicorn.UC_PROT_READ),
        ):
            self._uc.mem_map(address, _PAGE, rights)
        self._uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._keep_access)

    def run(self, code: bytes, registers: Mapping[str, int], limit: int = 0) -> int:
        """Run code, with these values in registers. Returns where it begins."""
        import unicorn

        # Code that was translated once is not translated again: each gets an address of its own.
        start, self._next_code = self._next_code, self._next_code + _CODE_STEP
        self._uc.mem_write(start, code)
        self._processor.reset_flags(self._uc)
        for name, value in registers.items():
            self._uc.reg_write(self._processor.register_number(name), value)
        self.access, self.error = None, ""
        try:
            self._uc.emu_start(start, start + len(code), count=limit)
        except unicorn.UcError as error:
            self.error = str(error)
        return start

    def read_counter(self) -> int:
        """The address of the next instruction."""
        return self._read(self._processor.program_counter)

    def find_fault(self, check: _CodeEffect | _CodeFault) -> str:
        """What some code does otherwise than it must; empty if nothing."""
        start = self.run(bytes.fromhex(check.code), check.before)
        if isinstance(check, _CodeEffect):
            return self.error or self._find_wrong_value(check)
        found = self.access, self.read_counter() - start
        expected = (check.address, check.size) if check.address is not None else None, check.offset
        if not self.error:
            return "does not fault"
        return "" if found == expected else f"faults with {found}, not with {expected}"

    def _find_wrong_value(self, check: _CodeEffect) -> str:
        for name, (mask, expected) in check.after.items():
            found = self._read(name) & mask
            if found != expected:
                return f"leaves {found:#x} in {name}, not {expected:#x}"
        stored = bytes(self._uc.mem_read(_DATA, len(check.stored)))
        return "" if stored == check.stored else f"stores {stored.hex()}, not {check.stored.hex()}"

    def _read(self, name: str) -> int:
        return int(self._uc.reg_read(self._processor.register_number(name)))

    def _keep_access(self, uc: Any, kind: int, address: int, size: int, value: int, data: Any) -> bool:
        self.access = address, size
        return False

"""The confined process: what foreign code in it can do, whatever it tries."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from native_code import needs_avx, needs_avx512

from pytest_llmcompiler import sandbox
from pytest_llmcompiler.emulator.native import support
from pytest_llmcompiler.emulator.native.build import program_path
from pytest_llmcompiler.emulator.native.memory_file import MemoryFile
from pytest_llmcompiler.emulator.native.messages import GENERAL_REGISTERS, Event, Mapping, write_move, write_run
from pytest_llmcompiler.emulator.native.process import ConfinedProcess, OutOfTimeError, ProcessEndedError
from pytest_llmcompiler.errors import ChildLostError

pytestmark = pytest.mark.skipif(bool(support.find_problem()), reason="nothing can run natively here")

PAGE = 4096
CODE, DATA, STACK = 0x10000000, 0x20000000, 0x30000000
"""A page of code, one of data and one of stack."""
MXCSR, FPCW = 0x1F80, 0x37F
TRAP = b"\xcc"
SYSTEM_CALL = b"\x0f\x05"
PROBES = (335, 336)
"""uretprobe and uprobe: Linux from 6.11 on answers them before it asks any filter, and refuses them unless it has put
the call there itself."""
READ, WRITE, SIGRETURN, EXIT_GROUP, MREMAP = 0, 1, 15, 231, 25
SECONDS = 10.0


class Confined:
    """A confined process with some pages, and what to do with it."""

    def __init__(self) -> None:
        self.memory = os.memfd_create("pages")
        os.ftruncate(self.memory, 3 * PAGE)
        mappings = [Mapping(CODE, PAGE, 0, 5), Mapping(DATA, PAGE, PAGE, 3), Mapping(STACK, PAGE, 2 * PAGE, 3)]
        self.process = ConfinedProcess(self.memory, mappings, 0)

    def run(self, code: bytes, *, seconds: float = SECONDS, vectors: bytes = bytes(1024), **registers: int) -> Event:
        """Run machine code with some registers, the others being 0, up to its end or a fault."""
        os.pwrite(self.memory, code + TRAP, 0)
        values = {"rsp": STACK + PAGE - 64, "rip": CODE, "eflags": 0x202, **registers}
        general = [values.get(name, 0) for name in GENERAL_REGISTERS]
        self.process.order(write_run(general, vectors, MXCSR, FPCW, 0x1122334455667788, is_fresh=True))
        return self.process.wait(seconds)

    def close(self) -> None:
        self.process.close()
        os.close(self.memory)


@pytest.fixture
def confined() -> Iterator[Confined]:
    made = Confined()
    yield made
    made.close()


def symbol(name: str) -> int:
    """The address of a symbol of the process's program."""
    with program_path().open("rb") as file:
        return int(ELFFile(file).get_section_by_name(".symtab").get_symbol_by_name(name)[0]["st_value"])


def test_registers_go_in_and_out(confined: Confined) -> None:
    vectors = [bytes(range(16 * number, 16 * number + 16)) for number in range(16)]
    whole = b"".join(vector + bytes(48) for vector in vectors)
    event = confined.run(b"\x48\xff\xc0", rax=41, r15=7, vectors=whole)  # inc %rax
    assert (event.signal, event.registers["rax"], event.registers["r15"]) == (signal.SIGTRAP, 42, 7)
    assert (event.registers["rip"], event.vectors) == (CODE + 4, b"".join(vectors))
    assert (event.mxcsr, event.fpcw, event.fptag) == (MXCSR, FPCW, 0xFFFF)


@needs_avx
def test_upper_parts_of_vector_registers_go_in_and_out(confined: Confined) -> None:
    upper = bytes(range(100, 148))
    vectors = bytes(64) + bytes(16) + upper + bytes(14 * 64)
    event = confined.run(bytes.fromhex("c4e37d19c801"), vectors=vectors)  # vextractf128 $1, %ymm1, %xmm0
    assert event.vectors[:16] == upper[:16]
    assert event.uppers[48:64] == upper[:16]
    assert event.uppers[:48] == bytes(48), "an instruction with VEX clears what is above its result"
    # vmovdqu (%rdi), %ymm2
    os.pwrite(confined.memory, upper[:32], PAGE)
    event = confined.run(bytes.fromhex("c5fe6f17"), rdi=DATA)
    assert event.vectors[32:48] + event.uppers[96:112] == upper[:32]


@needs_avx512
def test_mask_registers_are_filled(confined: Confined) -> None:
    event = confined.run(bytes.fromhex("c4e1fb93c1"))  # kmovq %k1, %rax
    assert event.registers["rax"] == 0x1122334455667788


def test_no_system_call_of_foreign_code_gets_through(confined: Confined, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    os.pwrite(confined.memory, bytes(canary) + b"\0", PAGE)
    for number in (*range(470), *(0x40000000 + number for number in range(0, 548, 7))):
        # For open, creat, mkdir and their like the path; for all others, arguments that are not absurd.
        event = confined.run(SYSTEM_CALL, rax=number, rdi=DATA, rsi=0o101, rdx=0o600, r10=0)
        if number not in PROBES:
            assert (event.signal, event.registers["rip"]) == (signal.SIGSYS, CODE + 2), number
        else:
            assert event.signal != signal.SIGTRAP or event.registers["rax"] >> 63  # an error number
    assert not canary.exists()


@pytest.mark.parametrize("code", ["cd80", "0f34", "f4", "0f31", "fa", "e400", "0f01f8"])
def test_other_ways_into_the_kernel_fault(confined: Confined, code: str) -> None:
    """int 0x80, sysenter, hlt, rdtsc, cli, in, swapgs."""
    event = confined.run(bytes.fromhex(code), rax=1)
    assert event.signal in (signal.SIGSYS, signal.SIGSEGV, signal.SIGILL)


@pytest.mark.parametrize("address", [0xFFFFFFFFFF600000, 0xFFFFFFFFFF600400, 0x7FFFF7FC0000, 0xFFFF888000000000])
def test_the_pages_of_the_kernel_are_out_of_reach(confined: Confined, address: int) -> None:
    """The first two are those of the vsyscall page: gettimeofday and time."""
    assert confined.run(b"\xff\xd0", rax=address).signal in (signal.SIGSEGV, signal.SIGSYS)  # call *%rax
    assert confined.run(b"\x8a\x00", rax=address).signal == signal.SIGSEGV  # mov (%rax), %al


def test_its_own_instruction_makes_no_other_system_call() -> None:
    """A jump into the process's own code, with the number of a system call and its arguments in memory."""
    for number in (*range(470), 0x40000001):
        if number in (READ, WRITE, SIGRETURN, EXIT_GROUP, *PROBES):
            continue
        confined = Confined()
        try:
            with pytest.raises(ProcessEndedError, match="SIGSYS"):
                confined.run(b"\xff\xe0", rax=symbol("system_call"), rdi=number, rsi=DATA)
        finally:
            confined.close()


def test_it_reads_and_writes_no_other_descriptor_than_its_socket() -> None:
    for number in (READ, WRITE):
        confined = Confined()
        os.pwrite(confined.memory, b"".join(value.to_bytes(8, "little") for value in (1, DATA, 1)), PAGE)
        with pytest.raises(ProcessEndedError, match="SIGSYS"):
            confined.run(b"\xff\xe0", rax=symbol("system_call"), rdi=number, rsi=DATA)
        confined.close()


def test_what_it_says_has_to_be_an_event() -> None:
    confined = Confined()
    os.pwrite(confined.memory, b"".join(value.to_bytes(8, "little") for value in (0, DATA, 100)), PAGE)
    with pytest.raises(ProcessEndedError):
        confined.run(b"\xff\xe0", rax=symbol("system_call"), rdi=WRITE, rsi=DATA)
    confined.close()


def test_pages_can_only_be_moved() -> None:
    """mremap without MREMAP_FIXED, and with flags that keep the old pages."""
    for flags in (0, 1, 5, 7):
        confined = Confined()
        values = DATA, PAGE, PAGE, flags, DATA + 16 * PAGE, 0
        os.pwrite(confined.memory, b"".join(value.to_bytes(8, "little") for value in values), PAGE)
        with pytest.raises(ProcessEndedError, match="SIGSYS"):
            confined.run(b"\xff\xe0", rax=symbol("system_call"), rdi=MREMAP, rsi=DATA)
        confined.close()


def test_pages_move_by_an_order(confined: Confined) -> None:
    os.pwrite(confined.memory, b"moved", PAGE)
    confined.process.order(write_move(DATA, DATA + 16 * PAGE, PAGE))
    event = confined.run(b"\x8b\x00", rax=DATA + 16 * PAGE)  # mov (%rax), %eax
    assert event.registers["rax"] == int.from_bytes(b"move", "little")
    assert confined.run(b"\x8b\x00", rax=DATA).signal == signal.SIGSEGV


def test_code_can_not_be_written(confined: Confined) -> None:
    for address in (CODE, symbol("system_call"), symbol("handle") if has_symbol("handle") else CODE):
        assert confined.run(b"\xc6\x00\x90", rax=address).signal == signal.SIGSEGV  # movb $0x90, (%rax)


def has_symbol(name: str) -> bool:
    with program_path().open("rb") as file:
        return bool(ELFFile(file).get_section_by_name(".symtab").get_symbol_by_name(name))


def test_data_can_not_be_executed(confined: Confined) -> None:
    os.pwrite(confined.memory, TRAP, PAGE)
    event = confined.run(b"\xff\xe0", rax=DATA)
    assert (event.signal, event.address) == (signal.SIGSEGV, DATA)


def test_overwriting_its_own_memory_ends_at_most_the_process() -> None:
    confined = Confined()
    stack = symbol("stack_end")
    with pytest.raises(ProcessEndedError):
        # rep stosb: what foreign code does to the buffers of messages and to the stack of signals
        for start in (stack - 65536, stack, stack + 4096):
            confined.run(b"\xf3\xaa\x0f\x0b", rax=0x41, rdi=start, rcx=0x100000)
            confined.run(b"")
    confined.close()


@pytest.mark.parametrize("stack", [0, 1, 0x7FFFFFFFF000, 0xDEAD << 48, CODE])
def test_a_stack_pointer_to_anywhere_does_no_harm(confined: Confined, stack: int) -> None:
    assert confined.run(b"\x50", rsp=stack).signal in (signal.SIGSEGV, signal.SIGBUS)  # push %rax
    assert confined.run(b"\x0f\x0b", rsp=stack).signal == signal.SIGILL  # ud2
    assert confined.run(b"").signal == signal.SIGTRAP


def test_a_stack_pointer_into_the_stack_of_signals(confined: Confined) -> None:
    for distance in range(0, 70000, 4096):
        try:
            confined.run(b"\x50\x0f\x0b", rsp=symbol("stack_end") + distance)
        except ProcessEndedError:
            return
    assert confined.run(b"").signal == signal.SIGTRAP


def test_a_forged_return_from_a_signal(confined: Confined) -> None:
    """The frame is zeros: code segment, stack and instruction pointer too."""
    try:
        event = confined.run(b"\xff\xe0", rax=symbol("return_from_signal"), rsp=DATA)
    except ProcessEndedError:
        return
    assert event.signal == signal.SIGSEGV


def test_flags_and_segments_do_no_harm(confined: Confined) -> None:
    assert confined.run(b"", eflags=0x400 | 0x202).signal == signal.SIGTRAP  # the direction flag
    confined.run(bytes.fromhex("f3480faed0"), rax=DATA)  # wrfsbase %rax
    confined.run(bytes.fromhex("f3480faed8"), rax=0x123456)  # wrgsbase %rax
    confined.run(b"\x8e\xe0", rax=0)  # mov %eax, %fs
    assert confined.run(b"\x48\xff\xc0", rax=1).registers["rax"] == 2


def test_checks_of_alignment_end_at_most_the_process(confined: Confined) -> None:
    """With the flag AC, each access that is not aligned faults, also those of the process's own code."""
    with contextlib.suppress(ProcessEndedError):
        assert confined.run(b"", eflags=0x40000 | 0x202).signal in (signal.SIGTRAP, signal.SIGBUS)


def test_an_endless_loop_is_killed(confined: Confined) -> None:
    with pytest.raises(OutOfTimeError):
        confined.run(b"\xeb\xfe", seconds=0.1)
    with pytest.raises(ProcessEndedError):
        confined.run(b"")


@pytest.mark.parametrize("is_told", [True, False])
def test_one_that_another_process_kills_is_lost(confined: Confined, is_told: bool) -> None:
    """It is killed when it has its order, or before."""
    if is_told:
        confined.process.order(write_run([CODE] * len(GENERAL_REGISTERS), bytes(256), MXCSR, FPCW, 0, is_fresh=True))
        confined.process.wait(SECONDS)
    os.kill(confined.process.pid, signal.SIGKILL)
    with pytest.raises(ChildLostError, match="killed from outside"):
        confined.run(b"\xeb\xfe")
    with pytest.raises(ProcessEndedError, match="earlier run"):
        confined.run(b"")


def test_one_that_gets_no_processor_is_lost(confined: Confined) -> None:
    os.kill(confined.process.pid, signal.SIGSTOP)
    with pytest.raises(ChildLostError, match=r"did not let the confined process finish within 1\.2 s"):
        confined.run(b"", seconds=0.02)


def test_an_empty_message_is_its_own_fault() -> None:
    """It looks like the end of the socket, and the process is not killed from outside."""
    confined = Confined()
    os.pwrite(confined.memory, bytes(24), PAGE)
    with pytest.raises(ProcessEndedError, match="SIGKILL"):
        confined.run(b"\xff\xe0", rax=symbol("system_call"), rdi=WRITE, rsi=DATA)
    confined.close()


def make_process() -> object:
    memory = os.memfd_create("pages")
    os.ftruncate(memory, PAGE)
    try:
        return ConfinedProcess(memory, [Mapping(CODE, PAGE, 0, 5)], 0)
    finally:
        os.close(memory)


@pytest.mark.parametrize("make", [MemoryFile, make_process])
def test_a_child_that_drops_an_inherited_object_closes_no_file_of_its_own(make: Callable[[], object]) -> None:
    held = [make()]
    most = 1 + max(int(path.name) for path in Path("/proc/self/fd").iterdir())

    def is_open(number: int) -> bool:
        with contextlib.suppress(OSError):
            return bool(os.fstat(number))
        return False

    def drop() -> list[int]:
        """Which descriptors are closed by it, where the child uses all numbers that its parent did."""
        for number in range(most):
            if not is_open(number):
                os.dup2(1, number)
        held.clear()
        return [number for number in range(most) if not is_open(number)]

    assert sandbox.call(drop, seconds=10, megabytes=1024, is_confined=False) == []


def test_it_has_nothing_of_its_parent(confined: Confined) -> None:
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{confined.process.pid}/status").read_text().splitlines()
    )
    assert (status["Seccomp"], status["NoNewPrivs"], status["Threads"]) == ("2", "1", "1")
    if os.geteuid():
        pytest.skip("only root may see the descriptors and the memory of such a process")
    assert [path.name for path in Path(f"/proc/{confined.process.pid}/fd").iterdir()] == ["0"]
    lines = Path(f"/proc/{confined.process.pid}/maps").read_text().splitlines()
    names = [line.split(maxsplit=5)[5:] for line in lines]
    own = str(program_path())
    assert {name[0] if name else "" for name in names} <= {own, "/memfd:pages (deleted)", "", "[vsyscall]"}
    anonymous = [line for line, name in zip(lines, names, strict=True) if not name]
    assert all(line.startswith("7000") for line in anonymous), anonymous  # the process's own zeros
    assert not Path(f"/proc/{confined.process.pid}/environ").read_bytes()

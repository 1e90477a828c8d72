"""The C library in the machine: clock, files, errno, and the preconditions of its functions."""

from __future__ import annotations

import pytest
from faces import Compile, Judged
from function_runner import result_of

from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.emulator.observation import Observation
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets import abi
from pytest_llmcompiler.values.layout import Layout

SOURCE = r"""
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
struct stat status;
long now(void) { return time(0); }
long ticks(void) { return clock(); }
long micros(void) { struct timeval t; gettimeofday(&t, 0); return t.tv_usec; }
long nanos(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_nsec; }
long twice(void) { long a = nanos(); return nanos() - a; }
long rested(void) { struct timespec t = {5, 0}; return nanosleep(&t, 0) + sleep(1); }
long process(void) { return getpid(); }
long dice(void) { unsigned long n = 0; return getrandom(&n, 8, 0) == 8 ? n >> 1 : -1; }
long opened(void) { return open("/etc/passwd", O_RDONLY) == -1 ? errno : 0; }
long file(void) { return fopen("/etc/passwd", "r") ? 1 : errno; }
long is_there(void) { return access("/", F_OK) + stat("/", &status) == -2 ? errno : 0; }
long closed(void) { char b; return read(7, &b, 1) == -1 ? errno : 0; }
long input(void) { return getchar(); }
long line(void) { char b[8]; return fgets(b, 8, stdin) ? 1 : feof(stdin) ? 2 : 3; }
long met(void) { return socket(AF_INET, SOCK_STREAM, 0) == -1 ? errno : 0; }
long set(void) { return getenv("HOME") ? 1 : 0; }
long bad(void) { return read(0, (void *)8, 1) + (write(1, "", 0)) + (clock_gettime(0, (void *)8) == -1 ? errno : 0); }
long cleared(int x) { errno = 0; return x; }
long stale(int x) { return errno ? -1 : x; }
long fail(int x) { if (x > 3) errno = x & 15; return 0; }
double logarithm(double x) { return log(x); }
char moved[32] = "abcdefgh";
void copy(int n) { memcpy(moved + 4, moved + 4 + n, 4); }
void string(int n) { strcpy(moved + n, moved); }
void piece(int n) { strncpy(moved, moved + n, 4); }
void joined(int n) { moved[3] = 0; strcat(moved, moved + n); }
void joined_piece(int n) { strncat(moved, moved + n, 2); }
int letter(int c) { return (isalpha)(c) + (toupper)(c); }
const char *const numbers[] = {"2147483647", "-2147483648", " 12x", "", "2147483648", "99999999999", "-2147483649"};
int number(int i) { return atoi(numbers[i]); }
char *doubled(const char *s) { return strdup(s); }
int early(const char *s, int x) { return time(0) % 4 == x; }
int with_file(FILE *f, int x) { return x; }
"""


def run(
    reference: Reference, function: str, environment_seed: int = 0, x: int | None = None, **options: bool
) -> Observation:
    program = reference.probe if options else reference.golden
    assert program is not None
    machine = Machine(program, function, reference.signatures[function], **options)
    layout = Layout((), (), (), (), environment_seed, None)
    return machine.run(layout, abi.CallSetup({} if x is None else {"rdi": x % (1 << 64)}, b""), 100_000)


@pytest.mark.parametrize("function", ["now", "micros", "nanos", "process", "dice"])
def test_the_environment_seed_sets_the_clock(compiled: Compile, function: str) -> None:
    values = [result_of(run(compiled(SOURCE), function, environment_seed)) for environment_seed in (1, 1, 2, 3)]
    assert values[0] == values[1]
    assert len(set(values)) == 3


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("twice", 1000),
        ("rested", 0),
        ("opened", 2),
        ("file", 2),
        ("is_there", 2),
        ("closed", 9),
        ("input", -1),
        ("line", 2),
        ("met", 97),
        ("set", 0),
        ("bad", 14),
    ],
)
def test_missing_files_network_and_environment(compiled: Compile, function: str, expected: int) -> None:
    assert result_of(run(compiled(SOURCE), function)) == expected


def test_clocks_of_process_and_system(compiled: Compile) -> None:
    assert result_of(run(compiled(SOURCE), "ticks")) >= 0
    assert 1_400_000_000 <= result_of(run(compiled(SOURCE), "now")) < 1_700_000_000


@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [
        ("copy", (4, -4, 0, 12), (1, 3, -1, -3)),
        ("string", (9, 16), (0, 1, 8)),
        ("piece", (4, 8), (0, 1, 3)),
        ("joined", (8, 20), (0, 1, 3)),
        ("joined_piece", (12, 20), (0, 7)),
        ("letter", (-128, -2, -1, 0, 65, 255), (-129, 256, 1 << 20)),
        ("number", (0, 1, 2, 3), (4, 5, 6)),
    ],
)
def test_preconditions(compiled: Compile, function: str, right: tuple[int, ...], wrong: tuple[int, ...]) -> None:
    for x in (*right, *wrong):
        assert run(compiled(SOURCE), function, x=x).outcome == "return", x
        strict = run(compiled(SOURCE), function, x=x, check_preconditions=True)
        assert (strict.outcome == "fault") == (x in wrong), (x, strict.fault)


def test_functions_that_read_the_clock_or_allocate_have_environment_seeds(compiled: Compile) -> None:
    reference = compiled(SOURCE)
    assert reference.environment_seeds("early") == 8
    assert reference.environment_seeds("twice") == 8
    assert reference.environment_seeds("fail") == 8
    assert reference.environment_seeds("joined") == 1
    assert reference.environment_seeds("doubled") == 24
    assert reference.uses_errno("fail")
    assert not reference.uses_errno("early")


EARLY = "early:\n pushq %rbx\n movl %esi, %ebx\n xorl %edi, %edi\n call time\n {}andl $3, %eax\n cmpl %ebx, %eax\n sete %al\n movzbl %al, %eax\n popq %rbx\n ret\n"
FAIL = "fail:\n cmpl $3, %edi\n jle 1f\n pushq %rbx\n movl %edi, %ebx\n call __errno_location\n andl $15, %ebx\n movl %ebx, (%rax)\n popq %rbx\n1: xorl %eax, %eax\n ret\n"

CLEARED = "cleared:\n pushq %rbx\n movslq %edi, %rbx\n call __errno_location\n movl $0, (%rax)\n movq %rbx, %rax\n popq %rbx\n ret\n"


@pytest.mark.parametrize(
    ("function", "assembly", "kind", "words"),
    [
        ("early", EARLY.format(""), "pass", ""),
        ("early", EARLY.format("incl %eax\n "), "mismatch", "return value"),
        ("fail", FAIL, "pass", ""),
        ("fail", FAIL.replace("$15", "$7"), "mismatch", "errno: expected "),
        ("fail", "fail:\n xorl %eax, %eax\n ret\n", "mismatch", "errno: expected "),
        ("cleared", CLEARED, "pass", ""),
        ("cleared", "cleared:\n movslq %edi, %rax\n ret\n", "mismatch", "errno: expected 0"),
        ("stale", "stale:\n movslq %edi, %rax\n ret\n", "mismatch", "return value"),
        ("with_file", "with_file:\n movl %esi, %eax\n ret\n", "pass", ""),
        ("with_file", "with_file:\n leal 1(%rsi), %eax\n ret\n", "mismatch", "return value"),
    ],
)
def test_verdicts_of_errno_and_clock(judged: Judged, function: str, assembly: str, kind: str, words: str) -> None:
    verdict = judged(SOURCE, function, assembly)
    assert verdict.kind == kind, str(verdict)
    assert words in verdict.message


def test_inputs_with_overlapping_copies_are_dropped(judged: Judged) -> None:
    """A memcpy of overlapping objects may copy in either direction: the input proves nothing."""
    loop = "copy:\n movslq %edi, %rdi\n xorl %ecx, %ecx\n1: leaq moved(%rcx), %rdx\n movb 4(%rdx,%rdi), %al\n movb %al, 4(%rdx)\n incl %ecx\n cmpl $4, %ecx\n jne 1b\n ret\n"
    back = loop.replace("xorl %ecx, %ecx", "movl $3, %ecx").replace(
        "incl %ecx\n cmpl $4, %ecx\n jne", "decl %ecx\n jns"
    )
    source = SOURCE + "// LLMC: arg copy.n range -4..4\n"
    for assembly in (loop, back):
        verdict = judged(source, "copy", assembly)
        assert verdict.kind == "pass", str(verdict)
    assert verdict.detail["dropped"]["undefined behaviour"] >= 5

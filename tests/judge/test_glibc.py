"""Answers that were compiled against glibc's headers: their names, their assertions, their __FILE__."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_llmcompiler import Verdict, check_file

UBUNTU = "-D_FORTIFY_SOURCE=2 -fstack-protector-strong -fcf-protection -fstack-clash-protection"
COMMANDS = (
    f"gcc -O2 {UBUNTU}",
    "gcc -O3 -D_FORTIFY_SOURCE=3 -fPIC -fstack-protector-all",
    "gcc -O0",
    "gcc -O1 -pg -mfentry -ftrapv -fexceptions -finstrument-functions",
    "gcc -Os -masm=intel",
    f"clang-16 -O2 {UBUNTU}",
    "clang-19 -O1 -D_FORTIFY_SOURCE=3 -fPIC",
)
EVERYDAY = r"""
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int letters(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += isalpha((unsigned char)*text) != 0;
    return n;
}
void upper(char *text)
{
    for (; *text; text++)
        *text = (char)toupper((unsigned char)*text);
}
int pair(const char *text, int *a, int *b) { return sscanf(text, "%d %d", a, b); }
void told(int value) { printf("value %d\n", value); }
int labelled(char out[16], const char *name)
{
    strcpy(out, "id:");
    strncat(out, name, 12);
    return (int)strlen(out);
}
int halved(int even)
{
    assert(even % 2 == 0);
    return even / 2;
}
long number(const char *text) { return strtol(text, NULL, 10); }
"""
CHECKED = r"""
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

// LLMC: arg copied.n range 0..16
char buffer[24];
int copied(const char from[16], int n)
{
    memcpy(buffer, from, n);
    memset(buffer + 16, '-', 7);
    memmove(buffer + 2, buffer, 8);
    return buffer[3];
}
int written(int value)
{
    char text[40];
    int n = snprintf(text, sizeof text, "<%d>", value);
    n += sprintf(text + n, "[%x]", value);
    puts(text);
    fprintf(stdout, "%s %d\n", text, n);
    fputs(stpcpy(text, "end"), stderr);
    return n;
}
int parsed(const char *text)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 0);
    return errno == ERANGE ? -1 : (int)(value + (unsigned long)(end - text));
}
double turned(double x) { return sin(x) * 2 + cos(x); }
int classified(double x) { return !!isnan(x) + 2 * !!isinf(x) + 4 * !!signbit(x) + 8 * isfinite(x); }
int rolled(int times)
{
    int sum = 0;
    srand(3);
    for (int i = 0; i < (times & 7); i++)
        sum += rand() & 0xff;
    return sum;
}
"""


UNUSUAL = r"""
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <unistd.h>
#include <wchar.h>

int echo(int x)
{
    int c;
    while ((c = getc_unlocked(stdin)) != EOF)
        putc_unlocked(c, stdout);
    putchar_unlocked('a' + (x & 15));
    fputc_unlocked('\n', stdout);
    return ferror_unlocked(stdout) + feof_unlocked(stdin);
}
static jmp_buf state;
static void leave(int x)
{
    if (x & 1)
        longjmp(state, x | 1);
}
int jumps(int x)
{
    int result = setjmp(state);
    if (result)
        return result;
    leave(x);
    return -7;
}
int bits(int file)
{
    fd_set set;
    FD_ZERO(&set);
    file &= 63;
    FD_SET(file, &set);
    return FD_ISSET(file, &set) + FD_ISSET((file + 1) & 63, &set);
}
int line(char out[40])
{
    char text[40];
    if (!fgets(text, sizeof text, stdin))
        strcpy(text, "none");
    int n = (int)fread(text + 8, 1, 8, stdin) + (int)read(0, text + 20, 10);
    memcpy(out, text, 5);
    return n;
}
int wide(wchar_t out[16], const wchar_t in[8])
{
    wmemcpy(out, in, 8);
    wmemset(out + 8, L'x', 7);
    out[15] = 0;
    return (int)wcslen(out + 8);
}
"""
CHARACTERS = """
#include <ctype.h>
#include <math.h>
int kind(int c) { return (isalpha(c) ? 1 : 0) + (isdigit(c) ? 2 : 0) + (isspace(c) ? 4 : 0); }
int lower(int c) { return tolower(c); }
int upper(int c) { return toupper(c); }
int is_word(int c) { return isalnum(c) | c == '_'; }
int sign(double x) { return isinf(x) * 2 + isnan(x); }
"""


def compile_c(path: Path, command: str) -> str:
    """The assembly of a C file, named as in its own folder. Skips the test where the compiler is not installed."""
    if shutil.which(command.split()[0]) is None:
        pytest.skip(f"{command.split()[0]} is not installed")
    output = path.with_suffix(".s")
    subprocess.run([*command.split(), "-S", "-w", "-o", str(output), path.name], cwd=path.parent, check=True)
    return output.read_text(encoding="utf-8")


def judge(path: Path, function: str, assembly: str) -> Verdict:
    return check_file(path, function, assembly, examples=12, explain=False)


def outcome(verdict: Verdict) -> str:
    return "pass" if verdict.kind == "pass" else f"{verdict.kind}: {verdict.message}"


@pytest.fixture(scope="module")
def everyday(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("glibc") / "everyday.c"
    path.write_text(EVERYDAY, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("glibc") / "checked.c"
    path.write_text(CHECKED, encoding="utf-8")
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_code_compiled_against_glibc_passes(everyday: Path, command: str) -> None:
    text = compile_c(everyday, command)
    functions = ("letters", "upper", "pair", "told", "labelled", "halved", "number")
    verdicts = {function: outcome(judge(everyday, function, text)) for function in functions}
    assert verdicts == dict.fromkeys(functions, "pass")


@pytest.mark.parametrize("command", COMMANDS)
def test_checked_and_synthesised_calls_pass(checked: Path, command: str) -> None:
    text = compile_c(checked, f"{command} -fno-math-errno")
    functions = ("copied", "written", "parsed", "turned", "classified", "rolled")
    verdicts = {function: outcome(judge(checked, function, text)) for function in functions}
    assert verdicts == dict.fromkeys(functions, "pass")


def test_macros_that_reach_into_the_c_library_pass(tmp_path: Path) -> None:
    """Among them those of glibc's <stdio.h>, which read and write the fields of a FILE."""
    path = tmp_path / "unusual.c"
    path.write_text(UNUSUAL, encoding="utf-8")
    text = compile_c(path, f"gcc -O2 {UBUNTU}")
    assert all(name in text for name in ("__uflow", "__overflow", "__fdelt_chk", "__longjmp_chk"))
    functions = ("echo", "jumps", "bits", "line", "wide")
    verdicts = {function: outcome(judge(path, function, text)) for function in functions}
    assert verdicts == dict.fromkeys(functions, "pass")


def swap(text: str, *pairs: tuple[str, str]) -> str:
    """The text with replacements, each of which must apply."""
    for old, new in pairs:
        assert re.search(old, text), old
        text = re.sub(old, new, text)
    return text


def test_wrong_code_of_the_same_kinds_fails(everyday: Path, checked: Path) -> None:
    text = compile_c(everyday, f"gcc -O2 {UBUNTU}")
    faults = [
        ("upper", ("__ctype_toupper_loc", "__ctype_tolower_loc"), "mismatch", "text"),
        ("letters", ("__ctype_b_loc", "__ctype_tolower_loc"), "mismatch", "return value"),
        ("pair", ("__isoc99_sscanf", "strcmp"), "mismatch", ""),
        ("told", ("__printf_chk", "__wprintf_chk"), "mismatch", "stdout"),
        ("halved", (r'"even % 2 == 0"', '"even % 3 == 0"'), "mismatch", "assert(even % 2 == 0)"),
        ("halved", (r"call\s+__assert_fail\S*", "call abort"), "mismatch", "assert(even % 2 == 0)"),
        ("halved", (r"call\s+__assert_fail\S*", "call __chk_fail"), "crash", "a buffer overflows"),
    ]
    for function, pair, kind, words in faults:
        verdict = judge(everyday, function, swap(text, pair))
        assert (verdict.kind, words in verdict.message) == (kind, True), (function, pair, outcome(verdict))
    text = compile_c(checked, f"gcc -O2 {UBUNTU}")
    verdict = judge(checked, "copied", swap(text, (r"\$24, %ecx", "$3, %ecx")))
    assert verdict.kind == "crash", outcome(verdict)


@pytest.mark.parametrize("command", ["gcc -O2", "gcc -O0", "clang-19 -O2"])
def test_tables_of_characters_take_what_all_libraries_take(tmp_path: Path, command: str) -> None:
    """A number that is no character is undefined: the tables end there. EOF and negative characters are none of it."""
    path = tmp_path / "characters.c"
    path.write_text(CHARACTERS, encoding="utf-8")
    text = compile_c(path, command)
    verdicts = {function: judge(path, function, text) for function in ("kind", "lower", "upper", "is_word", "sign")}
    assert {function: outcome(verdict) for function, verdict in verdicts.items()} == dict.fromkeys(verdicts, "pass")
    assert verdicts["kind"].detail["dropped"]["undefined behaviour"] > 0
    if "-O2" in command:
        wrong = swap(text, (r"\$95,", "$94,"))
        assert judge(path, "is_word", wrong).kind == "mismatch"
    eof = (
        "lower:\n\tlea -65(%rdi), %ecx\n\tmov %edi, %eax\n\tor $32, %eax\n\tcmp $26, %ecx\n\tcmovae %edi, %eax\n\tret\n"
    )
    assert judge(path, "lower", eof).kind == "pass"
    assert judge(path, "lower", eof.replace("\tret", "\tmovzbl %al, %eax\n\tret")).kind == "mismatch"


def test_a_plain_abort_is_no_failed_assertion(tmp_path: Path) -> None:
    path = tmp_path / "ends.c"
    path.write_text("#include <stdlib.h>\nint f(int x) { if (x & 1) abort(); return x; }\n", encoding="utf-8")
    answer = """
f:      testl $1, %edi
        jne 1f
        movl %edi, %eax
        ret
1:      subq $8, %rsp
        leaq text(%rip), %rdi
        movl $3, %edx
        movq %rdi, %rsi
        call {}
        .section .rodata
text:   .string "{}"
"""
    assert judge(path, "f", answer.format("abort", "")).kind == "pass"
    for expression in ("x", ""):
        verdict = judge(path, "f", answer.format("__assert_fail", expression))
        assert verdict.kind == "mismatch" and f"assert({expression})" in verdict.message, outcome(verdict)


def test_names_that_the_c_library_lacks(tmp_path: Path) -> None:
    path = tmp_path / "names.c"
    path.write_text("int f(int x) { return x; }\n", encoding="utf-8")
    answer = "f:\tpush %rbx\n\tmov %edi, %ebx\n\tcall {}\n\tmov %ebx, %eax\n\tpop %rbx\n\tret\n"
    verdict = judge(path, "f", answer.format("argp_usage"))
    assert verdict.kind == "inconclusive" and "argp_usage" in verdict.message
    verdict = judge(path, "f", answer.format("no_such_name"))
    assert verdict.kind == "link" and "no_such_name" in verdict.message
    verdict = judge(path, "f", answer.format("pad"))  # a static function of the C library
    assert verdict.kind == "link" and "pad" in verdict.message
    verdict = judge(path, "f", answer.format("no_such_name\n\tcall argp_usage"))
    assert verdict.kind == "link" and "no_such_name" in verdict.message


def test_the_stack_protector_reads_its_canary(tmp_path: Path) -> None:
    path = tmp_path / "canary.c"
    path.write_text("int f(int x) { return x + 1; }\n", encoding="utf-8")
    answer = """
f:      subq $24, %rsp
        movq %fs:40, %rax
        movq %rax, 8(%rsp)
        {}
        leal 1(%rdi), %eax
        movq 8(%rsp), %rdx
        subq %fs:40, %rdx
        jne 1f
        addq $24, %rsp
        ret
1:      call __stack_chk_fail@PLT
"""
    assert judge(path, "f", answer.format("")).kind == "pass"
    verdict = judge(path, "f", answer.format("notq 8(%rsp)"))
    assert verdict.kind == "crash" and "the stack is smashed" in verdict.message


def test_file_names_are_those_of_the_cases_folder(tmp_path: Path) -> None:
    source = """
#include "part.h"
const char *where(void) { return __FILE__; }
#line 7 "grammar.y"
const char *lined(void) { return __FILE__; }
"""
    (tmp_path / "part.h").write_text("static inline const char *part(void) { return __FILE__; }\n", encoding="utf-8")
    path = tmp_path / "named.c"
    path.write_text(source + "const char *inner(void) { return part(); }\n", encoding="utf-8")
    text = compile_c(path, "gcc -O1")
    for function in ("where", "lined", "inner"):
        assert outcome(judge(path, function, text)) == "pass", function
    verdict = judge(path, "where", text.replace("named.c", "other.c"))
    assert verdict.kind == "mismatch" and "named.c" in verdict.message


AARCH64_ANSWER = """
f:
    stp x29, x30, [sp, #-32]!
    mov x29, sp
    str x19, [sp, #16]
    mov w19, w0
    cmp w0, #7
    b.eq .Lbad
    mov w2, w0
    mov w0, #2
    adrp x1, .LC0
    add x1, x1, :lo12:.LC0
    bl __printf_chk
    adrp x0, __stack_chk_guard
    ldr x0, [x0, :lo12:__stack_chk_guard]
    bl __ctype_b_loc
    add w0, w19, #1
    ldr x19, [sp, #16]
    ldp x29, x30, [sp], #32
    ret
.Lbad:
    adrp x0, .LC1
    add x0, x0, :lo12:.LC1
    mov x1, x0
    mov w2, #3
    mov x3, x0
    bl __assert_fail
    .section .rodata
.LC0: .string "%d\\n"
.LC1: .string "x != 7"
"""


def test_aarch64(tmp_path: Path) -> None:
    path = tmp_path / "arm.c"
    body = 'assert(x != 7); printf("%d\\n", x); return x + 1;'
    path.write_text(f"#include <assert.h>\n#include <stdio.h>\nint f(int x) {{ {body} }}\n", encoding="utf-8")
    kinds = {
        "x != 7": "pass",
        "x == 7": "mismatch",
    }
    for expression, kind in kinds.items():
        answer = AARCH64_ANSWER.replace('"x != 7"', f'"{expression}"')
        verdict = check_file(path, "f", answer, examples=20, target="aarch64-linux", explain=False)
        assert verdict.kind == kind, outcome(verdict)

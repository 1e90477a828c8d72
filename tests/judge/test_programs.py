"""Whole programs: answers that are all of a program, run as processes on arguments, standard input and files."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from whole_files import BUILDS, compile_whole

from pytest_llmcompiler import check, check_file
from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.judge.api import open_case
from pytest_llmcompiler.judge.program_harness import ProgramHarness
from pytest_llmcompiler.judge.program_oracle import ProgramEntry
from pytest_llmcompiler.judge.settings import JudgeSettings
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.values.program_input import ProgramInput

PROGRAMS = Path(__file__).parents[2] / "benchmarks" / "programs"
NAMES = sorted(path.stem for path in PROGRAMS.glob("*.c"))
EXAMPLES = 40

ECHO = """
// LLMC: program
#include <stdio.h>
int main(void)
{
    int c;
    while ((c = getchar()) != EOF)
        putchar(c);
    return 0;
}
"""
SUM = """
#include <stdio.h>
int main(void)
{
    int count, number, sum = 0;
    if (scanf("%d", &count) != 1)
        return 1;
    while (count-- > 0 && scanf("%d", &number) == 1)
        sum = (int)((unsigned)sum + (unsigned)number);
    printf("%d\\n", sum);
    return 0;
}
"""


def judge(name: str, assembly: str) -> Verdict:
    return check_file(PROGRAMS / f"{name}.c", "main", assembly, examples=EXAMPLES)


def compile_text(folder: Path, source: str, compiler: str = "gcc", *flags: str) -> str:
    path = folder / "answer.c"
    path.write_text(source)
    return compile_whole(path, compiler, *(flags or ("-O2",)))


def change(name: str, folder: Path, *changes: tuple[str, str]) -> str:
    """gcc's assembly of a program with some of its text replaced."""
    source = (PROGRAMS / f"{name}.c").read_text()
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    return compile_text(folder, source)


def test_there_are_five_programs() -> None:
    assert len(NAMES) == 5


@pytest.mark.parametrize("name", NAMES)
def test_other_compilers_files_pass(name: str) -> None:
    assert BUILDS
    for compiler, *flags in BUILDS:
        verdict = judge(name, compile_whole(PROGRAMS / f"{name}.c", compiler, *flags))
        assert verdict.passed, (compiler, flags, str(verdict))
        assert verdict.detail["program"] is True


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc with its own headers")
@pytest.mark.parametrize("flags", [("-O2",), ("-O2", "-D_FORTIFY_SOURCE=2"), ("-O1", "-masm=intel", "-fno-pie")])
def test_files_with_glibcs_headers_pass(flags: tuple[str, ...]) -> None:
    for name in NAMES:
        command = ["gcc", "-S", "-w", *flags, str(PROGRAMS / f"{name}.c"), "-o", "-"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert judge(name, text).passed, name


WRONG = {
    "another separator": ("sort_numbers", [("' ' : '\\n'", "',' : '\\n'")], "mismatch", "stdout line 1"),
    "no line feed at the end": ("sort_numbers", [("' ' : '\\n'", "' ' : ' '")], "mismatch", "white space alone"),
    "reads one number too many": ("sort_numbers", [("read < count &&", "read <= count &&")], "mismatch", "exit code"),
    "wrong for empty input": (
        "sort_numbers",
        [("!= 1 || count < 0", "== 0 || count < 0")],
        "mismatch",
        "stdin is empty",
    ),
    "too slow": (
        "sort_numbers",
        [("i < count; i++) {", "i < count; i++) { for (volatile int w = 0; w < 999999; w++);")],
        "hang",
        "still running",
    ),
    "another message on stderr": ("calculator", [('"missing )"', '"missing paren"')], "mismatch", "stderr line 1"),
    "messages on stdout": ("calculator", [("stderr", "stdout")], "mismatch", "no line"),
    "another order": ("calculator", [("value - term", "term - value")], "mismatch", "stdout line 1"),
    "counts blanks": ("word_count", [("!is_blank && !is_inside", "!is_inside")], "mismatch", "stdout line 1"),
    "another width": ("word_count", [("%7ld", "%6ld")], "mismatch", "white space alone"),
    "opens for writing": ("word_count", [('argv[at], "r"', 'argv[at], "r+"')], "mismatch", "poem.txt"),
    "a null pointer for no file": ("word_count", [("if (!input)", "if (argc > 9)")], "crash", "missing.txt"),
    "a blank at the end": ("matrix_product", [('printf("\\n");', 'printf(" \\n");')], "mismatch", "white space alone"),
    "transposed": ("matrix_product", [("second[i][column]", "second[column][i]")], "mismatch", "stdout line"),
    "born with six": ("life", [("count == 3 ||", "count == 3 || count == 6 ||")], "mismatch", "stdout line"),
    "reads nothing at the end": ("life", [("return 1;", ";")], "mismatch", "exit code"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_wrong_programs_fail(fault: str, tmp_path: Path) -> None:
    name, changes, kind, evidence = WRONG[fault]
    verdict = judge(name, change(name, tmp_path, *changes))
    assert verdict.kind == kind, str(verdict)
    assert evidence in str(verdict)
    example = verdict.counterexample
    assert example and example.input


def test_the_evidence_has_the_lines_that_differ(tmp_path: Path) -> None:
    source = '#include <stdio.h>\nint main(void) { puts("1\\n2\\n3\\n4"); return 0; }'
    answer = compile_text(tmp_path, source.replace("1\\n2\\n3\\n4", "1\\n3\\n4x"))
    verdict = check(source, "main", answer, program=True, examples=5)
    assert verdict.detail["differences"] == [
        ["stdout line 2", '"2\\n"', "no line"],
        ["stdout line 4", '"4\\n"', '"4x\\n"'],
    ]


def test_inputs_are_learnt_from_what_the_program_reads(tmp_path: Path) -> None:
    """No directive says that numbers are read: a fault that shows on seven of them or more is found."""
    answer = compile_text(
        tmp_path, SUM.replace("sum = 0", "sum = 0, n = 0").replace("sum = (int)", "if (n++ < 6) sum = (int)")
    )
    verdict = check(SUM, "main", answer, program=True)
    assert verdict.kind == "mismatch"
    assert verdict.counterexample
    text = " ".join(verdict.counterexample.input)
    assert len(re.findall(r"-?\d+", text.replace("\\n", " "))) >= 8


def test_a_program_that_reads_nothing_has_one_input_however_long_it_runs(tmp_path: Path) -> None:
    source = """
        #include <stdio.h>
        int main(void)
        {
            static double table[64];
            for (int round = 0; round < 3000; round++)
                for (int i = 0; i < 64; i++)
                    table[i] = table[i] * 0.5 + i;
            printf("%.3f\\n", table[63]);
            return 0;
        }
    """
    verdict = check(source, "main", compile_text(tmp_path, source, "gcc", "-O3"), program=True)
    assert verdict.passed, str(verdict)
    assert verdict.detail["inputs"] == 1
    assert "movaps" in compile_text(tmp_path, source, "gcc", "-O3")


LIST = """
    // LLMC: program
    // LLMC: stdin "1500"
    // LLMC: stdin "5"
    #include <stdio.h>
    #include <stdlib.h>
    struct node { struct node *next; int value, more[8]; };
    int main(void)
    {
        int count, sum = 0;
        struct node *list = NULL;
        if (scanf("%d", &count) != 1 || count < 0 || count > 2000)
            return 1;
        for (int i = 0; i < count; i++) {
            struct node *node = malloc(sizeof *node);
            if (!node)
                return 2;
            node->next = list;
            node->value = node->more[7] = i;
            list = node;
        }
        char *large = malloc(10000000);
        if (!large)
            return 3;
        large[9999999] = 1;
        for (struct node *node = list; node; node = list) {
            sum += node->value;
            list = node->next;
            free(node);
        }
        printf("%d %d\\n", sum, large[9999999]);
        free(large);
        return 0;
    }
"""


def test_programs_with_many_and_large_objects(tmp_path: Path) -> None:
    verdict = check(LIST, "main", compile_text(tmp_path, LIST), examples=5)
    assert verdict.passed, str(verdict)
    assert "warning" not in verdict.detail or "not defined" not in verdict.detail["warning"]
    wrong = check(
        LIST, "main", compile_text(tmp_path, LIST.replace("sum += node->value", "sum ^= node->value")), examples=5
    )
    assert wrong.kind == "mismatch"
    too_small = check(
        LIST, "main", compile_text(tmp_path, LIST.replace("malloc(sizeof *node)", "malloc(8)")), examples=5
    )
    assert too_small.kind == "crash"


def test_an_answer_brings_all_of_its_own(tmp_path: Path) -> None:
    """Other functions and variables than the reference's, and names that the C library has too."""
    answer = """
        #include <stdio.h>
        char index[300];
        static int time(int n) { return n < 299; }
        int main(void)
        {
            int c, n = 0;
            while ((c = getchar()) != EOF) {
                index[n++] = (char)c;
                if (!time(n)) { fwrite(index, 1, (size_t)n, stdout); n = 0; }
            }
            fwrite(index, 1, (size_t)n, stdout);
            return 0;
        }
    """
    assert check(ECHO, "main", compile_text(tmp_path, answer, "gcc", "-O2", "-fno-builtin"), examples=20).passed


EFFECTS = {
    "fork() ? 0 : 0": '"fork',
    'dprintf(0, "x")': '"write(0)',
    '(void)fopen("made", "w")': r'"open(\"made\") for writing',
    'unlink("a")': '"unlink',
    "close(1)": '"close(1)',
    "dup2(1, 0)": '"dup2',
    "socket(1, 1, 0)": '"socket',
    "kill(1, 9)": '"kill',
    'execl("/bin/true", "true", (char *)0)': '"execve',
    "syscall(999)": '"system call 999',
}
"""What an answer does beside its work, and what is said of it."""


def echo_with(effect: str) -> str:
    """A program that echoes, and then has an effect that standard output does not show."""
    headers = ("sys/socket.h", "signal.h", "unistd.h")
    heading = "#define _GNU_SOURCE\n" + "".join(f"#include <{name}>\n" for name in headers)
    return heading + ECHO.replace("// LLMC: program", "").replace("return 0;", f"{effect};\n    return 0;")


def test_effects_that_the_reference_has_not_are_a_mismatch(tmp_path: Path) -> None:
    path = tmp_path / "echo.c"
    path.write_text(ECHO)
    for effect, name in EFFECTS.items():
        verdict = check_file(path, "main", compile_text(tmp_path, echo_with(effect)), examples=5, explain=False)
        assert verdict.kind == "mismatch", (effect, verdict)
        assert f"system calls line 1: expected no line, observed {name}" in verdict.message, (effect, verdict)


@pytest.mark.parametrize("effect", ['(void)fopen("made", "w")', "close(1)", "socket(1, 1, 0)"])
def test_effects_of_the_reference_itself_are_expected(effect: str, tmp_path: Path) -> None:
    source = "// LLMC: program\n" + echo_with(effect)
    path = tmp_path / "echo.c"
    path.write_text(source)
    answer = compile_text(tmp_path, source)
    assert check_file(path, "main", answer, examples=EXAMPLES).kind == "pass"
    without = check_file(path, "main", compile_text(tmp_path, echo_with("(void)0")), examples=EXAMPLES)
    assert without.kind == "mismatch", without


def test_the_references_functions_are_not_there(tmp_path: Path) -> None:
    source = ECHO.replace("int main", "static int next(void) { return getchar(); }\nint main").replace(
        "= getchar", "= next"
    )
    answer = compile_text(
        tmp_path, "extern int next(void), putchar(int); int main(void) { while (next() != -1); return 0; }"
    )
    verdict = check(source, "main", answer, examples=5)
    assert verdict.kind == "link"
    assert "next" in verdict.message


def test_a_crash_names_the_line(tmp_path: Path) -> None:
    answer = compile_text(tmp_path, ECHO.replace("putchar(c)", "putchar(*(char *)(long)c)"))
    verdict = check(ECHO, "main", answer, examples=20)
    assert verdict.kind == "crash"
    assert verdict.counterexample and verdict.counterexample.line


def test_inputs_on_which_a_program_is_undefined_are_dropped(tmp_path: Path) -> None:
    source = """
        // LLMC: program
        #include <stdio.h>
        int main(void)
        {
            int a, b;
            if (scanf("%d %d", &a, &b) == 0)
                return 1;
            printf("%d\\n", a / b);
            return 0;
        }
    """
    verdict = check(source, "main", compile_text(tmp_path, source), examples=30)
    assert verdict.passed
    assert verdict.detail["dropped"]
    assert verdict.detail["inputs"] > 5


def test_arguments_and_files_of_directives(tmp_path: Path) -> None:
    source = r"""
        // LLMC: program
        // LLMC: argv "a b" "quote\"d"
        // LLMC: argv "data/table.txt"
        // LLMC: file "data/table.txt" "1 2\n" "3"
        #include <stdio.h>
        #include <sys/stat.h>
        int main(int argc, char **argv)
        {
            struct stat state;
            for (int i = 1; i < argc; i++) {
                FILE *file = fopen(argv[i], "r");
                printf("%d %s:", argc, argv[i]);
                for (int c; file && (c = fgetc(file)) != EOF;)
                    putchar(c);
                if (file && fseek(file, 2, SEEK_SET) == 0)
                    printf("|%c", fgetc(file)), printf("|%ld", ftell(file));
                if (file && stat(argv[i], &state) == 0)
                    printf("|%ld", (long)state.st_size);
                putchar('\n');
            }
            return fopen("new.txt", "w") != NULL;
        }
    """
    assert check(source, "main", compile_text(tmp_path, source), examples=20).passed
    wrong = check(source, "main", compile_text(tmp_path, source.replace("SEEK_SET", "SEEK_END")), examples=20)
    assert wrong.kind == "mismatch"
    shown = wrong.counterexample
    assert shown and any("file data/table.txt (5 bytes)" in line for line in shown.input)
    assert '"3|\\377|7|5\\n"' in str(wrong)


def test_files_beside_the_case(tmp_path: Path) -> None:
    case = tmp_path / "sum.c"
    case.write_text(SUM)
    (tmp_path / "sum.in").write_text("2\n40 2\n")
    (tmp_path / "sum.out").write_text("42 \r\n\n")
    (tmp_path / "sum.large.in").write_text("1\n31337\n")
    (tmp_path / "sums.in").write_text("not of this case")
    wrong = SUM.replace("printf", "if (sum != 31337) printf")
    verdict = check_file(case, "main", compile_text(tmp_path, wrong), program=True, examples=5)
    assert verdict.kind == "mismatch"
    assert "31337" in str(verdict)
    assert verdict.detail["published"] == {"tests": "io", "holds": True}
    wrong = SUM.replace("printf", "if (sum != 42) printf")
    verdict = check_file(case, "main", compile_text(tmp_path, wrong), program=True, examples=5)
    message = 'sum.in: line 1: expected "42", observed ""'
    assert verdict.detail["published"] == {"tests": "io", "holds": False, "message": message}


def test_output_that_the_program_itself_does_not_write(tmp_path: Path) -> None:
    """Data sets have wrong outputs. What the program writes is expected, and a warning says so."""
    case = tmp_path / "sum.c"
    case.write_text(SUM)
    (tmp_path / "sum.in").write_text("2\n40 2\n")
    (tmp_path / "sum.out").write_text("43\n")
    verdict = check_file(case, "main", compile_text(tmp_path, SUM), program=True, examples=5)
    assert verdict.passed
    assert "the program itself does not write what the file of its output says: sum.in" in verdict.detail["warning"]
    message = 'sum.in: the reference does not write it either: line 1: expected "43", observed "42"'
    assert verdict.detail["published"] == {"tests": "io", "holds": False, "message": message}


def test_a_source_text_does_not_depend_on_the_files_of_others(tmp_path: Path) -> None:
    assert open_case(ECHO).list_input_files() == ()
    (tmp_path / "echo.c").write_text(ECHO)
    (tmp_path / "echo.in").write_text("a")
    assert open_case(tmp_path / "echo.c").list_input_files() == (tmp_path, tmp_path / "echo.in")


@pytest.mark.parametrize(
    ("directive", "message"),
    [
        ("stdin 3 4", "expected texts in quotes"),
        ('stdin "\\y"', "unknown escape"),
        ('argv "a\\0b"', "zero byte"),
    ],
)
def test_directives_that_can_not_be_read(directive: str, message: str) -> None:
    with pytest.raises(CaseError, match=message):
        check(f"// LLMC: {directive}\n{SUM}", "main", "main: ret", program=True)


def test_a_program_without_main_is_a_fault_of_the_case() -> None:
    with pytest.raises(CaseError, match="defines no main"):
        check("// LLMC: program\nint f(void) { return 1; }", "main", "main: ret")


def test_functions_of_a_whole_program_are_no_questions() -> None:
    with pytest.raises(CaseError, match="whose function is main"):
        check(ECHO.replace("int main", "int f(void) { return 1; }\nint main"), "f", "f: ret")


def test_what_can_not_be_judged_is_inconclusive() -> None:
    source = "// LLMC: program\nint elsewhere(void);\nint main(void) { return elsewhere(); }"
    verdict = check(source, "main", "main: ret")
    assert verdict.kind == "inconclusive"
    assert "elsewhere" in verdict.message


def test_whole_programs_of_another_processor() -> None:
    target = "aarch64-linux"
    path = PROGRAMS / "sort_numbers.c"
    text = Reference(read_case(path), Toolchain(target=get_target(target))).texts.assembly("main", "O2")
    assert check_file(path, "main", text, target=target, examples=20).passed
    wrong = check_file(path, "main", text.replace("sub\tw", "add\tw", 2), target=target, examples=20)
    assert wrong.kind in ("mismatch", "crash")
    windows = check_file(path, "main", "main: ret", target="x86_64-windows", examples=20)
    assert windows.kind == "inconclusive" and "x86_64-windows" in windows.message


def test_uninitialised_contents_show(tmp_path: Path) -> None:
    answer = compile_text(tmp_path, SUM.replace("sum = 0", "sum"), "gcc", "-O0")
    assert check(SUM, "main", answer, program=True, examples=20).kind == "mismatch"


def test_the_stack_is_aligned_at_calls() -> None:
    source = '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }'
    answer = """
        .globl main
main:   sub $16, %rsp
        lea text(%rip), %rdi
        call puts@PLT
        add $16, %rsp
        xor %eax, %eax
        ret
        .section .rodata
text:   .string "hello"
    """
    assert check(source, "main", answer, program=True, examples=3).kind == "abi"
    assert check(source, "main", answer.replace("$16", "$8"), program=True, examples=3).passed


OWN_TOKENS = """
// LLMC: program
#include <stdio.h>
#include <string.h>
int main(int argc, char **argv)
{
    int count, number, sum = 0, letters = 0;
    char word[20];
    if (scanf("%d", &count) != 1)
        return 1;
    while (count-- > 0 && scanf("%d", &number) == 1) {
        sum = (int)((unsigned)sum + (unsigned)number);
    }
    while (scanf("%19s", word) == 1)
        letters += (int)strlen(word);
    printf("%d %d %s\\n", sum, letters, argc > 1 ? argv[1] : "-");
    return 0;
}
"""
ADDED = "sum = (int)((unsigned)sum + (unsigned)number);"


def test_a_programs_inputs_have_the_answers_own_tokens(tmp_path: Path) -> None:
    wrong = {
        "a number": (ADDED, ADDED + " if (number == 31337) sum = 0;"),
        "a limit": (ADDED, ADDED + " if (number > 4000 && number <= 4001) sum = 0;"),
        "the first number": ("count-- > 0 &&", "count-- > 0 && count != 23456 &&"),
        "a word": ("letters += ", 'letters += !strcmp(word, "zebra") + '),
        "an argument": ("argv[1] :", '(strcmp(argv[1], "--fast") ? argv[1] : "fast") :'),
    }
    path = tmp_path / "case.c"
    path.write_text(OWN_TOKENS)
    harness = ProgramHarness(Reference(read_case(path), Toolchain()), JudgeSettings(examples=15))
    verdict = harness.judge(compile_text(tmp_path, OWN_TOKENS))
    assert verdict.passed, str(verdict)
    for what, (old, new) in wrong.items():
        verdict = harness.judge(compile_text(tmp_path, OWN_TOKENS.replace(old, new)), explain=False)
        assert verdict.kind == "mismatch" and "look" in str(verdict), (what, str(verdict))


COUNTED_LOOP = """
#include <stdio.h>
int main(void)
{
    int n;
    unsigned s = 0;
    if (scanf("%d", &n) != 1)
        return 1;
    for (int i = 0; i < n; i++)
        s += (unsigned)i % 100u * 7u + (unsigned)(i / 1000);
    printf("%u\\n", s);
    return 0;
}
"""


def test_numbers_on_which_a_program_runs_long_cost_their_share_and_hide_no_others(tmp_path: Path) -> None:
    path = tmp_path / "case.c"
    path.write_text("// LLMC: program\n" + COUNTED_LOOP)
    harness = ProgramHarness(Reference(read_case(path), Toolchain()), JudgeSettings(examples=10))
    oracle, spent, dropped = harness.suite.oracle, 0, 0
    preview = oracle.preview

    def count(program: ProgramInput, limit: int) -> ProgramEntry:
        nonlocal spent, dropped
        spent, dropped = spent + limit, dropped + 1
        entry = preview(program, limit)
        spent, dropped = spent + entry.expected.executed_bytes - limit, dropped - 1
        return entry

    oracle.preview = count  # type: ignore[method-assign]
    long = "".join(f"if (n == {number}) s ^= {number}u; " for number in (2_000_000_011, 1_900_000_027, 1_800_000_049))
    wrong = COUNTED_LOOP.replace("printf", f"{long} if (n == 1234) s++; printf")
    assert harness.judge(compile_text(tmp_path, wrong), explain=False).kind == "mismatch"
    assert dropped >= 9 and spent <= 48_000_000
    wrong = COUNTED_LOOP.replace('"%u', '"0%u')  # the same numbers, and nothing in it is rounded
    assert harness.judge(compile_text(tmp_path, wrong), explain=False).kind == "mismatch"

"""Programs of several files: callees and variables in linked files are real, and belong to the file that has them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from sessions import run

from pytest_llmcompiler import check_file
from pytest_llmcompiler.cli import main
from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.model.answer import Answer, Prompt
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.compile_flags import FlagSources
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.repro.folder import ReproWriter

EXAMPLES = 20
FILES = {
    "case.c": """\
// LLMC: link util.c lib/*.c
#include "util.h"
static int count;
int total;
int twice(int x) { count++; return (int)((unsigned)helper(x) + (unsigned)table[x & 3]); }
const char *which(unsigned n) { return name_of(n); }
void bump(int x) { remember(x); total = count; }
int outside(int x) { return elsewhere(x) ^ shared; }
""",
    "util.h": """\
extern int table[4];
extern int shared;
int helper(int);
const char *name_of(unsigned);
void remember(int);
int elsewhere(int);
""",
    "util.c": """\
#include "util.h"
static int count;
static struct { int a; short b; } last;
int shared = 7;
int helper(int x) { return (int)((unsigned)x * SCALE + (unsigned)count++); }
void remember(int x) { last.a = x; last.b = (short)(last.b + 1); }
// LLMC: cflags -DSCALE=2
int main(void) { return helper(3); }
""",
    "lib/tables.c": """\
int table[4] = {1, 2, 3, 4};
static const char *const words[] = {"one", "two", "three"};
const char *name_of(unsigned n) { return n < 3 ? words[n] : "many"; }
""",
}
TWICE = """twice:
 pushq %rbx
 movl %edi, %ebx
 incl count(%rip)
 call helper
 andl $3, %ebx
 addl table(,%rbx,4), %eax
 popq %rbx
 ret
"""
BUMP = "bump:\n pushq %rax\n call remember\n movl count(%rip), %eax\n movl %eax, total(%rip)\n popq %rax\n ret\n"
OUTSIDE = "outside:\n pushq %rax\n call elsewhere\n xorl shared(%rip), %eax\n popq %rcx\n ret\n"


def write_files(folder: Path, files: dict[str, str]) -> Path:
    """Write files into a folder. The path of the first, the case."""
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder / next(iter(files))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("program"), FILES)


@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [
        (
            "twice",
            TWICE,
            {
                "$3": ("$1", "return value: "),
                "call helper": ("leal (%rdi,%rdi), %eax", ""),
                "incl count": ("incl total", "global count: "),
            },
        ),
        (
            "bump",
            BUMP,
            {
                "call remember": ("nop", "global util.c.last.b: "),
                " call": (" incl %edi\n call", "global util.c.last.a: "),
                "total": ("shared", "global "),
            },
        ),
        ("which", "which:\n jmp name_of\n", {"jmp": ("andl $1, %edi\n jmp", "return value: ")}),
        (
            "outside",
            OUTSIDE,
            {"call": ("incl %edi\n call", "return value: "), "xorl": ("orl", "return")},
        ),
    ],
)
def test_what_is_linked_is_real(case: Path, function: str, right: str, wrong: dict[str, tuple[str, str]]) -> None:
    verdict = check_file(case, function, right, examples=EXAMPLES)
    assert verdict.passed, str(verdict)
    for before, (after, message) in wrong.items():
        verdict = check_file(case, function, right.replace(before, after, 1), examples=EXAMPLES)
        assert verdict.kind == "mismatch", f"{after}: {verdict}"
        assert verdict.message.startswith(message), f"{after}: {verdict}"


def test_inputs_and_functions_under_test(case: Path) -> None:
    reference = Reference(read_case(case), Toolchain())
    assert reference.functions == ("twice", "which", "bump", "outside")
    assert set(reference.input_globals("twice")) == {"count", "util.c.count", "table"}
    assert set(reference.input_globals("bump")) == {"count", "total", "util.c.last"}
    assert reference.golden.stubs == ("elsewhere",)
    assert "@helper(" in reference.texts.ir("twice")
    assert reference.texts.ir("twice").count("define ") == 1


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
@pytest.mark.parametrize("flags", [("-O2",), ("-O0", "-fPIC")])
def test_an_answer_of_the_whole_file(case: Path, flags: tuple[str, ...]) -> None:
    """It defines the case's symbols alone, and links with the rest."""
    done = subprocess.run(["gcc", "-w", "-S", *flags, str(case), "-o", "-"], capture_output=True, text=True, check=True)
    for function in ("twice", "which", "outside"):
        verdict = check_file(case, function, done.stdout, examples=EXAMPLES)
        assert verdict.passed, f"{function}: {verdict}"


def test_a_changed_unit_or_header_makes_another_fingerprint(tmp_path: Path) -> None:
    case = write_files(tmp_path, FILES)
    fingerprints = {Reference(read_case(case), Toolchain()).fingerprint}
    write_files(tmp_path, {"util.c": FILES["util.c"].replace("last.a = x", "last.a = 1")})
    fingerprints.add(Reference(read_case(case), Toolchain()).fingerprint)
    write_files(tmp_path, {"lib/tables.c": FILES["lib/tables.c"].replace("many", "more")})
    fingerprints.add(Reference(read_case(case), Toolchain()).fingerprint)
    assert len(fingerprints) == 3


@pytest.mark.parametrize(
    ("directive", "files", "message"),
    [
        ("link nowhere.c", {}, "case.c:1: no file matches `nowhere.c`; paths start at "),
        ("link lib/*.c", {}, "case.c:1: no file matches `lib/*.c`; paths start at "),
        ("link", {}, "case.c:1: expected files to link, such as `util.c` or `lib/*.c`"),
        ("link 'a", {}, "case.c:1: can't read the file names `'a`: No closing quotation"),
        ("link a.h", {"a.h": ""}, "case.c:1: can link .c and .ll files, not a.h"),
        (
            "link a.c",
            {"a.c": "\nint f(int x) { return x; }\n"},
            "case.c:1: 'f' is defined twice in one program: in {0}/case.c:2 and {0}/a.c:2",
        ),
        (
            "link a.c b.c",
            {"a.c": "int n = 1;\n", "b.c": "long n = 2;\n"},
            "case.c:1: 'n' is defined twice in one program: in {0}/a.c:1 and {0}/b.c:1",
        ),
        (
            "link *.c",
            {"a.c": "int main(void) { return 0; }\n", "b.c": "int main(void) { return 1; }\n"},
            "case.c:1: 'main' is defined twice in one program: in {0}/a.c:1 and {0}/b.c:1",
        ),
        ("link a.c", {"a.c": "int broken(\n"}, "a.c:1:12: error: expected parameter declarator"),
    ],
)
def test_what_can_not_be_linked_is_said(tmp_path: Path, directive: str, files: dict[str, str], message: str) -> None:
    case = write_files(tmp_path, {"case.c": f"// LLMC: {directive}\nint f(int x) {{ return x; }}\n", **files})
    with pytest.raises(CaseError) as raised:
        check_file(case, "f", "f:\n movl %edi, %eax\n ret\n", examples=5)
    assert message.format(tmp_path) in str(raised.value)


def test_units_of_one_name_a_second_main_and_ir(tmp_path: Path) -> None:
    files = {
        "case.c": "// LLMC: link a/n.c b/n.c x.ll\nint a(void); int b(void); int c(int);\n"
        "int f(int x) { return a() + b() + c(x); }\nint main(void) { return f(1); }\n",
        "a/n.c": "static int n = 1;\nint a(void) { return n++ & 255; }\nint main(void) { return 9; }\n",
        "b/n.c": "static int n = 2;\nint b(void) { return n++ & 255; }\n",
        "x.ll": "define i32 @c(i32 %x) {\n %y = and i32 %x, 255\n ret i32 %y\n}\n",
    }
    case = write_files(tmp_path, files)
    reference = Reference(read_case(case), Toolchain())
    assert set(reference.input_globals("f")) == {"a_n.c.n", "b_n.c.n"}
    right = "f:\n pushq %rbx\n pushq %rbp\n pushq %rax\n movl %edi, %ebx\n call a\n movl %eax, %ebp\n call b\n"
    right += " addl %eax, %ebp\n movl %ebx, %edi\n call c\n addl %ebp, %eax\n popq %rbp\n popq %rbp\n popq %rbx\n ret\n"
    assert check_file(case, "f", right, examples=EXAMPLES).passed
    verdict = check_file(case, "f", right.replace("call a", "call b"), examples=EXAMPLES)
    assert verdict.kind == "mismatch"


def test_the_native_program_of_a_failure_has_the_units(case: Path, tmp_path: Path) -> None:
    reference = Reference(read_case(case), Toolchain())
    text = BUMP.replace("call remember", "incl %edi\n call remember")
    judged = Harness(reference, "bump", JudgeSettings(examples=EXAMPLES)).judge_with_reproducer(text)
    repro = ReproWriter(tmp_path)
    prompt = Prompt(case="case.c", function="bump", task="asm", passes="O0", template="meta", text="", reference=str)
    repro.keep(reference, prompt, Answer(text), judged)
    done = subprocess.run(["./run"], cwd=repro.folder_of(prompt, 0), capture_output=True, text=True, timeout=30)
    assert "differs: global util.c.last from byte 0\n" in done.stdout, done.stdout


def test_the_program_linked_natively(case: Path, tmp_path: Path) -> None:
    (tmp_path / "twice.s").write_text(TWICE)
    output = tmp_path / "program"
    assembly = ("--assembly", str(tmp_path / "twice.s"))
    (write_files(tmp_path, FILES)).write_text(FILES["case.c"].replace(" ^ shared", "").replace("elsewhere", "helper"))
    main(["link", str(tmp_path / "case.c"), "--function", "twice", *assembly, "-o", str(output)])
    assert os.access(output, os.X_OK)
    assert subprocess.run([str(output)]).returncode == 6


PROJECT = {
    "src/parse.c": """\
#include <stddef.h>
size_t words_of(const char *);
int lookup(int);
extern int verbose;
int outside(int);
int parse(const char *text) { verbose++; return (int)words_of(text) + lookup(2); }
int call_out(int x) { return outside(x) + 1; }
""",
    "src/words.c": """\
#include <stddef.h>
static int count;
int is_blank(char c);
size_t words_of(const char *text)
{
    size_t n = 0;
    for (count++; *text; text++)
        n += is_blank(*text);
    return n;
}
""",
    "src/blank.c": "int is_blank(char c) { return c == BLANK; }\n",
    "src/unused.c": "int unused = 1;\nint nobody_calls(void) { return unused; }\n",
    "src/broken.c": "int lookup(int x) { return x\n",
    "tests/mock.c": "int verbose;\nint parse(const char *text) { return text != 0; }\n",
    "src/main.c": "int verbose = 3;\nint lookup(int x) { return x + 1; }\nint main(void) { return lookup(3); }\n",
}
PARSE = """parse:
 pushq %rbx
 incl verbose(%rip)
 call words_of
 movl %eax, %ebx
 movl $2, %edi
 call lookup
 addl %ebx, %eax
 popq %rbx
 ret
"""


def write_project(folder: Path) -> Path:
    """The files of a project with the compilation database of its build."""
    write_files(folder, PROJECT)
    entries = [
        {"directory": str(folder), "file": name, "arguments": ["cc", "-DBLANK=32", "-O2", "-c", name]}
        for name in PROJECT
    ]
    (folder / "compile_commands.json").write_text(json.dumps(entries))
    return folder / "src" / "parse.c"


def test_files_of_a_database_that_the_case_needs(tmp_path: Path) -> None:
    case = read_case(write_project(tmp_path), flag_sources=FlagSources(links_database=True))
    reference = Reference(case, Toolchain())
    assert [unit.name for unit in reference.units] == ["words.c", "main.c", "blank.c"]
    assert reference.golden.stubs == ("outside",)
    assert set(reference.input_globals("parse")) == {"verbose", "words.c.count"}
    judge = Harness(reference, "parse", JudgeSettings(examples=EXAMPLES)).judge
    assert judge(PARSE).passed
    verdict = judge(PARSE.replace("$2", "$1"))
    assert verdict.message.startswith("return value: "), str(verdict)
    without = Reference(read_case(case.path), Toolchain())
    assert not without.units
    assert set(without.golden.stubs) == {"words_of", "lookup", "outside"}


def test_a_session_that_links_the_database(project: pytest.Pytester) -> None:
    write_project(project.path)
    flags = ("--llmc-model=reference", "--llmc-record=record.jsonl", "-p", "no:cacheprovider")
    result = run(project, "src/words.c", "--llmc-link=database", *flags)
    result.assert_outcomes(passed=1)
    lines = (project.path / "record.jsonl").read_text().splitlines()
    assert {json.loads(line)["settings"]["link"] for line in lines} == {"database"}
    assert run(project, "src/parse.c", "--llmc-link=all", *flags).ret == pytest.ExitCode.USAGE_ERROR


def test_a_changed_file_of_the_database_is_noticed(tmp_path: Path) -> None:
    """In one process, which keeps what it compiled."""
    path, sources = write_project(tmp_path), FlagSources(links_database=True)
    first = Reference(read_case(path, flag_sources=sources), Toolchain())
    assert first.fingerprint
    write_files(tmp_path, {"src/broken.c": "int lookup(int x) { return x; }\n", "src/main.c": "int verbose = 3;\n"})
    second = Reference(read_case(path, flag_sources=sources), Toolchain())
    assert [unit.name for unit in second.units] == ["words.c", "broken.c", "main.c", "blank.c"]
    assert second.fingerprint != first.fingerprint

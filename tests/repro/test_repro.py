"""The folders of failing samples: their files, and whether their programs show the failure that the judge saw."""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from faces import Compile
from native_code import needs_avx
from sources import STATEFUL

from pytest_llmcompiler.errors import ReproFolderError
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.judge.reproducer import Reproducer, ReproducibleVerdict
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.model.answer import Answer, Prompt
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.repro.folder import ReproWriter

PLUGINS = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
ROOT = Path(__file__).parents[2]
FAULTS = ROOT / "tests" / "faults" / "git_lfs.jsonl"
ALWAYS = {"README.txt", "answer.txt", "function.ll", "prompt.txt"}
ASSEMBLED = ALWAYS | {"candidate.s", "candidate.o"}
RUNS = ASSEMBLED | {"program.ll", "input.c", "runner.c", "runner.h", "foreign_code.h", "build.sh", "run", "break.gdb"}
KINDS = {
    "consume_line/asm-O0/sample-2": ("hang", RUNS, "still running after 2 s in line ", 20),
    "consume_line/asm-O0/sample-3": ("assemble", ALWAYS | {"candidate.s"}, "", 0),
    "consume_line/asm-O0/sample-4": ("no-answer", ALWAYS, "", 0),
    "copy_64_hex/asm-O0/sample-2": ("abi", RUNS, "callee-saved register %rbx is not restored", 14),
    "validate/asm-O0/sample-1": ("crash", RUNS, "SIGSEGV (bad access) at a non-canonical", 25),
    "validate/asm-O0/sample-2": ("truncated", ALWAYS, "", 0),
    "validate/asm-O0/sample-3": ("link", ASSEMBLED, "", 0),
    "parse_diff/asm-O0/sample-2": ("crash", RUNS, "called from line 58 of candidate.s", 58),
    "parse_diff/asm-O0/sample-3": ("mismatch", RUNS, "differs: out from byte 64\n", 6),
    "parse_diff/asm-O0/sample-4": ("mismatch", RUNS, "return value\n  reference 1\n  candidate 0\n", 157),
}
"""By folder: the verdict, the files, a part of what `run` prints, and the line at which a debugger stops."""
RUNNABLE = [name for name, (_, files, _, _) in KINDS.items() if files is RUNS]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders that a session writes for the recorded faults. One answer is there twice."""
    folder = tmp_path_factory.mktemp("session")
    answers = [json.loads(line) for line in FAULTS.read_text().splitlines()]
    wrong = [record for record in answers if record["expect"] != "pass"]
    again = next(record for record in wrong if record["function"] == "validate" and record["expect"] == "crash")
    lines = [json.dumps(record) for record in (*wrong, {**again, "sample": 5})]
    (folder / "answers.jsonl").write_text("\n".join(lines) + "\n")
    flags = ("--llmc-model=replay:answers.jsonl", "--llmc-samples=6", "--llmc-artifacts=kept", "--llmc-examples=10")
    case = ROOT / "cases" / "git_lfs.c"
    command = [sys.executable, "-m", "pytest", "-q", f"--rootdir={folder}", *PLUGINS, *flags, str(case)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "  kept      kept/git_lfs.c/validate/asm-O0/sample-1\n" in done.stdout
    return folder / "kept" / "git_lfs.c"


def run_native(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["./run"], cwd=folder, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("name", KINDS)
def test_a_folder_for_each_failing_sample(folders: Path, name: str) -> None:
    kind, files, _, _ = KINDS[name]
    folder = folders / name
    assert {path.name for path in folder.iterdir()} == files
    readme = (folder / "README.txt").read_text()
    assert f"\n{kind}: " in readme
    assert ("There is no `run`" in readme) == ("run" not in files)
    assert "[INST]" in (folder / "prompt.txt").read_text()


def test_no_other_sample_has_a_folder(folders: Path) -> None:
    written = {
        path.parent.relative_to(folders).as_posix() for path in folders.rglob("README.txt") if not path.is_symlink()
    }
    assert written == set(KINDS)
    assert not list(folders.rglob(".*"))


def test_the_same_answer_is_kept_once(folders: Path) -> None:
    again = folders / "validate" / "asm-O0" / "sample-5"
    assert again.readlink() == Path("sample-1")
    assert (again / "run").exists()


@pytest.mark.parametrize("name", RUNNABLE)
def test_run_shows_what_the_judge_saw(folders: Path, name: str) -> None:
    kind, _, words, _ = KINDS[name]
    done = run_native(folders / name)
    assert done.returncode == 1
    assert f"{kind}: " in done.stdout
    assert "\nreference: returns\n" in done.stdout
    assert words in done.stdout.partition("reference: returns")[2]


@pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed")
@pytest.mark.parametrize("name", RUNNABLE)
def test_gdb_stops_at_the_line(folders: Path, name: str) -> None:
    number = KINDS[name][3]
    folder = folders / name
    command = ["gdb", "-nx", "-batch", "-x", "break.gdb", "-ex", "stepi", "./run"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    line = (folder / "candidate.s").read_text().splitlines()[number - 1]
    assert f"at candidate.s:{number}\n{number}\t{line.rstrip()}" in done.stdout, done.stdout + done.stderr
    if name.startswith("validate"):
        assert "Program received signal SIGSEGV" in done.stdout


def test_the_program_can_be_built_again(folders: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a copy"
    shutil.copytree(folders / "parse_diff/asm-O0/sample-4", folder)
    (folder / "run").unlink()
    python = tmp_path / "another place" / "python"  # its name in the script is quoted
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    script = folder / "build.sh"
    script.write_text(script.read_text().replace(shlex.quote(sys.executable), shlex.quote(str(python))))
    surroundings = {key: value for key, value in os.environ.items() if key != "PYTHON"}
    surroundings["PYTHONPATH"] = os.pathsep.join(sys.path)  # as a link it does not know its packages
    subprocess.run(["sh", "build.sh"], cwd=folder, check=True, env=surroundings)
    assert run_native(folder).stdout == run_native(folders / "parse_diff/asm-O0/sample-4").stdout


# -- kinds of inputs and functions

SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
struct pair { long a, b; };
struct pair *lookup(int);
void done(const int *);
int total;

int twice(int (*f)(int), int x) { int a = f(x); return a + f(x + 1); }
long looking(int x) { struct pair *p = lookup(x); return p ? p->a + p->b : -1; }
void filled(int *p) { int t[2] = {7, *p}; done(t); total += t[0]; *p = 1; }
char *copied(const char *text) { char *made = malloc(strlen(text) + 1); return made ? strcpy(made, text) : 0; }
int order(const char *a, const char *b) { return strcmp(a, b) < 0; }
void checked(int x) { if (x > 5) { puts("too large"); exit(3); } total = x; }
void dropped(char *p) { if (p) { p[0] = 0; free(p); } }
struct sink { int count; FILE *to; };
void written(struct sink *s, const char *text) { if (s->to) fputs(text, s->to); s->count++; }
int put(FILE *stream, int c) { return stream == stdout ? c : 7; }
int read_on(FILE *stream) { int n = 0; while (getc(stream) != EOF) n++; return n; }
long many(long a, long b, long c, long d, long e, long f, long g, short h) { return a + b + c + d + e + f + g * 2 + h; }
"""

Change = Callable[[str], str]


def replace_text(old: str, new: str) -> Change:
    """A change that replaces one part of a text, which must be there."""

    def change(text: str) -> str:
        assert old in text, text
        return text.replace(old, new)

    return change


WRONG = {
    "a wrong argument of an external call": ("twice", replace_text("\tincl\t%ebx\n", ""), "external call 2"),
    "a stack that is not aligned": (
        "twice",
        lambda text: replace_text("\taddq\t$8, %rsp\n", "")(replace_text("\tpushq\t%rax\n", "")(text)),
        "the stack is not aligned to 16 bytes at a call",
    ),
    "an object that a call returned": ("looking", replace_text("addq\t(%rcx)", "subq\t(%rcx)"), "return value"),
    "wrong data that an argument points to": (
        "filled",
        replace_text("movl\t$7", "movl\t$8"),
        "external call 1",
    ),
    "a global variable": ("filled", replace_text("addl\t%eax, (%rcx)", "subl\t%eax, (%rcx)"), "global total"),
    "the heap": (
        "copied",
        replace_text("leaq\t1(%rax)", "leaq\t(%rax)"),
        "live heap objects\n  reference 1 bytes\n  candidate 0",
    ),
    "the undefined half of a result": ("order", replace_text("shrl\t$31, %eax", "shrq\t$63, %rax"), "return value"),
    "an exit": ("checked", replace_text("movl\t$3, %edi", "movl\t$4, %edi"), "candidate: exits with code 4"),
    "freed twice": (
        "dropped",
        replace_text("jmp\tfree@PLT", "pushq %rdi\npushq %rdi\ncall free\npopq %rdi\npopq %rdi\njmp free"),
        "free or realloc of a pointer that malloc did not return",
    ),
    "a stream in an object": ("written", replace_text("\tcallq\tfputs@PLT\n", ""), "stdout"),
    "a stream as an argument": ("put", replace_text("$7", "$8"), "return value"),
    "standard input": ("read_on", lambda text: re.sub(r"(\tretq)", r"\tincl %eax\n\1", text), "return value"),
    "arguments on the stack": ("many", replace_text("24(%rbp)", "16(%rbp)"), "return value"),
    "a flag that nobody set": ("put", replace_text("# %bb.0:\n", "\tjno\t1f\n\tud2\n1:\n"), "SIGILL"),
    "a flag that a call changes": (
        "filled",
        replace_text("\tcallq\tdone@PLT\n", "\tcmpl\t%eax, %eax\n\tcallq\tdone@PLT\n\tje\t1f\n\tud2\n1:\n"),
        "SIGILL",
    ),
}


@pytest.fixture(scope="module")
def repro(tmp_path_factory: pytest.TempPathFactory) -> ReproWriter:
    return ReproWriter(tmp_path_factory.mktemp("repro"))


def prompt(function: str, case: str = "case.c", passes: str = "O0") -> Prompt:
    return Prompt(
        case=case,
        function=function,
        task="asm",
        passes=passes,
        template="meta",
        text="the prompt",
        reference=lambda: "",
    )


@functools.cache
def open_harness(reference: Reference, function: str) -> Harness:
    return Harness(reference, function, JudgeSettings(examples=10, native="auto", isa="x86-64-v3"))


SAMPLES = itertools.count()


def write_folder(
    repro: ReproWriter, compiled: Compile, function: str, change: Change, source: str = SOURCE
) -> tuple[Verdict, Path]:
    """The verdict on clang's own text with a change, and its folder."""
    reference = compiled(source)
    text = change(reference.texts.assembly(function, "O1"))
    judged = open_harness(reference, function).judge_with_reproducer(text)
    sample = next(SAMPLES)
    repro.keep(reference, prompt(function), Answer(text, sample), judged)
    return judged.verdict, repro.folder_of(prompt(function), sample)


@pytest.mark.parametrize("name", WRONG)
def test_other_kinds_of_failures(repro: ReproWriter, compiled: Compile, name: str) -> None:
    function, change, words = WRONG[name]
    verdict, folder = write_folder(repro, compiled, function, change)
    assert not verdict.passed
    done = run_native(folder)
    assert words in done.stdout, f"{verdict}\n{done.stdout}"
    assert done.returncode == 1


def test_thread_local_variables(repro: ReproWriter, compiled: Compile) -> None:
    source = "_Thread_local int n = 5;\nint m;\nint next(int x) { m++; return n ^= x; }\n"
    verdict, folder = write_folder(repro, compiled, "next", lambda text: text.replace("xorl", "orl"), source)
    assert verdict.kind == "mismatch"
    assert "differs: global n from byte 0" in run_native(folder).stdout


@needs_avx
@pytest.mark.parametrize(
    "call", ["", "\tvpxor\t%ymm5, %ymm5, %ymm5\n\tcallq\task@PLT\n"], ids=["start", "after a call"]
)
def test_the_upper_parts_of_vector_registers(repro: ReproWriter, compiled: Compile, call: str) -> None:
    """They hold garbage, as where the judge runs the code. The reference returns 0."""
    source = "int ask(void);\nint nothing(void) { return 0; }\n"
    source = source.replace("{", "{ ask();") if call else source
    upper = "\tvextractf128\t$1, %ymm5, %xmm0\n\tvmovd\t%xmm0, %eax\n"
    code = f"nothing:\n\tpushq\t%rbx\n{call}{upper}\tpopq\t%rbx\n\tretq\n"
    verdict, folder = write_folder(repro, compiled, "nothing", lambda _: code, source)
    assert (verdict.kind, verdict.detail["native"]) == ("mismatch", True), verdict
    done = run_native(folder)
    assert "return value\n  reference 0\n  candidate " in done.stdout, f"{verdict}\n{done.stdout}"


CALLED_WITH_VECTORS = """{directive}
typedef float floats __attribute__((vector_size({size})));
floats ask(floats x, int n);
floats summed(floats a, floats b) {{ return ask(a, 1) + ask(b, 2) - a; }}
"""


@pytest.mark.parametrize(
    ("directive", "size"), [("", 16), pytest.param("// LLMC: isa x86-64-v3", 32, marks=needs_avx)], ids=["xmm", "ymm"]
)
def test_vectors_in_arguments_and_results(repro: ReproWriter, compiled: Compile, directive: str, size: int) -> None:
    """What is asked twice answers otherwise where the argument is another one, so both must arrive whole."""
    source = CALLED_WITH_VECTORS.format(directive=directive, size=size)
    verdict, folder = write_folder(repro, compiled, "summed", replace_text("subps", "addps"), source)
    assert verdict.kind == "mismatch", verdict
    done = run_native(folder)
    assert "reference: returns\n" in done.stdout, f"{verdict}\n{done.stdout}"
    assert "return value\n  reference " in done.stdout, f"{verdict}\n{done.stdout}"
    assert "external call" not in done.stdout, f"{verdict}\n{done.stdout}"


def test_the_whole_program(repro: ReproWriter, compiled: Compile) -> None:
    verdict, folder = write_folder(repro, compiled, "accumulate", replace_text("andl\t$1", "andl\t$3"), STATEFUL)
    assert verdict.message.startswith("the whole program: ")
    done = run_native(folder)
    assert "reference: exits with code 127\n" in done.stdout, f"{verdict}\n{done.stdout}"
    assert "differs: standard output from byte " in done.stdout
    assert "on the process's own stack" in (folder / "README.txt").read_text()


def test_what_a_native_run_cannot_show(repro: ReproWriter, compiled: Compile) -> None:
    source = "#include <time.h>\nlong later(long n) { return time(0) > n ? 1 : 0; }\n"
    verdict, folder = write_folder(repro, compiled, "later", replace_text("setg", "setle"), source)
    assert not verdict.passed
    assert (
        "the clock, random bytes and the number of the process are part of the input"
        in (folder / "README.txt").read_text()
    )


def test_an_instruction_that_no_process_may_execute(repro: ReproWriter, compiled: Compile) -> None:
    source = "int twice(int x) { return 2 * x; }\n"
    verdict, folder = write_folder(repro, compiled, "twice", replace_text("\tretq", "\thlt\n\tretq"), source)
    assert verdict.kind == "crash", str(verdict)
    assert "The judge stops at `hlt` in user code; here " in (folder / "README.txt").read_text()


def test_a_variable_that_the_case_only_declares(repro: ReproWriter, compiled: Compile) -> None:
    source = "extern int level;\nint put(int x) { return level = x; }\n"
    verdict, folder = write_folder(repro, compiled, "put", replace_text("movl\t%edi, (%r", "movb\t%dil, (%r"), source)
    assert verdict.kind == "mismatch", str(verdict)
    done = run_native(folder)
    assert "differs: global level from byte 1\n" in done.stdout, f"{verdict}\n{done.stdout}"


POINTERS = """
static int table[3] = { 4, 5, 6 };
static int twice(int x) { return 2 * x; }
static int thrice(int x) { return 3 * x; }
static int (*op)(int) = twice;
static int *place = table;
void choose(int k) { op = k ? thrice : twice; place = k ? table + 1 : table; }
int run(int x) { return op(x & 15) + *place; }
"""


def test_variables_that_lead_to_symbols(repro: ReproWriter, compiled: Compile) -> None:
    wrong = compiled(POINTERS.replace("op(x & 15)", "twice(x & 15)")).texts.assembly("run", "O2")
    verdict, folder = write_folder(repro, compiled, "run", lambda _: wrong, POINTERS)
    assert "op = &thrice" in str(verdict)
    done = run_native(folder)
    assert "return value\n" in done.stdout, f"{verdict}\n{done.stdout}"
    assert done.returncode == 1


@pytest.mark.parametrize("whole_program", [False, float("inf")])
def test_a_reproducer_that_makes_no_sense_is_no_error(
    repro: ReproWriter, compiled: Compile, whole_program: object
) -> None:
    reference = compiled(STATEFUL)
    text = reference.texts.assembly("accumulate", "O1")
    reproducer = cast(Reproducer, {"whole_program": whole_program, "input_lines": [], "entry_registers": {}})
    broken = ReproducibleVerdict(Verdict("crash", "bad read"), reproducer)
    repro.keep(reference, prompt("accumulate", "broken.c"), Answer(text), broken)
    readme = (repro.folder_of(prompt("accumulate", "broken.c"), 0) / "README.txt").read_text()
    assert "There is no `run`: the reproducer can't be read" in readme


# -- the folders themselves

WRONG_ANSWER = ReproducibleVerdict(Verdict("no-answer", "the answer has no code in it"))
PASS = ReproducibleVerdict(Verdict("pass"))
CRASH = ReproducibleVerdict(Verdict("crash", "bad read"))


def test_names_stay_inside_and_apart(tmp_path: Path) -> None:
    repro = ReproWriter(tmp_path)
    prompts = [
        *(prompt("f", case) for case in ("a/b.c", "../b.c", "/b.c", "a b.c", "a-b.c", "..", "x" * 300 + ".c")),
        *(prompt(function) for function in ("f", "../f", "", ".", "f\n", "\u00e9", 'f"; rm -rf $HOME', "f" * 300)),
        *(prompt("f", passes=passes) for passes in ("O2", "default<O2>", "default<O3>", "module(default<Oz>)")),
    ]
    folders = [repro.folder_of(question, 0) for question in prompts]
    assert len(set(folders)) == len({question.key for question in prompts})
    for folder in folders:
        assert folder.resolve().is_relative_to(tmp_path)
        assert ".." not in folder.parts
        assert all(
            len(part) < 120 and part.isascii() and part.isprintable() for part in folder.relative_to(tmp_path).parts
        )
    assert repro.folder_of(prompt("f", "a/b.c"), 3) == tmp_path / "a" / "b.c" / "f" / "asm-O0" / "sample-3"


def test_a_folder_goes_when_its_sample_passes(tmp_path: Path, compiled: Compile) -> None:
    repro, question, reference = ReproWriter(tmp_path), prompt("accumulate"), compiled(STATEFUL)
    repro.keep(reference, question, Answer("no"), WRONG_ANSWER)
    repro.keep(reference, question, Answer("no", 1), WRONG_ANSWER)
    assert repro.folder_of(question, 1).is_symlink()
    later = ReproWriter(tmp_path)
    later.keep(reference, question, Answer("yes", 1), PASS)
    later.keep(reference, question, Answer("no, no"), WRONG_ANSWER)
    assert [path.name for path in repro.folder_of(question, 1).parent.iterdir()] == ["sample-0"]
    assert (repro.folder_of(question, 0) / "answer.txt").read_text() == "no, no"
    later.keep(reference, question, Answer("yes"), PASS)
    assert not list(repro.folder_of(question, 1).parent.iterdir())


def test_the_folder_of_a_resumed_sample_stays(tmp_path: Path, compiled: Compile) -> None:
    repro, question, reference = ReproWriter(tmp_path), prompt("accumulate"), compiled(STATEFUL)
    repro.folder_of(question, 0).mkdir(parents=True)
    (repro.folder_of(question, 0) / "run").write_text("of the first session")
    repro.keep(reference, question, Answer("no"), CRASH)
    assert (repro.folder_of(question, 0) / "run").read_text() == "of the first session"
    repro.keep(reference, question, Answer("<code>\naccumulate:\n\tret\n</code>", 1), CRASH)
    assert "it was judged in an earlier session" in (repro.folder_of(question, 1) / "README.txt").read_text()


def test_what_others_wrote_stays(tmp_path: Path, compiled: Compile) -> None:
    repro, question = ReproWriter(tmp_path), prompt("accumulate")
    folder = repro.folder_of(question, 0)
    folder.mkdir(parents=True)
    (folder / "README.txt").write_text("mine")
    for judged in (WRONG_ANSWER, PASS):
        with pytest.raises(
            ReproFolderError, match=r"can't write .*sample-0: something is there that was not written here"
        ):
            repro.keep(compiled(STATEFUL), question, Answer("no"), judged)
    assert (folder / "README.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_written_costs_no_verdict(pytester: pytest.Pytester) -> None:
    pytester.makefile(".c", a="int twice(int x) { return 2 * x; }\n")
    line = {"case": "a.c", "function": "twice", "task": "asm", "passes": "O0", "sample": 0, "answer": "no"}
    (pytester.path / "answers.jsonl").write_text(json.dumps(line) + "\n")
    (pytester.path / "taken").write_text("")
    run = pytester.runpytest_subprocess("a.c", "--llmc-model=replay:answers.jsonl", "--llmc-artifacts=taken")
    run.assert_outcomes(failed=1, warnings=1)
    run.stdout.fnmatch_lines(["*no-answer: *", "*--llmc-artifacts: can't write taken/*: Not a directory*"])

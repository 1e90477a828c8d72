from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from faces import CaseOf, Compile, Judged

from pytest_llmcompiler.errors import CaseError, ClangError
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference

CLANG = shutil.which("clang-19")
with_clang_19 = pytest.mark.skipif(CLANG is None, reason="clang-19 is not installed")

HELPERS = """
static inline int one(int x) { return x; }
inline static int two(int x) { return x; }
static inline unsigned long
three(int x)
{ return x; }
static int four(int x) { return one(x) + two(x) + three(x); }
int five(int x) { return four(x); }
int declared(int x);
int main(void) { return five(0); }
"""

LIBRARY = """
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int text(char *out, const char *s, double x) { return snprintf(out, 8, "%s %d %g", s, INT_MAX, x); }
double real(double x) { return sqrt(x) + sin(x) + pow(x, 2) + fabs(x); }
int memory(const void *a, const void *b) { return memcmp(a, b, 4) + (int)strlen(a) + toupper(*(const char *)b); }
bool number(const char *s, long *out) { errno = 0; char *end; *out = strtol(s, &end, 10); return errno == 0 && *end == 0; }
void *heap(size_t n) { return realloc(calloc(n, 1), 2 * n); }
int main(void) { printf("%s\\n", "x"); return 0; }
"""


def test_the_functions_under_test(compiled: Compile) -> None:
    reference = compiled(HELPERS)
    assert reference.functions == ("five", "four")
    assert {"one", "two", "three", "four", "five", "main"} <= set(reference.signatures)


def test_directives_pick_functions(compiled: Compile) -> None:
    assert compiled(HELPERS + "// LLMC: functions one, five, main\n").functions == ("five", "main", "one")


def test_functions_of_ir(compiled: Compile) -> None:
    reference = compiled(
        "define internal i32 @f(i32 %x) {\n  ret i32 %x\n}\ndefine void @g() {\n  ret void\n}\n", ".ll"
    )
    assert reference.functions == ("f", "g")
    assert reference.probe.functions >= {"f", "g"}
    assert reference.golden.symbols["f"].size > 0


def test_private_strings_are_reachable_by_the_names_in_assembly(compiled: Compile) -> None:
    reference = compiled(
        'const char *f(int x) { return x ? "yes" : "no"; }\nint g(void) { static int n; return ++n; }\n'
    )
    golden = reference.golden
    for name, text in ((".L.str", b"yes\0"), (".L.str.1", b"no\0")):
        address = golden.addresses[name]
        assert golden.addresses[name.removeprefix(".L")] == address
        segment = next(s for s in golden.segments if s.address <= address < s.address + len(s.data))
        assert segment.data[address - segment.address :].startswith(text)
        assert not segment.is_writable
    assert golden.globals == ("g.n",)
    assert golden.addresses["g.n"] == golden.symbols["g.n"].address


def test_functions_that_nobody_defines_get_stubs(compiled: Compile) -> None:
    reference = compiled("int there(int); double here(void); int f(int x) { return there(x) + (int)here(); }\n")
    assert set(reference.golden.stubs) == {"there", "here"}
    assert reference.golden.addresses["there"] != reference.golden.addresses["here"]
    assert reference.probe is not None
    assert set(reference.probe.stubs) == {"there", "here"}


def test_a_program_has_what_compilers_call_on_their_own(compiled: Compile) -> None:
    golden = compiled("int f(int x) { return x; }\n").golden
    assert {"memcpy", "memset", "memcmp", "puts", "malloc", "sqrt", "__udivti3"} <= set(golden.addresses)
    assert not golden.has_main
    assert golden.stubs == ()


@pytest.mark.parametrize(
    ("source", "suffix", "line"),
    [
        ("int x;\nint f(void) { return y; }\n", ".c", 2),
        ("int x;\n#include <no/such/header.h>\n", ".c", 2),
        ("int f(void)\n{\n  return 1\n}\n", ".c", 3),
    ],
)
def test_a_compile_error_is_a_case_error_with_clangs_message(
    case_of: CaseOf, source: str, suffix: str, line: int
) -> None:
    case = case_of(source, suffix)
    for part in ("ir", "functions", "signatures", "golden", "probe"):
        with pytest.raises(CaseError, match=rf"{re.escape(str(case.path))}:{line}:\d+: (fatal )?error: "):
            getattr(Reference(case, Toolchain()), part)


def test_bad_ir_is_a_case_error_with_llvms_message(case_of: CaseOf) -> None:
    case = case_of("define i32 @f() {\n  ret i64 0\n}\n", ".ll")
    for part in ("ir", "functions", "signatures", "golden"):
        with pytest.raises(CaseError, match=re.escape(str(case.path))):
            getattr(Reference(case, Toolchain()), part)


@pytest.mark.parametrize(
    "source",
    [
        "int stdout;\nint f(int x) { return x + stdout; }\n",
        "extern int nowhere;\nint f(int x) { return x + nowhere; }\n",
    ],
)
def test_a_program_that_does_not_link_is_a_case_error_or_judged(compiled: Compile, source: str) -> None:
    try:
        assert compiled(source).golden.symbols["f"].size > 0
    except CaseError as error:
        assert "case.c" in str(error)


@pytest.mark.parametrize("clang", [None, pytest.param("clang-19", marks=with_clang_19)])
def test_the_standard_library_links(compiled: Compile, clang: str | None) -> None:
    reference = compiled(LIBRARY, ".c", clang)
    assert reference.functions == ("text", "real", "memory", "number", "heap")
    assert reference.golden.stubs == ()
    assert reference.golden.has_main
    assert reference.probe is not None


@with_clang_19
def test_a_system_clang_gives_the_same_program(compiled: Compile) -> None:
    system, bundled = compiled(HELPERS, ".c", "clang-19"), compiled(HELPERS)
    assert "version 19" in system.toolchain.version()
    assert system.functions == bundled.functions
    assert [f.name for f in system.signatures.values()] == [f.name for f in bundled.signatures.values()]
    assert system.texts.sizes("four") == bundled.texts.sizes("four")


def test_a_clang_that_is_not_there(case_of: CaseOf) -> None:
    with pytest.raises(ClangError, match=r"no clang at 'clang-nowhere': .*--llmc-clang"):
        Toolchain("clang-nowhere").version()
    with pytest.raises((CaseError, ClangError), match="clang-nowhere"):
        _ = Reference(case_of(HELPERS), Toolchain("clang-nowhere")).ir


def test_constructors_run_before_the_function(judged: Judged) -> None:
    # An element of a table that is too large for all of it to be part of the input.
    source = "char t[70000]; __attribute__((constructor)) void init(void) { t[60000] = 1; }\nint f(int x) { return t[60000] ? x : ~x; }\n"
    assert judged(source, "f", "f:\n movl %edi, %eax\n ret\n").kind == "pass"
    assert judged(source, "f", "f:\n movl %edi, %eax\n notl %eax\n ret\n").kind == "mismatch"


INLINE = 'int f(int x) { int y; __asm__("%s" : "=r"(y) : "r"(x)); return y; }\n'


def test_inline_assembly_in_a_case(judged: Judged) -> None:
    """The judge's process compiles it here: what LLVM does not like of it ends the process."""
    assert judged(INLINE % "movl %1, %0", "f", "f:\n movl %edi, %eax\n ret\n").kind == "pass"


def test_the_size_of_a_function_with_inline_assembly(case_of: CaseOf) -> None:
    """In a process of its own, since it may end it."""
    path = case_of(INLINE % "movl %1, %0").path
    code = (
        "import sys, pathlib; from pytest_llmcompiler.program.case import read_case; "
        "from pytest_llmcompiler.program.clang import Toolchain; from pytest_llmcompiler.program.reference import Reference; "
        "print(Reference(read_case(pathlib.Path(sys.argv[1])), Toolchain()).texts.sizes('f')[0])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 0 < int(done.stdout) < 20


def test_bad_inline_assembly_in_a_case(judged: Judged) -> None:
    with pytest.raises(CaseError, match=r"case\.c"):
        judged(INLINE % "movq1 %1, %0", "f", "f:\n movl %edi, %eax\n ret\n")


def test_where_a_case_lies_makes_no_difference_to_its_programs(tmp_path: Path) -> None:
    """Otherwise one random seed would give different inputs in different folders."""
    programs = []
    for folder in ("a", "another/and/longer"):
        (tmp_path / folder).mkdir(parents=True)
        path = tmp_path / folder / "case.c"
        path.write_text("int f(int a) { return 1 << a; }\n", encoding="utf-8")
        reference = Reference(read_case(path), Toolchain())
        programs.append([(one.segments, one.symbols) for one in (reference.golden, reference.probe)])
    assert programs[0] == programs[1]


def test_a_fingerprint_is_of_the_file_and_its_headers_wherever_it_lies(tmp_path: Path) -> None:
    def fingerprint(folder: str, source: str, header: str) -> str:
        path = tmp_path / folder / "a.c"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#include "a.h"\n{source}')
        path.with_name("a.h").write_text(header)
        return Reference(read_case(path), Toolchain()).fingerprint

    source, header = "int f(int x) { return x + N; }\n", "#define N 1\n"
    first = fingerprint("one", source, header)
    assert fingerprint("other", source, header) == first
    changed = [(f"// LLMC: arg f.x range 1..2\n{source}", header), (source, "#define N 2\n")]
    assert len({first, *(fingerprint("one", *texts) for texts in changed)}) == 3

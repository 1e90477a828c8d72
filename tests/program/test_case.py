from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.program.case import ArgRule, Case, read_case
from pytest_llmcompiler.program.case_inputs import find_input_files
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.directive_comments import find_directives
from pytest_llmcompiler.program.reference import Reference


def write_case(folder: Path, *lines: str, suffix: str = ".c") -> Case:
    path = folder / f"case{suffix}"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_case(path, f"sub/case{suffix}")


def test_a_case_without_directives(tmp_path: Path) -> None:
    case = write_case(tmp_path, "int f(int x) { return x; }")
    assert (case.name, case.functions, case.passes, case.args, case.is_ir) == ("sub/case.c", (), (), {}, False)
    assert read_case(case.path).name == "case.c"


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("// LLMC: arg f.n length buf", ArgRule(length_of=("buf",))),
        ("// LLMC: arg f.n length a, b", ArgRule(length_of=("a", "b"))),
        ("// LLMC: arg f.n length 0, 2", ArgRule(length_of=("0", "2"))),
        ("// LLMC: arg f.n range 1..5", ArgRule(range=(1, 5))),
        ("// LLMC: arg f.n range -3 .. -1", ArgRule(range=(-3, -1))),
        ("// LLMC: arg f.n range 0x10..0xFF", ArgRule(range=(16, 255))),
        ("// LLMC: arg f.n range 7", ArgRule(range=(7, 7))),
        ("// LLMC: arg f.n elements 64", ArgRule(elements=(64, 64))),
        ("// LLMC: arg f.n elements 0..3", ArgRule(elements=(0, 3))),
        ("// LLMC: arg f.n cstring", ArgRule(cstring=True)),
        ("// LLMC: arg f.n non-null", ArgRule(non_null=True)),
        ("/* LLMC: arg f.n cstring */", ArgRule(cstring=True)),
        ("/* LLMC: arg f.n range 1..2 */ int x; /* y */", ArgRule(range=(1, 2))),
        ("int x;  // LLMC:   arg   f.n   cstring   ", ArgRule(cstring=True)),
        ("//LLMC:arg f.n cstring", ArgRule(cstring=True)),
    ],
)
def test_arg_directives(tmp_path: Path, line: str, rule: ArgRule) -> None:
    assert write_case(tmp_path, line).args == {("f", "n"): rule}


def test_directives_add_up(tmp_path: Path) -> None:
    case = write_case(
        tmp_path,
        "// LLMC: functions f, g",
        "// LLMC: functions h",
        "// LLMC: passes O0, module(default<Oz>)",
        "// LLMC: passes O3",
        "// LLMC: arg f.0 cstring",
        "// LLMC: arg f.0 non-null",
        "// LLMC: arg g.s elements 4..8",
    )
    assert case.functions == ("f", "g", "h")
    assert case.passes == ("O0", "module(default<Oz>)", "O3")
    assert case.args == {
        ("f", "0"): ArgRule(cstring=True, non_null=True),
        ("g", "s"): ArgRule(elements=(4, 8)),
    }


def test_ll_comments(tmp_path: Path) -> None:
    case = write_case(
        tmp_path,
        "; LLMC: functions f.part, _g$1",
        "define i32 @f.part(i32 %0) { ; LLMC: arg f.part.0 range 1..9",
        "  ret i32 %0",
        "}",
        suffix=".ll",
    )
    assert case.is_ir
    assert case.functions == ("f.part", "_g$1")
    assert case.args == {("f.part", "0"): ArgRule(range=(1, 9))}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("// LLMC: function f", "unknown directive `LLMC: function f`"),
        ("// LLMC: Functions f", "unknown directive"),
        ("// LLMC:", "unknown directive"),
        ("// LLMC: arg", "unknown directive"),
        ("// LLMC: arg f n cstring", "unknown directive"),
        ("// LLMC: arg f.n cstrings", "unknown directive"),
        ("// LLMC: arg f.n cstring please", "unknown directive"),
        ("// LLMC: arg f.n non_null", "unknown directive"),
        ("// LLMC: arg f.n", "unknown directive"),
        ("// LLMC: functions", "expected names"),
        ("// LLMC: functions f,, g", "expected names"),
        ("// LLMC: functions f g", "expected names"),
        ("// LLMC: passes", "expected pass lists"),
        ("// LLMC: passes O0,", "expected pass lists"),
        ("// LLMC: arg f.n length", "expected names"),
        ("// LLMC: arg f.n range", "expected a number or LO..HI"),
        ("// LLMC: arg f.n range a..b", "expected a number or LO..HI"),
        ("// LLMC: arg f.n range 1..2..3", "expected a number or LO..HI"),
        ("// LLMC: arg f.n range 1.5", "expected a number or LO..HI"),
        ("// LLMC: arg f.n range 5..1", "the range 5..1 is empty"),
        ("// LLMC: arg f.n elements -1..4", "can't have -1 elements"),
        ("// LLMC: arg f.n elements many", "expected a number or LO..HI"),
    ],
)
def test_a_bad_directive_is_an_error_with_file_and_line(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(CaseError) as caught:
        write_case(tmp_path, "int x;", "", line)
    assert str(caught.value).startswith(f"{tmp_path / 'case.c'}:3: ")
    assert words in str(caught.value)


def test_a_misspelt_directive_names_the_forms(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"the forms are .*functions NAME.*elements N.*non-null"):
        write_case(tmp_path, "// LLMC: argh")


@pytest.mark.parametrize("line", [" * LLMC: arg f.n rnge 1..2", "// llmc: arg f.n range 1..2"])
def test_a_directive_in_another_comment_style_is_not_passed_over(tmp_path: Path, line: str) -> None:
    """It would be a directive that the user believes in and that nobody reads."""
    with pytest.raises(CaseError, match=":2: "):
        write_case(tmp_path, "/*", line, " */")


def test_files_that_are_no_case(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"missing\.c: can't be read"):
        read_case(tmp_path / "missing.c")
    (tmp_path / "folder.c").mkdir()
    with pytest.raises(CaseError, match=r"folder\.c: can't be read"):
        read_case(tmp_path / "folder.c")
    for name in ("case.cpp", "case", "case.c.txt"):
        with pytest.raises(CaseError, match=r"a case is a \.c or \.ll file"):
            read_case(tmp_path / name)


def reference(folder: Path, *lines: str) -> Reference:
    return Reference(write_case(folder, "int f(const char *s, int n) { return *s + n; }", *lines), Toolchain())


def test_a_directive_for_an_unknown_function(tmp_path: Path) -> None:
    for line in ("// LLMC: functions f, g", "// LLMC: arg g.n range 1..2"):
        with pytest.raises(CaseError, match=r"case\.c:2: no function 'g' is defined here; there are: f"):
            _ = reference(tmp_path, line).functions


def test_a_directive_for_an_unknown_parameter(tmp_path: Path) -> None:
    for line in ("// LLMC: arg f.m range 1..2", "// LLMC: arg f.2 cstring", "// LLMC: arg f.n length m"):
        with pytest.raises(CaseError, match=r"case\.c:2: f has no parameter '[m2]'; there are: s, n"):
            reference(tmp_path, line).argument_rules("f")


def test_the_line_is_the_one_of_the_directive_at_fault(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"case\.c:3: f has no parameter 'm'"):
        reference(tmp_path, "// LLMC: arg f.n range 1..2", "// LLMC: arg f.m range 1..2").argument_rules("f")


def test_rules_by_name_and_by_position_are_the_same(tmp_path: Path) -> None:
    compiled = reference(tmp_path, "// LLMC: arg f.1 range 1..2", "// LLMC: arg f.s cstring")
    assert compiled.argument_rules("f") == {0: ArgRule(cstring=True), 1: ArgRule(range=(1, 2))}


def test_a_long_line_is_read_in_linear_time() -> None:
    """A pattern that tries each run of blanks as the end takes minutes."""
    text = "x" + (" " * 3000 + "y") * 300
    source = f"int f;\n// LLMC: {text} \n/* LLMC: {text} */ int g; /* LLMC: none */"
    assert list(find_directives(Path("case.c"), source)) == [(2, text), (3, text)]


def test_input_files_are_of_the_case_with_the_longest_name(tmp_path: Path) -> None:
    for name in ("a.c", "a.1.c", "a.2.ll"):
        (tmp_path / name).write_text("// LLMC: program\nint main(void) { return 0; }\n")
    for name in ("a.in", "a.1.in", "a.1.x.in", "a.2.in", "a.3.in", "a.10.in", "ab.in"):
        (tmp_path / name).write_text(name)
    (tmp_path / "a.4.in").mkdir()
    found = {name: [one.data.decode() for one in find_input_files(tmp_path / name)] for name in ("a.c", "a.1.c")}
    assert found == {"a.c": ["a.10.in", "a.3.in", "a.in"], "a.1.c": ["a.1.in", "a.1.x.in"]}

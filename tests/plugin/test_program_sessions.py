"""Whole programs in sessions: items, prompts, records, and the folders of failing samples."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from sessions import put, records, run

PROGRAM = """
// LLMC: argv "-x" "a b"
// LLMC: file "names.txt" "Ann"
#include <stdio.h>
static int twice(int x) { return x + x; }
int main(int argc, char **argv)
{
    int number;
    FILE *names = fopen("names.txt", "r");
    char name[8] = "";
    if (names)
        fgets(name, sizeof name, names);
    if (scanf("%d", &number) != 1 || number > 1000 || number < -1000)
        return 1;
    printf("%s: %d %s\\n", name, twice(number), argc > 2 ? argv[2] : "");
    return 0;
}
"""
SHOW = """
import pytest
from pytest_llmcompiler.model.answer import Answer

class Mine:
    def describe(self):
        return {"backend": "mine", "name": "me"}

    def answers(self, prompt, samples):
        print("PROMPT", repr(prompt.text))
        yield Answer(prompt.reference().replace("addl", "subl"))

    def close(self):
        pass

@pytest.fixture(scope="session")
def llmc_model():
    return Mine()
"""


def test_a_case_with_a_main_is_one_item_where_the_flag_says_so(project: pytest.Pytester) -> None:
    put(project, "cases/prog.c", PROGRAM)
    result = run(project, "--llmc-model=reference", "--llmc-programs", "--llmc-record=out.jsonl", "-v", "cases")
    result.stdout.fnmatch_lines_random(["*prog.c::main[[]asm-O0[]] PASSED*", "*a.c::twice[[]asm-O0[]] PASSED*"])
    result.assert_outcomes(passed=3)
    by_function = {record["function"]: record for record in records(project.path / "out.jsonl")}
    assert by_function["main"]["detail"]["program"] is True
    assert by_function["main"]["settings"]["programs"] is True
    assert "program" not in by_function["low"]["detail"]
    without = run(project, "--llmc-model=reference", "-v", "cases/prog.c")
    without.stdout.fnmatch_lines(["*prog.c::twice[[]asm-O0[]] PASSED*"])


@pytest.mark.parametrize("template", ["meta", "c"])
def test_the_prompt_has_the_whole_file(project: pytest.Pytester, template: str) -> None:
    put(project, "cases/prog.c", f"// LLMC: program\n{PROGRAM}")
    put(project, "own.txt", "Compile {c}")
    project.makeconftest(SHOW)
    name = template if template == "meta" else str(project.path / "own.txt")
    result = run(project, "-s", f"--llmc-prompt={name}", "cases/prog.c")
    prompt = next(line for line in result.outlines if "PROMPT" in line)
    assert ("define internal i32 @twice" in prompt) == (template == "meta")
    assert ("static int twice(int x) { return x + x; }" in prompt) == (template == "c")


def test_all_tasks_are_answered_for_whole_programs(project: pytest.Pytester) -> None:
    put(project, "cases/prog.c", f"// LLMC: program\n{PROGRAM}")
    result = run(project, "--llmc-model=reference", "--llmc-task=asm,ir,tune,disassemble", "cases/prog.c")
    result.assert_outcomes(passed=4)


def test_models_that_are_asked_in_short_ir_skip_whole_programs(project: pytest.Pytester) -> None:
    put(project, "cases/prog.c", f"// LLMC: program\n{PROGRAM}")
    run(project, "--llmc-model=tiny", "cases/prog.c").assert_outcomes(skipped=1)


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_folder_of_a_failing_program_shows_the_failure(project: pytest.Pytester) -> None:
    put(project, "cases/prog.c", f"// LLMC: program\n{PROGRAM}")
    project.makeconftest(SHOW)
    result = run(project, "--llmc-artifacts=kept", "cases/prog.c")
    result.assert_outcomes(failed=1)
    folder = project.path / "kept" / "prog.c" / "main" / "asm-O0" / "sample-0"
    shown = subprocess.run([folder / "run.sh"], capture_output=True, text=True)
    assert "< Ann: " in shown.stdout and "> Ann: 0" in shown.stdout, shown.stdout + shown.stderr
    assert "run.sh" in (folder / "README.txt").read_text()
    again = run(project, "--llmc-artifacts=kept", "cases/prog.c")
    again.stdout.fnmatch_lines(["*kept/prog.c/main/asm-O0/sample-0*"])

"""`llmc judge`, `llmc compare` and what all commands have in common, as a shell meets them."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from native_code import needs_avx
from sessions import CASE, LOW, TWICE, VEX, WRONG

import pytest_llmcompiler
from pytest_llmcompiler.cli import main
from pytest_llmcompiler.errors import JudgeError
from pytest_llmcompiler.judge import api

PASS_WITH_COST = (
    r"pass\n  cost      \d+ instructions executed \(clang -O3: \d+\), \d+ bytes of code \(clang -Oz: \d+\)\n"
)
ROOT = Path(__file__).parents[2]
COMMANDS = ("judge", "compare", "link")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a case and with answers to it."""
    path = tmp_path_factory.mktemp("llmc")
    answers = {"right": TWICE, "wrong": WRONG, "vex": VEX, "bad": "twice:\n\tfrobnicate %eax\n", "prose": "I can't."}
    (path / "a.c").write_text(CASE)
    (path / "broken.c").write_text("int f(int x) { return y; }\n")
    for name, text in answers.items():
        (path / f"{name}.s").write_text(text)
    return path


def llmc(folder: Path, *args: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command. Whatever goes wrong is said without a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest_llmcompiler", *args],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        input=stdin,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


def judge(folder: Path, answer: str, *args: str) -> subprocess.CompletedProcess[str]:
    return llmc(folder, "judge", "a.c", "--function", "twice", "--assembly", answer, "--examples", "10", *args)


@pytest.mark.parametrize(
    ("answer", "status", "verdict"),
    [
        ("right.s", 0, "pass"),
        ("wrong.s", 1, "mismatch: return value: expected 2, observed 1"),
        ("bad.s", 1, "assemble: "),
        ("prose.s", 1, "no-answer: "),
        ("vex.s", 3, "inconclusive: "),
    ],
)
def test_the_exit_status_tells_the_verdict(folder: Path, answer: str, status: int, verdict: str) -> None:
    done = judge(folder, answer)
    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout.startswith(verdict)
    assert ("  input     x = 1" in done.stdout) == (answer == "wrong.s")


def test_names_are_utf_8_whatever_the_locale_says(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int été(int x) { return x + 1; }\n", encoding="utf-8")
    (tmp_path / "a.s").write_text("été:\n lealé 1(%rdi), %eax\n ret\n", encoding="utf-8")
    args = ("judge", "a.c", "--assembly", "a.s", "--examples", "5", "--function", "été")
    done = llmc(tmp_path, *args, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (done.returncode, done.stderr) == (1, "")
    assert "line 2: leal\\xe9 1(%rdi), %eax" in done.stdout


@needs_avx
@pytest.mark.parametrize(("flags", "status"), [(("--isa=x86-64-v3",), 0), (("--isa=x86-64-v3", "--native=off"), 3)])
def test_code_with_avx_where_it_is_allowed(folder: Path, flags: tuple[str, ...], status: int) -> None:
    done = judge(folder, "vex.s", *flags)
    assert done.returncode == status, done.stdout + done.stderr


def test_assembly_from_standard_input(folder: Path) -> None:
    for args in ((), ("--assembly", "-")):
        done = llmc(
            folder, "judge", "a.c", "--function", "low", "--examples", "10", *args, stdin=f"<code>\n{LOW}</code>"
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert re.fullmatch(PASS_WITH_COST, done.stdout), done.stdout


def test_streams_that_are_closed_or_full(folder: Path) -> None:
    command = [sys.executable, "-m", "pytest_llmcompiler", "judge", "a.c", "--function", "twice", "--examples", "10"]
    quoted = shlex.join(command)
    for script, status, message in (
        (f"{quoted} --assembly right.s --json | true; exit ${{PIPESTATUS[0]}}", 0, ""),
        (f"{quoted} <&-", 2, "llmc: standard input is closed; name a file with --assembly FILE\n"),
        (
            f"{quoted} --assembly right.s >/dev/full",
            2,
            "llmc: can't write to standard output: No space left on device\n",
        ),
    ):
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (status, message), script


def test_ctrl_c_at_any_time_prints_nothing(folder: Path) -> None:
    args = ("judge", "a.c", "--function", "twice", "--assembly", "right.s", "--examples", "20000")
    for seconds in (0.6, 0.9, 1.2, 2.0):  # while this process and that of the judge import, and while it runs
        with subprocess.Popen(
            [sys.executable, "-c", f"from pytest_llmcompiler.cli import main; print(flush=True); main({args})"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            assert process.stdout and process.stdout.readline() == "\n"
            time.sleep(seconds)
            os.killpg(process.pid, signal.SIGINT)
            output, errors = process.communicate(timeout=60)
            assert (process.returncode, output, errors) == (130, "", ""), seconds


def test_json_holds_verdict_and_evidence(folder: Path) -> None:
    done = judge(folder, "wrong.s", "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 1
    assert (result["case"], result["function"], result["verdict"]) == ("a.c", "twice", "mismatch")
    assert result["detail"]["input"] == ["x = 1"]
    assert result["detail"]["differences"] == [["return value", "2", "1"]]
    verdict = pytest_llmcompiler.Verdict.from_json(result)
    assert verdict.counterexample and verdict.counterexample.expected == "2"


def test_effort_of_the_second_look(folder: Path) -> None:
    looks = [
        json.loads(judge(folder, "right.s", "--json", *args).stdout)["detail"].get("second_look", {}).get("inputs")
        for args in (("--effort", "0"), ("--effort", "0.5"), ())
    ]
    assert looks[0] is None and 0 < looks[1] < looks[2]


def test_assembly_for_another_target(folder: Path) -> None:
    text = "twice:\n\tlsl\tw0, w0, #1\n\tret\n"
    args = ("judge", "a.c", "--function", "twice", "--target", "aarch64-linux", "--examples", "10")
    assert re.fullmatch(PASS_WITH_COST, llmc(folder, *args, stdin=text).stdout)
    assert llmc(folder, *args, stdin=TWICE).stdout.startswith("assemble: ")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["a.c", "--function", "nothing", "--assembly", "right.s"],
            "no function 'nothing' is defined here; there are: twice, low",
        ),
        (["missing.c", "--function", "f"], "missing.c: can't be read: No such file or directory\n"),
        (["right.s", "--function", "f"], "right.s: a case is a .c or .ll file"),
        (
            ["broken.c", "--function", "f", "--assembly", "right.s"],
            "broken.c:1:23: error: use of undeclared identifier 'y'",
        ),
        (["a.c", "--function", "twice", "--assembly", "no.s"], "no.s: can't be read: No such file"),
        (["a.c", "--function", "twice", "--assembly", "."], ".: can't be read: Is a directory"),
        (["a.c", "--function", "twice", "--target", "z80"], "argument --target: invalid choice: 'z80'"),
        (["a.c", "--function", "twice", "--examples", "0"], "expected a number of at least 1, found '0'"),
        (["a.c", "--function", "twice", "--examples", "x"], "expected a number of at least 1, found 'x'"),
        (["a.c", "--function", "twice", "--effort", "-1"], "expected a number of 0 or more, found '-1'"),
        (["a.c", "--function", "twice", "--effort", "much"], "expected a number of 0 or more, found 'much'"),
        (["a.c"], "the following arguments are required: --function"),
    ],
)
def test_an_error_has_a_status_of_its_own(folder: Path, args: list[str], message: str) -> None:
    done = llmc(folder, "judge", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert f"{args[0]}: /" not in done.stderr  # the path, and again the path


def test_a_judge_that_fails_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object, **settings: object) -> None:
        raise JudgeError("Traceback (most recent call last):\n  File ...\nOSError: no space left\n")

    monkeypatch.setattr(api, "check_file", fail)
    with pytest.raises(SystemExit) as stopped:
        main(["judge", "a.c", "--function", "twice", "--assembly", str(folder / "right.s")])
    assert stopped.value.code == 2
    assert capsys.readouterr() == ("", "llmc: the judge failed: OSError: no space left\n")


def write_record(path: Path, *verdicts: str) -> None:
    lines = [
        {"case": "a.c", "function": f"f{number}", "task": "asm", "passes": "O0", "sample": 0, "answer": ""}
        | {"verdict": verdict, "detail": {"message": "", "evidence": []}}
        for number, verdict in enumerate(verdicts)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_compare_prints_what_pytest_prints(tmp_path: Path) -> None:
    write_record(tmp_path / "before.jsonl", "pass", "hang", "hang")
    write_record(tmp_path / "after.jsonl", "pass", "pass", "hang")
    done = llmc(tmp_path, "compare", "before.jsonl", "after.jsonl")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("after.jsonl against before.jsonl, over 3 items of 3 functions")
    assert "  better in 1 function, worse in 0, equal in 2: exact McNemar p = 1\n" in done.stdout
    alias = subprocess.run(
        [sys.executable, "-m", "pytest", "--llmc-compare", "before.jsonl", "after.jsonl"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (alias.returncode, alias.stdout) == (0, done.stdout)


def test_compare_says_what_is_wrong_with_a_record(tmp_path: Path) -> None:
    write_record(tmp_path / "good.jsonl", "pass")
    (tmp_path / "bad.jsonl").write_text("{\n\n")
    (tmp_path / "raw.jsonl").write_text((tmp_path / "good.jsonl").read_text().replace('"pass"', "null"))
    for name, message in (
        ("none.jsonl", "llmc: can't read the records none.jsonl: No such file or directory\n"),
        ("bad.jsonl", "llmc: bad.jsonl:1: not JSON: "),
        ("raw.jsonl", "llmc: raw.jsonl holds samples that were not judged: judge them first, with "),
    ):
        done = llmc(tmp_path, "compare", "good.jsonl", name)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(message)


def test_version_and_help(tmp_path: Path) -> None:
    done = llmc(tmp_path, "--version")
    assert (done.returncode, done.stdout) == (0, f"llmc {pytest_llmcompiler.__version__}\n")
    overview = llmc(tmp_path, "--help").stdout
    for command in COMMANDS:
        assert f"    {command} " in overview
        assert f"example:\n  llmc {command} " in llmc(tmp_path, command, "--help").stdout
    assert "exit status: 0 pass, 1 any other verdict" in llmc(tmp_path, "judge", "--help").stdout
    assert llmc(tmp_path).returncode == 2


def test_judge_with_flags_of_clang(folder: Path) -> None:
    (folder / "more headers").mkdir()
    (folder / "more headers" / "three.h").write_text("#define THREE (ONE + 2)\n")
    (folder / "flags.c").write_text('#include "three.h"\nint f(int x) { return x ^ THREE; }\n')
    (folder / "f.s").write_text("f:\n\tmovl\t%edi, %eax\n\txorl\t$3, %eax\n\tretq\n")
    command = ("judge", "flags.c", "--function", "f", "--assembly", "f.s", "--examples", "10")
    done = llmc(folder, *command, "--cflags=-I'more headers' -DONE=1")
    assert done.returncode == 0 and re.fullmatch(PASS_WITH_COST, done.stdout), done.stdout
    done = llmc(folder, *command, "--cflags=-I'more headers' -fno-such-flag")
    assert done.returncode == 2
    assert done.stderr.startswith("llmc: cflags: clang: error: unknown argument: '-fno-such-flag'")
    done = llmc(folder, *command, "--cflags=-I'")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("llmc: --cflags: can't read the flags")
    assert "three.h' file not found" in llmc(folder, *command).stderr

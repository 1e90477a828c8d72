"""Flags and ini keys: how they are spelt, what they accept, and what hypothesis's flags change."""

from __future__ import annotations

import re

import pytest
from sessions import (
    TWICE,
    WRONG,
    assert_no_traceback,
    put,
    records,
    replay,
    run,
    run_here,
    text_of,
)

from pytest_llmcompiler.option_table import OPTIONS


def test_without_a_model_one_line_says_how_to_give_one(project: pytest.Pytester) -> None:
    result = run(project, "-rs")
    result.assert_outcomes(skipped=2)
    lines = [line for line in result.outlines if "--llmc-model" in line]
    assert len(lines) == 1, lines
    assert "reference" in lines[0] and ".gguf" in lines[0]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("gpt", "*unknown model 'gpt'*"),
        ("missing.gguf", "*missing.gguf*"),
        ("broken.gguf", "*broken.gguf*"),
        ("replay:missing.jsonl", "*missing.jsonl*"),
        ("replay:broken.jsonl", "*broken.jsonl:2: not JSON*"),
        ("http://127.0.0.1:9/v1", "*no server listens at http://127.0.0.1:9/v1*"),
    ],
)
def test_a_model_that_is_not_there_is_a_usage_error(project: pytest.Pytester, spec: str, words: str) -> None:
    put(project, "broken.gguf", "no GGUF")
    replay(project, TWICE)
    put(project, "broken.jsonl", (project.path / "answers.jsonl").read_text() + "{\n\n")
    result = (run if spec == "broken.gguf" else run_here)(project, f"--llmc-model={spec}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *--llmc-model*{words}"])
    assert_no_traceback(result)


BAD_VALUES = [
    ("samples", "0"),
    ("samples", "many"),
    ("jobs", "0"),
    ("pass-k", "0"),
    ("pass-k", "1,"),
    ("pass-k", "2"),
    ("fail-under", "0.8"),
    ("fail-under", "pass@1"),
    ("fail-under", "pass@0=0.5"),
    ("fail-under", "pass@1=80"),
    ("fail-under", "pass@1=0.5,"),
    ("fail-under", "pass@2=0.5"),
    ("fail-under", "speed@O3"),
    ("fail-under", "speed@O3=0"),
    ("fail-under", "speed@O9=1"),
    ("fail-under", "size@Oz=small"),
    ("export", "table.xls"),
    ("require", "most"),
    ("require", "0"),
    ("require", "1.5"),
    ("require", "nan"),
    ("seed", "x"),
    ("temperature", "-1"),
    ("temperature", "nan"),
    ("top-p", "0"),
    ("top-p", "2"),
    ("max-tokens", "0"),
    ("n-ctx", "-5"),
    ("gpu-layers", "all"),
    ("passes", "O0,,O1"),
    ("passes", ","),
    ("assembler", "gas"),
    ("examples", "0"),
    ("examples", "-1"),
    ("effort", "much"),
    ("effort", "-0.5"),
    ("effort", "inf"),
    ("effort", "nan"),
]


UNMET = (("pass-k", "2"), ("fail-under", "pass@2=0.5"))
"""Values that only don't go with the number of samples."""


@pytest.mark.parametrize(("name", "value"), BAD_VALUES)
def test_a_bad_value_names_its_flag(project: pytest.Pytester, name: str, value: str) -> None:
    result = run_here(project, "--llmc-model=reference", f"--llmc-{name}={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *--llmc-{name}*{value.removesuffix('=0.5')}*"])
    result.stderr.no_fnmatch_line("*invalid literal*")  # Python's own words for a text that is no number
    result.stderr.no_fnmatch_line("*could not convert*")
    assert_no_traceback(result)


@pytest.mark.parametrize(("name", "value"), [pair for pair in BAD_VALUES if pair not in UNMET])
def test_a_bad_value_names_its_ini_key(project: pytest.Pytester, name: str, value: str) -> None:
    key = f"llmc_{name.replace('-', '_')}"
    project.makeini(f"[pytest]\nllmc_cases = cases\nllmc_model = reference\n{key} = {value}\n")
    result = run_here(project)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{key}*"])


def test_flags_that_need_another_one(project: pytest.Pytester) -> None:
    for flag, other in (("--llmc-resume", "--llmc-record"), ("--llmc-update-baseline", "--llmc-baseline")):
        result = run_here(project, flag)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: {flag} needs {other} FILE"])


SETTINGS = """
from pytest_llmcompiler.options import read_settings

def pytest_collection_finish(session):
    settings = read_settings(session.config)
    for name in ("drafts", "cache", "resume", "update_baseline", "samples", "require", "top_p"):
        print(f"{name}={getattr(settings, name)!r}")
"""
SWITCHES = ["drafts", "resume", "update_baseline"]


def read_switches(project: pytest.Pytester, *args: str) -> dict[str, str]:
    """The settings of a session as the plugin reads them, in Python's notation."""
    project.makeconftest(SETTINGS)
    flags = ("--llmc-record=out.jsonl", "--llmc-baseline=new.jsonl", "--llmc-require=none")
    put(project, "new.jsonl", '{"schema": 1, "model": "m", "samples": 1}\n')
    result = run_here(project, "--collect-only", "-s", *flags, *args)
    assert result.ret == pytest.ExitCode.OK, text_of(result)
    return dict(re.findall(r"^(\w+)=(.*)$", text_of(result), re.MULTILINE))


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_is_turned_on_and_off_by_flags(project: pytest.Pytester, name: str) -> None:
    flag = name.replace("_", "-")
    assert read_switches(project, f"--llmc-{flag}")[name] == "True"
    assert read_switches(project, f"--no-llmc-{flag}")[name] == "False"
    assert read_switches(project, f"--no-llmc-{flag}", f"--llmc-{flag}")[name] == "True"
    assert read_switches(project)[name] == ("True" if name == "drafts" else "False")


@pytest.mark.parametrize(("value", "is_on"), [("on", True), ("off", False), ("true", True), ("0", False)])
def test_drafts_take_a_value_as_before(project: pytest.Pytester, value: str, is_on: bool) -> None:
    assert read_switches(project, f"--llmc-drafts={value}")["drafts"] == repr(is_on)
    assert read_switches(project, "--llmc-drafts", value)["drafts"] == repr(is_on)


@pytest.mark.parametrize(
    ("value", "is_on"), [("on", True), ("true", True), ("yes", True), ("1", True), ("off", False), ("False", False)]
)
def test_spellings_of_a_switch_in_an_ini_file(project: pytest.Pytester, value: str, is_on: bool) -> None:
    keys = "".join(f"llmc_{name} = {value}\n" for name in (*SWITCHES, "cache"))
    project.makeini(f"[pytest]\nllmc_cases = cases\n{keys}")
    settings = read_switches(project)
    assert [settings[name] for name in SWITCHES] == [repr(is_on)] * 3
    assert settings["cache"] == repr("on" if is_on else "off")
    flags = [f"--{'no-' if is_on else ''}llmc-{name.replace('_', '-')}" for name in SWITCHES]
    settings = read_switches(project, *flags, "--llmc-cache=refresh")
    assert [settings[name] for name in SWITCHES] == [repr(not is_on)] * 3
    assert settings["cache"] == "'refresh'"


def test_an_empty_switch_in_an_ini_file_is_not_set(project: pytest.Pytester) -> None:
    keys = "".join(f"llmc_{name} =\n" for name in (*SWITCHES, "cache"))
    project.makeini(f"[pytest]\nllmc_cases = cases\n{keys}")
    settings = read_switches(project)
    assert [settings[name] for name in (*SWITCHES, "cache")] == ["True", "False", "False", "'on'"]


@pytest.mark.skipif(pytest.version_tuple < (9, 2), reason="keys of several types are new in pytest 9.2")
@pytest.mark.parametrize(("value", "is_on"), [("on", True), ("off", False)])
def test_words_for_switches_in_the_typed_table(project: pytest.Pytester, value: str, is_on: bool) -> None:
    (project.path / "tox.ini").unlink()
    keys = "".join(f'llmc_{name} = "{value}"\n' for name in SWITCHES)
    project.makepyprojecttoml(f'[tool.pytest]\nllmc_cases = ["cases"]\n{keys}')
    settings = read_switches(project)
    assert [settings[name] for name in SWITCHES] == [repr(is_on)] * 3


@pytest.mark.parametrize("is_on", [True, False])
def test_booleans_of_toml(project: pytest.Pytester, is_on: bool) -> None:
    (project.path / "tox.ini").unlink()
    keys = "".join(f"llmc_{name} = {str(is_on).lower()}\n" for name in (*SWITCHES, "cache"))
    project.makepyprojecttoml(f'[tool.pytest.ini_options]\nllmc_cases = ["cases"]\n{keys}')
    settings = read_switches(project)
    assert [settings[name] for name in SWITCHES] == [repr(is_on)] * 3
    assert settings["cache"] == repr("on" if is_on else "off")


@pytest.mark.skipif(pytest.version_tuple < (9, 0), reason="the table [tool.pytest] is new in pytest 9")
def test_the_typed_table_of_pytest_9(project: pytest.Pytester) -> None:
    (project.path / "tox.ini").unlink()
    lines = ["[tool.pytest]", 'llmc_cases = ["cases"]', 'llmc_passes = ["O0", "O2"]', "llmc_drafts = false"]
    lines += ['llmc_cache = "refresh"', "llmc_resume = true"]
    project.makepyprojecttoml("\n".join(lines) + "\n")
    settings = read_switches(project)
    assert (settings["drafts"], settings["cache"], settings["resume"]) == ("False", "'refresh'", "True")
    project.makepyprojecttoml("\n".join([*lines, "llmc_update_baseline = 3"]) + "\n")
    result = run_here(project)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: ini key llmc_update_baseline: *expects *bool*"])


@pytest.mark.skipif(pytest.version_tuple < (9, 2), reason="keys of several types are new in pytest 9.2")
def test_numbers_and_booleans_of_the_typed_table(project: pytest.Pytester) -> None:
    (project.path / "tox.ini").unlink()
    lines = ["[tool.pytest]", 'llmc_cases = ["cases"]', "llmc_samples = 3", "llmc_top_p = 0.5", "llmc_cache = false"]
    project.makepyprojecttoml("\n".join(lines) + "\n")
    put(project, "new.jsonl", "")
    project.makeconftest(SETTINGS)
    settings = dict(re.findall(r"^(\w+)=(.*)$", text_of(run_here(project, "--collect-only", "-s")), re.MULTILINE))
    assert (settings["samples"], settings["top_p"], settings["cache"]) == ("3", "0.5", "'off'")


def test_a_bad_switch_names_its_key_or_flag(project: pytest.Pytester) -> None:
    result = run_here(project, "--llmc-drafts=maybe")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --llmc-drafts: can't use 'maybe': expected on or off"])
    for name in (*SWITCHES, "cache"):
        project.makeini(f"[pytest]\nllmc_{name} = maybe\n")
        result = run_here(project)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: ini key llmc_{name}: *maybe*"])
        assert_no_traceback(result)


def test_the_help_says_each_default_once(project: pytest.Pytester) -> None:
    for option in OPTIONS:
        assert "default" not in option.help
        assert option.full_help.count("(default: ") <= 1
    by_name = {option.name: option.full_help for option in OPTIONS}
    assert by_name["samples"].endswith("(default: 1)")
    assert by_name["require"].endswith("(default: any)")
    assert by_name["drafts"].endswith("(default: on)")
    assert by_name["pass_k"].endswith("(default: 1)")
    assert "default" not in by_name["resume"] + by_name["record"]


def test_a_baseline_or_a_table_that_leads_nowhere_is_a_usage_error(project: pytest.Pytester) -> None:
    put(project, "file", "")
    put(project, "b.jsonl", "<<<<<<< HEAD\n")
    for args, words in (
        (["--llmc-baseline=none.jsonl"], "--llmc-baseline: there is no none.jsonl yet: write it with *"),
        (["--llmc-baseline=b.jsonl"], "--llmc-baseline: b.jsonl:1: not JSON*"),
        (["--llmc-baseline=file/b.jsonl", "--llmc-update-baseline"], "--llmc-baseline: can't write file/b.jsonl: *"),
        (["--llmc-export=file/t.csv"], "--llmc-export: can't write file/t.csv: *"),
        (["--llmc-record=b.jsonl", "--llmc-resume"], "--llmc-resume: b.jsonl:1: not JSON*"),
    ):
        result = run_here(project, "--llmc-model=reference", *args)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: {words}"])
        assert_no_traceback(result)


def test_an_empty_value_is_a_bad_value(project: pytest.Pytester) -> None:
    result = run_here(project, "--llmc-samples=")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize("name", ["clang", "prompt", "record"])
def test_a_path_that_leads_nowhere_is_a_usage_error(project: pytest.Pytester, name: str) -> None:
    put(project, "file", "")
    result = run(project, "--llmc-model=reference", f"--llmc-{name}=file/nowhere")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *--llmc-{name}*file*"])
    assert_no_traceback(result)


def test_a_pass_list_that_the_reference_does_not_know(project: pytest.Pytester) -> None:
    result = run(project, "--llmc-model=reference", "--llmc-passes=O9", "-k", "twice")
    result.assert_outcomes(errors=1, deselected=1)
    result.stdout.fnmatch_lines(["*pass list 'O9': unknown pass name 'O9'*"])
    assert_no_traceback(result)


def test_ini_keys_are_flags_and_the_flag_wins(project: pytest.Pytester) -> None:
    replay(project, *[TWICE, WRONG, TWICE])
    project.makeini(
        "[pytest]\nllmc_cases = cases\nllmc_model = replay:answers.jsonl\nllmc_samples = 3\nllmc_pass_k = 1,3\n"
        "llmc_record = out.jsonl\nllmc_require = all\nllmc_assembler = llvm\nllmc_passes = O0\nllmc_prompt = meta\n"
    )
    result = run(project, "-k", "twice")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*pass@1*pass@3*"])
    run_records = records(project.path / "out.jsonl")
    assert [line["detail"]["assembler"] for line in run_records] == ["llvm"] * 3
    again = run(project, "-k", "twice", "--llmc-require=any", "--llmc-record=b.jsonl", "--llmc-assembler=keystone")
    again.assert_outcomes(passed=1, deselected=1)
    assert [line["detail"]["assembler"] for line in records(project.path / "b.jsonl")] == ["keystone"] * 3
    single = run(project, "-k", "twice", "--llmc-samples=1", "--llmc-pass-k=1")
    single.assert_outcomes(passed=1, deselected=1)


def test_a_list_of_toml_is_its_values_with_commas_between(project: pytest.Pytester) -> None:
    (project.path / "tox.ini").unlink()
    project.makepyprojecttoml(
        '[tool.pytest.ini_options]\nllmc_cases = ["cases"]\nllmc_model = "reference"\n'
        'llmc_passes = ["O0", "function(sroa,instcombine)"]\nllmc_task = ["asm", "ir"]\nllmc_samples = 2\n'
        "llmc_pass_k = [1, 2]\n"
    )
    result = run_here(project, "--collect-only", "-q", "-k", "twice")
    names = [line.partition("::")[2] for line in result.outlines if "::" in line]
    lists = ("O0", "function(sroa,instcombine)")
    assert names == [f"twice[{task}-{passes}]" for task in ("asm", "ir") for passes in lists]


def test_every_option_is_a_flag_and_an_ini_key(project: pytest.Pytester) -> None:
    text = text_of(run_here(project, "--help"))
    flags = set(re.findall(r"--llmc-([a-z-]+)", text))
    keys = {key.replace("_", "-") for key in re.findall(r"^ *llmc_(\w+)", text, re.MULTILINE)}
    assert keys == flags - {"compare"} | {"cases"}
    assert flags >= set(
        {
            *(
                "model",
                "samples",
                "pass-k",
                "require",
                "seed",
                "temperature",
                "top-p",
                "max-tokens",
                "n-ctx",
                "gpu-layers",
            )
        }
        | {"passes", "prompt", "assembler", "clang", "examples", "record", "resume", "export"}
        | {"baseline", "update-baseline", "fail-under"}
    )


TELLING = """
from pytest_llmcompiler import plugin

def pytest_sessionstart(session):
    settings = session.config.stash[plugin.EVALUATION].session.settings
    print("seed", settings.seed, "and examples", settings.examples)
"""
FEW = """
from hypothesis import settings
settings.register_profile("few", max_examples=7)
"""


@pytest.mark.parametrize(
    ("conftest", "args", "seed", "examples"),
    [
        ("", [], "1", "100"),
        ("", ["--hypothesis-seed=77"], "77", "100"),
        ("", ["--hypothesis-seed=0"], "0", "100"),
        ("", ["--hypothesis-seed=77", "--llmc-seed=5"], "5", "100"),
        ("", ["--hypothesis-seed=77", "-o", "llmc_seed=6"], "6", "100"),
        ("", ["--hypothesis-seed=a word"], "1360984149", "100"),
        ("", ["-p", "no:hypothesispytest"], "1", "100"),
        (FEW, [], "1", "100"),
        (FEW, ["--hypothesis-profile=few"], "1", "7"),
        (FEW, ["--hypothesis-profile=few", "--llmc-examples=9"], "1", "9"),
        (FEW + 'settings.load_profile("few")\n', [], "1", "7"),
        (FEW + 'settings.load_profile("few")\n', ["--hypothesis-profile=default"], "1", "100"),
    ],
)
def test_seed_and_examples_are_those_of_hypothesis_where_nothing_else_is_said(
    project: pytest.Pytester, conftest: str, args: list[str], seed: str, examples: str
) -> None:
    put(project, "telling.py", TELLING)
    project.makeconftest(conftest)
    result = project.runpytest_subprocess("-p", "telling", "-p", "no:xdist", "--collect-only", "-s", *args)
    result.stdout.fnmatch_lines([f"*seed {seed} and examples {examples}"])


def test_the_profile_of_hypothesis_says_how_many_inputs_there_are(project: pytest.Pytester) -> None:
    project.makeconftest(FEW)
    model = replay(project, TWICE)
    options = {"profile": "--hypothesis-profile=few", "same": "--llmc-examples=7", "seed": "--hypothesis-seed=3"}
    run_records = {}
    for name, option in options.items():
        record = f"--llmc-record={name}.jsonl"
        result = project.runpytest_subprocess(model, record, option, "-k", "twice", "-p", "no:xdist")
        result.assert_outcomes(passed=1, deselected=1)
        [run_records[name]] = records(project.path / f"{name}.jsonl")
    assert run_records["profile"]["detail"] == run_records["same"]["detail"]
    assert run_records["profile"]["detail"]["inputs"] < run_records["seed"]["detail"]["inputs"]

"""Prompt templates: rendering, and errors in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmcompiler import errors
from pytest_llmcompiler.errors import TemplateError
from pytest_llmcompiler.model.answer import TASKS
from pytest_llmcompiler.model.prompt import FIELDS, Template

VALUES: dict[str, str | int] = {
    "asm": "f:\n\tretq\n",
    "ir": "define void @f() {\n  ret void\n}",
    "ir_count": 1,
    "bin_size": 20,
    "passes": "O0",
    "function": "f",
    "c": "void f(void) {}",
    "short_ir": "define void @f() {\nret void\n}\n",
}


def write(folder: Path, text: str) -> str:
    file = folder / "mine.txt"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_the_shipped_templates_are_the_prompts_of_the_models_training() -> None:
    compile_prompt = (
        "[INST] Give the {} for the following code when optimized using opt -p 'O0':\n\n"
        "<code>define void @f() {{\n  ret void\n}}</code>\n\n"
        "The input code has instruction count 1 and binary size 20 bytes. [/INST]"
    )
    assert {task: Template.load("meta", task).render(VALUES) for task in TASKS} == {
        "asm": compile_prompt.format("assembly"),
        "ir": compile_prompt.format("LLVM-IR"),
        "tune": (
            "[INST] Tell me how to optimize this LLVM-IR for object file size:\n\n"
            "<code>define void @f() {\n  ret void\n}</code> [/INST]"
        ),
        "disassemble": "[INST] Disassemble this code to LLVM-IR:\n\n<code>f:\n\tretq\n</code> [/INST]",
    }


@settings(deadline=None)
@given(st.text())
def test_values_are_inserted_unchanged(ir: str) -> None:
    assert Template("t", "a {{x}} {ir}|{passes}").render({"ir": ir, "passes": "{ir}"}) == f"a {{x}} {ir}|{{ir}}"


def test_every_documented_field_can_be_used(tmp_path: Path) -> None:
    fields = {
        "asm": FIELDS.keys() - {"asm"},
        "ir": FIELDS.keys() - {"asm", "short_ir"},
        "tune": FIELDS.keys() - {"asm", "passes", "short_ir"},
        "disassemble": {"asm", "passes", "function"},
    }
    assert set.union(*map(set, fields.values())) == set(FIELDS)
    for task in TASKS:
        template = Template.load(
            write(tmp_path, " ".join(f"{{{name}}}" for name in FIELDS if name in fields[task])), task
        )
        assert template.render(VALUES) == " ".join(str(VALUES[name]) for name in FIELDS if name in fields[task])
        assert template.name == str(tmp_path / "mine.txt")
        for name in FIELDS.keys() - fields[task]:
            code = "asm" if task == "disassemble" else "ir"
            with pytest.raises(TemplateError, match=rf"mine\.txt: \{{{name}\}} is no field of the task {task}"):
                Template.load(write(tmp_path, f"{{{code}}} {{{name}}}"), task)


def test_one_newline_at_the_end_of_a_file_is_removed(tmp_path: Path) -> None:
    assert Template.load(write(tmp_path, "{ir}\n\n")).text == "{ir}\n"


def test_a_field_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="ir_count"):
        Template.load("meta").render({"ir": "", "passes": "", "bin_size": 1})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one\n{ir}\n{irr}", r"mine\.txt:3: unknown field \{irr\}; known are \{ir\}, \{asm\}, \{ir_count\}"),
        ("{ir} {", r"mine\.txt:1: a single '\{'.*a literal brace is written twice"),
        ("\n}{ir}", r"mine\.txt:2: a single '\}'"),
        ("Write {function} in assembly", r"mine\.txt: .*it has no \{ir\} or \{c\} or \{short_ir\}"),
    ],
)
def test_an_invalid_template_is_an_error_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        Template.load(write(tmp_path, text))


def test_an_unknown_name_is_an_error_that_lists_the_shipped_names() -> None:
    with pytest.raises(TemplateError, match=r"no prompt template 'mata': not a shipped one \(meta, "):
        Template.load("mata")


def test_a_binary_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bin.txt").write_bytes(b"\xff\xfe{ir}")
    with pytest.raises(TemplateError, match="not a readable text file"):
        Template.load(str(tmp_path / "bin.txt"))


def test_names_of_version_0_1_warn() -> None:
    from pytest_llmcompiler.model import answer

    for old, new in (("ModelError", errors.ModelError), ("PromptTooLong", errors.PromptTooLongError)):
        with pytest.warns(DeprecationWarning, match=f"is now pytest_llmcompiler.errors.{new.__name__}"):
            assert getattr(answer, old) is new
    prompt = answer.Prompt(
        case="a.c",
        function="f",
        task="asm",
        passes="O0",
        template="meta",
        text="",
        reference=str,
        task_label="asm@aarch64-linux",
        symbol_names={"a": "f"},
    )
    with pytest.warns(DeprecationWarning, match="task_label"):
        assert prompt.asked == "asm@aarch64-linux"
    with pytest.warns(DeprecationWarning, match="symbol_names"):
        assert prompt.names == {"a": "f"}

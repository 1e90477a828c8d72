"""Verdicts on answers to the tasks beside `asm`, which are IR or pass lists, and the facts that are measured."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from faces import Compile
from sources import TWICE_C, TWICE_IR

from pytest_llmcompiler import check
from pytest_llmcompiler.judge.api import judge_answer
from pytest_llmcompiler.judge.client import JudgeClient
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.model.replay import read_answer
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.report.measures import measure_lines
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets import list_target_names as targets

TESTS = Path(__file__).parents[1]
FAULTS = [json.loads(line) for line in (TESTS / "faults" / "tasks.jsonl").read_text().splitlines()]
SCHEMA = json.loads(files("pytest_llmcompiler.report").joinpath("record.schema.json").read_text())


def format_id(record: dict[str, Any]) -> str:
    return f"{record['task']}-{record['sample']}-{record['expect']}"


# -- verdicts


def verdict_on(judge: JudgeClient, record: dict[str, Any]) -> Verdict:
    case = read_case(TESTS.parent / "cases" / record["case"])
    return judge_answer(
        judge, case, record["function"], read_answer(record), task=record["task"], passes=record["passes"]
    )


@pytest.mark.parametrize("record", FAULTS, ids=format_id)
def test_recorded_faults(judge: JudgeClient, record: dict[str, Any]) -> None:
    verdict = verdict_on(judge, record)
    assert verdict.kind == record["expect"], f"{record['fault']}\n{verdict}"
    assert record["says"] in str(verdict)
    assert "root:" not in str(verdict) + json.dumps(verdict.detail)  # no file of the host was read


def fault(task: str, sample: int) -> dict[str, Any]:
    """The recorded answer to a task, by the number of its sample."""
    return next(record for record in FAULTS if record["task"] == task and record["sample"] == sample)


def test_ir_is_compared_with_opt_s_own(judge: JudgeClient) -> None:
    right = verdict_on(judge, fault("ir", 0)).detail
    sizes = {"instructions": 14, "size": 112, "opt_instructions": 14, "opt_size": 112}
    assert right["ir"] == {"exact": False, "canonical": True, **sizes}
    assert right["promised"] == {"instructions": {"said": 14, "is": 14}, "size": {"said": 112, "is": 112}}
    wrong = verdict_on(judge, fault("ir", 1)).detail
    assert wrong["ir"] == {"exact": False, "canonical": False, **sizes}


def test_a_pass_list_is_compared_with_oz(judge: JudgeClient) -> None:
    smaller, larger = (verdict_on(judge, fault("tune", sample)) for sample in (0, 2))
    assert smaller.detail["tune"]["passes"].startswith("function(sroa,loop(loop-rotate),")
    assert smaller.detail["tune"]["size"] < smaller.detail["tune"]["oz"] < larger.detail["tune"]["size"]
    assert smaller.detail["tune"]["improvement"] > 0 > larger.detail["tune"]["improvement"]
    claims = smaller.detail["promised"]
    assert claims["instructions"]["said"] == 17 != claims["instructions"]["is"]
    assert claims["size"]["said"] == claims["size"]["is"] == smaller.detail["tune"]["size"]
    lines = measure_lines({"task": "tune", **verdict.to_json()} for verdict in (smaller, larger))
    assert lines[0].startswith("tune: 2 of 2 pass lists keep the behaviour; their binary size is ")
    assert lines[0].endswith("smaller for 50.0, equal for 0.0, larger for 50.0 percent of them")
    assert lines[1:] == [
        "claimed sizes: answers are right about the instruction count for 0 of 1, about the binary size for 1 of 2"
    ]


def test_lifted_ir_is_lowered_and_compared_with_the_prompt(judge: JudgeClient) -> None:
    right, wrong, unlike = (verdict_on(judge, fault("disassemble", sample)).detail for sample in (0, 1, 2))
    assert right["round_trip"] == {"exact": True, "bleu": 100.0}
    assert not wrong["round_trip"]["exact"] and not unlike["round_trip"]["exact"]
    assert 100 > wrong["round_trip"]["bleu"] > unlike["round_trip"]["bleu"] > 0
    assert right["ir"]["exact"] and not wrong["ir"]["canonical"]


def test_lines_are_of_the_assembly_that_was_judged(judge: JudgeClient) -> None:
    record = fault("disassemble", 1)
    verdict = verdict_on(judge, record)
    [parts] = [words for words in verdict.evidence if words.startswith("  diverges")]
    number, text = re.match(r"  diverges  line (\d+): ([^;]+); ", parts).groups()  # type: ignore[union-attr]
    line = verdict.detail["lowered"].split("\n")[int(number) - 1]
    assert " ".join(line.split("#")[0].split()) == text
    assert verdict.evidence[-2] == "  lines     are those of the assembly that LLVM makes of the answer"
    origin = re.fullmatch(
        r"  origin    line (\d+) of the answer: (%\d+ = load i32, ptr %7, align 4)", verdict.evidence[-1]
    )
    assert origin and int(origin[1]) == verdict.detail["origin"]
    assert record["answer"].split("\n")[int(origin[1]) - 1].strip() == origin[2]


def test_a_value_with_the_word_line_in_it_names_no_line() -> None:
    source = 'const char *pick(int x) { return x ? "one line more" : "no line at all"; }\n'
    text = "define ptr @pick(i32 %x) {\n  ret ptr null\n}\n"
    verdict = check(source, "pick", text, task="ir", examples=20, explain=False)
    assert verdict.kind == "mismatch" and " line " in verdict.message
    assert not [evidence for evidence in verdict.evidence if evidence.startswith("  lines ")]


@pytest.mark.parametrize(
    ("attribute", "body", "kind"),
    [
        ("", "  %y = shl i32 %x, 1\n  ret i32 %y", "pass"),
        ("", "  %y = call i32 asm \"leal (%rdi,%rdi), $0\", \"=r,{di}\"(i32 %x)\n  ret i32 %y", "assemble"),
        ("", "  %t = load i32, ptr @t\n  %y = shl i32 %x, 1\n  %z = add i32 %y, %t\n  ret i32 %z", "pass"),
        ("", "  %v = insertelement <32 x i32> zeroinitializer, i32 %x, i64 9\n  %w = add <32 x i32> %v, %v\n"
             "  %y = extractelement <32 x i32> %w, i64 9\n  ret i32 %y", "pass"),
        ('"target-features"="+avx2"', "  %v = insertelement <8 x i32> zeroinitializer, i32 %x, i64 5\n"
         "  %i = and i32 %x, 7\n  %w = add <8 x i32> %v, %v\n  %u = mul <8 x i32> %w, %w\n  store volatile <8 x i32> %u, ptr @v\n"
         "  %y = extractelement <8 x i32> %w, i64 5\n  ret i32 %y", "pass"),
        ("", "  %y = call i32 @llvm.sshl.sat.i32(i32 %x, i32 1)\n  ret i32 %y", "mismatch"),
        ("", "  unreachable", "link"),
        ("", "  br label %again\nagain:\n  br label %again", "hang"),
    ],
    ids=["plain", "inline assembly", "thread-local", "wide vectors", "AVX", "intrinsic", "unreachable", "endless"],
)  # fmt: skip
def test_ir_answers(attribute: str, body: str, kind: str) -> None:
    text = (
        f"{'@t = internal thread_local global i32 0' if '@t' in body else ''}\n@v = internal global <8 x i32> zeroinitializer\n"
        f"declare i32 @llvm.sshl.sat.i32(i32, i32)\ndefine i32 @twice(i32 %x) {attribute} {{\n{body}\n}}\n"
    )
    verdict = check(TWICE_C, "twice", text, task="ir", examples=20)
    assert verdict.kind == kind, verdict


@pytest.mark.parametrize(
    "text",
    [
        'module asm ".globl twice"\nmodule asm "twice: leal (%rdi,%rdi), %eax"\nmodule asm "retq"\n',
        'define i32 @twice(i32 %x) naked {\n  call void asm sideeffect "leal (%rdi,%rdi), %eax; retq", ""()\n  unreachable\n}\n',
        'define i32 @twice(i32 %x) {\n  %"a b" = call i32 asm "leal (%rdi,%rdi), $0", "=r,{di}"(i32 %x)\n  ret i32 %"a b"\n}\n',
    ],
)
def test_assembly_is_no_answer_to_a_question_for_ir(text: str) -> None:
    for task in ("ir", "disassemble"):
        verdict = check(TWICE_C, "twice", text, task=task, examples=20)  # type: ignore[arg-type]
        assert verdict.kind == "assemble" and verdict.message.startswith("it holds assembly"), verdict


@pytest.mark.parametrize(
    "line", ['@"\\FF" = global i32 0\n', '@s = global i32 0, section "\\FF"\n'], ids=["name", "section"]
)
def test_names_that_are_no_utf_8(line: str) -> None:
    assert check(TWICE_C, "twice", line + TWICE_IR, task="ir", examples=20).kind in ("assemble", "pass")


def test_claimed_sizes_of_code_that_is_not_supported() -> None:
    text = (
        'instruction count 29 and binary sise 129 bytes:\n<code>twice:\n\tretq\n\t.section .tbss,"awT",@nobits\n</code>'
    )
    assert check(TWICE_C, "twice", text, examples=20).kind in ("inconclusive", "mismatch")


def test_a_prompt_s_pass_list_that_llvm_does_not_know_costs_no_verdict() -> None:
    verdict = check(TWICE_C, "twice", TWICE_IR, task="ir", passes="nonsense", examples=20)
    assert verdict.passed and verdict.detail["ir"] == {"instructions": 2, "size": verdict.detail["ir"]["size"]}


def test_a_function_of_another_name() -> None:
    verdict = check(TWICE_C, "twice", TWICE_IR.replace("@twice", "@double"), task="ir", examples=20)
    assert (verdict.kind, "'twice'" in verdict.message and "double" in verdict.message) == ("link", True), verdict


def test_claimed_sizes_of_assembly() -> None:
    """The claimed instruction count is one of IR, as in the prompt."""
    answer = "The assembly will have instruction count 2 and binary sise {} bytes:\n\n<code>twice:\n{}\tret\n</code>"
    for size, text in ((4, "\tleal\t(%rdi,%rdi), %eax\n"), (4, "\t.intel_syntax noprefix\n\tlea eax, [rdi + rdi]\n")):
        claims = check(TWICE_C, "twice", answer.format(size, text), passes="O2", examples=20).detail["promised"]
        assert claims == {"instructions": {"said": 2, "is": 2}, "size": {"said": 4, "is": 4}}
    private = check(TWICE_C, "twice", answer.format(7, "\tmovl\t.L.str(%rip), %eax\n"), examples=20)
    assert private.kind == "link" and private.detail["promised"]["size"] == {"said": 7, "is": 7}
    wrong = check(TWICE_C, "twice", answer.format(7, "\tmovl\t%edi, %eax\n"), passes="O2", examples=20)
    assert wrong.kind == "mismatch" and wrong.detail["promised"]["size"] == {"said": 7, "is": 3}
    hostile = check(TWICE_C, "twice", answer.format(7, '\t.incbin "/etc/passwd"\n'), examples=20)
    assert hostile.kind == "assemble" and hostile.detail["promised"]["size"]["is"] is None


CLAIM = "The assembly will have instruction count 2 and binary size 8 bytes:\n\n<code>{}</code>"


@pytest.mark.parametrize(
    ("target", "code", "size"),
    [
        ("aarch64-linux", "twice:\n\tlsl\tw0, w0, #1 // doubled\n\tret\n", 8),
        ("x86_64-windows", "twice:\n\tleal\t(%rcx,%rcx), %eax\n\tretq\n", 4),
        (
            "x86_64-windows",
            "_TEXT SEGMENT\ntwice PROC\n\tlea eax, [rcx+rcx]\n\tret 0\ntwice ENDP\n_TEXT ENDS\nEND\n",
            6,
        ),
    ],
    ids=["AArch64", "Windows", "listing"],
)
def test_claimed_sizes_on_other_targets(target: str, code: str, size: int) -> None:
    verdict = check(TWICE_C, "twice", CLAIM.format(code), passes="O2", examples=20, target=target)
    assert verdict.passed, verdict
    assert verdict.detail["promised"] == {"instructions": {"said": 2, "is": 2}, "size": {"said": 8, "is": size}}


@pytest.mark.parametrize("target", targets())
def test_wrong_ir_is_traced_back_on_every_target(target: str) -> None:
    source = "void set(int *p, int x) { p[0] = x; p[1] = x; }\n"
    lines = (
        f'target triple = "{get_target(target).triple}"',
        "define void @set(ptr %p, i32 %x) {",
        "  store i32 %x, ptr %p, align 4",
        "  %q = getelementptr i32, ptr %p, i64 1",
        "  %y = xor i32 %x, 1",
        "  store i32 %y, ptr %q, align 4",
        "  ret void",
        "}",
    )
    verdict = check(source, "set", "\n".join(lines), task="ir", examples=20, target=target)
    assert verdict.kind == "mismatch", verdict
    assert "%y" in lines[verdict.detail["origin"] - 1], verdict


def test_a_case_with_assembly_for_a_processor_without_llvmlite_assembler(compiled: Compile) -> None:
    source = '#include <string.h>\nint f(int x) { __asm__ volatile("nop"); return (int)(1u + (unsigned)x); }\n'
    right = CLAIM.format("f:\n\tnop\n\tadd\tw0, w0, #1\n\tret\n")
    verdict = check(source, "f", right, passes="O2", examples=20, target="aarch64-linux")
    assert verdict.passed and verdict.detail["promised"]["size"] == {"said": 8, "is": 12}
    for task in ("ir", "disassemble"):
        verdict = check(source, "f", TWICE_IR.replace("twice", "f"), task=task, examples=20, target="aarch64-linux")  # type: ignore[arg-type]
        assert verdict.kind == "inconclusive" and "assembly" in verdict.message
    assert "nop" in compiled(source, target="aarch64-linux").texts.lowered_assembly("f", "Oz")


@pytest.mark.parametrize(
    ("target", "yes", "no"),
    [
        (
            "x86_64-linux",
            "x86_64 x86_64-linux-gnu x86_64-pc-linux-musl x86_64-redhat-linux-gnu amd64-unknown-linux x86_64-unknown-none",
            "i386-linux-gnu x86_64-unknown-linux-gnux32 x86_64-w64-windows-gnu aarch64-linux-gnu x86_64-apple-darwin",
        ),
        (
            "aarch64-linux",
            "aarch64 arm64-linux-gnu aarch64-unknown-linux-gnu aarch64-alpine-linux-musl",
            "aarch64-unknown-linux-gnu_ilp32 aarch64_be-linux-gnu x86_64-linux-gnu arm64-apple-ios",
        ),
        (
            "x86_64-windows",
            "x86_64 x86_64-w64-windows-gnu x86_64-pc-windows-msvc x86_64-pc-windows-msvc19.44.0 x86_64-w64-mingw32",
            "x86_64-linux-gnu aarch64-pc-windows-msvc i686-pc-windows-msvc",
        ),
    ],
)
def test_triples_that_mean_a_target(target: str, yes: str, no: str) -> None:
    known = get_target(target).accepted_triples
    assert [triple for triple in ("", *yes.split()) if not known.fullmatch(triple)] == []
    assert [triple for triple in no.split() if known.fullmatch(triple)] == []


def test_debug_information_of_windows_is_no_code() -> None:
    described = (
        TWICE_IR.replace("%x) {", "%x) !dbg !3 {").replace(", 1\n", ", 1, !dbg !5\n").replace("%y\n", "%y, !dbg !5\n")
    )
    facts = """!llvm.module.flags = !{!0, !1}
!llvm.dbg.cu = !{!2}
!0 = !{i32 2, !"CodeView", i32 1}
!1 = !{i32 2, !"Debug Info Version", i32 3}
!2 = distinct !DICompileUnit(language: DW_LANG_C99, file: !4, emissionKind: FullDebug)
!3 = distinct !DISubprogram(name: "twice", scope: !4, file: !4, line: 1, type: !6, unit: !2, spFlags: DISPFlagDefinition)
!4 = !DIFile(filename: "a.c", directory: "")
!5 = !DILocation(line: 2, scope: !3)
!6 = !DISubroutineType(types: !{null})
"""
    verdict = check(TWICE_C, "twice", described + facts, task="ir", examples=20, target="x86_64-windows")
    assert verdict.passed, verdict

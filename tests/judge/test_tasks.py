"""The tasks beside `asm`: verdicts on answers that are IR or pass lists, and the facts that are measured of them."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from faces import ZIG_CACHE, Compile

from pytest_llmcompiler import check
from pytest_llmcompiler.errors import (
    CaseError,
    LoweringError,
    NoCodeError,
    OptimiserError,
    PassListError,
    TruncatedError,
)
from pytest_llmcompiler.judge.api import judge_answer
from pytest_llmcompiler.judge.service import Judge
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.lowering.canonical import strip_assembly, strip_ir
from pytest_llmcompiler.lowering.line_map import map_assembly_lines
from pytest_llmcompiler.lowering.lower import lower_module
from pytest_llmcompiler.model.answer import Answer, StopReason
from pytest_llmcompiler.model.extract.blocks import ExtractedCode
from pytest_llmcompiler.model.extract.claims import find_claimed_sizes
from pytest_llmcompiler.model.extract.ir import extract_ir
from pytest_llmcompiler.model.extract.passes import extract_passes
from pytest_llmcompiler.model.replay import read_answer
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.ir import count_instructions, parse
from pytest_llmcompiler.program.optimiser import optimise, print_optimised
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.report.measures import measure_lines
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets import list_target_names as targets

TESTS = Path(__file__).parents[1]
FAULTS = [json.loads(line) for line in (TESTS / "faults" / "tasks.jsonl").read_text().splitlines()]
SCHEMA = json.loads(files("pytest_llmcompiler.report").joinpath("record.schema.json").read_text())
SOURCE = "int twice(int x) { return (int)(2u * (unsigned)x); }\n"
IR = "define i32 @twice(i32 %x) {\n  %y = shl i32 %x, 1\n  ret i32 %y\n}\n"


@pytest.fixture(scope="module")
def lfs() -> Reference:
    return Reference(read_case(TESTS.parent / "cases" / "git_lfs.c"), Toolchain())


def format_id(record: dict[str, Any]) -> str:
    return f"{record['task']}-{record['sample']}-{record['expect']}"


# -- verdicts


def verdict_on(judge: Judge, record: dict[str, Any]) -> Verdict:
    case = read_case(TESTS.parent / "cases" / record["case"])
    return judge_answer(
        judge, case, record["function"], read_answer(record), task=record["task"], passes=record["passes"]
    )


@pytest.mark.parametrize("record", FAULTS, ids=format_id)
def test_recorded_faults(judge: Judge, record: dict[str, Any]) -> None:
    verdict = verdict_on(judge, record)
    assert verdict.kind == record["expect"], f"{record['fault']}\n{verdict}"
    assert record["says"] in str(verdict)
    assert "root:" not in str(verdict) + json.dumps(verdict.detail)  # no file of the host was read


def fault(task: str, sample: int) -> dict[str, Any]:
    """The recorded answer to a task, by the number of its sample."""
    return next(record for record in FAULTS if record["task"] == task and record["sample"] == sample)


def test_ir_is_compared_with_opt_s_own(judge: Judge) -> None:
    right = verdict_on(judge, fault("ir", 0)).detail
    sizes = {"instructions": 14, "size": 112, "opt_instructions": 14, "opt_size": 112}
    assert right["ir"] == {"exact": False, "canonical": True, **sizes}
    assert right["promised"] == {"instructions": {"said": 14, "is": 14}, "size": {"said": 112, "is": 112}}
    wrong = verdict_on(judge, fault("ir", 1)).detail
    assert wrong["ir"] == {"exact": False, "canonical": False, **sizes}


def test_a_pass_list_is_compared_with_oz(judge: Judge) -> None:
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


def test_lifted_ir_is_lowered_and_compared_with_the_prompt(judge: Judge) -> None:
    right, wrong, unlike = (verdict_on(judge, fault("disassemble", sample)).detail for sample in (0, 1, 2))
    assert right["round_trip"] == {"exact": True, "bleu": 100.0}
    assert not wrong["round_trip"]["exact"] and not unlike["round_trip"]["exact"]
    assert 100 > wrong["round_trip"]["bleu"] > unlike["round_trip"]["bleu"] > 0
    assert right["ir"]["exact"] and not wrong["ir"]["canonical"]


def test_lines_are_of_the_assembly_that_was_judged(judge: Judge) -> None:
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


@pytest.mark.parametrize("passes", ["O0", "Oz"])
def test_most_lines_of_assembly_have_an_origin(lfs: Reference, passes: str) -> None:
    for function in lfs.functions:
        text, assembly = lfs.texts.optimised_ir(function, passes), lfs.texts.lowered_assembly(function, passes)
        origins = map_assembly_lines(text, passes, assembly, get_target())
        lines, written = text.split("\n"), assembly.split("\n")
        assert len(origins) > 0.7 * len(re.findall(r"^\t[a-z]", assembly, re.M))
        returns = [origin for number, origin in origins.items() if written[number - 1].startswith("\tretq")]
        assert returns and all(lines[origin - 1].startswith("  ret ") for origin in returns)


def test_ir_with_debug_information_has_no_origins() -> None:
    assembly = lower_module(IR, None, get_target()).assembly
    assert set(map_assembly_lines(IR, None, assembly, get_target()).values()) == {2, 3}
    assert map_assembly_lines(IR.replace(", 1", ", 1, !dbg !1"), None, assembly, get_target()) == {}
    assert map_assembly_lines(IR.replace("shl", "lshr"), None, assembly, get_target()) == {}


@pytest.mark.parametrize(
    ("attribute", "body", "kind"),
    [
        ("", "  %y = shl i32 %x, 1\n  ret i32 %y", "pass"),
        ("", "  %y = call i32 asm \"leal (%rdi,%rdi), $0\", \"=r,{di}\"(i32 %x)\n  ret i32 %y", "assemble"),
        ("", "  %t = load i32, ptr @t\n  %y = shl i32 %x, 1\n  %z = add i32 %y, %t\n  ret i32 %z", "inconclusive"),
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
    verdict = check(SOURCE, "twice", text, task="ir", examples=20)
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
        verdict = check(SOURCE, "twice", text, task=task, examples=20)  # type: ignore[arg-type]
        assert verdict.kind == "assemble" and verdict.message.startswith("it holds assembly"), verdict


@pytest.mark.parametrize(
    "line", ['@"\\FF" = global i32 0\n', '@s = global i32 0, section "\\FF"\n'], ids=["name", "section"]
)
def test_names_that_are_no_utf_8(line: str) -> None:
    assert check(SOURCE, "twice", line + IR, task="ir", examples=20).kind in ("assemble", "pass")


def test_claimed_sizes_of_code_that_is_not_supported() -> None:
    text = (
        'instruction count 29 and binary sise 129 bytes:\n<code>twice:\n\tretq\n\t.section .tbss,"awT",@nobits\n</code>'
    )
    assert check(SOURCE, "twice", text, examples=20).kind in ("inconclusive", "mismatch")


def test_an_answer_with_many_faults_or_blanks_takes_no_long_time() -> None:
    assert strip_ir(" " * 300_000 + "x") == " " * 300_000 + "x"
    faults = "".join(f"  %a{n} = add i32 %b{n}, 1\n  %b{n} = add i32 %a{n}, 1\n" for n in range(5_000))
    with pytest.raises(LoweringError):
        lower_module(f"define void @f() {{\n{faults}  ret void\n}}\n", None, get_target())


def test_a_prompt_s_pass_list_that_llvm_does_not_know_costs_no_verdict() -> None:
    verdict = check(SOURCE, "twice", IR, task="ir", passes="nonsense", examples=20)
    assert verdict.passed and verdict.detail["ir"] == {"instructions": 2, "size": verdict.detail["ir"]["size"]}


def test_a_function_of_another_name() -> None:
    verdict = check(SOURCE, "twice", IR.replace("@twice", "@double"), task="ir", examples=20)
    assert (verdict.kind, "'twice'" in verdict.message and "double" in verdict.message) == ("link", True), verdict


def test_claimed_sizes_of_assembly() -> None:
    """The claimed instruction count is one of IR, as in the prompt."""
    answer = "The assembly will have instruction count 2 and binary sise {} bytes:\n\n<code>twice:\n{}\tret\n</code>"
    for size, text in ((4, "\tleal\t(%rdi,%rdi), %eax\n"), (4, "\t.intel_syntax noprefix\n\tlea eax, [rdi + rdi]\n")):
        claims = check(SOURCE, "twice", answer.format(size, text), passes="O2", examples=20).detail["promised"]
        assert claims == {"instructions": {"said": 2, "is": 2}, "size": {"said": 4, "is": 4}}
    private = check(SOURCE, "twice", answer.format(7, "\tmovl\t.L.str(%rip), %eax\n"), examples=20)
    assert private.kind == "link" and private.detail["promised"]["size"] == {"said": 7, "is": 7}
    wrong = check(SOURCE, "twice", answer.format(7, "\tmovl\t%edi, %eax\n"), passes="O2", examples=20)
    assert wrong.kind == "mismatch" and wrong.detail["promised"]["size"] == {"said": 7, "is": 3}
    hostile = check(SOURCE, "twice", answer.format(7, '\t.incbin "/etc/passwd"\n'), examples=20)
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
    verdict = check(SOURCE, "twice", CLAIM.format(code), passes="O2", examples=20, target=target)
    assert verdict.passed, verdict
    assert verdict.detail["promised"] == {"instructions": {"said": 2, "is": 2}, "size": {"said": 8, "is": size}}


def test_claimed_sizes_of_a_listing_that_is_not_supported() -> None:
    code = "_TEXT SEGMENT\ntwice PROC\n\tlea rax, OFFSET FLAT:__ImageBase\n\tret 0\ntwice ENDP\n_TEXT ENDS\nEND\n"
    verdict = check(SOURCE, "twice", CLAIM.format(code), examples=20, target="x86_64-windows")
    assert verdict.kind == "inconclusive" and verdict.detail["promised"]["size"]["is"] is None


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
        verdict = check(source, "f", IR.replace("twice", "f"), task=task, examples=20, target="aarch64-linux")  # type: ignore[arg-type]
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
    described = IR.replace("%x) {", "%x) !dbg !3 {").replace(", 1\n", ", 1, !dbg !5\n").replace("%y\n", "%y, !dbg !5\n")
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
    verdict = check(SOURCE, "twice", described + facts, task="ir", examples=20, target="x86_64-windows")
    assert verdict.passed, verdict


# -- extraction of code from answers

PROSE = "Sure! Here you are; the loop is gone:\n\n"


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        pytest.param(IR, 1, id="bare"),
        pytest.param(PROSE + IR + "\nThis is half as long.\n", 3, id="bare, in prose"),
        pytest.param(f"<code>{IR}</code>", 1, id="tags"),
        pytest.param(f"{PROSE}<code>\n{IR}", 4, id="a tag that was not closed"),
        pytest.param(f"{IR}</code>", 1, id="the prompt opened the tag"),
        pytest.param(f"{PROSE}```llvm\n{IR}```\nIt works.", 4, id="fence"),
        pytest.param(f"<code>```\n{IR}```</code>", 2, id="fence in tags"),
        pytest.param(f"<code>opt -p 'sroa'</code>\n<code>{IR}</code>", 2, id="the second block defines it"),
        pytest.param(PROSE.replace("\n", "\r\n") + IR.replace("\n", "\r\n"), 3, id="lines end as on Windows"),
    ],
)
def test_ir_in_answers(answer: str, line: int) -> None:
    code = extract_ir(Answer(answer), "twice")
    assert (code.text, code.first_line) == (IR, line)


def test_ir_with_declarations_attributes_and_metadata() -> None:
    whole = (
        '; ModuleID = \'<stdin>\'\nsource_filename = "a.c"\ntarget triple = "x86_64-pc-linux-gnu"\n\n%s = type { i32 }\n'
        '@g = external global %s\n\n; Function Attrs: nounwind\ndefine i32 @"twice"(i32 %x) #0 {\nentry:\n\n'
        "  switch i32 %x, label %a [\n    i32 1, label %a\n  ]\n\na:\n  ret i32 0, !tbaa !3\n}\n\n"
        'declare i32 @other(ptr) #1\n\nattributes #0 = { nounwind }\n\n!llvm.ident = !{!0}\n!0 = !{!"clang"}\n'
    )
    assert extract_ir(Answer(PROSE + whole + "\nDone.\n"), "twice").text == whole


NEEDS = (
    "define i32 @twice(i32 %x) #0 {\n  %y = call i32 @other(i32 %x), !a !1\n  ret i32 %y\n}\n\n"
    "declare i32 @other(i32)\n\nattributes #0 = { nounwind }\n\n!1 = !{i32 7}\n!2 = !{i32 8}\n"
)


def test_ir_that_was_cut_is_whole_or_truncated_never_wrong() -> None:
    needed = NEEDS.index("!2 = ")
    for end in range(1, len(NEEDS) + 1):
        try:
            text = extract_ir(Answer(f"<code>{NEEDS[:end]}", stop="length"), "twice").text
        except (TruncatedError, NoCodeError):
            assert end < needed
            continue
        assert end >= needed and count_instructions(parse(text)) == 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("<code>define i32 @twi", "before the definition of 'twice', after 0 lines"),
        ("<code>define i32 @twice(i32 %x) {\n  ret", "before the end of 'twice', after 1 lines"),
        (f"<code>{NEEDS[: NEEDS.index('declare')].replace(' #0', '')}", "before @other, which 'twice' needs"),
        (f"<code>{NEEDS[: NEEDS.index('attributes')]}", "before #0, which 'twice' needs"),
    ],
)
def test_truncated_ir_says_what_is_missing(answer: str, message: str) -> None:
    with pytest.raises(TruncatedError, match=re.escape(message)):
        extract_ir(Answer(answer, stop="length"), "twice")


OZ = "module(default<Oz>)"


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        (OZ, OZ),
        (f"<code>{OZ}</code>", OZ),
        (f"<code>opt -p '{OZ}'</code>", OZ),
        (f"opt -passes={OZ} in.ll", OZ),
        (f'Run `opt -S --passes="{OZ}" -o out.ll` on it.', OZ),
        (f"Run the following passes '{OZ},instcombine' to reduce instruction count from 29 to 14.", f"{OZ},instcombine"),
        (f"Use -p ‘{OZ}’ to reduce binary size.\n\n<code>{IR}</code>", OZ),
        (f"```\nopt -passes '\n{OZ}'\n```", OZ),
        ("Optimise it with `opt -Oz in.ll`.", "Oz"),
        ("function(sroa,loop-mssa(licm<allowspeculation>))", "function(sroa,loop-mssa(licm<allowspeculation>))"),
        ("The best pass for it is `mem2reg`.", "mem2reg"),
        ("<code>instcombine</code>", "instcombine"),
        ("To beat -Oz, run <code>function(instcombine,simplifycfg)</code>", "function(instcombine,simplifycfg)"),
        ("Better than -O2: `function(sroa)`", "function(sroa)"),
    ],
)  # fmt: skip
def test_pass_lists_in_answers(answer: str, passes: str) -> None:
    assert extract_passes(Answer(answer)).text.strip() == passes


@pytest.mark.parametrize("answer", ["", "It is small already.", f"<code>{IR}</code>", "Well, (perhaps) not.", "small"])
def test_answers_without_a_pass_list(answer: str) -> None:
    with pytest.raises(NoCodeError, match=r"the answer (is empty|has no pass list in it; it begins)"):
        extract_passes(Answer(answer))


@pytest.mark.parametrize("answer", ["opt -p 'function(sroa", "opt -p function(sroa", "<code>function(sroa,", "opt -O"])
def test_pass_lists_that_were_cut(answer: str) -> None:
    with pytest.raises((TruncatedError, NoCodeError), match="token limit"):
        extract_passes(Answer(answer, stop="length"))


@pytest.mark.parametrize("stop", ["eos", "length"])
@pytest.mark.parametrize("extract", [lambda answer: extract_ir(answer, "f"), extract_passes], ids=["ir", "passes"])
@pytest.mark.parametrize("piece", ["<code>", "define i32 @f(", "}\n", "'", "opt -p '", "-p a", "(a,", "`x,y`", "!1 "])
def test_a_long_hostile_answer_takes_no_long_time(
    piece: str, extract: Callable[[Answer], ExtractedCode], stop: StopReason
) -> None:
    """Extraction takes time that grows with the length of the answer, not with its square: 2 s of processor time are
    a hundred times what 20 000 repetitions need, and a hundredth of what quadratic time would be."""
    started = time.process_time()
    with contextlib.suppress(NoCodeError, TruncatedError):
        extract(Answer(piece * 20_000, stop=stop))
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("answer", "sizes"),
    [
        ("The assembly will have instruction count 29 and binary sise 129 bytes:", {"instructions": 29, "size": 129}),
        ("And the LLVM-IR will have instruction count 7 and binary size 80 bytes", {"instructions": 7, "size": 80}),
        (
            "to reduce instruction count from 9 to 4 and binary size from 90 to 71 bytes",
            {"instructions": 4, "size": 71},
        ),
        ("binary size of 12 bytes", {"size": 12}),
        ("<code>f:\n\tretq</code>", {}),
        (
            "The input code has instruction count 5 and binary size 7 bytes. It will have instruction count 4",
            {"instructions": 4},
        ),
    ],
)
def test_claimed_sizes_in_answers(answer: str, sizes: dict[str, int]) -> None:
    assert find_claimed_sizes(answer) == sizes


# -- opt, and LLVM


def test_the_optimiser_is_clang_s(lfs: Reference) -> None:
    for function in lfs.functions:
        assert lfs.texts.optimised_ir(function, "O0") == lfs.texts.ir(function)
        ours, clangs = (
            strip_assembly(text, get_target().dialect)
            for text in (lfs.texts.lowered_assembly(function, "O2"), lfs.texts.assembly(function, "O2"))
        )
        assert ours == clangs


def test_pass_lists_have_several_spellings(lfs: Reference) -> None:
    texts = {lfs.texts.optimised_ir("consume_line", passes) for passes in ("Oz", "default<Oz>", OZ)}
    assert len(texts) == 1 and texts != {lfs.texts.optimised_ir("consume_line", "O2")}
    assert "alloca" not in lfs.texts.optimised_ir("consume_line", "mem2reg")


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        ("instcombin", "unknown pass name 'instcombin'"),
        ("function(sroa,gvnn)", "unknown function pass 'gvnn'"),
        ("function(sroa", "invalid pipeline 'function(sroa'"),
        ("loop(function(sroa))", "invalid use of 'function' pass as loop pipeline"),
        ("default<O2", "unknown pass name 'default<O2'"),
        ("default<O9>", "invalid optimization level 'O9'"),
        ("sroa, gvn", "unknown function pass ' gvn'"),
        (" ", "an empty pass list"),
        ("x" * 20_000, "at most 16384 characters"),
        ("function(dot-cfg)", "reaches out of the compiler"),
        ("memprof-use<profile-filename=/etc/passwd>", "reads or writes a file"),
    ],
)
def test_pass_lists_that_llvm_does_not_know(passes: str, message: str) -> None:
    with pytest.raises(PassListError, match=re.escape(message)):
        optimise(IR, passes)


def test_passes_that_do_not_end(lfs: Reference) -> None:
    with pytest.raises(OptimiserError, match=r"not finished after 0\.01 s"):
        optimise(lfs.texts.ir("parse_diff"), "default<O3>," * 50 + "default<O3>", seconds=0.01)
    with pytest.raises(OptimiserError, match="LLVM does not get through the passes"):
        optimise(IR, "default<O3>", megabytes=64)


def test_what_opt_prints_keeps_its_order(compiled: Compile) -> None:
    reference = compiled(
        "#include <string.h>\nextern int last, first;\nint f(char *s) { return last + strlen(s) + first; }"
    )
    before = reference.texts.ir("f")
    after = print_optimised(optimise(before, "O2"), before, get_target())
    names = [re.findall(r"^(?:@|define .*@|declare .*@)(\w+)", text, re.M) for text in (before, after)]
    assert names[0] == names[1] == ["last", "first", "f", "strlen"]
    assert "\nsource_filename = " in f"\n{after}"


def test_a_pass_list_of_the_user_s_that_llvm_does_not_know(lfs: Reference) -> None:
    with pytest.raises(CaseError, match=r"git_lfs\.c: pass list 'instcombin': unknown pass name 'instcombin'"):
        lfs.texts.optimised_ir("validate", "instcombin")


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("define i32 @f() {\n  ret i64 0\n}\n", "value doesn't match function result type 'i32'", 2),
        ("define void @f() {\n  %a = add i32 1, 1\n  store i32 %a, ptr null\n", "found end of file when expecting", 4),
        ("define i32 @f() {\n  br label %b\n\nb:\n  %a = phi i32 [ 1, %b ]\n  ret i32 %a\n}\n", "PHI node entries do not match", 5),
        ("module asm \".incbin \\22/etc/passwd\\22\"\n", "Could not find incbin file", 0),
        ("target triple = \"x86_64-pc-windows-msvc\"\n", "its target triple is 'x86_64-pc-windows-msvc'", 0),
        ("%t = type { %t }\n@g = global %t zeroinitializer\n", "identified structure type 't' is recursive", 2),
        ("@a = global " + "[" * 50_000, "expected", 1),
    ],
)  # fmt: skip
def test_ir_that_llvm_refuses(text: str, message: str, line: int) -> None:
    with pytest.raises(LoweringError, match=re.escape(message)) as refused:
        lower_module(text, None, get_target())
    assert refused.value.line == line


# -- the plugin


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", ZIG_CACHE)
    pytester.makeini("[pytest]\nllmc_cases = cases\nllmc_examples = 10\nllmc_task = asm,ir,tune,disassemble\n")
    (pytester.path / "cases").mkdir()
    (pytester.path / "cases" / "a.c").write_text(SOURCE)
    return pytester


def run(project: pytest.Pytester, *args: str) -> pytest.RunResult:
    return project.runpytest_subprocess("-p", "no:xdist", *args)


def records(project: pytest.Pytester, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.path / name).read_text().splitlines()]


@pytest.mark.parametrize("target", targets())
def test_every_task_from_the_question_to_the_record(project: pytest.Pytester, target: str) -> None:
    """The reference answers all tasks rightly. Its record replays to the same verdicts, can be resumed, and is valid."""
    label = {task: get_target(target).label_task(task) for task in ("asm", "tune", "ir", "disassemble")}
    ids = [
        *(f"a.c::twice[{label[task]}-{passes}]" for task in ("asm", "ir") for passes in ("O0", "Oz")),
        f"a.c::twice[{label['tune']}]",
        *(f"a.c::twice[{label['disassemble']}-{passes}]" for passes in ("O0", "Oz")),
    ]
    here = f"--llmc-target={target}"
    args = ("--llmc-passes=O0,Oz", "--llmc-record=out.jsonl", "--llmc-report=out.html", here)
    first = run(project, "-v", "--llmc-model=reference", *args)
    first.assert_outcomes(passed=7)
    first.stdout.fnmatch_lines([f"cases/{name.replace('[', '[[]')[:-1]}[]] PASSED*" for name in ids])
    said = " ".join(first.stdout.str().split())  # lines are broken where they end
    for words in (
        f"{label['tune']}: 1 of 1 pass lists keep the behaviour; their binary size is 0.00 percent below that of -Oz "
        "in all: smaller for 0.0, equal for 100.0, larger for 0.0 percent of them",
        f"{label['ir']}: 100.0 percent of samples are opt's own IR, 100.0 but for the names of values",
        f"{label['disassemble']}: 100.0 percent of samples give the same assembly when lowered, with a mean BLEU of 100.0",
    ):
        assert words in said
    written = records(project, "out.jsonl")
    assert [(record["task"], record["passes"]) for record in written][4] == (label["tune"], "")
    for record in written:
        jsonschema.validate(record, SCHEMA)
    [tune] = [record for record in written if record["task"] == label["tune"]]
    size = tune["detail"]["tune"]["size"]
    assert (
        tune["detail"]["tune"] == {"passes": "default<Oz>", "size": size, "oz": size, "improvement": 0.0} and size > 0
    )
    again = run(project, "--llmc-model=replay:out.jsonl", "--llmc-passes=O0,Oz", here)
    again.assert_outcomes(passed=7)
    again.stdout.fnmatch_lines(["judged anew: 0 of 7 verdicts changed"])
    run(project, "--llmc-model=reference", *args, "--llmc-resume").assert_outcomes(passed=7)
    assert len(records(project, "out.jsonl")) == 7
    page = (project.path / "out.html").read_text()
    assert json.dumps(["a.c", "twice", label["tune"]]) in page


def test_a_wrong_answer_in_ir_gets_a_native_program(project: pytest.Pytester) -> None:
    record = {
        "case": "a.c",
        "function": "twice",
        "task": "ir",
        "passes": "O0",
        "sample": 0,
        "answer": IR.replace("1\n", "2\n"),
    }
    tune = {**record, "task": "tune", "passes": "", "answer": "opt -p 'instcombin'"}
    (project.path / "in.jsonl").write_text(json.dumps(record) + "\n" + json.dumps(tune) + "\n")
    result = run(project, "--llmc-model=replay:in.jsonl", "--llmc-artifacts=kept", "--llmc-task=ir,tune")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["mismatch: return value: expected *", "assemble: unknown pass name 'instcombin'"])
    folder = project.path / "kept" / "a.c" / "twice"
    done = project.run(str(folder / "ir-O0" / "sample-0" / "run"))
    assert done.ret == 1 and "candidate" in done.stdout.str()
    assert "the assembly that LLVM makes of the answer" in (folder / "ir-O0" / "sample-0" / "README.txt").read_text()
    assert "There is no `run`" in (folder / "tune" / "sample-0" / "README.txt").read_text()


def test_assembly_in_intel_syntax(project: pytest.Pytester) -> None:
    """The prompt and the reference use it with the setting. An answer may use it with and without."""
    args = ("--llmc-syntax=intel", "--llmc-task=asm,disassemble", "--llmc-record=out.jsonl", "--llmc-artifacts=kept")
    run(project, "--llmc-model=reference", *args).assert_outcomes(passed=2)
    assembly = next(record["answer"] for record in records(project, "out.jsonl") if record["task"] == "asm")
    assert assembly.startswith("\t.intel_syntax noprefix\n") and "dword ptr [rbp - 4]" in assembly
    bare = {
        "case": "a.c",
        "function": "twice",
        "task": "asm",
        "passes": "O0",
        "sample": 0,
        "answer": "twice:\n  lea eax, [rdi + rdi]\n  ret\n",
    }
    lift = {**bare, "task": "disassemble", "answer": "<code>define i32 @twice(i32 %x) {\n  ret i32 %x\n}\n</code>"}
    (project.path / "in.jsonl").write_text(json.dumps(bare) + "\n" + json.dumps(lift) + "\n")
    run(project, "--llmc-model=replay:in.jsonl", *args).assert_outcomes(passed=1, failed=1)
    prompt = (project.path / "kept" / "a.c" / "twice" / "disassemble-O0" / "sample-0" / "prompt.txt").read_text()
    assert "mov\tdword ptr [rbp - 4], edi\n" in prompt and prompt.startswith("[INST] Disassemble this code to LLVM-IR:")


def test_settings_that_can_t_be_used(project: pytest.Pytester) -> None:
    (project.path / "mine.txt").write_text("{ir}\n")
    for args, words in (
        (("--llmc-task=lift",), "--llmc-task: can't use 'lift': expected asm, ir, tune or disassemble"),
        (
            ("--llmc-prompt=mine.txt",),
            "--llmc-prompt: mine.txt: the template never shows the code: it has no {asm}, for task disassemble",
        ),
        (("--llmc-syntax=masm",), "--llmc-syntax: can't use 'masm': expected att or intel"),
    ):
        result = project.runpytest_inprocess("-p", "no:xdist", "--llmc-model=reference", *args)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert words in result.stderr.str()

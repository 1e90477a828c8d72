"""Names that are not ASCII: in C, in IR, and in assembly as gcc, clang, Microsoft's compiler and people write it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sessions import records, replay, run

from pytest_llmcompiler import check, check_file

SOURCE = """
struct nœud { struct nœud *suivant; int clé; };
int \\u00e9t\\u00e9 = 3;
static int appels_à_é;
int गिनती(int x);
__attribute__((noinline)) int aidé(int x) { return x * 3 + été; }
int ajouté(const struct nœud *p, int x) { ++appels_à_é; return aidé(x) + p->clé + गिनती(x); }
int grö$e(int x) { static int nombre; return x + été + ++nombre; }
"""
GCC = """
ajouté:
    pushq %rbx
    pushq %rbp
    subq $8, %rsp
    movq %rdi, %rbx
    movl %esi, %ebp
    addl $1, appels_à_é(%rip)
    movl %esi, %edi
    call aidé
    addl 8(%rbx), %eax
    movl %eax, %ebx
    movl %ebp, %edi
    call गिनती@PLT
    addl %ebx, %eax
    addq $8, %rsp
    popq %rbp
    popq %rbx
    ret
    .local appels_à_é
    .comm appels_à_é,4,4
"""


def quoted(text: str) -> str:
    """The text as clang writes names."""
    for name in ("ajouté", "appels_à_é", "aidé", "गिनती", "été", "grö$e"):
        text = text.replace(name, f'"{name}"')
    return text


def intel(text: str) -> str:
    text = text.replace("addl $1, appels_à_é(%rip)", "add DWORD PTR appels_à_é[rip], 1")
    text = text.replace("addl 8(%rbx), %eax", "add eax, DWORD PTR 8[rbx]").replace("%", "")
    for att, other in (
        ("pushq", "push"),
        ("popq", "pop"),
        ("subq $8, rsp", "sub rsp, 8"),
        ("addq $8, rsp", "add rsp, 8"),
        ("movq rdi, rbx", "mov rbx, rdi"),
        ("movl esi, ebp", "mov ebp, esi"),
        ("movl esi, edi", "mov edi, esi"),
        ("movl eax, ebx", "mov ebx, eax"),
        ("movl ebp, edi", "mov edi, ebp"),
        ("addl ebx, eax", "add eax, ebx"),
    ):
        text = text.replace(att, other)
    return ".intel_syntax noprefix\n" + text


@pytest.mark.parametrize("write", [str, quoted, intel, lambda text: quoted(intel(text))])
def test_assembly_with_and_without_quotes(write: object) -> None:
    text = write(GCC)  # type: ignore[operator]
    verdict = check(SOURCE, "ajouté", text, examples=30)
    assert verdict.passed, verdict
    assert verdict.detail["assembler"] == "keystone"
    assert verdict.detail["fallback"] is None
    called = text.replace("call aidé", "call été").replace('call "aidé"', 'call "été"')
    assert check(SOURCE, "ajouté", called, examples=30).kind in ("crash", "inconclusive")
    nothing = check(SOURCE, "ajouté", text.replace("call aidé", "call aidée").replace('"aidé"', "aidée"), examples=30)
    assert (nothing.kind, "aidée" in nothing.message) == ("link", True)


def test_llvm_gets_quotes_and_its_positions_are_those_of_the_text() -> None:
    text = "grö$e:\n movl été(%rip), %eax\n addl %edi, %eax\n incl nombre.0(%rip)\n addl nombre.0(%rip), %eax\n"
    text += (
        ' ret\n .data\n "x é": .quad été-4, grö$e\n .text\n .intel_syntax noprefix\n nop\n'  # keystone takes one syntax
    )
    passed = check(SOURCE, "grö$e", text, examples=30)
    assert (passed.kind, passed.detail["assembler"]) == ("pass", "llvm"), passed
    wrong = check(SOURCE, "grö$e", text.replace("%edi, %eax", "%edi, %eax; addl été(%rip), 5(%rip)"), examples=30)
    assert (wrong.kind, wrong.detail["line"], wrong.detail["column"]) == ("assemble", 3, 35), wrong
    assert check(SOURCE, "grö$e", "grö$e→:\n ret\n").kind == "assemble"


def test_other_syntaxes_and_listings() -> None:
    nasm = "global grö$e\nextern été\nsection .text\ngrö$e:\n mov eax, [rel été]\n add eax, edi\n"
    nasm += " inc dword [rel nombre.0]\n add eax, [rel nombre.0]\n ret\n"
    assert check(SOURCE, "grö$e", nasm, examples=30).passed
    source = "int गिनती_नाम = 3;\nint गिनती(int x) { return x + गिनती_नाम; }"
    masm = "_TEXT SEGMENT\nPUBLIC गिनती\nEXTRN गिनती_नाम:DWORD\nx$ = 8\nगिनती PROC\n mov eax, DWORD PTR गिनती_नाम\n"
    masm += " add eax, ecx\n ret 0\nगिनती ENDP\n_TEXT ENDS\nEND\n"
    assert check(source, "गिनती", masm, examples=30, target="x86_64-windows").passed
    listing = "0000000000000000 <गिनती>:\n   0:\t8b 05 00 00 00 00\tmov    0x0(%rip),%eax        # 6 <गिनती+0x6>\n"
    listing += "\t\t\t2: R_X86_64_PC32\tगिनती_नाम-0x4\n   6:\t01 f8\tadd    %edi,%eax\n   8:\tc3\tret\n"
    assert check(source, "गिनती", listing, examples=30).passed


def test_aarch64() -> None:
    text = '"grö$e":\n adrp x8, "été"\n ldr w8, [x8, :lo12:"été"]\n adrp x9, nombre.0\n ldr w10, [x9, :lo12:nombre.0]\n'
    text += " add w10, w10, #1\n str w10, [x9, :lo12:nombre.0]\n add w0, w0, w8\n add w0, w0, w10\n ret\n"
    assert check(SOURCE, "grö$e", text, examples=30, target="aarch64-linux").passed
    bare = text.replace('"', "").replace("w0, w8", "w0, w8, lsl 1")
    assert check(SOURCE, "grö$e", bare, examples=30, target="aarch64-linux").kind == "mismatch"


MODULE = r"""
@"\F0\9F\98\80" = global i32 7
@"a b" = internal global i32 5
declare i32 @"aid\C3\A9"(i32)
define i32 @"f x"(i32 %"à") {
  %v = load i32, ptr @"a b"
  %"\C3\A9" = load i32, ptr @"😀"
  %w = add i32 %v, %"é"
  %q = call i32 @"aidé"(i32 %"\C3\A0")
  %r = add i32 %q, %w
  ret i32 %r
}
"""


def test_ir_with_bytes_or_letters(tmp_path: Path) -> None:
    path = tmp_path / "case.ll"
    path.write_text(MODULE, encoding="utf-8")
    for answer in (MODULE, MODULE.replace(r"\F0\9F\98\80", "😀")):
        assert check_file(path, "f x", answer, task="ir", examples=30).passed
    assert check_file(path, "f x", MODULE.replace("add i32 %v", "sub i32 %v"), task="ir").kind == "mismatch"


@pytest.mark.parametrize("name", [r"quo\22te", r"tab\09x", r"\FF", r"line\E2\80\A8end"])
def test_names_that_assembly_cannot_hold(tmp_path: Path, name: str) -> None:
    path = tmp_path / "case.ll"
    path.write_text(MODULE.replace("f x", name), encoding="utf-8")
    with pytest.raises(Exception, match=r"assembly can't hold the name @\".*: give it one without escapes"):
        check_file(path, "g", "g: ret\n")


def test_letters_of_no_name_in_c(tmp_path: Path) -> None:
    path = tmp_path / "case.ll"
    path.write_text(MODULE.replace("f x", "→"), encoding="utf-8")
    verdict = check_file(path, "→", '"→":\n ret\n')
    assert (verdict.kind, verdict.message[:10]) == ("inconclusive", "the name →")


def test_a_session(project: pytest.Pytester) -> None:
    """Prompts have LLVM's spelling, and records the letters."""
    (project.path / "cases/a.c").unlink()
    (project.path / "cases/été.c").write_text("int été(int à) { return à + 1; }\n", encoding="utf-8")
    flags = ("--llmc-record=out.jsonl", "--llmc-report=page.html", "--llmc-task=asm,ir,tune,disassemble")
    run(project, "--llmc-model=reference", *flags).assert_outcomes(passed=4)
    lines = records(project.path / "out.jsonl")
    assert {(line["case"], line["function"]) for line in lines} == {("été.c", "été")}
    wrong = replay(project, ("été", '"été":\n\tleal\t2(%rdi), %eax\n\tretq\n'), case="été.c")
    result = run(project, wrong, "--llmc-artifacts=kept")
    result.assert_outcomes(failed=1)
    (prompt,) = (project.path / "kept").rglob("prompt.txt")
    assert r'@"\C3\A9t\C3\A9"(' in prompt.read_text()

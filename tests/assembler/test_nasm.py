"""NASM's language: the same bytes as Debian's nasm, positions of errors, and which texts are taken for it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from assembly_runner import BASE, Program, code, compile_sources, for_each_assembler, run
from nasm_writer import write_nasm

from pytest_llmcompiler import check
from pytest_llmcompiler.assembler.assemble import assemble
from pytest_llmcompiler.assembler.elf_object import load_object
from pytest_llmcompiler.assembler.linker import LinkedImage
from pytest_llmcompiler.assembler.readings import find_readings, parse_nasm
from pytest_llmcompiler.errors import AssemblyError, LinkError
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.code import AssembledCode, AssemblerName, CodeSegment

PROGRAM = {"x": 0x1000100, "y": 0x1000200, "g": 0x1000300, "size": 0x1000400, "printf": 0x1000500}
FORMS = Path(__file__).with_name("nasm_forms.txt").read_text().splitlines()
OTHER_ENCODINGS = {
    # NASM shortens these to 32 bits, which clear the upper half.
    "mov rax, 5": ("mov eax, 5", "mov rax, 5"),
    "mov rax, 0FFFFFFFFh": ("mov eax, 0xffffffff", "movabs rax, 0xffffffff"),
    # LLVM does not keep a longer encoding that the text asks for.
    "lea rax, [dword rdi + 8]": ("lea rax, [rdi + 8]", "lea rax, [rdi + 8]"),
    "add eax, strict dword 5": ("add eax, 5", "add eax, 5"),
    "cmp rax, x": ("cmp rax, 0x1000100", "cmp rax, 0x1000100"),
    # Breakpoints and segment registers, which user code has no use for.
    "int 3": ("int 3", "int3"),
    "mov ax, ds": ("mov ax, ds", "mov eax, ds"),
    "mov ds, ax": ("mov ds, eax", "mov ds, ax"),
}
"""Form -> what capstone reads in NASM's bytes and in ours, where these differ."""

YASM_DIFFERENCES = {
    # YASM's older rules: its `!` and its shift to the right are of another kind.
    "mov eax, !0", "mov eax, -1 >> 60",
    # Addresses in 32 bits, which candidates have.
    "mov rax, x", "mov rax, x + 8",
    # The operands of an exchange, in the other order.
    "xchg ecx, edx", "xchg al, ah",
    # The last bit of 80.
    "dt 1.5, 3.14159265358979323846, -1.0e100",
    "int 3", "mov ax, ds", "mov ds, ax",
}  # fmt: skip
"""Forms of which YASM's bytes mean something else than ours."""

needs_nasm = pytest.mark.skipif(shutil.which("nasm") is None, reason="no nasm")


def assemble_natively(folder: Path, text: str, function: str, symbols: Mapping[str, int]) -> LinkedImage:
    """What nasm makes of a text, linked as candidates are. Undefined names are declared."""
    source, target = folder / "a.asm", folder / "a.o"
    command = ["nasm", "-f", "elf64", "-w-all", str(source), "-o", str(target)]
    source.write_text(text)
    process = subprocess.run(command, capture_output=True, text=True)
    missing = sorted(set(re.findall(r"symbol `((?!.*\.bb_)[\w.]+)' not defined", process.stderr)))
    if missing:
        source.write_text("".join(f"extern {name}\n" for name in missing) + text)
        process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return load_object(target.read_bytes(), function, BASE, symbols, get_target().relocations)


def cut(segments: Sequence[CodeSegment], symbols: Mapping[str, int], count: int) -> list[bytes]:
    """The bytes between the labels L0, L1, …, which all are in the first segment."""
    addresses = [symbols[f"L{number}"] - segments[0].address for number in range(count + 1)]
    return [segments[0].data[start:end] for start, end in pairwise(addresses)]


def disassemble(data: bytes) -> str:
    return "; ".join(
        f"{i.mnemonic} {i.op_str}".strip() for i in get_target().processor.get_decoder().disasm(data, BASE)
    )


def describe(segments: Sequence[CodeSegment]) -> dict[str, tuple[int, bytes, bool, bool]]:
    return {s.name: (s.address, s.data, s.is_writable, s.is_executable) for s in segments}


@needs_nasm
def test_forms_have_the_bytes_of_nasm(tmp_path: Path) -> None:
    forms = [form for form in FORMS if not _has_distance(form)]
    lines = "".join(f"L{number}: {form}\n" for number, form in enumerate(forms))
    text = f"extern {', '.join(PROGRAM)}\nglobal f\nsection .text\nf:\n{lines}L{len(forms)}: ret\n"
    theirs = assemble_natively(tmp_path, text, "f", PROGRAM)
    ours = assemble(text, "f", BASE, PROGRAM, "llvm")
    pairs = zip(cut(theirs.segments, theirs.symbols, len(forms)), cut(ours.segments, ours.symbols, len(forms)))
    different = {
        form: (disassemble(expected), disassemble(data))
        for form, (expected, data) in zip(forms, pairs, strict=True)
        if expected != data
    }
    assert different == OTHER_ENCODINGS
    assert len(forms) > 500


def _has_distance(form: str) -> bool:
    """Whether the bytes of a form depend on its distance from a label."""
    return bool(re.search(r"\bL\d|\$(?!\d)|\brel\b|^(?:call|jmp) (?:near )?(?:printf|size|x)", form))


@needs_nasm
def test_forms_with_distances_have_the_bytes_of_nasm(tmp_path: Path) -> None:
    for form in filter(_has_distance, FORMS):
        text = f"extern {', '.join(PROGRAM)}\nsection .text\nf:\nL0: {form}\nL1: ret\n"
        theirs = assemble_natively(tmp_path, text, "f", PROGRAM)
        assert assemble(text, "f", BASE, PROGRAM).segments[0].data == theirs.segments[0].data, form


@pytest.mark.skipif(shutil.which("yasm") is None, reason="no yasm")
def test_forms_mean_what_they_mean_to_yasm(tmp_path: Path) -> None:
    """Those that YASM knows. Encodings may differ; what capstone reads in them may not."""
    forms = [*(form for form in FORMS if not _has_distance(form)), "lea rax, [x wrt rip]", "movdqa xmm0, dqword [rdi]"]

    def write(number: int, form: str) -> str:
        return f"global L{number}, R{number}\nL{number}: {form}\nR{number}:\n"

    head, lines = (
        f"extern {', '.join(PROGRAM)}\nsection .text\nglobal f\nf:\n",
        list(map(write, *zip(*enumerate(forms)))),
    )
    command = ["yasm", "-f", "elf64", str(tmp_path / "a.asm"), "-o", str(tmp_path / "a.o")]
    for _ in range(50):  # YASM stops at some errors
        (tmp_path / "a.asm").write_text(head + "".join(line or "\n\n\n" for line in lines))
        for row in re.findall(r"a\.asm:(\d+): error", subprocess.run(command, capture_output=True, text=True).stderr):
            lines[(int(row) - 5) // 3] = ""
    assert (tmp_path / "a.o").exists()
    theirs = load_object((tmp_path / "a.o").read_bytes(), "f", BASE, PROGRAM, get_target().relocations)
    ours = assemble(head + "".join(lines), "f", BASE, PROGRAM, "llvm")
    different, known = set(), [number for number, line in enumerate(lines) if line]
    for number in known:
        codes = [
            segment.data[symbols[f"L{number}"] - segment.address : symbols[f"R{number}"] - segment.address]
            for segment, symbols in ((theirs.segments[0], theirs.symbols), (ours.segments[0], ours.symbols))
        ]
        if codes[0] != codes[1] and (forms[number][:2] == "dt" or disassemble(codes[0]) != disassemble(codes[1])):
            different.add(forms[number])
    assert different - {"lea rax, [x wrt rip]"} == YASM_DIFFERENCES
    assert len(known) > 500


@needs_nasm
@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_what_clang_writes_has_the_bytes_of_nasm(tmp_path: Path, level: str) -> None:
    for name, text in compile_sources(tmp_path, "clang", "-masm=intel", level):
        nasm = write_nasm(text)
        function = re.findall(r"^([A-Za-z_]\w*):", text, re.MULTILINE)[0]
        program = Program(nasm)
        theirs = assemble_natively(tmp_path, nasm, function, program)
        ours = assemble(nasm, function, BASE, program)
        assert describe(ours.segments) == describe(theirs.segments), name
        assert ours.assembler == "keystone", f"{name}: {ours.fallback_reason}"


def test_what_clang_writes_passes(tmp_path: Path) -> None:
    """The language is recognised, and verdicts are those of the same code in another syntax."""
    source = """
        static int table[4] = {3, 1, 4, 1};
        double scale = 1.5;
        int f(const char *s, int n) {
            int sum = 0;
            for (int i = 0; i < n && s[i]; i++) sum += table[s[i] & 3] * (int)(s[i] * scale);
            switch (n & 7) { case 1: sum += 5; break; case 2: sum ^= 9; break; case 3: sum -= 3; break;
                             case 5: sum <<= 1; break; case 6: sum = ~sum; break; }
            return sum;
        }
    """
    (tmp_path / "a.c").write_text(source)
    for level in ("-O0", "-O2"):
        ((_, text),) = compile_sources(tmp_path, "clang", "-masm=intel", level, sources=[tmp_path / "a.c"])
        answer = f"Here is the NASM code:\n\n```nasm\n{write_nasm(text)}```\n"
        verdict = check(source, "f", answer, examples=20)
        assert verdict.kind == "pass", verdict
    wrong = check(source, "f", answer.replace("xor eax, 9", "xor eax, 8"), examples=20)
    assert wrong.kind == "mismatch"


@pytest.mark.parametrize("name", ["f.total", ".total"])
def test_a_static_local_is_the_program_s(name: str) -> None:
    source = "int f(int n) { static int total; total += n; return total; }"
    code = f"default rel\nsection .text\nglobal f\nf: add [{name}], edi\n mov eax, [{name}]\n ret\n"
    assert check(source, "f", f"{code}section .bss\n{name}: resd 1\n", examples=10).kind == "pass"


HAND_WRITTEN = """\
; Sums an array, and adds a constant from a table.
%define STEP 4          ; bytes
        section .data
table   dd 10, 20, 0x1E
length  equ ($ - table) / STEP
        section .text
        global  f
f:
        xor     eax, eax            ; the sum
        test    esi, esi
        jle     .done
.loop:  dec     esi
        add     eax, dword [rdi + rsi*STEP]
        test    esi, esi
        jnz     short .loop
.done
        mov     ecx, length
.table  add     eax, [table + rcx*4 - 4]
        loop    .table
        ret
helper:
.done:  ret                         ; another .done
"""


@for_each_assembler
def test_a_text_by_hand(assembler: AssemblerName) -> None:
    assembled = assemble(HAND_WRITTEN, "f", BASE, {}, assembler)
    assert run(assembled, "f", 0x2000000, 3, program={0x2000000: bytes([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0])}) == 66
    assert sorted(set(assembled.lines.values()))[:3] == [9, 10, 11]
    assert {"f", "table", "helper", ".Lf.done", ".Lhelper.done"} <= assembled.symbols.keys()


@pytest.mark.parametrize(
    ("line", "words", "column"),
    [
        ("        mov     eax, [rdi + rsi*7]   ; no", "this sum of registers is no address", 22),
        ("  mov eax, rdi + 1", "registers in an expression", 12),
        ("  frobnicate eax, 1", "invalid instruction mnemonic 'frobnicate'", 3),
        ("  mov al, ebx", "invalid operand", 3),
        ("  lea rax, [rip + f]", "rip is no register of NASM's language: expected [rel …]", 13),
        ("  mov eax, DWORD PTR [rdi]", "ptr is no part of NASM's language: expected DWORD and the operand", 18),
        ("%macro m 1", "%macro is not supported: macros and conditions are not supported", 1),
        ("%define TWICE(n) (2*n)", "macros with parameters are not supported", 9),
        ('  %include "/etc/passwd"', "%include is not supported: it reads a file", 3),
        ('x: incbin "/etc/passwd"', "incbin is not supported: it reads a file", 4),
        ("  mov eax, 5 +", "expected an operand", 15),
        ("  mov eax, 09z", "'09z' is no integer", 12),
        ("  db 'abc", "unterminated string", 6),
        ("  bits 32", "code here is 64-bit", 3),
        ("  mov eax, (1", "expected ')'", 14),
        ("  mov eax, 1/0", "division by zero", 15),
        ("  times f nop", "the count of times must be a plain number", 3),
        ("f: nop", "symbol 'f' is already defined", 1),
        ("  inc [rdi]", "ambiguous operand size", 7),
        ("a equ a", "depends on itself", 7),
    ],
)
def test_errors_have_the_position_in_the_answer(line: str, words: str, column: int) -> None:
    text = f"global f\nsection .text\nf: \\\n  ret\n{line}\n"
    with pytest.raises(AssemblyError) as error:
        assemble(text, "f", BASE, {})
    assert words in error.value.message
    assert (error.value.line, error.value.column) == (5, column), error.value.message


def test_an_undefined_symbol_has_its_line() -> None:
    with pytest.raises(LinkError, match=r"undefined symbol: 'nowhere' \(line 4\)"):
        assemble("extern nowhere\nsection .text\nf:\n  call nowhere\n", "f", BASE, {})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # The address of a symbol, and what is there.
        ("section .data\nv: dq 7\nsection .text\nf: mov rax, v\n mov rax, [rax]\n ret", 7),
        ("section .data\nv: dq 7\nsection .text\nf: mov rax, [v]\n ret", 7),
        ("default rel\nsection .data\nv dq 7\nsection .text\nf: mov rax, [v]\n ret", 7),
        ("section .rodata align=16\nv db 'ab', 0\nn equ $ - v\nsection .text\nf mov eax, n\n ret", 3),
        ("segment .bss\nv resq 2\nw:\nsegment .text\nf: mov eax, w - v\n ret", 16),
        ("[BITS 64]\n[SECTION .text]\n[GLOBAL f]\nf:\n MOV EAX, 0AH\n RET", 10),
        ("section .text\nf:\n jmp .a\n.b: mov eax, 2\n ret\n.a: jmp f.b", 2),
        ("section .text\nf:\n jmp ..@x\n..@y: mov eax, 2\n ret\n..@x: jmp ..@y", 2),
        ("section .text\n$eax: mov eax, 3\n ret\nf: call $eax\n ret", 3),
        ("section .text\noffset: mov eax, 4\n ret\nf: call offset\n ret", 4),
        ("struc point\n.x resd 1\n.y resd 1\nendstruc\nsection .text\nf: mov eax, point.y + point_size\n ret", 12),
        ("%assign i 5\n%assign i i*2\nsection .text\nf: mov eax, i\n ret", 10),
        ("%idefine WIDTH 6\nsection .text\nf: mov eax, width\n ret", 6),
        ("section .text\nf: mov eax, 1\n times 3 add eax, eax\n ret", 8),
        ("section .text\nf: mov eax, [table + 4]\n ret\ntable: dd 1, 2", 2),
        ("section .text\nf: lea rax, [rel t]\n mov eax, [rax+8]\n ret\nt: dq 0\n.x: dd 9", 9),
        ("common v 8:8\nsection .text\nf: mov dword [v], 5\n mov eax, [v]\n ret", 5),
        ("section .text\nf: mov eax, end - start\n ret\nstart: nop\n nop\nend:", 2),
        ("section .text\nf:\n movsd xmm0, [c]\n addsd xmm0, [c]\n cvttsd2si eax, xmm0\n ret\nc: dq 1.5", 3),
        ("section .text\nf: call g wrt ..plt\n ret\ng: mov eax, 6\n ret", 6),
        ("section .text\nf: mov eax, 1 \\\n  + 2\n ret", 3),
        ("f:\n mov eax, edi ; the argument, first\n ret ; done", 0),
        ("f:\n jmp .x\n.y\n mov eax, 8\n ret\n.x\n jmp .y", 8),
        (
            "section .note.GNU-stack noalloc noexec nowrite progbits\nsection .text\nf: mov al, 1\n movzx eax, al\n ret",
            1,
        ),
    ],
)
def test_texts_that_are_recognised(text: str, value: int) -> None:
    assert run(assemble(text, "f", BASE, {}), "f", 0) == value


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("f:\n mov eax, dword ptr [rdi]\n ret", ["parse_assembly"]),
        ("f:\n mov eax, edi\n ret", ["parse_assembly"]),
        (".intel_syntax noprefix\nf: mov eax, edi # section .text\n ret", ["parse_assembly"]),
        ("section .text\nf: movl %edi, %eax\n ret", ["parse_assembly"]),
        ("section .text\nf: mov eax, edi ; %edi\n ret", ["parse_nasm"]),
        ("f: mov eax, edi ; x\n ret", ["parse_assembly", "parse_nasm"]),
        (".globl f\nf: mov eax, dword [rdi]\n ret", ["parse_nasm", "parse_assembly"]),
        (".globl f\n.text\nf: mov eax, dword [rdi]\n ret", ["parse_assembly", "parse_nasm"]),
        ("f:\tjmp\t.L1\n.L1:\tret", ["parse_assembly"]),
    ],
)
def test_marks_decide_how_a_text_is_read(text: str, names: list[str]) -> None:
    assert [reading.__name__ for reading in find_readings(text, get_target().dialect)] == names


def test_local_symbols_of_gnu_texts_stay_what_they_are() -> None:
    """A semicolon separates statements in GNU assembly, and a text that is accepted so is read so."""
    assembled = assemble("f: mov eax, 1; add eax, 2; ret", "f", BASE, {})
    assert run(assembled, "f", 0) == 3


@pytest.mark.parametrize(
    "text",
    [
        "times 65536 dq 1, 2, 3, 4",
        "times 60000 mov dword [rdi + 100000], 100000\n" * 20,
        "".join(f"%define a{i} a{i + 1} a{i + 1}\n" for i in range(60)) + "mov eax, a0",
        "mov eax, " + "(" * 5000 + "1" + ")" * 5000,
        "mov eax, " + "-" * 50000 + "1",
        "mov eax, 1 << 99999999999",
        "dq " + "9" * 6000,
        "dt 1.0e99999",
        "db 9999999 dup (9999999 dup (1, 2))",
        "resb 99999999999",
        "align 3",
        "a: " * 1000,
        "\0",
        "dd " + "1," * 3000,
        "%define x x x x\n" + "dd x\n" * 10,
        "".join(f"a{i} equ a{i + 1} + 1\n" for i in range(5000)),
        "".join(f"a{i} equ a{i + 1} + a{i + 1}\n" for i in range(50)) + "times a0 nop\na51 equ z",
        "dd " + "+".join(f"x{i}" for i in range(50000)),
        "times 1000000 nop",
        "[section",
        "x equ y\n" * 2,
        "struc s",
        "mov eax, [",
        "mov eax, {",
        "db `\\",
        "global",
        "section",
        "common",
        "times",
        "db",
        "equ 5",
        "$",
        "..@",
        "%",
        "%define",
        "]",
        "mov eax, [rel]",
        "mov , ,",
        "lock",
        "rep rep rep",
        "a b c d e",
    ],
)
def test_hostile_texts_are_errors_or_code(text: str) -> None:
    try:
        result: object = assemble(f"global f\nsection .text\nf:\n{text}\n ret\n", "f", BASE, {})
    except (AssemblyError, LinkError) as error:
        result = error
    assert isinstance(result, (AssembledCode, AssemblyError, LinkError))


def test_lines_are_kept_by_the_translation() -> None:
    parsed = parse_nasm(HAND_WRITTEN, get_target().dialect)
    for statement in parsed.statements:
        line = HAND_WRITTEN.splitlines()[parsed.find_line(statement) - 1]
        assert statement.kind in ("label", "data") or statement.name in line


def test_code_of_both_syntaxes_is_the_same() -> None:
    gnu = assemble("f: mov eax, dword ptr [rdi + rsi*4 + 8]\n ret", "f", BASE, {})
    nasm = assemble("global f\nf: mov eax, [rdi + rsi*4 + 8]\n ret", "f", BASE, {})
    assert code(gnu) == code(nasm)

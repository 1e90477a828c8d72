"""The parser of GNU assembly: statements with their positions, sections, and refused text with its position."""

from __future__ import annotations

import pytest

from pytest_llmcompiler.assembler.gas import parse_assembly
from pytest_llmcompiler.assembler.quoted_names import remove_quotes
from pytest_llmcompiler.assembler.statements import ParsedAssembly
from pytest_llmcompiler.assembler.tokens import parse_integer, split_operands
from pytest_llmcompiler.errors import AssemblyError
from pytest_llmcompiler.targets import get_target


def parse(text: str) -> ParsedAssembly:
    return parse_assembly(text, get_target().dialect)


def list_statements(parsed: ParsedAssembly) -> list[tuple[str, str, str, int]]:
    """Kind, name, operands and line of each statement."""
    return [(s.kind, s.name, s.operands, parsed.find_line(s)) for s in parsed.statements]


def parse_refused(text: str) -> tuple[str, int, int]:
    with pytest.raises(AssemblyError) as error:
        parse(text)
    return error.value.message, error.value.line, error.value.column


def test_statements_and_lines() -> None:
    text = "f: g:\n\tmovl $1, %eax ; addl\t%ebx, %eax\n\n  .Lx: ret # done\n\t.quad f+1, 2\n"
    assert list_statements(parse(text)) == [
        ("label", "f", "", 1),
        ("label", "g", "", 1),
        ("instruction", "movl", "$1, %eax", 2),
        ("instruction", "addl", "%ebx, %eax", 2),
        ("label", ".Lx", "", 4),
        ("instruction", "ret", "", 4),
        ("data", ".quad", "f+1, 2", 5),
    ]


def test_quoted_labels_are_never_numeric() -> None:
    parsed = parse('1: "1": "a:b": ret\n1: ret\n.comm "2",8\n')
    labels = [(s.name, s.is_numeric_label) for s in parsed.statements if s.kind == "label"]
    assert labels == [("1", True), ("1", False), ("a:b", False), ("1", True), ("2", False)]
    assert parsed.labels.keys() == {"1", "a:b", "2"}
    assert parse_refused('"1": "1": ret') == ("symbol '1' is already defined", 1, 6)


def test_positions_are_exact() -> None:
    text = "f:\tnop; /* a\nb */  MOVQ %rax,%rbx"
    parsed = parse(text)
    statement = parsed.statements[-1]
    assert (statement.name, statement.text, parsed.locate(statement.offset)) == ("movq", "MOVQ %rax,%rbx", (2, 7))


@pytest.mark.parametrize(
    "comment", ["# movl $1; nop: \"'", "// x", '/* one\nmore; .incbin "x" */', "#", "/**/", "/* é */", '# "unbalanced']
)
def test_comments(comment: str) -> None:
    assert [s.name for s in parse(f"f: ret {comment}\nnop").statements] == ["f", "ret", "nop"]


def test_comment_marks_in_literals_are_text() -> None:
    text = "f: movb $'#, %al\n"
    assert parse_refused(text) == ("unterminated literal", 1, 10)
    text = 'f: movb $\'#\', %al\n movb $\'"\', %al\n .ascii "a;b#c/*d*/\\"//", "e"\n nop'
    assert [(s.name, s.operands) for s in parse(text).statements[1:]] == [
        ("movb", "$'#', %al"),
        ("movb", "$'\"', %al"),
        (".ascii", '"a;b#c/*d*/\\"//", "e"'),
        ("nop", ""),
    ]
    assert split_operands('"a,b\\",", \'x\', (%rax,%rbx,2), 3') == ['"a,b\\","', "'x'", "(%rax,%rbx,2)", "3"]


def test_prefixes_belong_to_their_instruction() -> None:
    text = "f: rep movsq\nlock; incl (%rdi)\nrepne\n\tscasb\n notrack jmp *%rax\n rep\n.Lx: lock nop"
    assert [(s.prefixes, s.name, s.text) for s in parse(text).statements if s.kind == "instruction"] == [
        (("rep",), "movsq", "rep movsq"),
        (("lock",), "incl", "lock  incl (%rdi)"),
        (("repne",), "scasb", "repne \tscasb"),
        (("notrack",), "jmp", "notrack jmp *%rax"),
        ((), "rep", "rep"),
        (("lock",), "nop", "lock nop"),
    ]


@pytest.mark.parametrize(
    ("text", "syntax"),
    [
        ("f: mov %rax, %rbx", "att"),
        ("f: mov rax, rbx", "intel"),
        ("f: mov eax, DWORD PTR [rdi] # %rax\n", "intel"),
        ("f: ret", "att"),
        ("f: call rax_handler\n ret", "att"),
        ('f: ret\n .asciz "mov rax, rbx"', "intel"),
        (".intel_syntax noprefix\nf: mov rax, rbx", "intel"),
        (".intel_syntax noprefix\nf: ret\n.att_syntax prefix\n mov %rax,%rbx", "att"),
    ],
)
def test_syntax(text: str, syntax: str) -> None:
    assert parse(text).statements[-1].syntax == syntax


def test_sections_and_their_permissions() -> None:
    text = """
        nop
        .data
        .byte 1
        .section .rodata.str1.1,"aMS",@progbits,1
        .asciz "x"
        .pushsection .text.hot,"ax",@progbits
        nop
        .popsection
        .byte 2
        .previous
        .byte 3
        .bss
        .zero 8
        .section .mine,"awx"
        .byte 4
        .section .data.rel.ro,"aw"
        .quad 0
        .section ".note.GNU-stack","",@progbits
        .byte 5
        .section .debug_info
        .long .Lnowhere
        .section .eh_frame,"a",@unwind
        .quad 1
        .comm buffer,16,8
    """
    parsed = parse(text)
    assert [tuple(section) for section in parsed.sections] == [
        (".text", False, True, False, False),
        (".data", True, False, False, False),
        (".rodata.str1.1", False, False, False, False),
        (".text.hot", False, True, False, False),
        (".bss", True, False, True, False),
        (".mine", True, True, False, False),
        (".data.rel.ro", True, False, False, False),
    ]
    assert [(s.section, s.operands) for s in parsed.statements if s.kind == "data"] == [
        (1, "1"), (2, '"x"'), (2, "2"), (1, "3"), (5, "4"), (6, "0"),
    ]  # fmt: skip
    assert parsed.statements[parsed.labels["buffer"]].section == 4


def test_harmless_directives_add_no_statement() -> None:
    text = """
        .file "a.c"
        .globl f
        .type f,@function
        .p2align 4
    f:  .cfi_startproc
        .loc 1 2 3
        ret
        .size f, .-f
        .ident "clang"
        .addrsig
        .addrsig_sym f
    """
    assert [s.kind for s in parse(text).statements] == ["align", "label", "instruction"]


@pytest.mark.parametrize(
    ("directive", "reason"),
    [
        ('.incbin "/etc/passwd"', "directive .incbin is not supported: it reads a file"),
        ('.include "/etc/passwd"', "directive .include is not supported: it reads a file"),
        (".INCBIN \"/etc/passwd\"", "directive .incbin is not supported: it reads a file"),
        (".macro m x", "directive .macro is not supported: macros are not supported"),
        (".altmacro", "directive .altmacro is not supported: macros are not supported"),
        (".rept 1000000000", "directive .rept is not supported: repetition is not supported"),
        (".irp x,1,2", "directive .irp is not supported: repetition is not supported"),
        (".org 0x7fffffff", "directive .org is not supported: it moves the location counter"),
        (". = . + 100", "an assignment to `.` is not supported: it moves the location counter"),
        (".reloc 0, R_X86_64_NONE", "directive .reloc is not supported: it is not on the list of harmless directives"),
        (".bundle_align_mode 4", "directive .bundle_align_mode is not supported: it is not on the list"),
        (".symver a, b@c", "directive .symver is not supported: it is not on the list"),
        (".nonsense", "directive .nonsense is not supported: it is not on the list"),
        (".code32", "directive .code32 is not supported: it is not on the list"),
        (".fill 100000000, 8, 1", ".fill asks for too much: 800000000 bytes in all, 8388608 at most"),
        (".zero 8388609", ".zero asks for too much: 8388609 bytes in all"),
        (".skip 6000000\n.space 6000000", ".space asks for too much: 12000000 bytes in all"),
        (".skip -1", ".skip with a count of -1"),
        (".comm big, 20000000, 8", ".comm asks for too much"),
        (".p2align 31", "alignment 2147483648 is above 4096"),
        (".balign 3", "alignment 3 is not a power of 2"),
        (".zero 4*1024*1024*1024", ".zero is supported with plain numbers only"),
        (".att_syntax noprefix", ".att_syntax noprefix is not supported"),
        (".popsection", ".popsection without .pushsection"),
        ("lock .incbin \"/etc/passwd\"", ".incbin is not supported: it reads a file"),
        ("\".incbin\" \"/etc/passwd\"", "expected an instruction"),
        ("x: y: .incbin \"/etc/passwd\"", "directive .incbin"),
        ("nop; .incbin \"/etc/passwd\"", "directive .incbin"),
        ("/**/.incbin \"/etc/passwd\"", "directive .incbin"),
        ("{vex} .incbin \"/etc/passwd\"", ".incbin is not supported: it reads a file"),
        (".section .text\n.section .x,\"ax\"\n.incbin \"x\"", "directive .incbin"),
        ("\"a\" .incbin \"x\"", "expected an instruction"),
    ],
)  # fmt: skip
def test_refused_directives(directive: str, reason: str) -> None:
    message, line, _ = parse_refused(f"f:\n  nop\n  {directive}\n")
    assert message.startswith(reason)
    assert line == 3 + directive.count("\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f:\n nop\x00", ("control character '\\x00' in the text", 2, 5)),
        ("f:\n\x1b[0m", ("control character '\\x1b' in the text", 2, 1)),
        ("f: nop\rret", ("control character '\\r' in the text", 1, 7)),
        ("f: mov→ %eax", ("character '→' outside of strings and comments", 1, 7)),
        ('f: .ascii "ab', ("unterminated literal", 1, 11)),
        ('f: .ascii "ab\\\n"', ("unterminated literal", 1, 11)),
        ("f: nop /* ", ("unterminated comment", 1, 8)),
        ("f:\nf:", ("symbol 'f' is already defined", 2, 1)),
        ("f: nop\n %rax", ("expected an instruction, not '%rax'", 2, 2)),
        ("f: nop\n lock %rax", ("expected an instruction, not '%rax'", 2, 7)),
    ],
)
def test_refused_text(text: str, expected: tuple[str, int, int]) -> None:
    assert parse_refused(text) == expected


def test_windows_line_ends() -> None:
    parsed = parse("f:\r\n  rep\r\n movsb\r\n .byte 1\r\n")
    assert list_statements(parsed) == [
        ("label", "f", "", 1),
        ("instruction", "movsb", "", 2),
        ("data", ".byte", "1", 4),
    ]


def test_the_features_of_a_windows_object_are_no_code() -> None:
    text = "\t.def\t@feat.00;\n\t.scl\t3;\n\t.type\t0;\n\t.endef\n\t.globl\t@feat.00\n.set @feat.00, 0\nf:\n\tret\n"
    parsed = parse_assembly(text, get_target("x86_64-windows").dialect)
    assert list_statements(parsed) == [("label", "f", "", 7), ("instruction", "ret", "", 8)]


def test_size_limit() -> None:
    assert parse_refused("nop\n" * (1 << 21) + "nop") == ("the text is longer than 8192 KiB", 0, 0)
    assert parse_refused("nop\n" * (1 << 19)) == ("the instructions of the text are longer than 1024 KiB", 0, 0)
    assert len(parse("nop\n" * 10000).statements) == 10000


def test_strings_may_hold_any_character() -> None:
    assert [s.operands for s in parse('.data\n.asciz "é日本"\n').statements] == ['"é日本"']


def test_thread_local_variables_are_named_with_their_section() -> None:
    parsed = parse('.section .tdata,"awT",@progbits\nx: .long 1\n.text\nf: ret')
    assert parsed.thread_local == {"x": ".tdata"}
    assert [section.is_thread_local for section in parsed.sections] == [True, False]
    assert parse('.section mine,"awT",@progbits\nx: .long 1').thread_local == {"x": "mine"}
    assert parse(".section .tbss.x\nx: .zero 4").sections == [(".tbss.x", True, False, True, True)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("16", 16),
        ("-0x10", -16),
        ("0b101", 5),
        ("010", 8),
        ("0", 0),
        ("+7", 7),
        ("08", None),
        ("10h", None),
        ("x", None),
    ],
)
def test_integers(text: str, value: int | None) -> None:
    assert parse_integer(text) == value


def test_statements_and_errors_of_arbitrary_text_have_positions_in_it() -> None:
    from hypothesis import given, settings
    from hypothesis import strategies as st

    pieces = st.sampled_from(
        [
            "f:",
            "nop",
            "\n",
            ";",
            "#",
            '"',
            '"é"',
            "'",
            "/*",
            "*/",
            "\\",
            ".quad",
            "lock",
            "rep",
            " ",
            "=",
            "1:",
            "$1",
            "%rax",
            ",",
            ".",
        ]
    )

    @settings(max_examples=300, deadline=None)
    @given(st.lists(pieces | st.text(max_size=3), max_size=20).map("".join))
    def check(text: str) -> None:
        try:
            parsed = parse(text)
        except AssemblyError as error:
            lines = text.split("\n")
            assert 1 <= error.line <= len(lines)
            assert 1 <= error.column <= len(lines[error.line - 1]) + 1
        else:
            unquoted = remove_quotes(text)  # names that are not ASCII stand where their quotes end
            for statement in parsed.statements:
                start = statement.offset
                assert parsed.locate(start) == (text[:start].count("\n") + 1, start - text.rfind("\n", 0, start))
                # Comments, and what separates a prefix from its instruction, are blank in the statement's text.
                written = unquoted[start : start + len(statement.text)]
                assert statement.text == statement.text.strip()
                assert all(own in (there, " ") for own, there in zip(statement.text, written, strict=True))
                assert statement.text[0] == written[0]

    check()


def test_equal_lines_mean_what_the_lines_in_front_say() -> None:
    """Lines that were read are kept, in one text and in further ones."""
    parsed = parse("f: lock\n incl (%rdi)\n incl (%rdi)\n lock\n .loc 1 2\n incl (%rdi)\n.intel_syntax\n nop\n ret\n")
    assert list_statements(parsed) == [
        ("label", "f", "", 1),
        ("instruction", "incl", "(%rdi)", 1),
        ("instruction", "incl", "(%rdi)", 3),
        ("instruction", "lock", "", 4),
        ("instruction", "incl", "(%rdi)", 6),
        ("instruction", "nop", "", 8),
        ("instruction", "ret", "", 9),
    ]
    assert [s.syntax for s in parsed.statements[-3:]] == ["att", "intel", "intel"]
    assert [s.prefixes for s in parsed.statements[1:3]] == [("lock",), ()]
    assert list_statements(parse("f: ret /*\n incl (%rdi)\n nop\n*/\n nop\n"))[1:] == [
        ("instruction", "ret", "", 1),
        ("instruction", "nop", "", 5),
    ]
    assert parse_refused("f: f:\n incl 'x\n")[1:] == (2, 7)
    assert parse_refused("f:\n incl (%rdi)\nf: nop\n") == ("symbol 'f' is already defined", 3, 1)

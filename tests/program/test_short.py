"""Short IR: what a small model is asked does not depend on how the user writes."""

from __future__ import annotations

import re

import pytest
from faces import Compile

from pytest_llmcompiler.errors import IRError
from pytest_llmcompiler.program.short import restore_names, shorten

SOURCE = """
extern int table[4];
int helper(signed char c);
int chosen(int first, unsigned char second)
{
    int kept = table[second & 3];
    return first > kept ? helper(first) : kept;
}
"""
OTHERWISE = """
/* the same */  extern int nsw [ 4 ];
int tail( signed char noundef ) ;
int exact( int captures , unsigned char _1 ) {
    int align = nsw[ _1&3 ]; // under other names

    if (captures > align)
        return tail(captures);
    return align;
}
"""


def test_names_blanks_and_comments_make_no_difference(compiled: Compile) -> None:
    first, second = compiled(SOURCE).texts.short_ir("chosen"), compiled(OTHERWISE).texts.short_ir("exact")
    assert first.text == second.text
    assert first.names == {"f": "chosen", "g0": "table", "g1": "helper"}
    assert second.names == {"f": "exact", "g0": "nsw", "g1": "tail"}


def test_it_says_what_code_depends_on_and_no_more(compiled: Compile) -> None:
    short = compiled(SOURCE).texts.short_ir("chosen")
    assert short.text.startswith("define i32 @f(i32 %0, i8 zeroext %1) {\n")
    assert "call i32 @g1(i8 signext %" in short.text
    assert not re.search(r"\b(?:nsw|nuw|noundef|align|tail|dso_local|inbounds)\b|[#!;]|^[ \t]|[ \t]$", short.text, re.M)
    assert short.text.endswith("}\n")


def test_values_and_blocks_of_ir_files_are_numbered_too(compiled: Compile) -> None:
    named = """
    define i32 @"odd name"(i32 %nsw, ptr nonnull %p) {
    entry:
      %x = add nsw i32 %nsw, 1, !range !0
      store i32 %x, ptr %p, align 4
      ret i32 %x
    }
    !0 = !{i32 0, i32 7}
    """.replace(", !range !0", "")
    numbered = """
    define i32 @g0(i32 %0, ptr %1) {
      %3 = add i32 %0, 1   ; first more
      store i32 %3, ptr %1
      ret i32 %3
    }
    """
    assert compiled(named, ".ll").texts.short_ir("odd name").text == compiled(numbered, ".ll").texts.short_ir("g0").text


def test_debug_information_and_other_metadata_make_no_difference(compiled: Compile) -> None:
    bare = "define i32 @h(ptr %0) {{\n%2 = load i32, ptr %0{}{}\n{}ret i32 %2{}\n}}\n{}"
    described = (
        bare.format(
            ", align 4",
            ", !tbaa !9, !range !8",
            "  #dbg_value(i32 %2, !4, !DIExpression(), !6)\n",
            ", !dbg !6",
            """
    !llvm.dbg.cu = !{!0}
    !llvm.module.flags = !{!7}
    !0 = distinct !DICompileUnit(language: DW_LANG_C11, file: !1, emissionKind: FullDebug)
    !1 = !DIFile(filename: "a.c", directory: "/")
    !2 = distinct !DISubprogram(name: "h", scope: !1, file: !1, line: 1, type: !3, spFlags: DISPFlagDefinition, unit: !0)
    !3 = !DISubroutineType(types: !{null})
    !4 = !DILocalVariable(name: "x", scope: !2, file: !1, line: 1, type: !5)
    !5 = !DIBasicType(name: "int", size: 32, encoding: DW_ATE_signed)
    !6 = !DILocation(line: 1, column: 1, scope: !2)
    !7 = !{i32 2, !"Debug Info Version", i32 3}
    !8 = !{i32 0, i32 7}
    !9 = !{!10, !10, i64 0}
    !10 = !{!"int", !11}
    !11 = !{!"root"}
    """,
        )
        .replace("%0) {", "%0) !dbg !2 {")
        .replace("\n    ", "\n")
    )
    assert (
        compiled(described, ".ll").texts.short_ir("h").text
        == compiled(bare.format("", "", "", "", ""), ".ll").texts.short_ir("h").text
    )


def test_types_have_canonical_names(compiled: Compile) -> None:
    source = "struct {0} {{ long a[4]; }}; void keep(struct {0} *); void f(void) {{ struct {0} s; keep(&s); }}"
    first, second = (compiled(source.format(name)).texts.short_ir("f").text for name in ("shape", "nsw"))
    assert first == second
    assert "alloca %t0\n" in first


def test_loops_and_switches_stay_what_they_are(compiled: Compile) -> None:
    reference = compiled(
        """
        void clear(char *p, unsigned n) { for (unsigned i = 0; i < n; i++) p[i] = 0; }
        int coded(int k) { switch (k) { case 0: return 7; case 1: return 2; case 2: return 9; case 3: return 4; } return 0; }
        """
    )
    assert "memset" not in reference.texts.short_ir("clear").text
    coded = reference.texts.short_ir("coded")
    assert "switch i32 %0" in coded.text
    assert set(coded.names.values()) == {"coded"}


def test_the_short_form_of_a_short_form_is_itself(compiled: Compile) -> None:
    short = compiled(SOURCE).texts.short_ir("chosen")
    assert shorten(short.module, "f").text == short.text


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("f:\n\tcallq\tg0\n", 'max:\n\tcallq\t"a b"\n'),
        ("\tmovl\tg1+4(%rip), %eax\n", "\tmovl\tg0+4(%rip), %eax\n"),
        ("\tmovq\t$g1, %rax\n\tjmp\tf", "\tmovq\t$g0, %rax\n\tjmp\tmax"),
        ("\tmovl\tg1(,%rax,4), %eax", "\tmovl\tg0(,%rax,4), %eax"),
        ("\tcallq\tg11\n.Lf:\n\tfld\tg1.x\n", "\tcallq\tg11\n.Lf:\n\tfld\tg1.x\n"),
    ],
)
def test_answers_get_the_names_of_the_case_all_at_once(written: str, meant: str) -> None:
    assert restore_names(written, {"f": "max", "g0": "a b", "g1": "g0"}) == meant


def test_ir_that_is_none_is_an_error() -> None:
    with pytest.raises(IRError):
        shorten("define i32 @f() { ret i32 }", "f")

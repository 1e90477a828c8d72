"""Texts that get far into a parser, by phrases of texts that got there, and by digits of compared numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from faces import Compile

from pytest_llmcompiler.corpus.grammar import find_phrases
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings

PORT = """
int port(const char *s) {
    unsigned value = 0;
    if (!*s) return -1;
    for (; *s; s++) {
        if (*s < '0' || *s > '9') return -1;
        value = value * 10 + (unsigned)(*s - '0');
        if (value > 65535) return -1;
    }
    return (int)value;
}
"""
ESCAPE = """
static int hex4(const char *s) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        char c = s[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}
int escape(const char *s) {
    if (s[0] != '\\\\' || s[1] != 'u') return -1;
    int high = hex4(s + 2);
    if (high < 0xD800 || high > 0xDBFF) return high;
    if (s[6] != '\\\\' || s[7] != 'u') return -2;
    int low = hex4(s + 8);
    if (low < 0xDC00 || low > 0xDFFF) return -3;
    return 0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF);
}
"""


@pytest.mark.parametrize(
    ("source", "function", "right", "wrong"),
    [
        (PORT, "port", "value > 65535", "value >= 65535"),
        (PORT, "port", "value > 65535", "value > 65536"),
        (ESCAPE, "escape", "low > 0xDFFF", "low > 0xDBFF"),
        (ESCAPE, "escape", "<< 10", "<< 9"),
    ],
)
def test_faults_deep_in_a_parser_show(compiled: Compile, source: str, function: str, right: str, wrong: str) -> None:
    reference = compiled(source)
    settings = replace(JudgeSettings(), effort=0)
    harness = Harness(reference, function, settings)
    assert harness.judge(reference.texts.assembly(function, "O1")).passed
    assert right in source
    fault = compiled(source.replace(right, wrong)).texts.assembly(function, "O1")
    assert harness.judge(fault, explain=False).kind == "mismatch"


def test_a_bracket_is_a_phrase_with_all_up_to_the_one_that_closes_it() -> None:
    def list_texts(text: bytes) -> list[bytes]:
        return [text[start:end] for start, end in find_phrases(text)]

    assert list_texts(b"f(1)") == [b"f", b"(1)", b"(", b"1", b")"]
    assert list_texts(b"[[a],b]") == [b"[[a],b]", b"[", b"[a]", b"[", b"a", b"]", b",", b"b", b"]"]
    assert list_texts(b'(" x') == [b"(", b'"', b" ", b"x"]
    assert list_texts(b'"a"b"') == [b'"a"', b'"', b"a", b'"b"', b'"', b"b", b'"']
    assert list_texts(b"") == []

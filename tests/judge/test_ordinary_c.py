"""Kinds of code that published C is full of: right code passes, wrong code fails, and every line is reached."""

from __future__ import annotations

import pytest
from faces import Compile

from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.judge.verdict import Verdict

BYTES_TO_WORDS = """
unsigned words[4];
void load(const unsigned char *key)
{
    for (int i = 0; i < 4; i++)
        words[i] = (key[4 * i] << 24) | (key[4 * i + 1] << 16) | (key[4 * i + 2] << 8) | key[4 * i + 3];
}
"""
ROUNDS = """
int passes(int x)
{
    for (int i = 0; i < 512; i++)
        x = x ^ i;
    return x;
}
"""
TEXT_WITHOUT_END = """
void put_key(const unsigned char *key);
void keys(void)
{
    unsigned char first[8] = {'R', 'I', 'F', 'F', 'W', 'A', 'V', 'E'};
    unsigned char second[8] = {0x13, 0x34, 0x57, 0x79, 1, 2, 3, 4};
    unsigned char third[8] = {'R', 'I', 'F', 'F', 'W', 'A', 'V', 'E'};
    put_key(first);
    put_key(second);
    put_key(third);
}
"""
LARGE_STRUCT = """
struct key { unsigned p[18], s[4][256]; };
void encrypt(const unsigned char in[], unsigned char out[], const struct key *key)
{
    unsigned left = (unsigned)in[0] << 24 | in[1] << 16 | in[2] << 8 | in[3];
    for (int i = 0; i < 16; i++)
        left = (left << 3 | left >> 29) ^ key->p[i] ^ key->s[i & 3][left >> 24];
    out[0] = left >> 24, out[1] = left >> 16, out[2] = left >> 8, out[3] = left ^ key->p[17];
}
"""
LENGTH_IN_A_LOOP = """
unsigned long strlen(const char *);
int count(const char *text)
{
    int found = 0;
    for (int i = 0; i < strlen(text); i++)
        found += text[i] == 'I' && i + 1 < strlen(text) && text[i + 1] == 'V';
    return found;
}
"""


def judge(compiled: Compile, source: str, function: str, level: str = "O2", *change: str) -> Verdict:
    """The verdict on clang's own code for a function, with one text in it replaced by another."""
    reference = compiled(source)
    text = reference.texts.assembly(function, level)
    if change:
        assert change[0] in text, text
        text = text.replace(*change, 1)
    return Harness(reference, function, JudgeSettings(examples=20)).judge(text, explain=False)


def test_a_shift_into_the_sign_bit_is_defined(compiled: Compile) -> None:
    """Four bytes of which none is above 127 are one sixteenth of all, and sixteen of them hardly any."""
    verdict = judge(compiled, BYTES_TO_WORDS, "load")
    assert verdict.passed and verdict.detail["dropped"].get("undefined behaviour", 0) < verdict.detail["inputs"]
    wrong = "load:\n" + "".join(
        f" movl {4 * i}(%rdi), %eax\n bswapl %eax\n andl $0x7fffffff, %eax\n movl %eax, words+{4 * i}(%rip)\n"
        for i in range(4)
    )
    assert (
        Harness(compiled(BYTES_TO_WORDS), "load", JudgeSettings(examples=20)).judge(wrong + " ret\n").kind == "mismatch"
    )


def test_a_loop_of_256_rounds_is_reached(compiled: Compile) -> None:
    verdict = judge(compiled, ROUNDS, "passes", "O0")
    assert verdict.passed
    assert verdict.detail["coverage"]["unreached"] == []
    assert verdict.detail["coverage"]["edges"] == verdict.detail["coverage"]["of"] > 2


@pytest.mark.parametrize("offsets", [(0, 8, 16), (0, 16, 8), (8, 16, 0)])
def test_what_follows_a_text_without_an_end_is_not_compared(compiled: Compile, offsets: tuple[int, ...]) -> None:
    """clang has `first` behind `second` at -O0 and `third` at -O2, which are equal. Another compiler has something else."""
    values = 0x4556415746464952, 0x0403020179573413, 0x4556415746464952
    stores = (f" movabsq ${value:#x}, %rax\n movq %rax, {at}(%rsp)\n" for value, at in zip(values, offsets))
    calls = (f" leaq {at}(%rsp), %rdi\n callq put_key\n" for at in offsets)
    text = f"keys:\n subq $24, %rsp\n{''.join(stores)}{''.join(calls)} addq $24, %rsp\n retq\n"
    harness = Harness(compiled(TEXT_WITHOUT_END), "keys", JudgeSettings(examples=20))
    assert harness.judge(text, explain=False).kind == "pass"
    assert harness.judge(text.replace("0x403", "0x503"), explain=False).kind == "mismatch"


def test_inputs_of_the_second_look_fit_into_memory(compiled: Compile) -> None:
    assert judge(compiled, LARGE_STRUCT, "encrypt").passed


def test_a_text_whose_length_is_asked_for_in_each_round(compiled: Compile) -> None:
    """65,600 rounds of `strlen` over 65,600 bytes take minutes: so long a text is left out."""
    verdict = judge(compiled, LENGTH_IN_A_LOOP, "count")
    assert verdict.passed and verdict.detail["inputs"] > 20

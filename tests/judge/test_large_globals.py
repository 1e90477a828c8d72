"""Global arrays that are too large for inputs as a whole: their first elements vary."""

from __future__ import annotations

from pytest_llmcompiler import check

EMPTY = "f:\n\txorl %eax, %eax\n\tretq\n"


def test_the_first_elements_of_a_large_array_vary() -> None:
    source = "int v[100000];\nint f(void) { for (int i = 0; i < 100000; i++) v[i] = 0; return 0; }\n"
    verdict = check(source, "f", EMPTY, explain=False)
    assert (verdict.kind, verdict.counterexample and verdict.counterexample.expected) == ("mismatch", "0")
    assert "always has its initial value: v[256…]" in verdict.detail["warning"]


def test_very_few_inputs_are_not_passed_over_in_silence() -> None:
    """Sorting an array of equal elements changes nothing, and any other array takes too long."""
    source = """int v[100000];
void f(void)
{
    for (int i = 1; i < 100000; i++)
        for (int j = i; j > 0 && v[j - 1] > v[j]; j--) {
            int x = v[j];
            v[j] = v[j - 1];
            v[j - 1] = x;
        }
}
"""
    verdict = check(source, "f", EMPTY, explain=False)
    assert verdict.detail["inputs"] <= 3
    assert f"f is judged on {verdict.detail['inputs']} input" in verdict.detail["warning"]

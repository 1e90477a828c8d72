"""What other rounding of products explains, and what it does not."""

from __future__ import annotations

import pytest

from pytest_llmcompiler.judge.rounding import Rounding, ShownText, compare_rounded

BUILDS = ["x = 0.25000000000000011 after 3", "x = 0.25000000000000006 after 3"]


@pytest.mark.parametrize(
    ("text", "rounding"),
    [
        ("x = 0.25000000000000011 after 3", "allowed"),
        ("x = 0.25000000000000017 after 3", "allowed"),
        ("x = 0.24999999999999994 after 3", "allowed"),
        ("x = 0.2500000000001 after 3", "unclear"),
        ("x = 7 after 3", "unclear"),
        ("x = 0.25000000000000011 after 4", "wrong"),
        ("y = 0.25000000000000011 after 3", "wrong"),
        ("x = 0.25000000000000011 after", "wrong"),
        ("x = 0.25000000000000011 after 03", "wrong"),
        ("x = 0.25000000000000011 after 3.0", "wrong"),
        ("x = nan after 3", "wrong"),
        ("", "wrong"),
    ],
)
def test_a_text(text: str, rounding: Rounding) -> None:
    assert compare_rounded(ShownText(text), list(map(ShownText, BUILDS))) == rounding


def test_exit_codes_are_not_rounded() -> None:
    builds = [ShownText("1.5", "exit(2)"), ShownText("1.6", "exit(2)")]
    assert compare_rounded(ShownText("1.55", "exit(2)"), builds) == "allowed"
    assert compare_rounded(ShownText("1.55", "exit(3)"), builds) == "wrong"


def test_a_difference_that_cancels_all_digits_is_unclear() -> None:
    builds = [ShownText("0 1.5"), ShownText("0 1.6")]
    assert compare_rounded(ShownText("1.1e-16 1.5"), builds) == "unclear"
    assert compare_rounded(ShownText("1 1.5"), builds) == "wrong"


def test_where_rounding_decides_what_is_printed_nobody_can_say() -> None:
    builds = [ShownText("small"), ShownText("large")]
    assert compare_rounded(ShownText("large"), builds) == "allowed"
    assert compare_rounded(ShownText("neither"), builds) == "unclear"


def test_a_single_build_has_one_right_text() -> None:
    assert compare_rounded(ShownText("2"), [ShownText("1")]) == "wrong"
    assert compare_rounded(ShownText("2"), [ShownText("2")]) == "allowed"

"""A row of a dataset becomes a sample, by the names of its columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pytest_llmcompiler.errors import ColumnError
from pytest_llmcompiler.rewards import Columns
from pytest_llmcompiler.rewards.columns import gather_columns
from pytest_llmcompiler.service.sample import Sample

ROW = {"code": "int f(void) { return 1; }", "name": "f", "arch": "aarch64-linux", "opt": "O3", "kind": "ir"}


def test_named_columns_become_the_sample() -> None:
    columns = Columns(source="code", function="name", target="arch", passes="opt", task="kind", cflags="flags")
    row = {**ROW, "flags": ["-std=gnu89", "-DA=1"], "unused": 7}
    assert columns.read_sample(row, "ret") == Sample(
        ROW["code"], "f", "ret", task="ir", passes="O3", target="aarch64-linux", cflags=("-std=gnu89", "-DA=1")
    )
    assert columns.names() == ["code", "name", "kind", "opt", "arch", "flags"]


@pytest.mark.parametrize("value", [True, 1, np.True_, False, 0])
def test_a_column_says_that_the_answer_is_a_whole_program(value: object) -> None:
    sample = Columns("code", "name", program="whole").read_sample({**ROW, "whole": value}, "ret")
    assert sample.program is bool(value)


def test_columns_without_a_name_have_the_defaults_of_a_sample() -> None:
    assert Columns("code", "name").read_sample(ROW, "ret") == Sample(ROW["code"], "f", "ret")


def test_none_in_an_optional_column_is_the_default() -> None:
    row = {**ROW, "arch": None, "flags": None}
    assert Columns("code", "name", target="arch", cflags="flags").read_sample(row, "ret") == Sample(
        ROW["code"], "f", "ret"
    )


@pytest.mark.parametrize("flags", ["-O1 '-DTEXT=a b'", ("-O1", "-DTEXT=a b"), np.array(["-O1", "-DTEXT=a b"])])
def test_flags_are_one_text_or_several(flags: object) -> None:
    sample = Columns("code", "name", cflags="flags").read_sample({**ROW, "flags": flags}, "ret")
    assert sample.cflags == ("-O1", "-DTEXT=a b")
    assert all(type(flag) is str for flag in sample.cflags)


@pytest.mark.parametrize(
    ("columns", "changes", "message"),
    [
        (Columns(), {}, "no column 'source' (there are: 'arch', 'code', 'kind', 'name', 'opt')"),
        (Columns("code", "name", cflags="flags"), {}, "no column 'flags'"),
        (Columns("code", "name"), {"code": 3}, "column 'code': expected text, found int"),
        (Columns("code", "name"), {"name": None}, "column 'name': expected text, found NoneType"),
        (Columns("code", "name", target="arch"), {"arch": ["a"]}, "column 'arch': expected text, found list"),
        (Columns("code", "name", task="kind"), {"kind": "poem"}, "column 'kind': unknown task 'poem'"),
        (Columns("code", "name", cflags="flags"), {"flags": "'"}, "column 'flags': expected flags of clang"),
        (Columns("code", "name", cflags="flags"), {"flags": 5}, "column 'flags': expected flags of clang"),
        (Columns("code", "name", cflags="flags"), {"flags": [5]}, "column 'flags': expected a list of texts"),
        (Columns("code", "name", program="whole"), {"whole": "yes"}, "column 'whole': expected true or false"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(columns: Columns, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ColumnError) as caught:
        columns.read_sample({**ROW, **changes}, "ret")
    assert message in str(caught.value)


def test_a_row_may_be_in_parts() -> None:
    parts = ({"a": 1, "b": 1}, '{"b": 2, "c": 3}', "int f(void);", None, "{ no JSON", '{"a":' * 200_000, 4)
    assert gather_columns(*parts) == {"a": 1, "b": 2, "c": 3}

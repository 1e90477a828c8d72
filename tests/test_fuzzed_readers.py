"""Any text ends in a value or in an error of the package that names the place. `benchmarks/readers.py` tries many more."""

from __future__ import annotations

import pytest
from fuzzed_readers import COLUMNS, READERS, VALUES, read_row, texts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_llmcompiler.importers.imported import Row
from pytest_llmcompiler.importers.importing import FORMATS

CHEAP = settings(
    max_examples=60, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize("name", READERS)
def test_any_text_is_read_or_refused(name: str) -> None:
    @CHEAP
    @given(texts(READERS[name]))
    def check(text: str) -> None:
        READERS[name].read_alone(text)

    check()


@CHEAP
@given(st.dictionaries(st.sampled_from(COLUMNS), VALUES, max_size=6))
def test_rows_of_any_values(data: dict[str, object]) -> None:
    for read in FORMATS.values():
        read_row(read, Row("rows.jsonl:1", 0, data))

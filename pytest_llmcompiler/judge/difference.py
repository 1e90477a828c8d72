"""One difference between two runs, and what runs are compared by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_llmcompiler.judge.location import Location, format_location
from pytest_llmcompiler.values.c_types import Function, Type
from pytest_llmcompiler.values.layout import Layout


@dataclass(frozen=True)
class Difference:
    """A location at which two runs differ, with the value of each run as text."""

    location: Location
    expected: str
    """The reference's value."""
    observed: str
    """The candidate's value."""

    @property
    def place(self) -> str:
        """The location in words."""
        return format_location(self.location)


@dataclass(frozen=True)
class ComparisonContext:
    """What two runs on one input are compared by: the signature, the input, the global variables of the case."""

    signature: Function
    layout: Layout
    globals: Sequence[str]
    """The names of the writable variables, in the order of `Observation.globals`."""
    variables: Mapping[str, Type]
    """The types of global variables, as far as they are known."""
    compares_errno: bool = False
    """Whether the function reads or sets the C library's error number."""
    compares_pointees: bool = False
    """Whether what a struct that is passed by value leads to on the stack is compared: no member points to the end of
    an object there."""

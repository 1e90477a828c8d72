"""The inputs of the reserve as the engine reads them: like those of the suite, but nothing is expected of them.

What the reference shows on one is found when a second look runs it, beside the candidate (see `engine/look.c`).
"""

from __future__ import annotations

from pytest_llmcompiler.corpus.probing import ProbeResult
from pytest_llmcompiler.emulator.environment import initial_errno
from pytest_llmcompiler.emulator.observation import Constants, Observation
from pytest_llmcompiler.judge.difference import ComparisonContext
from pytest_llmcompiler.judge.dont_care import DontCareBytes
from pytest_llmcompiler.judge.oracle import SuiteEntry
from pytest_llmcompiler.targets.abi import CallSetup
from pytest_llmcompiler.values.c_types import Int, Type


class _AnyConstants(Constants):
    """Has a constant at every address: whether a pointer leads to one shows when the reference has run."""

    def at(self, address: int, element: Type | None) -> bytes | None:
        if isinstance(element, Int) and element.character:
            return b"\0"  # the engine takes what ends with a zero for a text
        return b"\1" * element.size if element else None


def build_reserve_entry(context: ComparisonContext, call: CallSetup, limit: int) -> SuiteEntry:
    """The entry of an input of which nothing is expected: what stands in it is what the input starts with.

    `limit` is the number of bytes of code that a run of the reference may execute.
    """
    layout, result = context.layout, context.signature.result
    known = (context.variables.get(name) for name in context.globals)
    run = Observation(
        "return",
        constants=_AnyConstants(),
        result=layout.result.address.to_bytes(8, "little") if layout.result else bytes(result.size if result else 0),
        slots=tuple(layout.initial_bytes(placed, 0) for placed in layout.objects),
        globals=tuple(bytes(type.size if type else 0) for type in known),
        errno=initial_errno(layout.environment_seed),
    )
    return SuiteEntry(context, call, run, DontCareBytes(), limit, ProbeResult())

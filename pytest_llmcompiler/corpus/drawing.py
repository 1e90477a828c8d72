"""Drawing values from hypothesis without what its `draw` does around each value.

For every value hypothesis opens a span, by which its shrinker deletes and reorders parts of an example. An input has
dozens of values, most of them one choice among a few, and a span takes longer than the choice. So the values of an
input are drawn without spans of their own. The choices are the same, and are shrunk one by one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

from hypothesis import strategies as st

from pytest_llmcompiler.values.input import Input

Choice = tuple[Any, ...] | range | list[Any] | st.SearchStrategy[Any]
"""What a value is drawn from: one of the elements of a tuple, a number of a range, what one of the choices in a list
gives, or what a strategy gives."""
_MAX_EVEN = 127
"""Distance of the bounds of a range above which hypothesis prefers numbers near the bounds."""


class Draw:
    """Gives values that hypothesis chooses, for one example."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self._integer = data.draw_integer

    def __call__(self, choice: Choice) -> Any:
        if type(choice) is tuple:
            return choice[self._integer(0, len(choice) - 1)] if len(choice) > 1 else choice[0]
        if type(choice) is list:
            return self(choice[self._integer(0, len(choice) - 1)])
        if type(choice) is range:
            if choice.step == 1:
                return self.integer(choice.start, choice.stop - 1)
            return choice[self._integer(0, len(choice) - 1)]
        return choice.do_draw(self._data)  # type: ignore[union-attr]

    def boolean(self) -> bool:
        """True half of the time."""
        return bool(self._data.draw_boolean())

    def integer(self, low: int, high: int) -> int:
        """A number from `low` to `high`."""
        if high - low > _MAX_EVEN:
            return int(_wide_range(low, high).do_draw(self._data))
        return int(self._integer(low, high))


@functools.lru_cache(maxsize=256)
def _wide_range(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


class InputStrategy(st.SearchStrategy[Input]):
    """A strategy from a function that draws one input."""

    def __init__(self, draw_input: Callable[[Draw], Input]) -> None:
        super().__init__()
        self._draw_input = draw_input

    def do_draw(self, data: Any) -> Input:
        """Called by hypothesis, for one example."""
        return self._draw_input(Draw(data))


class Source(st.SearchStrategy[Callable[[], Input]]):
    """A strategy whose values draw inputs from another strategy: as many in one example as the example has room for.

    An example takes hypothesis as long as drawing an input does. The function has to be called while hypothesis runs
    the example; where there is no more room, the call ends the example.
    """

    def __init__(self, inputs: st.SearchStrategy[Input]) -> None:
        super().__init__()
        self._inputs = inputs

    def do_draw(self, data: Any) -> Callable[[], Input]:
        """Called by hypothesis, for one example."""
        return lambda: cast(Input, data.draw(self._inputs))

"""The hypothesis strategy for the inputs of a function, built from the types of its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hypothesis import strategies as st

from pytest_llmcompiler.corpus.drawing import Draw, InputStrategy
from pytest_llmcompiler.corpus.hints import Hints
from pytest_llmcompiler.corpus.input_drawer import InputDrawer
from pytest_llmcompiler.corpus.possible_values import PossibleValues
from pytest_llmcompiler.corpus.relations import ParameterRelations, RelationScope, merge_relations, relations_by_name
from pytest_llmcompiler.corpus.scalar_strategies import ScalarStrategies
from pytest_llmcompiler.corpus.variations import draw_variation
from pytest_llmcompiler.program.case import ArgRule
from pytest_llmcompiler.values.c_types import Function, Int, Param, Type
from pytest_llmcompiler.values.input import STANDARD_INPUT, Input, Value, point_to_text

_UNNAMED_COUNTS = (8, 8, 8, 8, 6, 4, 2, 0)
"""Arguments that are passed after the named parameters of a variadic function: mostly more than are read."""
_UNKNOWN_TYPES: tuple[Type, ...] = (Int(8, True, "long"),)
"""Their types where nothing tells which the function reads."""
_IS_4GIB_ALIGNED = (False, False, False, True)
"""Whether an input with objects is 4 GiB aligned: one of four. The others detect accesses past the end."""


_MAX_LINES, _MAX_TOKENS = 5, 4
_SEPARATORS = (b" ", b",", b"=", b":", b"\t", b"/", b"")
_NUMBERS = (b"0", b"1", b"2", b"3", b"5", b"-7", b"42", b"3.5", b"255", b"65536", b"0x1f", b"1e3", b"-2147483648")
_WORDS = (b"a", b"Key", b"value", b"x1", b"hello", b"end", b"#", b'"q"', b"", *_NUMBERS)


def build_input_strategy(
    function: Function,
    rules: Mapping[int, ArgRule],
    hints: Hints,
    given_inputs: Sequence[Input] = (),
    *,
    globals: Mapping[str, Type] | None = None,
    environment_seeds: int = 8,
    learned: Mapping[RelationScope, ParameterRelations] | None = None,
    possible: PossibleValues | None = None,
    reads_input: bool = False,
) -> st.SearchStrategy[Input]:
    """A strategy for inputs of a function. Half of them are variations of `given_inputs`, if there are any.

    `rules` are the directives for arguments, by position.
    `globals` are the global variables that are part of the input; half of the time one keeps its initial value.
    `environment_seeds` is the number of different environment seeds.
    `learned` are the relations of members that repairs taught.
    `possible` are the values that static variables can have.
    Where the function `reads_input`, the text of standard input is part of the input.
    """
    learned, possible = learned or {}, possible or PossibleValues({})
    unnamed = (function.unnamed or _UNKNOWN_TYPES) if function.variadic else ()
    params = function.params
    drawer = InputDrawer(ScalarStrategies(hints), learned)
    named = relations_by_name([param.name for param in params], [param.type for param in params], rules)
    relations = merge_relations(named, learned.get(None), rules)
    variables = [Param(name, type) for name, type in (globals or {}).items()]
    variable_relations = relations_by_name(list(globals or ()), [variable.type for variable in variables])

    def draw_input(draw: Draw) -> Input:
        if given_inputs and draw.boolean():
            return draw_variation(draw, drawer, given_inputs)
        drawer.begin()
        all_params = (*params, *_draw_unnamed(draw, unnamed))
        values = drawer.draw_members(draw, all_params, relations, rules)
        args = tuple(Value(param.type, *value) for param, value in zip(all_params, values, strict=True))
        variable_values = tuple(_draw_globals(draw, drawer, variables, variable_relations, possible))
        if reads_input:
            variable_values = (*variable_values, (STANDARD_INPUT, point_to_text(_draw_text(draw, hints))))
        is_4gib_aligned = drawer.can_be_aligned and draw(_IS_4GIB_ALIGNED)
        environment_seed = draw.integer(0, environment_seeds - 1)
        input = Input(args, environment_seed, variable_values, is_4gib_aligned)
        return possible.draw(draw, possible.restrict(input))

    return InputStrategy(draw_input)


def _draw_globals(
    draw: Draw,
    drawer: InputDrawer,
    variables: Sequence[Param],
    relations: ParameterRelations,
    possible: PossibleValues,
) -> Iterator[tuple[str, Value]]:
    """The names and values of the global variables that do not keep their initial value."""
    initial = [index for index in range(len(variables)) if draw.boolean()]
    complete = [index for index, variable in enumerate(variables) if possible.is_complete(variable.name)]
    values = drawer.draw_members(draw, variables, relations, {}, left_out={*initial, *complete})
    for index, (variable, value) in enumerate(zip(variables, values, strict=True)):
        if index in initial:
            continue
        if index in complete:
            yield variable.name, possible.initial(variable.name, variable.type)
        else:
            yield variable.name, Value(variable.type, *value)


def _draw_text(draw: Draw, hints: Hints) -> bytes:
    """A text to read: lines of numbers and words, of which those of the program are some."""
    words = (*_WORDS, *(word for text in hints.strings for word in text.split()))
    separator = draw(_SEPARATORS)
    lines = []
    for _ in range(draw.integer(0, _MAX_LINES)):
        is_numeric = draw.boolean()
        tokens = (draw(_NUMBERS) if is_numeric else draw(words) for _ in range(draw.integer(0, _MAX_TOKENS)))
        lines.append(separator.join(tokens))
    return b"\n".join(lines) + b"\n" * draw.boolean() if lines else b""


def _draw_unnamed(draw: Draw, types: tuple[Type, ...]) -> Iterator[Param]:
    """The arguments behind the named ones, each of one of the types; none where there are no types."""
    for index in range(draw(_UNNAMED_COUNTS) if types else 0):
        yield Param(f"...[{index}]", draw(types) if len(types) > 1 else types[0])

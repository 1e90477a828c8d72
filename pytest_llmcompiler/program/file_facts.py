"""What a compiler can find out about one function from the rest of its file."""

from __future__ import annotations

import functools

from pytest_llmcompiler.errors import IRError, OptimiserError
from pytest_llmcompiler.program.ir import parse, read_bitcode
from pytest_llmcompiler.program.ir_names import print_ir
from pytest_llmcompiler.program.ir_queries import defined_functions, global_names
from pytest_llmcompiler.program.optimiser import optimise
from pytest_llmcompiler.program.static_values import StaticValues, local_variables
from pytest_llmcompiler.targets.target import Target

_PASSES = (
    "inferattrs,function(sroa,early-cse<memssa>,instcombine,simplifycfg),ipsccp,globaldce,"
    "function(gvn,instcombine,simplifycfg),globaldce"
)
"""The passes that find out what is known in a whole file. None of them removes or splits a variable that is used."""


_MAX_CHARACTERS = 4_000_000
"""Characters of the largest module that is looked at, some 60,000 instructions: that takes two seconds."""


class FileFacts:
    """The facts of one file. `text` is its module as clang -O0 writes it."""

    def __init__(self, text: str, target: Target) -> None:
        # Assembly outside of functions, and jumps to the addresses of labels, can't be followed: nothing is known then.
        is_known = len(text) <= _MAX_CHARACTERS and "module asm " not in text and "blockaddress(" not in text
        self._text, self._target = text if is_known else "", target
        self._of_unreached: dict[str, StaticValues] = {}

    @functools.cached_property
    def local_variables(self) -> frozenset[str]:
        """The writable variables that no other file can name."""
        return frozenset(local_variables(self._text))

    @functools.cached_property
    def ir(self) -> str:
        """The module with the facts in it. Functions that nothing can reach are gone."""
        return self._simplify(self._text)

    @functools.cached_property
    def _functions(self) -> frozenset[str]:
        return frozenset(defined_functions(parse(self.ir)))

    def values(self, function: str) -> StaticValues:
        """The values that variables and parameters can have when a function is called; "" is any function.

        For a local function that nothing in the file calls, it counts as called from elsewhere.
        """
        if not function or function in self._functions or not self._text:
            return self._values
        if function not in self._of_unreached:
            text = self._with_visible(function)
            self._of_unreached[function] = StaticValues(text, self._simplify(text), self._target)
        return self._of_unreached[function]

    @functools.cached_property
    def _values(self) -> StaticValues:
        return StaticValues(self._text, self.ir, self._target)

    @functools.cached_property
    def unread_variables(self) -> frozenset[str]:
        """The local variables that no function reads before it writes them itself: no behaviour depends on them.

        A variable that only unreachable functions read counts as read: these may be under test.
        """
        if not self.local_variables or not self._values.unread:
            return frozenset()
        unreached = (one for one in parse(self._text).functions if one.name not in self._functions)
        return self._values.unread.difference(*(global_names(print_ir(one)) for one in unreached))

    def ir_for(self, function: str) -> str:
        """The module with the facts in it that hold whoever calls the function."""
        is_visible = parse(self._text).get_function(function).linkage.name not in ("internal", "private")
        return self.ir if is_visible else self._simplify(self._with_visible(function))

    def _with_visible(self, function: str) -> str:
        module = parse(self._text)
        module.get_function(function).linkage = "external"
        return print_ir(module)

    def _simplify(self, text: str) -> str:
        try:
            return read_bitcode(optimise(text, _PASSES, self._target))
        except (OptimiserError, IRError):  # less is known then, and nothing wrong
            return text

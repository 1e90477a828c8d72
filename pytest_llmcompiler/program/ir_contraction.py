"""A module of IR in which multiplications and additions are contracted: a product is not rounded before it is added.

C lets a compiler contract an expression or not (C11, 6.5, paragraph 8), and processors with FMA have an instruction for
it. Where both operands of an addition are products, either may be the one that is not rounded.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pytest_llmcompiler.program.ir import parse, run_passes
from pytest_llmcompiler.program.ir_names import print_ir
from pytest_llmcompiler.program.ir_rewrites import split_multiply_add
from pytest_llmcompiler.targets.target import Target

_FEATURES = re.compile(r'"target-features"="')
_TYPE = r"(?:float|double|<\d+ x (?:float|double)>)"
_OPERAND = r"(?:<[^<>]*>|splat \([^()]*\)|[^\s,]+)"
_ARITHMETIC = re.compile(rf"^( *)(%\S+) = (f(?:add|sub|mul)) (?:[a-z]+ )*({_TYPE}) ({_OPERAND}), ({_OPERAND})")
_NEGATION = re.compile(rf"^ *(%\S+) = fneg (?:[a-z]+ )*{_TYPE} (%[^\s,]+)")
_FUNCTION = re.compile(r'^define [^\n]*?@("?[-\w$.]+"?)\([^\n]*\{\n(.*?)^\}', re.M | re.S)
_CALLED = re.compile(r'\bcall\b[^\n]*? @("?[-\w$.]+"?)\(')
_CALCULATION = re.compile(r"= f(?:add|sub|mul) |@llvm\.fmuladd\.")
_MOST_INLINED_LINES = 4_000
"""Lines of IR that a function may have with what is inlined into it. An optimiser takes about a second for so many."""
_DECLARED = re.compile(r"declare [^\n]*?(@llvm\.fma\.\w+)\(")
_FUSED_CALL = re.compile(rf"call ({_TYPE}) (@llvm\.fma\.\w+)\(")
_SUFFIXES = {"float": "f32", "double": "f64"}


def contract(text: str, target: Target, *, from_last: bool) -> str:
    """The module, in which all is contracted that may be, for processors of the target with instructions for it.
    `from_last` says which of two products that are added is the one that is not rounded."""
    lines = list(_contract_lines(split_multiply_add(text).splitlines(), from_last))
    declared = {match[1] for match in map(_DECLARED.match, lines) if match}
    called = dict.fromkeys(match.groups() for line in lines for match in _FUSED_CALL.finditer(line))
    lines += [f"declare {type} {name}({type}, {type}, {type})" for type, name in called if name not in declared]
    return _FEATURES.sub(rf"\g<0>{target.processor.fused_features}", "\n".join(lines) + "\n")


def join_statements(text: str, target: Target) -> str:
    """The module with local variables in registers, and with calls inlined that are marked so: `contract` then finds a
    product that one statement stores and another one adds, as GCC does."""
    module = parse(text)
    run_passes(module, target, "always_inliner", "sroa")
    return print_ir(module)


def find_contractible_callees(text: str, function: str) -> frozenset[str]:
    """The functions of a module that calculate with floating-point numbers for `function`, which calls them directly or
    through each other: sums and products may meet where these calls are inlined. Recursive ones are left out, and all
    where the function would get too long."""
    bodies = {name.strip('"'): body for name, body in _FUNCTION.findall(text)}
    calls = {name: [word.strip('"') for word in _CALLED.findall(body)] for name, body in bodies.items()}
    if function not in bodies:
        return frozenset()
    reached = {name: _find_reached(calls, name) for name in _find_reached(calls, function)}
    calculating = {name for name, body in bodies.items() if _CALCULATION.search(body)}
    found = {
        name
        for name in reached
        if name not in reached[name] and (name in calculating or not calculating.isdisjoint(reached[name]))
    }

    @functools.cache
    def count_lines(name: str) -> int:
        lines: int = bodies[name].count("\n")
        return lines + sum(count_lines(callee) for callee in calls[name] if callee in found)

    return frozenset(found - {function} if count_lines(function) <= _MOST_INLINED_LINES else ())


def _find_reached(calls: Mapping[str, Sequence[str]], function: str) -> set[str]:
    """The functions with a body that calls lead to, from a function on."""
    reached: set[str] = set()
    waiting = [function]
    while waiting:
        new = {name for name in calls[waiting.pop()] if name in calls} - reached
        reached |= new
        waiting += new
    return reached


class _Product(NamedTuple):
    factors: tuple[str, str]
    is_negative: bool


def _contract_lines(lines: Sequence[str], from_last: bool) -> Iterator[str]:
    products: dict[str, _Product] = {}
    """The products of the present function, by name."""
    numbers = itertools.count()
    for line in lines:
        if line.startswith("define "):
            products.clear()
        negation, match = _NEGATION.match(line), _ARITHMETIC.match(line)
        if negation and negation[2] in products:
            product = products[negation[2]]
            products[negation[1]] = product._replace(is_negative=not product.is_negative)
        if match is None:
            yield line
            continue
        indent, name, operation, type, first, second = match.groups()
        places = [place for place in (0, 1) if (first, second)[place] in products]
        if operation == "fmul":
            products[name] = _Product((first, second), False)
        if operation == "fmul" or not places:
            yield line
            continue
        place = places[-1 if from_last else 0]
        product, rest = products[(first, second)[place]], (second, first)[place]
        factors, is_subtracted = list(product.factors), operation == "fsub"
        # What is subtracted changes its sign: a factor of the product, or the rest.
        if product.is_negative != (is_subtracted and place == 1):
            negated = f"%llmc.negated{next(numbers)}"
            yield f"{indent}{negated} = fneg {type} {factors[0]}"
            factors[0] = negated
        if is_subtracted and place == 0:
            negated = f"%llmc.negated{next(numbers)}"
            yield f"{indent}{negated} = fneg {type} {rest}"
            rest = negated
        arguments = ", ".join(f"{type} {value}" for value in (*factors, rest))
        yield f"{indent}{name} = call {type} {_find_fused(type)}({arguments})"


def _find_fused(type: str) -> str:
    """LLVM's function that multiplies and adds numbers of a type, or vectors of them, without rounding the product."""
    count, element = re.findall(r"\d+|float|double", f"1 {type}")[-2:]
    vector = f"v{count}" if type.startswith("<") else ""
    return f"@llvm.fma.{vector}{_SUFFIXES[element]}"

"""A module of IR in which multiplications and additions are contracted: a product is not rounded before it is added.

C lets a compiler contract an expression or not (C11, 6.5, paragraph 8), and processors with FMA have an instruction for
it. Where both operands of an addition are products, either may be the one that is not rounded.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

from pytest_llmcompiler.program.ir_rewrites import split_multiply_add

FMA_MNEMONICS = ("vfmadd", "vfmsub", "vfnmadd", "vfnmsub")
"""The starts of the mnemonics of FMA."""
_FMA_FEATURES = "+avx,+fma,+sse3,+ssse3,+sse4.1,+sse4.2,+xsave,"
"""LLVM's features of processors with FMA: those that it builds on have to be named too."""
_FEATURES = re.compile(r'"target-features"="')
_ARITHMETIC = re.compile(r"^( *)(%\S+) = (f(?:add|sub|mul)) (?:[a-z]+ )*(float|double) ([^\s,]+), ([^\s,]+)")
_VECTOR_ARITHMETIC = re.compile(r"(= f(?:add|sub|mul)) (?=[^\n]*<\d+ x (?:float|double)>)")
_SUFFIXES = {"float": "f32", "double": "f64"}


def contract(text: str, *, from_last: bool) -> str:
    """The module for x86-64 with FMA, in which all is contracted that may be. `from_last` says which of two products
    that are added is the one that is not rounded."""
    lines = list(_contract_lines(split_multiply_add(text).splitlines(), from_last))
    calls = "\n".join(lines)
    for type, suffix in _SUFFIXES.items():
        name = f"@llvm.fma.{suffix}"
        if f"{name}(" in calls and f"declare {type} {name}(" not in calls:
            lines.append(f"declare {type} {name}({type}, {type}, {type})")
    contracted = _VECTOR_ARITHMETIC.sub(r"\1 contract", "\n".join(lines) + "\n")
    return _FEATURES.sub(rf"\g<0>{_FMA_FEATURES}", contracted)


def _contract_lines(lines: Sequence[str], from_last: bool) -> Iterator[str]:
    products: dict[str, tuple[str, str]] = {}
    """The factors of the products of the present function."""
    numbers = itertools.count()
    for line in lines:
        match = _ARITHMETIC.match(line)
        if line.startswith("define "):
            products.clear()
        if match is None:
            yield line
            continue
        indent, name, operation, type, first, second = match.groups()
        if operation == "fmul":
            products[name] = first, second
        places = [place for place in (0, 1) if (first, second)[place] in products]
        if operation == "fmul" or not places:
            yield line
            continue
        place = places[-1 if from_last else 0]
        factors, rest = list(products[(first, second)[place]]), (second, first)[place]
        if operation == "fsub":  # what is subtracted changes its sign: a factor of the product, or the rest
            negated, changed = f"%llmc.negated{next(numbers)}", factors[0] if place else rest
            yield f"{indent}{negated} = fneg {type} {changed}"
            factors[0], rest = (negated, rest) if place else (factors[0], negated)
        arguments = ", ".join(f"{type} {value}" for value in (*factors, rest))
        yield f"{indent}{name} = call {type} @llvm.fma.{_SUFFIXES[type]}({arguments})"

"""Short IR: a function as LLVM's O1 leaves it, under canonical names, with nothing but what code depends on.

What a small model is asked. It does not depend on how the user called things, nor on blanks or comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmcompiler.program import ir

if TYPE_CHECKING:
    import llvmlite.binding as llvm

FUNCTION, OTHER = "f", "g"
"""The name of the function itself, and of the other symbols, which are numbered."""

_WORD = r"(?<![\w.%@!\"])"
_GIVEN_UP = re.compile(
    _WORD + r"(?:(?:nsw|nuw|exact|inbounds|nusw|nneg|disjoint|samesign|tail|notail|noundef|nonnull|noalias|nocapture"
    r"|readonly|readnone|writable|dead_on_unwind|writeonly|returned|nofree|nonull|dso_local|local_unnamed_addr|unnamed_addr|hidden|weak_odr|weak"
    r"|linkonce_odr|linkonce)\b|(?:captures|dereferenceable|dereferenceable_or_null|range|initializes|nofpclass"
    r"|inrange)\((?:[^()]|\([^()]*\))*\)) ?"
)
"""Promises and marks. Without them IR means the same, or less is known of it."""
_ATTACHED = re.compile(r"(?:,? ![\w.]+ !\d+| #\d+)(?=[ ,){\n]|$)", re.M)
_ALIGNED = re.compile(r",? align \d+(?=[ ,){\n]|$)", re.M)
_DROPPED_LINES = re.compile(r"^(?:attributes #|!llvm\.|source_filename|; | +#dbg_).*\n?", re.M)
_TYPE = re.compile(r"%(?:[A-Za-z$._][\w$.]*|\"[^\"]*\")")
"""A named type: values have numbers."""
_COMMENT = re.compile(r"[ \t]*;[^\"\n]*$", re.M)
_HEADER = re.compile(r"^(define .*\)) \{$", re.M)
_KEPT_SIMPLE = '"no-builtins" "no-jump-tables"="true"'


@dataclass(frozen=True)
class ShortIR:
    """A function in short IR."""

    text: str
    """The function's lines, without indentation."""
    names: Mapping[str, str]
    """The canonical names in it, and what they stand for in the case."""
    module: str
    """The module that it is the function of, which LLVM reads."""


def shorten(extracted: str, function: str) -> ShortIR:
    """Put a function into short form. `extracted` is a module that defines it alone, as `ir.extract` makes it.

    Raises IRError where LLVM does not accept it.
    """
    module = ir.parse(extracted)
    first = _rename(module, function)
    module = ir.parse(_HEADER.sub(r"\1 " + _KEPT_SIMPLE + " {", str(_plain(module))))
    _optimise(module)
    module = _plain(module)
    second = _rename(module, FUNCTION)
    names = {new: first.get(old, old) for new, old in second.items()}
    text = str(module)
    return ShortIR("".join(_lines(module.get_function(FUNCTION))), names, text)


def _rename(module: llvm.ModuleRef, function: str) -> dict[str, str]:
    """Give all symbols canonical names, in the order in which the function names them; new name -> old."""
    symbols = {s.name: s for s in (*module.functions, *module.global_variables) if not s.name.startswith("llvm.")}
    mentioned = dict.fromkeys(name for name in ir.global_names(str(symbols[function])) if name in symbols)
    order = dict.fromkeys([function, *mentioned, *symbols])
    new = {name: FUNCTION if name == function else f"{OTHER}{number}" for number, name in enumerate(order, -1)}
    for number, symbol in enumerate(symbols.values()):
        symbol.name = f"llmc.{number}"  # a name that is taken would get another
    for name, symbol in symbols.items():
        symbol.name = new[name]
    return {short: name for name, short in new.items()}


def _plain(module: llvm.ModuleRef) -> llvm.ModuleRef:
    """The same without flags, attributes, metadata, and names of values, which LLVM then numbers."""
    ir.unname(module)
    text = _DROPPED_LINES.sub("", _COMMENT.sub("", str(module)))
    return ir.parse(_ATTACHED.sub("", _GIVEN_UP.sub("", text)))


def _optimise(module: llvm.ModuleRef) -> None:
    """O1 without what makes code longer. Attributes see to it that loops stay loops and switches stay switches."""
    import llvmlite.binding as binding

    options = binding.create_pipeline_tuning_options(speed_level=1)
    options.loop_unrolling = options.loop_vectorization = options.slp_vectorization = False
    builder = binding.create_pass_builder(ir.machine(), options)
    builder.getModulePassManager().run(module, builder)


def _lines(function: llvm.ValueRef) -> Iterator[str]:
    text = _COMMENT.sub("", _ALIGNED.sub("", _ATTACHED.sub("", str(function))))
    types = {name: f"%t{number}" for number, name in enumerate(dict.fromkeys(_TYPE.findall(text)))}
    for line in _TYPE.sub(lambda name: types[name[0]], text).splitlines():
        if line.strip():
            yield line.strip() + "\n"


def renamed(assembly: str, names: Mapping[str, str]) -> str:
    """Assembly that was written with the names of short IR, with those that they stand for."""
    quoted = {new: old if re.fullmatch(r"[\w.$]+", old) else f'"{old}"' for new, old in names.items()}
    pattern = re.compile(rf"(?<![\w.%@])(?:{'|'.join(quoted)})(?![\w.$])")
    return pattern.sub(lambda name: quoted[name[0]], assembly)

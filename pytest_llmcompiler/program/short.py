"""Short IR: a function as LLVM's O1 leaves it, under canonical names, with only the parts that code depends on.

Prompts for small models show it. It does not depend on the names that the user chose, on blanks or on comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmcompiler.program.ir import parse, target_machine
from pytest_llmcompiler.program.ir_names import print_ir
from pytest_llmcompiler.program.ir_queries import global_names
from pytest_llmcompiler.program.ir_rewrites import remove_value_names

if TYPE_CHECKING:
    import llvmlite.binding as llvm

FUNCTION, SYMBOL_PREFIX = "f", "g"
"""The canonical name of the function itself, and the prefix of all other symbols, which are numbered from 0."""

_REMOVED_WORDS = re.compile(
    r"(?<![\w.%@!\"])"
    r"(?:(?:nsw|nuw|exact|inbounds|nusw|nneg|disjoint|samesign|tail|notail|noundef|nonnull|noalias|nocapture"
    r"|readonly|readnone|writable|dead_on_unwind|writeonly|returned|nofree|nonull|dso_local|local_unnamed_addr|unnamed_addr|hidden|weak_odr|weak"
    r"|linkonce_odr|linkonce)\b|(?:captures|dereferenceable|dereferenceable_or_null|range|initializes|nofpclass"
    r"|inrange)\((?:[^()]|\([^()]*\))*\)) ?"
)
"""Flags and attributes. Without them IR means the same, or promises less."""
_ATTACHMENTS = re.compile(r"(?:,? ![\w.]+ !\d+| #\d+)(?=[ ,){\n]|$)", re.M)
"""References to metadata and to attribute groups."""
_ALIGNMENTS = re.compile(r",? align \d+(?=[ ,){\n]|$)", re.M)
_REMOVED_LINES = re.compile(r"^(?:attributes #|!llvm\.|source_filename|; | +#dbg_).*\n?", re.M)
_TYPE_NAME = re.compile(r"%(?:[A-Za-z$._][\w$.]*|\"[^\"]*\")")
"""The name of a type. Names of values are removed before, so values have numbers."""
_COMMENT = re.compile(r"[ \t]*;[^\"\n]*$", re.M)
_HEADER = re.compile(r"^(define .*\)) \{$", re.M)
_SIMPLE_CODE = '"no-builtins" "no-jump-tables"="true"'
"""Attributes that keep loops (no `memset` in their place) and switches (no tables in their place)."""


@dataclass(frozen=True)
class ShortIR:
    """A function in short IR."""

    text: str
    """The function's lines, without indentation."""
    names: Mapping[str, str]
    """The canonical names, and the names of the case that they stand for."""
    module: str
    """The whole module of the function, which LLVM can read."""


def shorten(extracted: str, function: str) -> ShortIR:
    """Write a function in short IR. `extracted` is a module that defines it alone, see `ir_extract.extract`.

    Raises IRError where LLVM does not accept the module.
    """
    module = parse(extracted)
    first = _rename_symbols(module, function)
    module = parse(_HEADER.sub(rf"\1 {_SIMPLE_CODE} {{", print_ir(_strip(module))))
    _optimise(module)
    module = _strip(module)
    second = _rename_symbols(module, FUNCTION)
    names = {new: first.get(old, old) for new, old in second.items()}
    text = print_ir(module)
    return ShortIR("".join(_format_lines(module.get_function(FUNCTION))), names, text)


def _rename_symbols(module: llvm.ModuleRef, function: str) -> dict[str, str]:
    """Give all symbols canonical names, in place, in the order in which the function mentions them.

    Returns the old name of each new one.
    """
    symbols = {s.name: s for s in (*module.functions, *module.global_variables) if not s.name.startswith("llvm.")}
    mentioned = dict.fromkeys(name for name in global_names(print_ir(symbols[function])) if name in symbols)
    order = dict.fromkeys([function, *mentioned, *symbols])
    new = {name: FUNCTION if name == function else f"{SYMBOL_PREFIX}{number}" for number, name in enumerate(order, -1)}
    # Two steps: LLVM appends a number to a new name that another symbol still has.
    for number, symbol in enumerate(symbols.values()):
        symbol.name = f"llmc.{number}"
    for name, symbol in symbols.items():
        symbol.name = new[name]
    return {short: name for name, short in new.items()}


def _strip(module: llvm.ModuleRef) -> llvm.ModuleRef:
    """The module without flags, attributes, metadata and names of values. Changes `module` too."""
    remove_value_names(module)
    text = _REMOVED_LINES.sub("", _COMMENT.sub("", print_ir(module)))
    return parse(_ATTACHMENTS.sub("", _REMOVED_WORDS.sub("", text)))


def _optimise(module: llvm.ModuleRef) -> None:
    """Run O1 in place, without the passes that make code longer."""
    import llvmlite.binding as binding

    options = binding.create_pipeline_tuning_options(speed_level=1)
    options.loop_unrolling = options.loop_vectorization = options.slp_vectorization = False
    builder = binding.create_pass_builder(target_machine(), options)
    builder.getModulePassManager().run(module, builder)


def _format_lines(function: llvm.ValueRef) -> Iterator[str]:
    text = _COMMENT.sub("", _ALIGNMENTS.sub("", _ATTACHMENTS.sub("", print_ir(function))))
    types = {name: f"%t{number}" for number, name in enumerate(dict.fromkeys(_TYPE_NAME.findall(text)))}
    for line in _TYPE_NAME.sub(lambda name: types[name[0]], text).splitlines():
        if line.strip():
            yield line.strip() + "\n"


def restore_names(assembly: str, names: Mapping[str, str]) -> str:
    """Assembly that was written with the canonical names of short IR, with the names of the case in their place."""
    quoted = {new: old if re.fullmatch(r"[\w.$]+", old) else f'"{old}"' for new, old in names.items()}
    pattern = re.compile(rf"(?<![\w.%@])(?:{'|'.join(quoted)})(?![\w.$])")
    return pattern.sub(lambda name: quoted[name[0]], assembly)

"""Assembly text of unknown origin to machine code at addresses, by keystone or LLVM, in a process that may die.

Keystone is fast but has faults, so little is asked of it, and only for x86-64: it encodes instructions whose operands
are registers and numbers, and branches to labels of the same text. Everything else is done here (data, symbols,
sections), or is left to LLVM. LLVM's word is final: its messages are the ones that are reported.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from pytest_llmcompiler.assembler import keystone, llvm
from pytest_llmcompiler.assembler.gas import ParsedAssembly, parse_assembly
from pytest_llmcompiler.assembler.linker import PAGE, missing_function
from pytest_llmcompiler.assembler.llvm import Linkage
from pytest_llmcompiler.assembler.operands import KeystoneRefusalError
from pytest_llmcompiler.assembler.result import AssemblerLimits
from pytest_llmcompiler.assembler.tokens import LITERAL, SYMBOL
from pytest_llmcompiler.errors import LinkError
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.code import AssembledCode, AssemblerName
from pytest_llmcompiler.targets.target import Target

_LIMITS = AssemblerLimits()


def assemble(
    text: str,
    function: str,
    base: int,
    symbols: Mapping[str, int],
    assembler: AssemblerName = "keystone",
    *,
    limits: AssemblerLimits = _LIMITS,
    target: Target | None = None,
) -> AssembledCode:
    """Assemble a text that defines `function`, placed from the page-aligned address `base`; for x86-64 Linux unless a
    target is given.

    `symbols` is the program that the code is put into: name -> address. A name that both have means the program's,
    except for `function` itself and for local labels (`.L…`). Raises AssemblyError (no assembler accepts the text),
    LinkError (the function is missing, or a symbol that neither has), UnsupportedError (fine, but can't be placed).
    """
    if base % PAGE:
        raise ValueError(f"base {base:#x} is not page-aligned")
    target = target or get_target()
    unit = parse_assembly(text, target.dialect)
    shared = _shared(unit, function, symbols)
    fallback = None
    if assembler == "keystone" and target.has_keystone:
        try:
            return keystone.assemble(unit, function, shared, base, symbols, limits)
        except KeystoneRefusalError as refusal:
            fallback = str(refusal)
    return replace(llvm.assemble(unit, function, shared, base, symbols, limits, target), fallback_reason=fallback)


def linkable(text: str, symbols: Collection[str], linkage: Linkage, *, limits: AssemblerLimits = _LIMITS) -> bytes:
    """The ELF object of a text for x86-64 Linux, to be linked with a program that has `symbols`. It defines nothing but
    the function for others, and carries line numbers.

    Raises AssemblyError, LinkError (the function is missing, or a local label) and UnsupportedError.
    """
    unit = parse_assembly(text, get_target().dialect)
    defined = {*unit.labels, *(s.name for s in unit.statements if s.kind == "set")}
    if linkage.function not in defined:
        raise LinkError(missing_function(linkage.function, list(unit.labels)))
    return llvm.linkable(unit, _shared(unit, linkage.function, symbols), linkage, limits)


def build_undefined_error(text: str, names: Iterable[str]) -> LinkError:
    """The error of a text that needs names that nobody defines."""
    return LinkError(llvm.missing_symbols(parse_assembly(text, get_target().dialect), names), tuple(sorted(names)))


def find_called_symbols(text: str) -> frozenset[str]:
    """The names that a text calls or jumps to, and uses in no other way."""
    names: set[str] = set()
    others: set[str] = set()
    for statement in parse_assembly(text, get_target().dialect).statements:
        branch = statement.kind == "instruction" and statement.name.startswith(("call", "jmp"))
        target = _TARGET.fullmatch(statement.operands) if branch else None
        if target:
            names.add(target[1] or target[2])
        elif statement.kind != "label":
            others |= {word.strip('"') for word in _WORD.findall(statement.operands)}
    return frozenset(names - others)


_TARGET = re.compile(rf'(?:({SYMBOL})|"([^"\\]+)")(?:@PLT)?', re.IGNORECASE)
_WORD = re.compile(rf"{LITERAL}|{SYMBOL}")


def _shared(unit: ParsedAssembly, function: str, symbols: Collection[str]) -> frozenset[str]:
    """The names that a text defines, and that mean the program's all the same."""
    return frozenset(
        name
        for name in (*unit.labels, *(s.name for s in unit.statements if s.kind == "set"))
        if name in symbols and name != function and not name.startswith(".L")
    )

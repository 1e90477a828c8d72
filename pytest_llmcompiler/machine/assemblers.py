"""Assembly text of unknown origin to machine code at addresses, by keystone or LLVM, in a process that may die.

Keystone is fast but has faults, so little is asked of it: it encodes instructions whose operands are registers and
numbers, and branches to labels of the same text. Everything else is done here (data, symbols, sections), or is left
to LLVM. LLVM's word is final: its messages are the ones that are reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pytest_llmcompiler.machine import keystone, llvm
from pytest_llmcompiler.machine.assembled import Assembled, Engine, Limits, RefusalError
from pytest_llmcompiler.machine.gas import AssemblyError, LinkError, UnsupportedError, read
from pytest_llmcompiler.machine.loader import PAGE, Segment

__all__ = [
    "Assembled",
    "AssemblyError",
    "Limits",
    "LinkError",
    "Segment",
    "UnsupportedError",
    "assemble",
]

_LIMITS = Limits()


def assemble(
    text: str,
    function: str,
    base: int,
    symbols: Mapping[str, int],
    assembler: Engine = "keystone",
    *,
    limits: Limits = _LIMITS,
) -> Assembled:
    """Assemble a text that defines `function`, placed from the page-aligned address `base`.

    `symbols` is the program that the code is put into: name -> address. A name that both have means the program's,
    except for `function` itself and for local labels (`.L…`). Raises AssemblyError (no assembler accepts the text),
    LinkError (the function is missing, or a symbol that neither has), UnsupportedError (fine, but can't be placed).
    """
    if base % PAGE:
        raise ValueError(f"base {base:#x} is not page-aligned")
    unit = read(text)
    shared = frozenset(
        name
        for name in (*unit.labels, *(s.name for s in unit.statements if s.kind == "set"))
        if name in symbols and name != function and not name.startswith(".L")
    )
    fallback = None
    if assembler == "keystone":
        try:
            return keystone.assemble(unit, function, shared, base, symbols, limits)
        except RefusalError as refusal:
            fallback = str(refusal)
    return replace(llvm.assemble(unit, function, shared, base, symbols, limits), fallback=fallback)

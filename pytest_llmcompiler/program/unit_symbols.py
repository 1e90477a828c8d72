"""The symbols of a translation unit: what others can see of it, what it needs of others, and what is its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import llvmlite.binding as llvm


class UnitSymbols(NamedTuple):
    """The symbols of a unit."""

    strong: frozenset[str]
    """The definitions of which a program has one."""
    weak: frozenset[str]
    """The definitions that give way to another."""
    undefined: tuple[str, ...]
    """What the unit needs from others."""
    local: frozenset[str]
    """What no other unit can name."""

    @property
    def defined(self) -> frozenset[str]:
        """What the unit defines for others."""
        return self.strong | self.weak


NO_SYMBOLS = UnitSymbols(frozenset(), frozenset(), (), frozenset())
"""The symbols of a unit that does not compile."""


def read_symbols(module: llvm.ModuleRef) -> UnitSymbols:
    """The symbols of a module of IR."""
    strong: set[str] = set()
    weak: set[str] = set()
    local: set[str] = set()
    undefined: list[str] = []
    for value in (*module.functions, *module.global_variables):
        linkage = value.linkage.name
        if linkage in ("internal", "private"):
            local.add(value.name)
        elif linkage == "external_weak" or value.name.startswith("llvm."):
            continue  # a weak declaration needs no definition
        elif value.is_declaration or linkage == "available_externally":  # C's inline functions are defined elsewhere
            undefined.append(value.name)
        else:
            (strong if linkage == "external" else weak).add(value.name)
    return UnitSymbols(frozenset(strong), frozenset(weak), tuple(undefined), frozenset(local))

"""Stand-ins for what a program declares and nothing defines: functions, and variables of the declared types.

The emulator answers the calls of such a function. Such a variable is part of the inputs, so it has storage as its
declaration says. Variables that are declared `const` share pages that code can't write.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pytest_llmcompiler.program.ir import target_machine
from pytest_llmcompiler.program.ir_names import print_ir
from pytest_llmcompiler.targets.target import Target

if TYPE_CHECKING:
    import llvmlite.binding as llvm

CONSTANTS_SYMBOL = "llmc.constants"
"""The symbol of the pages that hold the variables that are declared `const`."""
_PAGE = 4096
"""Bytes of a page: the unit of permissions on all targets."""
_UNSIZED_BYTES = 4096
"""Bytes of a variable whose declaration does not say its size: an array of unknown length, an incomplete struct."""
_MIN_UNSIZED_ELEMENTS = 4
"""Elements that an array of unknown length has at least, however large they are."""


class DeclaredVariable(NamedTuple):
    """A variable that a program only declares."""

    name: str
    size: int
    """In bytes. For an array of unknown length, that of the stand-in."""
    align: int
    """In bytes, as the declaration says."""
    is_constant: bool


class StandIns(NamedTuple):
    """The functions and variables that get a stand-in."""

    functions: tuple[str, ...] = ()
    variables: tuple[DeclaredVariable, ...] = ()

    @property
    def definitions(self) -> list[str]:
        """The variables as lines of IR. Functions are those of the caller, who knows their prefix."""
        lines: list[str] = []
        constants, end = [], 0
        for variable in self.variables:
            storage = f"[{variable.size} x i8]"
            if variable.is_constant:
                start = -(-end // variable.align) * variable.align
                constants.append(
                    f'@"{variable.name}" = alias {storage}, getelementptr (i8, ptr @llmc.pages, i64 {start})'
                )
                end = start + variable.size
                continue
            lines.append(f'@"{variable.name}" = global {storage} zeroinitializer, align {variable.align}')
        if constants:
            pages = f"[{-(-end // _PAGE) * _PAGE} x i8]"
            lines.append(f"@{CONSTANTS_SYMBOL} = alias {pages}, ptr @llmc.pages")
            # LLVM gives an alias a size of its own only where what it names is private.
            lines += [f"@llmc.pages = private global {pages} zeroinitializer, align {_PAGE}", *constants]
        return lines


def find_stand_ins(module: llvm.ModuleRef, missing: Sequence[str], target: Target) -> StandIns:
    """The stand-ins for symbols of a module that no definition was found for, in the order of their names."""
    variables = {value.name: value for value in module.global_variables if value.name in missing}
    return StandIns(
        functions=tuple(name for name in missing if name not in variables),
        variables=tuple(_describe(variables[name], target) for name in sorted(variables)),
    )


def _describe(value: llvm.ValueRef, target: Target) -> DeclaredVariable:
    text = print_ir(value).partition(" = ")[2]
    words, alignment = text.split(), re.search(r", align (\d+)$", text)
    return DeclaredVariable(
        value.name,
        _storage_size(value.global_value_type, target),
        int(alignment[1]) if alignment else 1,
        is_constant="constant" in words,
    )


def _storage_size(type: llvm.TypeRef, target: Target) -> int:
    """The size in bytes of a declared type, or of the stand-in where the type does not say it."""
    text, layout = str(type), target_machine(target).target_data
    if text.endswith("= type opaque"):
        return _UNSIZED_BYTES
    if text.startswith("[0 x "):
        (element,) = type.elements
        return unsized_array_count(layout.get_abi_size(element)) * int(layout.get_abi_size(element))
    size = int(layout.get_abi_size(type))
    return size + _UNSIZED_BYTES if "[0 x " in text else size  # a struct with a flexible array at its end


def unsized_array_count(element_size: int) -> int:
    """The elements of the stand-in for an array of unknown length."""
    return max(_UNSIZED_BYTES // max(element_size, 1), _MIN_UNSIZED_ELEMENTS)

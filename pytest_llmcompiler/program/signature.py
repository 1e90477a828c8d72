"""The types of a case's functions: from DWARF for C, from the IR itself for `.ll` files."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from pytest_llmcompiler.program.varargs import tail
from pytest_llmcompiler.values.c_types import (
    Array,
    Field,
    Float,
    Function,
    Int,
    Param,
    Pointer,
    Struct,
    Type,
    Unsupported,
    unsupported,
)

if TYPE_CHECKING:
    import llvmlite.binding as llvm
    from elftools.dwarf.die import DIE


def from_dwarf(data: bytes) -> dict[str, Function]:
    """The signatures of all functions with a body in an ELF object with DWARF 4 (that standard, chapters 3 to 5)."""
    from elftools.elf.elffile import ELFFile

    reader = _DebugInfoReader()
    units = ELFFile(io.BytesIO(data)).get_dwarf_info().iter_CUs()
    return {
        _text(die, "DW_AT_name"): reader.function(die)
        for unit in units
        for die in unit.get_top_DIE().iter_children()
        if die.tag == "DW_TAG_subprogram" and "DW_AT_name" in die.attributes and "DW_AT_low_pc" in die.attributes
    }


def own_functions(data: bytes) -> dict[str, int]:
    """The functions that the source file itself defines, and none of the headers that it includes, with their lines."""
    from elftools.elf.elffile import ELFFile

    dwarf = ELFFile(io.BytesIO(data)).get_dwarf_info()
    lines: dict[str, int] = {}
    for unit in dwarf.iter_CUs():
        top = unit.get_top_DIE()
        header = dwarf.line_program_for_CU(unit).header
        root = PurePath(_text(top, "DW_AT_comp_dir"))
        folders = [root, *(root / folder.decode() for folder in header["include_directory"])]
        files = [folders[file.dir_index] / file.name.decode() for file in header["file_entry"]]
        for die in top.iter_children():
            file = _number(die, "DW_AT_decl_file") if die.tag == "DW_TAG_subprogram" else 0
            if file and files[file - 1] == root / _text(top, "DW_AT_name"):
                lines[_text(die, "DW_AT_name")] = _number(die, "DW_AT_decl_line")
    return lines


def variables(data: bytes) -> dict[str, Type]:
    """The types of all variables of static storage in an ELF file with DWARF 4, by the names that clang gives them:
    `counter`, and `function.counter` inside of a function."""
    from elftools.elf.elffile import ELFFile

    reader = _DebugInfoReader()
    found: dict[str, Type] = {}
    for unit in ELFFile(io.BytesIO(data)).get_dwarf_info().iter_CUs():
        for die in unit.get_top_DIE().iter_children():
            reader.collect_variables(die, "", found)
    return found


def from_ir(module: llvm.ModuleRef) -> dict[str, Function]:
    """The signatures of all functions with a body in a module.

    IR knows no signs: an integer is signed where it is marked `signext`. A `ptr` points to bytes, or to the type that
    `byval`, `sret` or `elementtype` names.
    """
    return {function.name: _ir_signature(function) for function in module.functions if not function.is_declaration}


def _ir_signature(function: llvm.ValueRef) -> Function:
    return Function(
        _ir_type(function.global_value_type.get_function_return(), _result_attributes(function)),
        tuple(
            Param(
                argument.name or str(index),
                _ir_type(argument.type, b" ".join(argument.attributes)),
                b"noalias" in argument.attributes,
            )
            for index, argument in enumerate(function.arguments)
        ),
        function.global_value_type.is_function_vararg,
    )


def declared(module: llvm.ModuleRef, names: tuple[str, ...], dwarf: bytes | None = None) -> dict[str, Function]:
    """The signatures of functions that a module only declares, from its source's DWARF 4 or as far as IR tells them.

    Of variadic ones, what all calls in the module agree on is named too.
    """
    told = _prototypes(dwarf, names) if dwarf else {}
    return {
        function.name: _with_tail(module, function, told.get(function.name) or _ir_signature(function))
        for function in module.functions
        if function.name in names
    }


def _prototypes(data: bytes, names: tuple[str, ...]) -> dict[str, Function]:
    """The signatures of declarations with a prototype. A pointer to what is not known points to nothing."""
    from elftools.elf.elffile import ELFFile

    reader = _DebugInfoReader()
    found: dict[str, Function] = {}
    for unit in ELFFile(io.BytesIO(data)).get_dwarf_info().iter_CUs():
        for die in unit.get_top_DIE().iter_children():
            name = _text(die, "DW_AT_name") if die.tag == "DW_TAG_subprogram" else ""
            if name in names and "DW_AT_prototyped" in die.attributes:
                plain = reader.function(die)
                params = tuple(Param(param.name, _known(param.type)) for param in plain.params)
                result = None if plain.result is None else _known(plain.result)
                if not any(map(unsupported, (result, *(param.type for param in params)))):
                    found[name] = Function(result, params, plain.variadic)
    return found


def _known(type: Type) -> Type:
    return Pointer(None, type.const) if isinstance(type, Pointer) and unsupported(type) else type


def _with_tail(module: llvm.ModuleRef, function: llvm.ValueRef, found: Function) -> Function:
    if not found.variadic:
        return found
    has_format, types = tail(module, function, lambda type: _ir_type(type, b""))
    if any(map(unsupported, types)):
        return found
    unnamed = (Param(f"...[{index}]", type) for index, type in enumerate(types))
    return replace(found, params=(*found.params, *unnamed), format=has_format)


class _DebugInfoReader:
    """Turns DWARF type entries into types, each once, so that recursive types end."""

    def __init__(self) -> None:
        self._seen: dict[int, Type] = {}

    def function(self, die: DIE) -> Function:
        children = list(die.iter_children())
        params = [child for child in children if child.tag == "DW_TAG_formal_parameter"]
        return Function(
            self._target(die),
            tuple(
                Param(
                    _text(child, "DW_AT_name") or str(index),
                    self._target(child) or Unsupported("void"),
                    _qualified(child, "DW_TAG_restrict_type"),
                )
                for index, child in enumerate(params)
            ),
            any(child.tag == "DW_TAG_unspecified_parameters" for child in children),
        )

    def collect_variables(self, die: DIE, prefix: str, found: dict[str, Type]) -> None:
        """Add the variables of an entry and of those inside it."""
        if die.tag == "DW_TAG_variable" and "DW_AT_location" in die.attributes:
            type = self._target(die)
            if type is not None:
                found.setdefault(prefix + _text(die, "DW_AT_name"), type)
        elif die.tag in ("DW_TAG_subprogram", "DW_TAG_lexical_block"):
            inner = f"{_text(die, 'DW_AT_name')}." if die.tag == "DW_TAG_subprogram" else prefix
            for child in die.iter_children():
                self.collect_variables(child, inner, found)

    def _target(self, die: DIE) -> Type | None:
        """The type that an entry refers to; None is void."""
        if "DW_AT_type" not in die.attributes:
            return None
        inner = die.get_DIE_from_attribute("DW_AT_type")
        if inner.tag in ("DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_restrict_type"):
            return self._target(inner)
        if inner.tag == "DW_TAG_typedef":
            return self._target(inner)
        return self._type(inner)

    def _type(self, die: DIE) -> Type:
        if die.offset in self._seen:
            return self._seen[die.offset]
        if die.tag in ("DW_TAG_structure_type", "DW_TAG_union_type"):
            return self._struct(die)
        made = self._simple(die)
        self._seen[die.offset] = made
        return made

    def _simple(self, die: DIE) -> Type:
        if die.tag == "DW_TAG_base_type":
            return _base(die)
        if die.tag == "DW_TAG_enumeration_type":
            base = self._target(die)
            names = tuple(
                (_text(child, "DW_AT_name"), _number(child, "DW_AT_const_value")) for child in die.iter_children()
            )
            signed = isinstance(base, Int) and base.signed
            name = f"enum {_text(die, 'DW_AT_name')}".strip()
            return Int(_number(die, "DW_AT_byte_size"), signed, name, enumerators=names)
        if die.tag == "DW_TAG_pointer_type":
            return Pointer(self._target(die), const=_qualified(die, "DW_TAG_const_type"))
        if die.tag == "DW_TAG_array_type":
            return self._array(die)
        if die.tag == "DW_TAG_subroutine_type":
            return self.function(die)
        return Unsupported(f"a type of DWARF tag {die.tag}")

    def _array(self, die: DIE) -> Type:
        made: Type = self._target(die) or Unsupported("an array of void")
        vector = "DW_AT_GNU_vector" in die.attributes
        for dimension in reversed([child for child in die.iter_children() if child.tag == "DW_TAG_subrange_type"]):
            if "DW_AT_count" in dimension.attributes:
                count = dimension.attributes["DW_AT_count"].value
            elif "DW_AT_upper_bound" in dimension.attributes:
                count = dimension.attributes["DW_AT_upper_bound"].value + 1
            else:
                count = 0
            made = Array(made, count) if isinstance(count, int) else Unsupported("an array of variable length")
        return Unsupported("a vector type") if vector else made

    def _struct(self, die: DIE) -> Type:
        union = die.tag == "DW_TAG_union_type"
        name = f"{'union' if union else 'struct'} {_text(die, 'DW_AT_name')}".strip()
        if name == "struct _IO_FILE":
            return Unsupported("it would need a FILE *, and there are no files here")
        if "DW_AT_byte_size" not in die.attributes:
            return Unsupported(f"incomplete type {name}")
        made = Struct(name, _number(die, "DW_AT_byte_size"), union=union)
        self._seen[die.offset] = made
        for child in die.iter_children():
            if child.tag == "DW_TAG_member":
                made.fields.append(self._field(child))
        # A member can't be less aligned than its offset says: this is how packed structs come out right.
        made.align = max((_alignment(member, made.size) for member in made.fields), default=1)
        return made

    def _field(self, die: DIE) -> Field:
        type = self._target(die) or Unsupported("void")
        name = _text(die, "DW_AT_name")
        offset = _number(die, "DW_AT_data_member_location")
        width = _number(die, "DW_AT_bit_size")
        if not width:
            return Field(name, offset, type)
        if "DW_AT_data_bit_offset" in die.attributes:
            first = _number(die, "DW_AT_data_bit_offset")
        else:  # DWARF 2 and 3 count from the most significant bit of the storage unit
            first = 8 * (offset + type.size) - _number(die, "DW_AT_bit_offset") - width
        return Field(name, first // 8, type, (first, width))


def _alignment(member: Field, size: int) -> int:
    align = member.type.align
    while align > 1 and (size % align or (member.bits is None and member.offset % align)):
        align //= 2
    return align


def _base(die: DIE) -> Type:
    name, size = _text(die, "DW_AT_name"), _number(die, "DW_AT_byte_size")
    encoding = _number(die, "DW_AT_encoding")
    signed, unsigned = encoding in (5, 6, 13), encoding in (7, 8, 16)  # DW_ATE_signed…, DW_ATE_unsigned…, DW_ATE_UTF
    if encoding == 2:
        return Int(1, False, name, boolean=True)
    if encoding == 4 and size in (4, 8):
        return Float(size, name)
    if (signed or unsigned) and size in (1, 2, 4, 8, 16):
        return Int(size, signed, name, character=encoding in (6, 8))
    return Unsupported(f"type {name}", size)


def _qualified(die: DIE, tag: str) -> bool:
    """Whether the type that an entry refers to has a qualifier."""
    while "DW_AT_type" in die.attributes:
        die = die.get_DIE_from_attribute("DW_AT_type")
        if die.tag == tag:
            return True
        if die.tag not in ("DW_TAG_typedef", "DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_restrict_type"):
            return False
    return False


def _text(die: DIE, attribute: str) -> str:
    value = die.attributes.get(attribute)
    return value.value.decode() if value else ""


def _number(die: DIE, attribute: str) -> int:
    value = die.attributes.get(attribute)
    return int(value.value) if value else 0


def _result_attributes(function: llvm.ValueRef) -> bytes:
    head = next(line for line in str(function).splitlines() if line.startswith(("define", "declare")))
    return head.split("@")[0].encode()


def _ir_type(type: llvm.TypeRef, attributes: bytes) -> Any:
    text = str(type).split(" = type ")[0]
    if text == "void":
        return None
    if text == "ptr":
        named = re.search(rb"\b(?:byval|sret)\((.*)\)", attributes)
        return Unsupported(f"a {named[0].decode()} argument") if named else Pointer(None)
    if text in ("float", "double"):
        return Float({"float": 4, "double": 8}[text], text)
    match = re.fullmatch(r"i(\d+)", text)
    if match and int(match[1]) in (8, 16, 32, 64, 128):
        return Int(int(match[1]) // 8, b"signext" in attributes, text)
    if text == "i1":
        return Int(1, False, "i1", boolean=True)
    return Unsupported(f"IR type {text}")

"""The types of a case's functions and variables: from DWARF for C, from the IR itself for `.ll` files.

DWARF is read as version 4 (DWARF Debugging Information Format, chapters 3 to 5).
"""

from __future__ import annotations

import functools
import io
import re
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pytest_llmcompiler.program.ir_queries import function_head
from pytest_llmcompiler.program.varargs import find_common_tail, find_read_types
from pytest_llmcompiler.values import va_list
from pytest_llmcompiler.values.c_types import (
    FILE,
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
    Vector,
    find_unsupported,
)

if TYPE_CHECKING:
    import llvmlite.binding as llvm
    from elftools.dwarf.die import DIE

_TRANSPARENT_TAGS = ("DW_TAG_typedef", "DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_restrict_type")
"""Entries that stand between a use of a type and the type itself."""
_STRUCT_TAGS = ("DW_TAG_structure_type", "DW_TAG_union_type", "DW_TAG_typedef")
"""Entries that give a struct or union its name in C."""
_MAX_POINTED = 1 << 16
"""The most bytes of a struct that a `void *` is taken to lead to: inputs have no larger ones."""
_VECTOR = re.compile(r"<(\d+) x (?:i8|i16|i32|i64|float|double)>")
"""A vector of IR of which each element has an address in memory."""
_WORD = 8
"""The most bytes of an element of a vector that is passed."""


def _open_dwarf(data: bytes) -> Any:
    """pyelftools' view of the DWARF in an ELF file. A reader has a position in the file, so each thread has its own."""
    return _open_reader(data, threading.get_ident())


@functools.lru_cache(maxsize=2)
def _open_reader(data: bytes, thread: int) -> Any:
    from elftools.elf.elffile import ELFFile

    return ELFFile(io.BytesIO(data)).get_dwarf_info(relocate_dwarf_sections=False)


def signatures_from_dwarf(
    data: bytes,
    vector_sizes: Collection[int],
    indirect_arguments: Mapping[str, Sequence[Type]] = MappingProxyType({}),
) -> dict[str, Function]:
    """The signatures of all functions with a body in an ELF file with DWARF 4.

    Vectors of `vector_sizes`, in bytes, can be passed and returned. A pointer to a function without prototype leads to
    one with the `indirect_arguments` of its result, see `find_indirect_arguments`.
    """
    reader = _DebugInfoReader(vector_sizes, indirect_arguments)
    units = _open_dwarf(data).iter_CUs()
    return {
        _text(die, "DW_AT_name"): reader.function(die)
        for unit in units
        for die in unit.get_top_DIE().iter_children()
        if die.tag == "DW_TAG_subprogram" and "DW_AT_name" in die.attributes and "DW_AT_low_pc" in die.attributes
    }


def add_pointed_structs(
    data: bytes, types: Mapping[str, Function], pointed: Mapping[str, Mapping[int, str]], vector_sizes: Collection[int]
) -> dict[str, Function]:
    """The functions of which `void *` parameters lead to structs (`find_pointed_structs`), with these as types.

    The structs are those of an ELF file with DWARF 4. One that inputs can't have leaves its parameter as it is.
    """
    structs = _find_structs(data, {name for names in pointed.values() for name in names.values()}, vector_sizes)
    changed = {}
    for function, names in pointed.items():
        params = list(types[function].params)
        for at, name in names.items():
            if name in structs:
                old = params[at].type
                is_const = isinstance(old, Pointer) and old.const
                params[at] = replace(params[at], type=Pointer(structs[name], is_const))
        changed[function] = replace(types[function], params=tuple(params))
    return changed


def _find_structs(data: bytes, names: Collection[str], vector_sizes: Collection[int]) -> dict[str, Struct]:
    """The structs and unions with these tags, or with these `typedef`s and no tag, that inputs can have."""
    if not names:
        return {}
    reader, found = _DebugInfoReader(vector_sizes), dict[str, Struct]()
    for unit in _open_dwarf(data).iter_CUs():
        for die in unit.get_top_DIE().iter_children():
            name = _text(die, "DW_AT_name") if die.tag in _STRUCT_TAGS else ""
            type = reader.named(die) if name in names else None
            if isinstance(type, Struct) and type.size <= _MAX_POINTED and not find_unsupported(type):
                found.setdefault(name, type)
    return found


def own_function_lines(data: bytes) -> dict[str, int]:
    """The functions that the source file itself defines, and none of its headers, with their 1-based lines."""
    dwarf = _open_dwarf(data)
    lines: dict[str, int] = {}
    for unit in dwarf.iter_CUs():
        top = unit.get_top_DIE()
        header = dwarf.line_program_for_CU(unit).header
        root = PurePath(_text(top, "DW_AT_comp_dir"))
        folders = [root, *(root / _decode(folder) for folder in header["include_directory"])]
        files = [folders[file.dir_index] / _decode(file.name) for file in header["file_entry"]]
        for die in top.iter_children():
            file = _number(die, "DW_AT_decl_file") if die.tag == "DW_TAG_subprogram" else 0
            if file and _unify_separators(files[file - 1]) == _unify_separators(root / _text(top, "DW_AT_name")):
                lines[_text(die, "DW_AT_name")] = _number(die, "DW_AT_decl_line")
    return lines


def _has_storage(die: DIE) -> bool:
    """Whether an entry is for a variable in memory. For AArch64, clang does not say where thread-local ones are."""
    attributes = die.attributes
    return "DW_AT_location" in attributes or not ({"DW_AT_declaration", "DW_AT_const_value"} & attributes.keys())


def _unify_separators(path: PurePath) -> str:
    """A path for comparison: for Windows, clang joins the name of the file with a backslash, and not always."""
    return str(path).replace("\\", "/")


def find_definition_line(data: bytes, name: str) -> int | None:
    """The 1-based line that defines a function or variable, in an ELF file with DWARF 4."""
    for unit in _open_dwarf(data).iter_CUs():
        for die in unit.get_top_DIE().iter_children():
            is_defined = {"DW_AT_low_pc", "DW_AT_location"} & die.attributes.keys()
            if is_defined and _text(die, "DW_AT_name") == name:
                return _number(die, "DW_AT_decl_line")
    return None


def variable_types(
    data: bytes,
    vector_sizes: Collection[int],
    indirect_arguments: Mapping[str, Sequence[Type]] = MappingProxyType({}),
) -> dict[str, Type]:
    """The types of all variables of static storage in an ELF file with DWARF 4, by name.

    The names are those of clang's IR: `counter`, and `function.counter` for a variable inside a function.
    """
    reader = _DebugInfoReader(vector_sizes, indirect_arguments)
    types: dict[str, Type] = {}
    for unit in _open_dwarf(data).iter_CUs():
        for die in unit.get_top_DIE().iter_children():
            reader.collect_variables(die, "", types)
    return types


def pointer_targets(data: bytes, vector_sizes: Collection[int], pointers: Mapping[str, str]) -> dict[str, Type]:
    """The types that variables of an ELF file with DWARF 4 point to. `pointers` has the pointer for each name."""
    types = variable_types(data, vector_sizes)
    targets = {name: types.get(pointer) for name, pointer in pointers.items()}
    return {name: type.target for name, type in targets.items() if isinstance(type, Pointer) and type.target}


def ir_variable_types(module: llvm.ModuleRef) -> dict[str, Type]:
    """The types of a module's variables as far as IR says them: not those of structs."""
    types = {value.name: _ir_variable_type(value.global_value_type) for value in module.global_variables}
    return {name: type for name, type in types.items() if not find_unsupported(type)}


def _ir_variable_type(type: llvm.TypeRef) -> Type:
    if not type.is_array:
        return _ir_type(type, b"", ()) or Unsupported("void")
    (element,) = type.elements
    return Array(_ir_variable_type(element), type.element_count)


def signatures_from_ir(module: llvm.ModuleRef, vector_sizes: Collection[int]) -> dict[str, Function]:
    """The signatures of all functions with a body in a module.

    IR types have no sign: an integer is signed where it is marked `signext`. A `ptr` is a `void *`. An argument with
    `byval` or `sret` is unsupported.
    """
    defined = (function for function in module.functions if not function.is_declaration)
    return {function.name: _ir_signature(function, vector_sizes) for function in defined}


def _ir_signature(function: llvm.ValueRef, vector_sizes: Collection[int]) -> Function:
    result = function.global_value_type.get_function_return()
    return Function(
        result=_ir_type(result, _result_attributes(function), vector_sizes),
        params=tuple(
            Param(
                name=argument.name or str(index),
                type=_ir_type(argument.type, b" ".join(argument.attributes), vector_sizes),
                restrict=b"noalias" in argument.attributes,
            )
            for index, argument in enumerate(function.arguments)
        ),
        variadic=function.global_value_type.is_function_vararg,
    )


def declaration_types(
    module: llvm.ModuleRef, names: Collection[str], vector_sizes: Collection[int], dwarf: Iterable[bytes] = ()
) -> dict[str, Function]:
    """The signatures of functions that a module only declares.

    They come from the first DWARF 4 of a source with a prototype, else from the IR. A variadic function also gets the
    unnamed parameters on which all calls in the module agree.
    """
    prototypes: dict[str, Function] = {}
    for data in dwarf:
        prototypes = _prototypes(data, names, vector_sizes) | prototypes
    return {
        name: _add_tail(module, function, prototypes.get(name) or _ir_signature(function, vector_sizes))
        for function in module.functions
        for name in [function.name]
        if name in names
    }


def _prototypes(data: bytes, names: Collection[str], vector_sizes: Collection[int]) -> dict[str, Function]:
    """The signatures of declarations with a prototype. A pointer to an unsupported type becomes a `void *`."""
    reader = _DebugInfoReader(vector_sizes)
    prototypes: dict[str, Function] = {}
    for unit in _open_dwarf(data).iter_CUs():
        for die in unit.get_top_DIE().iter_children():
            name = _text(die, "DW_AT_name") if die.tag == "DW_TAG_subprogram" else ""
            if name in names and "DW_AT_prototyped" in die.attributes:
                plain = reader.function(die)
                params = tuple(Param(param.name, _hide_unsupported(param.type)) for param in plain.params)
                result = None if plain.result is None else _hide_unsupported(plain.result)
                if not any(map(find_unsupported, (result, *(param.type for param in params)))):
                    prototypes[name] = Function(result, params, plain.variadic)
    return prototypes


def _hide_unsupported(type: Type) -> Type:
    return Pointer(None, type.const) if isinstance(type, Pointer) and find_unsupported(type) else type


def _add_tail(module: llvm.ModuleRef, function: llvm.ValueRef, signature: Function) -> Function:
    """The signature of a variadic function with the unnamed parameters that all its calls have in common."""
    if not signature.variadic:
        return signature
    has_format, types = find_common_tail(module, function, lambda type: _ir_type(type, b"", ()))
    if any(map(find_unsupported, types)):
        return signature
    return replace(signature, params=(*signature.params, *_unnamed_params(types)), format=has_format)


def add_unnamed_types(module: llvm.ModuleRef, types: Mapping[str, Function]) -> dict[str, Function]:
    """The variadic functions among some, with the types that they read of their unnamed arguments."""
    read = {name: find_read_types(module, name) for name, type in types.items() if type.variadic}
    return {name: replace(types[name], unnamed=unnamed) for name, unnamed in read.items() if unnamed}


def _unnamed_params(types: Iterable[Type]) -> tuple[Param, ...]:
    return tuple(Param(f"...[{index}]", type) for index, type in enumerate(types))


def _ir_name(type: Type | None) -> str:
    """The IR type of a function's result."""
    if isinstance(type, Float):
        return "float" if type.size == 4 else "double"
    if isinstance(type, Int):
        return "i1" if type.boolean else f"i{8 * type.size}"
    return "void" if type is None else "ptr"


class _DebugInfoReader:
    """Converts DWARF type entries to types. Each entry is converted once, so that recursive types end."""

    def __init__(
        self,
        vector_sizes: Collection[int],
        indirect_arguments: Mapping[str, Sequence[Type]] = MappingProxyType({}),
    ) -> None:
        self._seen: dict[int, Type] = {}
        self._vector_sizes = vector_sizes
        self._indirect_arguments = indirect_arguments

    def function(self, die: DIE) -> Function:
        """The signature of an entry for a function. A definition without prototype takes promoted arguments."""
        is_promoted = die.tag == "DW_TAG_subprogram" and "DW_AT_prototyped" not in die.attributes
        children = list(die.iter_children())
        params = [child for child in children if child.tag == "DW_TAG_formal_parameter"]
        return Function(
            result=self._passed(self._target(die)),
            params=tuple(
                Param(
                    name=_text(child, "DW_AT_name") or str(index),
                    type=self._passed(_promote(self._target(child), is_promoted)) or Unsupported("void"),
                    restrict=_has_qualifier(child, "DW_TAG_restrict_type"),
                )
                for index, child in enumerate(params)
            ),
            variadic=any(child.tag == "DW_TAG_unspecified_parameters" for child in children),
        )

    def named(self, die: DIE) -> Type | None:
        """The type of an entry for a struct, a union or a `typedef`."""
        return self._target(die) if die.tag == "DW_TAG_typedef" else self._type(die)

    def _passed(self, type: Type | None) -> Type | None:
        """The type of what is passed or returned."""
        vector = _find_vector(type, self._vector_sizes)
        return Unsupported(f"a {vector.name} that is passed by value") if vector else type

    def collect_variables(self, die: DIE, prefix: str, types: dict[str, Type]) -> None:
        """Add the variables of an entry, and of the entries inside it, to `types`."""
        if die.tag == "DW_TAG_variable" and _has_storage(die):
            type = self._target(die)
            if type is not None:
                types.setdefault(prefix + _text(die, "DW_AT_name"), type)
        elif die.tag in ("DW_TAG_subprogram", "DW_TAG_lexical_block"):
            inner = f"{_text(die, 'DW_AT_name')}." if die.tag == "DW_TAG_subprogram" else prefix
            for child in die.iter_children():
                self.collect_variables(child, inner, types)

    def _target(self, die: DIE) -> Type | None:
        """The type that an entry refers to, without typedefs and qualifiers; None is void."""
        if "DW_AT_type" not in die.attributes:
            return None
        inner = die.get_DIE_from_attribute("DW_AT_type")
        if inner.tag == "DW_TAG_typedef" and _text(inner, "DW_AT_name") == "__builtin_va_list":
            type = self._target(inner)
            return va_list.WINDOWS if isinstance(type, Pointer) else type
        return self._target(inner) if inner.tag in _TRANSPARENT_TAGS else self._type(inner)

    def _type(self, die: DIE) -> Type:
        if die.offset in self._seen:
            return self._seen[die.offset]
        if die.tag in ("DW_TAG_structure_type", "DW_TAG_union_type"):
            return self._struct(die)
        type = self._simple(die)
        self._seen[die.offset] = type
        return type

    def _simple(self, die: DIE) -> Type:
        if die.tag == "DW_TAG_base_type":
            return _base_type(die)
        if die.tag == "DW_TAG_enumeration_type":
            base = self._target(die)
            names = tuple(
                (_text(child, "DW_AT_name"), _number(child, "DW_AT_const_value")) for child in die.iter_children()
            )
            signed = isinstance(base, Int) and base.signed
            name = f"enum {_text(die, 'DW_AT_name')}".strip()
            return Int(_number(die, "DW_AT_byte_size"), signed, name, enumerators=names)
        if die.tag == "DW_TAG_pointer_type":
            return self._pointer(die)
        if die.tag == "DW_TAG_array_type":
            return self._array(die)
        if die.tag == "DW_TAG_subroutine_type":
            return self._indirect_function(die)
        return Unsupported(f"a type of DWARF tag {die.tag}")

    def _pointer(self, die: DIE) -> Pointer:
        target = self._target(die)
        if isinstance(target, Unsupported) and target.incomplete:
            target = None
        while isinstance(target, Array) and not target.size:
            # `int m[rows][cols]`: the length of a row is known when the function runs. It leads to elements in a row.
            target = target.element
        return Pointer(target, const=_has_qualifier(die, "DW_TAG_const_type"))

    def _indirect_function(self, die: DIE) -> Function:
        type = self.function(die)
        if type.params or not type.variadic:  # with a prototype
            return type
        types = self._indirect_arguments.get(_ir_name(type.result), ())
        return replace(type, params=_unnamed_params(types))

    def _array(self, die: DIE) -> Type:
        type: Type = self._target(die) or Unsupported("an array of void")
        is_vector = "DW_AT_GNU_vector" in die.attributes
        for dimension in reversed([child for child in die.iter_children() if child.tag == "DW_TAG_subrange_type"]):
            if "DW_AT_count" in dimension.attributes:
                count = dimension.attributes["DW_AT_count"].value
            elif "DW_AT_upper_bound" in dimension.attributes:
                count = dimension.attributes["DW_AT_upper_bound"].value + 1
            else:
                count = 0
            type = Array(type, count) if isinstance(count, int) else Unsupported("an array of variable length")
        if not is_vector or not isinstance(type, Array):
            return type
        size = _number(die, "DW_AT_byte_size") or type.size  # of three elements there is room for four
        is_plain = size == type.size and not size & size - 1
        return Vector(type.element, type.count) if is_plain else Unsupported("a vector of three elements, or the like")

    def _struct(self, die: DIE) -> Type:
        is_union = die.tag == "DW_TAG_union_type"
        name = f"{'union' if is_union else 'struct'} {_text(die, 'DW_AT_name')}".strip()
        if name in va_list.STRUCTS:
            return va_list.STRUCTS[name]
        if name == "struct _IO_FILE":
            return FILE
        if "DW_AT_byte_size" not in die.attributes:
            return Unsupported(f"incomplete type {name}", incomplete=True)
        type = Struct(name, _number(die, "DW_AT_byte_size"), union=is_union)
        self._seen[die.offset] = type
        for child in die.iter_children():
            if child.tag == "DW_TAG_member":
                type.fields.append(self._field(child))
        type.align = max((_field_alignment(member, type.size) for member in type.fields), default=1)
        return type

    def _field(self, die: DIE) -> Field:
        type = self._target(die) or Unsupported("void")
        name = _text(die, "DW_AT_name")
        offset = _number(die, "DW_AT_data_member_location")
        width = _number(die, "DW_AT_bit_size")
        if not width:
            return Field(name, offset, type)
        if "DW_AT_data_bit_offset" in die.attributes:
            first = _number(die, "DW_AT_data_bit_offset")
        else:  # DWARF 2 and 3 count bits from the most significant bit of the storage unit
            first = 8 * (offset + type.size) - _number(die, "DW_AT_bit_offset") - width
        return Field(name, first // 8, type, (first, width))


def _find_vector(type: Type | None, sizes: Collection[int]) -> Vector | None:
    """A vector in a value of a type that is not of one of the sizes, in bytes, or whose elements do not fit a word."""
    if isinstance(type, Vector):
        return None if type.size in sizes and type.element.size <= _WORD else type
    if isinstance(type, Array):
        return _find_vector(type.element, sizes)
    if isinstance(type, Struct):
        return next(filter(None, (_find_vector(member.type, sizes) for member in type.fields)), None)
    return None


def _promote(type: Type | None, is_promoted: bool) -> Type | None:
    """The type in which an argument is passed: of a function without prototype, the promoted one (C17, 6.5.2.2)."""
    if is_promoted and isinstance(type, Float) and type.size < 8:
        return Float(8, "double")
    if is_promoted and isinstance(type, Int) and type.size < 4 and not type.boolean:
        return Int(4, True, "int")
    return type


def _field_alignment(member: Field, size: int) -> int:
    """The alignment of a member, in bytes: at most one that its offset and the size of its struct are multiples of.

    So the members of packed structs have smaller alignments than their types.
    """
    align = member.type.align
    while align > 1 and (size % align or (member.bits is None and member.offset % align)):
        align //= 2
    return align


def _base_type(die: DIE) -> Type:
    name, size = _text(die, "DW_AT_name"), _number(die, "DW_AT_byte_size")
    encoding = _number(die, "DW_AT_encoding")
    # DWARF 4, 7.8: 2 boolean, 4 float, 5 signed, 6 signed_char, 7 unsigned, 8 unsigned_char, 13 signed_fixed, 16 UTF.
    is_signed, is_unsigned = encoding in (5, 6, 13), encoding in (7, 8, 16)
    if encoding == 2:
        return Int(1, False, name, boolean=True)
    if encoding == 4 and size in (4, 8):
        return Float(size, name)
    if (is_signed or is_unsigned) and size in (1, 2, 4, 8, 16):
        return Int(size, is_signed, name, character=encoding in (6, 8))
    return Unsupported(f"type {name}", size)


def _has_qualifier(die: DIE, tag: str) -> bool:
    """Whether the type that an entry refers to has a qualifier (`tag`), directly or through typedefs. An array has what
    its elements have."""
    while "DW_AT_type" in die.attributes:
        die = die.get_DIE_from_attribute("DW_AT_type")
        if die.tag == tag:
            return True
        if die.tag not in (*_TRANSPARENT_TAGS, "DW_TAG_array_type"):
            return False
    return False


def _text(die: DIE, attribute: str) -> str:
    value = die.attributes.get(attribute)
    return _decode(value.value) if value else ""


def _decode(data: bytes) -> str:
    """A name in C or of a file. Names in C are UTF-8 in every locale."""
    return data.decode("utf-8", "surrogateescape")


def _number(die: DIE, attribute: str) -> int:
    value = die.attributes.get(attribute)
    return int(value.value) if value else 0


def _result_attributes(function: llvm.ValueRef) -> bytes:
    return function_head(function).encode()


def _ir_type(type: llvm.TypeRef, attributes: bytes, vector_sizes: Collection[int]) -> Any:
    text = str(type).split(" = type ")[0]
    if text == "void":
        return None
    if text == "ptr":
        in_memory = re.search(rb"\b(?:byval|sret)\((.*)\)", attributes)
        return Unsupported(f"a {in_memory[0].decode()} argument") if in_memory else Pointer(None)
    if text in ("float", "double"):
        return Float({"float": 4, "double": 8}[text], text)
    match = re.fullmatch(r"i(\d+)", text)
    if match and int(match[1]) in (8, 16, 32, 64, 128):
        return Int(int(match[1]) // 8, b"signext" in attributes, text)
    if text == "i1":
        return Int(1, False, "i1", boolean=True)
    vector = _VECTOR.fullmatch(text)
    if vector:
        element = next(type.elements)
        whole = Vector(_ir_type(element, b"", ()), int(vector[1]))
        return Unsupported(f"a {whole.name} that is passed by value") if _find_vector(whole, vector_sizes) else whole
    return Unsupported(f"IR type {text}")

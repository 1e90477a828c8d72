"""LLVM IR as text and as llvmlite's modules: parsing, printing, emitting code, counting.

Neighbours: `ir_extract` cuts one function out of a module, `ir_queries` finds facts about functions and variables, and
`ir_rewrites` changes a module before it is compiled. Where a function takes `target`, None is the default target.
"""

from __future__ import annotations

import functools
import io
import platform
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmcompiler.errors import IRError
from pytest_llmcompiler.program.ir_names import print_ir
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.target import Target

if TYPE_CHECKING:
    import llvmlite.binding as llvm


def parse(text: str) -> llvm.ModuleRef:
    """Parse and verify IR. Raises IRError with LLVM's message."""
    binding = load_llvm()
    try:
        # Each module gets its own context: in a shared one LLVM numbers struct types of the same name.
        context = binding.create_context()
        module = binding.parse_assembly(text, context=context)
        _dispose_together(module, context)
        module.verify()
    except RuntimeError as error:
        raise IRError(str(error).strip()) from error
    return module


def merge(texts: Sequence[str]) -> str:
    """Link modules into one, as a linker would link their objects. Raises IRError with LLVM's message."""
    binding = load_llvm()
    context = binding.create_context()  # modules of two contexts can't be linked
    first = binding.parse_assembly(texts[0], context=context)
    _dispose_together(first, context)
    try:
        for text in texts[1:]:
            first.link_in(binding.parse_assembly(text, context=context))
    except RuntimeError as error:
        raise IRError(str(error).strip()) from error
    return print_ir(first)


def _dispose_together(module: llvm.ModuleRef, context: llvm.ContextRef) -> None:
    """Have the context of a module disposed of with the module, and after it.

    By itself llvmlite disposes of each where Python frees its object. The garbage collector finalizes the objects of a
    cycle in any order, and to dispose of a module whose context is gone is a segmentation fault. So the object of the
    context disposes of nothing, and that of the module disposes of both.
    """
    pointers, library = (module._ptr, context._ptr), module._capi

    def dispose() -> None:
        library.LLVMPY_DisposeModule(pointers[0])
        library.LLVMPY_ContextDispose(pointers[1])

    context._dispose, module._dispose = lambda: None, dispose


def write_bitcode(text: str, target: Target | None = None) -> bytes:
    """A module as bitcode. A module that names no triple gets that of the target. Raises IRError."""
    module = parse(text)
    if not module.triple:
        module.triple, module.data_layout = (target or get_target()).triple, data_layout(target)
    return bytes(module.as_bitcode())


def read_bitcode(bitcode: bytes) -> str:
    """The text of a module of bitcode. Raises IRError."""
    binding = load_llvm()
    try:
        context = binding.create_context()
        module = binding.parse_bitcode(bitcode, context=context)
        _dispose_together(module, context)
        return print_ir(module)
    except RuntimeError as error:
        raise IRError(str(error).strip()) from error


def count_instructions(module: llvm.ModuleRef) -> int:
    """The number of instructions in all functions of a module."""
    blocks = (block for function in module.functions for block in function.blocks)
    return sum(1 for block in blocks for _ in block.instructions)


def binary_size(text: str, target: Target | None = None) -> int:
    """Bytes of text and data in the object that `llc` emits for a module."""
    return object_size(emit_object(parse(text), target))


def object_size(data: bytes) -> int:
    """Bytes of text and data in an ELF or COFF object, counted like `llvm-size`: .eh_frame and .rodata are text."""
    from elftools.elf.constants import SH_FLAGS
    from elftools.elf.elffile import ELFFile

    if not data.startswith(b"\x7fELF"):
        return _coff_size(data)
    sections = ELFFile(io.BytesIO(data)).iter_sections()
    return sum(
        section["sh_size"]
        for section in sections
        if section["sh_flags"] & SH_FLAGS.SHF_ALLOC and section["sh_type"] != "SHT_NOBITS"
    )


def _coff_size(data: bytes) -> int:
    """Bytes of code and initialised data in a COFF object (Microsoft, "PE Format", sections 3.3 and 4)."""
    (count,) = struct.unpack_from("<H", data, 2)
    headers = (struct.unpack_from("<16xI16xI", data, 20 + 40 * number) for number in range(count))
    code_or_data = 0x20 | 0x40  # IMAGE_SCN_CNT_CODE, IMAGE_SCN_CNT_INITIALIZED_DATA
    return sum(size for size, flags in headers if flags & code_or_data)


def emit_object(module: llvm.ModuleRef, target: Target | None = None) -> bytes:
    """The object that `llc` emits for a module. Do not use the module afterwards: code generation changes it.

    LLVM ends the process over inline assembly with an error, and over inline assembly of a processor for which llvmlite
    has no assembler.
    """
    return bytes(target_machine(target).emit_object(module))


def emit_assembly(module: llvm.ModuleRef, level: str | None, target: Target | None = None) -> str:
    """The assembly (AT&T syntax on x86-64) that `llc` emits for a module. Do not use the module afterwards.

    `level` is the optimisation level of code generation. clang knows two: `O0`, and one for all others.
    """
    writer = target_machine(target, opt=0 if level == "O0" else 2, reloc="pic")
    writer.set_asm_verbosity(True)
    return str(writer.emit_assembly(module))


def has_assembler(target: Target) -> bool:
    """Whether llvmlite assembles for the processor of a target: it does for that of this machine alone."""
    return target.triple.partition("-")[0] == platform.machine()


def data_layout(target: Target | None = None) -> str:
    """The data layout string of a target."""
    return str(target_machine(target).target_data)


@functools.cache
def target_machine(target: Target | None = None, opt: int = 2, reloc: str = "static") -> llvm.TargetMachine:
    """LLVM's code generator for a target, at an optimisation level from 0 to 3."""
    target = target or get_target()
    triple = load_llvm().Target.from_triple(target.triple)
    return triple.create_target_machine(cpu=target.cpu, features="", opt=opt, reloc=reloc, codemodel="default")


def run_passes(module: llvm.ModuleRef, target: Target | None, *names: str) -> None:
    """Run passes on a module, without the rest of a pipeline. The names are those of llvmlite's methods, such as
    `always_inliner` for `add_always_inliner_pass`. None is the default target."""
    binding = load_llvm()
    manager = binding.create_new_module_pass_manager()
    for name in names:
        getattr(manager, f"add_{name}_pass")()
    manager.run(module, binding.create_pass_builder(target_machine(target), binding.create_pipeline_tuning_options(0)))


@functools.cache
def load_llvm() -> Any:
    """llvmlite's binding, with all targets initialised. Imported here because loading LLVM takes long."""
    import llvmlite.binding as binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    binding.initialize_native_asmparser()
    return binding

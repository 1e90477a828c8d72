"""Products that are added without being rounded, as the instructions of FMA do it: C allows both."""

from __future__ import annotations

from collections.abc import Callable

from pytest_llmcompiler.judge.native_policy import NativePolicy
from pytest_llmcompiler.program.ir_contraction import FMA_MNEMONICS, contract
from pytest_llmcompiler.program.ir_rewrites import split_multiply_add
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets.code import AssembledCode


def has_contractions(candidate: AssembledCode, native: NativePolicy) -> bool:
    """Whether a candidate, or the reference beside it, may add products that are not rounded."""
    if native.needs_processor:
        return True
    is_contracted = any(name.startswith(FMA_MNEMONICS) for name in set(candidate.mnemonics.values()))
    return is_contracted and native.applies_to(candidate)


def assemble_contractions(
    reference: Reference, function: str, native: NativePolicy, assemble: Callable[[str], AssembledCode]
) -> tuple[AssembledCode, ...]:
    """A function, or a whole program, as clang compiles it for FMA, with one choice and the other where both operands
    of an addition are products. `assemble` takes each text. Raises what it raises, and CaseError."""
    ir = reference.texts.ir(function)
    with reference.blame_case():
        choices = [contract(ir, from_last=from_last) for from_last in (False, True)]
        choices += [split_multiply_add(ir)] if native.needs_processor else []
        texts = [reference.toolchain.emit_assembly(text, "O2") for text in dict.fromkeys(choices)]
    return tuple(assemble(text) for text in dict.fromkeys(texts))

"""Products that are added without being rounded, as the instructions of FMA do it: C allows both."""

from __future__ import annotations

from collections.abc import Callable

from pytest_llmcompiler.judge.native_policy import NativePolicy
from pytest_llmcompiler.program.ir_contraction import contract, join_statements
from pytest_llmcompiler.program.ir_rewrites import split_multiply_add
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets.code import AssembledCode


def has_contractions(candidate: AssembledCode, native: NativePolicy) -> bool:
    """Whether a candidate, or the reference beside it, may add products that are not rounded."""
    if native.needs_processor:
        return True
    starts = native.target.processor.fused_mnemonics
    is_contracted = any(name.startswith(starts) for name in set(candidate.mnemonics.values()))
    return is_contracted and (native.applies_to(candidate) or not native.is_possible)


def assemble_contractions(
    reference: Reference, function: str, native: NativePolicy, assemble: Callable[[str], AssembledCode]
) -> tuple[AssembledCode, ...]:
    """A function, or a whole program, as compilers may contract it. `assemble` takes the text of each build.

    The builds contract within expressions, also in functions that are inlined, and across statements; each with one
    choice and the other where both operands of an addition are products. Raises what `assemble` raises, and CaseError.
    """
    ir, target = reference.texts.ir(function), reference.target
    inlined = reference.texts.contractible_ir(function)
    with reference.blame_case():
        sources = dict.fromkeys((ir, inlined, join_statements(split_multiply_add(inlined), target)))
        choices = [contract(source, target, from_last=from_last) for source in sources for from_last in (False, True)]
        choices += [split_multiply_add(ir)] if native.needs_processor else []
        builds = [reference.toolchain.start_assembly(text, "O2") for text in dict.fromkeys(choices)]
        texts = [build() for build in builds]
    return tuple(assemble(text) for text in dict.fromkeys(texts))

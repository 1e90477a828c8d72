"""A module of IR without what lets an optimiser assume that a program's behaviour is defined.

LLVM may compile `add nsw i32 %x, 1` as if it never overflowed, and a load with `!tbaa` metadata as if no store of
another type had written there. Without flags, metadata and attributes of this kind every step of a program is defined,
and the optimised program has to do what the unoptimised one does, whatever the input.
"""

from __future__ import annotations

import re

from pytest_llmcompiler.program.ir_rewrites import split_multiply_add

_FLAGGED = re.compile(
    r"^(  (?:%\S+ = )?(?:tail |musttail |notail )?"
    r"(?:add|sub|mul|shl|lshr|ashr|[su]div|or|trunc|zext|uitofp|icmp|f(?:add|sub|mul|div|rem|neg|cmp)|fptrunc|fpext"
    r"|select|phi|call))"
    r"((?: (?:nuw|nsw|exact|disjoint|nneg|samesign|fast|nnan|ninf|nsz|arcp|contract|afn|reassoc)\b)+)",
    re.M,
)
"""An instruction with flags: everything up to them, and the flags."""
_ADDRESS_FLAGS = re.compile(r"\bgetelementptr (?:(?:inbounds|nusw|nuw|inrange\([^)]*\)) )+")
_METADATA = re.compile(r"(?:, |(?<=\) ))![a-z][\w.]*(?: ![0-9]+| !\{\})")
_VALUE_ATTRIBUTES = re.compile(
    r" (?:noundef|nonnull|noalias|nocapture|readonly|writeonly|readnone|returned|nofree|writable|dead_on_\w+"
    r"|(?:captures|dereferenceable|dereferenceable_or_null|range|nofpclass|initializes)"
    r"\((?:[^()]|\([^()]*\))*\))(?=[ ,)])"
)
"""Attributes of parameters, arguments and results that are promises. Those of the calling convention are not here."""
_POINTER_ALIGNMENT = re.compile(r"\bptr align \d+(?= )")
_HINTS = re.compile(
    r"^  (?:%\S+ = )?(?:tail )?call [^@\n]*@llvm\.(?:assume|lifetime\.|invariant\.|experimental\.noalias)[^\n]*\n", re.M
)
_ATTRIBUTE_GROUP = re.compile(r"^(attributes #\d+ = \{)(.*)\}$", re.M)
_KEPT_ATTRIBUTES = re.compile(
    r'(?<= )(?!"[\w-]*(?:unsafe|no-nans|no-infs|no-signed-zeros|approx)[\w-]*-fp-math")'
    r'(?:"[^"]*"(?:="[^"]*")?|nounwind|noinline|nobuiltin|strictfp)(?= )'
)
"""Attributes of functions that say how code is generated, or what a call or an operation means."""
_BARE_CALL = re.compile(r"^(  (?:%\S+ = )?(?:tail |notail )?call [^@\n]*@(?!llvm\.)[^\n]*\))$", re.M)
"""A call without attributes of its own."""
_ALIGNMENT = re.compile(r"^(  (?:%\S+ = load|store) (?!atomic)[^\n]*?), align \d+", re.M)
_ALLOCA = re.compile(r"^  (%\S+) = alloca ([^\n]*?)(?:, align (\d+))?$")
_SIGNED_WRAP = re.compile(r"  %\S+ = (?:add|sub|mul)$")


def remove_assumptions(text: str, *, keeps_signed_overflow: bool, assumes_library: bool) -> str:
    """The module with defined behaviour only.

    Local variables get an initial value, and products are rounded before they are added to.

    With `keeps_signed_overflow`, signed arithmetic may still be taken not to overflow: the caller has checked that it
    does not. Without `assumes_library`, functions with the names of the C library's are functions like others.
    """

    def remove_flags(instruction: re.Match[str]) -> str:
        head, flags = instruction.groups()
        keeps = keeps_signed_overflow and _SIGNED_WRAP.match(head) and " nsw" in flags
        return f"{head} nsw" if keeps else head

    def rewrite_group(group: re.Match[str]) -> str:
        kept = [*_KEPT_ATTRIBUTES.findall(group[2]), "null_pointer_is_valid"]
        return f"{group[1]} {' '.join(kept if assumes_library else [*kept, NO_BUILTINS])} }}"

    code = _HINTS.sub("", split_multiply_add(text))
    code = _FLAGGED.sub(remove_flags, code)
    if not keeps_signed_overflow:
        code = _ALIGNMENT.sub(r"\1, align 1", code)
    if not assumes_library:
        code = _BARE_CALL.sub(r"\1 nobuiltin", code)
    lines = []
    for line in code.splitlines():
        if line.startswith(("  ", "define ", "declare ")):
            line = _ADDRESS_FLAGS.sub("getelementptr ", line)
            line = _METADATA.sub("", line)
            line = _VALUE_ATTRIBUTES.sub("", line)
            line = _POINTER_ALIGNMENT.sub("ptr", line)
        lines.append(line)
    return _initialise_locals(_ATTRIBUTE_GROUP.sub(rewrite_group, "\n".join(lines) + "\n"))


NO_BUILTINS = 'nobuiltin "no-builtins"'
"""The attributes of calls, and of functions with calls, that are not taken for calls of the C library. Passes look at
the second, code generation at the first."""


def remove_aliasing(text: str) -> str:
    """The module without the metadata of strict aliasing: accesses of any types may touch the same memory."""
    return re.sub(r", !tbaa(?:\.struct)? ![0-9]+", "", text)


def _initialise_locals(text: str) -> str:
    """The module with each local variable filled with zeros where the function begins."""
    lines: list[str] = []
    pending: list[str] = []
    for line in text.splitlines():
        alloca = _ALLOCA.match(line)
        if pending and not alloca:
            lines += pending
            pending = []
        lines.append(line)
        if alloca and not is_dynamic(alloca[2]):
            size = f"ptrtoint (ptr getelementptr ({alloca[2]}, ptr null, i32 1) to i64)"
            pending.append(f"  call void @llvm.memset.p0.i64(ptr {alloca[1]}, i8 0, i64 {size}, i1 false)")
    changed = "\n".join(lines) + "\n"
    has_memset = re.search(r"^declare [^\n]*@llvm\.memset\.p0\.i64\(", changed, re.M)
    return changed if has_memset else f"{changed}declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)\n"


def is_dynamic(type: str) -> bool:
    """Whether the text behind `alloca` has a number of elements: then it is no single type."""
    return re.search(r", i\d+ \S+$", type) is not None

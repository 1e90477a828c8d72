"""Texts of IR and of assembly without what says nothing of the code, so that they can be compared."""

from __future__ import annotations

import re
from typing import Any

from pytest_llmcompiler.program import ir

_COMMENT = re.compile(r'("[^"\n]*")|;[^\n]*')
_PLACE = re.compile(r"^(?:source_filename = |target ).*\n", re.MULTILINE)
_ASSEMBLY_COMMENT = re.compile(r'("(?:\\.|[^"\\\n])*")|#[^\n]*')
_ASIDE = re.compile(r"\.(?:file|ident|addrsig)\b")


def plain(text: str) -> str:
    """IR as it is written, without comments, blank lines and the lines that name the source file and the target."""
    text = _COMMENT.sub(lambda match: match[1] or "", _PLACE.sub("", text))
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


def canonical(text: str) -> str:
    """IR whose arguments, blocks and values have no names but their numbers. Raises IRError."""
    module = ir.parse(text)
    for function in module.functions:
        for value in function.arguments:
            _unname(value)
        for block in function.blocks:
            _unname(block)
            for instruction in block.instructions:
                _unname(instruction)
    return plain(ir.normalised(str(module)))


def _unname(value: Any) -> None:
    if value.name:
        value.name = ""


def plain_assembly(text: str) -> str:
    """Assembly that LLVM wrote, without comments, blank lines, and the names of the source file and the compiler."""
    lines = _ASSEMBLY_COMMENT.sub(lambda match: match[1] or "", text).splitlines()
    kept = (" ".join(line.split()) for line in lines)
    return "\n".join(line for line in kept if line and not _ASIDE.match(line))

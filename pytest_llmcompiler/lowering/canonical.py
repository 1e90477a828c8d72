"""IR and assembly without the parts that say nothing of the code, so that two texts can be compared."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_llmcompiler.program.ir_extract import normalise
from pytest_llmcompiler.program.ir_names import print_ir
from pytest_llmcompiler.program.ir_rewrites import remove_value_names
from pytest_llmcompiler.targets.dialect import Dialect
from pytest_llmcompiler.targets.target import Target

if TYPE_CHECKING:
    import llvmlite.binding as llvm

_STRING_OR_COMMENT = re.compile(r'("[^"\n]*")|;[^\n]*')
_MODULE_HEADER = re.compile(r"^(?:source_filename = |target ).*\n", re.MULTILINE)
_ASSEMBLY_STRING = r'"(?:\\.|[^"\\\n])*"'
_COMPILER_DIRECTIVE = re.compile(r"\.(?:file|ident|addrsig)\b")
"""Directives that name the source file or the compiler."""


def remove_comments(text: str) -> str:
    """IR without its comments."""
    return _STRING_OR_COMMENT.sub(lambda match: match[1] or "", text)


def strip_ir(text: str) -> str:
    """IR without comments, blank lines and the lines that name the source file and the target."""
    lines = remove_comments(_MODULE_HEADER.sub("", text)).splitlines()
    return "\n".join(line.rstrip() for line in lines if line.strip())


def canonicalise_module(module: llvm.ModuleRef, target: Target) -> str:
    """The stripped IR of a module in which arguments, blocks and values have numbers for names.

    The module itself loses its names.
    """
    remove_value_names(module)
    return strip_ir(normalise(print_ir(module), target))


def strip_assembly(text: str, dialect: Dialect) -> str:
    """Assembly that LLVM wrote, without comments, blank lines, and the names of source file and compiler.

    White space becomes one blank.
    """
    comment = "|".join(map(re.escape, dialect.comment_starts))
    lines = re.sub(rf"({_ASSEMBLY_STRING})|(?:{comment})[^\n]*", lambda match: match[1] or "", text).splitlines()
    squeezed = (" ".join(line.split()) for line in lines)
    return "\n".join(line for line in squeezed if line and not _COMPILER_DIRECTIVE.match(line))

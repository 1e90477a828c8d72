"""Texts of IR and of assembly without what says nothing of the code, so that they can be compared."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_llmcompiler.program.ir_extract import normalise
from pytest_llmcompiler.program.ir_rewrites import remove_value_names
from pytest_llmcompiler.targets.dialect import Dialect
from pytest_llmcompiler.targets.target import Target

if TYPE_CHECKING:
    import llvmlite.binding as llvm

_COMMENT = re.compile(r'("[^"\n]*")|;[^\n]*')
_PLACE = re.compile(r"^(?:source_filename = |target ).*\n", re.MULTILINE)
_STRING = r'"(?:\\.|[^"\\\n])*"'
_ASIDE = re.compile(r"\.(?:file|ident|addrsig)\b")


def without_comments(text: str) -> str:
    """IR without its comments."""
    return _COMMENT.sub(lambda match: match[1] or "", text)


def plain(text: str) -> str:
    """IR as it is written, without comments, blank lines and the lines that name the source file and the target."""
    lines = without_comments(_PLACE.sub("", text)).splitlines()
    return "\n".join(line.rstrip() for line in lines if line.strip())


def canonical(module: llvm.ModuleRef, target: Target) -> str:
    """IR whose arguments, blocks and values have no names but their numbers: those of the module are gone."""
    remove_value_names(module)
    return plain(normalise(str(module), target))


def plain_assembly(text: str, dialect: Dialect) -> str:
    """Assembly that LLVM wrote, without comments, blank lines, and the names of the source file and the compiler."""
    comment = "|".join(map(re.escape, dialect.comment_starts))
    lines = re.sub(rf"({_STRING})|(?:{comment})[^\n]*", lambda match: match[1] or "", text).splitlines()
    kept = (" ".join(line.split()) for line in lines)
    return "\n".join(line for line in kept if line and not _ASIDE.match(line))

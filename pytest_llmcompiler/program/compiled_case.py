"""A case as clang reads it: its IR, its debug information, and where its functions are in the file."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_llmcompiler.errors import CaseError, ClangError, IRError
from pytest_llmcompiler.program import signature
from pytest_llmcompiler.program.case import Case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.directive_comments import read_ir
from pytest_llmcompiler.program.ir import parse
from pytest_llmcompiler.program.ir_extract import retarget

if TYPE_CHECKING:
    import llvmlite.binding as llvm


class CompiledCase:
    """A case and what the compiler says of the whole file. Each property is computed at its first use, and kept."""

    def __init__(self, case: Case, toolchain: Toolchain) -> None:
        self.case = case
        self.toolchain = toolchain
        self.target = toolchain.target

    @functools.cached_property
    def ir(self) -> str:
        """The IR of the whole file. Raises CaseError with the compiler's message where the file does not compile."""
        with self.blame_case():
            if not self.case.is_ir:
                return self.toolchain.emit_ir(self.case.path, self.case.cflags)
            text = read_ir(self.case.path)
            parse(text)
            return retarget(text, self.target)

    @property
    def ir_without_path(self) -> str:
        """The IR of the whole file without the lines that name the file."""
        return re.sub(r"^(?:; ModuleID|source_filename) = .*\n", "", self.ir, flags=re.M)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A SHA-256 digest, in hexadecimal. It changes with the file, with its headers and with the compiler."""
        digest = hashlib.sha256(self.case.path.read_bytes())
        digest.update(self.ir_without_path.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    @functools.cached_property
    def module(self) -> llvm.ModuleRef:
        """The IR of the whole file, parsed. It is shared: don't change it."""
        return parse(self.ir)

    @contextmanager
    def blame_case(self) -> Iterator[None]:
        """Turn an error of a tool into a CaseError that names the file."""
        try:
            yield
        except (ClangError, IRError) as error:
            message = str(error)  # clang begins it with the path, a message about clang itself does not
            path = str(self.case.path)
            raise CaseError(message if message.startswith(path) else f"{path}: {message}") from error

    @functools.cached_property
    def debug_image(self) -> bytes:
        """An ELF file with the DWARF of a C file."""
        with self.blame_case():
            return self.toolchain.emit_debug_image(self.case.path, self.case.cflags)

    @functools.cached_property
    def own_lines(self) -> dict[str, int]:
        """The functions that a C file itself defines, and none of its headers, with their 1-based lines."""
        return signature.own_function_lines(self.debug_image)

    @functools.cached_property
    def bodies(self) -> Mapping[str, tuple[int, int]]:
        """The bodies of the functions of a C file: offsets in bytes of the opening brace and past the closing one."""
        with self.blame_case():
            return self.toolchain.find_bodies(self.case.path, self.case.cflags)

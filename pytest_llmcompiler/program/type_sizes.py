"""The sizes of types in a module's text."""

from __future__ import annotations

import re

from pytest_llmcompiler.errors import IRError
from pytest_llmcompiler.program.ir import load_llvm, parse


class TypeSizes:
    """The size in bytes that a value of each type takes in memory, by the text of the type."""

    def __init__(self, text: str) -> None:
        lines = text.splitlines(keepends=True)
        self._head = "".join(line for line in lines if line.startswith(("%", "target ")))
        self._sizes: dict[str, int | None] = {}

    def __call__(self, type: str) -> int | None:
        if type not in self._sizes:
            self._sizes[type] = self._measure(type)
        return self._sizes[type]

    def stored(self, type: str) -> int | None:
        """The bytes that a load or store of a type accesses: 9 for `i72`, which takes 16 bytes in an array."""
        integer = re.fullmatch(r"i(\d+)", type)
        if integer:
            return -(-int(integer[1]) // 8)
        vector = re.fullmatch(r"<(\d+) x (.*)>", type)
        if vector:
            element = self.stored(vector[2])
            return None if element is None or vector[2] == "i1" else int(vector[1]) * element
        return self(type)

    def _measure(self, type: str) -> int | None:
        simple = {"i8": 1, "i16": 2, "i32": 4, "i64": 8, "ptr": 8, "float": 4, "double": 8, "i1": 1}
        if type in simple:
            return simple[type]
        if not type or type == "void":
            return None
        try:
            module = parse(f"{self._head}\n@llmc.measured = external global {type}\n")
        except IRError:
            return None
        data = load_llvm().create_target_data(module.data_layout)
        return int(data.get_abi_size(module.get_global_variable("llmc.measured").global_value_type))

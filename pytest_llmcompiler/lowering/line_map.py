"""Which line of the IR an assembly line comes from.

LLVM's assembly does not say this. So the IR is lowered a second time, with debug information that gives each
instruction its own line as its source position; LLVM then writes a `.loc` directive in front of each instruction. Debug
information can change the code that LLVM makes. Both assemblies are compared, and the answer counts only where they are
the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pytest_llmcompiler.errors import LoweringError
from pytest_llmcompiler.lowering.canonical import remove_comments
from pytest_llmcompiler.lowering.lower import lower_module
from pytest_llmcompiler.targets.target import Target

_IR_LABEL = re.compile(r'[ \t]*(?:[-\w$.]+|"[^"\n]*"):')
_METADATA_NUMBER = re.compile(r"!(\d{1,9})\b")
_LOC_DIRECTIVE = re.compile(r"\t\.loc\t\d+ (\d+)")
_INSTRUCTION = re.compile(r"\t[a-z]")


def map_assembly_lines(text: str, level: str | None, assembly: str, target: Target) -> dict[int, int]:
    """Line of the assembly -> line of the IR, both counted from 1, for each instruction for which that is known.

    `assembly` is what LLVM makes of the IR at `level`. The result is empty where the IR has debug information of its
    own, and where LLVM makes other code with debug information.
    """
    if "!dbg" in text:
        return {}
    try:
        described = lower_module("\n".join(_add_positions(text)), level, target).assembly.split("\n")
    except LoweringError:
        return {}
    described_instructions, origins, current = list[list[str]](), list[int](), 0
    for line in described:
        position = _LOC_DIRECTIVE.match(line)
        current = int(position[1]) if position else current
        if _INSTRUCTION.match(line):
            described_instructions.append(target.dialect.strip_comment(line).split())
            origins.append(current)
    numbers = [number for number, line in enumerate(assembly.split("\n"), 1) if _INSTRUCTION.match(line)]
    lines = assembly.split("\n")
    if [target.dialect.strip_comment(lines[number - 1]).split() for number in numbers] != described_instructions:
        return {}
    return {number: origin for number, origin in zip(numbers, origins) if origin}


def _add_positions(text: str) -> Iterator[str]:
    """The lines of the IR, in which each function and instruction has its own line as its source position.

    Source: LLVM Language Reference, "Specialized Metadata Nodes".
    """
    metadata = _MetadataWriter(text)
    file = metadata.add('!DIFile(filename: "answer.ll", directory: "")')
    unit = metadata.add(f"distinct !DICompileUnit(language: DW_LANG_C99, file: {file}, emissionKind: LineTablesOnly)")
    about = f"file: {file}, unit: {unit}, type: !DISubroutineType(types: !{{null}}), spFlags: DISPFlagDefinition"
    scope = None
    # A `switch` spans lines: its position is its first line, and stands behind its last. 0 outside of a switch.
    switch_line = 0
    for number, line in enumerate(text.split("\n"), 1):
        code = remove_comments(line).rstrip()
        if code.lstrip().startswith("define ") and code.endswith("{"):
            scope = metadata.add(f"distinct !DISubprogram(scope: {file}, line: {number}, {about})")
            code = f"{code[:-1]} !dbg {scope} {{"
        elif code == "}":
            scope = None
        elif scope and code.endswith("["):
            switch_line = number
        elif scope and code.strip() and not _IR_LABEL.fullmatch(code) and (not switch_line or code.endswith("]")):
            code += f", !dbg {metadata.add(f'!DILocation(line: {switch_line or number}, scope: {scope})')}"
            switch_line = 0
        yield code
    flag = metadata.add('!{i32 2, !"Debug Info Version", i32 3}')
    yield from (f"!llvm.dbg.cu = !{{{unit}}}", f"!llvm.module.flags = !{{{flag}}}", *metadata.lines)


class _MetadataWriter:
    """Adds metadata nodes to a module, with numbers that the module does not use."""

    def __init__(self, text: str) -> None:
        self._next = 1 + max(map(int, _METADATA_NUMBER.findall(text)), default=-1)
        self.lines: list[str] = []

    def add(self, content: str) -> str:
        """Add a node; return the name by which other nodes refer to it."""
        name = f"!{self._next}"
        self._next += 1
        self.lines.append(f"{name} = {content}")
        return name

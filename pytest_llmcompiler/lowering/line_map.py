"""Which line of IR a line of the assembly was made of, as the debug information says that a copy of the IR is given."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pytest_llmcompiler.errors import LoweringError
from pytest_llmcompiler.lowering.canonical import without_comments
from pytest_llmcompiler.lowering.lower import lower_module
from pytest_llmcompiler.targets.target import Target

_LABEL = re.compile(r'[ \t]*(?:[-\w$.]+|"[^"\n]*"):')
_NUMBERED = re.compile(r"!(\d{1,9})\b")
_LOC = re.compile(r"\t\.loc\t\d+ (\d+)")
_INSTRUCTION = re.compile(r"\t[a-z]")


def lines_of_origin(text: str, level: str | None, assembly: str, target: Target) -> dict[int, int]:
    """The line of the IR, by the line of the assembly that LLVM makes of it at a level, for each instruction of which
    that is known. Empty where the IR has debug information of its own, or LLVM makes other code with it.
    """
    if "!dbg" in text:
        return {}
    try:
        described = lower_module("\n".join(_described(text)), level, target).assembly.split("\n")
    except LoweringError:
        return {}
    found, current = [], 0
    for line in described:
        place = _LOC.match(line)
        current = int(place[1]) if place else current
        if _INSTRUCTION.match(line):
            found.append((target.dialect.strip_comment(line).split(), current))
    own = [(target.dialect.strip_comment(line).split(), number) for number, line in _instructions(assembly)]
    if [words for words, _ in own] != [words for words, _ in found]:
        return {}
    return {number: origin for (_, number), (_, origin) in zip(own, found) if origin}


def _instructions(assembly: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(assembly.split("\n"), 1):
        if _INSTRUCTION.match(line):
            yield number, line


def _described(text: str) -> Iterator[str]:
    """The lines of the IR with a place for each function and instruction, which is its line."""
    nodes = _Nodes(text)
    file = nodes.add('!DIFile(filename: "answer.ll", directory: "")')
    unit = nodes.add(f"distinct !DICompileUnit(language: DW_LANG_C99, file: {file}, emissionKind: LineTablesOnly)")
    about = f"file: {file}, unit: {unit}, type: !DISubroutineType(types: !{{null}}), spFlags: DISPFlagDefinition"
    scope, switch = None, 0
    for number, line in enumerate(text.split("\n"), 1):
        bare = without_comments(line).rstrip()
        if bare.lstrip().startswith("define ") and bare.endswith("{"):
            scope = nodes.add(f"distinct !DISubprogram(scope: {file}, line: {number}, {about})")
            bare = f"{bare[:-1]} !dbg {scope} {{"
        elif bare == "}":
            scope = None
        elif scope and bare.endswith("["):  # a switch goes on for lines
            switch = number
        elif scope and bare.strip() and not _LABEL.fullmatch(bare) and (not switch or bare.endswith("]")):
            bare += f", !dbg {nodes.add(f'!DILocation(line: {switch or number}, scope: {scope})')}"
            switch = 0
        yield bare
    flag = nodes.add('!{i32 2, !"Debug Info Version", i32 3}')
    yield from (f"!llvm.dbg.cu = !{{{unit}}}", f"!llvm.module.flags = !{{{flag}}}", *nodes.lines)


class _Nodes:
    """Metadata that is added to a module."""

    def __init__(self, text: str) -> None:
        self._next = 1 + max(map(int, _NUMBERED.findall(text)), default=-1)
        self.lines: list[str] = []

    def add(self, content: str) -> str:
        """A new node; how it is referred to."""
        name = f"!{self._next}"
        self._next += 1
        self.lines.append(f"{name} = {content}")
        return name

"""Errors of LLVM's assembler, with positions and names of the original text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pytest_llmcompiler.assembler.llvm_source import NAME_START, LLVMSource, blank_literals, build_name_pattern
from pytest_llmcompiler.assembler.statements import ParsedAssembly
from pytest_llmcompiler.errors import AssemblyError, UnsupportedError

_MESSAGE = re.compile(r"^(?:error: )?<(?:inline asm|stdin)>:(\d+):(\d+): (?!warning)(?:error: )?(.*)", re.MULTILINE)
"""Line, column and words of an error."""
_NUMERIC_LABEL_USE = re.compile(rf"{NAME_START}(\d+)([bf])(?![\w.])")


def translate_message(source: LLVMSource, output: str) -> AssemblyError | UnsupportedError:
    """The error for LLVM's output on a text: its first message, with the position in the original text."""
    match = _MESSAGE.search(output)
    if match is None:
        return _translate_unplaced(source, output)
    words = match[3]
    line, column = source.locate(int(match[1]), int(match[2]))
    missing_feature = source.parsed.dialect.missing_feature
    if missing_feature and missing_feature.match(words):
        return UnsupportedError(f"line {line}: {words}, which the target's processors need not have")
    for new, old in source.renamed_locals.items():
        words = words.replace(f"'{new}'", f"'{old}'")
    return AssemblyError(words, line, column)


def _translate_unplaced(source: LLVMSource, output: str) -> AssemblyError:
    """The error for output without a position: about a numeric label, or about a section."""
    parsed = source.parsed
    if "Undefined temporary symbol" in output:
        for offset, name in _find_undefined_numeric_labels(parsed):
            return parsed.build_error(f"numeric label {name} is not defined", offset)
    last = (output.strip().splitlines() or ["LLVM gives no reason"])[-1]
    last = re.sub(r"^(?:error: )?(?:<unknown>:0: )?", "", last)
    names = re.compile(rf"{re.escape(source.section_prefix)}(\d+)")
    return AssemblyError(names.sub(lambda match: source.name_section(match[1]), last), 0, 0)


def _find_undefined_numeric_labels(parsed: ParsedAssembly) -> Iterator[tuple[int, str]]:
    """Position and name of each use of `1f` or `1b` without a label 1 on that side."""
    seen: set[str] = set()
    labels = [statement.name if statement.is_numeric_label else "" for statement in parsed.statements]
    for number, statement in enumerate(parsed.statements):
        seen.add(labels[number])
        for match in _NUMERIC_LABEL_USE.finditer(blank_literals(statement.text)):
            if match[1] not in (labels[number:] if match[2] == "f" else seen):
                yield statement.offset + match.start(), match[0]


def describe_missing_symbols(parsed: ParsedAssembly, names: Iterable[str]) -> str:
    """The message for undefined symbols, with the line on which each is first used."""
    descriptions = []
    for name in names:
        pattern = re.compile(build_name_pattern(name))
        uses = (s for s in parsed.statements if pattern.search(blank_literals(s.operands)))
        first_use = next(uses, None)
        line = "" if first_use is None else f" (line {parsed.find_line(first_use)})"
        descriptions.append(f"'{name}'{line}")
    return f"undefined symbol{'s' if len(descriptions) > 1 else ''}: {', '.join(descriptions)}"

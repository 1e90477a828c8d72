"""Errors of LLVM's assembler, with positions and names of the original text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pytest_llmcompiler.assembler.llvm_source import NAME_START, LLVMSource, blank_literals
from pytest_llmcompiler.assembler.statements import ParsedAssembly, Statement
from pytest_llmcompiler.errors import AssemblyError, UnsupportedError
from pytest_llmcompiler.letters import name_part

_MESSAGE = re.compile(r"^(?:error: )?<(?:inline asm|stdin)>:(\d+):(\d+): (?!warning)(?:error: )?(.*)", re.MULTILINE)
"""Line, column and words of an error."""
_NAME = re.compile(rf"{NAME_START}(\$?)({name_part('.?')}{name_part('.$?')}*)")
_GNU_SPECIFIER = re.compile(r":(?:tlsgd|tlsldm)\w*:")
_MOST_NAMES = 10
"""Undefined symbols that a message names."""
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
    if "relocation specifier" in words and _is_unknown_to_llvm(source.parsed, line):
        return UnsupportedError(f"line {line}: a thread-local variable by a relocation that LLVM's assembler lacks")
    for new, old in source.renamed_locals.items():
        words = words.replace(f"'{new}'", f"'{old}'")
    return AssemblyError(words, line, column)


def _is_unknown_to_llvm(parsed: ParsedAssembly, line: int) -> bool:
    """Whether a line has a relocation that GNU as alone knows: gcc writes it with -mtls-dialect=trad."""
    return any(_GNU_SPECIFIER.search(one.operands) for one in parsed.statements if parsed.find_line(one) == line)


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
    last = {statement.name: number for number, statement in enumerate(parsed.statements) if statement.is_numeric_label}
    for number, statement in enumerate(parsed.statements):
        if statement.is_numeric_label:
            seen.add(statement.name)
        for match in _NUMERIC_LABEL_USE.finditer(blank_literals(statement.text)):
            is_defined = last.get(match[1], -1) >= number if match[2] == "f" else match[1] in seen
            if not is_defined:
                yield statement.offset + match.start(), match[0]


def describe_missing_symbols(parsed: ParsedAssembly, names: Iterable[str]) -> str:
    """The message for undefined symbols, with the line on which each is first used; of many, the first ones."""
    first_uses: dict[str, Statement] = {}
    for statement in parsed.statements:
        for dollar, word in _NAME.findall(blank_literals(statement.operands)):
            first_uses.setdefault(word, statement)
            first_uses.setdefault(dollar + word, statement)
    names = list(names)
    described = names[:_MOST_NAMES]
    lines = {name: parsed.find_line(first_uses[name]) for name in described if name in first_uses}
    descriptions = [f"'{name}' (line {lines[name]})" if name in lines else f"'{name}'" for name in described]
    if len(names) > _MOST_NAMES:
        descriptions.append(f"and {len(names) - _MOST_NAMES} more")
    return f"undefined symbol{'s' if len(names) > 1 else ''}: {', '.join(descriptions)}"

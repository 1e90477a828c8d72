"""Clang's assembly in Intel syntax, written in NASM's language."""

from __future__ import annotations

import re
from collections.abc import Iterator

_STRING_PART = re.compile(r"\\([0-7]{1,3}|.)|([^\\])")
_ESCAPES = {"n": 10, "t": 9, "r": 13, "b": 8, "f": 12, '"': 34, "\\": 92}
_DATA = {".byte": "db", ".short": "dw", ".long": "dd", ".quad": "dq", ".2byte": "dw", ".4byte": "dd", ".8byte": "dq"}
_SIZES = (("xmmword ptr", "oword"), ("tbyte ptr", "tword"), ("xword ptr", "tword"), (" ptr", ""))


def write_nasm(text: str) -> str:
    """The text of a whole file in NASM's language. Labels of basic blocks become local labels of their functions."""
    return "".join(f"{line}\n" for line in _convert_lines(text))


def _convert_lines(text: str) -> Iterator[str]:
    text = re.sub(r'"([^"\n]+)"(?=:)', r"\1", text)
    blocks, function = dict[str, str](), ""
    for label in re.findall(r"^([\w.$]+):", text, re.MULTILINE):
        if re.fullmatch(r"\.LBB\d+_\d+", label):
            blocks[label] = function
        else:
            function = label
    yield "section .text"
    section = function = ""
    for line in text.splitlines():
        line = re.sub(r"\s*#.*", "", line).strip()
        label = re.match(r"([\w.$]+):", line)
        if label and label[1] not in blocks:
            function = label[1]
        section = _read_section(line) or section
        converted = _convert_line(line, section)
        local = function

        def name_label(match: re.Match[str], local: str = local) -> str:
            name = match[0]
            if name in blocks:
                return f".bb_{name[4:]}" if blocks[name] == local else f"{blocks[name]}.bb_{name[4:]}"
            return "L_" + name[2:].replace(".", "_")

        yield re.sub(r"(?<![\w.$])\.L[\w.$]+", name_label, converted)


def _read_section(line: str) -> str:
    match = re.match(r"\.section\s+(\.[\w.]+)|\.(text|data|bss)\b", line)
    return (match[1] or f".{match[2]}") if match else ""


def _convert_line(line: str, section: str) -> str:
    if _read_section(line):
        return f"section {section}"
    name, _, operands = line.partition("\t") if "\t" in line else line.partition(" ")
    if re.fullmatch(r"[\w.$]+:", line):
        return line
    if name in (".globl", ".weak"):
        return f"global {operands}"
    if name == ".p2align":
        return f"align {1 << int(operands.split(',')[0])}, db 0" if section != ".text" else ""
    if name in _DATA:
        return f"{_DATA[name]} {operands}"
    if name in (".asciz", ".ascii", ".string"):
        return f"db {','.join(map(str, _decode(operands, name)))}"
    if name in (".zero", ".skip", ".space"):
        return f"resb {operands}" if section == ".bss" else f"times {operands} db 0"
    if name in (".comm", ".lcomm"):
        symbol, size, alignment = operands.split(",")
        return f"section .bss\nalign {alignment}\n{symbol}: resb {size}"
    return "" if line.startswith(".") else _convert_instruction(name, operands)


def _decode(literal: str, name: str) -> list[int]:
    data = [
        int(escape, 8) if escape[:1].isdigit() else _ESCAPES[escape] if escape else ord(plain)
        for escape, plain in _STRING_PART.findall(literal[1:-1])
    ]
    return data if name == ".ascii" else [*data, 0]


def _convert_instruction(name: str, operands: str) -> str:
    line = f"{name} {operands}".strip()
    if re.match(r"(?:rep\w*\s+)?(?:movs|stos|lods|scas|cmps)[bwdq]\b", line) and "es:" in line:
        return re.match(r"(?:rep\w*\s+)?\w+", line)[0]  # type: ignore[index]
    for old, new in _SIZES:
        line = line.replace(old, new)
    line = re.sub(r"\bst\((\d)\)", r"st\1", line)
    line = re.sub(r"\bst\b(?!\d)", "st0", line)
    line = re.sub(r"^(f\w+\s+)(st[1-7]), st0$", r"\1\2, st0", line)
    line = re.sub(r"\boffset\s+", "", line)
    line = re.sub(r"\[rip \+ ([\w.$]+)@GOTPCREL\]", r"[rel \1 wrt ..got]", line)
    line = re.sub(r"([\w.$]+)@PLT", r"\1 wrt ..plt", line)
    line = re.sub(r"\[rip \+ ", "[rel ", line)
    line = re.sub(r"([\w.$]+)\[rip\]", r"[rel \1]", line)
    line = re.sub(r"^movabs\b", "mov", line)
    if re.match(r"(?:sh[lr]|sa[lr]|ro[lr]|rc[lr]) ", line) and "," not in line:
        line += ", 1"
    return line

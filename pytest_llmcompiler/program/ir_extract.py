"""Cutting one function out of a module of IR, and writing modules as a plain clang for the target would."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from pytest_llmcompiler.errors import IRError
from pytest_llmcompiler.program.ir import data_layout, parse, run_passes
from pytest_llmcompiler.program.ir_names import print_ir
from pytest_llmcompiler.program.ir_queries import list_labelled
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.target import Target

if TYPE_CHECKING:
    import llvmlite.binding as llvm

_LINKAGES = "private|internal|available_externally|linkonce_odr|linkonce|weak_odr|weak|common|appending|extern_weak"
"""The linkage keywords of IR, as alternatives of a regular expression (LLVM Language Reference, "Linkage Types")."""


def normalise(text: str, target: Target | None = None) -> str:
    """IR as a plain clang for the target writes it. None is the default target.

    The bundled clang spells out every feature that the target lacks (some 6,000 characters a function) and a triple
    of its own. Both are noise in a prompt and do not change the code. The folder of the source file is noise too.
    """
    target = target or get_target()
    text = re.sub(r'"target-features"="([^"]*)"', lambda match: _format_features(match[1], target), text)
    text = re.sub(r'^source_filename = ".*[/\\\\](.*)"$', r'source_filename = "\1"', text, flags=re.M)
    text = re.sub(r'^target triple = ".*"$', f'target triple = "{target.triple}"', text, flags=re.M)
    return re.sub(r"^; ModuleID = .*\n", "", text, flags=re.M)


_EXTENSIONS = re.compile(
    r"\+(s?sse3|sse4\.[12]|sse4a|popcnt|aes|pclmul|crc32|cx16|sha|avx[-\w.]*|fma|f16c|bmi2?|lzcnt|movbe|adx|rdrnd|rdseed)"
)
"""Extensions of x86-64 with instructions of their own, which code can ask for."""


def _format_features(features: str, target: Target) -> str:
    """The attribute of a function: the features of the target's oldest processor, and the extensions that its code asks
    for, without which LLVM can't compile it."""
    own = target.feature_attribute.split(",")
    extensions = {feature for feature in features.split(",") if _EXTENSIONS.fullmatch(feature)}
    names = sorted({*own, *extensions}) if extensions - {*own} else own
    return f'"target-features"="{",".join(names)}"'


def retarget(text: str, target: Target) -> str:
    """A module rewritten for a target, whichever target it was written for.

    Where the callee extends narrow integers by the target's convention, `signext` and `zeroext` are removed.
    Raises IRError for a module with parts that depend on its own target: variable arguments, an intrinsic or a type of
    one processor, inline assembly.
    """
    if not target.convention.caller_extends:
        text = re.sub(r"^.*\b(?:define|declare|call)\b.*$", _remove_extensions, text, flags=re.M)
    triple = re.search(r'^target triple = "(.*)"$', text, re.M)
    if triple is None:
        return text
    (own_processor, own_is_windows), (processor, is_windows) = map(_split_triple, (triple[1], target.triple))
    if (own_processor, own_is_windows) == (processor, is_windows):
        return text
    of_processor = r"@llvm\.(?:x86|aarch64)\.[\w.]+|\basm\b|" if own_processor != processor else ""
    bound = re.search(rf"{of_processor}@llvm\.va_start\b|\bva_arg\b|\bx86_fp80\b", text)
    if bound:
        raise IRError(
            f"the IR is for {triple[1]}: {bound[0]} means something else on {target.name}, or does not exist there"
        )
    layout = data_layout(target)
    text = re.sub(r'^target datalayout = ".*"$', f'target datalayout = "{layout}"', text, flags=re.M)
    return re.sub(r'^target triple = ".*"$', f'target triple = "{target.triple}"', text, flags=re.M)


def _split_triple(triple: str) -> tuple[str, bool]:
    """The processor of a triple, and whether its system is Windows."""
    return triple.split("-")[0], "-windows" in triple


def _remove_extensions(line: re.Match[str]) -> str:
    return re.sub(r"\b(?:signext|zeroext) ", "", line[0])


def remove_function(text: str, function: str, kept_as: str | None = None) -> str:
    """The module with one function only declared, so that another definition can take its place.

    With `kept_as`, the old body stays under that name. Its recursive calls go to the function's own name.
    """
    lines: list[str] = []
    is_inside = is_kept = False
    for line in print_ir(parse(text)).splitlines(keepends=True):
        if line.startswith("define "):
            is_inside, is_kept = True, _header_name(line) != function
            if not is_kept:
                lines.append(declaration(line))
                if kept_as is not None:
                    line, is_kept = _rename_header(line, kept_as), True
        if is_kept or not is_inside:
            lines.append(line)
        is_inside = is_inside and not line.startswith("}")
    return print_ir(parse("".join(lines)))


def _rename_header(header: str, name: str) -> str:
    header = re.sub(rf"^define (?:(?:{_LINKAGES}) )?", "define ", header)
    header = re.sub(r" comdat(?:\([^)]*\))?", "", header)
    return re.sub(r'@(?:"(?:[^"\\]|\\.)*"|[-\w$.]+)\(', lambda _: f'@"{name}"(', header, count=1)


def extract(
    text: str,
    function: str,
    target: Target | None = None,
    kept_variables: Collection[str] = frozenset(),
    inlined: Collection[str] = frozenset(),
) -> str:
    """Cut `function` out of a module, as `llvm-extract -func` does. None is the default target.

    Everything else that the function uses becomes a declaration, but for `kept_variables` and tables of the function's
    own labels. Local symbols become external and hidden. Of the functions that are `inlined`, an optimiser inlines the
    calls, and emits no code.
    """
    module = parse(text)
    tables = {variable.name for variable in module.global_variables if function in list_labelled(variable)}
    kept = tables.union(kept_variables)
    extracted = parse("".join(_extract_lines(print_ir(module), module, function, kept, inlined)))
    run_passes(extracted, target, "strip_dead_prototype", "global_dead_code_eliminate")
    return normalise(print_ir(extracted), target).strip() + "\n"


def inline_always(text: str, target: Target | None = None) -> str:
    """A module whose functions with the attribute `alwaysinline` are inlined, as they are in clang's IR at -O0."""
    if "alwaysinline" not in text:
        return text
    module = parse(text)
    run_passes(module, target, "always_inliner")
    return print_ir(module)


def _extract_lines(
    text: str, module: llvm.ModuleRef, function: str, kept_variables: Collection[str], inlined: Collection[str]
) -> Iterator[str]:
    types = {print_ir(value).split(" = ")[0]: value for value in module.global_variables}
    is_inside = is_kept = False
    for line in text.splitlines(keepends=True):
        if is_inside:
            is_inside = not line.startswith("}")
            if is_kept:
                yield line
        elif line.startswith("define "):
            is_inside, name = True, _header_name(line)
            is_kept = name == function or name in inlined
            yield _make_visible(line) if name == function else _inline(line) if is_kept else declaration(line)
        elif line.startswith("@"):
            name = line.split(" = ")[0]
            if name in types:
                has_definition = types[name].name in kept_variables
                yield line if has_definition else _global_declaration(name, line, types[name])
            else:
                yield _alias_declaration(name, line)
        else:
            yield line


def _header_name(line: str) -> str:
    match = re.search(r'@(?:"((?:[^"\\]|\\.)*)"|([-\w$.]+))\(', line)
    if match is None:
        raise IRError(f"the IR has a function header without a name: {line.strip()}")
    return match[1] or match[2]


def _make_visible(header: str) -> str:
    header = re.sub(r"^define (?:private|internal) ", "define hidden ", header)
    return re.sub(r"^define linkonce(_odr)? ", r"define weak\1 ", header)


def _inline(header: str) -> str:
    """The header of a definition that is there to be inlined: without attributes that may forbid it."""
    declared = declaration(header).removeprefix("declare ").rstrip()
    return f"define available_externally {re.sub(r' #[0-9]+$', '', declared)} alwaysinline {{\n"


def declaration(header: str) -> str:
    """The declaration of a function, from the header of its definition."""
    header = re.sub(r"^define (?:private|internal) ", "declare hidden ", header)
    header = re.sub(rf"^define (?:(?:{_LINKAGES}) )?", "declare ", header)
    header = re.sub(r" (?:comdat(?:\([^)]*\))?|personality [^{]*|!dbg !\d+|section \"[^\"]*\")", "", header)
    return header.rstrip().removesuffix("{").rstrip() + "\n"


def _global_declaration(name: str, line: str, value: llvm.ValueRef) -> str:
    """The declaration of a variable, from the line that defines it. LLVM's own variables are dropped."""
    head = re.match(r"\S+ = (.*?)\b(global|constant) ", line)
    if head is None or value.name.startswith("llvm."):
        return "" if value.name.startswith("llvm.") else line
    if value.is_declaration:  # one that is weak stays so: its address may be null
        return line
    is_local = value.linkage.name in ("private", "internal")
    words = re.sub(rf"\b(?:{_LINKAGES}|external)\b ?", "", head[1])
    words = f"hidden {words.replace('dso_local ', '')}" if is_local else words
    end = re.search(r'(?:, section "[^"]*")?(?:, align \d+)?$', line[len(head[0]) :].rstrip())
    type = print_ir(value.global_value_type).split(" = type ")[0]
    return f"{name} = external {words}{head[2]} {type}{end[0] if end else ''}\n"


def _alias_declaration(name: str, line: str) -> str:
    """The declaration by which other modules know an alias: of a function or of a variable."""
    alias = re.search(r"\b(?:alias|ifunc) (.*), ptr @", line)
    if alias is None:
        return line
    function = re.fullmatch(r"(.*?) (\(.*\))", alias[1])
    return f"declare {function[1]} {name}{function[2]}\n" if function else f"{name} = external global {alias[1]}\n"

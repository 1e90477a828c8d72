"""Which variable of the program a local variable of a text is, where the two have different names.

Compilers choose the names of variables that other files can't see. For `static int calls;` in a function `count`,
clang's program has `count.calls`, and a second `calls` in another block of it is `count.calls.1`. A text may have:

- `calls.0` (gcc; the number says nothing). It is `count.calls`, or `other.calls` if there is one: which of them, the
  functions tell that use it, then size and initial contents.
- `calls.b` (LLVM, for a variable of the file). A variable that is 0 or 1 became a byte.
- `pair.0`, `pair.1` (LLVM). A struct or an array was split into those parts that are used, in the order of addresses.

Example: `calls.0` and `calls.1` of one function, both four bytes of zeros, and a program with `count.calls` and
`count.calls.1`. Both pairings fit. Names of such variables are nobody's business: a text is right if it is right with
one of them. So all mappings are returned, the most likely one first, and the caller tries them in turn.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pytest_llmcompiler.assembler.reach import TextReach
from pytest_llmcompiler.assembler.statements import ParsedAssembly
from pytest_llmcompiler.assembler.text_variables import TextVariable
from pytest_llmcompiler.errors import UnsupportedError
from pytest_llmcompiler.letters import name_part, name_start
from pytest_llmcompiler.program.case_symbols import CaseSymbols, Scalar
from pytest_llmcompiler.program.symbol_facts import ProgramVariable

_MOST_MAPPINGS = 24
"""Mappings of one text that are tried: those of four variables that look all alike. Each costs a run of the suite."""
_MOST_PARTS = 16
"""Parts into which LLVM splits a variable at most."""
_NUMBERED = re.compile(r"(.+?)\.(\d+)")
_NUMBERED_END = re.compile(r"\.\d+$")
_WORD_END = re.compile(rf"\.\d+(?!{name_part('.$?')})")
"""The end of a name like `calls.0`."""
_NUMBERED_NAME = re.compile(rf"{name_start('?')}{name_part('.$?')}*\.\d+")
"""Such a name: numbers, such as compilers' versions, and names of sections are none."""
_WORD = re.compile(rf"{name_part('.$?')}+")
_PART = re.compile(r"(?:\d+\.)*(?:\d+|b)\.")
"""What LLVM appends to the name of a variable that it changes, with a dot behind each step."""
_DECORATED = re.compile(r"\$(\w+)\.\$\w+\$\$(\w+)\.\..*")
"""A static variable and its function in a listing of Microsoft's compiler, `?calls@?1??count@@9@9`, in GNU syntax."""
_PROMOTED = re.compile(r"(.+?)\.(?:lto_priv|llvm)\.\d+")
"""A variable that link-time optimisation made visible to other files."""


class ProgramPlace(NamedTuple):
    """A place in the program."""

    variable: str
    offset: int
    """In bytes from the start of the variable."""
    address: int


Places = dict[str, ProgramPlace]
"""Name in the text -> its place in the program."""


def map_variables(
    parsed: ParsedAssembly,
    reach: TextReach,
    case: CaseSymbols,
    variables: Mapping[str, TextVariable],
    shared_names: Collection[str],
    program_symbols: Container[str],
) -> list[Places]:
    """The mappings of a text that fit, the most likely one first; at least one, which may be empty.

    `shared_names` mean the program's definition already. Raises UnsupportedError where the function under test can
    reach a variable that is one of the program's, and it can't be told which.
    """
    own = [item for item in variables.values() if not item.is_global and item.name not in shared_names]
    named = _find_undefined(parsed, reach, case, program_symbols)
    if not own and not named:
        return [{}]
    mapper = _VariableMapper(parsed, reach, case)
    choices = [mapper.static_locals([*own, *named]), *mapper.split_variables(own)]
    mappings = [_merge(choice) for choice in itertools.islice(itertools.product(*choices), _MOST_MAPPINGS + 1)]
    if len(mappings) > _MOST_MAPPINGS:
        names = ", ".join(sorted(set().union(*mappings)))
        raise UnsupportedError(f"which variables of the program {names} are can't be told from their use")
    return mappings


def _find_undefined(
    parsed: ParsedAssembly, reach: TextReach, case: CaseSymbols, program_symbols: Container[str]
) -> list[TextVariable]:
    """The static variables of functions that a text uses and does not define: code cut out of a larger text."""
    if not case.has_static_locals or not _WORD_END.search(parsed.source):
        return []
    words = {word.lstrip("$") for word in set(_WORD.findall(parsed.source))}
    numbered = {word for word in words if _NUMBERED_NAME.fullmatch(word)} - parsed.defined_names
    names = {name for name in numbered if name not in program_symbols}
    return [
        TextVariable(name, None, is_constant=False, is_global=False, contents=None)
        for name in sorted(names)
        if reach.find_users(name)
    ]


def _merge(parts: Iterable[Places]) -> Places:
    return {name: place for part in parts for name, place in part.items()}


class _VariableMapper:
    """Finds the mappings of one text."""

    def __init__(self, parsed: ParsedAssembly, reach: TextReach, case: CaseSymbols) -> None:
        self._parsed, self._reach, self._case = parsed, reach, case
        self._owners = {name.partition(".")[0] for name in parsed.code_names} - {""}
        """The functions of the text, clones such as `f.part.0` among them, by the names of their C functions."""
        self._by_key: dict[str, list[ProgramVariable]] = {}
        for variable in case.variables.values():
            if variable.is_local:
                for key in _keys_of_variable(variable.name):
                    self._by_key.setdefault(key, []).append(variable)

    # -- static variables of functions

    def static_locals(self, own: Sequence[TextVariable]) -> Sequence[Places]:
        """The ways to pair variables of the text with variables of the program, without using one twice."""
        candidates = {item.name: self._find_candidates(item) for item in own}
        candidates = {name: found for name, found in candidates.items() if found}
        constants = {item.name for item in own if item.is_constant}
        fixed = {name: found[0] for name, found in candidates.items() if name in constants and len(found) == 1}
        open_ = {name: found for name, found in candidates.items() if name in self._reach.names - constants}
        distinct = {variable.name for found in open_.values() for variable in found}
        ways = _assign(list(open_.items()), frozenset()) if len(open_) <= len(distinct) else iter(())
        pairings = list(itertools.islice(ways, _MOST_MAPPINGS + 1))
        if not pairings:
            raise UnsupportedError(f"no variables of the program fit {', '.join(sorted(open_))} all at once")
        return [
            {name: ProgramPlace(item.name, 0, item.address) for name, item in (fixed | pairing).items()}
            for pairing in pairings
        ]

    def _find_candidates(self, item: TextVariable) -> list[ProgramVariable]:
        return [
            variable
            for variable in self._by_key.get(_key_of_name(item.name), ())
            if variable.is_constant == item.is_constant
            and not (item.is_constant and item.contents is None)
            and not item.has_other_contents(variable.contents)
            and self._is_used_alike(item.name, variable.name)
        ]

    def _is_used_alike(self, name: str, variable: str) -> bool:
        """Whether all functions that use a variable of the text may use a variable of the program.

        Inlining takes a variable to the callers of its function, and to no other function. A function that is still
        there uses its own variables.
        """
        users = {user.partition(".")[0] for user in self._reach.find_users(name)}
        if any(variable not in self._case.mentioned(user) for user in users & self._case.functions):
            return False
        owner = variable.partition(".")[0]
        return not users or owner in users or owner not in self._owners

    # -- variables that LLVM changed

    def split_variables(self, own: Sequence[TextVariable]) -> Iterator[Sequence[Places]]:
        """For each variable of the program of which the text has parts, the ways to place them."""
        parts: dict[str, list[TextVariable]] = {}
        for item in own:
            whole = self._find_whole(item)
            if whole and not item.is_constant:
                parts.setdefault(whole, []).append(item)
        for whole, items in parts.items():
            if any(item.name in self._reach.names for item in items):
                yield self._place_parts(self._case.variables[whole], items)

    def _find_whole(self, item: TextVariable) -> str | None:
        """The variable of the program that a name of the form `NAME.b` or `NAME.NUMBER` is a part of.

        LLVM leaves no use of `NAME` itself behind, and splits no scalar.
        """
        stem, rest = item.name, ""
        while "." in stem:
            stem, _, end = stem.rpartition(".")
            rest = f"{end}.{rest}"
            variable = self._case.variables.get(stem)
            if variable and variable.is_local and not variable.is_constant and stem not in self._parsed.labels:
                is_part = _PART.fullmatch(rest) and (rest == "b." or not self._case.is_scalar(variable))
                is_used = stem in self._reach.users
                return stem if is_part and not is_used and not self._find_candidates(item) else None
        return None

    def _place_parts(self, whole: ProgramVariable, items: Sequence[TextVariable]) -> Sequence[Places]:
        if [item.name for item in items] == [f"{whole.name}.b"] and self._case.is_flag(whole):
            return [{f"{whole.name}.b": ProgramPlace(whole.name, 0, whole.address)}]
        paths = {item.name: item.name.removeprefix(whole.name + ".").split(".") for item in items}
        ordered: list[TextVariable] = []
        if all(step.isdecimal() for path in paths.values() for step in path):
            ordered = sorted(items, key=lambda item: [int(step) for step in paths[item.name]])
        ways = _place_in_order(whole, ordered, self._case.scalars_of(whole))
        placed = list(itertools.islice(ways, _MOST_MAPPINGS + 1)) if 0 < len(ordered) <= _MOST_PARTS else []
        if not placed:
            names = ", ".join(item.name for item in items)
            raise UnsupportedError(
                f"a compiler turned the variable {whole.name} into {names}, which can't be mapped back"
            )
        return placed


def _key_of_name(name: str) -> str:
    """What a name of the text has in common with clang's name of the same variable (see `_keys_of_variable`)."""
    promoted, numbered, decorated = (pattern.fullmatch(name) for pattern in (_PROMOTED, _NUMBERED, _DECORATED))
    if promoted:
        return promoted[1]
    if decorated:
        return f"{decorated[2]}.{decorated[1]}"
    if numbered and numbered[1] == "__compound_literal":
        return ".compoundliteral"
    return f"*.{numbered[1]}" if numbered else ""


def _keys_of_variable(name: str) -> set[str]:
    """The name that clang gives a local variable, without the number at its end, and with any function in front."""
    plain = _NUMBERED_END.sub("", name)
    owner, dot, rest = plain.partition(".")
    return {name, plain, f"*.{rest}"} if owner and dot else {name, plain}


def _assign(
    candidates: Sequence[tuple[str, Sequence[ProgramVariable]]], taken: frozenset[str]
) -> Iterator[dict[str, ProgramVariable]]:
    """All ways to give each name one of its candidates, and no candidate to two names."""
    if not candidates:
        yield {}
        return
    name, variables = candidates[0]
    for variable in variables:
        if variable.name not in taken:
            for rest in _assign(candidates[1:], taken | {variable.name}):
                yield {name: variable, **rest}


def _place_in_order(
    whole: ProgramVariable, parts: Sequence[TextVariable], scalars: Sequence[Scalar]
) -> Iterator[Places]:
    """All ways to put parts on scalars of the same size and contents, in the order of addresses."""
    latest: list[int] = []  # for each part, the last scalar that leaves room for the parts behind it
    end = len(scalars)
    for part in reversed(parts):
        end = next((index for index in reversed(range(end)) if _fits(part, whole, scalars[index])), -1)
        if end < 0:
            return
        latest.insert(0, end)

    def place(number: int, start: int) -> Iterator[Places]:
        if number == len(parts):
            yield {}
            return
        for index in range(start, latest[number] + 1):
            if _fits(parts[number], whole, scalars[index]):
                offset = scalars[index].offset
                for rest in place(number + 1, index + 1):
                    yield {parts[number].name: ProgramPlace(whole.name, offset, whole.address + offset), **rest}

    yield from place(0, 0)


def _fits(part: TextVariable, whole: ProgramVariable, scalar: Scalar) -> bool:
    contents = whole.contents[scalar.offset : scalar.offset + scalar.size]
    return part.size == scalar.size and not part.has_other_contents(contents)

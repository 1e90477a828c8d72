"""What the function under test can reach in a text: which code it may run, and which names that code refers to.

An answer is often a whole file. What the function under test can't reach need not link: a name that nobody defines, or
a variable that can't be placed, counts only where the function can get to it.

The statements of each section are cut at their labels into blocks. A block leads to the blocks of all names in its
operands, be they called, jumped to or used as addresses, and to the block behind it, unless its last instruction never
goes on. An example, in which `f` reaches everything but `other`:

    f:      leaq table(%rip), %rax
            jmp *(%rax,%rdi,8)
    other:  jmp nowhere
    g:      call abort
            .section .rodata
    table:  .quad g
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from pytest_llmcompiler.assembler.statements import ParsedAssembly, Statement
from pytest_llmcompiler.assembler.tokens import LITERAL, SYMBOL

_NAME_OR_LITERAL = re.compile(rf"{LITERAL}|{SYMBOL}")
_BRANCH = re.compile(r"call[lq]?|j\w+|loop\w*|xbegin|bl?|b\.\w+|cbn?z|tbn?z", re.IGNORECASE)
_LEAVING = re.compile(r"i?ret[a-z]*|[lv]?jmp[lq]?|ud2[ab]?|hlt|int3|br[a-z]*|b|udf", re.IGNORECASE)
"""Instructions of x86-64 and AArch64 behind which execution never goes on: returns, jumps and traps."""
_PADDING = re.compile(r"f?nop[lqw]?|int3", re.IGNORECASE)
_KEPT_CHARACTERS = 64
"""Longest operands of which the names are kept. Longer ones are data, of which no two texts have the same."""
_TEXT_DIRECTIVES = frozenset((".ascii", ".asciz", ".string"))
"""Those whose operands are texts: a quoted name is none in them."""
_FEW_NAMES = 4
"""Names up to which each is looked for in all operands."""
_CALL = re.compile(r"call[lq]?|bl", re.IGNORECASE)
_NO_RETURN = frozenset((
    "abort", "exit", "_exit", "_Exit", "quick_exit", "longjmp", "siglongjmp", "_longjmp", "__longjmp_chk", "err",
    "errx", "verr", "verrx", "__assert_fail", "__assert_perror_fail", "__assert", "__stack_chk_fail", "__chk_fail",
    "__fortify_fail", "pthread_exit",
))  # fmt: skip
"""Functions of C libraries that never return."""


def is_branch(statement: Statement) -> bool:
    """Whether a statement is a jump or a call."""
    return statement.kind == "instruction" and _is_branch_name(statement.name)


@functools.lru_cache(maxsize=4096)
def _is_branch_name(name: str) -> bool:
    return _BRANCH.fullmatch(name) is not None


def names_in(statement: Statement) -> Sequence[str]:
    """The words in the operands of a statement that may be names, registers among them."""
    return list_names((statement,))[0]


def list_names(statements: Iterable[Statement]) -> list[tuple[str, ...]]:
    """The same for many statements, in a fraction of the time."""
    once, anew, most, texts = _find_names_once, _find_names, _KEPT_CHARACTERS, _TEXT_DIRECTIVES
    return [
        once(operands, name in texts) if len(operands) <= most else anew(operands, name in texts)
        for _, _, _, _, _, name, operands, _, _ in statements
    ]


def _find_names(operands: str, is_text: bool) -> tuple[str, ...]:
    names = []
    for word in _NAME_OR_LITERAL.findall(operands):
        if word[0] not in "\"'":
            names.append(word)
            if word[0] == "$":  # of an immediate, in AT&T syntax
                names.append(word[1:])
        elif word[0] == '"' and not is_text:
            names.append(word[1:-1])
    return tuple(names)


_find_names_once = functools.lru_cache(maxsize=1 << 15)(_find_names)
"""The same, computed once for equal operands: the answers for a function share most of them."""


def _join(statements: Iterable[Statement]) -> frozenset[str]:
    """The words in the operands of statements."""
    return frozenset(itertools.chain.from_iterable(list_names(statements)))


class TextReach:
    """What is reached from one function of a text. `shared_names` are defined in the text and mean the program's
    definition, so that the text's own one is not reached by them."""

    def __init__(self, parsed: ParsedAssembly, function: str, shared_names: Container[str]) -> None:
        self._parsed, self._function, self._shared = parsed, function, shared_names
        self._blocks: list[list[Statement]] = []
        self._block_names: dict[int, frozenset[str]] = {}
        """The words in the operands of blocks, as far as they were asked for."""
        self._next: list[int | None] = []
        """For each block, the block behind it in its section."""
        self._starts: dict[str, int] = {}
        """Label or assigned symbol -> its block."""
        self._asked_users = 0
        """The names whose users were asked for."""

    @functools.cached_property
    def _reached(self) -> frozenset[int]:
        """The numbers of the blocks that are reached."""
        self._cut_blocks()
        reached: set[tuple[int, bool]] = set()
        queue = [(self._starts[self._function], False)] if self._function in self._starts else []
        while queue:
            step = queue.pop()
            if step not in reached:
                reached.add(step)
                queue += self._successors(*step)
        return frozenset(block for block, _ in reached)

    @functools.cached_property
    def names(self) -> frozenset[str]:
        """The names, and other words, in the operands of what is reached."""
        return frozenset().union(*map(self._find_block_names, self._reached))

    def _find_block_names(self, block: int) -> frozenset[str]:
        names = self._block_names.get(block)
        if names is None:
            names = self._block_names[block] = _join(self._blocks[block])
        return names

    @functools.cached_property
    def unreached_names(self) -> frozenset[str]:
        """The names, and other words, in what is not reached alone."""
        return _join(self._parsed.statements) - self.names - self._parsed.defined_names

    @functools.cached_property
    def addressed_names(self) -> frozenset[str]:
        """Those of `names` that are used as addresses, and not only called or jumped to."""
        return _join(item for block in self._reached for item in self._blocks[block] if not is_branch(item))

    @functools.cached_property
    def offsets(self) -> frozenset[int]:
        """The positions in the source of the statements that are reached."""
        return frozenset(item.offset for block in self._reached for item in self._blocks[block])

    @functools.cached_property
    def users(self) -> Mapping[str, frozenset[str]]:
        """Name -> the functions of the text, reached or not, whose code refers to it."""
        owned: dict[str, list[Statement]] = {}
        for owner, statement in self._owned_instructions():
            owned.setdefault(owner, []).append(statement)
        users: dict[str, set[str]] = {}
        for owner, statements in owned.items():
            for name in _join(statements):
                users.setdefault(name, set()).add(owner)
        return {name: frozenset(functions) for name, functions in users.items()}

    def find_users(self, name: str) -> frozenset[str]:
        """Those of `users` of one name. Few operands hold the name at all, which is faster to find out than all names
        in them, as long as few names are asked for."""
        self._asked_users += 1
        if self._asked_users > _FEW_NAMES:
            return self.users.get(name, frozenset())
        owned = self._owned_instructions()
        return frozenset(owner for owner, item in owned if name in item.operands and name in names_in(item))

    def _owned_instructions(self) -> Iterator[tuple[str, Statement]]:
        """The instructions behind the label of a function in their section, with its name."""
        owner: dict[int, str] = {}
        for statement in self._parsed.statements:
            if statement.kind == "instruction":
                if statement.section in owner:
                    yield owner[statement.section], statement
            elif statement.kind == "label" and not statement.is_numeric_label and not statement.name.startswith(".L"):
                owner[statement.section] = statement.name

    def _cut_blocks(self) -> None:
        current: dict[int, int] = {}
        for statement in self._parsed.statements:
            section = statement.section
            if statement.kind == "set":
                self._starts.setdefault(statement.name, self._add_block([statement]))
                continue
            is_start = statement.kind == "label" and not statement.is_numeric_label
            if is_start or section not in current:
                block = self._add_block([])
                if section in current:
                    self._next[current[section]] = block
                current[section] = block
            if is_start:
                self._starts[statement.name] = current[section]
            else:
                self._blocks[current[section]].append(statement)

    def _add_block(self, statements: list[Statement]) -> int:
        self._blocks.append(statements)
        self._next.append(None)
        return len(self._blocks) - 1

    def _successors(self, block: int, is_chained: bool) -> Iterator[tuple[int, bool]]:
        """The blocks to which a block leads. From a chained one, all blocks behind it are reached and chained: gcc
        addresses several variables by their distances from one `.LANCHOR`."""
        for name in self._starts.keys() & self._find_block_names(block):
            if name not in self._shared:
                yield self._starts[name], "ANCHOR" in name
        behind = self._next[block]
        if behind is not None and (is_chained or self._goes_on(self._blocks[block])):
            yield behind, is_chained

    def _goes_on(self, block: list[Statement]) -> bool:
        """Whether execution may go on behind a block, or an object that begins there has no bytes yet."""
        for statement in reversed(block):
            if statement.kind in ("align", "weak", "label") or _PADDING.fullmatch(statement.name):
                continue
            if statement.kind != "instruction":
                return self._parsed.sections[statement.section].is_executable
            target = statement.operands.partition("@")[0].strip(' *"')
            is_last_call = _CALL.fullmatch(statement.name) and target in _NO_RETURN
            return not (_LEAVING.fullmatch(statement.name) or is_last_call)
        return True

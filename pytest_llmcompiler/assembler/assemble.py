"""Assembly text of unknown origin becomes machine code at addresses, by keystone or LLVM, in a process that may die.

Keystone is fast but faulty, so little is asked of it, and only for x86-64: it encodes instructions whose operands are
registers and numbers, and branches to labels of the same text. Data, symbols and sections are done here. Every text
that goes beyond that is LLVM's. LLVM decides: a text that keystone does not take is never reported with keystone's
message.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import cast

from pytest_llmcompiler.assembler import keystone, llvm
from pytest_llmcompiler.assembler.bindings import Binding, bind_names, require_supported
from pytest_llmcompiler.assembler.job import AssemblerLimits, AssemblyJob, Encoder
from pytest_llmcompiler.assembler.keystone_engine import find_library, run_keystone
from pytest_llmcompiler.assembler.linkage import Linkage
from pytest_llmcompiler.assembler.linker import PAGE, describe_missing_function
from pytest_llmcompiler.assembler.llvm_messages import describe_missing_symbols
from pytest_llmcompiler.assembler.operands import KeystoneRefusalError
from pytest_llmcompiler.assembler.reach import TextReach
from pytest_llmcompiler.assembler.readings import try_readings
from pytest_llmcompiler.assembler.statements import ParsedAssembly
from pytest_llmcompiler.assembler.thread_storage import ThreadStorage
from pytest_llmcompiler.assembler.tokens import LITERAL, SYMBOL
from pytest_llmcompiler.errors import LinkError
from pytest_llmcompiler.program.case_symbols import CaseSymbols
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.code import AssembledCode, AssemblerName, BooleanVariable
from pytest_llmcompiler.targets.target import Target

_DEFAULT_LIMITS = AssemblerLimits()
_BRANCH_TARGET = re.compile(rf'(?:({SYMBOL})|"([^"\\]+)")(?:@PLT)?', re.IGNORECASE)
_NAME_OR_LITERAL = re.compile(rf"{LITERAL}|{SYMBOL}")


def assemble(
    text: str,
    function: str,
    base: int,
    symbols: Mapping[str, int],
    assembler: AssemblerName = "keystone",
    *,
    library: Mapping[str, int] | None = None,
    limits: AssemblerLimits = _DEFAULT_LIMITS,
    encode: Encoder = run_keystone,
    target: Target | None = None,
    case: CaseSymbols | None = None,
    binding_number: int = 0,
    is_program: bool = False,
    threads: ThreadStorage | None = None,
) -> AssembledCode:
    """Assemble a text that defines `function`, and load it at the page-aligned address `base`.

    `symbols` are the addresses of the program's symbols by name. What a name means that both define, `bind_names` says
    from the symbols of the `case`; where several bindings fit, `binding_number` chooses one. Without a case every such
    name is the program's, except for `function` itself and for local labels (`.L…`). `library` has the addresses of
    names that neither defines. What the function can't reach need not link. Where the text `is_program`, a whole
    program, every name that it defines is its own, and all of it has to link. Thread-local variables need `threads`.
    The target is x86-64 Linux by default. With `keystone` as the assembler, LLVM is asked where keystone does not do or
    is not installed. `encode` runs keystone.

    Raises AssemblyError where no assembler accepts the text, LinkError where the function is missing or a symbol is
    defined nowhere, UnsupportedError where the text is valid but uses a feature that the linker lacks, and ValueError
    for a base that is not page-aligned.
    """
    if base % PAGE:
        raise ValueError(f"base {base:#x} is not page-aligned")
    target = target or get_target()

    def assemble_reading(parsed: ParsedAssembly) -> AssembledCode:
        binding = Binding(frozenset()) if is_program else _bind(parsed, function, symbols, case, binding_number)
        reach = binding.reach or TextReach(parsed, function, binding.shared_names)
        if parsed.thread_local and threads is None:
            require_supported(parsed, reach)
        addresses = ChainMap(
            binding.find_addresses(symbols),
            cast("dict[str, int]", symbols),
            cast("dict[str, int]", _NeededNames({} if library is None else library, reach)),
        )
        job = AssemblyJob(
            parsed=parsed,
            function=function,
            binding=binding,
            reach=reach,
            base=base,
            program_symbols=addresses,
            limits=limits,
            encode=encode,
            target=target,
            is_program=is_program,
            threads=_name_thread_locals(threads, binding),
        )
        return _add_binding_facts(_assemble_job(job, assembler), job, case)

    return try_readings(text, target.dialect, assemble_reading)


def _name_thread_locals(threads: ThreadStorage | None, binding: Binding) -> ThreadStorage | None:
    """The thread-local variables under the names, too, that the text has for them."""
    if threads is None or not threads.names or not binding.places:
        return threads
    own = {name for name, place in binding.places.items() if place.variable in threads.names}
    return replace(threads, names=threads.names | own)


def _add_binding_facts(code: AssembledCode, job: AssemblyJob, case: CaseSymbols | None) -> AssembledCode:
    """The code with what the binding of its text says of functions and variables."""
    binding, parsed = job.binding, job.parsed
    shared = binding.shared_names & parsed.code_names if binding.shared_names else frozenset[str]()
    return replace(
        code,
        binding_alternatives=binding.alternatives,
        booleans=tuple(BooleanVariable(name, code.symbols[name], values) for name, values in binding.booleans.items()),
        shared_functions=shared,
        used_functions=shared & job.reach.names if shared else shared,
        is_private=not parsed.is_global(job.function) and _is_called_by_case(job.reach, job.function, case),
    )


def _assemble_job(job: AssemblyJob, assembler: AssemblerName) -> AssembledCode:
    if assembler != "keystone" or not job.target.has_keystone or find_library() is None:
        return llvm.assemble(job)
    try:
        return keystone.assemble(job)
    except KeystoneRefusalError as refusal:
        reason = str(refusal)
    return replace(llvm.assemble(job), fallback_reason=reason)


def build_linkable_object(
    text: str,
    symbols: Mapping[str, int],
    linkage: Linkage,
    *,
    case: CaseSymbols | None = None,
    limits: AssemblerLimits = _DEFAULT_LIMITS,
) -> bytes:
    """The ELF object of a text for x86-64 Linux, to be linked into a program that defines `symbols`.

    Names mean what they mean to `assemble`. The function is the only symbol that the object defines for other objects.
    The lines of the text are its debug information. Raises AssemblyError, LinkError where the function or a local label
    is missing, and UnsupportedError.
    """

    def build(parsed: ParsedAssembly) -> bytes:
        if linkage.function not in parsed.defined_names:
            raise LinkError(describe_missing_function(linkage.function, list(parsed.labels)))
        return llvm.build_object(parsed, _bind(parsed, linkage.function, symbols, case, 0), linkage, limits)

    return try_readings(text, get_target().dialect, build)


def build_undefined_error(text: str, names: Iterable[str]) -> LinkError:
    """The error for a text that refers to names that nobody defines, with the line of each."""
    description = try_readings(text, get_target().dialect, lambda parsed: describe_missing_symbols(parsed, names))
    return LinkError(description, tuple(sorted(names)))


def find_called_symbols(text: str) -> frozenset[str]:
    """The names that a text calls or jumps to, and uses in no other way."""
    called: set[str] = set()
    used: set[str] = set()
    parsed = try_readings(text, get_target().dialect, lambda parsed: parsed)
    for statement in parsed.statements:
        is_branch = statement.kind == "instruction" and statement.name.startswith(("call", "jmp"))
        target = _BRANCH_TARGET.fullmatch(statement.operands) if is_branch else None
        if target:
            called.add(target[1] or target[2])
        elif statement.kind != "label":
            used |= {word.strip('"') for word in _NAME_OR_LITERAL.findall(statement.operands)}
    return frozenset(called - used)


class _NeededNames(Mapping[str, int]):
    """Those of the addresses of further names that the function can reach. Others are not asked for, which may be
    expensive."""

    def __init__(self, addresses: Mapping[str, int], reach: TextReach) -> None:
        self._addresses, self._reach = addresses, reach

    def __getitem__(self, name: str) -> int:
        if name in self._reach.names:
            return self._addresses[name]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return filter(self._reach.names.__contains__, self._addresses)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _is_called_by_case(reach: TextReach, function: str, case: CaseSymbols | None) -> bool:
    """Whether a text has another function of the case, or a part of one, that refers to a function."""
    if case is None:
        return False
    users = {user.partition(".")[0] for user in reach.find_users(function)} - {function}
    return not users.isdisjoint(case.functions)


def _bind(
    parsed: ParsedAssembly, function: str, symbols: Mapping[str, int], case: CaseSymbols | None, number: int
) -> Binding:
    if case is not None:
        return bind_names(parsed, function, case, symbols, number)
    names = parsed.defined_names - {function}
    return Binding(frozenset(name for name in names if name in symbols and not name.startswith(".L")))

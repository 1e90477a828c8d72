"""Thread-local variables as ordinary ones: the programs that are judged have one thread.

So a thread-local variable has one address, is part of inputs, and is compared, like any other. Code that reaches it in
the ways of thread-local storage gets this address from the linker of candidates.

    @calls = thread_local global i32 0                         @calls = global i32 0
    %1 = call ptr @llvm.threadlocal.address.p0(ptr @calls)
    %2 = load i32, ptr %1                                      %2 = load i32, ptr @calls
"""

from __future__ import annotations

import re
from collections.abc import Collection

_NAME = r'(?:"[^"]*"|[-\w.$]+)'
_DEFINITION = re.compile(rf"^(@({_NAME}) = (?:[a-z_]+ )*?)thread_local(?:\(\w+\))? ", re.M)
"""A variable or an alias from its name up to the word, with its model in brackets: `thread_local(initialexec)`."""
_BEHIND = r"(?:local_)?unnamed_addr |addrspace|externally_initialized |global |constant |alias "
"""What may stand behind the word first."""
_ADDRESS = re.compile(rf"^ +(%{_NAME}) = [^@\n]*@llvm\.threadlocal\.address\.\w+\(ptr [^@\n]*(@{_NAME})\).*\n", re.M)
"""The address of a variable for this thread."""
_FUNCTION = re.compile(r"^define .*?^}", re.M | re.S)
_VALUE = re.compile(rf'"[^"]*"|%{_NAME}')


def list_thread_locals(text: str) -> frozenset[str]:
    """The thread-local variables that a module of IR defines or declares, and their aliases."""
    if "thread_local" not in text:
        return frozenset()
    return frozenset(match[2].strip('"') for match in _DEFINITION.finditer(text))


def drop_thread_locals(text: str) -> str:
    """The module with ordinary variables in the place of thread-local ones."""
    if "thread_local" not in text:
        return text
    return _FUNCTION.sub(lambda function: _drop_addresses(function[0]), _DEFINITION.sub(r"\1", text))


def restore_thread_locals(text: str, names: Collection[str]) -> str:
    """The module in which some variables are thread-local again, each used as if it had one address."""
    if not names:
        return text
    choice = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    pattern = rf'^(@(?:{choice}|"(?:{choice})") = (?:(?!{_BEHIND})[a-z_]+ )*)'
    return re.sub(pattern, r"\1thread_local ", text, flags=re.M)


def _drop_addresses(function: str) -> str:
    addresses: dict[str, str] = {match[1]: match[2] for match in _ADDRESS.finditer(function)}
    if not addresses:
        return function
    return _VALUE.sub(lambda value: addresses.get(value[0], value[0]), _ADDRESS.sub("", function))

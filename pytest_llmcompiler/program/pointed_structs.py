"""The structs that a function takes its `void *` parameters for.

    int by_age(const void *a, const void *b) { const struct person *p = a, *q = b; return p->age - q->age; }

A comparator, a callback, or a function with an opaque handle is defined on such structs alone, and in random bytes no
pointer leads anywhere. IR at -O0 keeps a parameter in a local variable, and the address of each member says of which
struct it is a member: `getelementptr inbounds %struct.person, ptr %9, i32 0, i32 1`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pytest_llmcompiler.program.ir_instructions import FunctionBody, IrInstruction, read_functions
from pytest_llmcompiler.program.ir_names import print_ir
from pytest_llmcompiler.values.c_types import Function, Pointer, Struct, Type

if TYPE_CHECKING:
    import llvmlite.binding as llvm

_STRUCT = re.compile(r'%"?(?:struct|union)\.')
"""The start of the names that clang gives to structs and unions."""


_MAX_ROUNDS = 3
"""How often callees are asked anew, for what a function hands on to one that hands it on."""


def find_pointed_structs(module: llvm.ModuleRef, types: Mapping[str, Function]) -> dict[str, dict[int, str]]:
    """The names of the structs that `void *` parameters lead to, by function and by the parameter's position.

    A name is as IR has it, without `struct.`: that of its tag or of its `typedef`. A parameter that is taken for
    several structs has none.
    """
    bodies: dict[str, FunctionBody] = {}
    for function in module.functions:
        params = types[function.name].params if function.name in types else ()
        if not function.is_declaration and any(_is_void_pointer(param.type) for param in params):
            bodies |= read_functions(print_ir(function))
    found: dict[str, dict[int, str]] = {}
    for _ in range(_MAX_ROUNDS):
        last, found = found, {name: _find_of_function(body, types, found) for name, body in bodies.items()}
        if found == last:
            break
    return found


def _is_void_pointer(type: Type) -> bool:
    return isinstance(type, Pointer) and type.target is None


def _find_of_function(
    body: FunctionBody, types: Mapping[str, Function], known: Mapping[str, Mapping[int, str]]
) -> dict[int, str]:
    params = types[body.name].params
    wanted = [at for at, param in enumerate(params) if _is_void_pointer(param.type)]
    if len(params) != len(body.params):  # a struct that is passed in several registers
        return {}
    names = {at: set(_find_structs(body, body.params[at], types, known)) for at in wanted}
    return {at: next(iter(structs)) for at, structs in names.items() if len(structs) == 1}


def _find_structs(
    body: FunctionBody, value: str, types: Mapping[str, Function], known: Mapping[str, Mapping[int, str]]
) -> Iterator[str]:
    """The structs of which members are addressed by a parameter's value, or that a callee takes it for."""
    pending, seen = [value], set[str]()
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        for user in body.users[value]:
            if user.opcode == "store" and user.operands[0] == value:
                slot = body.definitions.get(user.operands[1])
                if slot and slot.opcode == "alloca":
                    pending += (load.result for load in body.users[slot.result] if load.opcode == "load")
            elif user.opcode == "getelementptr" and user.operands[0] == value and _STRUCT.match(user.type):
                yield user.type.replace('"', "").partition(".")[2]
            elif user.opcode == "call":
                yield from _find_of_callee(user, value, types, known)


def _find_of_callee(
    call: IrInstruction, value: str, types: Mapping[str, Function], known: Mapping[str, Mapping[int, str]]
) -> Iterator[str]:
    callee = call.operands[0][1:]
    params = types[callee].params if callee in types else ()
    for at, (argument, param) in enumerate(zip(call.operands[1:], params)):
        target = param.type.target if isinstance(param.type, Pointer) else None
        name = target.name.partition(" ")[2] if isinstance(target, Struct) else ""
        if argument == value and name:
            yield name
        elif argument == value and at in known.get(callee, {}):
            yield known[callee][at]

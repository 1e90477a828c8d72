"""Labels whose addresses a function takes: `static void *table[] = {&&first, &&second}; goto *table[x];`

Another compiler's code for the function has labels of its own, at other addresses. That shows nowhere as long as the
function only jumps to them. Where it stores the address of a label in a variable, returns it or passes it, two correct
codes differ in what they leave, and no candidate can be judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_llmcompiler.program.ir import parse, run_passes
from pytest_llmcompiler.program.ir_instructions import FunctionBody, IrInstruction, read_functions
from pytest_llmcompiler.program.ir_names import print_ir
from pytest_llmcompiler.program.ir_queries import list_labelled

if TYPE_CHECKING:
    from pytest_llmcompiler.targets.target import Target

_HARMLESS = ("indirectbr", "icmp", "switch", "br")
"""Instructions that only look at the address of a label, or jump to it."""
_PRODUCING = (
    *("phi", "select", "getelementptr", "load", "freeze", "ptrtoint", "inttoptr"),
    *("add", "sub", "sext", "zext", "trunc", "shl", "mul"),
)
"""Instructions whose result may be the address of a label, or lead to one, if an operand does."""


def keeps_label(ir: str, function: str, target: Target) -> bool:
    """Whether a function of a module may store, return or pass the address of one of its labels."""
    if "blockaddress(" not in ir:
        return False
    module = parse(ir)
    run_passes(module, target, "sroa")
    body = read_functions(print_ir(module.get_function(function))).get(function)
    tables = [f"@{one.name}" for one in module.global_variables if function in list_labelled(one)]
    return body is None or None in _follow_labels(body, tables)


def _follow_labels(body: FunctionBody, tables: list[str]) -> Iterator[str | None]:
    """The names of what may be the address of a label, or lead to one; None for an instruction that keeps such an
    address. `tables` are the variables that hold some."""
    pending, seen = [], set(tables)
    pending += [one for one in body.instructions if "blockaddress(" in one.text]
    pending += [user for table in tables for user in body.users[table]]
    while pending:
        instruction = pending.pop()
        if instruction.opcode in _HARMLESS or "@llvm.lifetime." in instruction.text:
            continue
        name = instruction.result if instruction.opcode in _PRODUCING else _find_written(body, instruction)
        yield name
        if name and name not in seen:
            seen.add(name)
            pending += body.users[name]


def _find_written(body: FunctionBody, instruction: IrInstruction) -> str | None:
    """The local variable that an instruction writes to, and nothing else; None where it is no such instruction."""
    if instruction.opcode == "store":
        address = instruction.operands[-1]
    elif instruction.opcode == "call" and instruction.operands[0].startswith("@llvm.mem"):
        address = instruction.operands[1]
    else:
        return None
    definition = body.definitions.get(address)
    while definition and definition.opcode == "getelementptr":
        definition = body.definitions.get(definition.operands[0])
    return definition.result if definition and definition.opcode == "alloca" else None

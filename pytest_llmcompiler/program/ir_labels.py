"""Labels whose addresses a function takes: `static void *table[] = {&&first, &&second}; goto *table[x];`

Another compiler's code for the function has labels of its own, at other addresses. That shows nowhere as long as the
function only jumps to them. Where it stores the address of a label in a variable, returns it or passes it, two correct
codes differ in what they leave, and no candidate can be judged.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_llmcompiler.program.ir import parse, run_passes
from pytest_llmcompiler.program.ir_names import print_ir
from pytest_llmcompiler.program.ir_queries import list_labelled

if TYPE_CHECKING:
    from pytest_llmcompiler.targets.target import Target

_INSTRUCTION = re.compile(r"^ +(?:(%\S+) = )?(?:tail )?(\w+)\b(.*)")
_OPERAND = re.compile(r'[%@](?:"[^"]*"|[\w.$-]+)')
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
    tables = {f"@{one.name}" for one in module.global_variables if function in list_labelled(one)}
    return _LabelFlow(print_ir(module.get_function(function)), tables).is_kept


class _LabelFlow:
    """Follows the addresses of labels through the code of a function. `tables` are the variables that hold some."""

    def __init__(self, text: str, tables: set[str]) -> None:
        self._instructions = [match.groups() for match in map(_INSTRUCTION.match, text.splitlines()) if match]
        self._known = set(tables)
        """The names of what is the address of a label, or leads to one."""
        self._own: dict[str, str] = {}
        """Pointers into local variables: the name of each variable."""
        self.is_kept = False
        count = -1
        while count != len(self._known) and not self.is_kept:
            count = len(self._known)
            for result, name, operands in self._instructions:
                self._follow(result, name, operands)

    def _follow(self, result: str | None, name: str, text: str) -> None:
        operands = _OPERAND.findall(text)
        if result and name == "alloca":
            self._own[result] = result
        elif result and name == "getelementptr" and operands and operands[0] in self._own:
            self._own[result] = self._own[operands[0]]
        has_label = "blockaddress(" in text or any(self._is_known(operand) for operand in operands)
        if not has_label or name in _HARMLESS:
            return
        if result and name in _PRODUCING:
            self._known.add(result)
        elif not self._stays_local(name, text, operands):
            self.is_kept = True

    def _is_known(self, operand: str) -> bool:
        return operand in self._known or self._own.get(operand) in self._known

    def _stays_local(self, name: str, text: str, operands: list[str]) -> bool:
        """Whether an instruction only writes to a local variable, which may then lead to a label, or ends its life."""
        is_store, is_copy = name == "store", name == "call" and "@llvm.mem" in text
        if is_store or is_copy:
            variable = self._own.get(operands[-1] if is_store else operands[1])
            self._known.update([variable] if variable else [])
            return variable is not None
        return name == "call" and "@llvm.lifetime." in text

"""The set of constants that a value in a module of IR may be; None where it is not known, or too large.

    mode = x ? 5 : 0;          {0, 5}
    level = x % 4;             {0, 1, 2, 3} for an unsigned x
    set(1); set(7);            the argument of a local `set` that nothing else calls: {1, 7}
    state = next[i];           the elements of the constant table

A loaded value depends on the variables themselves, see `static_values`.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from pytest_llmcompiler.program.address_flow import constant_address
from pytest_llmcompiler.program.branch_guards import BranchGuard, find_guards, find_load_guards
from pytest_llmcompiler.program.initial_values import SymbolAddress
from pytest_llmcompiler.program.ir_instructions import FunctionBody, IrInstruction

Constant = int | SymbolAddress
"""The bits of a constant as an unsigned number, or an address."""
Step = Callable[[int], int | None]
"""Computes the next value of a variable from the one before; None where that is undefined."""
ValueSet = frozenset[Constant] | None
"""The constants that a value may be. None: it may be any."""

MAX_VALUES = 256
"""Constants of one set. A larger set counts as unknown."""
_MAX_DEPTH = 40
"""Operands that are followed one inside the other."""
_MAX_STEPS = 2000
"""Operands that are followed for one set."""


def joined(sets: Iterable[ValueSet]) -> ValueSet:
    """The union of sets."""
    union: set[Constant] = set()
    for values in sets:
        if values is None:
            return None
        union |= values
    return frozenset(union) if len(union) <= MAX_VALUES else None


class ValueSets:
    """Evaluates the operands of a module's functions.

    `addressed` are the functions whose address is taken. `load` returns the set of a loaded value, by the operand of
    its address, the function, and the type.
    """

    def __init__(
        self,
        functions: Mapping[str, FunctionBody],
        addressed: Collection[str],
        load: Callable[[str, str, str], ValueSet],
    ) -> None:
        self._functions, self._addressed, self._load = functions, addressed, load
        self._calls = _list_calls(functions)
        self._open: set[tuple[str, str]] = set()
        """The values that are being evaluated, as function and name."""
        self._steps = 0
        self._load_guards: dict[IrInstruction, tuple[BranchGuard, ...]] = {}
        """What the branches in front of loads say of their values."""
        self._guards: dict[tuple[IrInstruction, str], tuple[BranchGuard, ...]] = {}
        """What the branches in front of instructions say of their operands."""

    def evaluate(self, function: str, operand: str, type: str) -> ValueSet:
        """The constants that an operand of a function's instructions may be."""
        self._steps = 0
        return self._of_operand(function, operand, type)

    def calls(self, function: str) -> Sequence[IrInstruction]:
        """The instructions that call a function by name."""
        return self._calls.get(function, ())

    def is_only_called(self, function: str) -> bool:
        """Whether a function is local, and called, and its address is not taken."""
        is_local = self._functions[function].is_local and function not in self._addressed
        return is_local and bool(self._calls.get(function))

    def steps(self, function: str, operand: str, type: str, is_old: Callable[[IrInstruction], bool]) -> Iterator[Step]:
        """The computations, of nothing but constants and an old value, of which one gives an operand its value.
        `is_old` says whether a load is one of the old value."""
        body, todo, seen = self._functions[function], [operand], set[str]()
        while todo:
            instruction = body.definitions.get(operand := todo.pop())
            if instruction is None or operand in seen:
                continue
            seen.add(operand)
            if instruction.opcode in ("phi", "select", "freeze"):
                todo += instruction.operands[instruction.opcode == "select" :]
            elif (computation := _Computation(body, type, is_old)).add(operand):
                yield computation.step

    def of_argument(self, function: str, position: int, type: str) -> ValueSet:
        """What the calls in the module pass to a parameter; None where others may call the function."""
        self._steps = 0 if not self._open else self._steps
        calls = self.calls(function)
        if not self.is_only_called(function):
            return None
        operands = [(call.function, call.operands[position + 1]) for call in calls if len(call.operands) > position + 1]
        if len(operands) < len(calls):
            return None
        return joined(self._of_operand(caller, operand, type) for caller, operand in operands)

    def _of_operand(self, function: str, operand: str, type: str) -> ValueSet:
        """The constants of an operand that another one depends on."""
        if not operand.startswith("%"):
            return _constant(operand, type)
        self._steps += 1
        key = function, operand
        if key in self._open:  # around a loop: adds nothing to the other ways, unless something computes with it
            return frozenset()
        if len(self._open) >= _MAX_DEPTH or self._steps > _MAX_STEPS:
            return None
        self._open.add(key)
        try:
            body = self._functions[function]
            if operand in body.params:
                return self.of_argument(function, body.params.index(operand), type)
            instruction = body.definitions.get(operand)
            return self._of_instruction(instruction, type) if instruction else None
        finally:
            self._open.discard(key)

    def _of_instruction(self, instruction: IrInstruction, type: str) -> ValueSet:
        function, operands = instruction.function, instruction.operands
        match instruction.opcode:
            case "phi":
                return joined(self._of_operand(function, operand, type) for operand in operands)
            case "select":
                return joined(self._of_operand(function, operand, type) for operand in operands[1:])
            case "freeze":
                return self._of_operand(function, operands[0], type)
            case "icmp" | "fcmp":
                return frozenset((0, 1))
            case "load":
                values = self._load(operands[0], function, type) if instruction.type else None
                return self._keep_possible(instruction, values)
            case "call":
                return self._of_result(operands[0], type)
            case opcode:
                return self._of_computation(opcode, instruction, type)

    def _keep_possible(self, load: IrInstruction, values: ValueSet) -> ValueSet:
        """The values of a load that the branches in front of it let through."""
        if not values:
            return values
        if load not in self._load_guards:
            self._load_guards[load] = find_load_guards(self._functions[load.function], load)
        return _keep_admitted(self._load_guards[load], values)

    def _of_result(self, callee: str, type: str) -> ValueSet:
        body = self._functions.get(callee.removeprefix("@"))
        key = callee, "result"
        if body is None or key in self._open:
            return None
        self._open.add(key)
        try:
            results = (one.operands[0] for one in body.instructions if one.opcode == "ret" and one.operands)
            return joined(self._of_operand(body.name, result, type) for result in results)
        finally:
            self._open.discard(key)

    def _of_computation(self, opcode: str, instruction: IrInstruction, type: str) -> ValueSet:
        """The results of a computation with each combination of the constants of its operands."""
        width = bit_width(type)
        if width is None:
            return None
        if opcode in ("zext", "sext", "trunc"):
            operand, source = instruction.operands
            values = frozenset((0, 1)) if source == "i1" else self._of_part(instruction, operand, source)
            return _map_cast(opcode, values, bit_width(source) or 0, width)
        if opcode not in _COMPUTATIONS or len(instruction.operands) != 2:
            return None
        left, right = (self._of_part(instruction, operand, type) for operand in instruction.operands)
        if left is None or right is None:
            return _bounded(opcode, right if left is None else left, is_right=left is None, width=width)
        if len(left) * len(right) > 4 * MAX_VALUES or SymbolAddress in {one.__class__ for one in left | right}:
            return None
        compute, mask = _COMPUTATIONS[opcode], (1 << width) - 1
        results = {compute(a, b, width) for a, b in itertools.product(left, right)}  # type: ignore[arg-type]
        return joined([frozenset(result & mask for result in results if result is not None)])

    def _of_part(self, instruction: IrInstruction, operand: str, type: str) -> ValueSet:
        """The constants of an operand that is computed with; None where it depends on the result, around a loop."""
        if (instruction.function, operand) in self._open:
            return None
        before, self._open = self._open, _Guarded(self._open)
        try:
            values = self._of_operand(instruction.function, operand, type)
            if self._open.was_asked or not values or not operand.startswith("%"):
                return None if self._open.was_asked else values
            key = instruction, operand
            if key not in self._guards:
                self._guards[key] = find_guards(self._functions[instruction.function], *key)
            return _keep_admitted(self._guards[key], values)
        finally:
            self._open = before


class _Guarded(set[tuple[str, str]]):
    """The values that are being evaluated. It notices where one of those before is asked for again."""

    def __init__(self, before: set[tuple[str, str]]) -> None:
        super().__init__(before)
        self._before, self.was_asked = frozenset(before), False

    def __contains__(self, key: object) -> bool:
        self.was_asked |= key in self._before
        return super().__contains__(key)


def _list_calls(functions: Mapping[str, FunctionBody]) -> dict[str, list[IrInstruction]]:
    calls: dict[str, list[IrInstruction]] = {}
    for body in functions.values():
        for instruction in body.instructions:
            if instruction.opcode == "call" and instruction.operands[:1]:
                calls.setdefault(instruction.operands[0].removeprefix("@"), []).append(instruction)
    return calls


def bit_width(type: str) -> int | None:
    """The bits of an integer type; None for any other."""
    match = re.fullmatch(r"i(\d+)", type)
    return int(match[1]) if match else None


class _Computation:
    """A value of a function as a computation of nothing but constants and an old value. `is_old` is as for `steps`."""

    def __init__(self, body: FunctionBody, type: str, is_old: Callable[[IrInstruction], bool]) -> None:
        self._body, self._type, self._width, self._is_old = body, type, bit_width(type) or 0, is_old
        self._operations: list[IrInstruction] = []
        """Those whose operands come before them."""
        self._values: dict[str, int] = {}
        """Constants, and what has been computed, by operand."""
        self._loads: set[str] = set()
        self._guards: list[BranchGuard] = []
        """What holds for an old value from which this is computed."""
        self._visits = 0

    def add(self, operand: str) -> bool:
        """Add what gives an operand its value. False where that depends on anything else, or is long."""
        self._visits += 1
        instruction = self._body.definitions.get(operand)
        if instruction is None:
            values = _constant(operand, self._type)
            constant = next(iter(values)) if values and len(values) == 1 else None
            if isinstance(constant, int):
                self._values[operand] = constant
            return isinstance(constant, int)
        if operand in self._loads or instruction in self._operations:
            return True
        if instruction.opcode == "load" and self._is_old(instruction):
            self._loads.add(operand)
            self._guards += find_load_guards(self._body, instruction)
            return True
        is_known = instruction.opcode in _COMPUTATIONS and len(instruction.operands) == 2
        if not is_known or self._visits > _MAX_DEPTH or not all(map(self.add, instruction.operands)):
            return False
        for operand in self._loads.intersection(instruction.operands):
            self._guards += find_guards(self._body, instruction, operand)
        self._operations.append(instruction)
        return True

    def step(self, old: int) -> int | None:
        """The value of the last operand, computed from an old value; None where it is undefined, or where the branches
        in front of the computation do not let the old value through."""
        if not _is_admitted(self._guards, old):
            return None
        self._values |= dict.fromkeys(self._loads, old)
        result: int | None = old
        for operation in self._operations:
            left, right = (self._values[operand] for operand in operation.operands)
            result = _COMPUTATIONS[operation.opcode](left, right, self._width)
            if result is None:
                return None
            self._values[operation.result] = result = result & (1 << self._width) - 1
        return result


def _is_admitted(guards: Iterable[BranchGuard], value: Constant) -> bool:
    return not isinstance(value, int) or all(guard.admits(value) for guard in guards)


def _keep_admitted(guards: Iterable[BranchGuard], values: frozenset[Constant]) -> frozenset[Constant]:
    return frozenset(value for value in values if _is_admitted(guards, value)) if guards else values


def _constant(operand: str, type: str) -> ValueSet:
    """The set of an operand that is a constant."""
    width = bit_width(type)
    if operand in ("poison", "undef"):  # no value that code may depend on
        return frozenset()
    if operand in ("null", "zeroinitializer", "false"):
        return frozenset((0,))
    if operand == "true":
        return frozenset((1,))
    if width is not None and re.fullmatch(r"-?\d+", operand):
        return frozenset((int(operand) & (1 << width) - 1,))
    if type == "ptr" and (address := constant_address(operand)):
        return frozenset((SymbolAddress(address[0][1:], address[1]),))
    if type in ("float", "double"):
        return _float_constant(operand, type)
    return None


def _float_constant(operand: str, type: str) -> ValueSet:
    """The bits of a floating-point constant. LLVM writes a `float` as the bits of a `double`, too."""
    if operand.startswith("0x") and re.fullmatch(r"0x[0-9A-F]{16}", operand):
        number = struct.unpack(">d", bytes.fromhex(operand[2:]))[0]
    elif re.fullmatch(r"-?\d+\.\d+e[+-]\d+", operand):
        number = float(operand)
    else:
        return None
    packed = struct.pack("<f" if type == "float" else "<d", number)
    return frozenset((int.from_bytes(packed, "little"),))


def _map_cast(opcode: str, values: ValueSet, source: int, width: int) -> ValueSet:
    if values is None:
        return frozenset(range(1 << width)) if opcode == "trunc" and width <= 3 else None
    if any(isinstance(value, SymbolAddress) for value in values):
        return None
    signed = (_signed(value, source) if opcode == "sext" else value for value in values if isinstance(value, int))
    return frozenset(value & (1 << width) - 1 for value in signed)


def _signed(value: int, width: int) -> int:
    return value - (1 << width) if width and value >> width - 1 else value


_COMPUTATIONS: dict[str, Callable[[int, int, int], int | None]] = {
    "add": lambda a, b, _: a + b,
    "sub": lambda a, b, _: a - b,
    "mul": lambda a, b, _: a * b,
    "and": lambda a, b, _: a & b,
    "or": lambda a, b, _: a | b,
    "xor": lambda a, b, _: a ^ b,
    "shl": lambda a, b, width: a << b if b < width else None,
    "lshr": lambda a, b, width: a >> b if b < width else None,
    "ashr": lambda a, b, width: _signed(a, width) >> b if b < width else None,
    "urem": lambda a, b, _: a % b if b else None,
    "udiv": lambda a, b, _: a // b if b else None,
    "srem": lambda a, b, width: _signed_remainder(_signed(a, width), _signed(b, width)),
}
"""Computations of two unsigned numbers and the width in bits. None where the result is undefined."""


def _signed_remainder(a: int, b: int) -> int | None:
    return None if not b else (abs(a) % abs(b)) * (-1 if a < 0 else 1)


def _bounded(opcode: str, known: ValueSet, *, is_right: bool, width: int) -> ValueSet:
    """The results of a computation of an unknown number and one known constant, where these are few."""
    if known is None or len(known) != 1:
        return None
    (constant,) = known
    if isinstance(constant, SymbolAddress):
        return None
    if opcode == "and":
        return _submasks(constant) if constant.bit_count() <= 8 else None
    if not is_right:
        return None
    if opcode == "urem" and 0 < constant <= MAX_VALUES:
        return frozenset(range(constant))
    if opcode == "srem" and 0 < constant <= MAX_VALUES // 2:
        return frozenset(value & (1 << width) - 1 for value in range(1 - constant, constant))
    if opcode == "lshr" and 0 < width - constant <= 8:
        return frozenset(range(1 << width - constant))
    return None


def _submasks(mask: int) -> frozenset[Constant]:
    values = {0}
    for bit in range(mask.bit_length()):
        if mask >> bit & 1:
            values |= {value | 1 << bit for value in values}
    return frozenset(values)

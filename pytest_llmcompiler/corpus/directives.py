"""Checking inputs against directives. The fuzzer changes inputs freely, so each result is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_llmcompiler.program.case import ArgRule
from pytest_llmcompiler.values.c_types import Int
from pytest_llmcompiler.values.input import Input, Object, PointerTarget, Value


def satisfies_rules(input: Input, rules: Mapping[int, ArgRule], names: Sequence[str]) -> bool:
    """Whether an input satisfies all rules. `rules` are by position, `names` are the names of the parameters."""
    if not rules:
        return True
    positions = {name: index for index, name in enumerate(names)} | {str(index): index for index in range(len(names))}
    return all(_satisfies(input.args, index, rule, positions) for index, rule in rules.items())


def _satisfies(args: Sequence[Value], index: int, rule: ArgRule, positions: Mapping[str, int]) -> bool:
    value, target = args[index], _target_of(args[index])
    if rule.range and not rule.range[0] <= _read_number(value) <= rule.range[1]:
        return False
    buffers = [_target_of(args[positions[name]]) for name in rule.length_of]
    if any(isinstance(buffer, Object) and _read_number(value) > buffer.count for buffer in buffers):
        return False
    if rule.non_null and target is None:
        return False
    if not isinstance(target, Object):  # null, or an alias of an object that is checked itself
        return True
    if rule.elements and not rule.elements[0] <= target.count <= rule.elements[1]:
        return False
    return not rule.cstring or _is_terminated(target)


def _target_of(value: Value) -> PointerTarget | None:
    return value.links[0][1] if value.links else None


def _read_number(value: Value) -> int:
    signed = isinstance(value.type, Int) and value.type.signed
    return int.from_bytes(value.data, "little", signed=signed)


def _is_terminated(text: Object) -> bool:
    size = text.element.size
    return any(not any(text.data[at : at + size]) for at in range(0, len(text.data), size))

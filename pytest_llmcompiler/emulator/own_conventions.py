"""What callers in a candidate may expect of functions that the candidate defines too, while the program's are called.

A whole-file answer may define a global function that the case defines. A call means the program's function. But the
compiler saw the answer's own definition, and may know more of it than the calling convention says: gcc keeps a value in
a register that its own definition does not write (`-fipa-ra`), and does not align the stack for a function that calls
nothing (`-fipa-stack-alignment`). An example:

    twice:  leal (%rdi,%rdi), %eax
            ret
    f:      movl %edi, %esi
            call twice              # with the stack as it is, and %esi is still x afterwards
            addl %esi, %eax
            ret

So the answer's own definition is looked at: the caller-saved registers that it does not write are preserved around the
call of the program's, and the stack needs no alignment where it calls nothing outside of the answer.
"""

from __future__ import annotations

import functools
import itertools
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import NamedTuple

from pytest_llmcompiler.targets.abi import CallingConvention
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.processor import Processor

_DIRECT_TARGET = re.compile(r"(?:^|, )#?(0x[0-9a-f]+)$")
"""The target of a direct jump or call in the last operand, as capstone writes it."""
_NUMBER = re.compile(r"\b0x[0-9a-f]+\b")
_DECODED_AT = 1 << 32
"""The address at which instructions are decoded: far from 0, since capstone writes small targets in decimal."""
_KEPT_INSTRUCTIONS = 1 << 16
"""Instructions that are kept decoded, by their bytes: the answers for a function share most of theirs. Each takes less
than a KiB."""
_KEPT_BODIES = 1 << 12
"""Functions that are kept, by their bytes: those around the function under test are the same in most answers. Each
takes some KiB."""


class _Effect(NamedTuple):
    """What an instruction does to the convention of its function."""

    written: frozenset[str]
    """The registers that it writes, by the names of the whole ones."""
    is_call: bool = False
    is_jump: bool = False
    distance: int | None = None
    """Of a direct jump or call: its target, in bytes from the start of the instruction."""


class OwnConventions:
    """Looks at the functions that a candidate defines and that the program's functions replace."""

    def __init__(self, code: AssembledCode, processor: Processor, program_addresses: Mapping[str, int]) -> None:
        self._code, self._processor = code, processor
        self._replacements = {
            program_addresses[name]: code.symbols[name]
            for name in code.shared_functions
            if name in program_addresses and name in code.symbols
        }
        """Address of the program's function -> address of the candidate's own definition."""
        self._start_set = frozenset(at for name, at in code.symbols.items() if not name.startswith(".L"))
        self._starts = sorted(self._start_set)
        self._instructions = code.addresses
        self._preserved: dict[str, tuple[str, ...] | None] = {}
        self._summaries: dict[int, tuple[frozenset[str], list[int] | None]] = {}

    def find_preserved_registers(self, function: str, convention: CallingConvention) -> tuple[str, ...] | None:
        """The registers that a call may change by the convention, and that the candidate's own definition of a
        function does not write; None where that calls code that is not the candidate's."""
        if function not in self._preserved:
            written = self._find_written_registers(function)
            changeable = (*convention.caller_saved, *convention.vector_registers)
            kept = None if written is None else tuple(name for name in changeable if name not in written)
            self._preserved[function] = kept
        return self._preserved[function]

    def _find_written_registers(self, function: str) -> Set[str] | None:
        """The registers that a function and what it calls may write; None where it calls other code."""
        written: set[str] = set()
        seen: set[int] = set()
        queue = [self._code.symbols[function]]
        while queue:
            start = queue.pop()
            if start in seen:
                continue
            seen.add(start)
            registers, callees = self._summarise(start)
            if callees is None:
                return None
            written |= registers
            queue += callees
        return written

    def _summarise(self, start: int) -> tuple[frozenset[str], list[int] | None]:
        """The registers that a function itself writes, and the starts of the functions that it calls or jumps to; None
        where one of these is not the candidate's."""
        if start not in self._summaries:
            index = bisect_left(self._starts, start + 1)
            end = self._starts[index] if index < len(self._starts) else None
            last = len(self._instructions) if end is None else bisect_left(self._instructions, end)
            inside = self._instructions[bisect_left(self._instructions, start) : last]
            effects = self._find_body(inside) or _join_effects(list(self._inspect(inside)), inside)
            callees = [self._find_callee(effect, inside[0] + at, start, end) for at, effect in effects.leading]
            is_own = effects.is_known and 0 not in callees
            self._summaries[start] = effects.written, [one for one in callees if one is not None] if is_own else None
        return self._summaries[start]

    def _find_body(self, addresses: Sequence[int]) -> _Body | None:
        """The effects of a function's instructions, by its bytes; None where these are not one piece of code."""
        if len(addresses) < 2 or self._code.has_data:
            return None
        # The last instruction is looked at alone: it is not known where its bytes end.
        first, last = addresses[0], addresses[-1]
        code = self._code.read_range(first, last)
        if code is None:
            return None
        body = _read_body(self._processor, code, tuple([address - first for address in addresses]))
        return body and body.add(last - first, _decode(self._processor, self._code.read_code(last)))

    def _inspect(self, addresses: Sequence[int]) -> Iterator[_Effect | None]:
        """The effect of each instruction of a function; None for data, and for what is no instruction."""
        for address, following in zip(addresses, [*addresses[1:], None]):
            effect = None
            if self._code.mnemonics[address][:1] != ".":
                code = self._code.read_code(address)
                size = len(code) if following is None else following - address
                # Without the code behind the instruction, equal instructions have equal keys.
                effect = _decode(self._processor, code[:size]) or _decode(self._processor, code)
            yield effect

    def _find_callee(self, effect: _Effect, address: int, start: int, end: int | None) -> int | None:
        if not effect.is_call and not effect.is_jump:
            return None
        if effect.distance is None:  # a jump by way of a table stays in the function
            return 0 if effect.is_call else None
        target = self._replacements.get(address + effect.distance, address + effect.distance)
        if start <= target and (end is None or target < end) and not effect.is_call:
            return None
        return target if target in self._start_set else 0


class _Body(NamedTuple):
    """What the instructions of a function do together."""

    written: frozenset[str]
    leading: tuple[tuple[int, _Effect], ...]
    """The jumps and calls, with their distances from the start of the function."""
    is_known: bool
    """Whether all of it are instructions."""

    def add(self, at: int, effect: _Effect | None) -> _Body:
        """With one more instruction, at a distance from the start."""
        if effect is None:
            return self._replace(is_known=False)
        leading = (*self.leading, (at, effect)) if effect.is_call or effect.is_jump else self.leading
        return _Body(self.written | effect.written, leading, self.is_known)


def _join_effects(effects: Sequence[_Effect | None], addresses: Sequence[int]) -> _Body:
    known = [(address - addresses[0], effect) for address, effect in zip(addresses, effects) if effect is not None]
    written = frozenset().union(*(effect.written for _, effect in known))
    leading = tuple((at, effect) for at, effect in known if effect.is_call or effect.is_jump)
    return _Body(written, leading, len(known) == len(effects))


@functools.lru_cache(maxsize=_KEPT_BODIES)
def _read_body(processor: Processor, code: bytes, starts: tuple[int, ...]) -> _Body | None:
    """What all instructions but the last do; `code` ends where that starts. None where an instruction is longer than
    the place that it has."""
    effects = [_decode(processor, code[start:end]) for start, end in itertools.pairwise(starts)]
    return None if None in effects else _join_effects(effects, starts[:-1])


def _decode(processor: Processor, code: bytes) -> _Effect | None:
    """The effect of the instruction at the start of the bytes; None where there is none."""
    branch = processor.split_branch(code)
    if branch is None:
        return _decode_once(processor, code)
    effect = _decode_once(processor, branch[0])
    return effect and effect._replace(distance=branch[1])


@functools.lru_cache(maxsize=_KEPT_INSTRUCTIONS)
def _decode_once(processor: Processor, code: bytes) -> _Effect | None:
    decoded = next(processor.get_decoder().disasm_lite(code, _DECODED_AT, 1), None)
    if decoded is None:
        return None
    _, _, mnemonic, operands = decoded
    # x86-64 has a second, undocumented `test` with a number, of which capstone says something else.
    form = _Form(processor, mnemonic, code.hex() if mnemonic == "test" else _NUMBER.sub("0", operands))
    effect = _EFFECTS.get(form)
    if effect is None:
        if len(_EFFECTS) >= _KEPT_INSTRUCTIONS:
            _EFFECTS.clear()
        effect = _EFFECTS[form] = _read_effect(processor, code)
    direct = _DIRECT_TARGET.search(operands) if effect.is_call or effect.is_jump else None
    return effect._replace(distance=int(direct[1], 16) - _DECODED_AT) if direct else effect


class _Form(NamedTuple):
    """What instructions have in common that differ in numbers alone: places, distances, values."""

    processor: Processor
    mnemonic: str
    operands: str


_EFFECTS: dict[_Form, _Effect] = {}
"""The effects of forms. To find one out takes ten times as long as to decode an instruction."""


def _read_effect(processor: Processor, code: bytes) -> _Effect:
    """The effect of the instruction at the start of the bytes, without its distance."""
    import capstone

    instruction = next(processor.get_decoder(detail=True).disasm(code, _DECODED_AT, 1))
    names = (instruction.reg_name(number) for number in instruction.regs_access()[1])
    written = frozenset(map(processor.whole_register, names))
    return _Effect(written, instruction.group(capstone.CS_GRP_CALL), instruction.group(capstone.CS_GRP_JUMP))

"""Instructions that the emulator executes otherwise than a process on real hardware would."""

from __future__ import annotations

import re

from pytest_llmcompiler.machine.run import Outcome

_FORBIDDEN = re.compile(
    r"hlt|(?:in|out)s?[bwld]?|cli|sti|clts|l[gil]dt|ltr|lmsw|(?:wb)?invd|invlpg|(?:rd|wr)msr|rdpmc|xsetbv|swapgs"
    r"|l[defgs]s[lqw]?|wr[fg]sbase[lq]?|sys(?:enter|call)|sys(?:exit|ret)[lq]?|iret[dlqw]?|int[13o]?|monitor|mwait|vm(?:call|launch|resume|xoff|xon)"
)
"""Privileged instructions, and those that leave user code: unicorn lets most of them pass."""
_UNSTEADY = re.compile(r"rdtscp?|rdrand[wlq]?|rdseed[wlq]?|rdpid[lq]?|cpuid")
_REX = tuple(bytes([byte]) for byte in range(0x40, 0x50))
_CONTROL_MOVES = (b"\x20", b"\x21", b"\x22", b"\x23")
_PREFIXES = b"\x66\x67\xf2\xf3\x2e\x36\x3e\x26\x64\x65\xf0"
_VEX = (b"\xc4", b"\xc5", b"\x62")
"""First bytes of VEX and EVEX code in 64-bit mode, where they mean nothing else (Intel SDM, volume 2, section 2.3)."""


def hazard(mnemonic: str, code: bytes) -> tuple[Outcome, str] | None:
    """What to stop with, and why, where an instruction can't be left to the emulator.

    `code` are the bytes from its first on (15 are enough, and less where they end). A mnemonic that begins with a dot
    is a data directive.
    """
    if _FORBIDDEN.fullmatch(mnemonic):
        return "forbidden", f"`{mnemonic}` in user code"
    if _UNSTEADY.fullmatch(mnemonic):
        return "vex", f"`{mnemonic}` tells what differs from run to run"
    if mnemonic.startswith("."):
        return "vex", "raw bytes are executed as code"
    plain = code.lstrip(_PREFIXES)
    if plain[:1] in _VEX:
        return "vex", f"`{mnemonic}` is VEX or EVEX code"
    opcode = plain[1:] if plain[:1] in _REX else plain
    if opcode[:1] == b"\x0f" and opcode[1:2] in _CONTROL_MOVES:
        return "forbidden", f"`{mnemonic}` of a control or debug register in user code"
    return None

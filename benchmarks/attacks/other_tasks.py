"""Hostile answers to the tasks beside `asm`: modules of IR, and pass lists."""

from __future__ import annotations

import random

_IR_LINES = (
    'module asm ".incbin \\22@CANARY@\\22"',
    "@big = global [2000000000 x i8] zeroinitializer",
    "%t = type { %t* }",
    "@a = alias i32, ptr @a",
    "declare void @abort()",
    "!0 = !{!0}",
    "define void @extra() { unreachable }",
    'source_filename = "@CANARY@"',
    "attributes #0 = { noreturn }",
    'target triple = "riscv64"',
    'target datalayout = "E"',
    "@llvm.global_ctors = appending global [1 x i32] zeroinitializer",
    "declare <4 x float> @llvm.x86.sse.max.ps(<4 x float>, <4 x float>)",
    "\\00",
)
_IR_STEPS = (
    "br label %1",
    'call void asm sideeffect "syscall", ""()',
    "%huge = alloca [1000000000 x i64]",
    "call void @llvm.trap()",
    "unreachable",
    "store i32 1, ptr null",
    "%x = load volatile i32, ptr inttoptr (i64 4096 to ptr)",
    "fence seq_cst",
    "%v = sdiv i32 1, 0",
    "resume { ptr, i32 } undef",
    "indirectbr ptr null, []",
)
_PASSES = (
    "sroa", "gvn", "instcombine", "simplifycfg", "licm", "loop-unroll", "dce", "inline", "globaldce", "mem2reg",
    "verify", "default<O3>", "jump-threading",
)  # fmt: skip

_REFUSED_PASSES = (
    "view-cfg", "dot-cfg", "print", "print<memssa>", "write-bitcode", "ThinLTOBitcodeWriter", "-O3; rm -rf /", "\0", "é",
)  # fmt: skip


def corrupt_module(rng: random.Random, module: str) -> str:
    """A right module with lines or steps that it should not have."""
    lines = module.split("\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines) + 1)
        action = rng.randrange(5)
        if action == 0:
            lines.insert(at, rng.choice(_IR_LINES))
        elif action == 1:
            bodies = [number for number, line in enumerate(lines) if line.startswith("  ")] or [0]
            lines.insert(rng.choice(bodies), f"  {rng.choice(_IR_STEPS)}")
        elif action == 2 and at < len(lines):
            lines[at] = lines[at].replace(
                "i32", rng.choice(("i1", "i64", "i8388607", "i0", "float", "ptr", "<1000 x i32>"))
            )
        elif action == 3 and at < len(lines):
            del lines[at]
        else:
            lines.insert(at, rng.choice('({[<%@!"') * rng.choice((1, 1_000, 100_000)))
    return "\n".join(lines)


def write_passes(rng: random.Random, _: str) -> str:
    """A pass list that LLVM does not know, or that takes long."""
    some = rng.choices(_PASSES, k=rng.randint(1, 8))
    return rng.choice((
        ",".join(some),
        ",".join(some * rng.choice((1, 50, 500))),
        "function(" * rng.choice((1, 10, 2_000)) + ",".join(some),
        f"repeat<{rng.choice((3, 1000, -1, 10**12))}>({','.join(some)})",
        f"{some[0]}<{rng.choice(('no-', 'filename=@CANARY@', '1;2;3', '<'))}>",
        rng.choice(_REFUSED_PASSES),
        "".join(rng.choices("abc(),<>;- \t\n", k=rng.randint(1, 60))),
    ))  # fmt: skip

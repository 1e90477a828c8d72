"""Hostile texts of assembly: bad texts, endless texts, and code that does what no compiler's code does."""

from __future__ import annotations

import random
from collections.abc import Callable

Writer = Callable[[random.Random, str], str]
"""Writes a text for a function of a name."""

_LIBRARY = (
    "malloc", "calloc", "realloc", "free", "memcpy", "memmove", "memset", "strlen", "strcpy", "strcat", "strtok",
    "printf", "sprintf", "snprintf", "scanf", "puts", "gets", "fopen", "fread", "fwrite", "remove", "rename",
    "system", "popen", "fork", "execve", "exit", "abort", "raise", "kill", "signal", "setjmp", "longjmp", "qsort",
    "bsearch", "time", "clock", "rand", "getenv", "setenv", "mmap", "munmap", "mprotect", "brk", "open", "read",
    "write", "close", "ioctl", "socket", "connect", "ptrace", "prctl", "syscall", "pthread_create", "dlopen",
    "alloca", "atexit", "longjmp", "_exit", "__libc_start_main",
)  # fmt: skip
_REGISTERS = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
_WORDS = (
    "mov", "movl", "movq", "lea", "add", "sub", "imul", "xor", "and", "or", "cmp", "test", "jmp", "je", "jne", "call",
    "ret", "push", "pop", "nop", "shl", "sar", "cmov", "movzbl",
)  # fmt: skip
_PRIVILEGED = (
    "hlt", "cli", "in %dx, %al", "rdmsr", "lgdt (%rsp)", "int3", "int $3", "sysenter", "swapgs", "ud2", "iretq", "lret",
    "cpuid", "rdtsc", "xgetbv", "vmcall", "wbinvd", "clflush (%rax)", "rdfsbase %rax", "wrfsbase %rax", "xbegin 1f",
)  # fmt: skip
"""Instructions that the kernel keeps from programs, and others that no compiler writes."""
_DIRECTIVES = (
    ".include", ".incbin", ".fill", ".zero", ".skip", ".space", ".rept", ".macro", ".irp", ".org", ".align",
    ".p2align", ".section", ".pushsection", ".popsection", ".comm", ".lcomm", ".set", ".equ", ".symver", ".weak",
    ".globl", ".type", ".size", ".ident", ".cfi_startproc", ".cfi_endproc", ".loc", ".file", ".ascii", ".asciz",
    ".byte", ".quad", ".float", ".intel_syntax", ".att_syntax", ".code16", ".code32", ".altmacro", ".if", ".endif",
    ".err", ".end", ".uleb128",
)  # fmt: skip
_REPEATED = (
    " ", "\t", ",", "(", ")", "[", "\"", "'", "#", "/*", "\\", "%", "$", "-", ".", "a", "\n", ":", "1:\n", "nop;",
    "{", "«",
)  # fmt: skip
_ENDS = (
    "0", "-1", "0x7fffffff", "4000000000", "1<<40", "((((((((1))))))))", "1/0", "a-b", "\"x\"", ".", "1b", "",
)  # fmt: skip


def corrupt(rng: random.Random, text: str) -> str:
    """A right text with some lines or characters deleted, doubled, exchanged or replaced."""
    lines = text.split("\n")
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
        action = rng.randrange(6)
        if action == 0:
            lines[first] = ""
        elif action == 1:
            lines.insert(second, lines[first])
        elif action == 2:
            lines[first], lines[second] = lines[second], lines[first]
        elif action == 3:
            at = rng.randrange(len(lines[first]) + 1)
            lines[first] = (
                lines[first][:at] + rng.choice((*_REPEATED, "\0", "\x1b[2J", "é", "\ud7ff")) + lines[first][at + 1 :]
            )
        elif action == 4:
            lines[first] = " ".join(rng.sample(lines[first].split(), len(lines[first].split())))
        else:
            lines[first] = lines[first].replace("%r", rng.choice(("%e", "%", "%rr", "r")))
    return "\n".join(lines)


def repeat(rng: random.Random, name: str) -> str:
    """A text with something in it many thousand times: reading it must take time that grows with its length alone."""
    count = rng.choice((1_000, 20_000, 200_000))
    piece = rng.choice(_REPEATED) * count
    if rng.random() < 0.5:
        return f"{name}:\n\tmovl\ta{piece}b, %eax\n\tretq\n"
    numbers = range(min(count, 20_000))
    return f"{name}:\n" + rng.choice((
        "".join(f"\tcall\tu{number}\n" for number in numbers),
        "".join(f"\tjmp\t.Lx{number}\n" for number in numbers),
        "".join(f".Ly{number}:\n" for number in numbers),
        "".join(f'.section .s{number},"ax"\n\tnop\n' for number in numbers),
        "".join(f"\t.set\ts{number}, s{number + 1}\n" for number in numbers),
        f"\t.byte\t{'1,' * count}1\n",
        f"\tmovl\t${'(' * count}1{')' * count}, %eax\n\tretq\n",
        f"\tmovl\t${'-' * count}1, %eax\n\tretq\n",
    ))  # fmt: skip


def direct(rng: random.Random, name: str) -> str:
    """A text of directives that few answers have, with operands that none has."""
    lines = (f"\t{rng.choice(_DIRECTIVES)}\t{rng.choice(_ENDS)}, {rng.choice(_ENDS)}" for _ in range(rng.randint(1, 6)))
    return f"{name}:\n\tretq\n" + "\n".join(lines) + "\n"


def babble(rng: random.Random, name: str) -> str:
    """Words of assembly, put together by chance."""
    operands = [f"%{rng.choice(_REGISTERS)}", f"${rng.choice(_ENDS)}", f"({rng.choice(_ENDS)})", name, ".L1"]
    lines = (
        f"\t{rng.choice(_WORDS)}\t{', '.join(rng.choices(operands, k=rng.randint(0, 3)))}"
        for _ in range(rng.randint(1, 30))
    )
    return f"{name}:\n" + "\n".join(lines) + "\n\tretq\n"


def encode(rng: random.Random, name: str) -> str:
    """Random bytes as code: any instruction of the processor may be among them."""
    return f"{name}:\n\t.byte\t{', '.join(str(rng.randrange(256)) for _ in range(rng.randint(1, 60)))}\n\tretq\n"


def run_away(rng: random.Random, name: str) -> str:
    """Code that does not end, or takes all that there is."""
    return f"{name}:\n" + rng.choice((
        "1:\tjmp\t1b\n",
        f"\tcall\t{name}\n\tretq\n",
        "\tmovq\t$-1, %rcx\n\tmovq\t%rsp, %rdi\n\trep stosb\n\tretq\n",
        "1:\tmovl\t$4000000, %edi\n\tcall\tmalloc\n\tmovq\t%rax, %rdi\n\tcall\tfree\n\tjmp\t1b\n",
        "1:\tmovl\t$1, %edi\n\tcall\tmalloc\n\tjmp\t1b\n",
        "1:\tmovl\t$65, %edi\n\tcall\tputchar\n\tjmp\t1b\n",
        "1:\tpushq\t%rax\n\tjmp\t1b\n",
        "\tmovl\t$1000000000, %ecx\n1:\tdecl\t%ecx\n\tjne\t1b\n\tretq\n",
        "1:\tmovq\t(%rax), %rax\n\tjmp\t1b\n",
        "\tleaq\t1f(%rip), %rax\n\tjmpq\t*%rax\n1:\tjmpq\t*%rax\n",
        "\txorl\t%edi, %edi\n1:\tcall\tsleep\n\tjmp\t1b\n",
    ))  # fmt: skip


def break_out(rng: random.Random, name: str) -> str:
    """Code that means to reach the host: system calls, privileged instructions, writes anywhere, jumps anywhere."""
    address = rng.choice(
        (0, 0xFFF, 0x400000, 0x7FFFFFFFE000, 0xFFFFFFFFFF600000, rng.getrandbits(47), rng.getrandbits(64))
    )
    body = rng.choice((
        f"\tmovl\t${rng.randrange(460)}, %eax\n\tleaq\tpath(%rip), %rdi\n\tmovl\t${rng.choice((0, 65, 577))}, %esi\n\tsyscall\n",
        f"\tmovl\t${rng.randrange(400)}, %eax\n\tint\t$0x80\n",
        f"\t{rng.choice(_PRIVILEGED)}\n1:",
        f"\tmovabsq\t${address}, %rax\n\tmovq\t%rsp, (%rax)\n",
        f"\tmovabsq\t${address}, %rax\n\tjmpq\t*%rax\n",
        f"\tmovabsq\t${address}, %rsp\n",
        f"\tmovq\t$-1, %fs:{rng.choice((0, 40, 0x28, -8))}\n",
        f"\tmovb\t$0xc3, {name}(%rip)\n",
        "\tstd\n", "\tfninit\n\tfldpi\n", "\tldmxcsr\t-4(%rsp)\n", "\tpushq\t$0x246\n\tpopfq\n", "\tmovw\t$0x2b, %ds\n",
        f"\tleaq\tpath(%rip), %rdi\n\tleaq\tpath(%rip), %rsi\n\tmovl\t${rng.randrange(8)}, %edx\n\txorl\t%eax, %eax\n\tcall\t{rng.choice(_LIBRARY)}\n",
        f"\tmovl\t${rng.randrange(65)}, %edi\n\tcall\traise\n",
    ))  # fmt: skip
    return f'{name}:\n{body}\tretq\n\t.data\npath:\t.asciz\t"@CANARY@"\n'


def name_files(rng: random.Random, name: str) -> str:
    """A text that has an assembler read or write the canary."""
    directive = rng.choice((
        '.include "@CANARY@"', '.incbin "@CANARY@"', '.file "@CANARY@"', '.dwo_file "@CANARY@"', '.ident "@CANARY@"',
        '.section .debug,"",@progbits\n.incbin "@CANARY@"', "#include <@CANARY@>", '.macro m\n.incbin "@CANARY@"\n.endm\nm',
        '.rept 2\n.incbin "@CANARY@"\n.endr', '.if 1\n.include "@CANARY@"\n.endif', '.print "@CANARY@"', '.bundle_align_mode 4',
    ))  # fmt: skip
    return rng.choice((f"{name}:\n\tretq\n{directive}\n", f"{directive}\n{name}:\n\tretq\n"))


WRITERS: dict[str, Writer] = {
    "repeat": repeat,
    "directives": direct,
    "words": babble,
    "bytes": encode,
    "run away": run_away,
    "break out": break_out,
    "name files": name_files,
}

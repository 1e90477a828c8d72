"""`check`, as training loops use it: whatever the assembly, it returns a verdict, and no wrong code passes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from faces import CaseOf, Compile

from pytest_llmcompiler import CaseError, Verdict, check, check_file
from pytest_llmcompiler.judge.client import JudgeClient
from pytest_llmcompiler.judge.harness import JudgeSettings

SOURCE = r"""
#include <stdlib.h>
int other(int x) { return x; }
int state;
int digits(int x) {
    int r = 0;
    state = x;
    for (int i = 0; i < 10 && x > 0; i++) {
        r += x % 10;
        x /= 10;
    }
    return r;
}
int after(int x) { return x; }
"""
GOOD = """digits:
 movl %edi, state(%rip)
 xorl %ecx, %ecx
 movl %edi, %eax
 movl $10, %esi
1: testl %eax, %eax
 jle 2f
 cltd
 idivl %esi
 addl %edx, %ecx
 jmp 1b
2: movl %ecx, %eax
 ret
"""


def verdict(assembly: str) -> Verdict:
    return check(SOURCE, "digits", assembly, examples=40)


def test_source_as_text_and_as_a_file(tmp_path: Path) -> None:
    assert verdict(GOOD).passed
    path = tmp_path / "digits.c"
    path.write_text(SOURCE)
    for spelling in (path, str(path)):
        assert check_file(spelling, "digits", GOOD, examples=40).passed
    assert check("int f(int x) { return x; }", "f", "f: movl %edi, %eax\n ret", examples=10).passed


def test_a_path_in_the_place_of_source_text_still_works_and_warns(tmp_path: Path) -> None:
    path = tmp_path / "digits.c"
    path.write_text(SOURCE)
    for source in (path, str(path)):
        with pytest.warns(DeprecationWarning, match="use check_file") as warned:
            assert check(source, "digits", GOOD, examples=40).passed
        assert warned[0].filename == __file__


@pytest.mark.parametrize(
    "source",
    ["missing.c", "x" * 5000 + ".c", "nul \0.c", "surrogate \udc80.c"],
    ids=["missing", "long", "nul", "surrogate"],
)
def test_a_path_in_the_place_of_source_text_that_names_no_file(source: str) -> None:
    with pytest.warns(DeprecationWarning, match="use check_file"), pytest.raises(CaseError):
        check(source, "f", "f: ret")


def test_a_verdict_without_its_explanation(compiled: Compile) -> None:
    wrong = compiled(SOURCE).texts.assembly("digits", "O0").replace("\tidivl", "\tmovl\t$11, %ecx\n\tidivl")
    explained, short = (check(SOURCE, "digits", wrong, examples=40, explain=explain) for explain in (True, False))
    assert explained.kind == short.kind == "mismatch"
    assert explained.counterexample and short.counterexample
    assert explained.counterexample.divergence_line == explained.detail["parts"]
    assert short.counterexample.divergence_line is None and "parts" not in short.detail


def test_a_failure_is_shown_on_a_small_input() -> None:
    wrong = GOOD.replace("digits:\n", "digits:\n cmpl $5000, %edi\n jg 3f\n") + "3: movl $-1, %eax\n ret\n"
    explained, short = (check(SOURCE, "digits", wrong, examples=40, explain=explain) for explain in (True, False))
    assert explained.counterexample and short.counterexample
    assert explained.counterexample.input == ("x = 5001",) != short.counterexample.input
    assert explained.detail["input"] == ["x = 5001"] != short.detail["input"]


def test_the_counterexample_of_a_mismatch() -> None:
    counterexample = verdict(GOOD.replace("2: movl %ecx, %eax", "2: leal 1(%rcx), %eax")).counterexample
    assert counterexample is not None
    assert counterexample.input == ("x = 0",)
    assert (counterexample.expected, counterexample.observed) == ("0", "1")
    [row] = counterexample.differences
    assert (row.location, row.expected, row.observed) == ("return value", "0", "1")


def test_the_counterexample_of_a_crash() -> None:
    crash = verdict(GOOD.replace("digits:\n", "digits:\n movl 0, %eax\n"))
    assert crash.kind == "crash" and crash.counterexample
    assert crash.counterexample.line == 2 and crash.counterexample.differences == ()
    assert crash.counterexample.expected == "a return"
    assert crash.counterexample.observed in crash.message


def test_only_code_that_ran_and_failed_has_a_counterexample() -> None:
    for text in (GOOD, "I am sorry.", "digits: bogus\n", "digits: call nobody\n", "digits: vzeroupper\n ret\n"):
        assert verdict(text).counterexample is None


def test_the_old_attribute_scene_warns() -> None:
    with pytest.warns(DeprecationWarning, match="counterexample"):
        assert Verdict("pass").scene is None  # type: ignore[func-returns-value]


def test_a_counterexample_survives_json() -> None:
    wrong = verdict(GOOD.replace("2: movl %ecx, %eax", "2: leal 1(%rcx), %eax"))
    again = Verdict.from_json(json.loads(json.dumps(wrong.to_json())))
    assert again == wrong and again.counterexample == wrong.counterexample


def test_a_counterexample_of_a_record_that_lacks_facts_or_was_tampered_with() -> None:
    bare = Verdict("mismatch", "return value: expected 1, observed 2").counterexample
    assert bare is not None
    assert (bare.input, bare.expected, bare.observed) == ((), "", "return value: expected 1, observed 2")
    assert (bare.line, bare.divergence_line, bare.differences) == (None, None, ())
    detail = {"input": ["x = \x1b[2J", 7], "line": "3", "parts": 0, "differences": [["a"], "b", ["c", "d", "e"]]}
    tampered = Verdict("crash", "bad read", detail=detail).counterexample
    assert tampered is not None
    assert (tampered.input, tampered.line, tampered.divergence_line) == (("x = \\x1b[2J",), None, None)
    assert [tuple(row) for row in tampered.differences] == [("c", "d", "e")]


def test_another_seed_has_other_inputs() -> None:
    assert len({check(SOURCE, "digits", GOOD, examples=40, seed=seed).detail["inputs"] for seed in (1, 2, 3)}) > 1


def test_a_file_that_changes_is_compiled_again(tmp_path: Path) -> None:
    path = tmp_path / "f.c"
    path.write_text("int f(int x) { return x | 1; }\n")
    text = "f:\n movl %edi, %eax\n orl $1, %eax\n ret\n"
    assert check_file(path, "f", text, examples=10).passed
    path.write_text("int f(int x) { return x | 2; }\n")
    os.utime(path, ns=(1, 1))
    assert check_file(path, "f", text, examples=10).kind == "mismatch"
    assert check_file(path, "f", text.replace("$1", "$2"), examples=10).passed


def test_ir_source(tmp_path: Path) -> None:
    path = tmp_path / "f.ll"
    path.write_text("define i32 @f(i32 %x) {\n  %y = mul i32 %x, 3\n  ret i32 %y\n}\n")
    assert check_file(path, "f", "f:\n leal (%rdi,%rdi,2), %eax\n ret\n", examples=10).passed
    assert check_file(path, "f", "f:\n leal (%rdi,%rdi), %eax\n ret\n", examples=10).kind == "mismatch"


def test_an_answer_with_prose() -> None:
    assert verdict(f"Here it is:\n\n```asm\n{GOOD}```\nDone.").passed
    assert verdict(f"The assembly will have 5 <code>{GOOD}</code>").passed
    assert verdict("I am sorry, I can not do that.").kind == "no-answer"
    assert verdict("").kind == "no-answer"


@pytest.mark.parametrize(
    ("source", "function", "words"),
    [
        ("int f(int x) { return y; }\n", "f", "undeclared identifier"),
        ("int g(int x) { return x; }\n", "f", "no function 'f' is defined here; there are: g"),
        ("int f(int x);\n", "f", "no function 'f'"),
        ("int f(int x) { return x; } // LLMC: oops\n", "f", ":1: unknown directive"),
    ],
)
def test_a_source_at_fault_is_a_case_error(source: str, function: str, words: str) -> None:
    with pytest.raises(CaseError, match=words):
        check(source, function, "f: ret")


@pytest.mark.parametrize(("path", "words"), [("/no/such/file.c", "can't be read"), ("missing.txt", "a case is a")])
def test_a_file_at_fault_is_a_case_error(path: str, words: str) -> None:
    with pytest.raises(CaseError, match=words):
        check_file(path, "f", "f: ret")


NOISE = random.Random(1)
HOSTILE = {
    "random bytes": NOISE.randbytes(5000).decode("latin-1"),
    "random text": "".join(NOISE.choice("digts: movl%$(),\n\t\"'\\#;/*{}<>`~0") for _ in range(5000)),
    "nul": "digits:\0 ret\n",
    "surrogates": "digits:\udc80\ud800 ret\n",
    "bell": "digits:\x07\x1b[2J ret\n",
    "huge": "digits:\n" + " nop\n" * 500_000,
    "huge line": "digits: " + "nop; " * 300_000,
    "many labels": "digits: ret\n" + "".join(f"l{i}: nop\n" for i in range(20_000)),
    "many sections": "digits: ret\n" + "".join(f'.section s{i},"aw"\n.byte 1\n' for i in range(500)),
    "deep parentheses": f"digits: movl ${'(' * 20_000}1{')' * 20_000}, %eax\n ret\n",
    "tags": "<code>" * 50_000,
    "fences": "```\n" * 50_000,
    "fill": "digits: ret\n.fill 4000000000, 8, 1\n",
    "zero": "digits: ret\n.zero 0xffffffffffff\n",
    "space": "digits: ret\n.data\n.space 99999999999\n",
    "org": "digits: ret\n.org 0x7fffffff\n",
    "align": "digits: ret\n.p2align 62\n",
    "rept": "digits:\n.rept 1000000000\n nop\n.endr\n ret\n",
    "irp": "digits:\n.irp x, 1, 2\n.irp y, 1, 2\n nop\n.endr\n.endr\n ret\n",
    "macro": ".macro m\n m\n m\n.endm\ndigits: m\n",
    "circular": ".set a, b\n.set b, a\ndigits: jmp a\n",
    "keystone killer": "digits: mov (%r8),%ah\n ret\n",
    "far symbol": "<code>.globl digits\n.set digits, 0x7fffffffffffffff\n</code>",
    "negative symbol": "<code>.globl digits\n.set digits, -1\n</code>",
    "absolute symbol": "<code>.globl digits\n.set digits, 0x41414141\n</code>",
    "symbol of another": "<code>.globl digits\n.set digits, other\n</code>",
    "function in data": ".data\ndigits: .long 0xc3c3c3c3\n",
    "thread local": 'digits: ret\n.section .tbss,"awT",@nobits\nx: .zero 8\n',
    "endless loop": "digits: jmp digits\n",
    "loop in the library": "digits: pushq %rbx\n1: movl $65, %edi\n call putchar\n jmp 1b\n",
    "allocating loop": "digits: pushq %rbx\n1: movl $1, %edi\n call malloc\n jmp 1b\n",
    "endless recursion": "digits: pushq %rax\n call digits\n popq %rcx\n ret\n",
    "long string operation": "digits: movq $-1, %rcx\n movq %rsp, %rdi\n rep stosb\n ret\n",
    "writes to its own code": "digits: movb $0xc3, digits(%rip)\n ret\n",
    "writes to the program's code": "digits: movb $0xc3, other(%rip)\n ret\n",
    "runs its data": "digits: jmp d\n.data\nd: .byte 0x31, 0xc0, 0xc3\n",
    "runs the stack": "digits: movl $0xc3c031, -16(%rsp)\n leaq -16(%rsp), %rax\n jmp *%rax\n",
    "stack pivot": "digits: movq $0x7f1a2b3c0800, %rsp\n ret\n",
    "no stack": "digits: xorl %esp, %esp\n pushq %rax\n ret\n",
    "pops the return address": "digits: popq %rcx\n xorl %eax, %eax\n jmp *%rcx\n",
    "forged return": "digits: xorl %eax, %eax\n movl $0x0f000ff0, %ecx\n jmp *%rcx\n",
    "jump into the stubs": "digits: movl $0x0f000000, %ecx\n jmp *%rcx\n",
    "exit": "digits: xorl %edi, %edi\n call exit\n",
    "_exit": "digits: xorl %edi, %edi\n call _exit\n",
    "abort": "digits: call abort\n",
    "exit by system call": "digits: movl $60, %eax\n xorl %edi, %edi\n syscall\n",
    "hidden system call": "digits: movl $60, %eax\n xorl %edi, %edi\n jmp 1f+1\n1: movl $0x050f, %ebx\n",
    "hidden writev": "digits: movl $20, %eax\n movl $1, %edi\n movl $16, %esi\n movl $4, %edx\n jmp 1f+1\n1: movl $0x050f, %ebx\n ret\n",
    "hidden hlt": "digits: xorl %eax, %eax\n jmp 1f+1\n1: movl $0xf4, %ebx\n",
    "far return": "digits: pushq $0x23\n leaq 1f(%rip), %rax\n pushq %rax\n lretq\n1: ret\n",
    "trap flag": "digits: pushfq\n orl $0x100, (%rsp)\n popfq\n nop\n ret\n",
    "paging": "digits: xorl %eax, %eax\n movq %rax, %cr3\n ret\n",
    "thread pointer": "digits: wrfsbase %rax\n call malloc\n ret\n",
    "state, then hang": "digits: movl %edi, state(%rip)\n1: jmp 1b\n",
    "main": "digits: jmp main\n",
    "itself through the program": "digits: movl $digits, %eax\n jmp *%rax\n",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers(name: str) -> None:
    started = time.monotonic()
    hostile = verdict(HOSTILE[name])
    assert hostile.kind != "pass", str(hostile)
    assert hostile.message
    assert time.monotonic() - started < 30
    assert verdict(GOOD).passed


@pytest.mark.parametrize(
    "directive", ['.incbin "{}"', '.include "{}"', '.INCBIN "{}"', 'x:.incbin "{}"', ' ; .incbin "{}"']
)
def test_files_of_the_host_are_never_read(directive: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(GOOD.split("\n", 1)[1] + " # 7c1e-secret\n")
    for text in (f"digits:\n{directive.format(secret)}\n ret\n", f"{directive.format('/etc/passwd')}\ndigits: ret\n"):
        refused = verdict(f"<code>{text}</code>")
        # In NASM's language a semicolon begins a comment: then the text is just a wrong answer.
        assert refused.kind == ("mismatch" if directive.lstrip().startswith(";") else "assemble")
        assert "7c1e-secret" not in str(refused)
        assert "root:" not in str(refused)


def test_endless_devices_are_never_read() -> None:
    assert verdict('digits: ret\n.incbin "/dev/zero"\n').kind == "assemble"


# -- attempts to pass without doing the work


def test_the_reference_can_not_be_called(compiled: Compile) -> None:
    """The reference's code for the function is neither reachable by a name nor by an address. Only its first bytes are
    overwritten in the program, so the addresses behind them are tried too."""
    golden = compiled(SOURCE).golden
    start, after = golden.symbols["digits"].address, golden.symbols["after"].address
    prologue = " pushq %rbp\n movq %rsp, %rbp\n movl %edi, -4(%rbp)\n"
    for offset in range(24):
        jump = f"digits:\n{prologue} leaq after-{after - start - offset}(%rip), %rax\n jmp *%rax\n"
        assert not verdict(jump).passed, f"digits + {offset}"
    for name in ("digits", "digits@PLT", "digits@GOTPCREL(%rip)"):
        assert not verdict(f"digits: jmp {'*' if 'GOT' in name else ''}{name}\n").passed


def test_the_code_of_the_reference_can_not_be_read() -> None:
    """A jump to where the reference's code lay, behind another function of the program, does not pass."""
    assert not verdict("digits: movq $other, %rax\n leaq 16(%rax), %rax\n movl %edi, %edi\n jmp *%rax\n").passed


def test_privileged_code_does_not_pass_beside_right_results() -> None:
    for instruction in ("movq %cr0, %rax", "movq %rax, %cr8", "movq %rax, %dr7", "hlt", "rdmsr", "cli"):
        text = GOOD.replace("digits:\n", f"digits:\n {instruction}\n")
        assert verdict(text).kind in ("crash", "hang"), instruction


def test_nothing_is_carried_from_run_to_run() -> None:
    """A candidate that is right from its second run on has kept something from the first."""
    counter = GOOD.replace("digits:\n", "digits:\n incl runs(%rip)\n cmpl $1, runs(%rip)\n je 9f\n")
    assert not verdict(counter + "9: movl $77, %eax\n ret\n .data\nruns: .long 0\n").passed
    heap = GOOD.replace("digits:\n", "digits:\n pushq %rdi\n movl $8, %edi\n call malloc\n popq %rdi\n")
    assert verdict(heap).kind == "mismatch"


def test_side_effects_are_judged_too() -> None:
    assert verdict(GOOD.replace(" movl %edi, state(%rip)\n", "")).kind == "mismatch"
    assert verdict(GOOD.replace("digits:\n", "digits:\n movl $1, -120(%rsp)\n")).passed
    assert verdict(GOOD.replace("digits:\n", "digits:\n movl $1, -200(%rsp)\n")).kind == "abi"
    assert verdict(GOOD.replace(" movl %edi, state", " movl %edi, 4096(%rsp)\n movl %edi, state")).kind in (
        "crash",
        "abi",
    )


# -- the judge's process


def test_killing_the_judge_loses_no_sample(case_of: CaseOf) -> None:
    judge = JudgeClient(JudgeSettings(examples=40))
    case = case_of(SOURCE)
    try:
        assert judge.judge(case, "digits", GOOD).passed
        for pause in (0.0, 0.05, 0.4):
            pid = judge.pid
            assert pid is not None
            killer = threading.Timer(pause, os.kill, (pid, signal.SIGKILL))
            killer.start()
            new = f"# {pause}\n"  # the same text is judged once
            assert judge.judge(case, "digits", GOOD + new).passed
            assert judge.judge(case, "digits", "digits: ret\n" + new).kind == "mismatch"
            killer.join()
        judge.close()
        assert judge.pid is None
        assert judge.judge(case, "digits", GOOD).passed
    finally:
        judge.close()


def test_threads() -> None:
    """Sources that are new at the same time are not mixed up."""
    kinds: dict[int, list[str]] = {}
    ready = threading.Barrier(4)

    def work(number: int) -> None:
        source = f"int f(int x) {{ return x ^ {number + 40}; }}\n"
        right = f"f:\n movl %edi, %eax\n xorl ${number + 40}, %eax\n ret\n"
        ready.wait()
        try:
            kinds[number] = [check(source, "f", text, examples=5).kind for text in (right, right.replace("$4", "$5"))]
        except Exception as error:
            kinds[number] = [repr(error)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kinds == {number: ["pass", "mismatch"] for number in range(4)}


def script(*lines: str) -> subprocess.CompletedProcess[str]:
    code = "\n".join(("import os, sys", "from pytest_llmcompiler import check", *lines))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


FIRST = 'source, right = "int f(int x) { return x; }", "f: movl %edi, %eax; ret"'
CHECK = "check(source, 'f', right, examples=5).kind"


def test_new_threads_in_a_new_process() -> None:
    """The first calls of a process come from several threads at once."""
    done = script(
        "import threading",
        "kinds = {}",
        "ready = threading.Barrier(6)",
        "def work(n):",
        "    ready.wait()",
        "    source = f'int f(int x) {{ return x ^ {n}; }}'",
        "    kinds[n] = check(source, 'f', f'f: movl %edi, %eax; xorl ${n}, %eax; ret', examples=5).kind",
        "threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 7)]",
        "[t.start() for t in threads]; [t.join() for t in threads]",
        "print(sorted(kinds.items()))",
    )
    assert done.stdout.strip() == str([(n, "pass") for n in range(1, 7)]), done.stderr[-2000:]


def test_a_forked_child_can_end_and_judge() -> None:
    done = script(
        FIRST,
        f"assert {CHECK} == 'pass'",
        "for ending in (sys.exit, os._exit):",
        "    pid = os.fork()",
        "    if pid == 0:",
        f"        kind = {CHECK}",
        "        ending(0 if kind == 'pass' else 1)",
        "    assert os.waitpid(pid, 0)[1] == 0",
        f"print({CHECK}, check(source.replace('x;', 'x + 0;'), 'f', right, examples=5).kind)",
    )
    assert done.stdout.strip() == "pass pass", done.stderr[-2000:]


def test_forked_children_do_not_share_a_judge() -> None:
    done = script(
        FIRST,
        f"assert {CHECK} == 'pass'",
        "from pytest_llmcompiler.judge.api import shared_judge",
        "parent = shared_judge(5).pid",
        "pid = os.fork()",
        "if pid == 0:",
        f"    {CHECK}",
        "    os._exit(0 if shared_judge(5).pid != parent else 1)",
        "assert os.waitpid(pid, 0)[1] == 0, 'the child wrote to its parent\\'s judge'",
        "print('done')",
    )
    assert done.stdout.strip() == "done", done.stderr[-2000:]


def test_the_judge_ends_with_its_client() -> None:
    done = script(
        FIRST,
        CHECK,
        "from pytest_llmcompiler.judge.api import shared_judge",
        "print(shared_judge(5).pid, flush=True)",
        "os.kill(os.getpid(), 9)",
    )
    pid = int(done.stdout)
    for _ in range(50):
        if (
            not Path(f"/proc/{pid}/cmdline").exists()
            or b"judge.server" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        ):
            return
        time.sleep(0.1)
    pytest.fail("the judge's process outlives the process that started it")


def test_many_sources_do_not_fill_the_memory() -> None:
    definitions = [
        "from pytest_llmcompiler.judge.api import shared_judge",
        "def pages(): return int(open(f'/proc/{shared_judge(5).pid}/statm').read().split()[0])",
        "def new(n): check(f'int f(int x) {{ return x ^ {n}; }}', 'f', 'f: ret', examples=5)",
    ]
    # Those of the last functions stay open, so the measure begins after these. Of the others some maps stay.
    lines = (
        "new(0)",
        "one = pages()",
        "[new(n) for n in range(1, 8)]",
        "few = pages()",
        "[new(n) for n in range(8, 14)]",
    )
    done = script(*definitions, *lines, "print((pages() - few) / 6 / one)")
    assert float(done.stdout) < 0.5, "the judge keeps the machines of every source"


def test_nothing_is_printed_and_no_file_is_left(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from pytest_llmcompiler import check\n"
         "check('int f(int x) { return x; }', 'f', 'f: bogus', examples=5)\n"
         "check('int f(int x) { return x; }', 'f', 'f: mov (%r8),%ah', examples=5)"],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "TMPDIR": str(tmp_path)}, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []

"""The second look: code that passes all inputs of the suite, and goes wrong where only its own text tells."""

from __future__ import annotations

import math

import pytest
from faces import Compile
from sessions import TWICE, put, records, replay, run

from pytest_llmcompiler import Verdict, check
from pytest_llmcompiler.emulator import engine_server
from pytest_llmcompiler.errors import EngineError
from pytest_llmcompiler.judge.code_constants import find_constants
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings

SOURCE = """
int add(int *p, unsigned x) { *p += 2; return (int)(x * 3u); }
int twice(int x) { return x + x; }
static int mode;
int scaled(int x) { return mode == 5 ? (int)(4u * (unsigned)x) : x; }
void begin(void) { mode = 5; }
"""
ADD = """add: addl $2, (%rdi)
        leal (%rsi,%rsi,2), %eax
        cmpl ${0}, %esi
        jne 1f
        incl %eax
1:      ret
"""
SCALED = """scaled: movl %edi, %eax
        cmpl $5, mode(%rip)
        jne 1f
        shll $2, %eax
1:      cmpl $7, mode(%rip)
        jne 2f
        incl %eax
2:      ret
"""


def judge(function: str, text: str, **settings: float) -> Verdict:
    return check(SOURCE, function, text, examples=10, **settings)  # type: ignore[arg-type]


def test_a_constant_of_the_candidate_shows_where_it_is_wrong() -> None:
    for constant, shown in ((77123, "77123"), (0x7FFF1234, "0x7fff1234")):
        text = ADD.format(constant)
        assert judge("add", text, effort=0).passed
        verdict = judge("add", text)
        assert verdict.kind == "mismatch"
        assert verdict.counterexample and verdict.counterexample.input == (f"*p = 0, x = {shown}",)
        assert "the input was made for this code, which passes" in str(verdict)
        look = verdict.detail["second_look"]
        assert look["input"]["numbers"] and not look["taught"] and look["inputs"] >= look["leads"] >= 1
        assert judge("add", text) == verdict
        assert judge("add", text, explain=False).kind == "mismatch"


def test_the_seed_reaches_the_second_look_and_effort_says_how_far_it_goes() -> None:
    right = ADD.replace("incl", "testl").replace("testl %eax", "testl %eax, %eax").format(77123)
    looks = [judge("add", right, seed=1, effort=effort) for effort in (0, 0.1, 1, 5)]
    assert all(verdict.passed for verdict in looks)
    assert "second_look" not in looks[0].detail
    counts = [verdict.detail["second_look"]["inputs"] for verdict in looks[1:]]
    assert 0 < counts[0] < counts[1] < counts[2]
    assert judge("add", ADD.format(77123), seed=2).detail["second_look"]["input"]


@pytest.mark.parametrize("effort", [-1, math.nan, math.inf, "1", None, True])
def test_an_effort_that_is_none(effort: object) -> None:
    with pytest.raises(ValueError, match="effort"):
        check(SOURCE, "twice", TWICE, effort=effort)  # type: ignore[arg-type]


def test_inputs_on_which_the_function_is_not_defined_fail_nobody() -> None:
    text = "twice: leal (%rdi,%rdi), %eax\n cmpl $0x40000001, %edi\n jne 1f\n xorl %eax, %eax\n1: ret\n"
    assert judge("twice", text, effort=5).passed
    assert judge("twice", text.replace("0x40000001", "0x3ffffff1"), effort=5).kind == "mismatch"
    assert judge("scaled", SCALED, effort=5).passed  # mode is never 7
    assert judge("scaled", SCALED.replace("cmpl $7, mode(%rip)", "cmpl $77123, %edi")).kind == "mismatch"


def test_what_can_not_be_judged_on_such_an_input_leaves_a_pass() -> None:
    vex = ADD.format(77123).replace("incl %eax", "vpxor %xmm0, %xmm0, %xmm0")
    assert judge("add", vex).passed
    assert judge("add", vex.replace("vpxor %xmm0, %xmm0, %xmm0", "movl $1, %ebx")).kind == "abi"
    assert judge("add", vex.replace("vpxor %xmm0, %xmm0, %xmm0", "1: jmp 1b")).kind == "hang"
    assert judge("add", vex.replace("vpxor %xmm0, %xmm0, %xmm0", "movl 0, %eax")).kind == "crash"


def test_other_targets() -> None:
    arm = """add: ldr w8, [x0]
        add w8, w8, #2
        str w8, [x0]
        mov w9, #0x2d43
        movk w9, #1, lsl #16
        add w8, w1, w1, lsl #1
        cmp w1, w9
        cinc w0, w8, eq
        ret
    """
    windows = ADD.format(77123).replace("%esi", "%edx").replace("%rsi", "%rdx").replace("%rdi", "%rcx")
    for target, text in (("aarch64-linux", arm), ("x86_64-windows", windows)):
        verdict = check(SOURCE, "add", text, examples=10, target=target)
        assert verdict.counterexample and "x = 77123" in verdict.counterexample.input[0], target
        assert verdict.detail["second_look"]["input"]


def test_constants_of_code(compiled: Compile) -> None:
    reference = compiled(SOURCE)
    under_test = FunctionUnderTest(reference, "add")
    text = ADD.replace("addl $2, (%rdi)", "addl $2, 40(%rdi)\n movl %eax, -1234(%rsp)\n shll $9, %ecx").format(77123)
    code = under_test.assemble_candidate(text, "keystone")
    processor = reference.target.processor
    constants = find_constants(code, "add", processor, frozenset({77123}))
    assert {2, 40, 9, 512, 511, 77122, 77123, 77124} <= set(constants)
    assert not {1234, -1234} & set(constants)
    assert constants[-3:] == (77123, 77122, 77124)
    many = "".join(f" cmpl ${number * 10}, %eax\n" for number in range(1, 99))
    code = under_test.assemble_candidate(f"add:\n{many} ret\n", "keystone")
    assert len(find_constants(code, "add", processor, frozenset())) == 64


def test_constants_beside_the_code(compiled: Compile) -> None:
    reference = compiled(SOURCE)
    under_test = FunctionUnderTest(reference, "add")
    text = """
    add: movdqa .Lsame(%rip), %xmm0
        movdqa .Lothers(%rip), %xmm1
        movsd .Lwide(%rip), %xmm2
        leaq .Lname(%rip), %rax
        movl .Lvariable(%rip), %ecx
        paddb .Lbytes(%rip), %xmm0
        movzwl .Lword(%rip), %edx
        ret
    .section .rodata
    .balign 16
    .Lsame: .long -9000, -9000, -9000, -9000
    .Lothers: .long 100, 200, 300, 400
    .Lbytes: .fill 16, 1, 0x71
    .Lwide: .quad 0x123456789a
    .Lword: .short 7000
    .Lname: .long 5000
    .data
    .Lvariable: .long 6000
    """
    code = under_test.assemble_candidate(text, "keystone")
    processor = reference.target.processor
    constants = find_constants(code, "add", processor, frozenset({-9000}), with_data=True)
    assert {100, 200, 300, 400, 100 | 200 << 32, 300 | 400 << 32, 0x123456789A, 0x123456789B} <= set(constants)
    assert {0x71, 7000} <= set(constants)
    assert constants[-3:] == (-9000, -9001, -8999)
    assert not {5000, 6000} & set(constants)
    assert not find_constants(code, "add", processor, frozenset())


def test_constants_beside_the_code_of_aarch64(compiled: Compile) -> None:
    reference = compiled(SOURCE, target="aarch64-linux")
    text = """
    add: adrp x8, .Ltable
        ldr q0, [x8, :lo12:.Ltable]
        adrp x9, .Lwide
        add x9, x9, :lo12:.Lwide
        ldr x10, [x9]
        mov w0, w1
        ret
    .section .rodata
    .balign 16
    .Ltable: .long 100, 200, 300, 400
    .Lwide: .quad 0x123456789a
    """
    code = FunctionUnderTest(reference, "add").assemble_candidate(text, "llvm")
    constants = find_constants(code, "add", reference.target.processor, frozenset(), with_data=True)
    assert {100, 200, 300, 400, 0x123456789A} <= set(constants)


def test_the_reproducer_of_such_a_failure(compiled: Compile) -> None:
    harness = Harness(compiled(SOURCE), "add", JudgeSettings(10))
    judged = harness.judge_with_reproducer(ADD.format(77123))
    assert judged.verdict.kind == "mismatch" and judged.reproducer and "fault" not in judged.reproducer
    assert judged.reproducer["input_lines"] == ["*p = 0, x = 77123"]
    assert judged.reproducer["breakpoint"]["line"] == 5


def test_a_program_that_the_engine_can_not_run() -> None:
    source = "int ask(int);\nint twice(int x) { return x + x; }\nint main(void) { return ask(twice(3)) & 1; }\n"
    for text in (SHOWN, SHOWN.replace("incl %eax", "nop")):
        verdict = check(source, "twice", text, examples=10)
        assert verdict.kind == ("mismatch" if text == SHOWN else "pass")
        assert verdict.detail["second_look"]["inputs"] > 100


def test_narrow_arguments_on_the_stack_are_extended_too() -> None:
    source = "int last(int a, int b, int c, int d, int e, int f, signed char g) { return g * 3; }"
    for load in ("movsbl", "movl"):
        verdict = check(source, "last", f"last: {load} 8(%rsp), %eax\n leal (%rax,%rax,2), %eax\n ret\n", examples=10)
        assert verdict.passed and verdict.detail["second_look"]["leads"] == 0


def test_memory_that_holds_anything(compiled: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.perturb=85")
    monkeypatch.setattr(engine_server, "_SERVER", engine_server._Server())
    verdict = Harness(compiled(SOURCE), "twice", JudgeSettings(10)).judge(TWICE)
    assert verdict.passed and verdict.detail["second_look"]["inputs"] > 100


@pytest.mark.parametrize("seed", [-1, 1 << 70])
def test_seeds_of_any_size(seed: int) -> None:
    source = """int skip(const char *s, int n) {
        return n == 12345 && s[0] == 'x' && s[1] == 'y' && s[2] == 'z' && s[3] == 'w' ? 3 : n; }"""
    verdict = check(source, "skip", "skip: movl %esi, %eax\n ret\n", examples=10, seed=seed)
    assert verdict.kind in ("pass", "mismatch"), "code that no input reaches is searched for with this seed"


def test_without_the_engine_there_is_none(compiled: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise EngineError("no engine")

    monkeypatch.setattr(engine_server._Server, "get", fail)
    verdict = Harness(compiled(SOURCE), "add", JudgeSettings(10)).judge(ADD.format(77123))
    assert verdict.passed and "second_look" not in verdict.detail


# -- in sessions

SHOWN = "twice: leal (%rdi,%rdi), %eax\n cmpl $77123, %edi\n jne 1f\n incl %eax\n1: ret\n"
HIDDEN = f"""twice: leal (%rdi,%rdi), %eax
        imull $0x9E3779B1, %edi, %ecx
        cmpl ${77123 * 0x9E3779B1 % (1 << 32):#x}, %ecx
        jne 1f
        incl %eax
1:      ret
"""


def test_later_samples_get_the_input_too(project: pytest.Pytester) -> None:
    """The order is that of the samples, whoever is judged first, and an answer that was there before keeps its
    verdict."""
    model = replay(project, HIDDEN, SHOWN, TWICE, HIDDEN.replace("incl", "decl"), HIDDEN)
    lines = {}
    for jobs in (1, 3):
        record = f"--llmc-record={jobs}.jsonl"
        result = run(project, model, f"--llmc-jobs={jobs}", "--llmc-samples=5", record, "-k", "twice")
        result.stdout.fnmatch_lines(["llmc: second look at samples that pass, effort 1"])
        lines[jobs] = records(project.path / f"{jobs}.jsonl")
        assert [line["verdict"] for line in lines[jobs]] == ["pass", "mismatch", "pass", "mismatch", "pass"]
    assert [line["detail"] for line in lines[1]] == [line["detail"] for line in lines[3]]
    own, taught = (lines[1][number]["detail"] for number in (1, 3))
    assert own["second_look"]["taught"] is False and taught["second_look"]["taught"] is True
    assert own["second_look"]["input"] == taught["second_look"]["input"]
    assert any("made for an earlier answer" in line for line in taught["evidence"])
    assert taught["input"] == ["x = 77123"]


def test_a_record_is_resumed_and_replayed_with_the_same_verdicts(project: pytest.Pytester) -> None:
    model = replay(project, SHOWN, TWICE, HIDDEN)
    run(project, model, "--llmc-samples=2", "--llmc-record=a.jsonl", "-k", "twice")
    run(project, model, "--llmc-samples=3", "--llmc-record=a.jsonl", "--llmc-resume", "-k", "twice")
    run(project, "--llmc-model=replay:a.jsonl", "--llmc-samples=3", "--llmc-record=b.jsonl", "-k", "twice")
    first, second = records(project.path / "a.jsonl"), records(project.path / "b.jsonl")
    assert [line["verdict"] for line in first] == ["mismatch", "pass", "mismatch"]
    assert [line["detail"] for line in first] == [line["detail"] for line in second]
    assert "effort" not in first[0]["settings"]


def test_effort_is_a_setting_of_sessions(project: pytest.Pytester) -> None:
    model = replay(project, SHOWN)
    project.makeini("[pytest]\nllmc_cases = cases\nllmc_effort = 0\n")
    result = run(project, model, "--llmc-record=a.jsonl", "-k", "twice")
    result.stdout.fnmatch_lines(["llmc: no second look, since effort is 0"])
    result.assert_outcomes(passed=1, deselected=1)
    assert records(project.path / "a.jsonl")[0]["settings"]["effort"] == 0
    result = run(project, model, "--llmc-effort=2.5", "--llmc-record=a.jsonl", "--llmc-resume", "-k", "twice")
    assert "another --llmc-effort" in result.stdout.str() + result.stderr.str()
    result = run(project, model, "--llmc-effort=2.5", "-k", "twice", "--llmc-artifacts=kept")
    result.stdout.fnmatch_lines(["llmc: second look at samples that pass, effort 2.5", "*x = 77123*"])
    (folder,) = (project.path / "kept").glob("*/twice/asm-O0/sample-0")
    assert "77123" in (folder / "input.c").read_text()


def test_a_record_that_somebody_edited(project: pytest.Pytester) -> None:
    model = replay(project, SHOWN, TWICE, HIDDEN)
    run(project, model, "--llmc-samples=1", "--llmc-record=a.jsonl", "-k", "twice")
    (line,) = (project.path / "a.jsonl").read_text().splitlines()
    start = line.index('"input": {"entry"') + len('"input": ')

    def resume(other: str) -> pytest.RunResult:
        put(project, "a.jsonl", line[:start] + other + line[line.index("}", start) + 1 :] + "\n")
        return run(project, model, "--llmc-samples=3", "--llmc-record=a.jsonl", "--llmc-resume", "-k", "twice")

    for other in ('{"entry": 99999, "numbers": [[0, 1]]}', '{"entry": 0, "numbers": [[99, 1]]}'):
        result = resume(other)
        verdicts = [line["verdict"] for line in records(project.path / "a.jsonl")]
        assert verdicts == ["mismatch", "pass", "pass"], result.stdout.str()
    for other in ('{"entry": 0, "numbers": [[99, -1]]}', '{"entry": 0, "numbers": [3]}', "7"):
        result = resume(other)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*a.jsonl:1: *detail.second_look.input*"])


COUNTED = "unsigned total(const unsigned char *p, unsigned n) { unsigned s = 0; while (n) s += 3u * p[--n]; return s; }"
ENDED = "unsigned hash(const char *s) { unsigned h = 5381; while (*s) h = h * 33 + (unsigned char)*s++; return h; }"


def wrong_total(square: int) -> str:
    """Wrong where the square of the length is a number: no constant of the code is a length."""
    return f"""total:
    movl %esi, %eax
    imull %eax, %eax
    cmpl ${square}, %eax
    sete %al
    movzbl %al, %eax
    xorl %ecx, %ecx
.Lnext:
    cmpl %esi, %ecx
    jae .Lend
    movzbl (%rdi,%rcx), %edx
    leal (%rdx,%rdx,2), %edx
    addl %edx, %eax
    incl %ecx
    jmp .Lnext
.Lend:
    retq
"""


def wrong_hash(length: int) -> str:
    """Wrong for texts of one length."""
    return f"""hash:
    movl $5381, %eax
    xorl %ecx, %ecx
.Lnext:
    movzbl (%rdi,%rcx), %edx
    testl %edx, %edx
    je .Lend
    imull $33, %eax, %eax
    addl %edx, %eax
    incq %rcx
    jmp .Lnext
.Lend:
    cmpq ${length}, %rcx
    sete %dl
    movzbl %dl, %edx
    addl %edx, %eax
    retq
"""


@pytest.mark.parametrize("length", [47, 61, 119])
def test_every_length_up_to_130_is_tried(length: int) -> None:
    counted = check(COUNTED, "total", wrong_total(length * length), examples=60, explain=False)
    assert counted.kind == "mismatch"
    assert check(ENDED, "hash", wrong_hash(length), examples=60, explain=False).kind == "mismatch"


def test_right_code_for_every_length_passes() -> None:
    assert check(COUNTED, "total", wrong_total(131 * 131 + 1), examples=60).passed
    assert check(ENDED, "hash", wrong_hash(1 << 20), examples=60).passed


EIGHT = "float total(const float v[8]) { float s = 0; for (int i = 0; i < 8; i++) s += v[i]; return s; }"


def total_of_eight(jump: str) -> str:
    """Adds eight floats. Right where the jump to the end is left out, else wrong where only the last is not zero."""
    adds = "\n".join(f"    addss {4 * index}(%rdi), %xmm0" for index in range(7))
    return f"""total:
    xorps %xmm0, %xmm0
{adds}
    xorps %xmm1, %xmm1
    ucomiss %xmm1, %xmm0
    {jump}
    addss 28(%rdi), %xmm0
.Lend:
    retq
"""


def test_floats_are_changed_too() -> None:
    assert check(EIGHT, "total", total_of_eight("nop"), examples=40).passed
    wrong = total_of_eight("je .Lend")
    assert check(EIGHT, "total", wrong, examples=40, effort=0).passed
    verdict = check(EIGHT, "total", wrong, examples=40)
    assert verdict.kind == "mismatch"
    assert verdict.message.endswith(", observed 0.0")


VARIED = r"""
#include <stdio.h>
int depth(const char *p) { int n = 0; for (; *p; p++) n += *p == '/'; return n; }
int dotted(const char *p)
{
    if (*p != '[')
        return -1;
    int n = 0;
    for (p++; *p; p++)
        n += *p == '.';
    return n;
}
void shift(const char *in, char *out, int n) { for (; n > 0; n--, in++) *out++ = *in == ' ' ? '_' : *in; }
int expand(const unsigned char *code, char *out, int size)
{
    if (code[0] > size)
        return -1;
    for (int i = 0; i < code[0]; i++)
        out[i] = (char)code[1];
    return code[0];
}
int hits(const char *p) { int n = 0; for (; *p; p++) n += *p == *"a"; return n > 0; }
struct row { const char *fields[4]; int count; };
void fields(struct row *row, const char *line)
{
    for (int i = 0; i < 4; i++)
        row->fields[i] = 0;
    row->count = 0;
    while (*line && row->count < 4) {
        row->fields[row->count++] = line;
        while (*line && *line != ',')
            line++;
        line += *line == ',';
    }
}
struct link { struct link *previous, *next; };
int is_alone(const struct link *link) { return link->next == link; }
int report(int x) { return printf("%d\n", x) + x; }
"""
WRONG = {
    "64 KiB": ("depth", "n += *p == '/'", "n += *p == '/', p = (unsigned short)(long)p == 0xffff ? p - 65536 : p"),
    "64 KiB behind the first": ("dotted", "for (p++; *p", 'for (p = (unsigned short)(long)p == 0xffff ? "." : p + 1; *p'),
    "overlap": ("shift", "for (; n > 0;", "char a[32]; for (; n >= 32; n -= 32) { for (int i = 0; i < 32; i++) a[i] = *in == ' ' ? '_' : *in, in++; for (int i = 0; i < 32; i++) *out++ = a[i]; } for (; n > 0;"),
    "a byte from 128 on": ("expand", "return code[0];", "return (signed char)code[0];"),
    "garbage in a structure": ("fields", "row->fields[i] = 0", "row->fields[i] = i == 3 && !row->fields[0] ? row->fields[3] : 0"),
    "a pointer to itself": ("is_alone", "link->next == link", "link->previous == link"),
    "256 times": ("hits", "return n > 0", "return (unsigned char)n > 0"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_objects_at_other_places_and_with_other_lengths(what: str, compiled: Compile) -> None:
    function, old, new = WRONG[what]
    reference = compiled(VARIED)
    harness = Harness(reference, function, JudgeSettings(examples=20))
    assert harness.judge(reference.texts.assembly(function, "O2"), explain=False).passed
    assert VARIED.count(old) == 1
    verdict = harness.judge(compiled(VARIED.replace(old, new)).texts.assembly(function, "O1"))
    assert not verdict.passed and verdict.conclusive, str(verdict)


@pytest.mark.parametrize(("al", "kind"), [(0, "pass"), (8, "pass"), (9, "abi"), (255, "abi")])
def test_al_says_how_many_vector_registers_a_variadic_call_has(al: int, kind: str, compiled: Compile) -> None:
    text = """report: pushq %rbx
        movl %edi, %ebx
        movl %edi, %esi
        leaq .L.str.1(%rip), %rdi
        movl ${}, %eax
        call printf
        addl %ebx, %eax
        popq %rbx
        ret
    """
    harness = Harness(compiled(VARIED), "report", JudgeSettings(examples=5))
    verdict = harness.judge(text.format(al))
    assert verdict.kind == kind, str(verdict)
    assert kind == "pass" or f"al is {al} at the call of printf" in str(verdict)


def test_standard_output_that_can_not_be_written(compiled: Compile) -> None:
    source = VARIED.replace('return printf("%d\\n", x) + x;', "return putchar(x & 127) < 0 ? -x : x;")
    assert source != VARIED
    harness = Harness(compiled(source), "report", JudgeSettings(examples=30))
    text = "report: pushq %rbx\n movl %edi, %ebx\n andl $127, %edi\n call putchar\n{} movl %ebx, %eax\n popq %rbx\n ret"
    assert harness.judge(text.format(" testl %eax, %eax\n jns 1f\n negl %ebx\n1:")).passed
    verdict = harness.judge(text.format(""))
    assert verdict.kind == "mismatch" and "can't be written" in str(verdict), str(verdict)


def test_an_array_that_nobody_has_set_does_not_have_equal_elements(compiled: Compile) -> None:
    source = """
    int most(const unsigned char *digits, int n)
    {
        int counts[10] = {0}, best = 0;
        for (int i = 0; i < n; i++)
            counts[digits[i] % 10]++;
        for (int i = 1; i < 10; i++)
            if (counts[i] > counts[best])
                best = i;
        return best;
    }
    """
    harness = Harness(compiled(source), "most", JudgeSettings(examples=10))
    right = compiled(source).texts.assembly("most", "O1")
    assert harness.judge(right, explain=False).passed
    verdict = harness.judge(compiled(source.replace("counts[10] = {0}", "counts[10]")).texts.assembly("most", "O1"))
    assert verdict.kind == "mismatch" and "uninitialised" in str(verdict), str(verdict)


def test_al_counts_where_the_last_call_is_a_jump(compiled: Compile) -> None:
    source = '#include <stdio.h>\nint shout(const char *name) { return printf("%s!", name); }'
    text = 'shout: movq %rdi, %rsi\n leaq .Lformat(%rip), %rdi\n movl ${}, %eax\n jmp printf\n .Lformat: .string "%s!"'
    harness = Harness(compiled(source), "shout", JudgeSettings(examples=5))
    assert harness.judge(text.format(8), explain=False).passed
    assert harness.judge(text.format(33), explain=False).kind == "abi"

"""Strategies for inputs, recorded inputs, exploring and shrinking."""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

import pytest
from faces import Compile, Judged
from hypothesis import HealthCheck, Phase, given, settings

from pytest_llmcompiler.corpus.from_main import record_main_inputs
from pytest_llmcompiler.corpus.fuzzer import Corpus
from pytest_llmcompiler.corpus.hints import Hints, find_hints
from pytest_llmcompiler.corpus.probing import ProbeResult, UndefinedInputError
from pytest_llmcompiler.corpus.relations import relations_by_name
from pytest_llmcompiler.corpus.shrink import shrink, weight
from pytest_llmcompiler.corpus.special_values import generate_specials
from pytest_llmcompiler.corpus.strategies import build_input_strategy
from pytest_llmcompiler.emulator.coverage import Feature
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.values.c_types import Int, Pointer, Struct
from pytest_llmcompiler.values.input import Input, Object, Value
from pytest_llmcompiler.values.layout import format_path

INT = Int(4, True, "int")
CHAR = Int(1, True, "char", character=True)


SOURCE = r"""
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
struct node { struct node *next; int value; };
struct list { int *items; size_t count; };
enum color { RED = 3, GREEN = 70 };
int everything(char a, unsigned char b, short c, long d, unsigned __int128 e, float f, double g, bool h, enum color i) {
    return a + b + c + (int)d + (int)e + (int)f + (int)g + h + i;
}
int total(const int *values, size_t n) { int r = 0; for (size_t i = 0; i < n; i++) r ^= values[i]; return r; }
int both(char *dst, const char *src, size_t len) { return dst[len - 1] + src[len - 1]; }
int first(size_t n, const short *values) { return n ? values[0] : 0; }
char at(const char *buf, size_t size, size_t idx) { return idx < size ? buf[idx] : 0; }
int through(const char *buf, size_t size, size_t *pos) { return buf[*pos]; }
int walk(const struct node *list) { int r = 0; for (; list; list = list->next) r ^= list->value; return r; }
int items(const struct list *list) { return list->count ? list->items[list->count - 1] : 0; }
int magic(int x) { return x == 123456789 ? 1 : x == -77777 ? 2 : 0; }
int chosen(int x) {
    switch (x) {
    case 1000: return 1; case 2000: return 2; case 3000: return 3; case 4000: return 4; case 123123: return 5;
    case 777777: return 6; default: return 0;
    }
}
double half(double x) { return x / 2; }
int word(const char *s) { return s[0] == 'd' && s[1] == 'i' && s[2] == 'f'; }
const char *keyword(void) { return "keyword of the program"; }
int ranged(int x, unsigned char y) { return x + y; }
int sized(const int *p) { return p[4]; }
int text(const char *s) { return *s; }
int there(const long *p) { return (int)*p; }
// LLMC: arg ranged.x range -3..4
// LLMC: arg ranged.y range 250..255
// LLMC: arg sized.p elements 5..6
// LLMC: arg text.s cstring
// LLMC: arg text.s non-null
// LLMC: arg there.p non-null
int main(void) {
    int values[3] = {11, 22, 33};
    struct node last = {0, 5}, head = {&last, 4};
    size_t pos = 2;
    return total(values, 3) + walk(&head) + through("abc", 4, &pos) + text("hello") + magic(9);
}
"""


@pytest.fixture(scope="module")
def program(compiled: Compile) -> Reference:
    return compiled(SOURCE)


def draw_inputs(reference: Reference, name: str, count: int = 150) -> list[Input]:
    """Inputs from the strategy that the judge uses."""
    strategy = build_input_strategy(
        reference.signatures[name], reference.argument_rules(name), find_hints(reference.texts.ir(name), reference.ir)
    )
    inputs: list[Input] = []

    @settings(
        max_examples=count,
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(input: Input) -> None:
        inputs.append(input)

    collect()
    return inputs


def target(value: Value) -> Object | None:
    assert not any(value.data)
    if not value.links:
        return None
    at, object = value.links[0]
    assert at == 0
    assert isinstance(object, Object)
    return object


def numbers(inputs: list[Input], index: int) -> list[int]:
    kind = inputs[0].args[index].type
    assert isinstance(kind, Int)
    return [int.from_bytes(input.args[index].data, "little", signed=kind.signed) for input in inputs]


def test_values_fit_their_types(program: Reference) -> None:
    inputs = draw_inputs(program, "everything", 300)
    for input in inputs:
        assert [len(value.data) for value in input.args] == [1, 1, 2, 8, 16, 4, 8, 1, 4]
    assert set(numbers(inputs, 7)) == {0, 1}
    assert {3, 70} < set(numbers(inputs, 8)) <= {0, 2, 3, 70, 71, 170}, "some values have no name"
    for index in (0, 2, 3):
        assert 0 in numbers(inputs, index)
        assert min(numbers(inputs, index)) < 0 < max(numbers(inputs, index))


def test_floats_of_every_kind_are_tried_by_the_judge(program: Reference) -> None:
    values = [
        struct.unpack("<d", input.args[0].data)[0] for input in Harness(program, "half", JudgeSettings()).corpus.entries
    ]
    assert any(math.isnan(number) for number in values)
    assert {math.inf, -math.inf, 0.0, 1.0, -1.0} <= set(values)
    assert any(number == 0 and math.copysign(1, number) < 0 for number in values)
    assert any(0 < abs(number) < 2**-1022 for number in values)


def test_constants_of_a_switch_are_all_tried_by_the_judge(program: Reference) -> None:
    """An integer has one input for each constant that it is compared with, whatever the seed."""
    entries = Harness(program, "chosen", JudgeSettings()).corpus.entries
    assert {1000, 2000, 3000, 4000, 123123, 777777} <= set(numbers(list(entries), 0))


def test_the_judge_spends_its_examples_on_different_arguments(program: Reference) -> None:
    entries = Harness(program, "chosen", JudgeSettings()).corpus.entries
    assert len(set(numbers(list(entries), 0))) > 0.9 * len(entries)


def test_lengths_fit_their_buffers(program: Reference) -> None:
    seen = []
    for input in draw_inputs(program, "total"):
        buffer, count = target(input.args[0]), int.from_bytes(input.args[1].data, "little")
        if buffer is None:
            continue
        assert buffer.count * 4 == len(buffer.data)
        assert count <= buffer.count
        seen.append((count, buffer.count))
    assert len(seen) > 100
    assert any(count == 0 for count, _ in seen)
    assert any(count > 8 for count, _ in seen)
    assert sum(count == room for count, room in seen) > len(seen) / 2
    for input in draw_inputs(program, "both", 40):
        buffers = [to for value in input.args[:2] for _, to in value.links if isinstance(to, Object)]
        assert len({buffer.count for buffer in buffers}) <= 1
        assert all(buffer.count >= int.from_bytes(input.args[2].data, "little") for buffer in buffers)
    for input in draw_inputs(program, "first", 40):
        buffer = target(input.args[1])
        assert buffer is None or buffer.count >= int.from_bytes(input.args[0].data, "little")


def test_indices_are_within_their_buffers(program: Reference) -> None:
    inside = 0
    for input in draw_inputs(program, "at"):
        size, index = (int.from_bytes(value.data, "little") for value in input.args[1:])
        inside += index <= size
    assert inside > 75
    for input in draw_inputs(program, "through", 40):
        pos = target(input.args[2])
        assert pos is None or pos.count == 1


def test_inputs_satisfy_directives(program: Reference) -> None:
    inputs = draw_inputs(program, "ranged")
    assert set(numbers(inputs, 0)) == set(range(-3, 5))
    assert set(numbers(inputs, 1)) == set(range(250, 256))
    for input in draw_inputs(program, "sized", 60):
        buffer = target(input.args[0])
        assert buffer is None or buffer.count in (5, 6)
    for input in draw_inputs(program, "text", 60):
        buffer = target(input.args[0])
        assert buffer is not None
        assert buffer.data.endswith(b"\0")
    assert all(target(input.args[0]) is not None for input in draw_inputs(program, "there", 60))


def test_some_pointers_are_null_where_no_directive_forbids_it(program: Reference) -> None:
    assert any(not input.args[0].links for input in draw_inputs(program, "walk"))


def test_lists_of_all_lengths(program: Reference) -> None:
    def length(node: Object | None) -> int:
        if node is None:
            return 0
        following = next((to for at, to in node.links if at == 0), None)
        assert following is None or isinstance(following, Object)
        return 1 + length(following)

    assert {0, 1, 2, 3} <= {length(target(input.args[0])) for input in draw_inputs(program, "walk", 300)}


def test_lengths_inside_of_structs(program: Reference) -> None:
    for input in draw_inputs(program, "items", 60):
        holder = target(input.args[0])
        if holder is None:
            continue
        count = int.from_bytes(holder.data[8:16], "little")
        inner = next((to for at, to in holder.links if at == 0), None)
        assert inner is None or (isinstance(inner, Object) and inner.count >= count)


def test_constants_of_the_program_are_tried(program: Reference) -> None:
    assert {123456789, -77777} <= set(numbers(draw_inputs(program, "magic", 600), 0))
    texts = [buffer.data for input in draw_inputs(program, "text", 300) if (buffer := target(input.args[0]))]
    assert any(b"keyword of the program" in text for text in texts)


def test_find_hints() -> None:
    function = (
        "  %1 = icmp eq i32 %0, -77\n  switch i32 %0, label %9 [\n    i32 400, label %2\n  ]\n  %2 = add i32 %0, 5555\n"
    )
    module = '@.str = private constant [6 x i8] c"a\\0Ab\\22c\\00"\n@e = constant [1 x i8] zeroinitializer\n'
    hints = find_hints(function, module)
    assert {-77, 400} <= set(hints.numbers)
    assert 5555 not in hints.numbers
    assert hints.strings == (b'a\nb"c',)


def test_relations_by_name() -> None:
    pointer = Pointer(INT)
    size = Int(8, False, "size_t")
    assert relations_by_name(["buf", "size", "idx"], [pointer, size, size]).length_of == {1: (0,)}
    assert relations_by_name(["buf", "size", "idx"], [pointer, size, size]).index_into == {2: 0}
    assert relations_by_name(["dst", "src", "n"], [pointer, pointer, size]).length_of == {2: (0, 1)}
    owner = Pointer(Struct("struct parser", 16))
    assert relations_by_name(["parser", "text", "n"], [owner, pointer, size]).length_of == {2: (1,)}
    assert relations_by_name(["text", "points", "n"], [pointer, owner, size]).length_of == {2: (0, 1)}
    assert relations_by_name(["in", "in_size", "out", "out_size"], [pointer, size, pointer, size]).length_of == {
        1: (0,),
        3: (2,),
    }
    assert relations_by_name(["x", "y"], [pointer, size]).length_of == {}


def test_inputs_are_recorded_from_main(program: Reference) -> None:
    functions = {name: program.signatures[name] for name in program.functions}
    recorded = record_main_inputs(program.golden, functions, {}, {})
    total = recorded["total"][0]
    buffer = target(total.args[0])
    assert buffer is not None
    assert buffer.data == b"".join(number.to_bytes(4, "little") for number in (11, 22, 33))
    assert numbers(recorded["total"], 1) == [3]
    head = target(recorded["walk"][0].args[0])
    assert head is not None
    assert head.data[8:12] == bytes([4, 0, 0, 0])
    assert isinstance(head.links[0][1], Object)
    assert head.links[0][1].data[8:12] == bytes([5, 0, 0, 0])
    string = target(recorded["text"][0].args[0])
    assert string is not None
    assert string.data == b"hello\0"
    pos = target(recorded["through"][0].args[2])
    assert pos is not None
    assert pos.data[:8] == (2).to_bytes(8, "little")
    assert recorded["ranged"] == []


@pytest.mark.parametrize("end", ["for (;;) ;", "*(volatile int *)0 = 1;", "__builtin_trap();"])
def test_inputs_are_recorded_from_a_main_that_hangs_or_crashes(compiled: Compile, end: str) -> None:
    reference = compiled(f"int f(int x) {{ return x; }}\nint main(void) {{ f(7); f(8); {end} return 0; }}\n")
    inputs = record_main_inputs(reference.golden, {"f": reference.signatures["f"]}, {}, {})["f"]
    assert [reference.args[0].data[0] for reference in inputs][:2] == [7, 8]


def test_format_path(program: Reference) -> None:
    node = program.signatures["walk"].params[0].type
    assert isinstance(node, Pointer)
    assert isinstance(node.target, Struct)
    assert format_path(node.target, "list", 8, at_pointer=True) == "list->value"
    assert format_path(node.target, "list", 0, at_pointer=True) == "list->next"
    assert format_path(node.target, "list", 24, at_pointer=True) == "list[1].value"
    assert format_path(INT, "values", 8, at_pointer=True) == "values[2]"
    assert format_path(node.target, "x", 8, at_pointer=False) == "x.value"


class Entry(NamedTuple):
    """The entry of an input on which no probe runs."""

    value: int
    probe_result: ProbeResult = ProbeResult()


def probe(input: Input, known: set[Feature], steps: int) -> ProbeResult:
    return ProbeResult()


def test_exploring_and_shrinking(program: Reference) -> None:
    strategy = build_input_strategy(program.signatures["magic"], {}, find_hints(program.texts.ir("magic"), program.ir))

    def value(input: Input) -> int:
        return int.from_bytes(input.args[0].data, "little", signed=True)

    def accept(input: Input, known: set[Feature], steps: int) -> Entry:
        if value(input) < 0:
            raise UndefinedInputError("negative")
        return Entry(value(input))

    corpus, again = Corpus(probe, accept), Corpus(probe, accept)
    corpus.explore(strategy, 30, 1)
    again.explore(strategy, 30, 1)
    assert list(corpus.entries.values()) == list(again.entries.values())
    assert len(corpus.entries) == 30
    assert set(corpus.dropped) == {"negative"}
    large = next(input for input in corpus.entries if value(input) > 1000)
    small = shrink(strategy, large, 30, 1, lambda input: value(input) > 1000)
    assert value(small) == 1001
    assert weight(small) <= weight(large)
    seeded = Corpus(probe, accept)
    assert seeded.offer(large)
    assert seeded.offer(large)
    seeded.explore(strategy, 5, 9)
    assert next(iter(seeded.entries)) is large
    assert len(seeded.entries) == 6


def test_errors_of_the_harness_come_through(program: Reference) -> None:
    strategy = build_input_strategy(program.signatures["magic"], {}, find_hints("", ""))

    def broken(input: Input, known: set[Feature], steps: int) -> Entry:
        raise ZeroDivisionError("of the harness")

    with pytest.raises(ZeroDivisionError, match="of the harness"):
        Corpus(probe, broken).explore(strategy, 5, 1)


def test_function_pointers_may_be_null(judged: Judged) -> None:
    source = (
        "int (*hook)(int);\nvoid set(int (*f)(int)) { if (f) hook = f; }\nint ask(int (*f)(int)) { return f(2) & 7; }\n"
    )
    right = "set:\n testq %rdi, %rdi\n je 1f\n movq %rdi, hook(%rip)\n1: ret\n"
    assert judged(source, "set", right).passed
    assert judged(source, "set", right.replace(" testq %rdi, %rdi\n je 1f\n", "")).kind == "mismatch"
    assert judged(
        source,
        "ask",
        "ask:\n pushq %rbx\n movq %rdi, %rax\n movl $2, %edi\n call *%rax\n andl $7, %eax\n popq %rbx\n ret\n",
    ).passed


def test_objects_that_lead_to_many_others_fit_into_an_input(compiled: Compile) -> None:
    """Six pointers in each object: every drawn structure must find room, or hardly any input could be laid out."""
    source = """
    struct entry { struct entry *a, *b, *c, *d, *e, *f; int cost; };
    int cost(struct entry *entry) { return entry ? entry->cost : -1; }
    """
    harness = Harness(compiled(source), "cost", JudgeSettings(examples=30))
    assert len(harness.corpus.entries) >= 20
    assert not harness.corpus.dropped["too large"]


MANY_GLOBALS = """
struct line { struct line *next, *prev; char *text; long pad[4]; };
struct table { struct line *first, *last; struct line lines[3]; char name[300]; } tables[4];
struct line *a, *b, *c, *d, *e, *f, *g, *h; char large[3][5000]; char *texts[12];
int count(struct line *l) {
    int n = 0;
    for (int i = 0; i < 4; i++) n += tables[i].first != 0;
    for (int i = 0; i < 12; i++) n += texts[i] != 0;
    struct line *all[] = {l, a, b, c, d, e, f, g, h};
    for (int i = 0; i < 9; i++) n += all[i] && all[i]->next ? large[i % 3][0] != 0 : 0;
    return n;
}
"""


def test_inputs_of_many_variables_with_pointers_have_room(compiled: Compile) -> None:
    harness = Harness(compiled(MANY_GLOBALS), "count", JudgeSettings(20))
    assert harness.corpus.dropped["too large"] <= 2


def test_the_sign_bit_alone_is_a_special_value_of_unsigned_integers() -> None:
    word = Value(Int(8, False, "unsigned long"), bytes(8))
    numbers = {
        int.from_bytes(special.args[0].data, "little") for special in generate_specials(Input((word,)), Hints(), {})
    }
    assert numbers == {0, 1, 2**63 - 1, 2**63, 2**64 - 1}

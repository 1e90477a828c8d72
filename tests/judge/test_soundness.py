"""Correct code that uses a freedom of C passes; wrong code that few inputs show does not."""

from __future__ import annotations

from faces import Judged

RESTRICT = """
void order(int *restrict a, int *b) { *a = 1; *b = 2; }
void either(int *a, int *b) { *a = 1; *b = 2; }
"""
SWAPPED = "{}:\n\tmovl $2, (%rsi)\n\tmovl $1, (%rdi)\n\tret\n"


def test_restrict_allows_another_order_of_stores(judged: Judged) -> None:
    assert judged(RESTRICT, "order", SWAPPED.format("order")).kind == "pass"


def test_without_restrict_pointers_may_be_equal(judged: Judged) -> None:
    assert judged(RESTRICT, "either", SWAPPED.format("either")).kind == "mismatch"


STATICS = """
static int unread, read_later;
static volatile int device;
static int limit = 7;
void count(int x) { unread = x; read_later = x + 1; }
int later(void) { return read_later; }
void poke(int x) { device = x; }
int bounded(int x) { return x < limit ? x : limit; }
"""


def test_a_variable_that_nobody_reads_is_not_compared(judged: Judged) -> None:
    text = "count:\n\tleal 1(%rdi), %eax\n\tmovl %eax, read_later(%rip)\n\tret\n"
    assert judged(STATICS, "count", text).kind == "pass"


def test_a_variable_that_is_read_elsewhere_is_compared(judged: Judged) -> None:
    assert judged(STATICS, "count", "count:\n\tmovl %edi, unread(%rip)\n\tret\n").kind == "mismatch"


def test_a_volatile_variable_is_compared(judged: Judged) -> None:
    assert judged(STATICS, "poke", "poke:\n\tret\n").kind == "mismatch"


def test_a_variable_that_nobody_writes_is_a_constant(judged: Judged) -> None:
    text = "bounded:\n\tmovl $7, %eax\n\tcmpl %eax, %edi\n\tcmovll %edi, %eax\n\tret\n"
    assert judged(STATICS, "bounded", text).kind == "pass"


def test_an_endless_loop_of_inline_assembly_ends(judged: Judged) -> None:
    source = 'int spin(int x) { if (x > 5) __asm__ volatile("1: jmp 1b"); return x; }'
    verdict = judged(source, "spin", "spin:\n\tmovl %edi, %eax\n\tret\n")
    assert verdict.kind == "pass"
    assert verdict.detail["dropped"]["runs too long"]


def test_an_object_that_is_too_large_is_inconclusive(judged: Judged) -> None:
    source = "struct vm { unsigned char memory[16 << 20]; int pc; }; int step(struct vm *vm) { return vm->pc++; }"
    verdict = judged(source, "step", "step:\n\tret\n")
    assert verdict.kind == "inconclusive"
    assert "bytes" in verdict.message


LOCKED = """
#include <pthread.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
int total;
void count(int by) { pthread_mutex_lock(&lock); total += by; pthread_mutex_unlock(&lock); }
"""


def test_a_deadlock_is_a_crash(judged: Judged) -> None:
    once = " leaq lock(%rip), %rdi\n call pthread_mutex_lock\n"
    rest = " addl %ebx, total(%rip)\n leaq lock(%rip), %rdi\n call pthread_mutex_unlock\n popq %rbx\n ret\n"
    start = "count:\n pushq %rbx\n movl %edi, %ebx\n"
    assert judged(LOCKED, "count", start + once + rest).passed
    verdict = judged(LOCKED, "count", start + once + once + rest)
    assert verdict.kind == "crash"
    assert "a wait for a lock that no other thread can release" in verdict.message


def test_a_frame_may_be_larger_than_the_reference_s(judged: Judged) -> None:
    source = "int deep(int n) { return n <= 0 || n > 200 ? 0 : 1 + deep(n - 1); }"
    text = """deep:
 subq $4104, %rsp
 xorl %eax, %eax
 leal -1(%rdi), %ecx
 cmpl $199, %ecx
 ja 1f
 movl %ecx, %edi
 call deep
 incl %eax
1: addq $4104, %rsp
 ret
"""
    assert judged(source, "deep", text).passed


def test_both_buffers_of_memcmp_have_the_full_size(judged: Judged) -> None:
    source = (
        "#include <string.h>\n"
        "int same(const char *s, const char *word, size_t amount) { return memcmp(s, word, amount) == 0; }"
    )
    backwards = """same:
 movl $1, %eax
1: testq %rdx, %rdx
 je 2f
 movb -1(%rdi,%rdx), %cl
 cmpb -1(%rsi,%rdx), %cl
 movl $0, %ecx
 cmovnel %ecx, %eax
 decq %rdx
 jmp 1b
2: ret
"""
    verdict = judged(source, "same", backwards)
    assert verdict.passed, str(verdict)
    assert judged(source, "same", backwards.replace("decq %rdx", "movl $0, %edx")).kind == "mismatch"


def test_a_function_without_edges(judged: Judged) -> None:
    source = '__attribute__((naked)) void nothing(int x) { __asm__("ret"); }'
    assert judged(source, "nothing", "nothing:\n\tret\n").kind == "pass"
    assert judged(source, "nothing", "nothing:\n\tpopq %rax\n\tret\n").kind == "crash"


def test_a_pointer_that_overflows_twice_is_undefined(judged: Judged) -> None:
    """UBSan does not report a huge unsigned index where the sum is the greater number by chance."""
    source = "int after(const unsigned short *s, unsigned long k) { return s + k > s; }"
    assert judged(source, "after", "after:\n\txorl %eax, %eax\n\ttestq %rsi, %rsi\n\tsetg %al\n\tret\n").kind == "pass"


def test_results_of_external_calls_do_not_depend_on_addresses(judged: Judged) -> None:
    """Else the probe, in which the object has another address, would not see the undefined shifts."""
    source = "int ask(const int *p); int bit(const int *p) { return 1 << (ask(p) & 63); }"
    wide = "bit:\n\tpushq %rax\n\tcallq ask\n\tmovl %eax, %ecx\n\tandl $63, %ecx\n\tmovl $1, %eax\n"
    assert judged(source, "bit", wide + "\tshlq %cl, %rax\n\tpopq %rcx\n\tret\n").kind == "pass"


def test_fuzzing_respects_directives(judged: Judged) -> None:
    source = """
    // LLMC: arg small.x range 0..9
    int small(int x) { return x > 1000 ? 7 : x; }
    // LLMC: arg first.s cstring
    int first(const char *s, unsigned n) { return n < 4 ? s[0] : 0; }
    """
    assert judged(source, "small", "small:\n\tmovl %edi, %eax\n\tret\n").kind == "pass"
    assert judged(source, "first", "first:\n\txorl %eax, %eax\n\tret\n").kind == "mismatch"


def test_a_length_directive_limits_fuzzed_lengths(judged: Judged) -> None:
    source = """
    // LLMC: arg big.k length p
    int big(const char *p, unsigned k) { return k == 300 && !p ? 0 : k == 70000 ? 1 : 2; }
    """
    verdict = judged(source, "big", "big:\n\tmovl $2, %eax\n\tret\n")
    assert verdict.detail["dropped"]["against a directive"]


def test_buffers_of_memcmp_grow_to_the_compared_size(judged: Judged) -> None:
    source = "#include <string.h>\nint same(const char *a, const char *b) { return memcmp(a, b, 40) == 0; }"
    assert judged(source, "same", "same:\n\txorl %eax, %eax\n\tret\n").kind == "mismatch"


def test_many_searches_leave_room_for_comparisons(judged: Judged) -> None:
    source = """
    #include <string.h>
    int letters(const char *s) {
      int count = 0;
      for (const char *p = s; *p; p++)
        count += strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", *p) != 0;
      return strcmp(s, "open sesame") == 0 ? -1 : count > 100;
    }
    """
    assert judged(source, "letters", "letters:\n\txorl %eax, %eax\n\tret\n").kind == "mismatch"


def test_many_external_calls_do_not_reduce_the_inputs(judged: Judged) -> None:
    source = "int ask(int); int poll(int x) { for (int i = 0; i < 50; i++) x ^= ask(i); return x; }"
    assert judged(source, "poll", "poll:\n\tmovl %edi, %eax\n\tret\n").detail["inputs"] > 30


def test_addresses_count_with_all_their_bits(judged: Judged) -> None:
    """The emulator alone takes the upper 12 bits of an address for zeros."""
    text = "get:\n\tmovabsq $0x1000000000000000, %rax\n\torq %rdi, %rax\n\tmovl (%rax), %eax\n\tret\n"
    verdict = judged("int get(const int *p) { return *p; }", "get", text)
    assert verdict.kind == "crash"
    assert "bad read of 4 bytes" in verdict.message

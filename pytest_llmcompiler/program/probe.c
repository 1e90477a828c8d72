/* The runtime of the probe: the functions that clang's instrumentation calls (clang's documentation: SanitizerCoverage,
   "Tracing data flow"). The harness reads its tables after each run.

   For each comparison it records the relations that its two sides had (equal, one apart, ...), and the latest pairs of
   sides that differ. A pair tells the fuzzer which value would have taken the other branch. Comparisons are kept apart by
   their return address: those of 4 KiB of code have an entry each, and two further apart may share one. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

enum {
    SITES = 1024, /* entries of each table: comparisons that are kept apart */
    CASE_STEP = 509, /* entries from one case of a switch to the next, away from those of the code around it */
    PAIRS = 4,   /* pairs that are kept of each comparison, the latest ones */
    RECORDS = 200000 /* comparisons and array accesses of a run that are recorded; later ones are only counted */
};

struct comparison {
    u64 first, second, size; /* size in bytes; 0 in an unused entry */
};

struct comparison llmc_comparisons[SITES * PAIRS];
u16 llmc_relations[SITES]; /* one bit for each relation, see relation() */
u8 llmc_nearness[SITES];   /* leading zero bits of the least distance of the sides, of 64 bits: more is nearer */
/* Start and end of the edge counters, four bytes for each edge. The first one counts up to 255: a counter that began
   anew would say of 256 rounds that there were none. The linker defines these symbols. */
extern u8 __start___sancov_guards[] __attribute__((weak, visibility("hidden")));
extern u8 __stop___sancov_guards[] __attribute__((weak, visibility("hidden")));
u8 *llmc_counters[2] = {__start___sancov_guards, __stop___sancov_guards};
u32 llmc_indices[SITES];    /* one bit for each array index: bits 0 to 15 for the index itself, then by its highest bit */
u64 llmc_steps;              /* edges that the run has taken */
u64 llmc_most_steps = ~0ull; /* limit of llmc_steps: above it the run ends with a trap */
u64 llmc_records;            /* comparisons and array accesses that the run has made */
static u32 pair_count[SITES]; /* pairs that were seen at each entry, to find the oldest one */

void __sanitizer_cov_trace_pc(void)
{
    if (++llmc_steps > llmc_most_steps) {
        __builtin_trap();
    }
}

void __sanitizer_cov_trace_pc_guard(u8 *counter)
{
    *counter += *counter != 255;
    __sanitizer_cov_trace_pc();
}

/* The argument of a macro of <ctype.h>: see probe_headers/ctype.h. */
int llmc_character(int c)
{
    if (c < -128 || c > 255) {
        __builtin_trap();
    }
    return c;
}

/* The relations of two unequal sides, one bit each, from bit 1 on; bit 0 says that they are equal. They tell apart the
   conditions (signed, unsigned, off by one) and the widths (8, 16, 32 bits) that a wrong comparison may use. a and b are
   unsigned, x and y the same values as signed numbers.
   Bits 3 to 6 say how the sides are ordered as signed and as unsigned numbers; ORDERS has the bit for each combination,
   four bits wide. */
enum { ORDERS = 0x5346 };

static inline u32 relation(u64 a, u64 b, s64 x, s64 y)
{
    u64 apart = a ^ b;
    u32 bits = 1u << (ORDERS >> 4 * (2 * (x < y) + (a < b)) & 15);

    if (a - b == 1) {
        bits |= 1 << 1;
    }
    if (b - a == 1) {
        bits |= 1 << 2;
    }
    if ((u8)apart == 0) {
        bits |= 1 << 7;
        if ((u16)apart == 0) {
            bits |= 1 << 8;
            if ((u32)apart == 0) {
                bits |= 1 << 9;
            }
        }
    }
    return bits;
}

/* Every comparison of a run comes here, and the emulator takes longer for a store (20 ns) than for anything else: what
   a table has already is not stored again, and inlining saves the stores of the call. */
static inline __attribute__((always_inline)) void record(u64 site, u64 a, u64 b, s64 x, s64 y, u64 size)
{
    if (++llmc_records > RECORDS) {
        return;
    }
    u64 slot = site % SITES;
    u32 known = llmc_relations[slot], bits = a == b ? 1 : relation(a, b, x, y);

    if (bits & ~known) {
        llmc_relations[slot] = (u16)(known | bits);
    }
    if (a != b) {
        u8 near = (u8)__builtin_clzll(x < y ? (u64)y - (u64)x : (u64)x - (u64)y);
        struct comparison *entry = &llmc_comparisons[slot * PAIRS + pair_count[slot]++ % PAIRS];
        entry->first = a;
        entry->second = b;
        if (entry->size != size) {
            entry->size = size;
        }
        if (near > llmc_nearness[slot]) {
            llmc_nearness[slot] = near;
        }
    }
}

/* A call has at least four bytes, so no two return addresses give the same number. */
#define SITE ((u64)__builtin_return_address(0) >> 2)

void __sanitizer_cov_trace_cmp1(u8 a, u8 b) { record(SITE, a, b, (signed char)a, (signed char)b, 1); }
void __sanitizer_cov_trace_cmp2(u16 a, u16 b) { record(SITE, a, b, (short)a, (short)b, 2); }
void __sanitizer_cov_trace_cmp4(u32 a, u32 b) { record(SITE, a, b, (int)a, (int)b, 4); }
void __sanitizer_cov_trace_cmp8(u64 a, u64 b) { record(SITE, a, b, (s64)a, (s64)b, 8); }
void __sanitizer_cov_trace_const_cmp1(u8 a, u8 b) { record(SITE, a, b, (signed char)a, (signed char)b, 1); }
void __sanitizer_cov_trace_const_cmp2(u16 a, u16 b) { record(SITE, a, b, (short)a, (short)b, 2); }
void __sanitizer_cov_trace_const_cmp4(u32 a, u32 b) { record(SITE, a, b, (int)a, (int)b, 4); }
void __sanitizer_cov_trace_const_cmp8(u64 a, u64 b) { record(SITE, a, b, (s64)a, (s64)b, 8); }

void __sanitizer_cov_trace_gep(u64 index)
{
    if (++llmc_records > RECORDS) {
        return;
    }
    u32 high = index < 16 ? (u32)index : 63 - (u32)__builtin_clzll(index) + 12;

    u32 *seen = &llmc_indices[SITE % SITES], bit = 1u << (high < 31 ? high : 31);

    if (!(*seen & bit)) {
        *seen |= bit;
    }
}

/* cases: the number of cases, the width of the value in bits, then the values of the cases */
void __sanitizer_cov_trace_switch(u64 value, u64 *cases)
{
    for (u64 i = 0; i < cases[0]; i++) {
        record(SITE + i * CASE_STEP, value, cases[2 + i], (s64)value, (s64)cases[2 + i], cases[1] / 8);
    }
}

void __sanitizer_cov_trace_pc_guard_init(u8 *start, u8 *stop) {}

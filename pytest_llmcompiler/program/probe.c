/* What the probe's instrumentation calls (clang's documentation: SanitizerCoverage, "Tracing data flow").

   Of each comparison it keeps which relations of its two sides were seen, and the latest few pairs that differ: they tell
   which inputs would take the other way. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

enum { PLACES = 256, KEPT = 4 };

struct comparison {
    u64 first, second, size; /* size in bytes; 0 where nothing is kept */
};

struct comparison llmc_comparisons[PLACES * KEPT];
u16 llmc_relations[PLACES]; /* a bit for each relation */
u8 llmc_nearness[PLACES];  /* how near the sides came: leading zero bits of their distance, at 64 bits */
/* Where the counters begin and end, one for each edge: the linker knows. */
extern u8 __start___sancov_cntrs[] __attribute__((weak, visibility("hidden")));
extern u8 __stop___sancov_cntrs[] __attribute__((weak, visibility("hidden")));
u8 *llmc_counters[2] = {__start___sancov_cntrs, __stop___sancov_cntrs};
u32 llmc_indices[PLACES];  /* a bit for each index into an array: 0 to 15, then by its highest bit */
u64 llmc_steps;            /* edges taken */
u64 llmc_most_steps = ~0ull; /* a run ends past these */
static u32 count[PLACES];

void __sanitizer_cov_trace_pc(void)
{
    if (++llmc_steps > llmc_most_steps) {
        __builtin_trap();
    }
}

/* The relations that tell apart the conditions and widths that a wrong comparison may use. */
static u16 relation(u64 a, u64 b, s64 x, s64 y)
{
    int half = a != b && (u16)a == (u16)b, whole = a != b && (u32)a == (u32)b;
    return (u16)((a == b) << 0 | (a == b + 1) << 1 | (a + 1 == b) << 2 | (x < y && a > b) << 3 | (x > y && a < b) << 4 |
                 (x < y && a < b) << 5 | (x > y && a > b) << 6 | (a != b && (u8)a == (u8)b) << 7 | half << 8 |
                 whole << 9);
}

static void note(u64 place, u64 a, u64 b, s64 x, s64 y, u64 size)
{
    u64 slot = (place ^ place >> 8) % PLACES;

    llmc_relations[slot] |= relation(a, b, x, y);
    if (a != b) {
        u8 near = (u8)__builtin_clzll(x < y ? (u64)y - (u64)x : (u64)x - (u64)y);
        struct comparison *entry = &llmc_comparisons[slot * KEPT + count[slot]++ % KEPT];
        entry->first = a;
        entry->second = b;
        entry->size = size;
        if (near > llmc_nearness[slot]) {
            llmc_nearness[slot] = near;
        }
    }
}

#ifdef __aarch64__ /* where instructions have four bytes, the lowest bits tell nothing */
#define PLACE ((u64)__builtin_return_address(0) >> 2)
#else
#define PLACE ((u64)__builtin_return_address(0))
#endif

void __sanitizer_cov_trace_cmp1(u8 a, u8 b) { note(PLACE, a, b, (signed char)a, (signed char)b, 1); }
void __sanitizer_cov_trace_cmp2(u16 a, u16 b) { note(PLACE, a, b, (short)a, (short)b, 2); }
void __sanitizer_cov_trace_cmp4(u32 a, u32 b) { note(PLACE, a, b, (int)a, (int)b, 4); }
void __sanitizer_cov_trace_cmp8(u64 a, u64 b) { note(PLACE, a, b, (s64)a, (s64)b, 8); }
void __sanitizer_cov_trace_const_cmp1(u8 a, u8 b) { note(PLACE, a, b, (signed char)a, (signed char)b, 1); }
void __sanitizer_cov_trace_const_cmp2(u16 a, u16 b) { note(PLACE, a, b, (short)a, (short)b, 2); }
void __sanitizer_cov_trace_const_cmp4(u32 a, u32 b) { note(PLACE, a, b, (int)a, (int)b, 4); }
void __sanitizer_cov_trace_const_cmp8(u64 a, u64 b) { note(PLACE, a, b, (s64)a, (s64)b, 8); }

void __sanitizer_cov_trace_gep(u64 index)
{
    u64 place = PLACE;
    u32 high = index < 16 ? (u32)index : 63 - (u32)__builtin_clzll(index) + 12;

    llmc_indices[(place ^ place >> 8) % PLACES] |= 1u << (high < 31 ? high : 31);
}

/* cases: their number, the width of the value in bits, and their values */
void __sanitizer_cov_trace_switch(u64 value, u64 *cases)
{
    for (u64 i = 0; i < cases[0]; i++) {
        note(PLACE + i, value, cases[2 + i], (s64)value, (s64)cases[2 + i], cases[1] / 8);
    }
}

void __sanitizer_cov_8bit_counters_init(u8 *start, u8 *stop) {}

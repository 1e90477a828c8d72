/* The runtime of the program that counts which blocks run: what clang's instrumentation refers to (clang's documentation:
   SanitizerCoverage, "Inline bool-flag" and "PC-Table"). The linker defines the starts and ends. */
typedef unsigned char u8;
typedef unsigned long long u64;

extern u8 __start___sancov_bools[] __attribute__((weak, visibility("hidden")));
extern u8 __stop___sancov_bools[] __attribute__((weak, visibility("hidden")));
extern u64 __start___sancov_pcs[] __attribute__((weak, visibility("hidden")));
extern u64 __stop___sancov_pcs[] __attribute__((weak, visibility("hidden")));

u8 *llmc_counters[2] = {__start___sancov_bools, __stop___sancov_bools}; /* 1 where the block has run */
/* For each of these the address of its block, and flags. */
u64 *llmc_blocks[2] = {__start___sancov_pcs, __stop___sancov_pcs};

void __sanitizer_cov_bool_flag_init(u8 *start, u8 *stop) {}
void __sanitizer_cov_pcs_init(const u64 *start, const u64 *stop) {}

/* <ctype.h> as the probe sees it: the macros of the C library accept any number, those of other libraries look it up in
   a table of the characters. So a number that is no character traps here. -128 to -2 are characters to all libraries. */
#ifndef LLMC_PROBE_CTYPE_H
#define LLMC_PROBE_CTYPE_H

#include_next <ctype.h>

int llmc_character(int); /* in probe.c */
static __inline int llmc_isspace(int c) { return c == ' ' || (unsigned)c - '\t' < 5; }

#undef isalpha
#undef isdigit
#undef islower
#undef isupper
#undef isprint
#undef isgraph
#undef isspace
#define isalpha(a) (0 ? isalpha(a) : (((unsigned)llmc_character(a) | 32) - 'a') < 26)
#define isdigit(a) (0 ? isdigit(a) : ((unsigned)llmc_character(a) - '0') < 10)
#define islower(a) (0 ? islower(a) : ((unsigned)llmc_character(a) - 'a') < 26)
#define isupper(a) (0 ? isupper(a) : ((unsigned)llmc_character(a) - 'A') < 26)
#define isprint(a) (0 ? isprint(a) : ((unsigned)llmc_character(a) - 0x20) < 0x5f)
#define isgraph(a) (0 ? isgraph(a) : ((unsigned)llmc_character(a) - 0x21) < 0x5e)
#define isspace(a) llmc_isspace(llmc_character(a))

#endif

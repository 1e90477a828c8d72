/* <ctype.h> with the results of glibc's functions: other numbers than 1 where C says "nonzero". */
#ifndef LLMC_GLIBC_CTYPE_H
#define LLMC_GLIBC_CTYPE_H

#include_next <ctype.h>

const unsigned short **__ctype_b_loc(void);
#define llmc_has_class(c, bits) ((int)((*__ctype_b_loc())[(int)(c)] & (bits)))

#undef isalpha
#undef isdigit
#undef islower
#undef isupper
#undef isprint
#undef isgraph
#undef isspace
#define isblank(c) llmc_has_class(c, 1)
#define iscntrl(c) llmc_has_class(c, 2)
#define ispunct(c) llmc_has_class(c, 4)
#define isalnum(c) llmc_has_class(c, 8)
#define isupper(c) llmc_has_class(c, 0x100)
#define islower(c) llmc_has_class(c, 0x200)
#define isalpha(c) llmc_has_class(c, 0x400)
#define isdigit(c) llmc_has_class(c, 0x800)
#define isxdigit(c) llmc_has_class(c, 0x1000)
#define isspace(c) llmc_has_class(c, 0x2000)
#define isprint(c) llmc_has_class(c, 0x4000)
#define isgraph(c) llmc_has_class(c, 0x8000)

#endif

/* The pages of a piece of the guest's memory.
 *
 * Most runs write a page or two of some hundred. unicorn asks where a page lies before it first accesses it, and again
 * before it first writes to it (see `on_page` in memory.c), and so does what the host writes for the guest. A page that
 * was never written has the contents that every run starts with. */
#ifndef PAGES_H
#define PAGES_H

#include <stdbool.h>
#include <stdint.h>

#define PAGE 4096u

typedef struct {
    uint8_t *memory;
    const uint8_t *initial; /* What a run starts with. */
    bool is_pattern; /* Then `initial` is one page, which is copied to each page before it is first accessed. */
    uint32_t count;
    uint8_t *states; /* Of each page: whether it has contents yet, and whether it was ever written. */
    uint32_t written_count;
    uint32_t *written; /* The numbers of the pages that were. */
} Pages;

/* New memory of the host; NULL where there is none. */
uint8_t *map_host(uint64_t size);
/* False where there is no memory. */
bool open_pages(Pages *pages, uint64_t size, uint8_t *memory, const uint8_t *initial, bool is_pattern);
const uint8_t *initial_of(const Pages *pages, uint64_t offset); /* Up to the end of the page. */
/* Give the pages of a piece their contents, if they have none yet. What the host reads has to be filled. */
void fill_pages(Pages *pages, uint64_t offset, uint64_t size);
/* The same for a piece that is about to be written. */
void note_written(Pages *pages, uint64_t offset, uint64_t size);
/* Give all pages of a pattern that have contents another one. */
void change_pattern(Pages *pages, const uint8_t *page);
bool is_written(const Pages *pages, uint64_t offset);
void restore_bytes(Pages *pages, uint64_t offset, uint64_t size);
void restore_pages(Pages *pages); /* All that were written. Comparing is faster than copying, and few differ. */
bool is_restored(const Pages *pages, uint64_t offset, uint64_t size);

#endif

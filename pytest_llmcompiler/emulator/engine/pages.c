/* Which pages of the guest's memory were written: only these are compared after a run, and restored before the next. */
#include "pages.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { EMPTY, FILLED, WRITTEN };

uint8_t *map_host(uint64_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

bool open_pages(Pages *pages, uint64_t size, uint8_t *memory, const uint8_t *initial, bool is_pattern) {
    uint32_t count = (uint32_t)(size / PAGE);
    *pages = (Pages){memory, initial, is_pattern, count, calloc(count, 1), 0, calloc(count, sizeof(uint32_t))};
    if (pages->states && !is_pattern)
        memset(pages->states, FILLED, count);
    return memory && initial && pages->states && pages->written;
}

const uint8_t *initial_of(const Pages *pages, uint64_t offset) {
    return pages->initial + (pages->is_pattern ? offset % PAGE : offset);
}

void fill_pages(Pages *pages, uint64_t offset, uint64_t size) {
    for (uint64_t page = offset / PAGE; page * PAGE < offset + size; page++)
        if (pages->states[page] == EMPTY) {
            memcpy(pages->memory + page * PAGE, pages->initial, PAGE);
            pages->states[page] = FILLED;
        }
}

void note_written(Pages *pages, uint64_t offset, uint64_t size) {
    fill_pages(pages, offset, size);
    for (uint64_t page = offset / PAGE; page * PAGE < offset + size; page++)
        if (pages->states[page] != WRITTEN) {
            pages->states[page] = WRITTEN;
            pages->written[pages->written_count++] = (uint32_t)page;
        }
}

void change_pattern(Pages *pages, const uint8_t *page) {
    pages->initial = page;
    for (uint32_t i = 0; i < pages->count; i++)
        if (pages->states[i] != EMPTY)
            memcpy(pages->memory + (uint64_t)i * PAGE, page, PAGE);
}

bool is_written(const Pages *pages, uint64_t offset) {
    return pages->states[offset / PAGE] == WRITTEN;
}

void restore_bytes(Pages *pages, uint64_t offset, uint64_t size) {
    for (uint64_t at = offset, part; at < offset + size; at += part) {
        part = PAGE - at % PAGE < offset + size - at ? PAGE - at % PAGE : offset + size - at;
        memcpy(pages->memory + at, initial_of(pages, at), part);
    }
}

void restore_pages(Pages *pages) {
    for (uint32_t i = 0; i < pages->written_count; i++) {
        uint64_t at = (uint64_t)pages->written[i] * PAGE;
        if (memcmp(pages->memory + at, initial_of(pages, at), PAGE))
            memcpy(pages->memory + at, initial_of(pages, at), PAGE);
    }
}

bool is_restored(const Pages *pages, uint64_t offset, uint64_t size) {
    for (uint64_t at = offset, part; at < offset + size; at += part) {
        part = PAGE - at % PAGE < offset + size - at ? PAGE - at % PAGE : offset + size - at;
        if (is_written(pages, at) && memcmp(pages->memory + at, initial_of(pages, at), part))
            return false;
    }
    return true;
}

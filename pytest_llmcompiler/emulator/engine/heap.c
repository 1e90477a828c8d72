/* The heap of the emulated process: malloc and its kin (see `emulator/heap.py`, which this follows exactly). */
#include "engine.h"

Heap *heap_open(Engine *engine) { return NULL; }
void heap_reset(Engine *engine) {}
void heap_call(Engine *engine, HookKind kind) { leave(engine, LEFT_HOOK); }
uint64_t heap_allocate(Engine *engine, uint64_t size) { return 0; }
uint64_t heap_bytes_to_end(Engine *engine, uint64_t address) { return 0; }
uint8_t *heap_memory(Engine *engine, uint64_t address, uint64_t size) { return NULL; }
LeftReason heap_compare(Engine *engine, Entry *entry) { return entry->live_count || entry->freed_count ? LEFT_HEAP : LEFT_NOT; }

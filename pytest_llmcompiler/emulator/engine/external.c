/* External calls, replayed: each must be the reference's next one, and gets the reply that the reference got. */
#include "engine.h"

Externals *externals_open(Engine *engine) { return NULL; }
bool externals_read_entry(Engine *engine, Reader *reader, Entry *entry) {
    entry->call_count = read_u32(reader);
    return !entry->call_count;
}
void externals_reset(Engine *engine) {}
void externals_hook(Engine *engine, Hook *hook, uint64_t address) { leave(engine, LEFT_CALL); }
LeftReason externals_compare(Engine *engine, Entry *entry) { return entry->call_count ? LEFT_CALL : LEFT_NOT; }

/* The kernel of the emulated process: the few system calls that musl makes (see `emulator/kernel.py`). */
#include "engine.h"

Kernel *kernel_open(Engine *engine) { return NULL; }
void kernel_reset(Engine *engine, Entry *entry) {}
void kernel_call(Engine *engine) { leave(engine, LEFT_SYSTEM_CALL); }
LeftReason kernel_compare(Engine *engine, Entry *entry) { return entry->output_count ? LEFT_OUTPUT : LEFT_NOT; }

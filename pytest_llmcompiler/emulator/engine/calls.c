/* Checks at the calls between a candidate and the program (see `emulator/calls.py`), and at aligned operands. */
#include "engine.h"

Calls *calls_open(Engine *engine) { return NULL; }
void calls_reset(Engine *engine) {}
void calls_hook(Engine *engine, Hook *hook, uint64_t address) { leave(engine, LEFT_HOOK); }

/* What a left run shows (see shown.c). */
#ifndef SHOWN_H
#define SHOWN_H

#include "engine.h"

#define MAX_SHOWN_BYTES (8u << 20) /* The heap has half of it at most. A run with larger variables is Python's. */

typedef struct {
    uint8_t *data; /* MAX_SHOWN_BYTES. */
    uint32_t size;
    bool is_too_long;
} Shown;

/* Repeat a run that is asked for, and write what it shows. False where that can't be told. */
bool show_run(Engine *engine, Reader *request, Shown *shown);

#endif

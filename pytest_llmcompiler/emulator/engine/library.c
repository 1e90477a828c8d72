/* What Python calls in its own process, through ctypes (see `emulator/engine.py`). */
#include "engine.h"

EXPORT Engine *engine_open_image(const uint8_t *image, uint64_t size) {
    return engine_open(image, size);
}

EXPORT bool engine_load_candidate(Engine *engine, const uint8_t *image, uint64_t size) {
    return load_candidate(engine, (Span){image, size});
}

EXPORT uint32_t engine_count_entries(Engine *engine) {
    return engine->entry_count;
}

EXPORT int engine_run(Engine *engine, uint32_t number, int fill) {
    return engine_run_entry(engine, &engine->entries[number], fill);
}

EXPORT int engine_run_whole_program(Engine *engine) {
    return engine_run_program(engine);
}

EXPORT void engine_close_image(Engine *engine) {
    engine_close(engine);
}

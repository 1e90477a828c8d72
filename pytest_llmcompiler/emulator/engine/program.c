/* The run of the whole program (see `Machine.run_program` and `judge/whole_program.py`). */
#include <string.h>

#include "engine.h"
#include "heap.h"

void read_program(Engine *engine, Reader *reader) {
    Entry *program = &engine->program;
    engine->has_program = read_u32(reader);
    if (!engine->has_program)
        return;
    program->is_left = read_u32(reader);
    program->limit = read_u64(reader);
    read_environment(reader, &program->environment);
    engine->program_start = read_u64(reader);
    read_registers(reader, &program->arguments.registers);
    program->arguments.stack = (Span){(const uint8_t *)"", 0};
    engine->process_stack_start = read_u64(reader);
    engine->process_stack = read_span(reader);
    if (engine->process_stack_start + engine->process_stack.size > engine->stack_size)
        reader->failed = true;
    read_patches(reader, &program->patch_count, &program->patches);
    program->end = read_u32(reader), program->exit_code = read_u32(reader);
    read_outputs(reader, &program->output_count, &program->outputs);
}

/* Write what a new process finds on its stack. */
static void place_process_stack(Engine *engine) {
    Span data = engine->process_stack;
    memcpy(find_stack(engine, engine->process_stack_start, data.size), data.data, data.size);
    set_register(engine, engine->stack_pointer, engine->stack_start + engine->process_stack_start);
}

static LeftReason compare_program(Engine *engine) {
    Entry *program = &engine->program;
    End end = engine->end;
    uint32_t exit_code = engine->exit_code;
    if (end == END_RETURN) { /* From `main`. */
        if (get_register(engine, engine->program_counter) != engine->return_address)
            return LEFT_LIMIT;
        end = END_EXIT, exit_code = get_register(engine, engine->return_register) & 0xFF;
    }
    if (end != program->end || (end == END_EXIT && exit_code != program->exit_code))
        return LEFT_END;
    return has_written_expected(engine) ? LEFT_NOT : LEFT_OUTPUT;
}

LeftReason engine_run_program(Engine *engine) {
    if (!engine->has_program)
        return LEFT_NOT;
    /* What a candidate's booleans start from is what variables have at the start of other runs. */
    if (engine->program.is_left || engine->boolean_count)
        return LEFT_UNSUPPORTED;
    begin_run(engine, &engine->program, FILL_GARBAGE);
    engine->heap->most_allocations = MAX_ALLOCATIONS;
    if (engine->process_stack.size)
        place_process_stack(engine);
    else
        enter(engine, &engine->program);
    if (emulate(engine, engine->program_start))
        engine->left = compare_program(engine);
    return engine->left;
}

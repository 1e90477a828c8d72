/* The machine: unicorn with a program, and one run of the function under test. */
#include <stdlib.h>
#include <string.h>

#include "look.h"

/* -- registers */

uint64_t get_register(Engine *engine, int id) {
    uint64_t value[4] = {0};
    uc_reg_read(engine->uc, id, value);
    return value[0];
}

void set_register(Engine *engine, int id, uint64_t value) {
    uint64_t whole[4] = {value};
    uc_reg_write(engine->uc, id, whole);
}

static void write_registers(Engine *engine, const RegisterValues *values) {
    for (uint32_t i = 0; i < values->count; i++)
        uc_reg_write(engine->uc, values->items[i].id, values->items[i].value);
}

uint64_t get_return_address(Engine *engine) {
    if (engine->link_register >= 0)
        return get_register(engine, engine->link_register);
    uint64_t address = 0, top = get_register(engine, engine->stack_pointer);
    const uint8_t *memory = find_memory(engine, top, sizeof address);
    if (memory)
        memcpy(&address, memory, sizeof address);
    else if (uc_mem_read(engine->uc, top, &address, sizeof address)) /* Two pieces of memory may have a part each. */
        return 0;
    return address;
}

bool set_return_address(Engine *engine, uint64_t address) {
    if (engine->link_register >= 0) {
        set_register(engine, engine->link_register, address);
        return true;
    }
    uint64_t stack = get_register(engine, engine->stack_pointer);
    Region *region = find_region(engine, stack);
    uint8_t *top = region && !region->initial ? NULL : find_writable(engine, stack, sizeof address);
    if (top)
        memcpy(top, &address, sizeof address);
    return top;
}

void clobber_registers(Engine *engine) {
    uint64_t halves[16];
    for (uint32_t i = 0; i < engine->half_preserved_count; i++)
        halves[i] = get_register(engine, engine->half_preserved[i][1]);
    write_registers(engine, &engine->fills[engine->fill].scratch);
    for (uint32_t i = 0; i < engine->half_preserved_count; i++) {
        uint64_t whole[4] = {halves[i], engine->upper_garbage[engine->fill]};
        uc_reg_write(engine->uc, engine->half_preserved[i][0], whole);
    }
    Fill *fill = &engine->fills[engine->fill];
    uint64_t kept = get_register(engine, fill->flags_register) & ~fill->flags_mask;
    set_register(engine, fill->flags_register, kept | fill->flags);
}

/* -- the end of a run */

static void stop(Engine *engine) {
    engine->has_ended = true;
    uc_emu_stop(engine->uc);
}

void leave(Engine *engine, LeftReason reason) {
    if (engine->left == LEFT_NOT)
        engine->left = reason;
    engine->end = END_LEFT;
    stop(engine);
}

void note_fault(Engine *engine, Fault fault) {
    if (engine->fault.kind == FAULT_NONE && engine->left == LEFT_NOT)
        engine->fault = fault;
}

void finish(Engine *engine, End end, uint32_t exit_code) {
    if (!engine->has_ended)
        engine->end = end, engine->exit_code = exit_code;
    stop(engine);
}

/* -- hooks of unicorn */

static void note_edge(Engine *engine, uint64_t address) {
    uint64_t hash = (engine->last_block * 0x9E3779B97F4A7C15u ^ address) * 0xD6E8FEB86659FD93u;
    uint64_t *word = &engine->edges.bits[hash >> 58], bit = 1ull << (hash >> 52 & 63);
    engine->last_block = address;
    engine->edges.block_count++;
    if (*word & bit)
        return;
    *word |= bit;
    engine->edges.digest ^= hash;
}

static void on_block(uc_engine *uc, uint64_t address, uint32_t size, void *data) {
    Engine *engine = data;
    if (address == engine->return_address) {
        uc_emu_stop(uc);
        return;
    }
    engine->executed_bytes += size;
    if (engine->executed_bytes > engine->limit)
        leave(engine, LEFT_LIMIT);
    if (engine->counts_instructions)
        count_block(&engine->counter, uc, address, size);
    if (engine->traces_edges)
        note_edge(engine, address);
    uint64_t offset = address - engine->code_start;
    bool is_own = offset < engine->code_end - engine->code_start;
    if (is_own && !(engine->starts[offset / 8] >> offset % 8 & 1))
        leave(engine, LEFT_INSPECTION);
    if (!is_own || engine->has_own_hooks)
        run_entry_hooks(engine, address);
}

static bool on_invalid_instruction(uc_engine *uc, void *data) {
    Engine *engine = data;
    note_fault(engine, (Fault){FAULT_INSTRUCTION, 0, 0, get_register(engine, engine->program_counter), 0});
    leave(engine, LEFT_FAULT);
    return false;
}

static void on_interrupt(uc_engine *uc, uint32_t number, void *data) {
    Engine *engine = data;
    if (engine->arch == UC_ARCH_ARM64 && number == 2) /* EXCP_SWI */
        kernel_call(engine);
    else {
        note_fault(engine, (Fault){FAULT_EXCEPTION, number, 0, get_register(engine, engine->program_counter), 0});
        leave(engine, LEFT_FAULT);
    }
}

static void on_system_call(uc_engine *uc, void *data) {
    kernel_call(data);
}

static bool add_hooks(Engine *engine) {
    uc_hook handle;
    uc_engine *uc = engine->uc;
    bool is_added = !uc_hook_add(uc, &handle, UC_HOOK_BLOCK, on_block, engine, 1, 0) &&
                    !uc_hook_add(uc, &handle, UC_HOOK_INSN_INVALID, on_invalid_instruction, engine, 1, 0) &&
                    !uc_hook_add(uc, &handle, UC_HOOK_INTR, on_interrupt, engine, 1, 0);
    if (is_added && engine->arch == UC_ARCH_X86)
        is_added = !uc_hook_add(uc, &handle, UC_HOOK_INSN, on_system_call, engine, 1, 0, UC_X86_INS_SYSCALL);
    return is_added;
}

/* -- loading an image */

static void read_target(Engine *engine, Reader *reader) {
    engine->arch = read_u32(reader), engine->mode = read_u32(reader);
    engine->stack_pointer = (int)read_u32(reader), engine->program_counter = (int)read_u32(reader);
    engine->link_register = (int)read_u32(reader);
    engine->return_register = (int)read_u32(reader), engine->library_return_register = (int)read_u32(reader);
    engine->library_argument_count = read_u32(reader);
    for (uint32_t i = 0; i < engine->library_argument_count && i < 8; i++)
        engine->library_arguments[i] = (int)read_u32(reader);
    engine->shadow_space = read_u32(reader), engine->red_zone = read_u32(reader);
    engine->half_preserved_count = read_u32(reader);
    for (uint32_t i = 0; i < engine->half_preserved_count && i < 16; i++) {
        engine->half_preserved[i][0] = (int)read_u32(reader);
        engine->half_preserved[i][1] = (int)read_u32(reader);
    }
    ExpectedRegister *controls;
    read_expected_registers(reader, &engine->control_count, &controls);
    if (engine->control_count > 8)
        reader->failed = true;
    else if (engine->control_count)
        memcpy(engine->controls, controls, engine->control_count * sizeof *controls);
    free(controls);
}

static void read_system_calls(Engine *engine, Reader *reader) {
    engine->system_call_number = (int)read_u32(reader);
    for (int i = 0; i < 3; i++)
        engine->system_call_arguments[i] = (int)read_u32(reader);
    engine->system_call_result = (int)read_u32(reader);
    if (!read_count(reader, &engine->system_call_count, (void **)&engine->system_calls, sizeof *engine->system_calls))
        return;
    for (uint32_t i = 0; i < engine->system_call_count; i++)
        engine->system_calls[i] = (SystemCall){read_u64(reader), read_u32(reader)};
}

static void read_addresses(Engine *engine, Reader *reader) {
    engine->function = read_u64(reader);
    engine->return_address = read_u64(reader), engine->stubs = read_u64(reader);
    engine->errno_address = read_u64(reader), engine->stdin_file = read_u64(reader);
    engine->stack_start = read_u64(reader), engine->stack_size = read_u64(reader);
    engine->stack_max_growth = read_u64(reader);
    engine->load_address = read_u64(reader), engine->usual_jump = read_span(reader);
}

static void read_regions(Engine *engine, Reader *reader) {
    uint32_t count = read_u32(reader);
    for (uint32_t i = 0; i < count && !reader->failed; i++) {
        uint64_t address = read_u64(reader), size = read_u64(reader);
        uint32_t permissions = read_u32(reader), is_constant = read_u32(reader), is_restored = read_u32(reader);
        if (!add_region(engine, address, size, permissions, is_constant, is_restored, read_span(reader)))
            reader->failed = true;
    }
    engine->candidate_first_region = engine->region_count;
}

static void read_variables(Engine *engine, Reader *reader) {
    if (!read_count(reader, &engine->variable_count, (void **)&engine->variables, sizeof *engine->variables))
        return;
    for (uint32_t i = 0; i < engine->variable_count; i++)
        engine->variables[i].address = read_u64(reader), engine->variables[i].size = read_u64(reader);
    if (!read_count(reader, &engine->pad_count, (void **)&engine->pads, sizeof *engine->pads))
        return;
    engine->pad_size = read_u32(reader);
    for (uint32_t i = 0; i < engine->pad_count; i++)
        engine->pads[i] = read_u64(reader);
}

static void read_fills(Engine *engine, Reader *reader) {
    for (int number = 0; number < FILLS; number++) {
        Fill *fill = &engine->fills[number];
        uint32_t pattern = read_u32(reader);
        memcpy(fill->pattern, &pattern, 4);
        Span page = read_span(reader);
        fill->frame_offset = read_u64(reader);
        engine->narrow_garbage[number] = read_u64(reader), engine->upper_garbage[number] = read_u64(reader);
        fill->flags_register = read_u64(reader), fill->flags_mask = read_u64(reader), fill->flags = read_u64(reader);
        read_registers(reader, &fill->state);
        read_registers(reader, &fill->scratch);
        read_registers(reader, &fill->callee_saved);
        write_registers(engine, &fill->state);
        fill->stack_page = page.size == PAGE ? page.data : NULL;
        if (!fill->stack_page || uc_context_alloc(engine->uc, &fill->context) || uc_context_save(engine->uc, fill->context))
            reader->failed = true;
    }
    if (!open_stack(engine))
        reader->failed = true;
}

static void read_slots(Engine *engine, Reader *reader) {
    uint32_t size = read_u32(reader), pattern = read_u32(reader);
    memcpy(engine->garbage, &pattern, 4);
    if (!open_arena(engine, size) ||
        !read_count(reader, &engine->slot_count, (void **)&engine->slots, sizeof *engine->slots)) {
        reader->failed = true;
        return;
    }
    for (uint32_t i = 0; i < engine->slot_count; i++) {
        Slot *slot = &engine->slots[i];
        slot->address = read_u64(reader), slot->size = read_u32(reader), slot->host = read_u32(reader);
        if (slot->host > size || slot->size > size - slot->host)
            reader->failed = true;
    }
}

static void read_constants(Reader *reader, ConstantPointers *constants) {
    if (read_count(reader, &constants->count, (void **)&constants->items, sizeof *constants->items))
        for (uint32_t i = 0; i < constants->count; i++)
            constants->items[i].offset = read_u64(reader), constants->items[i].data = read_span(reader);
}

void read_patches(Reader *reader, uint32_t *count, Patch **patches) {
    if (!read_count(reader, count, (void **)patches, sizeof **patches))
        return;
    for (uint32_t i = 0; i < *count; i++) {
        (*patches)[i].address = read_u64(reader);
        (*patches)[i].data = read_span(reader), (*patches)[i].mask = read_span(reader);
    }
}

static void read_blocks(Reader *reader, uint32_t *count, ExpectedBlock **blocks) {
    if (!read_count(reader, count, (void **)blocks, sizeof **blocks))
        return;
    for (uint32_t i = 0; i < *count; i++) {
        (*blocks)[i].address = read_u64(reader), (*blocks)[i].size = read_u64(reader);
        (*blocks)[i].pages = read_span(reader);
        read_constants(reader, &(*blocks)[i].constants);
    }
}

static void read_arguments(Reader *reader, ArgumentValues *arguments) {
    read_registers(reader, &arguments->registers);
    arguments->stack = read_span(reader);
}

void read_environment(Reader *reader, Environment *environment) {
    environment->errno_value = read_u32(reader), environment->shortage = read_u32(reader);
    environment->fails_output = read_u32(reader);
    environment->standard_input = read_span(reader);
    environment->clock_seconds = read_u64(reader), environment->clock_microseconds = read_u64(reader);
    environment->process_number = read_u64(reader);
}

static void read_input(Engine *engine, Reader *reader, Entry *entry) {
    read_environment(reader, &entry->environment);
    read_arguments(reader, &entry->arguments);
    read_arguments(reader, &entry->inverse_arguments);
    read_registers(reader, &entry->small);
    if (read_count(reader, &entry->copy_count, (void **)&entry->copies, sizeof *entry->copies))
        for (uint32_t i = 0; i < entry->copy_count; i++) {
            entry->copies[i].pointer_register = (int)read_u32(reader);
            entry->copies[i].pointer_offset = read_u64(reader), entry->copies[i].offset = read_u64(reader);
        }
    read_patches(reader, &entry->patch_count, &entry->patches);
    if (read_count(reader, &entry->object_count, (void **)&entry->objects, sizeof *entry->objects))
        for (uint32_t i = 0; i < entry->object_count; i++) {
            InputObject *object = &entry->objects[i];
            object->slot = read_u32(reader), object->start = read_u32(reader);
            object->is_freed = read_u32(reader), object->is_result = read_u32(reader);
            object->initial = read_span(reader), object->expected = read_span(reader), object->mask = read_span(reader);
            read_constants(reader, &object->constants);
            if (object->slot >= engine->slot_count || object->expected.size != object->initial.size ||
                object->start + object->initial.size > engine->slots[object->slot].size)
                reader->failed = true;
        }
}

void read_outputs(Reader *reader, uint32_t *count, ExpectedOutput **outputs) {
    if (!read_count(reader, count, (void **)outputs, sizeof **outputs))
        return;
    for (uint32_t i = 0; i < *count; i++) {
        (*outputs)[i].descriptor = read_u32(reader);
        (*outputs)[i].data = read_span(reader);
    }
}

static void read_expected(Reader *reader, Entry *entry) {
    entry->end = read_u32(reader), entry->exit_code = read_u32(reader);
    entry->has_assertion = read_u32(reader), entry->assertion = read_span(reader);
    read_expected_registers(reader, &entry->result_count, &entry->results);
    entry->result_constant = read_span(reader);
    read_patches(reader, &entry->change_count, &entry->changes);
    for (uint32_t i = 0; i < entry->change_count; i++)
        read_constants(reader, &entry->changes[i].constants);
    entry->is_out_of_memory = read_u32(reader);
    read_blocks(reader, &entry->live_count, &entry->live);
    read_blocks(reader, &entry->freed_count, &entry->freed);
    entry->compares_errno = read_u32(reader), entry->errno_value = read_u32(reader);
    read_outputs(reader, &entry->output_count, &entry->outputs);
}

static void read_entries(Engine *engine, Reader *reader) {
    uint32_t count;
    if (!read_count(reader, &count, (void **)&engine->entries, sizeof *engine->entries))
        return;
    engine->reserve_count = read_u32(reader);
    if (engine->reserve_count > count)
        reader->failed = true;
    engine->entry_count = count - engine->reserve_count;
    for (uint32_t i = 0; i < count && !reader->failed; i++) {
        Entry *entry = &engine->entries[i];
        entry->index = i;
        entry->is_varied = read_u32(reader), entry->is_inspected = read_u32(reader);
        entry->has_small_numbers = read_u32(reader);
        entry->is_4gib_aligned = read_u32(reader), entry->is_of_other = read_u32(reader);
        entry->limit = read_u64(reader);
        read_input(engine, reader, entry);
        read_expected(reader, entry);
        if (!externals_read_entry(engine, reader, entry))
            entry->is_left = true;
        engine->compares_errno = engine->compares_errno || entry->compares_errno;
        read_cells(reader, entry);
    }
}

Engine *engine_open(const uint8_t *image, uint64_t size) {
    Reader reader = {image, image + size, false};
    Engine *engine = calloc(1, sizeof *engine);
    if (!engine || read_u64(&reader) != 0x51454e47494e4531) { /* QENGINE1 */
        free(engine);
        return NULL;
    }
    read_target(engine, &reader);
    read_system_calls(engine, &reader);
    read_addresses(engine, &reader);
    if (reader.failed || uc_open(engine->arch, engine->mode, &engine->uc) || !add_hooks(engine) ||
        !take_over_pages(engine)) {
        engine_close(engine);
        return NULL;
    }
    engine->fill = -1;
    read_regions(engine, &reader);
    read_variables(engine, &reader);
    read_fills(engine, &reader);
    read_slots(engine, &reader);
    engine->heap = heap_open(engine);
    engine->calls = calls_open(engine);
    engine->kernel = kernel_open(engine);
    engine->externals = externals_open(engine);
    if (!read_hooks(engine, &reader))
        reader.failed = true;
    read_entries(engine, &reader);
    read_program(engine, &reader);
    if (reader.failed) {
        engine_close(engine);
        return NULL;
    }
    return engine;
}

void engine_close(Engine *engine) {
    /* An engine lives as long as its process: what it has allocated is not worth the code that frees it. */
    if (engine->uc)
        uc_close(engine->uc);
    free(engine);
}

/* -- a run */

/* Give stack and pads the contents of a fill. All runs with one fill come one after the other: this is rare. */
static void select_fill(Engine *engine, int number) {
    if (engine->fill == number)
        return;
    Fill *fill = &engine->fills[number];
    engine->fill = number;
    change_pattern(&engine->stack, fill->stack_page);
    for (uint32_t i = 0; i < engine->pad_count; i++) {
        Region *region = find_region(engine, engine->pads[i]);
        if (!region)
            continue;
        uint64_t offset = engine->pads[i] - region->address;
        fill_pattern(region->memory + offset, engine->pad_size, fill->pattern);
        if (region->initial)
            fill_pattern(region->initial + offset, engine->pad_size, fill->pattern);
    }
}

void enter(Engine *engine, Entry *entry) {
    Fill *fill = &engine->fills[engine->fill];
    ArgumentValues *arguments = engine->fill == FILL_INVERSE ? &entry->inverse_arguments : &entry->arguments;
    uint64_t frame = engine->stack_start + fill->frame_offset;
    uint64_t below = engine->link_register >= 0 ? 0 : 8; /* Of the return address. */
    uint8_t *area = find_stack(engine, fill->frame_offset - below, below + arguments->stack.size) + below;
    memcpy(area, arguments->stack.data, arguments->stack.size);
    if (engine->link_register >= 0) {
        set_register(engine, engine->stack_pointer, frame);
        set_register(engine, engine->link_register, engine->return_address);
    } else {
        memcpy(area - 8, &engine->return_address, 8);
        set_register(engine, engine->stack_pointer, frame - 8);
    }
    if (engine->fill == FILL_SMALL)
        write_registers(engine, &entry->small);
    write_registers(engine, &arguments->registers);
    for (uint32_t i = 0; i < entry->copy_count; i++) {
        ArgumentCopy *copy = &entry->copies[i];
        uint64_t address = frame + copy->offset;
        if (copy->pointer_register >= 0)
            set_register(engine, copy->pointer_register, address);
        else
            memcpy(area + copy->pointer_offset, &address, 8);
    }
}

void begin_run(Engine *engine, Entry *entry, int fill) {
    select_fill(engine, fill);
    uc_context_restore(engine->uc, engine->fills[fill].context);
    heap_reset(engine);
    reset_memory(engine, entry);
    set_booleans(engine);
    kernel_reset(engine, entry);
    calls_reset(engine);
    externals_reset(engine);
    if (engine->errno_address) {
        uint8_t *memory = find_writable(engine, engine->errno_address, 4);
        if (memory)
            memcpy(memory, &entry->environment.errno_value, 4);
    }
    engine->has_ended = engine->has_asserted = false, engine->left = LEFT_NOT, engine->end = END_RETURN;
    engine->is_breach_only = false, engine->fault.kind = FAULT_NONE, engine->misaligned_count = 0;
    if (engine->traces_edges)
        engine->edges = (EdgeSet){0}, engine->last_block = 0;
    if (engine->comparisons)
        engine->comparisons->total = 0;
    engine->executed_bytes = 0, engine->limit = entry->limit;
    engine->counter.instructions = 0, engine->counter.has_failed = false;
}

bool emulate(Engine *engine, uint64_t address) {
    /* A run ends in `on_block`: the code at an address that is given here would be translated anew in each run. */
    uc_err error = uc_emu_start(engine->uc, address, 0, 0, 0);
    if (error && engine->left == LEFT_NOT)
        engine->left = LEFT_FAULT;
    return engine->left == LEFT_NOT;
}

LeftReason engine_run_entry(Engine *engine, Entry *entry, int fill) {
    engine->statistics.runs++;
    if (!entry->is_left) {
        begin_run(engine, entry, fill);
        enter(engine, entry);
        if (emulate(engine, engine->function)) {
            get_booleans(engine);
            engine->left = compare_run(engine, entry);
        }
    } else
        engine->left = LEFT_UNSUPPORTED, engine->is_breach_only = false;
    if (engine->left != LEFT_NOT) {
        engine->statistics.left_runs++;
        engine->statistics.left[engine->left]++;
    }
    return engine->left;
}

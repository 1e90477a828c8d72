/* The engine's server: one process that forks a template for each function, which forks a child for each sample.
 *
 *     judge ──control──► server ──fork──► template of a function ──fork──► child of a sample
 *       └──────────────────socket──────────────┘└───────two pipes───────────────┘
 *
 * The server has loaded unicorn and keystone, and knows nothing of functions. A template has the program mapped, the
 * reference's code translated and the suite in memory. A child assembles one hostile text, loads the code and runs it on
 * the suite; it has no file but its two pipes, limits of memory and time, no system call but what computing takes
 * (`confine.c`), and is killed at its deadline. What it answers is read as frames of limited length. */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "confine.h"
#include "engine.h"
#include "frame.h"
#include "look.h"
#include "shown.h"

/* The kinds of frames; `emulator/engine_server.py` has the same. */
enum {
    FRAME_OPEN = 1, FRAME_READY, FRAME_TEXT, FRAME_CODE, FRAME_CANDIDATE, FRAME_RESULT, FRAME_END, FRAME_FAILED,
    FRAME_LEFT, /* A result with runs that are left: the child waits to be asked for what they show. */
    FRAME_SHOW, FRAME_SHOWN
};

#define BREACH_ONLY 0x80000000u /* Beside the number of an input that is left for no other reason. */

#define MAX_HANGS 3
#define RUN_MILLISECONDS 120000     /* As long as Python's path gives a candidate. Only a fault of unicorn takes so long. */
#define CHILD_BYTES (512ull << 20)  /* Address space on top of the template's, which has what unicorn reserves. */

/* A changed input is of no use where the reference executes so many bytes of code, and so many times what it executes
 * without the change: mostly it runs off the end of a text, and looks need their budget for other inputs. */
#define TWIN_LIMIT_MINIMUM 25000
#define TWIN_LIMIT_FACTOR 2

typedef struct ks_struct ks_engine;

/* keystone's functions (keystone.h), which are loaded at run time. */
typedef struct {
    int (*open)(int arch, int mode, ks_engine **engine);
    int (*assemble)(ks_engine *engine, const char *text, uint64_t address, unsigned char **code, size_t *size,
                    size_t *count);
    int (*last_error)(ks_engine *engine);
    const char *(*describe)(int error);
    ks_engine *engine;
} Keystone;

enum { KS_ARCH_X86 = 4, KS_MODE_64 = 8 };

static bool load_keystone(Keystone *keystone, const char *path) {
    void *library = dlopen(path, RTLD_NOW);
    if (!library)
        return false;
    keystone->open = dlsym(library, "ks_open");
    keystone->assemble = dlsym(library, "ks_asm");
    keystone->last_error = dlsym(library, "ks_errno");
    keystone->describe = dlsym(library, "ks_strerror");
    if (!keystone->open || !keystone->assemble || !keystone->last_error || !keystone->describe)
        return false;
    if (keystone->open(KS_ARCH_X86, KS_MODE_64, &keystone->engine))
        return false;
    /* The first text makes keystone build its tables: children find them built. */
    unsigned char *code;
    size_t size, count;
    keystone->assemble(keystone->engine, ".att_syntax prefix\nmovl %eax, %ebx\n", 0, &code, &size, &count);
    return true;
}

/* Have the kernel kill this process where its parent ends; it may have ended already. */
static void end_with(pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
}

/* -- the child of a sample */

static void limit(int resource, uint64_t value) {
    struct rlimit limits;
    getrlimit(resource, &limits);
    if (limits.rlim_max != RLIM_INFINITY && limits.rlim_max < value)
        value = limits.rlim_max;
    limits.rlim_cur = limits.rlim_max = value;
    setrlimit(resource, &limits);
}

static uint64_t address_space(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file) {
        if (fscanf(file, "%lu", &pages) != 1)
            pages = 0;
        fclose(file);
    }
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* What a template sets for its children, which inherit it. */
static void limit_memory_and_time(void) {
    limit(RLIMIT_AS, address_space() + CHILD_BYTES);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_FSIZE, 1 << 20);
}

static bool assemble(Keystone *keystone, const Frame *request, int replies) {
    uint64_t base;
    if (!keystone->engine || request->size < sizeof base)
        return false;
    memcpy(&base, request->data, sizeof base);
    unsigned char *code = NULL;
    size_t size = 0, count = 0;
    const char *text = (const char *)request->data + sizeof base;
    if (keystone->assemble(keystone->engine, text, base, &code, &size, &count)) {
        const char *message = keystone->describe(keystone->last_error(keystone->engine));
        return write_frame(replies, FRAME_FAILED, message, (uint32_t)strlen(message), -1);
    }
    if (!count || !size)
        return write_frame(replies, FRAME_FAILED, "no output", 9, -1);
    return write_frame(replies, FRAME_CODE, code, (uint32_t)size, -1);
}

/* What the runs on the suite show, by the number of the input. */
typedef struct {
    bool *is_left, *is_breach_only;
    bool *is_uncounted; /* Whether it is not known how many instructions a run with the first fill executes. */
    uint64_t instructions; /* Of the others in all. */
} SuiteRun;

static bool open_suite_run(SuiteRun *run, uint32_t count) {
    bool *flags = calloc(3 * count + 1, sizeof *flags);
    *run = (SuiteRun){flags, flags + count, flags + 2 * count, 0};
    if (flags)
        memset(run->is_uncounted, true, count);
    return flags;
}

/* Run an input for the first time; false where it is left. */
static bool run_counted(Engine *engine, Entry *entry, SuiteRun *run) {
    engine->counts_instructions = true;
    LeftReason left = engine_run_entry(engine, entry, FILL_GARBAGE);
    engine->counts_instructions = false;
    /* A run that is left may be over: what it shows at its end is Python's to compare. */
    bool is_over = !entry->is_left && engine->end != END_LEFT && left != LEFT_FAULT && left != LEFT_LIMIT;
    run->is_uncounted[entry->index] = !is_over || engine->counter.has_failed;
    if (!run->is_uncounted[entry->index])
        run->instructions += engine->counter.instructions;
    return left == LEFT_NOT;
}

static bool is_run_with(const Entry *entry, int fill) {
    return fill == FILL_GARBAGE || (fill == FILL_SMALL ? entry->has_small_numbers : entry->is_varied);
}

/* Run all inputs. Runs with one fill follow each other, since changing the fill takes long. Of code that hangs on several
 * inputs, the rest is left without a run: each would take as long as many runs of right code, and the first hang decides.
 * What is not shown to be the same is left, and `is_breach_only` says of what the registers alone tell. With `is_first`,
 * inputs behind the first other one that is left are left without a run, since that one decides. */
static void run_suite(Engine *engine, SuiteRun *run, bool is_first) {
    uint32_t hangs = 0, end = engine->entry_count;
    for (int fill = 0; fill < FILLS; fill++)
        for (uint32_t i = 0; i < end; i++) {
            Entry *entry = &engine->entries[i];
            if (run->is_left[i] || !is_run_with(entry, fill))
                continue;
            bool is_run = hangs < MAX_HANGS, is_same = false;
            if (is_run)
                is_same = fill == FILL_GARBAGE ? run_counted(engine, entry, run)
                                               : engine_run_entry(engine, entry, fill) == LEFT_NOT;
            run->is_left[i] = !is_same;
            run->is_breach_only[i] = is_run && engine->is_breach_only;
            hangs += hangs < MAX_HANGS && engine->left == LEFT_LIMIT;
            if (is_first && run->is_left[i] && !run->is_breach_only[i] && !entry->is_left)
                end = i;
        }
    for (uint32_t i = end; i < engine->entry_count; i++)
        run->is_left[i] = true;
}

static uint32_t put(uint8_t *reply, uint32_t size, const void *value, uint32_t value_size) {
    memcpy(reply + size, value, value_size);
    return size + value_size;
}

static uint32_t write_leads(const Lead *leads, uint32_t count, uint8_t *reply, uint32_t size) {
    size = put(reply, size, &count, 4);
    for (uint32_t i = 0; i < count; i++) {
        size = put(reply, size, &leads[i].entry, 4);
        size = put(reply, size, &leads[i].count, 4);
        for (uint32_t j = 0; j < leads[i].count; j++) {
            size = put(reply, size, &leads[i].changes[j].cell, 4);
            size = put(reply, size, &leads[i].changes[j].value, 8);
        }
    }
    return size;
}

/* How many instructions the candidate has executed, and on which inputs that is not known. */
static uint32_t write_instructions(const SuiteRun *run, uint32_t count, uint8_t *reply, uint32_t size) {
    size = put(reply, size, &run->instructions, sizeof run->instructions);
    uint32_t uncounted = 0, at = size;
    size += sizeof uncounted;
    for (uint32_t i = 0; i < count; i++)
        if (run->is_uncounted[i]) {
            size = put(reply, size, &i, sizeof i);
            uncounted++;
        }
    put(reply, at, &uncounted, sizeof uncounted);
    return size;
}

/* What a second look noticed: the number of inputs, the leads, and the inputs that reach further. */
static uint32_t write_noticed(const LookResult *noticed, uint8_t *reply, uint32_t size) {
    size = put(reply, size, &noticed->inputs, 4);
    size = write_leads(noticed->leads, noticed->lead_count, reply, size);
    return write_leads(noticed->reaching, noticed->reaching_count, reply, size);
}

/* The result of a candidate: whether the whole program and the inspection are left to Python, the numbers of the inputs
 * that are, the statistics, the instructions, and what a second look noticed. `is_failing` tells whether runs are left that can be shown. */
static bool judge(Engine *engine, Engine *twin, const Frame *request, int replies, bool *is_failing) {
    Reader reader = {request->data, request->data + request->size, false};
    bool is_first = read_u32(&reader);
    Span look_request = read_span(&reader);
    if (reader.failed || !load_candidate(engine, (Span){reader.next, reader.end - reader.next}))
        return false;
    uint32_t count = engine->entry_count, size = 0;
    SuiteRun run;
    uint32_t *result = calloc(count + 3, sizeof *result);
    LookResult *noticed = malloc(sizeof *noticed); /* 200 KB, of which most samples use only the counts. */
    uint8_t *reply = malloc((2 * count + 6) * sizeof *result + sizeof engine->statistics + sizeof *noticed);
    if (!open_suite_run(&run, count) || !result || !noticed || !reply)
        return false;
    noticed->inputs = noticed->lead_count = noticed->reaching_count = 0;
    memset(&engine->statistics, 0, sizeof engine->statistics);
    run_suite(engine, &run, is_first);
    bool is_passing = true;
    for (uint32_t i = 0; i < count; i++)
        if (run.is_left[i]) {
            result[3 + size++] = i | (run.is_breach_only[i] ? BREACH_ONLY : 0);
            is_passing = is_passing && engine->entries[i].is_left;
        }
    LeftReason program = is_passing ? engine_run_program(engine) : LEFT_NOT;
    result[0] = !is_passing || program != LEFT_NOT;
    Statistics statistics = engine->statistics;
    /* The look comes before the inspection, whose hooks make further runs slow. It needs no program that the engine can
     * run: whether the candidate passes is Python's to say then, and leads count where it does. */
    bool may_look = is_passing && (program == LEFT_NOT || program == LEFT_UNSUPPORTED);
    if (look_request.size && twin && may_look && !look(engine, twin, look_request, noticed))
        return false;
    result[1] = !is_passing || result[0] || !inspect(engine);
    result[2] = size;
    size = (3 + size) * sizeof *result;
    memcpy(reply, result, size);
    size = put(reply, size, &statistics, sizeof statistics);
    size = write_instructions(&run, count, reply, size);
    size = write_noticed(noticed, reply, size);
    *is_failing = !is_passing;
    return write_frame(replies, is_passing ? FRAME_RESULT : FRAME_LEFT, reply, size, -1);
}

/* Repeat a run that is left, and say what it shows; nothing where that can't be told. */
static bool show(Engine *engine, const Frame *request, int replies) {
    Reader reader = {request->data, request->data + request->size, false};
    Shown shown = {.data = malloc(MAX_SHOWN_BYTES)};
    if (!shown.data)
        return false;
    bool is_shown = show_run(engine, &reader, &shown);
    bool is_written = write_frame(replies, FRAME_SHOWN, shown.data, is_shown ? shown.size : 0, -1);
    free(shown.data);
    return is_written;
}

static _Noreturn void run_child(Engine *engine, Engine *twin, Keystone *keystone, int requests, int replies, Frame first) {
    bool is_failing = false;
    for (Frame request = first;;) {
        bool is_done = request.kind == FRAME_TEXT        ? assemble(keystone, &request, replies)
                       : request.kind == FRAME_CANDIDATE ? judge(engine, twin, &request, replies, &is_failing)
                       : request.kind == FRAME_SHOW      ? is_failing && show(engine, &request, replies)
                                                         : false;
        if (!is_done || (request.kind == FRAME_CANDIDATE && !is_failing))
            _exit(is_done ? 0 : 1);
        if (request.kind != FRAME_CANDIDATE) /* The engine reads the candidate as long as it runs. */
            free(request.data);
        if (read_reply(requests, &request, -1) != READ_DONE)
            _exit(1);
    }
}

/* -- the template of a function */

typedef struct {
    pid_t pid; /* 0: none. */
    int requests, replies;
} Child;

static void end_child(Child *child) {
    if (!child->pid)
        return;
    kill(child->pid, SIGKILL);
    waitpid(child->pid, NULL, 0);
    close(child->requests), close(child->replies);
    child->pid = 0;
}

/* Fork without what the C library does for other threads, of which there are none: it would make the child copy pages. */
static pid_t fork_alone(void) {
    return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static bool start_child(Engine *engine, Engine *twin, Keystone *keystone, int socket, Child *child, Frame first) {
    int requests[2], replies[2];
    if (pipe(requests))
        return false;
    if (pipe(replies)) {
        close(requests[0]), close(requests[1]);
        return false;
    }
    pid_t template = getpid(), pid = fork_alone();
    if (pid == 0) {
        end_with(template);
        close(socket), close(requests[1]), close(replies[0]);
        close(0), close(1), close(2);
        limit(RLIMIT_CPU, RUN_MILLISECONDS / 1000 + 1); /* For a child whose template was killed. */
        give_up_system_calls();
        run_child(engine, twin, keystone, requests[0], replies[1], first);
    }
    close(requests[0]), close(replies[1]);
    if (pid < 0) { /* No process is to be had now. `kill` takes -1 for all processes of the user. */
        close(requests[1]), close(replies[0]);
        return false;
    }
    fcntl(requests[1], F_SETFL, O_NONBLOCK); /* A child that was taken over may not read what it is sent. */
    *child = (Child){pid, requests[1], replies[0]};
    return true;
}

/* Pass a request to the child, and its reply to the judge. The time that a reply may take leads the request. */
static bool relay(Engine *engine, Engine *twin, Keystone *keystone, int socket, Child *child, Frame *request) {
    uint32_t milliseconds;
    if (request->size < sizeof milliseconds)
        return false;
    memcpy(&milliseconds, request->data, sizeof milliseconds);
    memmove(request->data, request->data + sizeof milliseconds, request->size - sizeof milliseconds + 1);
    request->size -= sizeof milliseconds;
    bool is_sent = child->pid ? write_frame(child->requests, request->kind, request->data, request->size, milliseconds)
                              : start_child(engine, twin, keystone, socket, child, *request);
    Frame reply;
    ReadStatus status = is_sent ? read_reply(child->replies, &reply, milliseconds) : READ_ENDED;
    if (status != READ_DONE) {
        end_child(child);
        return write_frame(socket, FRAME_END, NULL, 0, -1);
    }
    bool is_passed = write_frame(socket, reply.kind, reply.data, reply.size, -1);
    free(reply.data);
    if (request->kind == FRAME_CANDIDATE && reply.kind != FRAME_LEFT)
        end_child(child);
    return is_passed;
}

/* Run the reference on all inputs, and in the whole program. It translates its code, and finds the inputs on which the
 * engine can't show what the reference does: these are always left. Returns how many these are. What is expected of other
 * code shows nothing of that: such an image is used only where one for the reference has no such input. */
static uint32_t run_reference(Engine *engine) {
    SuiteRun run;
    if (!open_suite_run(&run, engine->entry_count))
        return engine->entry_count;
    uint32_t count = 0;
    run_suite(engine, &run, false);
    for (uint32_t i = 0; i < engine->entry_count; i++)
        count += engine->entries[i].is_left = run.is_left[i] && !engine->entries[i].is_of_other;
    free(run.is_left);
    engine->program.is_left = engine->program.is_left || engine_run_program(engine) != LEFT_NOT;
    if (engine->entry_count) /* Children begin with this fill. */
        engine_run_entry(engine, &engine->entries[0], FILL_GARBAGE);
    return count;
}

/* Whether a second look can do nothing with an input, by how a run of the reference on it ended. */
static bool is_unusable(LeftReason reason) {
    return reason == LEFT_UNSUPPORTED || reason == LEFT_FAULT || reason == LEFT_LIMIT || reason == LEFT_STACK ||
           reason == LEFT_HOOK || reason == LEFT_CALL || reason == LEFT_ALIGNMENT || reason == LEFT_SYSTEM_CALL;
}

/* A second machine, in which the reference stays, with its code translated; NULL where there is no room for it. */
static Engine *open_twin(const uint8_t *image, uint64_t size) {
    Engine *twin = engine_open(image, size);
    Relations *relations = relations_open();
    if (!twin || !kernel_record(twin) || !relations || !notice_comparisons(twin, relations, 1, 0))
        return NULL;
    for (uint32_t i = 0; i < twin->entry_count + twin->reserve_count; i++) {
        LeftReason reason = engine_run_entry(twin, &twin->entries[i], FILL_GARBAGE);
        twin->entries[i].is_left = i >= twin->entry_count && is_unusable(reason);
        uint64_t limit = TWIN_LIMIT_MINIMUM + TWIN_LIMIT_FACTOR * twin->executed_bytes;
        if (twin->entries[i].limit > limit)
            twin->entries[i].limit = limit;
    }
    return twin;
}

static _Noreturn void run_template(Keystone *keystone, int socket) {
    Frame image;
    if (read_frame(socket, &image, -1) != READ_DONE)
        _exit(1);
    Reader reader = {image.data, image.data + image.size, false};
    bool has_twin = read_u32(&reader);
    Engine *engine = engine_open(reader.next, reader.end - reader.next);
    Engine *twin = has_twin && engine ? open_twin(reader.next, reader.end - reader.next) : NULL;
    if (!engine || (has_twin && (!twin || !observe_reserve(engine, twin))))
        _exit(1);
    uint32_t facts[3] = {engine->entry_count, run_reference(engine), engine->reserve_count};
    if (!write_frame(socket, FRAME_READY, facts, sizeof facts, -1))
        _exit(1);
    if (!expect_candidate(engine))
        _exit(1);
    limit_memory_and_time();
    Child child = {0};
    Frame request;
    while (read_frame(socket, &request, -1) == READ_DONE) {
        if (request.kind == FRAME_END)
            end_child(&child);
        else if (!relay(engine, twin, keystone, socket, &child, &request))
            break;
        free(request.data);
    }
    end_child(&child);
    _exit(0);
}

/* -- the server */

/* The socket of a new template; -1 at the end. */
static int receive_socket(int control) {
    char byte, space[CMSG_SPACE(sizeof(int))];
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    if (recvmsg(control, &message, MSG_CMSG_CLOEXEC) <= 0)
        return -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    int socket = -1;
    if (header && header->cmsg_type == SCM_RIGHTS)
        memcpy(&socket, CMSG_DATA(header), sizeof socket);
    return socket;
}

/* Arguments: the descriptor of the control socket, and the path of keystone's library, empty where there is none. */
int main(int count, char **arguments) {
    Keystone keystone = {0};
    if (count != 3)
        return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGCHLD, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* The judge decides what ends at Ctrl-C. */
    signal(SIGPIPE, SIG_IGN);
    /* Unicorn wants its code in pages of 2 MiB, which each child would fill with zeros for some KiB of code. */
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    int control = atoi(arguments[1]), null = open("/dev/null", O_RDWR);
    if (null < 0 || (*arguments[2] && !load_keystone(&keystone, arguments[2])))
        return 1;
    dup2(null, 0), dup2(null, 1), dup2(null, 2);
    for (int socket; (socket = receive_socket(control)) >= 0; close(socket)) {
        pid_t server = getpid(), pid = fork();
        if (pid == 0) {
            end_with(server);
            signal(SIGCHLD, SIG_DFL);
            close(control);
            run_template(&keystone, socket);
        }
    }
    return 0;
}

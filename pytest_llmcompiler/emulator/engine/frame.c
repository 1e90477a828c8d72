/* Reading and writing frames. */
#include "frame.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PIPE_BYTES 3072 /* A frame up to this length is one write, which a pipe does not split. */

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* Wait until a descriptor can be used, or has ended; false at the deadline. */
static bool wait_for(int descriptor, short events, int64_t deadline) {
    struct pollfd poll_for = {.fd = descriptor, .events = events};
    for (;;) {
        int64_t left = deadline - now();
        int ready = left > 0 ? poll(&poll_for, 1, (int)left) : 0;
        if (ready >= 0 || errno != EINTR)
            return ready != 0;
    }
}

static ReadStatus read_bytes(int descriptor, uint8_t *data, uint32_t size, int64_t deadline) {
    while (size) {
        if (deadline >= 0 && !wait_for(descriptor, POLLIN, deadline))
            return READ_LATE;
        ssize_t count = read(descriptor, data, size);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return READ_ENDED;
        data += count, size -= (uint32_t)count;
    }
    return READ_DONE;
}

/* Check a frame's head, and get memory for the rest. */
static bool open_frame(const uint32_t head[2], Frame *frame) {
    *frame = (Frame){head[0], head[1], NULL};
    if (frame->size > MAX_FRAME_BYTES || !(frame->data = malloc((size_t)frame->size + 1)))
        return false;
    frame->data[frame->size] = 0;
    return true;
}

ReadStatus read_reply(int descriptor, Frame *frame, int64_t milliseconds) {
    int64_t deadline = milliseconds < 0 ? -1 : now() + milliseconds;
    uint32_t head[2];
    uint8_t start[PIPE_BYTES];
    struct iovec parts[2] = {{head, sizeof head}, {start, sizeof start}};
    if (deadline >= 0 && !wait_for(descriptor, POLLIN, deadline))
        return READ_LATE;
    ssize_t count = readv(descriptor, parts, 2);
    if (count < (ssize_t)sizeof head || !open_frame(head, frame))
        return READ_ENDED;
    uint32_t done = (uint32_t)count - sizeof head;
    done = done < frame->size ? done : frame->size;
    memcpy(frame->data, start, done);
    ReadStatus status = read_bytes(descriptor, frame->data + done, frame->size - done, deadline);
    if (status != READ_DONE)
        free(frame->data);
    return status;
}

ReadStatus read_frame(int descriptor, Frame *frame, int64_t milliseconds) {
    int64_t deadline = milliseconds < 0 ? -1 : now() + milliseconds;
    uint32_t head[2];
    ReadStatus status = read_bytes(descriptor, (uint8_t *)head, sizeof head, deadline);
    if (status != READ_DONE)
        return status;
    if (!open_frame(head, frame))
        return READ_ENDED;
    status = read_bytes(descriptor, frame->data, frame->size, deadline);
    if (status != READ_DONE)
        free(frame->data);
    return status;
}

static bool write_bytes(int descriptor, const uint8_t *data, uint32_t size, int64_t deadline) {
    while (size) {
        ssize_t count = write(descriptor, data, size);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EAGAIN && wait_for(descriptor, POLLOUT, deadline))
            continue;
        if (count <= 0)
            return false;
        data += count, size -= (uint32_t)count;
    }
    return true;
}

bool write_frame(int descriptor, uint32_t kind, const void *data, uint32_t size, int64_t milliseconds) {
    int64_t deadline = milliseconds < 0 ? -1 : now() + milliseconds;
    uint32_t head[2] = {kind, size};
    if (size > PIPE_BYTES)
        return write_bytes(descriptor, (uint8_t *)head, sizeof head, deadline) &&
               write_bytes(descriptor, data, size, deadline);
    uint8_t whole[sizeof head + PIPE_BYTES]; /* The reader is woken once. */
    memcpy(whole, head, sizeof head);
    if (size)
        memcpy(whole + sizeof head, data, size);
    return write_bytes(descriptor, whole, sizeof head + size, deadline);
}

/* Frames on sockets and pipes: what kind, how many bytes, the bytes. */
#ifndef FRAME_H
#define FRAME_H

#include <stdbool.h>
#include <stdint.h>

#define MAX_FRAME_BYTES (256u << 20) /* A suite takes a few megabytes at most; hostile code must not fill the memory. */

typedef struct {
    uint32_t kind, size;
    uint8_t *data; /* To be freed. A zero follows the bytes. */
} Frame;

typedef enum { READ_DONE, READ_ENDED, READ_LATE } ReadStatus;

/* Read a frame within so many milliseconds; -1: without a limit. */
ReadStatus read_frame(int descriptor, Frame *frame, int64_t milliseconds);
/* The same where the other end waits for an answer to the frame: what follows the frame is dropped. One read is enough for
 * a short frame. */
ReadStatus read_reply(int descriptor, Frame *frame, int64_t milliseconds);
/* Write a frame; false where the other end is gone. Only a descriptor that does not block has a limit of milliseconds. */
bool write_frame(int descriptor, uint32_t kind, const void *data, uint32_t size, int64_t milliseconds);

#endif

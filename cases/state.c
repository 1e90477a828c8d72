/* Globals, file statics and a static local: state that a function keeps for its next call. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_SIZE 16u

uint32_t random_state = 2463534242u;
unsigned letter_counts[26];
double running_mean;

static uint8_t ring[RING_SIZE];
static unsigned ring_start, ring_used;

uint32_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

unsigned next_id(void)
{
    static unsigned last = 100;

    last += 1 + (last % 7 == 0);
    return last;
}

bool ring_push(uint8_t byte)
{
    if (ring_used >= RING_SIZE) {
        return false;
    }
    ring[(ring_start + ring_used) % RING_SIZE] = byte;
    ring_used++;
    return true;
}

/* The oldest byte, or -1 when the ring is empty. */
int ring_pop(void)
{
    uint8_t byte;

    if (ring_used == 0) {
        return -1;
    }
    byte = ring[ring_start % RING_SIZE];
    ring_start = (ring_start + 1) % RING_SIZE;
    ring_used--;
    return byte;
}

/* Add to the counts of letters. Returns the number of characters that are no letters. */
size_t count_letters(const char *text)
{
    size_t others = 0;

    for (; *text != '\0'; text++) {
        unsigned letter = ((unsigned char)*text | 0x20u) - 'a';
        if (letter < 26) {
            letter_counts[letter]++;
        } else {
            others++;
        }
    }
    return others;
}

void add_reading(float reading, uint16_t number)
{
    running_mean += (reading - running_mean) / (number + 1.0);
}

const char *level_name(int level)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    static char other[] = "level ?";

    if (level >= 0 && level < 4) {
        return names[level];
    }
    other[6] = (char)('0' + (unsigned)level % 10);
    return other;
}

/* A map from short names to numbers with open addressing, and a set of integers in a static table. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { SLOTS = 16, KEY_MAX = 11 };

typedef enum { SLOT_FREE, SLOT_USED, SLOT_DELETED } SlotState;

typedef struct {
    char key[KEY_MAX + 1];
    int32_t value;
    SlotState state;
} Slot;

typedef struct {
    Slot slots[SLOTS];
    unsigned used;
} Map;

static uint32_t hash_key(const char *key)
{
    uint32_t h = 17;

    for (unsigned i = 0; i < KEY_MAX && key[i] != '\0'; i++) {
        h = h * 31 + (unsigned char)key[i];
    }
    return h ^ h >> 9;
}

/* The slot that holds key, or where it could be put; -1 when it is absent and there is no room. */
static int probe(const Map *map, const char *key)
{
    uint32_t at = hash_key(key) % SLOTS;
    int vacant = -1;

    for (unsigned step = 0; step < SLOTS; step++, at = (at + 1) % SLOTS) {
        const Slot *slot = &map->slots[at];
        if (slot->state == SLOT_USED) {
            if (strncmp(slot->key, key, KEY_MAX + 1) == 0) {
                return (int)at;
            }
            continue;
        }
        if (vacant < 0) {
            vacant = (int)at;
        }
        if (slot->state == SLOT_FREE) {
            break;
        }
    }
    return vacant;
}

/* Set a key; false for too long a key or a full map. */
bool map_put(Map *map, const char *key, int32_t value)
{
    size_t len = strlen(key);
    int at;

    if (len > KEY_MAX) {
        return false;
    }
    at = probe(map, key);
    if (at < 0) {
        return false;
    }
    if (map->slots[at].state != SLOT_USED) {
        memset(map->slots[at].key, 0, sizeof map->slots[at].key);
        memcpy(map->slots[at].key, key, len);
        map->slots[at].state = SLOT_USED;
        map->used++;
    }
    map->slots[at].value = value;
    return true;
}

/* Fetch a value; *value stays as it is when the key is absent. */
bool map_get(const Map *map, const char *key, int32_t *value)
{
    int at = probe(map, key);

    if (at < 0 || map->slots[at].state != SLOT_USED) {
        return false;
    }
    *value = map->slots[at].value;
    return true;
}

bool map_remove(Map *map, const char *key)
{
    int at = probe(map, key);

    if (at < 0 || map->slots[at].state != SLOT_USED) {
        return false;
    }
    map->slots[at].state = SLOT_DELETED;
    map->used--;
    return true;
}

/* Call back for each pair until one returns nonzero, which is returned. */
int map_each(const Map *map, int (*visit)(const char *key, int32_t value, void *context), void *context)
{
    for (const Slot *slot = map->slots; slot < map->slots + SLOTS; slot++) {
        if (slot->state == SLOT_USED) {
            int stop = visit(slot->key, slot->value, context);
            if (stop != 0) {
                return stop;
            }
        }
    }
    return 0;
}

/* The integers seen so far. Zero marks a free place, so it is kept apart. */
static uint64_t seen[32];
static unsigned seen_count;
static bool seen_zero;

/* Add a number: 1 when it is new, 0 when it was there, -1 when the table is three quarters full. */
int remember(uint64_t number)
{
    uint64_t at = number * 0x9E3779B97F4A7C15u >> 59;

    if (number == 0) {
        bool was = seen_zero;
        seen_zero = true;
        return !was;
    }
    for (unsigned tries = 0; tries < 32; tries++) {
        if (seen[at] == number) {
            return 0;
        }
        if (seen[at] == 0) {
            if (seen_count >= 24) {
                return -1;
            }
            seen[at] = number;
            seen_count++;
            return 1;
        }
        at = (at + 1) & 31;
    }
    return -1;
}

void forget_all(void)
{
    memset(seen, 0, sizeof seen);
    seen_count = 0;
    seen_zero = false;
}

static int add_up(const char *key, int32_t value, void *context)
{
    long *sum = context;

    *sum += key[0] == 'b' ? -(long)value : value;
    return *sum > 1000;
}

int main(void)
{
    static Map map;
    int32_t value = -1;
    long sum = 0;

    map_put(&map, "alpha", 1);
    map_put(&map, "beta", 2);
    map_put(&map, "gamma", 30);
    map_put(&map, "alpha", 100);
    printf("%d %u\n", map_put(&map, "a name too long", 4), map.used);
    printf("%d\n", map_remove(&map, "gamma"));
    if (map_get(&map, "alpha", &value)) {
        printf("%d\n", (int)value);
    }
    printf("%d\n", map_each(&map, add_up, &sum));
    printf("%ld\n", sum);
    for (uint64_t i = 0; i < 30; i++) {
        printf("%d", remember(i * i % 10));
    }
    forget_all();
    printf(" %d\n", remember(9));
    return 0;
}

/* Doubly linked and circular lists. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct link {
    struct link *prev, *next;
} link_t;

typedef struct {
    link_t link;          /* first, so that a link is a task */
    int priority;
    const char *title;
} task_t;

typedef struct dnode {
    long value;
    struct dnode *prev;
    struct dnode *next;
} dnode;

typedef struct {
    dnode *first, *last;
    unsigned length;
} dlist;

void ring_init(link_t *ring)
{
    ring->prev = ring->next = ring;
}

bool ring_empty(const link_t *ring)
{
    return ring->next == ring;
}

/* Insert `item` before `place`: at the end, if that is the ring itself. */
void ring_insert(link_t *place, link_t *item)
{
    item->next = place;
    item->prev = place->prev;
    place->prev->next = item;
    place->prev = item;
}

/* Take an item out of its ring and leave it alone. */
void ring_remove(link_t *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    item->next = item->prev = item;
}

/* The task of highest priority in a ring, the first of equals; NULL when the ring is empty. */
task_t *most_urgent(link_t *ring)
{
    task_t *best = NULL;

    for (link_t *l = ring->next; l != ring; l = l->next) {
        task_t *task = (task_t *)l;
        if (!best || task->priority > best->priority)
            best = task;
    }
    return best;
}

bool dlist_append(dlist *list, long value)
{
    dnode *n = malloc(sizeof(dnode));

    if (!n)
        return false;
    n->value = value;
    n->next = NULL;
    n->prev = list->last;
    if (list->last)
        list->last->next = n;
    else
        list->first = n;
    list->last = n;
    list->length++;
    return true;
}

static void dlist_unlink(dlist *list, dnode *n)
{
    if (n->prev)
        n->prev->next = n->next;
    else
        list->first = n->next;
    if (n->next)
        n->next->prev = n->prev;
    else
        list->last = n->prev;
    list->length--;
}

/* Free every node with a value from lo to hi; how many they were. */
unsigned dlist_drop_range(dlist *list, long lo, long hi)
{
    unsigned dropped = 0;

    for (dnode *n = list->first, *next; n; n = next) {
        next = n->next;
        if (n->value >= lo && n->value <= hi) {
            dlist_unlink(list, n);
            free(n);
            dropped++;
        }
    }
    return dropped;
}

void dlist_reverse(dlist *list)
{
    dnode *n = list->first;

    list->first = list->last;
    list->last = n;
    while (n) {
        dnode *next = n->next;
        n->next = n->prev;
        n->prev = next;
        n = next;
    }
}

/* Whether forward and backward links agree, and so does the length. */
bool dlist_valid(const dlist *list)
{
    const dnode *before = NULL;
    unsigned seen = 0;

    for (const dnode *n = list->first; n; before = n, n = n->next) {
        if (n->prev != before || seen++ >= list->length)
            return false;
    }
    return before == list->last && seen == list->length;
}

/* The position of the survivor when every k-th (k > 0) of n people in a circle has to leave. */
int josephus(unsigned char n, unsigned char k)
{
    struct seat {
        unsigned char next;
    } seats[256];
    unsigned left = n;
    unsigned char before, at;

    if (n == 0 || k == 0)
        return -1;
    for (unsigned i = 0; i < n; i++)
        seats[i].next = (unsigned char)(i + 1 < n ? i + 1 : 0);
    before = (unsigned char)(n - 1);
    while (left > 1) {
        for (unsigned i = 1; i < k; i++)
            before = seats[before].next;
        at = seats[before].next;
        seats[before].next = seats[at].next;
        left--;
    }
    return seats[before].next;
}

int main(void)
{
    link_t ring;
    task_t tasks[3] = {{{0}, 2, "write"}, {{0}, 7, "compile"}, {{0}, 7, "test"}};
    dlist list = {0};

    ring_init(&ring);
    printf("%d", ring_empty(&ring));
    for (int i = 0; i < 3; i++)
        ring_insert(&ring, &tasks[i].link);
    printf(" %d", ring_empty(&ring));
    printf(" %s", most_urgent(&ring)->title);
    ring_remove(&tasks[1].link);
    printf(" %s\n", most_urgent(&ring)->title);
    for (long v = 1; v < 9; v++)
        if (!dlist_append(&list, v * v % 11))
            return 1;
    printf("%u dropped", dlist_drop_range(&list, 4, 5));
    dlist_reverse(&list);
    for (dnode *n = list.first; n; n = n->next)
        printf(" %ld", n->value);
    printf(" valid %d, survivor %d\n", dlist_valid(&list), josephus(41, 3));
    return dlist_drop_range(&list, -100, 100) == 5 ? 0 : 2;
}

/*
 * A stack of words, a free list of cells and a list of timers, all singly linked,
 * the way they are kept inside of a larger program.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct node {
	char *word;
	unsigned count;
	struct node *next;
};

struct cell {
	int32_t value;
	struct cell *next;
};

struct timer {
	uint32_t due;
	uint16_t id;
	struct timer *next;
};

#define NCELLS 24

static struct node *head;
static struct cell cells[NCELLS];
static struct cell *free_cells;
static struct timer *timers;
static unsigned long total_words;

/* Count a word; a new one goes to the front. NULL when memory runs out. */
struct node *word_add(const char *word)
{
	struct node *p;
	size_t len;

	for (p = head; p != NULL; p = p->next) {
		if (strcmp(p->word, word) == 0) {
			p->count++;
			total_words++;
			return p;
		}
	}
	len = strlen(word);
	p = malloc(sizeof *p);
	if (p == NULL)
		return NULL;
	p->word = malloc(len + 1);
	if (p->word == NULL) {
		free(p);
		return NULL;
	}
	memcpy(p->word, word, len + 1);
	p->count = 1;
	p->next = head;
	head = p;
	total_words++;
	return p;
}

/* How often a word was counted. */
unsigned word_count(const char *word)
{
	for (const struct node *p = head; p; p = p->next)
		if (!strcmp(p->word, word))
			return p->count;
	return 0;
}

/* Forget all words; the number of nodes freed. */
int words_clear(void)
{
	int freed = 0;

	while (head) {
		struct node *next = head->next;
		free(head->word);
		free(head);
		head = next;
		freed++;
	}
	total_words = 0;
	return freed;
}

/* Chain all cells into the free list. */
void cells_init(void)
{
	for (int i = 0; i < NCELLS; i++)
		cells[i].next = i + 1 < NCELLS ? &cells[i + 1] : NULL;
	free_cells = cells;
}

/* Put a value in front of *list with a cell from the free list; -1 when there is none. */
int cell_push(struct cell **list, int32_t value)
{
	struct cell *c = free_cells;

	if (c == NULL)
		return -1;
	free_cells = c->next;
	c->value = value;
	c->next = *list;
	*list = c;
	return 0;
}

/* Give a whole list back to the free list; its length. */
size_t cells_release(struct cell *list)
{
	struct cell *last = list;
	size_t n = 1;

	if (list == NULL)
		return 0;
	while (last->next) {
		last = last->next;
		n++;
	}
	last->next = free_cells;
	free_cells = list;
	return n;
}

/* Insert a timer in order of due time; of equal ones the older comes first. */
void timer_insert(struct timer *t)
{
	struct timer **at = &timers;

	while (*at && (*at)->due <= t->due)
		at = &(*at)->next;
	t->next = *at;
	*at = t;
}

/* Unlink the timer that is due; NULL if there is none yet. */
struct timer *timer_expire(uint32_t now)
{
	struct timer *t = timers;

	if (t == NULL || t->due > now)
		return NULL;
	timers = t->next;
	t->next = NULL;
	return t;
}

/* The middle cell of a list; of an even number the second of the two. */
const struct cell *cell_middle(const struct cell *list)
{
	const struct cell *fast = list;

	while (fast && fast->next) {
		fast = fast->next->next;
		list = list->next;
	}
	return list;
}

/* Copy a list into fresh memory, all or nothing. */
struct cell *list_copy(const struct cell *list)
{
	struct cell *copy = NULL, **end = &copy;

	for (; list; list = list->next) {
		*end = malloc(sizeof **end);
		if (*end == NULL)
			goto fail;
		(*end)->value = list->value;
		end = &(*end)->next;
		*end = NULL;
	}
	return copy;
fail:
	while (copy) {
		struct cell *next = copy->next;
		free(copy);
		copy = next;
	}
	return NULL;
}

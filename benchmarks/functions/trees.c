/* Binary search trees, a heap and a trie. */
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct tree
{
  int key;
  double weight;
  struct tree *left;
  struct tree *right;
};

struct trie
{
  struct trie *child[4];	/* for the bases A, C, G and T */
  bool end;
};

struct pqueue
{
  uint32_t *items;
  size_t count;
  size_t capacity;
};

/* Add `weight` to the node of `key`, which is made if need be.  False when memory runs out.  */
bool
tree_insert (struct tree **root, int key, double weight)
{
  while (*root != NULL)
    {
      if (key == (*root)->key)
	{
	  (*root)->weight += weight;
	  return true;
	}
      root = key < (*root)->key ? &(*root)->left : &(*root)->right;
    }
  *root = calloc (1, sizeof **root);
  if (*root == NULL)
    return false;
  (*root)->key = key;
  (*root)->weight = weight;
  return true;
}

struct tree *
tree_find (struct tree *root, int key)
{
  if (root == NULL || root->key == key)
    return root;
  return tree_find (key < root->key ? root->left : root->right, key);
}

/* Delete the node of `key` and free it.  */
bool
tree_delete (struct tree **root, int key)
{
  struct tree *gone;

  while (*root != NULL && (*root)->key != key)
    root = key < (*root)->key ? &(*root)->left : &(*root)->right;
  gone = *root;
  if (gone == NULL)
    return false;
  if (gone->left == NULL)
    *root = gone->right;
  else if (gone->right == NULL)
    *root = gone->left;
  else
    {
      struct tree **least = &gone->right;
      struct tree *heir;

      while ((*least)->left != NULL)
	least = &(*least)->left;
      heir = *least;
      *least = heir->right;
      heir->left = gone->left;
      heir->right = gone->right;
      *root = heir;
    }
  free (gone);
  return true;
}

void
tree_free (struct tree *root)
{
  if (root == NULL)
    return;
  tree_free (root->left);
  tree_free (root->right);
  free (root);
}

/* Write up to `size` keys to `out` in ascending order; how many were written.  */
size_t
tree_keys (const struct tree *root, int *out, size_t size)
{
  size_t done;

  if (root == NULL || size == 0)
    return 0;
  done = tree_keys (root->left, out, size);
  if (done < size)
    {
      out[done++] = root->key;
      done += tree_keys (root->right, out + done, size - done);
    }
  return done;
}

/* Whether the keys are in order, all within [low, high].  */
static bool
ordered (const struct tree *node, long low, long high)
{
  if (node == NULL)
    return true;
  if (node->key < low || node->key > high)
    return false;
  return ordered (node->left, low, (long) node->key - 1)
	 && ordered (node->right, (long) node->key + 1, high);
}

bool
tree_ordered (const struct tree *root)
{
  return ordered (root, INT_MIN, INT_MAX);
}

double
tree_total (const struct tree *root)
{
  double total = 0.0;

  while (root != NULL)
    {
      total += root->weight + tree_total (root->left);
      root = root->right;
    }
  return total;
}

/* Add an item to a heap whose least item comes first.  False when it is full.  */
bool
pqueue_push (struct pqueue *queue, uint32_t item)
{
  size_t at = queue->count;

  if (at >= queue->capacity)
    return false;
  queue->count++;
  while (at > 0 && queue->items[(at - 1) / 2] > item)
    {
      queue->items[at] = queue->items[(at - 1) / 2];
      at = (at - 1) / 2;
    }
  queue->items[at] = item;
  return true;
}

/* Take the least item out.  */
bool
pqueue_pop (struct pqueue *queue, uint32_t *item)
{
  uint32_t last;
  size_t at = 0, n;

  if (queue->count == 0)
    return false;
  *item = queue->items[0];
  n = --queue->count;
  last = queue->items[n];
  while (2 * at + 1 < n)
    {
      size_t child = 2 * at + 1;
      if (child + 1 < n && queue->items[child + 1] < queue->items[child])
	child++;
      if (last <= queue->items[child])
	break;
      queue->items[at] = queue->items[child];
      at = child;
    }
  queue->items[at] = last;
  return true;
}

static int
base_index (char base)
{
  switch (base)
    {
    case 'A': case 'a':
      return 0;
    case 'C': case 'c':
      return 1;
    case 'G': case 'g':
      return 2;
    case 'T': case 't':
      return 3;
    default:
      return -1;
    }
}

/* Remember a sequence.  The number of nodes made, -1 for a bad base or lack of memory.  */
int
trie_add (struct trie *root, const char *sequence)
{
  int made = 0;

  for (; *sequence != '\0'; sequence++)
    {
      int base = base_index (*sequence);
      if (base < 0)
	return -1;
      if (root->child[base] == NULL)
	{
	  root->child[base] = calloc (1, sizeof *root);
	  if (root->child[base] == NULL)
	    return -1;
	  made++;
	}
      root = root->child[base];
    }
  root->end = true;
  return made;
}

/* The length of the longest remembered sequence that `text` begins with; -1 when there is none.  */
int
trie_match (const struct trie *root, const char *text)
{
  int longest = -1;

  for (int length = 0; root != NULL; length++)
    {
      int base;
      if (root->end)
	longest = length;
      base = base_index (text[length]);
      if (base < 0)
	break;
      root = root->child[base];
    }
  return longest;
}

static void
trie_free (struct trie *root)
{
  if (root == NULL)
    return;
  for (int i = 0; i < 4; i++)
    trie_free (root->child[i]);
  free (root);
}

int
main (void)
{
  static const int keys[] = {50, 20, 70, 10, 30, 60, 80, 20, 65};
  struct tree *root = NULL;
  struct trie *trie = calloc (1, sizeof *trie);
  uint32_t room[8], least;
  struct pqueue queue = {room, 0, 8};
  int out[8];
  size_t n;

  if (trie == NULL)
    return 1;
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
    {
      tree_insert (&root, keys[i], 0.5 * (double) i);
      pqueue_push (&queue, (uint32_t) keys[i]);
    }
  printf ("%d %d %g\n", tree_ordered (root), tree_find (root, 60)->key, tree_total (root));
  printf ("%d %d %d\n", tree_delete (&root, 50), tree_delete (&root, 10), tree_delete (&root, 11));
  n = tree_keys (root, out, 8);
  for (size_t i = 0; i < n; i++)
    printf ("%d ", out[i]);
  while (pqueue_pop (&queue, &least))
    printf ("%u ", least);
  printf ("\n%d", trie_add (trie, "ACGT"));
  printf (" %d", trie_add (trie, "ac"));
  printf (" %d %d\n", trie_match (trie, "ACGA"), trie_match (trie, "T"));
  trie_free (trie);
  tree_free (root);
  return 0;
}

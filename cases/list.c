/* Linked lists and trees. */
#include <stdbool.h>
#include <stddef.h>

struct node {
    int value;
    struct node *next;
};

struct tree {
    int key;
    struct tree *left, *right;
};

size_t list_length(const struct node *head)
{
    size_t length = 0;

    for (; head != NULL; head = head->next) {
        length++;
    }
    return length;
}

long list_sum(const struct node *head)
{
    return head == NULL ? 0 : head->value + list_sum(head->next);
}

struct node *list_reverse(struct node *head)
{
    struct node *reversed = NULL;

    while (head != NULL) {
        struct node *next = head->next;
        head->next = reversed;
        reversed = head;
        head = next;
    }
    return reversed;
}

struct node *list_find(struct node *head, int value)
{
    while (head != NULL && head->value != value) {
        head = head->next;
    }
    return head;
}

/* Unlink the first node with this value. */
bool list_remove(struct node **head, int value)
{
    for (; *head != NULL; head = &(*head)->next) {
        if ((*head)->value == value) {
            *head = (*head)->next;
            return true;
        }
    }
    return false;
}

/* Merge two ascending lists; equal values of `a` come first. */
struct node *list_merge(struct node *a, struct node *b)
{
    struct node *head = NULL;
    struct node **end = &head;

    while (a != NULL && b != NULL) {
        struct node **smaller = b->value < a->value ? &b : &a;
        *end = *smaller;
        end = &(*smaller)->next;
        *smaller = (*smaller)->next;
    }
    *end = a != NULL ? a : b;
    return head;
}

unsigned tree_height(const struct tree *root)
{
    unsigned left, right;

    if (root == NULL) {
        return 0;
    }
    left = tree_height(root->left);
    right = tree_height(root->right);
    return 1 + (left > right ? left : right);
}

bool tree_contains(const struct tree *root, int key)
{
    while (root != NULL && root->key != key) {
        root = key < root->key ? root->left : root->right;
    }
    return root != NULL;
}

int main(void)
{
    struct node odd[3] = {{1, &odd[1]}, {3, &odd[2]}, {5, NULL}};
    struct node even[2] = {{2, &even[1]}, {4, NULL}};
    struct tree leaves[2] = {{2, NULL, NULL}, {9, NULL, NULL}};
    struct tree root = {6, &leaves[0], &leaves[1]};
    struct node *all = list_merge(odd, even);

    if (list_length(all) != 5 || list_sum(all) != 15 || list_find(all, 4) != &even[1]) {
        return 1;
    }
    if (!list_remove(&all, 1) || list_remove(&all, 1) || all != &even[0]) {
        return 2;
    }
    if (list_reverse(all) != &odd[2] || odd[2].next != &even[1] || list_length(&odd[2]) != 4) {
        return 3;
    }
    if (tree_height(&root) != 2 || !tree_contains(&root, 9) || tree_contains(&root, 5)) {
        return 4;
    }
    return 0;
}

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define MAX_NODES 16
#define FAR 0xffffffffu

typedef struct {
    uint8_t nodes;                            /* at most MAX_NODES */
    uint8_t cost[MAX_NODES][MAX_NODES];       /* 0: no edge */
} graph;

typedef struct {
    uint8_t parent[MAX_NODES];
    uint8_t size[MAX_NODES];
} partition;

typedef struct {
    int from, to;
    unsigned weight;
} edge;

/* Adjacency in bits, for the questions that need no cost. */
static uint16_t reach[MAX_NODES];

static bool is_node(const graph *g, int node)
{
    return node >= 0 && node < g->nodes && node < MAX_NODES;
}

bool graph_connect(graph *g, int a, int b, uint8_t cost)
{
    if (!is_node(g, a) || !is_node(g, b) || a == b)
        return false;
    g->cost[a][b] = g->cost[b][a] = cost;
    return true;
}

unsigned graph_degree(const graph *g, int node)
{
    unsigned degree = 0;

    if (!is_node(g, node))
        return 0;
    for (int other = 0; is_node(g, other); other++)
        degree += g->cost[node][other] != 0;
    return degree;
}

/* Breadth first: the number of edges from `start` to every node, -1 where there is no way. */
int graph_distances(const graph *g, int start, int8_t distance[MAX_NODES])
{
    uint8_t queue[MAX_NODES];
    int head = 0, tail = 0;

    memset(distance, -1, MAX_NODES);
    if (!is_node(g, start))
        return 0;
    distance[start] = 0;
    queue[tail++] = (uint8_t)start;
    while (head < tail) {
        int node = queue[head++];
        for (int next = 0; is_node(g, next); next++) {
            if (g->cost[node][next] && distance[next] < 0) {
                distance[next] = (int8_t)(distance[node] + 1);
                queue[tail++] = (uint8_t)next;
            }
        }
    }
    return tail;
}

/* Dijkstra. The least cost from `from` to `to`, FAR when there is no way; `via` takes each node's predecessor. */
uint32_t graph_shortest(const graph *g, int from, int to, int8_t *via)
{
    uint32_t best[MAX_NODES];
    bool done[MAX_NODES] = {false};

    if (!is_node(g, from) || !is_node(g, to))
        return FAR;
    for (int i = 0; i < MAX_NODES; i++) {
        best[i] = FAR;
        via[i] = -1;
    }
    best[from] = 0;
    for (;;) {
        int nearest = -1;
        for (int i = 0; is_node(g, i); i++) {
            if (!done[i] && best[i] != FAR && (nearest < 0 || best[i] < best[nearest]))
                nearest = i;
        }
        if (nearest < 0 || nearest == to)
            break;
        done[nearest] = true;
        for (int i = 0; is_node(g, i); i++) {
            uint32_t cost = g->cost[nearest][i];
            if (cost && best[nearest] + cost < best[i]) {
                best[i] = best[nearest] + cost;
                via[i] = (int8_t)nearest;
            }
        }
    }
    return best[to];
}

void partition_init(partition *p)
{
    for (unsigned i = 0; i < MAX_NODES; i++) {
        p->parent[i] = (uint8_t)i;
        p->size[i] = 1;
    }
}

/* The root of a set, with path halving. */
static unsigned partition_find(partition *p, unsigned x)
{
    x %= MAX_NODES;
    for (int steps = 0; p->parent[x] != x && steps < MAX_NODES; steps++) {
        unsigned up = p->parent[x] % MAX_NODES;
        p->parent[x] = p->parent[up];
        x = p->parent[x] % MAX_NODES;
    }
    return x;
}

bool partition_join(partition *p, unsigned a, unsigned b)
{
    a = partition_find(p, a);
    b = partition_find(p, b);
    if (a == b)
        return false;
    if (p->size[a] < p->size[b]) {
        unsigned t = a;
        a = b;
        b = t;
    }
    p->parent[b] = (uint8_t)a;
    p->size[a] = (uint8_t)(p->size[a] + p->size[b]);
    return true;
}

/* Kruskal over edges in order of weight: the weight of the forest that joins the nodes. */
unsigned long long spanning_weight(const edge *edges, int count)
{
    partition p;
    unsigned long long sum = 0;

    partition_init(&p);
    for (int i = 0; i < count; i++)
        if (partition_join(&p, (unsigned)edges[i].from, (unsigned)edges[i].to))
            sum += edges[i].weight;
    return sum;
}

/* Add the edge a -> b to the file's own relation and keep it transitively closed. */
void relate(unsigned a, unsigned b)
{
    uint16_t reached;

    a &= 15;
    b &= 15;
    reached = (uint16_t)(1u << b | reach[b]);
    for (unsigned i = 0; i < MAX_NODES; i++)
        if (i == a || (reach[i] >> a & 1))
            reach[i] |= reached;
}

bool has_cycle(void)
{
    for (unsigned i = 0; i < MAX_NODES; i++)
        if (reach[i] & 1u << i)
            return true;
    return false;
}

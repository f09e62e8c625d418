/*
 * A trie of path segments. Its edges lie in one open-addressed table, keyed by the node they leave
 * and the segment, so that a step down costs the same whether a node has ten children or a thousand.
 *
 * A path is its segments between slashes: "/a/" is "", "a", "". "*" is one segment, so that it
 * passes no node of a real path. Node 0 is above all segments. A route hangs in one list of one node:
 * by its path, in the `whole` of the node where the path ends; by its prefix, in the `below` of the
 * node where that ends (of "/" that is the one behind the first slash); without either, in the
 * `below` of node 0. What may take a path is then `below` of each node that it passes, and `whole` of
 * the one where it ends: lists that rise, merged as they are asked for.
 */
#include "worker/paths.h"

#include <stdlib.h>

#include "worker/base/hash.h"
#include "worker/base/log.h"

/* Of the array `routes`; while the trie is built, n is how many are there already. */
struct run {
    uint32_t from, n;
};

struct node {
    struct str segment;
    uint32_t hash;
    uint32_t parent;
    uint32_t lists;             /* on the way here, this node's `below` included */
    struct run below, whole;
};

struct paths {
    struct node *nodes;         /* parents before children */
    size_t count;
    uint32_t *slots;            /* numbers of nodes; 0: free */
    uint32_t mask;
    uint32_t *routes;           /* numbers of routes, list after list */
    size_t longest;             /* segment */
    size_t lists;               /* that one path can meet */
};

static uint32_t
hash_of(uint32_t parent, struct str segment)
{
    return (uint32_t)hash_bytes(segment.p, segment.n, parent);
}

/* The slot of that edge, or the free one where it would stand. */
static uint32_t *
probe(const struct paths *t, uint32_t parent, struct str segment, uint32_t hash, size_t *steps)
{
    uint32_t i = hash & t->mask;

    for (; t->slots[i] != 0; i = (i + 1) & t->mask) {
        const struct node *n = &t->nodes[t->slots[i]];

        ++*steps;
        if (n->hash == hash && n->parent == parent && str_eq(n->segment, segment))
            break;
    }
    return &t->slots[i];
}

static uint32_t
child(struct paths *t, uint32_t parent, struct str segment)
{
    uint32_t hash = hash_of(parent, segment), *slot;
    size_t steps = 0;

    slot = probe(t, parent, segment, hash, &steps);
    if (*slot == 0) {
        *slot = (uint32_t)t->count;
        t->nodes[t->count++] = (struct node){.segment = segment, .hash = hash, .parent = parent};
        if (segment.n > t->longest)
            t->longest = segment.n;
    }
    return *slot;
}

static uint32_t
descend(struct paths *t, struct str path)
{
    uint32_t node = 0;

    do
        node = child(t, node, str_cut(&path, '/'));
    while (path.p != NULL);
    return node;
}

/* The list that a route hangs in. */
static struct run *
hang(struct paths *t, const struct match *m)
{
    if (m->path.p != NULL)
        return &t->nodes[descend(t, m->path)].whole;
    if (m->prefix.p == NULL)
        return &t->nodes[0].below;
    return &t->nodes[descend(t, str_eq(m->prefix, STR("/")) ? STR("") : m->prefix)].below;
}

static size_t
count_segments(struct str path)
{
    size_t n = 1;

    for (size_t i = 0; i < path.n; i++)
        n += path.p[i] == '/';
    return n;
}

/* For as many nodes as there can be; slots at most half full. */
static void
make_room(struct paths *t, const struct route *routes, size_t n, struct arena *a)
{
    size_t most = 1;
    uint32_t size = 8;

    for (size_t i = 0; i < n; i++)
        most += count_segments(routes[i].match.path.p != NULL ? routes[i].match.path : routes[i].match.prefix);
    check(most < UINT32_MAX / 4 && n < UINT32_MAX / 4);
    while (size < 2 * most)
        size *= 2;
    t->mask = size - 1;
    t->slots = arena_zalloc(a, size * sizeof(*t->slots));
    t->nodes = arena_zalloc(a, most * sizeof(*t->nodes));
    t->routes = arena_alloc(a, (n + 1) * sizeof(*t->routes));
    t->count = 1;
}

/* Lengths are known: where each list begins, and how many a path can meet. */
static void
lay_out(struct paths *t)
{
    uint32_t at = 0;

    for (size_t i = 0; i < t->count; i++) {
        struct node *n = &t->nodes[i];

        n->below.from = at;
        n->whole.from = at + n->below.n;
        at += n->below.n + n->whole.n;
        n->lists = (i > 0 ? t->nodes[n->parent].lists : 0) + (n->below.n > 0);
        if (n->lists + (n->whole.n > 0) > t->lists)
            t->lists = n->lists + (n->whole.n > 0);
        n->below.n = n->whole.n = 0;
    }
}

struct paths *
paths_new(const struct route *routes, size_t n, struct arena *a)
{
    struct paths *t = arena_zalloc(a, sizeof(*t));
    struct run **lists = xmalloc((n + 1) * sizeof(*lists));

    make_room(t, routes, n, a);
    for (size_t i = 0; i < n; i++) {
        lists[i] = hang(t, &routes[i].match);
        lists[i]->n++;
    }
    lay_out(t);
    for (size_t i = 0; i < n; i++)
        t->routes[lists[i]->from + lists[i]->n++] = (uint32_t)i;
    free(lists);
    return t;
}

static void
add(struct paths_walk *w, const struct paths *t, struct run run)
{
    if (run.n > 0)
        w->v[w->n++] = (struct paths_list){t->routes + run.from, t->routes + run.from + run.n};
}

/* Down to where it belongs. */
static void
sink(struct paths_walk *w, size_t i)
{
    for (size_t least; (least = 2 * i + 1) < w->n; i = least) {
        struct paths_list list = w->v[i];

        if (least + 1 < w->n && *w->v[least + 1].at < *w->v[least].at)
            least++;
        if (*list.at < *w->v[least].at)
            return;
        w->v[i] = w->v[least];
        w->v[least] = list;
    }
}

/* The lists that the path meets. A segment that no route has ends the walk. */
static void
collect(struct paths_walk *w, const struct paths *t, struct str path)
{
    uint32_t node = 0;

    add(w, t, t->nodes[0].below);
    do {
        struct str segment = str_cut(&path, '/');

        if (segment.n > t->longest)
            return;
        node = *probe(t, node, segment, hash_of(node, segment), &w->steps);
        if (node == 0)
            return;
        add(w, t, t->nodes[node].below);
    } while (path.p != NULL);
    add(w, t, t->nodes[node].whole);
}

void
paths_start(struct paths_walk *w, const struct paths *t, struct str path, struct arena *a)
{
    w->n = w->steps = 0;
    paths_leave(w, SIZE_MAX, 0);
    w->v = t->lists > sizeof(w->few) / sizeof(w->few[0]) ? arena_alloc(a, t->lists * sizeof(*w->v)) : w->few;
    collect(w, t, path);
    for (size_t i = w->n / 2; i-- > 0; )
        sink(w, i);
}

static bool
is_left(const struct paths_walk *w, uint32_t route)
{
    return route / 64 == w->block && (w->only >> route % 64 & 1) == 0;
}

void
paths_leave(struct paths_walk *w, size_t block, uint64_t only)
{
    w->block = block;
    w->only = only;
}

/*
 * Behind those of a list that are left out. Its numbers rise: what is greater by some is at most as many behind,
 * and mostly just there.
 */
static const uint32_t *
pass(const struct paths_walk *w, const uint32_t *at, const uint32_t *end)
{
    while (at < end && is_left(w, *at)) {
        uint64_t given = w->only >> *at % 64;
        uint32_t step = given != 0 ? (uint32_t)__builtin_ctzll(given) : 64 - *at % 64, next = *at + step;

        for (at += step < (size_t)(end - at) ? step : (size_t)(end - at); at[-1] >= next; at--)
            ;
    }
    return at;
}

/* The first of the first list, and what is left out behind it. */
static uint32_t
take(struct paths_walk *w)
{
    struct paths_list *list = &w->v[0];
    uint32_t route = *list->at;

    list->at = pass(w, list->at + 1, list->end);
    if (list->at == list->end)
        *list = w->v[--w->n];
    if (w->n > 1)
        sink(w, 0);
    w->steps++;
    return route;
}

size_t
paths_next(struct paths_walk *w)
{
    while (w->n > 0) {
        uint32_t route = take(w);

        if (!is_left(w, route))
            return route;
    }
    return PATHS_END;
}

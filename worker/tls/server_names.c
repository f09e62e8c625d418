/*
 * Which certificates a name gets. Knows that an exact name goes before a wildcard, that "*" stands for one label, and
 * that of each kind of key the first certificate that covers a name is the one: by its exact name, if any does.
 */
#include <stdlib.h>
#include <string.h>

#include "worker/base/log.h"
#include "worker/tls/hello.h"
#include "worker/tls/server_parts.h"

/* A name and a certificate that has it; while the table is made. */
struct pair {
    struct str name;
    struct tls_held *held;
};

struct pairs {
    struct pair *v;
    size_t n;
};

static int
compare(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int d = n > 0 ? memcmp(a.p, b.p, n) : 0;

    return d != 0 ? d : a.n < b.n ? -1 : a.n > b.n;
}

static int
by_name(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    int d = compare(x->name, y->name);

    return d != 0 ? d : x->held < y->held ? -1 : x->held > y->held;
}

static struct pairs
collect(struct tls_server *s)
{
    struct pairs pairs = {0};
    size_t n = 0;

    for (size_t i = 0; i < s->held_count; i++)
        n += s->held[i].names.n;
    pairs.v = xmalloc((n + 1) * sizeof(*pairs.v));
    for (size_t i = 0; i < s->held_count; i++)
        for (size_t j = 0; j < s->held[i].names.n; j++)
            pairs.v[pairs.n++] = (struct pair){s->held[i].names.v[j], &s->held[i]};
    qsort(pairs.v, pairs.n, sizeof(*pairs.v), by_name);
    return pairs;
}

/* The first of those with that name, or where it would stand. */
static size_t
first_of(const struct pairs *pairs, struct str name)
{
    size_t low = 0, high = pairs->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (compare(pairs->v[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Certificates with that very name, into kinds that have none yet. */
static void
take(const struct pairs *pairs, struct str name, struct tls_held *held[KINDS])
{
    for (size_t i = first_of(pairs, name); i < pairs->n && str_eq(pairs->v[i].name, name); i++)
        if (held[pairs->v[i].held->kind] == NULL)
            held[pairs->v[i].held->kind] = pairs->v[i].held;
}

/* "*.example.com" for "www.example.com"; n 0: it has but one label, or is one itself. `to` has room for a name. */
static struct str
wildcard_of(struct str name, char *to)
{
    const char *dot = name.n > 0 && name.n <= HELLO_NAME_MOST && name.p[0] != '*' ? memchr(name.p, '.', name.n) : NULL;
    size_t n = dot != NULL ? (size_t)(name.p + name.n - dot) : 0;

    if (dot == NULL || dot == name.p)
        return STR_NONE;
    to[0] = '*';
    memcpy(to + 1, dot, n);
    return (struct str){to, n + 1};
}

static void
cover(const struct pairs *pairs, struct str name, struct tls_held *held[KINDS])
{
    char text[HELLO_NAME_MOST + 1];
    struct str wildcard = wildcard_of(name, text);

    take(pairs, name, held);
    if (wildcard.n > 0)
        take(pairs, wildcard, held);
}

/* The first certificate, and with it what else covers its first name: a client without a name may do one kind alone. */
static struct tls_set *
make_first(struct tls_server *s, const struct pairs *pairs)
{
    struct tls_held *held[KINDS] = {NULL}, *first = &s->held[0];

    held[first->kind] = first;
    if (first->names.n > 0)
        cover(pairs, first->names.v[0], held);
    return tls_server_set(s, held);
}

static void
tell_unused(struct tls_server *s)
{
    bool *used = xcalloc(s->held_count, sizeof(*used));

    used[0] = true;
    for (size_t i = 0; i < s->name_count; i++)
        for (size_t k = 0; k < KINDS; k++)
            if (s->names[i].set->held[k] != NULL)
                used[s->names[i].set->held[k] - s->held] = true;
    for (size_t i = 0; i < s->held_count; i++)
        if (!used[i])
            tls_server_warn(s, (int)i, "cert", "no client ever gets it: others of its kind that go before it have all "
                            "its names");
    free(used);
}

void
tls_server_names_make(struct tls_server *s)
{
    struct pairs pairs = collect(s);

    s->names = arena_alloc(s->arena, (pairs.n + 1) * sizeof(*s->names));
    s->first = make_first(s, &pairs);
    for (size_t i = 0; i < pairs.n && !s->failed; i++) {
        struct tls_held *held[KINDS] = {NULL};

        if (i > 0 && str_eq(pairs.v[i].name, pairs.v[i - 1].name))
            continue;
        cover(&pairs, pairs.v[i].name, held);
        s->names[s->name_count++] = (struct tls_name){pairs.v[i].name, tls_server_set(s, held)};
    }
    free(pairs.v);
    if (!s->failed)
        tell_unused(s);
}

static struct tls_set *
look_up(const struct tls_server *s, struct str name)
{
    size_t low = 0, high = s->name_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int d = compare(s->names[middle].name, name);

        if (d == 0)
            return s->names[middle].set;
        if (d < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

struct tls_set *
tls_server_names_find(const struct tls_server *s, struct str name)
{
    char text[HELLO_NAME_MOST + 1];
    struct tls_set *set = look_up(s, name);
    struct str wildcard;

    check(s->first != NULL);
    if (set == NULL && (wildcard = wildcard_of(name, text)).n > 0)
        set = look_up(s, wildcard);
    return set != NULL ? set : s->first;
}

/*
 * Two hash tables over one array of pairs. Whoever sends the pairs would like them all in one chain: the hash
 * has a key of the process's own. Chains keep the order the pairs came in, so they are made from the end.
 */
#include "worker/param_index.h"

#include "shm/digest.h"
#include "worker/base/log.h"
#include "worker/param.h"

struct param_index {
    struct param_entry *v;
    uint32_t n;
    uint32_t mask;
    uint32_t *names, *pairs;    /* where chains begin: numbers from 1 */
    size_t steps;
};

typedef bool cutter(struct str *rest, struct param *p);

static uint32_t
hash(struct str name, struct str value)
{
    static struct digest_key key;
    static bool known;

    if (!known) {
        check(digest_key_make(&key));
        known = true;
    }
    return (uint32_t)digest_make(&key, name.p, name.n, value.p, value.n);
}

static size_t
count(cutter *cut, struct str rest)
{
    struct param p;
    size_t n = 0;

    while (cut(&rest, &p))
        n++;
    return n;
}

static struct param_index *
make(size_t n, struct arena *a)
{
    struct param_index *x = arena_zalloc(a, sizeof(*x));
    size_t size = 1;

    check(n < UINT32_MAX / 2);
    while (size < n)
        size *= 2;
    x->mask = (uint32_t)size - 1;
    x->v = arena_alloc(a, n * sizeof(*x->v));
    x->names = arena_zalloc(a, size * sizeof(*x->names));
    x->pairs = arena_zalloc(a, size * sizeof(*x->pairs));
    return x;
}

static void
add(struct param_index *x, struct str name, struct str value)
{
    x->v[x->n++] = (struct param_entry){.name = name, .value = value, .name_hash = hash(name, STR_NONE),
                                        .pair_hash = hash(name, value)};
}

static void
link_all(struct param_index *x)
{
    for (uint32_t i = x->n; i > 0; i--) {
        struct param_entry *e = &x->v[i - 1];
        uint32_t *name = &x->names[e->name_hash & x->mask], *pair = &x->pairs[e->pair_hash & x->mask];

        e->name_next = *name;
        e->pair_next = *pair;
        *name = *pair = i;
    }
}

static struct str
decode(struct str s, struct arena *a)
{
    char *to;

    if (s.n == 0 || (memchr(s.p, '%', s.n) == NULL && memchr(s.p, '+', s.n) == NULL))
        return s;
    to = arena_alloc(a, s.n);
    return (struct str){to, param_decode(s, to, s.n)};
}

struct param_index *
param_index_query(struct str query, struct arena *a)
{
    struct str rest = param_query(query);
    struct param_index *x = make(count(param_next, rest), a);
    struct param p;

    while (param_next(&rest, &p))
        add(x, decode(p.name, a), decode(p.value, a));
    link_all(x);
    return x;
}

static struct str
cookie_of(const struct field *f)
{
    return f->id == FIELD_COOKIE && !f->gone ? f->value : STR_NONE;
}

struct param_index *
param_index_cookies(const struct fields *f, struct arena *a)
{
    struct param_index *x;
    size_t n = 0;

    for (size_t i = 0; i < f->n; i++)
        n += count(param_next_cookie, cookie_of(&f->v[i]));
    x = make(n, a);
    for (size_t i = 0; i < f->n; i++) {
        struct str rest = cookie_of(&f->v[i]);
        struct param p;

        while (param_next_cookie(&rest, &p))
            add(x, p.name, p.value);
    }
    link_all(x);
    return x;
}

/* From number i of a chain on. */
static const struct param_entry *
find(struct param_index *x, uint32_t i, uint32_t name_hash, struct str name)
{
    for (; i != 0; i = x->v[i - 1].name_next) {
        const struct param_entry *e = &x->v[i - 1];

        x->steps++;
        if (e->name_hash == name_hash && str_eq(e->name, name))
            return e;
    }
    return NULL;
}

const struct param_entry *
param_index_first(struct param_index *x, struct str name)
{
    uint32_t h = hash(name, STR_NONE);

    return find(x, x->names[h & x->mask], h, name);
}

const struct param_entry *
param_index_next(struct param_index *x, const struct param_entry *e)
{
    return find(x, e->name_next, e->name_hash, e->name);
}

bool
param_index_has(struct param_index *x, struct str name, struct str value)
{
    uint32_t h = hash(name, value);

    for (uint32_t i = x->pairs[h & x->mask]; i != 0; i = x->v[i - 1].pair_next) {
        const struct param_entry *e = &x->v[i - 1];

        x->steps++;
        if (e->pair_hash == h && str_eq(e->name, name) && str_eq(e->value, value))
            return true;
    }
    return false;
}

size_t
param_index_cost(const struct param_index *x)
{
    return x->steps;
}

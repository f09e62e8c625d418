/*
 * Knows how the cache's segment is laid out for its size, and how it comes to be; see cache_parts.h.
 *
 * Invariants: where things lie follows from the size, the largest object and the number of rows alone, and is kept
 * outside the segment. Each shard of small objects has space for two of the largest from the beginning, and keeps it;
 * one of large ones begins with as little as there can be. What is left belongs to whoever asks for it first, until one
 * that has less than eight of its largest asks (cache_tick.c).
 */
#include "shm/cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/cache_parts.h"
#include "shm/cells.h"

const struct segment_kind cache_frame = {
    .name = "weircach",
    .version = 2,
    .layout = SEGMENT_LAYOUT(sizeof(struct cache_top), sizeof(struct cache_shard),
                             sizeof(struct cache_kept) + sizeof(struct cache_record) + sizeof(struct cache_seal)),
    .owner = sizeof(struct cache),
    .head = sizeof(struct cache_top),
};

enum {
    SMALL_SHARDS_MOST = 64,
    LARGE_SHARDS_MOST = 8,
    SMALL_LEAST = 2,            /* of the largest objects, that there has to be space for in a shard */
    LARGE_LEAST = 1,
    HOLDS_LEAST = 64,
    HOLDS_MOST = 8192,
    TAGS_LEAST = 4096,
    TAGS_MOST = 1 << 20,
};

#define MIB ((size_t)1024 * 1024)
#define SMALL_SHARD (16 * MIB)
#define LARGE_SHARD (4096 * MIB)
#define SIZE_MOST ((size_t)1 << 46)
#define OBJECT_MOST (((uint64_t)1 << 40) - 1)           /* cache_record.h */

/* Layout */

static size_t
between(size_t n, size_t least, size_t most)
{
    return n < least ? least : n > most ? most : n;
}

static uint32_t
power_of_two(size_t n)
{
    uint32_t p = 1;

    while (p <= n / 2 && p < (uint32_t)1 << 30)
        p *= 2;
    return p;
}

static size_t
small_most(const struct cache_shape *shape)
{
    return shape->max_object < CACHE_SMALL_MOST ? shape->max_object : CACHE_SMALL_MOST;
}

/* Whether large objects have shards of their own: where that leaves enough for the small ones. */
static bool
is_split(const struct cache_shape *shape)
{
    return shape->max_object > CACHE_SMALL_MOST &&
           CACHE_OBJECTS_LEAST * (shape->max_object + CACHE_SMALL_MOST) <= shape->size / 4 * 3;
}

static size_t
aligned(size_t n)
{
    return (n + 63) / 64 * 64;
}

/* `share`: of the segment, for one shard; `object`: what one takes at least, about. */
static void
lay_out_class(struct cache_layout *at, struct cache_class *class, size_t share, size_t object, unsigned rows)
{
    class->buckets = (uint32_t)between(share / object, 64, UINT32_MAX / 2);
    class->ghosts = power_of_two(between(share / object / 2, 64, 1 << 24));
    class->holds = (uint32_t)between(share / (16 * 1024), HOLDS_LEAST, HOLDS_MOST);
    class->cells = aligned(sizeof(struct cache_shard));
    class->space = aligned(class->cells + (rows + 1) * sizeof(uint64_t));
    class->bucket = aligned(class->space + space_size());
    class->ghost = aligned(class->bucket + class->buckets * sizeof(uint32_t));
    class->hold = aligned(class->ghost + class->ghosts * sizeof(uint32_t));
    class->stride = segment_pages(class->hold + class->holds * at->hold_size);
}

static struct cache_layout
lay_out(const struct cache_shape *shape, unsigned rows, unsigned small, unsigned large)
{
    struct cache_layout at = {.shards = small + large, .words = rows / 64 + 1};
    struct cache_class *s = &at.class[CACHE_SMALL_CLASS], *l = &at.class[CACHE_LARGE_CLASS];

    at.hold_size = sizeof(struct cache_kept) + at.words * sizeof(uint64_t);
    at.tags = (uint32_t)between(shape->size / 4096, TAGS_LEAST, TAGS_MOST);
    at.tag = segment_pages(sizeof(struct cache_top));
    for (at.small_shift = 64; small >> (64 - at.small_shift) > 1; at.small_shift--)
        continue;
    s->shards = small;
    s->most = large > 0 ? small_most(shape) : shape->max_object;
    s->offset = at.tag + segment_pages(at.tags * sizeof(struct cache_tag));
    lay_out_class(&at, s, shape->size / small, 1024, rows);
    l->first = small;
    l->shards = large;
    l->most = shape->max_object;
    l->offset = s->offset + small * s->stride;
    lay_out_class(&at, l, large > 0 ? shape->size / large : 0, 128 * 1024, rows);
    at.end = l->offset + large * l->stride;
    return at;
}

static unsigned
least_of(const struct cache_class *class, const struct space_pool *pool)
{
    size_t n = class->first == 0 ? SMALL_LEAST * class->most : LARGE_LEAST * class->most + CACHE_CHUNK;

    return (unsigned)((n + pool->region_size - 1) / pool->region_size);
}

/* Whether each shard gets what it must have, and most of the space is left for whoever wants it; `close`: or less. */
static bool
fits(const struct cache_shape *shape, const struct cache_layout *at, struct space_pool *pool, bool close)
{
    const struct cache_class *s = &at->class[CACHE_SMALL_CLASS], *l = &at->class[CACHE_LARGE_CLASS];
    uint64_t small, large;

    if (at->end >= shape->size)
        return false;
    memset(pool, 0, sizeof(*pool));
    space_pool_init(pool, shape->size, at->end);
    small = (uint64_t)s->shards * least_of(s, pool);
    large = (uint64_t)l->shards * least_of(l, pool);
    return close ? small + large <= pool->regions : large + 8 * small <= pool->regions;
}

/* The most shards that fit. False: none do. */
static bool
choose(const struct cache_shape *shape, unsigned rows, struct cache_layout *at, struct space_pool *pool)
{
    unsigned small = power_of_two(between(shape->size / SMALL_SHARD, 1, SMALL_SHARDS_MOST)), large = 0;

    if (is_split(shape))
        large = (unsigned)between(shape->size / LARGE_SHARD, 1, LARGE_SHARDS_MOST);
    while (large > 1 && large * CACHE_OBJECTS_LEAST * shape->max_object > shape->size / 8)
        large--;
    for (;; small /= 2) {
        *at = lay_out(shape, rows, small, large);
        if (fits(shape, at, pool, small == 1))
            return true;
        if (small == 1)
            break;
    }
    *at = lay_out(shape, rows, 1, 0);
    return fits(shape, at, pool, true);
}

static bool
is_sane(const struct cache_shape *shape, unsigned rows)
{
    return shape->size >= CACHE_SIZE_LEAST && shape->size <= SIZE_MOST && shape->max_object > 0 &&
           shape->max_object <= shape->size / 16 && shape->max_object <= OBJECT_MOST && rows >= 1 && rows <= UINT16_MAX;
}

/* Making */

bool
cache_make_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attr;
    bool good;

    if (pthread_mutexattr_init(&attr) != 0)
        return false;
    good = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) == 0 &&
           pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) == 0 && pthread_mutex_init(lock, &attr) == 0;
    pthread_mutexattr_destroy(&attr);
    return good;
}

/* Of large objects there may never be any. */
unsigned
cache_regions_least(const struct cache *c, unsigned shard)
{
    return cache_class_of(c, shard) == CACHE_LARGE_CLASS ? 1 : least_of(cache_class(c, shard), &c->head->pool);
}

static bool
make_shard(struct cache *c, unsigned shard)
{
    struct cache_shard *s = cache_shard(c, shard);
    const struct cache_class *class = cache_class(c, shard);
    struct space_view v = cache_view(c, shard);

    space_init(&v, cache_regions_least(c, shard), v.pool->regions);
    queue_init(&s->queue, &v, class->offset + (shard - class->first) * class->stride + class->ghost, class->ghosts);
    s->fresh = 1;
    s->total = space_total(&v);
    return cache_make_lock(&s->lock);
}

static bool
make_shards(struct cache *c)
{
    unsigned shard;

    for (shard = 0; shard < c->at.shards; shard++) {
        if (!make_shard(c, shard))
            return false;
    }
    return true;
}

bool
cache_find_parts(struct cache *c, const struct cache_shape *shape, unsigned rows, struct space_pool *pool)
{
    c->head = c->segment.base;
    c->rows = rows;
    return is_sane(shape, rows) && choose(shape, rows, &c->at, pool);
}

bool
cache_fill_in(struct cache *c, const struct cache_shape *shape, const struct slots *slots, bool file)
{
    unsigned rows = slots_rows(slots);

    c->slots = slots;
    c->head = c->segment.base;
    c->head->size = shape->size;
    c->head->max_object = shape->max_object;
    c->head->rows = rows;
    c->head->file = file;
    c->front = file ? sizeof(struct cache_seal) : 0;
    return cache_find_parts(c, shape, rows, &c->head->pool) && make_shards(c);
}

struct cache *
cache_create(const struct cache_shape *shape, const struct slots *slots)
{
    struct cache *c;

    if (!is_sane(shape, slots_rows(slots))) {
        errno = EINVAL;
        return NULL;
    }
    c = segment_make(&cache_frame, segment_pages(shape->size));
    if (c == NULL)
        return NULL;
    if (cache_fill_in(c, shape, slots, false))
        return c;
    cache_detach(c);
    errno = EINVAL;
    return NULL;
}

bool
cache_understand(void *owner, unsigned rows)
{
    struct cache *c = owner;
    const struct cache_top *head = c->segment.base;
    struct cache_shape shape = {(size_t)__atomic_load_n(&head->size, __ATOMIC_RELAXED),
                                (size_t)__atomic_load_n(&head->max_object, __ATOMIC_RELAXED)};
    unsigned says = __atomic_load_n(&head->rows, __ATOMIC_RELAXED);
    struct space_pool pool;

    c->front = __atomic_load_n(&head->file, __ATOMIC_RELAXED) ? sizeof(struct cache_seal) : 0;
    return (rows == 0 || says == rows) && is_sane(&shape, says) && segment_pages(shape.size) == c->segment.size &&
           cache_find_parts(c, &shape, says, &pool) && pool.region_size == head->pool.region_size &&
           pool.regions == head->pool.regions && pool.offset == head->pool.offset &&
           pool.unit_shift == head->pool.unit_shift;
}

struct cache *
cache_attach(int fd, const struct slots *slots)
{
    struct cache *c = segment_take(&cache_frame, fd, cache_understand, slots_rows(slots));

    if (c != NULL)
        c->slots = slots;
    return c;
}

int
cache_fd(const struct cache *c)
{
    return c->segment.fd;
}

void
cache_detach(struct cache *c)
{
    free(c->use[CACHE_SMALL_CLASS]);
    free(c->use[CACHE_LARGE_CLASS]);
    free(c->said);
    free(c->sums[CACHE_SMALL_CLASS]);
    free(c->sums[CACHE_LARGE_CLASS]);
    segment_end(c);
}

struct cache_shape
cache_shape(const struct cache *c)
{
    return (struct cache_shape){(size_t)c->head->size, (size_t)c->head->max_object};
}

void
cache_set_heads(struct cache *c, uint32_t version)
{
    c->head->heads = version;
}

uint32_t
cache_heads(const struct cache *c)
{
    return c->head->heads;
}

/* Its memory is touched where it is used. */
bool
cache_begin(struct cache *c, unsigned row)
{
    unsigned i;

    for (i = 0; i < CACHE_CLASSES; i++) {
        const struct cache_class *class = &c->at.class[i];

        free(c->use[i]);
        free(c->sums[i]);
        c->use[i] = calloc((size_t)class->shards * class->holds + 1, sizeof(struct cache_uses));
        c->sums[i] = c->front > 0 ? calloc((size_t)class->shards * class->holds + 1, sizeof(struct cache_sum)) : NULL;
        if (c->use[i] == NULL || (c->front > 0 && c->sums[i] == NULL))
            return false;
    }
    free(c->said);
    c->said = calloc(c->at.shards, sizeof(*c->said));
    if (c->said == NULL)
        return false;
    cells_raise(&c->head->high, row);
    c->row = row;
    return true;
}

unsigned
cache_shard_small(const struct cache *c, const struct cache_key *key)
{
    return c->at.small_shift < 64 ? (unsigned)(key->word[0] >> c->at.small_shift) : 0;
}

unsigned
cache_shard_large(const struct cache *c, const struct cache_key *key)
{
    const struct cache_class *class = &c->at.class[CACHE_LARGE_CLASS];

    if (class->shards == 0)
        return CACHE_NO_SHARD;
    return class->first + (unsigned)((key->word[0] & UINT32_MAX) % class->shards);
}

void
cache_sum(const struct cache *c, struct cache_totals *t)
{
    unsigned shard;

    memset(t, 0, sizeof(*t));
    for (shard = 0; shard < c->at.shards; shard++) {
        const struct cache_shard *s = cache_shard(c, shard);

        t->objects += __atomic_load_n(&s->objects, __ATOMIC_RELAXED);
        t->bytes += __atomic_load_n(&s->bytes, __ATOMIC_RELAXED);
        t->used += __atomic_load_n(&s->used, __ATOMIC_RELAXED);
        t->evicted += __atomic_load_n(&s->evicted, __ATOMIC_RELAXED);
        t->resets += __atomic_load_n(&s->resets, __ATOMIC_RELAXED);
    }
    t->dropped = __atomic_load_n(&c->head->dropped, __ATOMIC_RELAXED);
    t->space = c->head->pool.regions * c->head->pool.region_size;
}

/*
 * Knows how to read a segment that may have been torn anywhere.
 *
 * Regions are gone through block by block, as far as their headers make sense; where a block that was taken begins is
 * noted in a map. A block that looks like a record is one if its seal says so, of each of its extents too, and all
 * of these begin where the map says that a block does; then they leave the map, so that no other has them. Headers and
 * map keep it within bounds where a seal holds by accident, seals keep it short where everything else is made up.
 */
#include "shm/cache_walk.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "shm/cache_blocks.h"

/* The map */

static cache_address
first_of(const struct cache *c)
{
    struct space_view v = cache_view(c, 0);

    return blocks_start(&v, 0);
}

static uint64_t
units_of(const struct cache *c)
{
    struct space_view v = cache_view(c, 0);

    return (uint64_t)v.pool->regions * blocks_in_region(&v);
}

static size_t
map_size(const struct cache *c)
{
    return segment_pages((size_t)(units_of(c) / 8 + 8));
}

static void
flip(struct cache_walk *w, cache_address a)
{
    uint64_t i = a - first_of(w->c);

    w->open[i / 64] ^= UINT64_C(1) << i % 64;
}

/* Of any number at all. */
static bool
is_open(const struct cache_walk *w, cache_address a)
{
    cache_address first = first_of(w->c);
    uint64_t i = (uint64_t)a - first;

    return a >= first && i < units_of(w->c) && (w->open[i / 64] >> i % 64 & 1) != 0;
}

bool
cache_walk_keeps(const void *with, cache_address a)
{
    return !is_open(with, a);
}

/* Chains */

static bool
is_of(struct cache_walk *w, unsigned shard, unsigned region)
{
    if (w->owner[region] != 0)
        return w->owner[region] == shard + 1;
    if (w->owned[shard] >= cache_regions_least(w->c, shard)) {
        if (w->spare == 0)
            return false;
        w->spare--;
    }
    w->owned[shard]++;
    w->owner[region] = (uint16_t)(shard + 1);
    return true;
}

/* A chain with room for so many bytes, and no extent more; *n: of how many the map was told. */
static bool
take_chain(struct cache_walk *w, unsigned shard, cache_address a, uint64_t bytes, struct digest *d, uint64_t *n)
{
    struct space_view v = cache_view(w->c, shard);

    for (;; a = space_next(&v, a)) {
        uint64_t room;

        if (!is_open(w, a) || !is_of(w, shard, blocks_region(&v, a)))
            return false;
        flip(w, a);
        ++*n;
        cache_seal_extent(d, a, blocks_units(&v, a));
        room = blocks_room(&v, blocks_units(&v, a));
        if (room >= bytes)
            return space_next(&v, a) == 0;
        bytes -= room;
    }
}

static void
give_chain(struct cache_walk *w, cache_address a, uint64_t n)
{
    struct space_view v = cache_view(w->c, 0);

    for (; n > 0; n--, a = space_next(&v, a))
        flip(w, a);
}

/* Of the record: its own extents, then those of its body. */
static bool
take_chains(struct cache_walk *w, unsigned shard, cache_address a)
{
    const struct cache_record *r = cache_record_at(w->c, a);
    uint64_t length = cache_index_length(r), own = 0, others = 0;
    struct digest d;
    bool good;

    cache_seal_extents(w->c, &d, a);
    if (r->body == a)
        good = take_chain(w, shard, a, cache_record_skip(w->c, a) + length, &d, &own);
    else
        good = take_chain(w, shard, a, cache_record_skip(w->c, a), &d, &own) &&
               take_chain(w, shard, r->body, cache_record_skip(w->c, r->body) + length, &d, &others);
    if (good && cache_seal_of(w->c, cache_record_at(w->c, a))->chain == cache_seal_chain(&d))
        return true;
    give_chain(w, a, own);
    give_chain(w, r->body, others);
    return false;
}

/* Records */

static bool
has_head(const struct cache_walk *w, cache_address a)
{
    struct space_view v = cache_view(w->c, 0);
    size_t room = blocks_room(&v, blocks_units(&v, a)), front = cache_record_front(w->c);

    return room >= front && cache_record_at(w->c, a)->head_n <= room - front;
}

/* Whether it could be a record with a seal at all: so says no other block but by accident. */
static bool
looks_like_one(const struct cache_walk *w, cache_address a)
{
    struct cache_record *r;
    const struct cache_seal *s;
    unsigned shard;

    if (!has_head(w, a))
        return false;
    r = cache_record_at(w->c, a);
    s = cache_seal_of(w->c, r);
    shard = s->place & UINT16_MAX;
    return s->place != 0 && (r->flags & RECORD_MARK) == 0 &&
           (shard == cache_shard_small(w->c, &r->key) || shard == cache_shard_large(w->c, &r->key));
}

static bool
is_whole(struct cache_walk *w, cache_address a)
{
    struct cache_record *r = cache_record_at(w->c, a);
    const struct cache_seal *s = cache_seal_of(w->c, r);
    unsigned shard = s->place & UINT16_MAX;

    return s->head == cache_seal_head(w->c, a) && s->place >> 16 > cache_shard(w->c, shard)->born &&
           (r->body == a || (is_open(w, r->body) && has_head(w, r->body))) && take_chains(w, shard, a);
}

static bool
add(struct cache_walk *w, cache_address a)
{
    uint64_t place = cache_seal_of(w->c, cache_record_at(w->c, a))->place;
    struct cache_found *found;

    if (w->n == w->room) {
        w->room = w->room > 0 ? 2 * w->room : 4096;
        found = realloc(w->found, w->room * sizeof(*found));
        if (found == NULL)
            return false;
        w->found = found;
    }
    w->found[w->n++] = (struct cache_found){place, a};
    if (place >> 16 > w->latest)
        w->latest = place >> 16;
    return true;
}

/* Regions */

/* Calls it for each block that was taken, as far as there are blocks. */
static bool
each_taken(struct cache_walk *w, bool (*see)(struct cache_walk *w, cache_address a))
{
    struct space_view v = cache_view(w->c, 0);
    unsigned region;

    for (region = 0; region < v.pool->regions; region++) {
        cache_address a = blocks_start(&v, region), end = a + blocks_in_region(&v);
        uint32_t units;
        bool taken;

        for (; a != end && (units = blocks_peek(&v, region, a, &taken)) != 0; a += units) {
            if (taken && !see(w, a))
                return false;
        }
    }
    return true;
}

static bool
note(struct cache_walk *w, cache_address a)
{
    flip(w, a);
    return true;
}

static bool
consider(struct cache_walk *w, cache_address a)
{
    if (!is_open(w, a) || !looks_like_one(w, a))
        return true;
    if (is_whole(w, a))
        return add(w, a);
    w->dropped++;
    return true;
}

static int
by_age(const void *a, const void *b)
{
    const struct cache_found *x = a, *y = b;

    return x->place < y->place ? -1 : x->place > y->place;
}

bool
cache_walk(struct cache_walk *w, const struct cache *c)
{
    uint32_t least = 0;
    unsigned shard;

    *w = (struct cache_walk){.c = c, .owned = calloc(c->at.shards, sizeof(*w->owned))};
    w->open = mmap(NULL, map_size(c), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (w->open == MAP_FAILED)
        w->open = NULL;
    if (w->open == NULL || w->owned == NULL)
        return false;
    for (shard = 0; shard < c->at.shards; shard++)
        least += cache_regions_least(c, shard);
    w->spare = c->head->pool.regions - least;
    if (!each_taken(w, note) || !each_taken(w, consider))
        return false;
    if (w->n > 0)
        qsort(w->found, w->n, sizeof(*w->found), by_age);
    return true;
}

void
cache_walk_end(struct cache_walk *w)
{
    if (w->open != NULL)
        munmap(w->open, map_size(w->c));
    free(w->owned);
    free(w->found);
}

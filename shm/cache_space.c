/*
 * Knows which regions are whose, and makes chains of what cache_blocks.c finds in them.
 *
 * Invariants: a region's owner is set by a swap from nobody, and cleared by its owner under its lock, when nothing that
 * is in it is in the owner's lists any more. A kill between leaves it the owner's, and the reset that follows finds it.
 */
#include "shm/cache_blocks.h"

#include <string.h>

#include "shm/segment.h"

enum {
    PIECES = 2048,              /* of a chain, more or less: 256 bytes of one that has 512 KiB */
    STEPS = 64,                 /* of a walk, by the way */
    STEPS_MOST = 4096,          /* and by whoever asks for its end */
};

#define REGION_LEAST ((uint64_t)64 * 1024)
#define REGIONS_USUAL 256

/* Regions */

size_t
space_size(void)
{
    return (sizeof(struct space) + 63) & ~(size_t)63;
}

void
space_pool_init(struct space_pool *pool, size_t size, size_t offset)
{
    uint64_t usual = size / REGIONS_USUAL;

    memset(pool, 0, sizeof(*pool));
    pool->unit_shift = 3;
    while (((uint64_t)size - 1) >> pool->unit_shift > UINT32_MAX)
        pool->unit_shift++;
    pool->region_size = REGION_LEAST;
    while (pool->region_size <= usual / 2)
        pool->region_size *= 2;
    pool->offset = segment_pages(offset > 0 ? offset : 1);
    pool->regions = pool->offset < size ? (uint32_t)((size - pool->offset) / pool->region_size) : 0;
    blocks_insist(pool->regions <= SPACE_REGIONS_MOST);
}

/* All of it free. */
static void
open_region(const struct space_view *v, unsigned region)
{
    blocks_lay(v, region);
    __atomic_store_n(&v->space->owned, v->space->owned + 1, __ATOMIC_RELAXED);
}

void
space_init(const struct space_view *v, unsigned regions_least, unsigned regions_most)
{
    blocks_insist(regions_least <= regions_most);
    memset(v->space, 0, sizeof(*v->space));
    v->space->least = regions_least;
    v->space->most = regions_most;
    while (v->space->owned < regions_least && space_claim(v))
        continue;
}

void
space_reset(const struct space_view *v)
{
    struct space *s = v->space;
    unsigned i;

    memset(&s->owned, 0, sizeof(*s) - offsetof(struct space, owned));
    for (i = 0; i < v->pool->regions; i++) {
        if (__atomic_load_n(&v->pool->owner[i], __ATOMIC_ACQUIRE) == v->shard + 1)
            open_region(v, i);
    }
}

void
space_restore(const struct space_view *v, unsigned regions_least, unsigned regions_most,
              bool (*keeps)(const void *with, cache_address a), const void *with)
{
    unsigned i;

    memset(v->space, 0, sizeof(*v->space));
    v->space->least = regions_least;
    v->space->most = regions_most;
    for (i = 0; i < v->pool->regions; i++) {
        if (v->pool->owner[i] != v->shard + 1)
            continue;
        blocks_relay(v, i, keeps, with);
        v->space->owned++;
    }
}

bool
space_claim(const struct space_view *v)
{
    unsigned i;

    if (v->space->owned >= v->space->most)
        return false;
    for (i = 0; i < v->pool->regions; i++) {
        uint16_t nobody = 0;

        if (__atomic_load_n(&v->pool->owner[i], __ATOMIC_RELAXED) == nobody &&
            __atomic_compare_exchange_n(&v->pool->owner[i], &nobody, (uint16_t)(v->shard + 1), false,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
            open_region(v, i);
            return true;
        }
    }
    return false;
}

/* Chains */

/* Of a chain for n bytes, the smallest piece to think of: a power of two, in units, where a coarse class begins. */
static uint64_t
piece_least(const struct space_view *v, size_t n)
{
    uint64_t piece = BLOCKS_FINE;

    while (piece * PIECES < blocks_for(v, n))
        piece *= 2;
    return piece;
}

/* As much of the block as n bytes need. */
static cache_address
carve_for(const struct space_view *v, cache_address a, size_t n)
{
    uint64_t units = blocks_for(v, n);

    return blocks_carve(v, a, units < blocks_units(v, a) ? units : blocks_units(v, a));
}

static void
link_to(const struct space_view *v, cache_address last, cache_address next)
{
    struct cache_extent *e = space_at(v, last);

    __atomic_store_n(&e->next, next, __ATOMIC_RELEASE);
}

/* In pieces, the largest first, until one is enough for what is left. */
static cache_address
take_pieces(const struct space_view *v, size_t first, size_t n)
{
    cache_address chain, last, next, a = blocks_largest(v);
    size_t room;

    if (blocks_room_from(v, piece_least(v, n)) < n)
        return 0;
    if (blocks_room(v, blocks_units(v, a)) < first && (a = blocks_search(v, blocks_for(v, first))) == 0)
        return 0;
    chain = last = carve_for(v, a, n);
    while ((room = blocks_room(v, blocks_units(v, last))) < n) {
        n -= room;
        if ((a = blocks_search(v, blocks_for(v, n))) == 0)
            a = blocks_largest(v);
        blocks_insist(a != 0);
        next = carve_for(v, a, n);
        link_to(v, last, next);
        last = next;
    }
    return chain;
}

cache_address
space_take(const struct space_view *v, size_t first, size_t n)
{
    cache_address a;

    if (n < first)
        n = first;
    if (n > v->space->most * v->pool->region_size || first > blocks_room(v, blocks_in_region(v)))
        return 0;
    blocks_step(v, STEPS);
    do {
        if ((a = blocks_search(v, blocks_for(v, n))) != 0)
            return blocks_carve(v, a, blocks_for(v, n));
        if ((a = take_pieces(v, first, n)) != 0)
            return a;
    } while (space_claim(v));
    return 0;
}

cache_address
space_grow(const struct space_view *v, cache_address last, size_t least, size_t n)
{
    size_t most = blocks_room(v, blocks_in_region(v));
    cache_address a;

    if (n > most)
        n = most;
    if (least > n)
        least = n;
    blocks_step(v, STEPS);
    while ((a = blocks_search(v, blocks_for(v, n))) == 0) {
        a = blocks_largest(v);
        if (a != 0 && blocks_room(v, blocks_units(v, a)) >= least)
            break;
        if (!space_claim(v))
            return 0;
    }
    a = carve_for(v, a, n);
    link_to(v, last, a);
    return a;
}

void
space_give(const struct space_view *v, cache_address chain)
{
    while (chain != 0) {
        cache_address next = space_next(v, chain);

        blocks_release(v, chain);
        chain = next;
    }
}

void
space_trim(const struct space_view *v, cache_address chain, size_t n)
{
    cache_address rest;
    size_t room;

    while ((room = blocks_room(v, blocks_units(v, chain))) < n) {
        n -= room;
        chain = space_next(v, chain);
        blocks_insist(chain != 0);
    }
    rest = space_next(v, chain);
    link_to(v, chain, 0);
    space_give(v, rest);
    blocks_shrink(v, chain, blocks_for(v, n));
}

/* Asking */

uint64_t
space_total(const struct space_view *v)
{
    return __atomic_load_n(&v->space->owned, __ATOMIC_RELAXED) * v->pool->region_size;
}

uint64_t
space_taken(const struct space_view *v)
{
    return __atomic_load_n(&v->space->taken, __ATOMIC_RELAXED) << v->pool->unit_shift;
}

uint64_t
space_of(const struct space_view *v, cache_address chain)
{
    uint64_t units = 0;

    for (; chain != 0; chain = space_next(v, chain))
        units += blocks_units(v, chain);
    return units << v->pool->unit_shift;
}

void *
space_data(const struct space_view *v, cache_address extent, size_t *n)
{
    *n = blocks_room(v, blocks_units(v, extent));
    return space_bytes(v, extent);
}

uint32_t
space_units(const struct space_view *v, cache_address extent)
{
    return blocks_units(v, extent);
}

/* Giving a region back */

bool
space_yield(const struct space_view *v)
{
    struct space *s = v->space;
    unsigned i, best = SPACE_REGIONS_MOST;

    blocks_step(v, STEPS_MOST);
    if (s->walk != WALK_NONE || s->owned <= s->least)
        return s->walk == WALK_HIDE;
    for (i = 0; i < v->pool->regions; i++) {
        if (__atomic_load_n(&v->pool->owner[i], __ATOMIC_RELAXED) != v->shard + 1)
            continue;
        if (best == SPACE_REGIONS_MOST || v->pool->taken[i] < v->pool->taken[best])
            best = i;
    }
    blocks_insist(best < SPACE_REGIONS_MOST);
    blocks_walk(v, WALK_HIDE, best);
    blocks_step(v, STEPS_MOST);
    return true;
}

bool
space_yields(const struct space_view *v, cache_address chain)
{
    const struct space *s = v->space;

    if (s->walk != WALK_HIDE)
        return false;
    while (chain != 0 && blocks_region(v, chain) != s->region)
        chain = space_next(v, chain);
    return chain != 0;
}

bool
space_yielded(const struct space_view *v)
{
    struct space *s = v->space;

    if (s->walk != WALK_HIDE)
        return false;
    blocks_step(v, STEPS_MOST);
    if (v->pool->taken[s->region] != 0)
        return false;
    blocks_lift(v, s->region);
    s->walk = WALK_NONE;
    __atomic_store_n(&s->owned, s->owned - 1, __ATOMIC_RELAXED);
    __atomic_store_n(&v->pool->owner[s->region], 0, __ATOMIC_RELEASE);
    return true;
}

void
space_yield_end(const struct space_view *v)
{
    if (v->space->walk != WALK_HIDE)
        return;
    blocks_walk(v, WALK_SHOW, v->space->region);
    blocks_step(v, STEPS_MOST);
}

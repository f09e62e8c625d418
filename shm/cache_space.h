/*
 * Space: room for objects as chains of extents. The segment's space is cut into regions of one size; a shard owns
 * some, takes more while there are any that nobody has, and may be asked to give one back. Within them room is found
 * by size in constant time (segregated free lists, neighbours that are free become one), and what has to be in pieces
 * may be: so nothing is lost to fragments, and no more than the bytes asked for have to be evicted.
 *
 * All but space_claim's compare-and-swap happens under the shard's lock, in bounded steps. Everything lies in the
 * segment and is made of addresses; what is here may be torn by a kill, and is then made anew by space_reset.
 */
#ifndef WEIR_CACHE_SPACE_H
#define WEIR_CACHE_SPACE_H

#include <stdbool.h>

#include "shm/cache_record.h"

#define SPACE_REGIONS_MOST 512

/*
 * Of a chain that space_take makes. All its extents but the last are 32 units (256 bytes, where a unit is 8) and
 * 1/2048 of the chain, or more; so an object evicted makes room, wherever it was, for those up to 2048 times its size.
 */
#define SPACE_EXTENTS_MOST 2120

/* One for the segment. */
struct space_pool {
    uint64_t region_size;       /* bytes: a power of two, 64 KiB and up */
    uint32_t regions;
    uint32_t unit_shift;        /* an address is so many bits of an offset from the segment's base: 3 and up */
    uint64_t offset;            /* of the first region, in bytes from the base of the segment; a multiple of a page */
    uint16_t owner[SPACE_REGIONS_MOST];     /* 0: nobody; else the shard's number + 1 */
    uint32_t taken[SPACE_REGIONS_MOST];     /* units; the owner's, under its lock */
};

struct space;                   /* one for each shard, in the segment; its size is space_size() */

/* Where this process has the segment, and the parts of it that a call is about. */
struct space_view {
    unsigned char *base;
    struct space_pool *pool;
    struct space *space;
    unsigned shard;
};

size_t space_size(void);

/*
 * Lays out what is left of a segment of `size` bytes behind `offset`, in regions of size / 256 rounded down to a
 * power of two; less than a region at the end is not used. Nobody owns any.
 */
void space_pool_init(struct space_pool *pool, size_t size, size_t offset);

/*
 * Empties a shard that owns nothing yet, which takes the least it is to have at once (or what is left); or (reset) all
 * its regions: whatever was in them is forgotten.
 */
void space_init(const struct space_view *v, unsigned regions_least, unsigned regions_most);
void space_reset(const struct space_view *v);

/*
 * After a restart: a shard whose regions say already that they are its own; blocks in them that were taken and that
 * `keeps` says yes to stay. It claims no more.
 */
void space_restore(const struct space_view *v, unsigned regions_least, unsigned regions_most,
                   bool (*keeps)(const void *with, cache_address a), const void *with);

/* One more region that nobody owns, if the shard may have it. */
bool space_claim(const struct space_view *v);

/*
 * A chain of extents with room for n bytes, the first `first` of them in one piece; all of it or 0. One extent where
 * there is one, else the largest there are. It takes regions that nobody owns before it says 0. Where objects of all
 * sizes come and go, pieces become smaller the fuller it is: with 2 % left free there are about two for each, at 0 %
 * ten.
 */
cache_address space_take(const struct space_view *v, size_t first, size_t n);
/*
 * Appends to a chain whose last extent is `last`: room for n bytes, or for fewer, but at least `least` (or a region),
 * as it comes; the new extent, or 0.
 */
cache_address space_grow(const struct space_view *v, cache_address last, size_t least, size_t n);
/* The bytes behind the first n of the chain are given back, but for some that are too few to be of use. */
void space_trim(const struct space_view *v, cache_address chain, size_t n);
void space_give(const struct space_view *v, cache_address chain);

/*
 * Bytes: of its regions, and of what is taken there, extents' own headers and rounding included. These two may be asked
 * without the lock.
 */
uint64_t space_total(const struct space_view *v);
uint64_t space_taken(const struct space_view *v);
/* Bytes that evicting this chain would free. */
uint64_t space_of(const struct space_view *v, cache_address chain);

/*
 * Giving a region back: once space_yield has chosen one (false: the shard has no more than its least, or is not yet
 * done with the last space_yield_end), what becomes free in it is not handed out any more, and after some steps (of
 * each call of space_yielded a few thousand) nothing in it is. The shard evicts whatever space_yields says lies in
 * it, as it finds the time; when nothing is left the region is nobody's: space_yielded is true, once.
 * space_yield_end: it keeps it after all.
 */
bool space_yield(const struct space_view *v);
bool space_yields(const struct space_view *v, cache_address chain);
bool space_yielded(const struct space_view *v);
void space_yield_end(const struct space_view *v);

static inline void *
space_at(const struct space_view *v, cache_address a)
{
    return v->base + ((uint64_t)a << v->pool->unit_shift);
}

/* The bytes of an extent, and how many; what comes after it. These need no lock where the chain is held. */
static inline void *
space_bytes(const struct space_view *v, cache_address extent)
{
    return (struct cache_extent *)space_at(v, extent) + 1;
}

void *space_data(const struct space_view *v, cache_address extent, size_t *n);

static inline cache_address
space_next(const struct space_view *v, cache_address extent)
{
    const struct cache_extent *e = space_at(v, extent);

    return __atomic_load_n(&e->next, __ATOMIC_ACQUIRE);
}

uint32_t space_units(const struct space_view *v, cache_address extent);

#endif

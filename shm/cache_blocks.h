/*
 * How the cache's space cuts its regions: into blocks, of which those that are taken are extents and those that are
 * free stand in lists by size. For cache_space.c alone, under the shard's lock, in bounded steps.
 */
#ifndef WEIR_CACHE_BLOCKS_H
#define WEIR_CACHE_BLOCKS_H

#include "shm/cache_space.h"

enum {
    BLOCKS_FINE = 32,           /* classes of a power of two */
    BLOCKS_FLAG_BITS = 3,       /* of an extent's size */
    BLOCKS_COARSE = 24,         /* [0]: below BLOCKS_FINE units, a class each; [i]: from BLOCKS_FINE << (i - 1) on */
};

/* WALK_HIDE: of the region that is being given back, whose free blocks leave their lists; SHOW: they come back. */
enum { WALK_NONE, WALK_HIDE, WALK_SHOW };

struct space {
    uint32_t least, most;       /* regions; never written again */
    uint32_t owned;             /* from here on a reset makes it anew */
    uint32_t walk;
    uint32_t region;            /* that it is about */
    cache_address cursor;
    uint64_t taken;             /* units */
    uint32_t coarse;            /* which of them have any */
    uint32_t fine[BLOCKS_COARSE];
    uint32_t blocks[BLOCKS_COARSE];
    uint64_t units[BLOCKS_COARSE];
    cache_address list[BLOCKS_COARSE * BLOCKS_FINE];
};

/* Our own bugs: aborts, and the shard is made anew. */
void blocks_insist(bool good);

unsigned blocks_region(const struct space_view *v, cache_address a);
cache_address blocks_start(const struct space_view *v, unsigned region);
uint32_t blocks_in_region(const struct space_view *v);          /* units */

/* The units of a block with room for n bytes; the units of a block; the bytes there is room for in so many units. */
uint64_t blocks_for(const struct space_view *v, size_t n);

static inline uint32_t
blocks_units(const struct space_view *v, cache_address a)
{
    const struct cache_extent *e = space_at(v, a);

    return __atomic_load_n(&e->size, __ATOMIC_RELAXED) >> BLOCKS_FLAG_BITS;
}

static inline size_t
blocks_room(const struct space_view *v, uint64_t units)
{
    return (units << v->pool->unit_shift) - sizeof(struct cache_extent);
}

/* How many bytes there is room for in free blocks of so many units (a power of two, at least BLOCKS_FINE) and more. */
uint64_t blocks_room_from(const struct space_view *v, uint64_t units);

/* A free block of so many units, not much larger if it can be had; one of the largest class there is; 0. */
cache_address blocks_search(const struct space_view *v, uint64_t units);
cache_address blocks_largest(const struct space_view *v);

/* A region becomes one free block. */
void blocks_lay(const struct space_view *v, unsigned region);
/* A region of which nothing is taken: its block leaves the lists. */
void blocks_lift(const struct space_view *v, unsigned region);

/* Takes a free block that was found, or so much of its front that what is left is of use. Its `next` is 0. */
cache_address blocks_carve(const struct space_view *v, cache_address a, uint64_t units);
/* A block becomes free, and one with its free neighbours. */
void blocks_release(const struct space_view *v, cache_address a);
/* The block keeps its first units; the others become free, if they are of use. */
void blocks_shrink(const struct space_view *v, cache_address a, uint64_t units);

/*
 * After a restart, of a region in which anything may stand. peek: the units of the block that seems to begin at `a`,
 * and whether it is taken; 0: what stands there can be no block. relay: blocks that were taken and that `keeps` says
 * yes to stay, all else becomes free.
 */
uint32_t blocks_peek(const struct space_view *v, unsigned region, cache_address a, bool *taken);
void blocks_relay(const struct space_view *v, unsigned region, bool (*keeps)(const void *with, cache_address a),
                  const void *with);

/* Begins a walk through a region; goes on with whatever walk there is, so many blocks far. WALK_NONE: it is over. */
void blocks_walk(const struct space_view *v, uint32_t walk, unsigned region);
void blocks_step(const struct space_view *v, unsigned steps);

#endif

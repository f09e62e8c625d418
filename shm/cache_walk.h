/*
 * Looking through a cache in a file after a restart: which records are whole, and whose the regions are. It reads
 * only, and believes nothing: whatever bytes the file has, it ends, stays within the segment, and what it keeps does
 * not overlap.
 */
#ifndef WEIR_CACHE_WALK_H
#define WEIR_CACHE_WALK_H

#include "shm/cache_parts.h"

struct cache_found {
    uint64_t place;             /* of the seal */
    cache_address record;
};

struct cache_walk {
    const struct cache *c;
    uint16_t owner[SPACE_REGIONS_MOST];         /* as space_pool has it */
    struct cache_found *found;  /* the oldest first */
    size_t n;
    uint64_t latest;            /* when the last of them was sealed */
    uint64_t dropped;           /* records that had a seal, and were not as it says */

    uint64_t *open;             /* a bit for each unit: a block that was taken begins there, and is no found one's */
    size_t room;
    uint32_t *owned;            /* regions, by shard */
    uint32_t spare;             /* regions that no shard needs for its least */
};

/* False: no memory. cache_walk_end either way. */
bool cache_walk(struct cache_walk *w, const struct cache *c);
void cache_walk_end(struct cache_walk *w);

/* Of a block that was taken: whether it is part of what was found. `with`: the walk. */
bool cache_walk_keeps(const void *with, cache_address a);

#endif

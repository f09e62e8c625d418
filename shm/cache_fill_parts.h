/*
 * What cache_fill.c, which knows a fetch's beginning and end, and cache_grow.c, which knows where its body goes,
 * share. The filler's process alone runs it.
 */
#ifndef WEIR_CACHE_FILL_PARTS_H
#define WEIR_CACHE_FILL_PARTS_H

#include "shm/cache_parts.h"

#define CACHE_FILL_HOLDS 5      /* of one fetch that are alive at once */

/* Under the lock: the hold's record, which has room for so much of its body. */
void cache_fill_record(struct cache *c, struct cache_hold hold, cache_address record, uint64_t room);

/*
 * The key's large shard gets a hold with a record of that head, in which the fetch will go on. CACHE_OK, CACHE_BUSY,
 * CACHE_FULL.
 */
int cache_fill_go_on(struct cache *c, struct cache_hold from, const struct iovec *head, int n, uint64_t room,
                     struct cache_hold *hold);
/* And does so, as those are told that wait there. */
void cache_fill_continue(struct cache *c, struct cache_hold from, struct cache_hold hold);
/* It isn't met in another hold any more. */
void cache_fill_part(struct cache *c, struct cache_hold hold);

/* Where its next byte goes, and how many bytes are left in that extent. */
unsigned char *cache_fill_at(const struct cache *c, const struct cache_kept *h, size_t *left);

#endif

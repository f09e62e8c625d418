/*
 * A cache in a file, so that it is there again after a restart. The master has the file open, locked and of the right
 * size before it comes here, and nobody else has it mapped; from cache_file_make, cache_file_adopt and
 * cache_file_copy on it is a cache like any other.
 *
 * Nothing that stands in the file is believed but what seals prove (cache_seal.c), whether it was left in order, in
 * the middle of something, or is what a power cut left of it: there is one way back, and it reads all of the records'
 * heads. Bodies are looked at when they are first used.
 */
#ifndef WEIR_CACHE_FILE_H
#define WEIR_CACHE_FILE_H

#include "shm/cache.h"

/* Of the file, for a cache of that shape. */
size_t cache_file_size(const struct cache_shape *shape);

/* A new one in a file of that size, all zeros. The descriptor stays the caller's where it fails: NULL with errno. */
struct cache *cache_file_make(int fd, const struct cache_shape *shape, const struct slots *slots);

/*
 * What lies in the file, for one of these questions, then adopt or copy, or detach; for nothing else. NULL with errno,
 * EINVAL: no cache of this version; the descriptor stays the caller's.
 */
struct cache *cache_file_open(int fd);
bool cache_file_fits(const struct cache *c, const struct cache_shape *shape, const struct slots *slots);

/* Before a detach: the descriptor is the caller's. */
void cache_file_let(struct cache *c);

struct cache_came {
    uint64_t objects, bytes;    /* that are there again */
    uint64_t dropped;           /* objects that were not whole */
    uint64_t left;              /* whole, but without room in the new one */
};

/* It goes on in its file, with all that is whole. False: no memory, or no randomness; it is as it was. */
bool cache_file_adopt(struct cache *c, const struct slots *slots, struct cache_came *came);

/* What is whole in the old one, as much as fits, rather the newest, into a new one that nobody uses yet. */
bool cache_file_copy(struct cache *to, const struct cache *from, struct cache_came *came);

#endif

/*
 * Which object goes when room is wanted: S3-FIFO (Yang et al., 2023) for each shard. New ones go through a small queue; those
 * that were asked for again there move on to the main one, in which an object that was asked for goes round once more. Those
 * that fell out of the small one are remembered by a fingerprint for a while: if they come back they go to the main one
 * at once. A scan passes through the small queue and leaves the main one as it was.
 *
 * Under the shard's lock, in bounded steps.
 */
#ifndef WEIR_CACHE_QUEUE_H
#define WEIR_CACHE_QUEUE_H

#include "shm/cache_space.h"

struct queue_ends {
    cache_address oldest, newest;
    uint64_t bytes;
};

struct cache_queue {
    struct queue_ends small, main;
    uint64_t ghost_offset;      /* of its fingerprints, in bytes from the base of the segment */
    uint32_t ghosts;            /* how many: a power of two */
    uint32_t objects;
};

void queue_init(struct cache_queue *q, const struct space_view *v, uint64_t ghost_offset, uint32_t ghosts);

/* It was asked for. */
void queue_touch(struct cache_record *r);

/* `bytes`: what space_of says of it. */
void queue_add(struct cache_queue *q, const struct space_view *v, cache_address record, uint64_t bytes);
void queue_remove(struct cache_queue *q, const struct space_view *v, cache_address record, uint64_t bytes);
/* The new record stands where the old one stood, as often asked for. */
void queue_replace(struct cache_queue *q, const struct space_view *v, cache_address old, cache_address new,
                   uint64_t old_bytes, uint64_t new_bytes);

/*
 * The next that has to go; it stays in its queue until queue_evicted, so whoever finds that it can't go yet (it is being read)
 * says queue_spare, and is given others: 0 where nothing is left, or none was found in as many steps as are allowed.
 */
cache_address queue_victim(struct cache_queue *q, const struct space_view *v);
void queue_spare(struct cache_queue *q, const struct space_view *v, cache_address record);
void queue_evicted(struct cache_queue *q, const struct space_view *v, cache_address record, uint64_t bytes);

#endif

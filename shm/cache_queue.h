/*
 * Which object goes when room is wanted: S3-FIFO (Yang et al., 2023) for each shard. New ones go through a small
 * queue; those that were asked for again there move on to the main one, in which an object that was asked for goes
 * round once more. Those that fell out of the small one are remembered by a fingerprint for a while: if they come
 * back they go to the main one at once. A scan passes through the small queue and leaves the main one as it was.
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
    uint32_t ghosts;            /* how many: a power of two, 8 and up; about as many as objects are good */
    uint32_t objects;
    uint32_t spared;            /* since the last that went */
};

void queue_init(struct cache_queue *q, const struct space_view *v, uint64_t ghost_offset, uint32_t ghosts);

/* What space_of says of the record and, where its body lies in another, of that one. */
uint64_t queue_bytes(const struct space_view *v, cache_address record);

/* It was asked for: once for each request that it answers. */
void queue_touch(struct cache_record *r);

/*
 * `bytes`, here and below: what queue_bytes says of the record. A record is in no queue (RECORD_QUEUE_NONE) before
 * queue_add and after what takes it out; queue_remove of such a one does nothing.
 */
void queue_add(struct cache_queue *q, const struct space_view *v, cache_address record, uint64_t bytes);
/* The same for one that was there before a restart: in that queue, asked for so often. */
void queue_restore(struct cache_queue *q, const struct space_view *v, cache_address record, uint64_t bytes,
                   unsigned queue, unsigned freq);
void queue_remove(struct cache_queue *q, const struct space_view *v, cache_address record, uint64_t bytes);
/* The new record stands where the old one stood, as often asked for; the old one is in none. */
void queue_replace(struct cache_queue *q, const struct space_view *v, cache_address old, cache_address new,
                   uint64_t old_bytes, uint64_t new_bytes);

/*
 * The next that has to go; it stays in its queue until queue_evicted, so whoever finds that it can't go yet (it is
 * being read) says queue_spare, and is given others, from both queues by turns: a spared one goes to the new end of
 * its own. 0 only where nothing is left. How many may be spared before it is given up is the caller's to bound.
 */
cache_address queue_victim(struct cache_queue *q, const struct space_view *v);
void queue_spare(struct cache_queue *q, const struct space_view *v, cache_address record);
void queue_evicted(struct cache_queue *q, const struct space_view *v, cache_address record, uint64_t bytes);

#endif

/*
 * Knows the order. Both queues are lists through the records themselves; a ghost is a fingerprint of 32 bits in one
 * set of eight, newest first, so that a set costs half a cache line and forgets its oldest.
 *
 * Invariants, under the lock: a record is in the queue that it says, or in none; `bytes` of a queue is what its
 * records came with. Whoever asks for a victim moves at most MOVES records on, then takes the oldest as it is.
 */
#include "shm/cache_queue.h"

#include <string.h>

enum {
    WAYS = 8,
    FREQ_MOST = 3,
    PROMOTED = 1,               /* asked for so often in the small queue: to the main one */
    SMALL_PART = 10,            /* the small queue's, of all bytes */
    MOVES = 64,
    PROMOTIONS = 16,            /* of these, from one queue to the other, which looks at all extents */
};

static struct cache_record *
record_at(const struct space_view *v, cache_address a)
{
    return space_bytes(v, a);
}

/* Ghosts */

struct name {
    uint32_t *set;
    uint32_t print;
};

static struct name
name_of(const struct cache_queue *q, const struct space_view *v, const struct cache_record *r)
{
    uint64_t h = (r->key.word[0] ^ r->variant * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xff51afd7ed558ccd);
    uint32_t *ghosts = (uint32_t *)(void *)(v->base + q->ghost_offset);
    uint32_t set = (uint32_t)(h ^ r->key.word[1]) & (q->ghosts / WAYS - 1);

    h ^= h >> 32;
    return (struct name){ghosts + (size_t)set * WAYS, (uint32_t)h != 0 ? (uint32_t)h : 1};
}

/* Its place in the set, or the last. */
static unsigned
way_of(struct name n)
{
    unsigned i = 0;

    while (i < WAYS - 1 && n.set[i] != n.print)
        i++;
    return i;
}

static void
remember(const struct cache_queue *q, const struct space_view *v, const struct cache_record *r)
{
    struct name n = name_of(q, v, r);

    memmove(n.set + 1, n.set, way_of(n) * sizeof(*n.set));
    n.set[0] = n.print;
}

/* Whether it was remembered; it isn't any longer. */
static bool
recall(const struct cache_queue *q, const struct space_view *v, const struct cache_record *r)
{
    struct name n = name_of(q, v, r);
    unsigned i = way_of(n);

    if (n.set[i] != n.print)
        return false;
    memmove(n.set + i, n.set + i + 1, (WAYS - 1 - i) * sizeof(*n.set));
    n.set[WAYS - 1] = 0;
    return true;
}

/* Lists */

static struct queue_ends *
ends_of(struct cache_queue *q, const struct cache_record *r)
{
    return r->queue == RECORD_QUEUE_SMALL ? &q->small : &q->main;
}

static void
append(struct cache_queue *q, const struct space_view *v, cache_address a, unsigned queue, uint64_t bytes)
{
    struct cache_record *r = record_at(v, a);
    struct queue_ends *e;

    r->queue = (uint8_t)queue;
    e = ends_of(q, r);
    r->newer = 0;
    r->older = e->newest;
    if (e->newest != 0)
        record_at(v, e->newest)->newer = a;
    else
        e->oldest = a;
    e->newest = a;
    e->bytes += bytes;
}

static void
detach(struct cache_queue *q, const struct space_view *v, cache_address a, uint64_t bytes)
{
    struct cache_record *r = record_at(v, a);
    struct queue_ends *e = ends_of(q, r);

    if (r->newer != 0)
        record_at(v, r->newer)->older = r->older;
    else
        e->newest = r->older;
    if (r->older != 0)
        record_at(v, r->older)->newer = r->newer;
    else
        e->oldest = r->newer;
    e->bytes -= bytes < e->bytes ? bytes : e->bytes;
    r->queue = RECORD_QUEUE_NONE;
}

/* From the old end of its queue to the new one. */
static void
send_round(struct cache_queue *q, const struct space_view *v, cache_address a)
{
    unsigned queue = record_at(v, a)->queue;

    detach(q, v, a, 0);
    append(q, v, a, queue, 0);
}

uint64_t
queue_bytes(const struct space_view *v, cache_address record)
{
    cache_address body = record_at(v, record)->body;

    return space_of(v, record) + (body != 0 && body != record ? space_of(v, body) : 0);
}

static void
promote(struct cache_queue *q, const struct space_view *v, cache_address a)
{
    uint64_t bytes = queue_bytes(v, a);

    record_at(v, a)->freq = 0;
    detach(q, v, a, bytes);
    append(q, v, a, RECORD_QUEUE_MAIN, bytes);
}

void
queue_init(struct cache_queue *q, const struct space_view *v, uint64_t ghost_offset, uint32_t ghosts)
{
    memset(q, 0, sizeof(*q));
    q->ghost_offset = ghost_offset;
    q->ghosts = ghosts;
    memset(v->base + ghost_offset, 0, ghosts * sizeof(uint32_t));
}

void
queue_touch(struct cache_record *r)
{
    if (r->freq < FREQ_MOST)
        r->freq++;
}

void
queue_add(struct cache_queue *q, const struct space_view *v, cache_address record, uint64_t bytes)
{
    struct cache_record *r = record_at(v, record);

    r->freq = 0;
    append(q, v, record, recall(q, v, r) ? RECORD_QUEUE_MAIN : RECORD_QUEUE_SMALL, bytes);
    q->objects++;
}

void
queue_restore(struct cache_queue *q, const struct space_view *v, cache_address record, uint64_t bytes, unsigned queue,
              unsigned freq)
{
    record_at(v, record)->freq = (uint8_t)(freq < FREQ_MOST ? freq : FREQ_MOST);
    append(q, v, record, queue == RECORD_QUEUE_MAIN ? RECORD_QUEUE_MAIN : RECORD_QUEUE_SMALL, bytes);
    q->objects++;
}

void
queue_remove(struct cache_queue *q, const struct space_view *v, cache_address record, uint64_t bytes)
{
    if (record_at(v, record)->queue == RECORD_QUEUE_NONE)
        return;
    detach(q, v, record, bytes);
    q->objects--;
}

void
queue_replace(struct cache_queue *q, const struct space_view *v, cache_address old, cache_address new,
              uint64_t old_bytes, uint64_t new_bytes)
{
    struct cache_record *was = record_at(v, old), *is = record_at(v, new);
    struct queue_ends *e = ends_of(q, was);

    is->queue = was->queue;
    is->freq = was->freq;
    is->older = was->older;
    is->newer = was->newer;
    if (is->newer != 0)
        record_at(v, is->newer)->older = new;
    else
        e->newest = new;
    if (is->older != 0)
        record_at(v, is->older)->newer = new;
    else
        e->oldest = new;
    e->bytes += new_bytes;
    e->bytes -= old_bytes < e->bytes ? old_bytes : e->bytes;
    was->queue = RECORD_QUEUE_NONE;
}

/* Victims */

/* The small queue gives while it has more than its part; after one was spared, the other's turn is next. */
static bool
is_smalls_turn(const struct cache_queue *q, const struct space_view *v)
{
    if (q->small.oldest == 0 || q->main.oldest == 0)
        return q->small.oldest != 0;
    return (q->small.bytes > space_total(v) / SMALL_PART) != (q->spared % 2 != 0);
}

cache_address
queue_victim(struct cache_queue *q, const struct space_view *v)
{
    unsigned moves, promotions = 0;

    for (moves = 0; moves < MOVES; moves++) {
        bool small = is_smalls_turn(q, v) && (promotions < PROMOTIONS || q->main.oldest == 0);
        cache_address a = small ? q->small.oldest : q->main.oldest;
        struct cache_record *r;

        if (a == 0)
            return 0;
        r = record_at(v, a);
        if (small && r->freq >= PROMOTED && promotions < PROMOTIONS) {
            promote(q, v, a);
            promotions++;
        } else if (!small && r->freq > 0) {
            r->freq--;
            send_round(q, v, a);
        } else {
            return a;
        }
    }
    return q->main.oldest != 0 ? q->main.oldest : q->small.oldest;
}

void
queue_spare(struct cache_queue *q, const struct space_view *v, cache_address record)
{
    send_round(q, v, record);
    q->spared++;
}

void
queue_evicted(struct cache_queue *q, const struct space_view *v, cache_address record, uint64_t bytes)
{
    const struct cache_record *r = record_at(v, record);

    if (r->queue == RECORD_QUEUE_SMALL)
        remember(q, v, r);
    queue_remove(q, v, record, bytes);
    q->spared = 0;
}

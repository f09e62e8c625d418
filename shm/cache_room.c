/*
 * Knows how room is made: what departed is freed first, then objects go in the order of their queue, one after the
 * other, until what is wanted fits. Nobody who reads is disturbed: what is held is spared.
 *
 * Invariants, under the lock: at most STEPS objects go at once; who needs more comes again, and finds that much done.
 */
#include <string.h>

#include "shm/cache_parts.h"

enum {
    STEPS = 512,
    SPARES = 64,
    SWEEP = 8,
    SWEEP_MOST = 4096,
};

static bool
is_free_to_go(struct cache *c, unsigned shard, cache_address record)
{
    struct cache_hold hold = {shard, cache_record_at(c, record)->hold};

    return hold.number == 0 || !cache_hold_is_kept(c, hold);
}

static bool
evict(struct cache *c, unsigned shard)
{
    struct cache_shard *s = cache_shard(c, shard);
    struct space_view v = cache_view(c, shard);
    unsigned i;

    for (i = 0; i < SPARES; i++) {
        cache_address victim = queue_victim(&s->queue, &v);

        if (victim == 0)
            return false;
        if (is_free_to_go(c, shard, victim)) {
            cache_index_remove(c, shard, victim, true);
            return true;
        }
        queue_spare(&s->queue, &v, victim);
    }
    return false;
}

/* False: nothing can be done. */
static bool
make_room(struct cache *c, unsigned shard)
{
    struct cache_shard *s = cache_shard(c, shard);
    struct space_view v = cache_view(c, shard);
    unsigned gone = s->gone;

    cache_hold_sweep(c, shard, SWEEP);
    if (s->gone < gone)
        return true;
    if (space_total(&v) < cache_share(c, shard))
        __atomic_store_n(&s->wants, 1, __ATOMIC_RELAXED);
    if (evict(c, shard))
        return true;
    cache_hold_end_fetches(c, shard);
    gone = s->gone;
    cache_hold_sweep(c, shard, SWEEP_MOST);
    if (s->gone < gone)
        return true;
    __atomic_store_n(&s->starved, 1, __ATOMIC_RELAXED);
    return false;
}

int
cache_room_take(struct cache *c, unsigned shard, size_t first, size_t n, cache_address *chain)
{
    struct space_view v = cache_view(c, shard);
    unsigned i;

    if (n > cache_class(c, shard)->most + CACHE_CHUNK)
        return CACHE_FULL;
    for (i = 0; i < STEPS; i++) {
        *chain = space_take(&v, first, n);
        if (*chain != 0)
            return CACHE_OK;
        if (!make_room(c, shard))
            return CACHE_FULL;
    }
    return CACHE_BUSY;
}

int
cache_room_grow(struct cache *c, unsigned shard, cache_address last, size_t least, size_t n, cache_address *extent)
{
    struct space_view v = cache_view(c, shard);
    unsigned i;

    for (i = 0; i < STEPS; i++) {
        *extent = space_grow(&v, last, least, n);
        if (*extent != 0)
            return CACHE_OK;
        if (!make_room(c, shard))
            return CACHE_FULL;
    }
    return CACHE_BUSY;
}

size_t
cache_room_head(const struct cache *c, const struct iovec *head, int n)
{
    size_t sum = cache_record_front(c);
    int i;

    for (i = 0; i < n; i++)
        sum += head[i].iov_len;
    return sum;
}

int
cache_room_record(struct cache *c, unsigned shard, const struct iovec *head, int n, size_t body,
                  cache_address *record)
{
    size_t first = cache_room_head(c, head, n);
    int answer = cache_room_take(c, shard, first, first + body, record), i;
    struct cache_record *r;
    unsigned char *p;

    if (answer != CACHE_OK)
        return answer;
    r = cache_record_at(c, *record);
    memset(r, 0, cache_record_front(c));
    r->head_n = (uint32_t)(first - cache_record_front(c));
    r->body = *record;
    for (i = 0, p = cache_record_head(c, r); i < n; p += head[i].iov_len, i++) {
        if (head[i].iov_len > 0)
            memcpy(p, head[i].iov_base, head[i].iov_len);
    }
    return CACHE_OK;
}

static bool
lies_there(const struct cache *c, const struct space_view *v, cache_address record)
{
    cache_address body = cache_record_at(c, record)->body;

    return space_yields(v, record) || (body != 0 && body != record && space_yields(v, body));
}

/* The walk goes from the oldest on, through one queue, then the other; what moves meanwhile is met the next time. */
void
cache_room_clear(struct cache *c, unsigned shard, unsigned most)
{
    struct cache_shard *s = cache_shard(c, shard);
    struct space_view v = cache_view(c, shard);

    for (; most > 0; most--) {
        cache_address a = s->walk;

        if (a == 0) {
            s->walk_queue = !s->walk_queue;
            s->walk = s->walk_queue ? s->queue.main.oldest : s->queue.small.oldest;
            if (s->walk_queue == 0)
                return;
            continue;
        }
        s->walk = cache_record_at(c, a)->newer;
        if (lies_there(c, &v, a) && is_free_to_go(c, shard, a))
            cache_index_remove(c, shard, a, true);
    }
}

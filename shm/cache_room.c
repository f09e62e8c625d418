/*
 * Knows how room is made: what departed is freed first, then objects go in the order of their queue, one after the
 * other, until what is wanted fits. Nobody who reads is disturbed: what is held is spared. A small part is kept free at
 * all times: where nothing is, what is new would be made of all the smallest pieces that there are.
 *
 * Invariants, under the lock: at most STEPS objects and some go at once; who needs more comes again, and finds that
 * much done.
 */
#include <string.h>

#include "shm/cache_parts.h"

enum {
    FREE_PART = 128,            /* is kept free, of a shard's space: so objects aren't made of what is left between */
    FREE_PART_LARGE = 512,      /* others, which for large ones is not that little */
    FREE_STEPS = 64,
    STEPS = 512,
    SPARES = 64,
    SWEEP = 8,
    SWEEP_MORE = 256,
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

static bool
sweep(struct cache *c, unsigned shard, unsigned most)
{
    const struct cache_shard *s = cache_shard(c, shard);
    unsigned gone = s->gone;

    cache_hold_sweep(c, shard, most);
    return s->gone < gone;
}

/* Room for n bytes is wanted where there is none: a shard that may count on more says so. */
static void
want(struct cache *c, unsigned shard, size_t n)
{
    struct cache_shard *s = cache_shard(c, shard);
    struct space_view v = cache_view(c, shard);
    size_t kib = n / 1024 + 1;

    if (space_total(&v) < cache_share(c, shard) && kib > s->wants)
        __atomic_store_n(&s->wants, kib < UINT32_MAX ? (uint32_t)kib : UINT32_MAX, __ATOMIC_RELAXED);
}

/* False: nothing can be done. Where all there is would not be enough, nothing goes for it. */
static bool
make_room(struct cache *c, unsigned shard, size_t n)
{
    struct space_view v = cache_view(c, shard);

    if (sweep(c, shard, SWEEP))
        return true;
    want(c, shard, n);
    if (n > space_total(&v))
        return false;
    if (evict(c, shard))
        return true;
    cache_hold_end_fetches(c, shard);
    if (sweep(c, shard, SWEEP_MOST))
        return true;
    __atomic_store_n(&cache_shard(c, shard)->starved, 1, __ATOMIC_RELAXED);
    return false;
}

/* Before n bytes are taken. As far as it goes: what has to go is for make_room to say. */
static void
keep_free(struct cache *c, unsigned shard, size_t n)
{
    struct space_view v = cache_view(c, shard);
    unsigned i;

    for (i = 0; i < FREE_STEPS; i++) {
        uint64_t total = space_total(&v);
        uint64_t kept = total / (cache_class_of(c, shard) == CACHE_LARGE_CLASS ? FREE_PART_LARGE : FREE_PART);

        if (space_taken(&v) + n + kept <= total)
            return;
        if (space_claim(&v) || sweep(c, shard, SWEEP))
            continue;
        cache_hold_end_fetches(c, shard);
        if (sweep(c, shard, SWEEP_MORE))
            continue;
        want(c, shard, n);
        if (n > total || !evict(c, shard))
            return;
    }
}

static int
take(struct cache *c, unsigned shard, size_t first, size_t n, cache_address *chain)
{
    struct space_view v = cache_view(c, shard);
    unsigned i;

    if (n > cache_class(c, shard)->most + CACHE_CHUNK)
        return CACHE_FULL;
    keep_free(c, shard, n);
    for (i = 0; i < STEPS; i++) {
        *chain = space_take(&v, first, n);
        if (*chain != 0)
            return CACHE_OK;
        if (!make_room(c, shard, n))
            return CACHE_FULL;
    }
    return CACHE_BUSY;
}

int
cache_room_grow(struct cache *c, unsigned shard, cache_address last, size_t least, size_t n, cache_address *extent)
{
    struct space_view v = cache_view(c, shard);
    unsigned i;

    keep_free(c, shard, n);
    for (i = 0; i < STEPS; i++) {
        *extent = space_grow(&v, last, least, n);
        if (*extent != 0)
            return CACHE_OK;
        if (!make_room(c, shard, least))
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
    int answer = take(c, shard, first, first + body, record), i;
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

/*
 * The walk goes from the oldest on, through one queue, then the other; what moves meanwhile is met the next time. What
 * goes does not count among what is evicted for others: of that is made who has to give.
 */
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
        if (lies_there(c, &v, a) && is_free_to_go(c, shard, a)) {
            uint64_t evicted = s->evicted_bytes;

            cache_index_remove(c, shard, a, true);
            s->evicted_bytes = evicted;
        }
    }
}

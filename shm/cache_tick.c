/*
 * Knows what each second brings: what nobody reads any more is freed, quarantines end, and when all space has an
 * owner, it moves. A shard with less than what it may count on, that wants more, gets a region from each of the other
 * class that has more than its own, and as many at once as what it wanted room for needs; else the class whose objects
 * stay much longer than the other's gives some back, but for the space of one large object where there are any.
 *
 * How long objects stay is not kept with them: it is the space of a class over what is evicted there in a second.
 *
 * Invariants: of all workers one moves space, at most once a second, by a time in the head that it takes with
 * compare-and-swap; all of it is done under the lock of the shard it is about, in bounded steps.
 */
#include "shm/cache_parts.h"

enum {
    SWEEP_MOST = 8192,
    CLEAR_STEPS = 4096,
    MUCH_OLDER = 4,             /* times: a region a second moves, two where it is twice that, */
    MOVES_PART = 16,            /* and so on, up to this part of all */
    HURRIES = 64,               /* shards that are asked to give, in a second, for what found no room at all */
};

#define MOVE_MS 1000
#define YIELD_MS 60000          /* a region that can't be emptied in this time is kept */

static bool
needs_care(const struct cache_shard *s)
{
    return __atomic_load_n(&s->quarantine, __ATOMIC_RELAXED) != 0 || __atomic_load_n(&s->gone, __ATOMIC_RELAXED) != 0 ||
           __atomic_load_n(&s->fetches, __ATOMIC_RELAXED) != 0 || __atomic_load_n(&s->yield_ms, __ATOMIC_RELAXED) != 0;
}

static void
end_yield(struct cache_shard *s)
{
    s->yield_ms = 0;
    s->walk = s->walk_queue = 0;
}

/* Whether it wanted room for more than it has. */
static bool
is_short(const struct cache_shard *s)
{
    return (uint64_t)__atomic_load_n(&s->wants, __ATOMIC_RELAXED) * 1024 + CACHE_CHUNK >
           __atomic_load_n(&s->total, __ATOMIC_RELAXED);
}

/*
 * A region that a shard gave back is nobody's, and the next who asks would have it: the shard of the other class that
 * is short of space, or has the least, is let ask first.
 */
static void
hand_over(struct cache *c, unsigned from)
{
    const struct cache_class *k = &c->at.class[!cache_class_of(c, from)];
    unsigned shard, to = k->first;
    struct space_view v;

    for (shard = k->first; shard < k->first + k->shards; shard++) {
        const struct cache_shard *s = cache_shard(c, shard), *t = cache_shard(c, to);

        if (is_short(s) != is_short(t) ? is_short(s) : __atomic_load_n(&s->total, __ATOMIC_RELAXED) <
                                                       __atomic_load_n(&t->total, __ATOMIC_RELAXED))
            to = shard;
    }
    if (k->shards == 0 || !cache_lock(c, to))
        return;
    v = cache_view(c, to);
    if (!cache_shard(c, to)->quarantine)
        space_claim(&v);
    cache_unlock(c, to);
}

static void
clear(struct cache *c, unsigned shard)
{
    struct cache_shard *s = cache_shard(c, shard);
    struct space_view v = cache_view(c, shard);

    cache_room_clear(c, shard, CLEAR_STEPS);
    if (space_yielded(&v)) {
        end_yield(s);
        hand_over(c, shard);
    } else if (c->now_ms > s->yield_ms + YIELD_MS) {
        space_yield_end(&v);
        end_yield(s);
    }
}

static void
care(struct cache *c, unsigned shard)
{
    struct cache_shard *s = cache_shard(c, shard);

    if (!needs_care(s) || !cache_lock(c, shard))
        return;
    if (s->quarantine) {
        cache_quarantine_end(c, shard);
    } else {
        cache_hold_end_fetches(c, shard);
        cache_hold_sweep(c, shard, SWEEP_MOST);
        if (s->yield_ms != 0)
            clear(c, shard);
    }
    cache_unlock(c, shard);
}

/* Moving space */

static bool
is_any_free(const struct cache *c)
{
    const struct space_pool *pool = &c->head->pool;
    uint32_t i;

    for (i = 0; i < pool->regions; i++) {
        if (__atomic_load_n(&pool->owner[i], __ATOMIC_RELAXED) == 0)
            return true;
    }
    return false;
}

struct flow {
    uint64_t space;
    uint64_t evicted;           /* bytes, ever */
    unsigned largest;           /* shard */
};

static struct flow
flow_of(const struct cache *c, unsigned class)
{
    const struct cache_class *k = &c->at.class[class];
    struct flow f = {0, 0, k->first};
    uint64_t most = 0;
    unsigned shard;

    for (shard = k->first; shard < k->first + k->shards; shard++) {
        const struct cache_shard *s = cache_shard(c, shard);
        uint64_t total = __atomic_load_n(&s->total, __ATOMIC_RELAXED);

        f.space += total;
        f.evicted += __atomic_load_n(&s->evicted_bytes, __ATOMIC_RELAXED);
        if (total > most) {
            most = total;
            f.largest = shard;
        }
    }
    return f;
}

/* Bytes evicted in a second, over the last ten or so. Who was slow to do this may find what was told later. */
static uint64_t
smooth(struct cache_top *head, unsigned class, uint64_t evicted, uint64_t ms)
{
    uint64_t now = evicted > head->evicted_bytes[class] ? (evicted - head->evicted_bytes[class]) * 1000 / ms : 0;

    if (evicted > head->evicted_bytes[class])
        head->evicted_bytes[class] = evicted;
    head->flow[class] = (head->flow[class] * 7 + now) / 8;
    return head->flow[class];
}

static void
yield(struct cache *c, unsigned shard)
{
    struct cache_shard *s = cache_shard(c, shard);
    struct space_view v = cache_view(c, shard);

    if (!cache_lock(c, shard))
        return;
    if (!s->quarantine && s->yield_ms == 0 && space_yield(&v)) {
        end_yield(s);
        s->yield_ms = c->now_ms;
    }
    if (!s->quarantine && s->yield_ms != 0)
        clear(c, shard);
    cache_unlock(c, shard);
}

/* Whether one of a class wants more, or (`is_much`) has no room for what it wanted at all. */
static bool
wants(const struct cache *c, unsigned class, bool is_much)
{
    const struct cache_class *k = &c->at.class[class];
    unsigned shard;

    for (shard = k->first; shard < k->first + k->shards; shard++) {
        const struct cache_shard *s = cache_shard(c, shard);

        if (__atomic_load_n(&s->wants, __ATOMIC_RELAXED) != 0 && (!is_much || is_short(s)))
            return true;
    }
    return false;
}

/* They say so again if they still do. */
static void
forget_wants(struct cache *c)
{
    unsigned shard;

    for (shard = 0; shard < c->at.shards; shard++)
        __atomic_store_n(&cache_shard(c, shard)->wants, 0, __ATOMIC_RELAXED);
}

static void
yield_all(struct cache *c, unsigned class)
{
    const struct cache_class *k = &c->at.class[class];
    unsigned shard;

    for (shard = k->first; shard < k->first + k->shards; shard++) {
        if (__atomic_load_n(&cache_shard(c, shard)->total, __ATOMIC_RELAXED) > cache_share(c, shard))
            yield(c, shard);
    }
}

/* For a class that wants more. */
static void
give(struct cache *c, unsigned class, unsigned from)
{
    unsigned n;

    yield_all(c, from);
    for (n = 0; n < HURRIES && wants(c, class, true); n += c->at.class[from].shards)
        yield_all(c, from);
}

/* How much longer objects stay in one than in the other. Who evicts nothing keeps them for ever. */
static double
older_by(const struct flow *a, uint64_t a_flow, const struct flow *b, uint64_t b_flow)
{
    return b_flow == 0 ? 0 : (double)a->space * (double)b_flow / ((double)b->space * ((double)a_flow + 1));
}

/* Whether it has more than it needs. */
static bool
can_spare(const struct cache *c, unsigned shard)
{
    const struct cache_shard *s = cache_shard(c, shard);
    uint64_t most = cache_class(c, shard)->most + CACHE_CHUNK + c->head->pool.region_size;

    return __atomic_load_n(&s->used, __ATOMIC_RELAXED) == 0 || __atomic_load_n(&s->total, __ATOMIC_RELAXED) > most;
}

/* Some regions, as far as they are empty at once. */
static void
level(struct cache *c, unsigned class, double by)
{
    unsigned i, most = c->head->pool.regions / MOVES_PART + 1;

    for (i = 0; i < most && by > MUCH_OLDER * (i + 1.0); i++) {
        unsigned shard = flow_of(c, class).largest;

        if (!can_spare(c, shard))
            return;
        yield(c, shard);
        if (__atomic_load_n(&cache_shard(c, shard)->yield_ms, __ATOMIC_RELAXED) != 0)
            return;
    }
}

static void
move_space(struct cache *c)
{
    struct cache_top *head = c->head;
    uint64_t last = __atomic_load_n(&head->lease_ms, __ATOMIC_RELAXED), small_flow, large_flow;
    bool small_wants, large_wants;
    struct flow small, large;

    if (c->at.class[CACHE_LARGE_CLASS].shards == 0 || c->now_ms < last + MOVE_MS ||
        !__atomic_compare_exchange_n(&head->lease_ms, &last, c->now_ms, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        return;
    small = flow_of(c, CACHE_SMALL_CLASS);
    large = flow_of(c, CACHE_LARGE_CLASS);
    small_flow = smooth(head, CACHE_SMALL_CLASS, small.evicted, c->now_ms - last);
    large_flow = smooth(head, CACHE_LARGE_CLASS, large.evicted, c->now_ms - last);
    small_wants = wants(c, CACHE_SMALL_CLASS, false);
    large_wants = wants(c, CACHE_LARGE_CLASS, false);
    if (!is_any_free(c)) {
        if (large_wants)
            give(c, CACHE_LARGE_CLASS, CACHE_SMALL_CLASS);
        if (small_wants)
            give(c, CACHE_SMALL_CLASS, CACHE_LARGE_CLASS);
        if (!small_wants && !large_wants) {
            level(c, CACHE_SMALL_CLASS, older_by(&small, small_flow, &large, large_flow));
            level(c, CACHE_LARGE_CLASS, older_by(&large, large_flow, &small, small_flow));
        }
    }
    forget_wants(c);
}

void
cache_tick(struct cache *c, uint64_t now_ms)
{
    unsigned shard;

    c->now_ms = now_ms;
    for (shard = 0; shard < c->at.shards; shard++)
        care(c, shard);
    move_space(c);
}

/*
 * Knows the locks, and what becomes of a shard whose worker died with its lock: everything in it is forgotten, its
 * epoch is over. Until nobody holds anything of that epoch any more the shard is in quarantine: nothing is found
 * there, nothing is put there, and its space and its holds are left as they are.
 *
 * Invariants: a shard is marked as in quarantine before the first of it is changed, and no more than that is trusted:
 * who dies during a reset, or while a quarantine is ended, leaves the lock to one who does all of it again.
 */
#include <errno.h>
#include <string.h>

#include "shm/cache_parts.h"

enum { TRIES = 48 };

static void
rest(unsigned n)
{
    while (n-- > 0) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#else
        __asm__ volatile("" ::: "memory");
#endif
    }
}

/* Holds that have a bit stay as they are, but for what they are part of. */
static void
forget_holds(struct cache *c, unsigned shard, struct cache_shard *s)
{
    uint32_t n;

    for (n = 1; n < s->fresh && n < cache_class(c, shard)->holds; n++) {
        struct cache_kept *h = cache_hold_at(c, (struct cache_hold){shard, n});

        __atomic_fetch_or(&h->flags, HOLD_DOOMED, __ATOMIC_SEQ_CST);
        h->place = PLACE_OLD;
        h->link = 0;
        h->extra = 0;
    }
    s->free = s->hand = s->gone_first = s->gone_last = s->gone = s->fetches = 0;
}

static void
reset(struct cache *c, unsigned shard)
{
    struct cache_shard *s = cache_shard(c, shard);
    const struct cache_class *class = cache_class(c, shard);
    struct space_view v = cache_view(c, shard);

    s->dirty = 1;
    __atomic_store_n(&s->quarantine_ms, c->now_ms, __ATOMIC_SEQ_CST);
    __atomic_store_n(&s->quarantine, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&s->resets, s->resets + 1, __ATOMIC_RELAXED);
    s->born = __atomic_add_fetch(&c->head->now, 1, __ATOMIC_SEQ_CST);
    s->epoch++;
    memset(cache_buckets(c, shard), 0, class->buckets * sizeof(uint32_t));
    memset(s->fetch, 0, sizeof(s->fetch));
    queue_init(&s->queue, &v, class->offset + (shard - class->first) * class->stride + class->ghost, class->ghosts);
    __atomic_store_n(&s->objects, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&s->bytes, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&s->used, s->total, __ATOMIC_RELAXED);
    s->yield_ms = s->walk = s->walk_queue = s->starved = 0;
    forget_holds(c, shard, s);
}

bool
cache_lock(struct cache *c, unsigned shard)
{
    struct cache_shard *s = cache_shard(c, shard);
    unsigned i;
    int error;

    for (i = 0; i < TRIES; i++) {
        error = pthread_mutex_trylock(&s->lock);
        if (error == EOWNERDEAD) {
            reset(c, shard);
            pthread_mutex_consistent(&s->lock);
        }
        if (error == 0 || error == EOWNERDEAD) {
            s->dirty = 1;
            return true;
        }
        rest(8 + 2 * i);
    }
    return false;
}

void
cache_unlock(struct cache *c, unsigned shard)
{
    struct cache_shard *s = cache_shard(c, shard);

    if (!s->quarantine) {
        struct space_view v = cache_view(c, shard);

        __atomic_store_n(&s->used, space_taken(&v), __ATOMIC_RELAXED);
        __atomic_store_n(&s->total, space_total(&v), __ATOMIC_RELAXED);
    }
    __atomic_store_n(&s->dirty, 0, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&s->lock);
}

/* Those that nobody holds let go of what they go on in: that may be in another quarantine, which waits for this one. */
static bool
is_anything_kept(struct cache *c, unsigned shard, const struct cache_shard *s)
{
    struct cache_hold hold = {shard, 1};
    bool any = false;

    for (; hold.number < s->fresh; hold.number++) {
        if (cache_hold_is_kept(c, hold))
            any = true;
        else
            cache_hold_part(c, hold);
    }
    return any;
}

void
cache_quarantine_end(struct cache *c, unsigned shard)
{
    struct cache_shard *s = cache_shard(c, shard);
    struct space_view v = cache_view(c, shard);
    uint32_t n;

    if (!s->quarantine || is_anything_kept(c, shard, s))
        return;
    for (n = 1; n < s->fresh; n++)
        cache_hold_free(c, (struct cache_hold){shard, n});
    space_reset(&v);
    __atomic_store_n(&s->quarantine, 0, __ATOMIC_SEQ_CST);
}

static bool
has_something(struct cache *c, unsigned shard, const struct cache_key *key)
{
    return __atomic_load_n(cache_index_bucket(c, shard, key), __ATOMIC_RELAXED) != 0 ||
           __atomic_load_n(cache_index_fetches(c, shard, key), __ATOMIC_RELAXED) != 0;
}

bool
cache_lock_key(struct cache *c, const struct cache_key *key, bool large, struct cache_locked *l)
{
    unsigned other = cache_shard_large(c, key);

    *l = (struct cache_locked){cache_shard_small(c, key), CACHE_NO_SHARD};
    if (!cache_lock(c, l->small))
        return false;
    if (other == CACHE_NO_SHARD || (!large && !has_something(c, other, key)))
        return true;
    if (cache_lock(c, other)) {
        l->large = other;
        return true;
    }
    cache_unlock(c, l->small);
    return false;
}

void
cache_unlock_key(struct cache *c, const struct cache_locked *l)
{
    if (l->large != CACHE_NO_SHARD)
        cache_unlock(c, l->large);
    cache_unlock(c, l->small);
}

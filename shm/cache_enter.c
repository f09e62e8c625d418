/*
 * Knows the doors: what is found, who fetches and who joins, and what is thrown out.
 *
 * Invariants: all of it happens under the lock of the key's small shard, so of all that want to fetch at once one does.
 */
#include <string.h>

#include "shm/cache_fill_parts.h"
#include "shm/cache_parts.h"

static bool
is_key(const struct cache_key *a, const struct cache_key *b)
{
    return a->word[0] == b->word[0] && a->word[1] == b->word[1];
}

/* Looking */

static bool
is_asked_for(const struct cache_lookup *l, cache_variant variant, bool *spec)
{
    unsigned i;

    *spec = false;
    for (i = 0; i < l->n && i <= CACHE_SPECS; i++) {
        if (l->variants[i] == variant)
            return true;
        if (CACHE_VARIANT_SPEC(l->variants[i]) == CACHE_VARIANT_SPEC(variant))
            *spec = true;
    }
    return false;
}

/* The newest that is asked for; 0 with *other: one with a Vary that was not asked for is newer, or all there is. */
static cache_address
search(struct cache *c, unsigned shard, const struct cache_lookup *l, cache_address *other)
{
    cache_address a = *cache_index_bucket(c, shard, &l->key);
    bool spec;

    *other = 0;
    for (; a != 0; a = cache_record_at(c, a)->chain) {
        const struct cache_record *r = cache_record_at(c, a);

        if (!is_key(&r->key, &l->key) || (r->flags & RECORD_MARK))
            continue;
        if (is_asked_for(l, r->variant, &spec))
            return a;
        if (!spec) {
            *other = a;
            return 0;
        }
    }
    return 0;
}

/* Under the lock. */
static int
hold_object(struct cache *c, unsigned shard, cache_address record, struct cache_hold *hold)
{
    struct cache_record *r = cache_record_at(c, record);
    struct cache_kept *h;

    *hold = (struct cache_hold){shard, r->hold};
    if (hold->number == 0) {
        hold->number = cache_hold_take(c, shard);
        if (hold->number == 0)
            return CACHE_FULL;
        h = cache_hold_at(c, *hold);
        h->place = PLACE_OBJECT;
        h->state = CACHE_WHOLE;
        h->record = record;
        h->key = r->key;
        h->asked = h->variant = r->variant;
        h->ready = h->length = cache_index_length(r);
        h->room = cache_index_bytes(r);
        r->hold = hold->number;
    } else {
        cache_hold_tidy(c, *hold);
    }
    cache_hold_keep(c, *hold);
    return CACHE_OK;
}

static int
look_into(struct cache *c, unsigned shard, const struct cache_lookup *l, struct cache_hold *hold)
{
    cache_address other, a = search(c, shard, l, &other);
    int answer;

    if (a == 0 && other == 0)
        return CACHE_NONE;
    if (a != 0)
        queue_touch(cache_record_at(c, a));
    answer = hold_object(c, shard, a != 0 ? a : other, hold);
    return answer == CACHE_OK && a == 0 ? CACHE_SPEC : answer;
}

/* Under the lock of the small shard. The large one's is taken where it has something, of that key or another. */
static int
find(struct cache *c, const struct cache_lookup *l, unsigned shard, struct cache_hold *hold)
{
    unsigned large = cache_shard_large(c, &l->key);
    int answer = look_into(c, shard, l, hold);

    if (answer != CACHE_NONE || large == CACHE_NO_SHARD ||
        __atomic_load_n(cache_index_bucket(c, large, &l->key), __ATOMIC_RELAXED) == 0)
        return answer;
    if (!cache_lock(c, large))
        return CACHE_BUSY;
    answer = look_into(c, large, l, hold);
    cache_unlock(c, large);
    return answer;
}

int
cache_find(struct cache *c, const struct cache_lookup *l, struct cache_hold *hold)
{
    unsigned shard = cache_shard_small(c, &l->key);
    int answer;

    *hold = (struct cache_hold){0, 0};
    if (!cache_lock(c, shard))
        return CACHE_BUSY;
    answer = find(c, l, shard, hold);
    cache_unlock(c, shard);
    return answer;
}

/* Entering */

static bool
may_join(const struct cache_kept *h, const struct cache_key *key, cache_variant variant)
{
    uint32_t flags = __atomic_load_n(&h->flags, __ATOMIC_SEQ_CST);

    return is_key(&h->key, key) && (h->asked == variant || h->variant == variant) &&
           !(flags & (HOLD_DOOMED | HOLD_SOFT | HOLD_PART)) && (!(flags & HOLD_ALONE) || h->state != CACHE_FETCHING);
}

/* Fetches that have ended depart by the way. */
static bool
join(struct cache *c, unsigned shard, const struct cache_key *key, cache_variant variant, struct cache_hold *hold)
{
    uint32_t n = *cache_index_fetches(c, shard, key), link;

    for (; n != 0; n = link) {
        struct cache_hold at = {shard, n};
        struct cache_kept *h = cache_hold_at(c, at);

        link = h->link;
        if (!cache_hold_is_open(h)) {
            cache_hold_depart(c, at);
        } else if (may_join(h, key, variant)) {
            cache_hold_keep(c, at);
            *hold = at;
            return true;
        }
    }
    return false;
}

static int
begin(struct cache *c, unsigned shard, const struct cache_key *key, cache_variant variant, bool alone,
      struct cache_hold *hold)
{
    struct cache_kept *h;

    *hold = (struct cache_hold){shard, cache_hold_take(c, shard)};
    if (hold->number == 0)
        return CACHE_FULL;
    h = cache_hold_at(c, *hold);
    h->state = CACHE_FETCHING;
    h->flags = alone ? HOLD_ALONE : 0;
    h->key = *key;
    h->asked = h->variant = variant;
    h->length = CACHE_LENGTH_UNKNOWN;
    cache_hold_keep(c, *hold);
    __atomic_store_n(&h->filler, c->row, __ATOMIC_SEQ_CST);
    cache_hold_list_fetch(c, *hold);
    return CACHE_BEGUN;
}

/* Whether there is an object of that variant which is not the one that was seen. */
static bool
is_another(struct cache *c, const struct cache_locked *at, const struct cache_key *key, cache_variant variant,
           struct cache_hold seen)
{
    unsigned shard = at->small;
    cache_address a = cache_index_same(c, shard, key, variant, false);

    if (a == 0 && at->large != CACHE_NO_SHARD) {
        shard = at->large;
        a = cache_index_same(c, shard, key, variant, false);
    }
    return a != 0 && (seen.number == 0 || seen.shard != shard || cache_record_at(c, a)->hold != seen.number);
}

/* The flags of its mark; 0: it has none. */
static unsigned
mark_of(struct cache *c, unsigned shard, const struct cache_key *key, cache_variant variant, uint64_t now_ms)
{
    cache_address a = cache_index_same(c, shard, key, variant, true);

    if (a == 0)
        return 0;
    if (cache_index_length(cache_record_at(c, a)) > now_ms)
        return cache_record_at(c, a)->flags;
    cache_index_remove(c, shard, a, false);
    return 0;
}

static bool
is_fetched(struct cache *c, unsigned shard, const struct cache_key *key, cache_variant variant)
{
    for (uint32_t n = *cache_index_fetches(c, shard, key); n != 0;) {
        const struct cache_kept *h = cache_hold_at(c, (struct cache_hold){shard, n});

        if (cache_hold_is_open(h) && is_key(&h->key, key) && h->asked == variant)
            return true;
        n = h->link;
    }
    return false;
}

int
cache_enter(struct cache *c, const struct cache_key *key, cache_variant variant, struct cache_hold seen, bool alone,
            uint64_t now_ms, struct cache_hold *hold)
{
    struct cache_locked at;
    unsigned mark = 0;
    int answer;

    *hold = (struct cache_hold){0, 0};
    if (!cache_lock_key(c, key, false, &at))
        return CACHE_BUSY;
    if (!cache_shard(c, at.small)->quarantine)
        mark = mark_of(c, at.small, key, variant, now_ms);
    alone = alone || mark != 0;
    if (cache_shard(c, at.small)->quarantine)
        answer = CACHE_FULL;
    else if (is_another(c, &at, key, variant, seen))
        answer = CACHE_CHANGED;
    else if ((mark & RECORD_FIRM) || (mark != 0 && is_fetched(c, at.small, key, variant)))
        answer = CACHE_PASS;
    else if (!alone && join(c, at.small, key, variant, hold))
        answer = CACHE_JOINED;
    else
        answer = begin(c, at.small, key, variant, alone, hold);
    cache_unlock_key(c, &at);
    return answer;
}

/* Purging */

int
cache_purge(struct cache *c, const struct cache_key *key, bool soft)
{
    struct cache_locked at;

    if (!cache_lock_key(c, key, false, &at))
        return CACHE_BUSY;
    cache_index_purge(c, at.small, key, soft);
    if (at.large != CACHE_NO_SHARD)
        cache_index_purge(c, at.large, key, soft);
    __atomic_fetch_add(&c->head->now, 1, __ATOMIC_SEQ_CST);
    cache_unlock_key(c, &at);
    return CACHE_OK;
}

/* Under the lock of its shard. */
static void
throw_out(struct cache *c, struct cache_hold hold)
{
    struct cache_kept *h = cache_hold_at(c, hold);

    if (h->place == PLACE_OBJECT) {
        cache_index_remove(c, hold.shard, h->record, false);
        return;
    }
    __atomic_fetch_or(&h->flags, HOLD_DOOMED, __ATOMIC_SEQ_CST);
    cache_hold_depart(c, hold);
}

/*
 * A fetch that has come to its large shard is met where it began: both go. Under both locks no hold of these shards is
 * freed or used again. Parts lie anywhere, and nobody joins or finds any.
 */
int
cache_drop(struct cache *c, struct cache_hold hold)
{
    const struct cache_kept *h = cache_hold_at(c, hold);
    struct cache_hold other;
    struct cache_locked l;

    if (__atomic_load_n(&h->flags, __ATOMIC_SEQ_CST) & HOLD_PART)
        return CACHE_OK;
    if (!cache_lock_key(c, &h->key, cache_class_of(c, hold.shard) == CACHE_LARGE_CLASS, &l))
        return CACHE_BUSY;
    other = hold.shard == l.small ? cache_hold_unpack(__atomic_load_n(&h->next, __ATOMIC_SEQ_CST))
                                  : cache_hold_previous(c, hold);
    throw_out(c, hold);
    if (cache_hold_good(c, other) && (other.shard == l.small || other.shard == l.large))
        throw_out(c, other);
    cache_unlock_key(c, &l);
    return CACHE_OK;
}

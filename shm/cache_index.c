/*
 * Knows what can be found: chains of records by key, the newest first, the order in which they go, and their counts.
 *
 * Invariants, under the lock: a record in a chain is in a queue; one that leaves both is freed, or left to its hold,
 * which departs. A record whose body is another's keeps that one, which is in no chain and no queue.
 */
#include <stddef.h>

#include "shm/cache_parts.h"

uint32_t *
cache_index_bucket(const struct cache *c, unsigned shard, const struct cache_key *key)
{
    uint32_t buckets = cache_class(c, shard)->buckets;

    return cache_buckets(c, shard) + (uint32_t)(((unsigned __int128)key->word[1] * buckets) >> 64);
}

uint32_t *
cache_index_fetches(const struct cache *c, unsigned shard, const struct cache_key *key)
{
    return &cache_shard(c, shard)->fetch[(key->word[1] ^ key->word[0]) % CACHE_FETCHES];
}

static bool
is_key(const struct cache_key *a, const struct cache_key *b)
{
    return a->word[0] == b->word[0] && a->word[1] == b->word[1];
}

uint64_t
cache_index_length(const struct cache_record *r)
{
    return (uint64_t)r->length_high << 32 | r->length_low;
}

void
cache_index_set_length(struct cache_record *r, uint64_t length)
{
    r->length_low = (uint32_t)length;
    r->length_high = (uint8_t)(length >> 32);
}

uint64_t
cache_index_bytes(const struct cache_record *r)
{
    return r->head_n + cache_index_length(r);
}

static uint64_t
room_of(struct cache *c, unsigned shard, cache_address record)
{
    struct space_view v = cache_view(c, shard);

    return queue_bytes(&v, record);
}

void
cache_index_give(struct cache *c, unsigned shard, cache_address record)
{
    struct space_view v = cache_view(c, shard);
    cache_address body = cache_record_at(c, record)->body;

    if (body != 0 && body != record)
        space_give(&v, body);
    space_give(&v, record);
}

cache_address
cache_index_same(struct cache *c, unsigned shard, const struct cache_key *key, cache_variant variant, bool mark)
{
    cache_address a = *cache_index_bucket(c, shard, key);

    while (a != 0) {
        const struct cache_record *r = cache_record_at(c, a);

        if (is_key(&r->key, key) && r->variant == variant && ((r->flags & RECORD_MARK) != 0) == mark)
            return a;
        a = r->chain;
    }
    return 0;
}

/* Up or down, where the last object's size may be smaller than the next: read by others without the lock. */
static void
count(struct cache_shard *s, const struct cache_record *r, int by)
{
    uint64_t bytes = cache_index_bytes(r);

    if (r->flags & RECORD_MARK)
        return;
    __atomic_store_n(&s->objects, s->objects + (uint64_t)by, __ATOMIC_RELAXED);
    __atomic_store_n(&s->bytes, by > 0 ? s->bytes + bytes : s->bytes - bytes, __ATOMIC_RELAXED);
}

/* The oldest of a key that has too many goes. */
static void
limit(struct cache *c, unsigned shard, const struct cache_key *key)
{
    cache_address a = *cache_index_bucket(c, shard, key), last = 0;
    unsigned n = 0;

    while (a != 0) {
        const struct cache_record *r = cache_record_at(c, a);

        if (is_key(&r->key, key)) {
            n++;
            last = a;
        }
        a = r->chain;
    }
    if (n >= CACHE_SAME_KEY)
        cache_index_remove(c, shard, last, true);
}

static void
chain(struct cache *c, unsigned shard, cache_address record)
{
    struct cache_record *r = cache_record_at(c, record);
    uint32_t *bucket = cache_index_bucket(c, shard, &r->key);

    limit(c, shard, &r->key);
    r->chain = *bucket;
    __atomic_store_n(bucket, record, __ATOMIC_RELAXED);
    count(cache_shard(c, shard), r, 1);
}

void
cache_index_insert(struct cache *c, unsigned shard, cache_address record)
{
    struct space_view v = cache_view(c, shard);

    chain(c, shard, record);
    queue_add(&cache_shard(c, shard)->queue, &v, record, room_of(c, shard, record));
}

void
cache_index_restore(struct cache *c, unsigned shard, cache_address record, unsigned queue, unsigned freq)
{
    struct space_view v = cache_view(c, shard);

    chain(c, shard, record);
    queue_restore(&cache_shard(c, shard)->queue, &v, record, room_of(c, shard, record), queue, freq);
}

/* Where the address of this record stands. */
static uint32_t *
place_of(struct cache *c, unsigned shard, cache_address record)
{
    uint32_t *at = cache_index_bucket(c, shard, &cache_record_at(c, record)->key);

    while (*at != 0 && *at != record)
        at = &cache_record_at(c, *at)->chain;
    return at;
}

static void
dequeue(struct cache *c, unsigned shard, cache_address record, bool evicted)
{
    struct cache_shard *s = cache_shard(c, shard);
    struct cache_record *r = cache_record_at(c, record);
    struct space_view v = cache_view(c, shard);
    uint64_t room = room_of(c, shard, record);

    if (s->walk == record)
        s->walk = r->newer;
    if (!evicted) {
        queue_remove(&s->queue, &v, record, room);
        return;
    }
    queue_evicted(&s->queue, &v, record, room);
    s->evicted_bytes += room;
    if ((r->flags & RECORD_MARK) == 0)
        __atomic_store_n(&s->evicted, s->evicted + 1, __ATOMIC_RELAXED);
}

void
cache_index_remove(struct cache *c, unsigned shard, cache_address record, bool evicted)
{
    struct cache_record *r = cache_record_at(c, record);
    struct cache_hold hold = {shard, r->hold};
    uint32_t *at = place_of(c, shard, record);

    cache_seal_break(c, r);
    if (*at != 0)
        __atomic_store_n(at, r->chain, __ATOMIC_RELAXED);
    dequeue(c, shard, record, evicted);
    count(cache_shard(c, shard), r, -1);
    if (hold.number == 0) {
        cache_index_give(c, shard, record);
    } else if (cache_hold_is_kept(c, hold)) {
        cache_hold_depart(c, hold);
    } else {
        cache_hold_at(c, hold)->place = PLACE_NONE;
        cache_hold_free(c, hold);
    }
}

void
cache_index_replace(struct cache *c, unsigned shard, cache_address old, cache_address new)
{
    struct cache_shard *s = cache_shard(c, shard);
    struct cache_record *was = cache_record_at(c, old), *is = cache_record_at(c, new);
    struct cache_kept *h = cache_hold_at(c, (struct cache_hold){shard, was->hold});
    struct space_view v = cache_view(c, shard);
    uint32_t *at = place_of(c, shard, old);

    cache_seal_break(c, was);
    is->chain = was->chain;
    is->hold = was->hold;
    __atomic_store_n(at, new, __ATOMIC_RELAXED);
    if (s->walk == old)
        s->walk = new;
    queue_replace(&s->queue, &v, old, new, room_of(c, shard, old), room_of(c, shard, new));
    count(s, was, -1);
    count(s, is, 1);
    __atomic_store_n(&h->record, new, __ATOMIC_RELEASE);
    if (was->body != old) {                     /* a head alone, of which somebody may be reading */
        was->chain = h->extra;
        h->extra = old;
    }
    was->hold = 0;
}

static void
purge_fetches(struct cache *c, unsigned shard, const struct cache_key *key, bool soft)
{
    struct cache_hold hold = {shard, *cache_index_fetches(c, shard, key)};

    while (hold.number != 0) {
        struct cache_kept *h = cache_hold_at(c, hold);
        uint32_t link = h->link;

        if (is_key(&h->key, key)) {
            __atomic_fetch_or(&h->flags, soft ? HOLD_SOFT : HOLD_DOOMED, __ATOMIC_SEQ_CST);
            if (!soft)
                cache_hold_depart(c, hold);
        }
        hold.number = link;
    }
}

void
cache_index_purge(struct cache *c, unsigned shard, const struct cache_key *key, bool soft)
{
    cache_address a = *cache_index_bucket(c, shard, key);

    while (a != 0) {
        struct cache_record *r = cache_record_at(c, a);
        cache_address chain = r->chain;

        if (is_key(&r->key, key)) {
            if (soft && !(r->flags & RECORD_MARK))
                __atomic_fetch_or(&r->flags, RECORD_SOFT, __ATOMIC_RELAXED);
            else
                cache_index_remove(c, shard, a, false);
        }
        a = chain;
    }
    purge_fetches(c, shard, key, soft);
}

/*
 * Knows seals: what stands behind each record of a cache that lies in a file, so that after a restart what is whole can
 * be told from what was being written, freed or torn. A body is summed as it is written, its head and its extents when
 * it can be found from then on; when it can't any more the seal is broken, before anything else happens to it.
 *
 * Invariants: a record that can be found has a seal, and no other has. A body is held against its sum once after a
 * restart, a part at a time, before its first byte is used; heads and extents were by then, when the file was opened.
 */
#include <string.h>

#include "shm/cache_fill_parts.h"
#include "shm/cache_parts.h"

enum {
    PIECES = 16,
    PART = 4 * 1024 * 1024,     /* of a body looked at in one go: a few milliseconds, if it has to be read */
};

struct cache_seal *
cache_seal_of(const struct cache *c, struct cache_record *r)
{
    return c->front > 0 ? (struct cache_seal *)(void *)r->rest : NULL;
}

static struct cache_sum *
sum_of(const struct cache *c, struct cache_hold hold)
{
    const struct cache_class *class = cache_class(c, hold.shard);

    return c->sums[cache_class_of(c, hold.shard)] + (size_t)(hold.shard - class->first) * class->holds + hold.number;
}

/* Writing */

void
cache_seal_begin(struct cache *c, struct cache_hold hold)
{
    if (c->front > 0)
        digest_begin(&sum_of(c, hold)->digest, &c->head->key);
}

void
cache_seal_move(struct cache *c, struct cache_hold from, struct cache_hold to)
{
    if (c->front > 0)
        sum_of(c, to)->digest = sum_of(c, from)->digest;
}

/* What is only passed on needs none. */
void
cache_seal_add(struct cache *c, struct cache_hold hold, const void *bytes, size_t n)
{
    if (c->front > 0 && (cache_hold_at(c, hold)->flags & HOLD_PART) == 0)
        digest_add(&sum_of(c, hold)->digest, bytes, n);
}

/* Sealing */

uint32_t
cache_seal_head(const struct cache *c, cache_address record)
{
    struct cache_record *r = cache_record_at(c, record);
    const struct cache_seal *s = cache_seal_of(c, r);
    uint64_t what[] = {
        record, r->key.word[0], r->key.word[1], r->variant, (uint64_t)r->head_n << 32 | r->body, cache_index_length(r),
        s->body, s->place,
    };
    struct digest d;

    digest_begin(&d, &c->head->key);
    digest_add(&d, what, sizeof(what));
    digest_add(&d, cache_record_head(c, r), r->head_n);
    return (uint32_t)digest_end(d);
}

void
cache_seal_extents(const struct cache *c, struct digest *d, cache_address record)
{
    cache_address body = cache_record_at(c, record)->body;
    uint64_t what[] = {record, body, body != record ? cache_record_at(c, body)->head_n : 0};

    digest_begin(d, &c->head->key);
    digest_add(d, what, sizeof(what));
}

void
cache_seal_extent(struct digest *d, cache_address extent, uint32_t units)
{
    uint32_t what[] = {extent, units};

    digest_add(d, what, sizeof(what));
}

uint32_t
cache_seal_chain(const struct digest *d)
{
    return (uint32_t)digest_end(*d);
}

static void
add_chain(const struct cache *c, struct digest *d, cache_address chain)
{
    struct space_view v = cache_view(c, 0);

    for (; chain != 0; chain = space_next(&v, chain))
        cache_seal_extent(d, chain, space_units(&v, chain));
}

void
cache_seal_make(struct cache *c, unsigned shard, cache_address record, uint64_t body)
{
    struct cache_record *r = cache_record_at(c, record);
    struct cache_seal *s = cache_seal_of(c, r);
    uint64_t when = __atomic_add_fetch(&c->head->now, 1, __ATOMIC_SEQ_CST);
    struct digest d;

    s->body = body;
    s->place = when << 16 | shard;
    s->head = cache_seal_head(c, record);
    cache_seal_extents(c, &d, record);
    add_chain(c, &d, record);
    if (r->body != record)
        add_chain(c, &d, r->body);
    s->chain = cache_seal_chain(&d);
}

void
cache_seal_put(struct cache *c, struct cache_hold hold, cache_address record)
{
    if (c->front == 0)
        return;
    cache_record_at(c, record)->flags |= RECORD_VERIFIED;
    cache_seal_make(c, hold.shard, record, digest_end(sum_of(c, hold)->digest));
}

void
cache_seal_put_as(struct cache *c, unsigned shard, cache_address record, cache_address other)
{
    struct cache_record *r = cache_record_at(c, record), *o = cache_record_at(c, other);

    if (c->front == 0)
        return;
    r->flags |= __atomic_load_n(&o->flags, __ATOMIC_RELAXED) & RECORD_VERIFIED;
    cache_seal_make(c, shard, record, cache_seal_of(c, o)->body);
}

void
cache_seal_break(const struct cache *c, struct cache_record *r)
{
    if (c->front > 0)
        __atomic_store_n(&cache_seal_of(c, r)->place, 0, __ATOMIC_SEQ_CST);
}

/* Looking at it */

/* A part of the body more. True: that was all. */
static bool
look_on(struct cache *c, struct cache_hold hold, struct cache_sum *sum, uint64_t length)
{
    struct cache_cursor at = {0};
    struct iovec iov[PIECES];
    uint64_t end = sum->at + PART;
    int i, n;

    while (sum->at < length && sum->at < end) {
        at.at = sum->at;
        n = cache_read(c, hold, &at, end - sum->at, iov, PIECES);
        if (n == 0)
            return true;                        /* there is less than its record says */
        for (i = 0; i < n; i++) {
            digest_add(&sum->digest, iov[i].iov_base, iov[i].iov_len);
            sum->at += iov[i].iov_len;
        }
    }
    return sum->at >= length;
}

/* Whether this process has begun with this one; else it does. */
static void
resume(const struct cache *c, struct cache_sum *sum, uint64_t place)
{
    if (sum->place == place)
        return;
    digest_begin(&sum->digest, &c->head->key);
    sum->at = 0;
    sum->place = place;
}

int
cache_verify(struct cache *c, struct cache_hold hold)
{
    struct cache_kept *h = cache_hold_at(c, hold);
    cache_address record = __atomic_load_n(&h->record, __ATOMIC_ACQUIRE);
    struct cache_record *r;
    struct cache_sum *sum;
    uint64_t place;

    if (c->front == 0 || record == 0 || __atomic_load_n(&h->state, __ATOMIC_SEQ_CST) != CACHE_WHOLE)
        return CACHE_OK;
    r = cache_record_at(c, record);
    if (__atomic_load_n(&r->flags, __ATOMIC_ACQUIRE) & RECORD_VERIFIED)
        return CACHE_OK;
    place = __atomic_load_n(&cache_seal_of(c, r)->place, __ATOMIC_SEQ_CST);
    if (place == 0)
        return CACHE_NONE;                      /* gone by now, and nobody can say any more what it was */
    sum = sum_of(c, hold);
    resume(c, sum, place);
    if (!look_on(c, hold, sum, cache_index_length(r)))
        return CACHE_BUSY;
    sum->place = 0;
    if (digest_end(sum->digest) == cache_seal_of(c, r)->body) {
        __atomic_fetch_or(&r->flags, RECORD_VERIFIED, __ATOMIC_RELEASE);
        return CACHE_OK;
    }
    if (cache_drop(c, hold) != CACHE_OK)
        return CACHE_BUSY;
    __atomic_fetch_add(&c->head->dropped, 1, __ATOMIC_RELAXED);
    return CACHE_NONE;
}

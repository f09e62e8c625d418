/*
 * Knows where the next bytes of a body go. As long as it may be stored: into its record, which grows; into one among
 * the large objects when it has become too large for the small ones. After that (larger than any object may be, no
 * room, or its shard was reset) the fetch goes on in parts: a hold and a record each, with what was before left
 * behind, which is freed when its last reader has gone on. So a body of any length passes, and the filler waits for
 * the slowest.
 *
 * Invariants: all holds of one fetch but the last are CONTINUED, each protects the next (cache_hold.c), and at most
 * CACHE_FILL_HOLDS of them are alive.
 */
#include <string.h>

#include "shm/cache_fill_parts.h"

enum {
    GROW_LEAST = 4096,
    TRIES = 4,                  /* shards of a class that a part is tried in */
    SWEEP_MOST = 4096,
    PART_LEAST = 32 * 1024,
    PARTS = 4,                  /* of the largest object */
};

/* The tail */

static size_t
skip_of(const struct cache *c, const struct cache_kept *h)
{
    return h->tail == h->record ? cache_record_skip(c, h->record) : 0;
}

static unsigned char *
tail_of(const struct cache *c, const struct cache_kept *h, size_t *n)
{
    struct space_view v = cache_view(c, 0);
    unsigned char *p = space_data(&v, h->tail, n);
    size_t skip = skip_of(c, h);

    *n -= skip;
    return p + skip;
}

unsigned char *
cache_fill_at(const struct cache *c, const struct cache_kept *h, size_t *left)
{
    unsigned char *p = tail_of(c, h, left);
    size_t at = (size_t)(h->ready - h->tail_start);

    *left -= at;
    return p + at;
}

/* To the extent behind it. False: there is none. */
static bool
step(const struct cache *c, struct cache_kept *h)
{
    struct space_view v = cache_view(c, 0);
    cache_address next = space_next(&v, h->tail);
    size_t n;

    if (next == 0)
        return false;
    tail_of(c, h, &n);
    h->tail_start += n;
    h->tail = next;
    return true;
}

static bool
offer(const struct cache *c, struct cache_kept *h, struct iovec *room)
{
    size_t n, at;
    unsigned char *p;

    do {
        p = tail_of(c, h, &n);
        at = (size_t)(h->ready - h->tail_start);
    } while (at == n && step(c, h));
    if (at == n)
        return false;
    n -= at;
    if (h->length != CACHE_LENGTH_UNKNOWN && n > h->length - h->ready)
        n = (size_t)(h->length - h->ready);
    *room = (struct iovec){p + at, n};
    return true;
}

/* Copies what is ready to a hold of more room, whose bytes nobody sees yet. */
static void
copy(struct cache *c, const struct cache_kept *from, struct cache_kept *to)
{
    struct space_view v = cache_view(c, 0);
    size_t skip = cache_record_skip(c, from->record), n;
    cache_address at = from->record;
    struct iovec room;

    while (at != 0 && to->ready < from->ready) {
        unsigned char *p = (unsigned char *)space_data(&v, at, &n) + skip;

        n -= skip;
        skip = 0;
        at = space_next(&v, at);
        if (n > from->ready - to->ready)
            n = (size_t)(from->ready - to->ready);
        while (n > 0 && offer(c, to, &room)) {
            size_t some = n < room.iov_len ? n : room.iov_len;

            memcpy(room.iov_base, p, some);
            to->ready += some;
            p += some;
            n -= some;
        }
    }
}

/* Among the large ones */

static int
become_large(struct cache *c, struct cache_hold *hold)
{
    struct cache_kept *h = cache_hold_at(c, *hold);
    struct cache_record *r = cache_record_at(c, h->record);
    struct iovec head = {cache_record_head(c, r), r->head_n};
    struct cache_hold next;
    int answer = cache_fill_go_on(c, *hold, &head, 1, h->ready + CACHE_CHUNK, &next);

    if (answer != CACHE_OK)
        return answer;
    copy(c, h, cache_hold_at(c, next));
    cache_seal_move(c, *hold, next);
    cache_fill_continue(c, *hold, next);
    *hold = next;
    return CACHE_OK;
}

/* Parts */

static uint64_t
part_most(const struct cache *c, unsigned shard)
{
    uint64_t n = c->head->max_object / PARTS, most = cache_class(c, shard)->most / 2;

    n = n > PART_LEAST ? n : PART_LEAST;
    return n < most ? n : most;
}

/* The first of those alive that go on in this one, or this; *n: how many there are. */
static struct cache_hold
oldest(const struct cache *c, struct cache_hold hold, unsigned *n)
{
    struct cache_hold at = hold;

    for (*n = 1; *n < 2 * CACHE_FILL_HOLDS; (*n)++) {
        at = cache_hold_previous(c, hold);
        if (at.number == 0)
            break;
        hold = at;
    }
    return hold;
}

/* Under the lock it is still the first, or it may be another's by now. */
static void
hurry(struct cache *c, struct cache_hold first, struct cache_hold hold)
{
    struct cache_hold still;
    unsigned n;

    if (!cache_lock(c, first.shard))
        return;
    still = oldest(c, hold, &n);
    if (still.shard == first.shard && still.number == first.number)
        __atomic_fetch_or(&cache_hold_at(c, first)->flags, HOLD_DELAYS, __ATOMIC_SEQ_CST);
    cache_unlock(c, first.shard);
}

/* Frees what nobody reads any more. False: too many are read, and the first of them is told to hurry. */
static bool
may_part(struct cache *c, struct cache_hold hold)
{
    unsigned n, tries;
    struct cache_hold first = oldest(c, hold, &n);

    for (tries = n; n > 1 && tries > 0 && !cache_hold_is_kept(c, first); tries--) {
        if (!cache_lock(c, first.shard))
            break;
        if (!cache_shard(c, first.shard)->quarantine) {
            cache_hold_end_fetches(c, first.shard);
            cache_hold_sweep(c, first.shard, SWEEP_MOST);
        } else if (!cache_hold_is_kept(c, first)) {
            cache_hold_part(c, first);
        }
        cache_unlock(c, first.shard);
        first = oldest(c, hold, &n);
    }
    if (n < CACHE_FILL_HOLDS)
        return true;
    hurry(c, first, hold);
    return false;
}

/* Under the lock. */
static int
make_part(struct cache *c, struct cache_hold from, unsigned shard, struct cache_hold *part)
{
    struct cache_kept *f = cache_hold_at(c, from), *h;
    struct cache_record *r = cache_record_at(c, f->record);
    struct iovec head = {cache_record_head(c, r), r->head_n};
    uint64_t room = part_most(c, shard) < CACHE_CHUNK ? part_most(c, shard) : CACHE_CHUNK;
    struct space_view v = cache_view(c, shard);
    cache_address record;
    int answer = cache_room_record(c, shard, &head, 1, room, &record);

    if (answer != CACHE_OK)
        return answer;
    *part = (struct cache_hold){shard, cache_hold_take(c, shard)};
    if (part->number == 0) {
        space_give(&v, record);
        return CACHE_FULL;
    }
    h = cache_hold_at(c, *part);
    h->state = CACHE_STREAMING;
    h->flags = HOLD_PART | HOLD_DOOMED | (f->flags & HOLD_SOFT);
    h->key = f->key;
    h->asked = f->asked;
    h->variant = f->variant;
    h->length = f->length;
    h->base = h->ready = f->ready;
    h->previous = cache_hold_pack(from);
    cache_hold_keep(c, *part);
    __atomic_store_n(&h->filler, c->row, __ATOMIC_SEQ_CST);
    cache_fill_record(c, *part, record, room);
    cache_hold_depart(c, *part);
    return CACHE_OK;
}

/* One of a class, from the key's own on. */
static int
find_part(struct cache *c, struct cache_hold from, unsigned class, struct cache_hold *part)
{
    const struct cache_class *k = &c->at.class[class];
    const struct cache_key *key = &cache_hold_at(c, from)->key;
    unsigned own, i;
    int answer = CACHE_FULL, worst = CACHE_FULL;

    if (k->shards == 0)
        return CACHE_FULL;
    own = (class == CACHE_SMALL_CLASS ? cache_shard_small(c, key) : cache_shard_large(c, key)) - k->first;
    for (i = 0; i < TRIES && i < k->shards; i++) {
        unsigned shard = k->first + (own + i) % k->shards;

        if (!cache_lock(c, shard)) {
            worst = CACHE_BUSY;
            continue;
        }
        answer = cache_shard(c, shard)->quarantine ? CACHE_FULL : make_part(c, from, shard, part);
        cache_unlock(c, shard);
        if (answer == CACHE_OK)
            return CACHE_OK;
        if (answer == CACHE_BUSY)
            worst = CACHE_BUSY;
    }
    return worst;
}

static int
go_on_in_part(struct cache *c, struct cache_hold *hold)
{
    struct cache_kept *h = cache_hold_at(c, *hold);
    struct cache_hold part, old = *hold;
    int answer;

    __atomic_fetch_or(&h->flags, HOLD_DOOMED, __ATOMIC_SEQ_CST);
    cache_fill_part(c, *hold);
    if (!may_part(c, *hold))
        return CACHE_BUSY;
    answer = find_part(c, *hold, CACHE_LARGE_CLASS, &part);
    if (answer != CACHE_OK)
        answer = find_part(c, *hold, CACHE_SMALL_CLASS, &part);
    if (answer != CACHE_OK)
        return CACHE_BUSY;                      /* readers that hold too much are cut, quarantines end */
    cache_fill_continue(c, old, part);
    __atomic_store_n(&h->filler, 0, __ATOMIC_SEQ_CST);
    *hold = part;
    cache_leave(c, old);
    return CACHE_OK;
}

/* Room */

static uint64_t
most_of(const struct cache *c, struct cache_hold hold, const struct cache_kept *h)
{
    if (h->flags & HOLD_PART)
        return part_most(c, hold.shard);
    return cache_class(c, hold.shard)->most - cache_record_skip(c, h->record);
}

static int
grow(struct cache *c, struct cache_hold hold, struct cache_kept *h, uint64_t most)
{
    uint64_t has = h->ready - h->base, n = most - has;
    size_t chunk = h->chunk < CACHE_CHUNK / 2 ? 2 * h->chunk : CACHE_CHUNK, got;
    struct space_view v = cache_view(c, hold.shard);
    cache_address extent;
    int answer = CACHE_FULL;

    chunk = chunk > GROW_LEAST ? chunk : GROW_LEAST;
    if (h->length != CACHE_LENGTH_UNKNOWN) {
        chunk = CACHE_CHUNK;
        n = n < h->length - h->ready ? n : h->length - h->ready;
    }
    n = n < chunk ? n : chunk;
    if (!cache_lock(c, hold.shard))
        return CACHE_BUSY;
    if (!cache_shard(c, hold.shard)->quarantine)
        answer = cache_room_grow(c, hold.shard, h->tail, n < GROW_LEAST ? (size_t)n : GROW_LEAST, (size_t)n, &extent);
    cache_unlock(c, hold.shard);
    if (answer != CACHE_OK)
        return answer;
    space_data(&v, extent, &got);
    h->chunk = (uint32_t)chunk;
    h->room += got;
    cache_hold_weigh(c, hold);
    return CACHE_OK;
}

/* There is no room here any more. */
static int
outgrow(struct cache *c, struct cache_hold *hold, struct cache_kept *h)
{
    int answer = CACHE_FULL;

    if (!(h->flags & (HOLD_DOOMED | HOLD_PART)) && cache_class_of(c, hold->shard) == CACHE_SMALL_CLASS &&
        cache_shard_large(c, &h->key) != CACHE_NO_SHARD)
        answer = become_large(c, hold);
    return answer == CACHE_FULL ? go_on_in_part(c, hold) : answer;
}

int
cache_room(struct cache *c, struct cache_hold *hold, size_t wanted, struct iovec *room)
{
    struct cache_kept *h = cache_hold_at(c, *hold);
    uint64_t most;
    int answer;

    if (h->length != CACHE_LENGTH_UNKNOWN && h->ready >= h->length)
        return CACHE_FULL;
    if (!offer(c, h, room)) {
        most = most_of(c, *hold, h);
        answer = h->ready - h->base < most ? grow(c, *hold, h, most) : CACHE_FULL;
        if (answer == CACHE_FULL)
            answer = outgrow(c, hold, h);
        h = cache_hold_at(c, *hold);
        if (answer != CACHE_OK)
            return answer;
        if (!offer(c, h, room))
            return CACHE_BUSY;
    }
    if (wanted > 0 && room->iov_len > wanted)
        room->iov_len = wanted;
    return CACHE_OK;
}

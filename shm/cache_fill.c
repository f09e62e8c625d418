/*
 * Knows a fetch from its head to its end: what the filler says, and who is told.
 *
 * Invariants: a hold's record, head and bytes are written before what tells of them (state, ready) is; those that
 * have a bit are woken after that, and whoever sets his bit looks only then. The filler takes its name off a hold
 * last of all, so that a kill in between leaves one that cache_forget_row wakes everybody for. While the fetch goes
 * on in another hold than the one in which it is met, the filler keeps both.
 */
#include <stdlib.h>

#include "shm/cache_parts.h"
#include "shm/cache_fill_parts.h"

enum { CHUNK_FIRST = 16 * 1024 };

static bool
is_doomed(const struct cache_kept *h)
{
    return (__atomic_load_n(&h->flags, __ATOMIC_SEQ_CST) & (HOLD_DOOMED | HOLD_PART)) != 0;
}

/* Beginning */

void
cache_fill_record(struct cache *c, struct cache_hold hold, cache_address record, uint64_t room)
{
    struct cache_kept *h = cache_hold_at(c, hold);
    struct cache_record *r = cache_record_at(c, record);

    r->key = h->key;
    r->variant = h->variant;
    h->tail = record;
    h->tail_start = h->base;
    h->room = r->head_n + room;
    h->chunk = room < CACHE_CHUNK ? (uint32_t)room : CACHE_CHUNK;
    cache_seal_begin(c, hold);
    __atomic_store_n(&h->record, record, __ATOMIC_RELEASE);
    cache_hold_weigh(c, hold);
}

static uint64_t
first_room(const struct cache *c, unsigned shard, size_t head, uint64_t length)
{
    size_t most = cache_class(c, shard)->most, left = most > head ? most - head : 0;
    uint64_t n = length == CACHE_LENGTH_UNKNOWN ? CHUNK_FIRST : length < CACHE_CHUNK ? length : CACHE_CHUNK;

    return n < left ? n : left;
}

/* The hold of the large shard in which a fetch goes on; both are locked. */
static struct cache_hold
go_on(struct cache *c, struct cache_hold from, unsigned shard, cache_address record, uint64_t room)
{
    struct cache_kept *f = cache_hold_at(c, from), *h;
    struct cache_hold hold = {shard, cache_hold_take(c, shard)};
    struct space_view v = cache_view(c, shard);

    if (hold.number == 0) {
        space_give(&v, record);
        return hold;
    }
    h = cache_hold_at(c, hold);
    h->state = CACHE_STREAMING;
    h->flags = __atomic_load_n(&f->flags, __ATOMIC_SEQ_CST) & (HOLD_DOOMED | HOLD_SOFT);
    h->key = f->key;
    h->asked = f->asked;
    h->variant = f->variant;
    h->length = f->length;
    h->previous = cache_hold_pack(from);
    h->meeting = cache_hold_pack(from);
    cache_hold_keep(c, hold);
    __atomic_store_n(&h->filler, c->row, __ATOMIC_SEQ_CST);
    cache_fill_record(c, hold, record, room);
    cache_hold_list_fetch(c, hold);
    __atomic_store_n(&f->next, cache_hold_pack(hold), __ATOMIC_SEQ_CST);        /* so who has the locks finds it */
    return hold;
}

int
cache_fill_go_on(struct cache *c, struct cache_hold from, const struct iovec *head, int n, uint64_t room,
                 struct cache_hold *hold)
{
    struct cache_locked l;
    cache_address record;
    int answer = CACHE_FULL;

    if (!cache_lock_key(c, &cache_hold_at(c, from)->key, true, &l))
        return CACHE_BUSY;
    if (!cache_shard(c, l.small)->quarantine && !cache_shard(c, l.large)->quarantine)
        answer = cache_room_record(c, l.large, head, n, room, &record);
    if (answer == CACHE_OK) {
        *hold = go_on(c, from, l.large, record, room);
        answer = hold->number != 0 ? CACHE_OK : CACHE_FULL;
    }
    cache_unlock_key(c, &l);
    return answer;
}

void
cache_fill_continue(struct cache *c, struct cache_hold from, struct cache_hold hold)
{
    __atomic_store_n(&cache_hold_at(c, from)->next, cache_hold_pack(hold), __ATOMIC_SEQ_CST);
    cache_hold_state(c, from, CACHE_CONTINUED);
}

static int
open_here(struct cache *c, struct cache_hold hold, const struct iovec *head, int n, uint64_t room)
{
    cache_address record;
    int answer = CACHE_FULL;

    if (!cache_lock(c, hold.shard))
        return CACHE_BUSY;
    if (!cache_shard(c, hold.shard)->quarantine)
        answer = cache_room_record(c, hold.shard, head, n, room, &record);
    if (answer == CACHE_OK)
        cache_fill_record(c, hold, record, room);
    cache_unlock(c, hold.shard);
    if (answer == CACHE_OK)
        cache_hold_state(c, hold, CACHE_STREAMING);
    return answer;
}

int
cache_open(struct cache *c, struct cache_hold *hold, cache_variant variant, const struct iovec *head, int n,
           uint64_t length)
{
    struct cache_kept *h = cache_hold_at(c, *hold);
    size_t first = cache_room_head(c, head, n), most = (size_t)c->head->max_object;
    unsigned large = cache_shard_large(c, &h->key);
    struct cache_hold next;
    int answer;

    if (first > most || first > c->head->pool.region_size / 2 ||
        (length != CACHE_LENGTH_UNKNOWN && length > most - first))
        return CACHE_LARGE;
    h->variant = variant;
    __atomic_store_n(&h->length, length, __ATOMIC_RELAXED);
    if (large == CACHE_NO_SHARD || first + (length == CACHE_LENGTH_UNKNOWN ? 0 : length) <=
                                   cache_class(c, hold->shard)->most)
        return open_here(c, *hold, head, n, first_room(c, hold->shard, first, length));
    answer = cache_fill_go_on(c, *hold, head, n, first_room(c, large, first, length), &next);
    if (answer == CACHE_OK) {
        cache_fill_continue(c, *hold, next);
        *hold = next;
    }
    return answer;
}

/* The end */

/* No more comes by this hold: its name goes last. */
static void
end(struct cache *c, struct cache_hold hold, enum cache_state state)
{
    struct cache_kept *h = cache_hold_at(c, hold);

    cache_hold_state(c, hold, state);
    cache_fill_part(c, hold);
    __atomic_store_n(&h->filler, 0, __ATOMIC_SEQ_CST);
}

/* Nobody joins by the hold in which this fetch was met any more. */
void
cache_fill_part(struct cache *c, struct cache_hold hold)
{
    struct cache_kept *h = cache_hold_at(c, hold), *m;
    struct cache_hold meeting = cache_hold_unpack(h->meeting);

    h->meeting = 0;
    if (!cache_hold_good(c, meeting))
        return;
    m = cache_hold_at(c, meeting);
    __atomic_fetch_or(&m->flags, HOLD_DOOMED, __ATOMIC_SEQ_CST);
    __atomic_store_n(&m->filler, 0, __ATOMIC_SEQ_CST);
    cache_leave(c, meeting);
}

void
cache_break(struct cache *c, struct cache_hold hold)
{
    end(c, hold, CACHE_BROKEN);
}

void
cache_fail(struct cache *c, struct cache_hold hold, int status)
{
    cache_hold_at(c, hold)->status = status;
    end(c, hold, CACHE_FAILED);
}

/* Under the lock. */
static void
put_mark(struct cache *c, unsigned shard, const struct cache_kept *h, uint64_t until_ms, bool firm)
{
    cache_address old = cache_index_same(c, shard, &h->key, h->asked, true), mark;
    struct cache_record *r;

    if (old != 0)
        cache_index_remove(c, shard, old, false);
    if (cache_room_record(c, shard, NULL, 0, 0, &mark) != CACHE_OK)
        return;
    r = cache_record_at(c, mark);
    r->key = h->key;
    r->variant = h->asked;
    r->flags = firm ? RECORD_MARK | RECORD_FIRM : RECORD_MARK;
    cache_index_set_length(r, until_ms);
    cache_index_insert(c, shard, mark);
}

/* Those that are woken come to find the mark. */
void
cache_refuse(struct cache *c, struct cache_hold hold, uint64_t now_ms, uint64_t ms, bool firm)
{
    const struct cache_kept *h = cache_hold_at(c, hold);
    unsigned shard = cache_shard_small(c, &h->key);

    if (ms > 0 && cache_lock(c, shard)) {
        if (!is_doomed(h) && !cache_shard(c, shard)->quarantine)
            put_mark(c, shard, h, now_ms + ms, firm);
        cache_unlock(c, shard);
    }
    end(c, hold, CACHE_REFUSED);
}

/* Where the same variant lies already it goes first; but a fetch that a soft purge went by yields to a newer one. */
static bool
take_place(struct cache *c, unsigned shard, const struct cache_kept *h)
{
    cache_address object = cache_index_same(c, shard, &h->key, h->variant, false), mark;

    if (object != 0) {
        bool soft = (cache_record_at(c, object)->flags & RECORD_SOFT) != 0;

        if ((h->flags & HOLD_SOFT) && !soft)
            return false;
        cache_index_remove(c, shard, object, false);
    }
    mark = cache_index_same(c, shard, &h->key, h->variant, true);
    if (mark != 0)
        cache_index_remove(c, shard, mark, false);
    mark = cache_index_same(c, shard, &h->key, h->asked, true);
    if (mark != 0)
        cache_index_remove(c, shard, mark, false);
    return true;
}

/* Under the locks of the key. */
static void
publish(struct cache *c, struct cache_hold hold, const struct cache_locked *l)
{
    struct cache_kept *h = cache_hold_at(c, hold);
    struct cache_record *r = cache_record_at(c, h->record);
    struct space_view v = cache_view(c, hold.shard);

    if (is_doomed(h) || !take_place(c, l->small, h) || (l->large != CACHE_NO_SHARD && !take_place(c, l->large, h)))
        return;
    space_trim(&v, h->record, cache_record_skip(c, h->record) + h->ready);
    h->room = r->head_n + h->ready;
    cache_index_set_length(r, h->ready);
    if (h->flags & HOLD_SOFT)
        r->flags |= RECORD_SOFT;
    cache_seal_put(c, hold, h->record);
    cache_hold_publish(c, hold);
    cache_index_insert(c, hold.shard, h->record);
}

int
cache_finish(struct cache *c, struct cache_hold hold)
{
    struct cache_kept *h = cache_hold_at(c, hold);
    struct cache_locked l;

    if (h->length != CACHE_LENGTH_UNKNOWN && h->length != h->ready) {
        cache_break(c, hold);
        return CACHE_OK;
    }
    if (!is_doomed(h)) {
        if (!cache_lock_key(c, &h->key, hold.shard != cache_shard_small(c, &h->key), &l))
            return CACHE_BUSY;
        publish(c, hold, &l);
        __atomic_store_n(&h->length, h->ready, __ATOMIC_RELEASE);
        __atomic_store_n(&h->state, CACHE_WHOLE, __ATOMIC_SEQ_CST);
        cache_unlock_key(c, &l);
    }
    __atomic_store_n(&h->length, h->ready, __ATOMIC_RELEASE);
    end(c, hold, CACHE_WHOLE);
    return CACHE_OK;
}

/* A new head for the object that is held there. Under the locks of the key. */
static int
replace_head(struct cache *c, struct cache_hold hold, struct cache_hold seen, const struct iovec *head, int n)
{
    struct cache_kept *h = cache_hold_at(c, hold), *o = cache_hold_at(c, seen);
    struct cache_record *old, *new;
    cache_address record;
    int answer;

    if (o->place != PLACE_OBJECT)
        return CACHE_NONE;
    old = cache_record_at(c, o->record);
    if (cache_room_head(c, head, n) + cache_index_length(old) > c->head->max_object)
        return CACHE_LARGE;
    if (!cache_hold_takes_extra(c, seen))
        return CACHE_FULL;
    answer = cache_room_record(c, seen.shard, head, n, 0, &record);
    if (answer != CACHE_OK)
        return answer;
    new = cache_record_at(c, record);
    new->key = old->key;
    new->variant = old->variant;
    new->body = old->body;
    cache_index_set_length(new, cache_index_length(old));
    if (__atomic_load_n(&h->flags, __ATOMIC_SEQ_CST) & HOLD_SOFT)
        new->flags = RECORD_SOFT;
    cache_seal_put_as(c, seen.shard, record, o->record);
    cache_index_replace(c, seen.shard, o->record, record);
    __atomic_store_n(&h->state, CACHE_REFRESHED, __ATOMIC_SEQ_CST);
    return CACHE_OK;
}

int
cache_refresh(struct cache *c, struct cache_hold hold, struct cache_hold seen, const struct iovec *head, int n)
{
    const struct cache_kept *h = cache_hold_at(c, hold);
    struct cache_locked l;
    int answer = CACHE_NONE;

    if (cache_room_head(c, head, n) > c->head->pool.region_size / 2)
        return CACHE_LARGE;
    if (!cache_lock_key(c, &h->key, cache_class_of(c, seen.shard) == CACHE_LARGE_CLASS, &l))
        return CACHE_BUSY;
    if (seen.shard == l.small || seen.shard == l.large)
        answer = replace_head(c, hold, seen, head, n);
    cache_unlock_key(c, &l);
    if (answer == CACHE_OK)
        end(c, hold, CACHE_REFRESHED);
    return answer;
}

/* Whether it is read */

static bool
is_used_here(const struct cache *c, struct cache_hold hold, uint32_t more_than)
{
    return cache_hold_use(c, hold)->count > more_than;
}

/* By whoever has not followed yet, too: `own` is what the filler itself has on the hold in which the fetch is met. */
static bool
is_shared_before(const struct cache *c, struct cache_hold hold, bool (*is_read)(const struct cache *, struct cache_hold,
                                                                               uint32_t))
{
    uint64_t meeting = cache_hold_at(c, hold)->meeting;
    struct cache_hold at = cache_hold_previous(c, hold);
    unsigned i;

    for (i = 0; at.number != 0 && i < CACHE_FILL_HOLDS; at = cache_hold_previous(c, at), i++) {
        if (is_read(c, at, cache_hold_pack(at) == meeting))
            return true;
    }
    return false;
}

static bool
is_read_anywhere(const struct cache *c, struct cache_hold hold, uint32_t more_than)
{
    const struct cache_kept *h = cache_hold_at(c, hold);
    unsigned i;

    if (is_used_here(c, hold, more_than))
        return true;
    for (i = 0; i < c->at.words; i++) {
        uint64_t bits = __atomic_load_n(&h->bits[i], __ATOMIC_SEQ_CST);

        if (i == c->row / 64)
            bits &= ~(UINT64_C(1) << c->row % 64);
        if (bits != 0)
            return true;
    }
    return false;
}

bool
cache_is_shared(struct cache *c, struct cache_hold hold)
{
    return is_read_anywhere(c, hold, 1) || is_shared_before(c, hold, is_read_anywhere);
}

bool
cache_wrote(struct cache *c, struct cache_hold hold, size_t n)
{
    struct cache_kept *h = cache_hold_at(c, hold);
    size_t left;
    const unsigned char *p = cache_fill_at(c, h, &left);

    if (n > left)
        abort();                                /* it lies in another's bytes by now */
    cache_seal_add(c, hold, p, n);
    __atomic_store_n(&h->ready, h->ready + n, __ATOMIC_RELEASE);
    cache_hold_wake(c, hold);
    return is_used_here(c, hold, 1) || is_shared_before(c, hold, is_used_here);
}

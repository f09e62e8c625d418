/*
 * Knows holds: who keeps what, what of it departs, and when it is free.
 *
 * Invariants: whoever has a bit in a hold finds the hold, its record and its bytes unchanged but for what its filler
 * adds. Bits are set under the lock; or by cache_follow, from a hold that the same row has a bit in. The one it goes
 * to is kept for as long as the one it comes from says that it goes on there, which that one does until it is free: one
 * word, so that nobody is killed, or overtaken, between two halves of it. The filler says so before he takes his name
 * off. Hence who looks for the name, then for that word, then for bits, and finds none, has a hold that gets none
 * without the lock.
 */
#include <stdlib.h>
#include <string.h>

#include "shm/cache_parts.h"

enum {
    HAND_STEPS = 256,
    EXTRA_MOST = 64,            /* heads that an object had before, while somebody kept its hold all the time */
};

#define UNIT 64                 /* of what is counted in a cell */
#define EXTRA_BYTES ((uint64_t)256 * 1024)

bool
cache_hold_good(const struct cache *c, struct cache_hold hold)
{
    return hold.shard < c->at.shards && hold.number > 0 && hold.number < cache_class(c, hold.shard)->holds;
}

struct cache_uses *
cache_hold_use(const struct cache *c, struct cache_hold hold)
{
    const struct cache_class *class = cache_class(c, hold.shard);

    return c->use[cache_class_of(c, hold.shard)] + (size_t)(hold.shard - class->first) * class->holds + hold.number;
}

bool
cache_hold_is_open(const struct cache_kept *h)
{
    uint32_t state = __atomic_load_n(&h->state, __ATOMIC_ACQUIRE);

    return __atomic_load_n(&h->filler, __ATOMIC_ACQUIRE) != 0 &&
           (state == CACHE_FETCHING || state == CACHE_STREAMING || state == CACHE_CONTINUED);
}

/* The one that goes on in this, as long as it is not free; number 0: there is none. */
struct cache_hold
cache_hold_previous(const struct cache *c, struct cache_hold hold)
{
    struct cache_kept *h = cache_hold_at(c, hold);
    struct cache_hold previous = cache_hold_unpack(__atomic_load_n(&h->previous, __ATOMIC_SEQ_CST));

    if (!cache_hold_good(c, previous) ||
        __atomic_load_n(&cache_hold_at(c, previous)->next, __ATOMIC_SEQ_CST) != cache_hold_pack(hold))
        return (struct cache_hold){0, 0};
    return previous;
}

/* Keeping */

/* The row's cell has one writer; who reads it may see it a moment late. */
static void
weigh(const struct cache *c, unsigned shard, struct cache_uses *use, uint64_t size)
{
    uint64_t *cell = cache_cells(c, shard) + c->row;

    __atomic_store_n(cell, *cell + (size - use->size) * UNIT, __ATOMIC_RELAXED);
    use->size = (uint32_t)size;
}

uint64_t
cache_hold_weight(const struct cache_kept *h)
{
    return (__atomic_load_n(&h->room, __ATOMIC_RELAXED) / UNIT + 1) * UNIT;
}

void
cache_hold_weigh(struct cache *c, struct cache_hold hold)
{
    uint64_t size = cache_hold_weight(cache_hold_at(c, hold)) / UNIT;

    if (cache_hold_use(c, hold)->count == 0)
        return;
    weigh(c, hold.shard, cache_hold_use(c, hold), size < UINT32_MAX ? size : UINT32_MAX);
}

void
cache_hold_keep(struct cache *c, struct cache_hold hold)
{
    struct cache_kept *h = cache_hold_at(c, hold);
    struct cache_uses *use = cache_hold_use(c, hold);

    if (use->count++ > 0)
        return;
    __atomic_fetch_or(&h->bits[c->row / 64], UINT64_C(1) << c->row % 64, __ATOMIC_SEQ_CST);
    cache_hold_weigh(c, hold);
}

void
cache_leave(struct cache *c, struct cache_hold hold)
{
    struct cache_kept *h = cache_hold_at(c, hold);
    struct cache_uses *use = cache_hold_use(c, hold);

    if (use->count == 0)
        abort();                                /* left more often than held: another's bytes would go */
    if (--use->count > 0)
        return;
    weigh(c, hold.shard, use, 0);
    __atomic_fetch_and(&h->bits[c->row / 64], ~(UINT64_C(1) << c->row % 64), __ATOMIC_SEQ_CST);
}

void
cache_again(struct cache *c, struct cache_hold hold)
{
    struct cache_uses *use = cache_hold_use(c, hold);

    if (use->count == 0)
        abort();
    use->count++;
}

bool
cache_follow(struct cache *c, struct cache_hold hold, struct cache_hold *next)
{
    struct cache_kept *h = cache_hold_at(c, hold);

    if (__atomic_load_n(&h->state, __ATOMIC_ACQUIRE) != CACHE_CONTINUED)
        return false;
    *next = cache_hold_unpack(__atomic_load_n(&h->next, __ATOMIC_ACQUIRE));
    if (!cache_hold_good(c, *next))
        return false;
    cache_hold_keep(c, *next);
    return true;
}

/* In this order: see above. */
bool
cache_hold_is_kept(struct cache *c, struct cache_hold hold)
{
    struct cache_kept *h = cache_hold_at(c, hold);
    unsigned i;

    if (__atomic_load_n(&h->filler, __ATOMIC_SEQ_CST) != 0 || cache_hold_previous(c, hold).number != 0)
        return true;
    for (i = 0; i < c->at.words; i++) {
        if (__atomic_load_n(&h->bits[i], __ATOMIC_SEQ_CST) != 0)
            return true;
    }
    return false;
}

/* Waking */

/* A full fence stands between what was stored before and the bits: who sets his and then looks is woken, or sees it. */
void
cache_hold_wake(struct cache *c, struct cache_hold hold)
{
    const struct cache_kept *h = cache_hold_at(c, hold);
    unsigned i;

    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (i = 0; i < c->at.words; i++) {
        uint64_t bits = __atomic_load_n(&h->bits[i], __ATOMIC_SEQ_CST);

        for (; bits != 0; bits &= bits - 1) {
            unsigned row = i * 64 + (unsigned)__builtin_ctzll(bits);

            if (row != c->row)
                slots_wake(c->slots, row);
        }
    }
}

void
cache_hold_state(struct cache *c, struct cache_hold hold, enum cache_state state)
{
    __atomic_store_n(&cache_hold_at(c, hold)->state, state, __ATOMIC_SEQ_CST);
    cache_hold_wake(c, hold);
}

/* Free, listed, departed */

/* What it goes on in loses its protection. */
void
cache_hold_part(struct cache *c, struct cache_hold hold)
{
    __atomic_store_n(&cache_hold_at(c, hold)->next, 0, __ATOMIC_SEQ_CST);
}

static void
give_extra(struct cache *c, unsigned shard, struct cache_kept *h)
{
    struct space_view v = cache_view(c, shard);

    while (h->extra != 0) {
        cache_address a = h->extra;

        h->extra = cache_record_at(c, a)->chain;
        space_give(&v, a);
    }
}

void
cache_hold_tidy(struct cache *c, struct cache_hold hold)
{
    struct cache_kept *h = cache_hold_at(c, hold);

    if (h->extra != 0 && !cache_hold_is_kept(c, hold))
        give_extra(c, hold.shard, h);
}

bool
cache_hold_takes_extra(struct cache *c, struct cache_hold hold)
{
    struct space_view v = cache_view(c, hold.shard);
    cache_address a = cache_hold_at(c, hold)->extra;
    uint64_t bytes = 0;
    unsigned n;

    for (n = 0; a != 0 && n < EXTRA_MOST && bytes < EXTRA_BYTES; a = cache_record_at(c, a)->chain, n++)
        bytes += space_of(&v, a);
    return a == 0;
}

void
cache_hold_free(struct cache *c, struct cache_hold hold)
{
    struct cache_kept *h = cache_hold_at(c, hold);
    struct cache_shard *s = cache_shard(c, hold.shard);
    cache_address record = h->record;

    cache_hold_part(c, hold);
    give_extra(c, hold.shard, h);
    __atomic_store_n(&h->record, 0, __ATOMIC_RELAXED);
    if (record != 0 && h->place == PLACE_OBJECT)
        cache_record_at(c, record)->hold = 0;
    else if (record != 0 && h->place != PLACE_OLD)
        cache_index_give(c, hold.shard, record);
    h->place = PLACE_FREE;
    h->link = s->free;
    s->free = hold.number;
}

/* Takes one out of its list of fetches. */
static void
unlist(struct cache *c, struct cache_hold hold, struct cache_kept *h)
{
    uint32_t *at = cache_index_fetches(c, hold.shard, &h->key);

    while (*at != 0 && *at != hold.number)
        at = &cache_hold_at(c, (struct cache_hold){hold.shard, *at})->link;
    if (*at == 0)
        return;
    __atomic_store_n(at, h->link, __ATOMIC_RELAXED);
    cache_shard(c, hold.shard)->fetches--;
}

void
cache_hold_list_fetch(struct cache *c, struct cache_hold hold)
{
    struct cache_kept *h = cache_hold_at(c, hold);
    uint32_t *at = cache_index_fetches(c, hold.shard, &h->key);

    h->place = PLACE_FETCH;
    h->link = *at;
    __atomic_store_n(at, hold.number, __ATOMIC_RELAXED);
    cache_shard(c, hold.shard)->fetches++;
}

void
cache_hold_publish(struct cache *c, struct cache_hold hold)
{
    struct cache_kept *h = cache_hold_at(c, hold);

    unlist(c, hold, h);
    h->link = 0;
    h->place = PLACE_OBJECT;
    cache_record_at(c, h->record)->hold = hold.number;
}

void
cache_hold_depart(struct cache *c, struct cache_hold hold)
{
    struct cache_kept *h = cache_hold_at(c, hold);
    struct cache_shard *s = cache_shard(c, hold.shard);

    if (h->place == PLACE_GONE || h->place == PLACE_OLD)
        return;
    if (h->place == PLACE_FETCH)
        unlist(c, hold, h);
    h->place = PLACE_GONE;
    h->link = 0;
    if (s->gone_last != 0)
        cache_hold_at(c, (struct cache_hold){hold.shard, s->gone_last})->link = hold.number;
    else
        s->gone_first = hold.number;
    s->gone_last = hold.number;
    s->gone++;
}

/* Those that are still held go to the end. */
void
cache_hold_sweep(struct cache *c, unsigned shard, unsigned most)
{
    struct cache_shard *s = cache_shard(c, shard);
    unsigned n = s->gone < most ? s->gone : most;

    for (; n > 0 && s->gone_first != 0; n--) {
        struct cache_hold hold = {shard, s->gone_first};
        struct cache_kept *h = cache_hold_at(c, hold);

        s->gone_first = h->link;
        if (s->gone_first == 0)
            s->gone_last = 0;
        s->gone--;
        h->place = PLACE_NONE;
        if (cache_hold_is_kept(c, hold))
            cache_hold_depart(c, hold);
        else
            cache_hold_free(c, hold);
    }
}

void
cache_hold_end_fetches(struct cache *c, unsigned shard)
{
    struct cache_shard *s = cache_shard(c, shard);
    unsigned i;

    for (i = 0; i < CACHE_FETCHES && s->fetches > 0; i++) {
        struct cache_hold hold = {shard, s->fetch[i]};

        while (hold.number != 0) {
            struct cache_kept *h = cache_hold_at(c, hold);
            uint32_t link = h->link;

            if (!cache_hold_is_open(h))
                cache_hold_depart(c, hold);
            hold.number = link;
        }
    }
}

/* One of an object that nobody reads. */
static bool
take_back(struct cache *c, unsigned shard)
{
    struct cache_shard *s = cache_shard(c, shard);
    unsigned i;

    for (i = 0; i < HAND_STEPS; i++) {
        struct cache_hold hold = {shard, 0};

        s->hand = s->hand + 1 < s->fresh ? s->hand + 1 : 1;
        hold.number = s->hand;
        if (cache_hold_at(c, hold)->place != PLACE_OBJECT || cache_hold_is_kept(c, hold))
            continue;
        cache_hold_free(c, hold);
        return true;
    }
    return false;
}

uint32_t
cache_hold_take(struct cache *c, unsigned shard)
{
    struct cache_shard *s = cache_shard(c, shard);
    struct cache_hold hold = {shard, 0};
    struct cache_kept *h;

    if (s->free == 0 && s->fresh < cache_class(c, shard)->holds) {
        hold.number = s->fresh++;
    } else {
        if (s->free == 0)
            cache_hold_sweep(c, shard, HAND_STEPS);
        if (s->free == 0 && !take_back(c, shard))
            return 0;
        hold.number = s->free;
        s->free = cache_hold_at(c, hold)->link;
    }
    h = cache_hold_at(c, hold);
    memset(h, 0, c->at.hold_size);
    return hold.number;
}

/* The master's */

static void
forget(struct cache *c, struct cache_hold hold, unsigned row)
{
    struct cache_kept *h = cache_hold_at(c, hold);
    uint64_t bit = UINT64_C(1) << row % 64;

    if (__atomic_load_n(&h->filler, __ATOMIC_SEQ_CST) == row) {
        uint32_t state = __atomic_load_n(&h->state, __ATOMIC_SEQ_CST);

        if (state == CACHE_FETCHING || state == CACHE_STREAMING)
            __atomic_store_n(&h->state, CACHE_BROKEN, __ATOMIC_SEQ_CST);
        cache_hold_wake(c, hold);
        __atomic_store_n(&h->filler, 0, __ATOMIC_SEQ_CST);
    }
    if (__atomic_load_n(&h->bits[row / 64], __ATOMIC_RELAXED) & bit)
        __atomic_fetch_and(&h->bits[row / 64], ~bit, __ATOMIC_SEQ_CST);
}

void
cache_forget_row(struct cache *c, unsigned row)
{
    struct cache_hold hold;

    if (row == 0 || row > c->rows)
        return;
    for (hold.shard = 0; hold.shard < c->at.shards; hold.shard++) {
        uint32_t n = __atomic_load_n(&cache_shard(c, hold.shard)->fresh, __ATOMIC_ACQUIRE);

        for (hold.number = 1; hold.number < n && cache_hold_good(c, hold); hold.number++)
            forget(c, hold, row);
        __atomic_store_n(cache_cells(c, hold.shard) + row, 0, __ATOMIC_RELAXED);
    }
}

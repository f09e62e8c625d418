/*
 * Knows what a hold shows: its state, its head, the pieces of its body; and who has to leave what he holds. No locks.
 *
 * Invariants: state is read before what it says is there. A body lies in the record it was written to, also where a
 * refresh gave the object another; extents that hold what is ready do not change.
 */
#include "shm/cache_fill_parts.h"

#define QUARANTINE_MS 30000     /* and who still reads what was before is cut */
#define DELAY_MS 5000           /* that a reader may keep a filler waiting */
#define PINNED_MS 1000          /* before one that holds too much can be cut */

void
cache_look(struct cache *c, struct cache_hold hold, struct cache_view *v)
{
    const struct cache_kept *h = cache_hold_at(c, hold);
    cache_address record;

    v->state = (enum cache_state)__atomic_load_n(&h->state, __ATOMIC_SEQ_CST);
    v->status = h->status;
    v->ready = __atomic_load_n(&h->ready, __ATOMIC_ACQUIRE);
    v->length = __atomic_load_n(&h->length, __ATOMIC_ACQUIRE);
    v->base = h->base;
    v->variant = h->variant;
    v->soft = (__atomic_load_n(&h->flags, __ATOMIC_SEQ_CST) & HOLD_SOFT) != 0;
    v->head = NULL;
    v->head_n = 0;
    record = v->state == CACHE_FETCHING ? 0 : __atomic_load_n(&h->record, __ATOMIC_ACQUIRE);
    if (record != 0) {
        struct cache_record *r = cache_record_at(c, record);

        v->head = cache_record_head(c, r);
        v->head_n = r->head_n;
        v->soft = v->state == CACHE_WHOLE ? (__atomic_load_n(&r->flags, __ATOMIC_RELAXED) & RECORD_SOFT) != 0 : v->soft;
    }
}

/* The extent in which `at` lies, as far as it is known where. */
static void
start(struct cache_cursor *at, cache_address body, uint64_t base)
{
    if (at->extent != 0 && at->start <= at->at)
        return;
    at->extent = body;
    at->start = base;
}

static unsigned char *
bytes_of(const struct cache *c, cache_address extent, cache_address body, size_t *n)
{
    struct space_view v = {c->segment.base, &c->head->pool, NULL, 0};
    unsigned char *p = space_data(&v, extent, n);
    size_t skip = extent == body ? cache_record_skip(c, body) : 0;

    *n -= skip;
    return p + skip;
}

int
cache_read(struct cache *c, struct cache_hold hold, struct cache_cursor *at, uint64_t most, struct iovec *iov, int max)
{
    const struct cache_kept *h = cache_hold_at(c, hold);
    struct space_view v = cache_view(c, hold.shard);
    cache_address record = __atomic_load_n(&h->record, __ATOMIC_ACQUIRE), body;
    uint64_t ready = __atomic_load_n(&h->ready, __ATOMIC_ACQUIRE), pos = at->at, end, from;
    cache_address extent;
    int n = 0;

    if (record == 0 || pos < h->base || pos >= ready)
        return 0;
    body = cache_record_at(c, record)->body;
    end = most < ready - pos ? pos + most : ready;
    start(at, body, h->base);
    for (extent = at->extent, from = at->start; extent != 0 && pos < end && n < max; extent = space_next(&v, extent)) {
        size_t have;
        unsigned char *p = bytes_of(c, extent, body, &have);

        if (pos < from + have) {
            size_t some = (size_t)(from + have - pos);

            if (n == 0)
                *at = (struct cache_cursor){pos, extent, from};
            some = some < end - pos ? some : (size_t)(end - pos);
            iov[n++] = (struct iovec){p + (pos - from), some};
            pos += some;
        }
        from += have;
    }
    return n;
}

/* Of the rows, the one that holds the most there, the lowest of those that hold as much; *sum: of all. */
static unsigned
heaviest(const struct cache *c, unsigned shard, uint64_t *sum)
{
    const uint64_t *cells = cache_cells(c, shard);
    unsigned high = __atomic_load_n(&c->head->high, __ATOMIC_RELAXED), row, most = 0;
    uint64_t least = 0;

    *sum = 0;
    for (row = 1; row <= high && row <= c->rows; row++) {
        uint64_t cell = __atomic_load_n(cells + row, __ATOMIC_RELAXED);

        *sum += cell;
        if (cell > least) {
            least = cell;
            most = row;
        }
    }
    return most;
}

static bool
is_held(const struct cache *c, const struct cache_kept *h)
{
    for (unsigned i = 0; i < c->at.words; i++)
        if (__atomic_load_n(&h->bits[i], __ATOMIC_RELAXED) != 0)
            return true;
    return false;
}

/*
 * Of `sum`, what is no more than the same object held by several rows: all holds of the shard have to be looked at for
 * that, which is done for a shard once in each second, and only where the sum seems to be too much.
 */
static uint64_t
said_again(struct cache *c, unsigned shard, uint64_t sum)
{
    struct cache_said *said = &c->said[shard];
    uint32_t end = __atomic_load_n(&cache_shard(c, shard)->fresh, __ATOMIC_RELAXED);
    uint64_t once = 0;

    if (said->look == c->now_ms + 1)
        return said->bytes;
    for (uint32_t number = 1; number < end; number++) {
        const struct cache_kept *h = cache_hold_at(c, (struct cache_hold){shard, number});

        if (is_held(c, h))
            once += cache_hold_weight(h);
    }
    *said = (struct cache_said){c->now_ms + 1, sum > once ? sum - once : 0};
    return said->bytes;
}

/*
 * Too much is held in a shard: half of it, or so much that somebody found no room. The row that holds the most lets go,
 * of what it has held for a while: all of it, one after the other, until it is less than half; or one for each time.
 */
static bool
is_too_much(struct cache *c, struct cache_hold hold, uint64_t held_ms)
{
    struct cache_shard *s = cache_shard(c, hold.shard);
    uint64_t total = __atomic_load_n(&s->total, __ATOMIC_RELAXED), share = cache_share(c, hold.shard), sum, most;

    if (held_ms <= PINNED_MS || heaviest(c, hold.shard, &sum) != c->row)
        return false;
    most = (total > share ? total : share) / 2;
    /* what was said twice when it was looked at may have been left since */
    if (sum > most && sum > said_again(c, hold.shard, sum) + most)
        return true;
    return __atomic_load_n(&s->starved, __ATOMIC_RELAXED) != 0 &&
           __atomic_exchange_n(&s->starved, 0, __ATOMIC_RELAXED) != 0;
}

/* Of this hold, or of the one before it, of which the last bytes are on their way to this client. */
static bool
delays(const struct cache *c, struct cache_hold hold, bool lags)
{
    struct cache_hold before = cache_hold_previous(c, hold);

    if (__atomic_load_n(&cache_hold_at(c, hold)->flags, __ATOMIC_SEQ_CST) & HOLD_DELAYS)
        return true;
    return lags && before.number != 0 && cache_hold_use(c, before)->count > 0 &&
           (__atomic_load_n(&cache_hold_at(c, before)->flags, __ATOMIC_SEQ_CST) & HOLD_DELAYS) != 0;
}

/* In a quarantine nothing is put: whatever is held there is of before. */
static bool
is_quarantined(const struct cache *c, struct cache_hold hold)
{
    return __atomic_load_n(&cache_shard(c, hold.shard)->quarantine, __ATOMIC_SEQ_CST) != 0;
}

/* A fetch that goes on elsewhere lets go of where it was met, if nobody can join there any more. */
static void
part(struct cache *c, struct cache_hold hold)
{
    const struct cache_kept *h = cache_hold_at(c, hold);
    struct cache_hold meeting;

    if (__atomic_load_n(&h->filler, __ATOMIC_SEQ_CST) != c->row)
        return;
    meeting = cache_hold_unpack(h->meeting);
    if (cache_hold_good(c, meeting) && is_quarantined(c, meeting))
        cache_fill_part(c, hold);
}

bool
cache_is_cut(struct cache *c, struct cache_hold hold, uint64_t held_ms, bool lags)
{
    const struct cache_shard *s = cache_shard(c, hold.shard);

    part(c, hold);
    if (held_ms > DELAY_MS && delays(c, hold, lags))
        return true;
    if (is_quarantined(c, hold))
        return c->now_ms > __atomic_load_n(&s->quarantine_ms, __ATOMIC_RELAXED) + QUARANTINE_MS;
    cache_hold_weigh(c, hold);
    return is_too_much(c, hold, held_ms);
}

/*
 * Knows how an entry is found: open addressing over a bounded number of places, from one that the digest
 * says. A free entry is claimed, and a stale one taken over, by one swap of digest and stamp
 * together: whoever stamps it first keeps it, and a process that is killed at any point
 * leaves it to the one or the other.
 *
 * Entries are never freed, so of two that look for the same new name at once both want the same place:
 * the first free one, or else the stalest.
 */
#include "shm/directory.h"

enum {
    PLACES = 64,
    TRIES = 16,                 /* each lost only to another that made progress */
    YOUNG_MS = 10 * 1000,
};

static struct pair *
at(const struct directory *d, unsigned entry)
{
    return (struct pair *)(void *)(d->base + entry * d->stride);
}

static bool
is_stale(const struct pair *p, uint64_t now_ms)
{
    return now_ms > p->time && now_ms - p->time > DIRECTORY_STALE_MS;
}

/* One look at the places: the entry; or else `*best` is the one to claim, with what it holds (0: none). */
static unsigned
look(const struct directory *d, uint64_t digest, uint64_t now_ms, unsigned *best, struct pair *held)
{
    uint32_t i, n = d->count < PLACES ? d->count : PLACES, first = (uint32_t)((digest >> 32) % d->count);

    *best = 0;
    for (i = 0; i < n; i++) {
        unsigned entry = 1 + (first + i) % d->count;
        struct pair p = pair_read(at(d, entry));

        if (p.digest == digest)
            return entry;
        if (p.digest == 0) {
            *best = entry;
            *held = (struct pair){0, 0};
            return 0;
        }
        if (is_stale(&p, now_ms) && (*best == 0 || p.time < held->time) &&
            (d->in_use == NULL || !d->in_use(d->owner, entry))) {
            *best = entry;
            *held = p;
        }
    }
    return 0;
}

/* Keeps it from going to another name; false where it just did. */
static bool
keep(const struct directory *d, unsigned entry, uint64_t digest, uint64_t now_ms)
{
    struct pair held = pair_read(at(d, entry));

    return held.digest == digest &&
           (!is_stale(&held, now_ms) || pair_swap(at(d, entry), held, (struct pair){digest, now_ms}));
}

unsigned
directory_find(const struct directory *d, uint64_t digest, uint64_t now_ms)
{
    unsigned entry, best, i;
    struct pair held;

    for (i = 0; i < TRIES && d->count > 0; i++) {
        entry = look(d, digest, now_ms, &best, &held);
        if (entry != 0 && keep(d, entry, digest, now_ms)) {
            directory_stamp(d, entry, now_ms);
            return entry;
        }
        if (entry != 0)
            continue;
        if (best == 0)
            return 0;
        /* before the swap: if we are killed in between, the former name has lost what nobody looked at for a minute */
        if (held.digest != 0 && d->clear != NULL)
            d->clear(d->owner, best);
        if (pair_swap(at(d, best), held, (struct pair){digest, now_ms}))
            return best;
    }
    return 0;
}

void
directory_stamp(const struct directory *d, unsigned entry, uint64_t now_ms)
{
    uint64_t *stamp;

    if (entry == 0 || entry > d->count)
        return;
    stamp = &at(d, entry)->time;
    if (__atomic_load_n(stamp, __ATOMIC_RELAXED) + YOUNG_MS <= now_ms)
        __atomic_store_n(stamp, now_ms, __ATOMIC_SEQ_CST);
}

uint64_t
directory_digest(const struct directory *d, unsigned entry)
{
    return entry >= 1 && entry <= d->count ? __atomic_load_n(&at(d, entry)->digest, __ATOMIC_SEQ_CST) : 0;
}

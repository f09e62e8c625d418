/*
 * Knows the table: sets of eight entries, each set two cache lines, found by the digest. An entry is the
 * digest of a bucket and its theoretical arrival time (GCRA: when the bucket will be full again). A time that
 * is over says the same as no entry, so what is oldest is what can best be spared; a free entry is the oldest of all.
 *
 * Invariants: an entry changes only by a swap of both words. Of two that put in the same bucket at once, each looks
 * again afterwards, and one that sees the other takes its own out and comes again: a bucket is never
 * counted in two entries. Capacity and key are copied out of the segment when it is mapped.
 */
#include "shm/limits.h"

#include <errno.h>

#include "shm/pair.h"
#include "shm/segment.h"

enum {
    WAYS = 8,
    TRIES = 1000,               /* each lost only to another that made progress */
};

#define SIZE_MOST ((size_t)1 << 40)
#define LAG UINT64_C(10000000000)       /* ns; a worker whose clock is older than this has hung */
#define DEPTH_MOST ((uint64_t)1 << 63)  /* of a bucket, in ns: 292 years, and the time can be added to it */

struct head {
    struct segment_head segment;
    uint64_t asked;             /* the size */
    uint64_t sets;
    struct digest_key key;
};

struct set {
    struct pair way[WAYS];
} __attribute__((aligned(128)));

struct limits_table {
    struct segment segment;
    struct set *set;
    uint64_t sets;
    size_t asked;
    struct digest_key key;
};

static const struct segment_kind frame = {
    .name = "weirlimi",
    .version = 1,
    .layout = SEGMENT_LAYOUT(sizeof(struct set), sizeof(struct head), 0),
    .owner = sizeof(struct limits_table),
    .head = sizeof(struct head),
};

/* The table */

static uint64_t
sets_of(size_t size)
{
    return size > sizeof(struct set) ? size / sizeof(struct set) : 1;
}

static size_t
size_of(uint64_t sets)
{
    return segment_pages(sizeof(struct head)) + segment_pages(sets * sizeof(struct set));
}

static void
find_parts(struct limits_table *t, size_t asked)
{
    t->set = (struct set *)(void *)((char *)t->segment.base + segment_pages(sizeof(struct head)));
    t->sets = sets_of(asked);
    t->asked = asked;
}

struct limits_table *
limits_create(size_t size)
{
    struct limits_table *t;
    struct digest_key key;
    struct head *head;

    if (size > SIZE_MOST) {
        errno = EINVAL;
        return NULL;
    }
    if (!digest_key_make(&key) || (t = segment_make(&frame, size_of(sets_of(size)))) == NULL)
        return NULL;
    find_parts(t, size);
    head = t->segment.base;
    head->asked = size;
    head->sets = t->sets;
    head->key = t->key = key;
    return t;
}

static bool
understand(void *owner, unsigned rows)
{
    struct limits_table *t = owner;
    const struct head *head = t->segment.base;
    uint64_t asked = __atomic_load_n(&head->asked, __ATOMIC_RELAXED);

    (void)rows;
    if (asked > SIZE_MOST || size_of(sets_of(asked)) != t->segment.size)
        return false;
    find_parts(t, asked);
    t->key = head->key;
    return true;
}

struct limits_table *
limits_attach(int fd)
{
    return segment_take(&frame, fd, understand, 0);
}

int
limits_fd(const struct limits_table *t)
{
    return t->segment.fd;
}

void
limits_detach(struct limits_table *t)
{
    segment_end(t);
}

size_t
limits_size(const struct limits_table *t)
{
    return t->asked;
}

uint64_t
limits_digest(const struct limits_table *t, const void *place, size_t n, const void *key, size_t m)
{
    return digest_make(&t->key, place, n, key, m);
}

struct digest
limits_place(const struct limits_table *t, const void *place, size_t n)
{
    struct digest part;

    digest_part(&part, &t->key, place, n);
    return part;
}

uint64_t
limits_digest_at(const struct digest *place, const void *key, size_t m)
{
    return digest_whole(place, key, m);
}

/* Entries */

static struct set *
set_of(const struct limits_table *t, uint64_t digest)
{
    return &t->set[(unsigned __int128)digest * t->sets >> 64];
}

/* The bucket's entry and what it holds; or NULL, and *spare is the oldest. */
static struct pair *
find(struct set *s, uint64_t digest, struct pair *held, struct pair **spare)
{
    struct pair oldest = {0, UINT64_MAX};
    unsigned i;

    *spare = &s->way[0];
    for (i = 0; i < WAYS; i++) {
        *held = pair_read(&s->way[i]);
        if (held->digest == digest)
            return &s->way[i];
        if (held->time < oldest.time) {
            *spare = &s->way[i];
            oldest = *held;
        }
    }
    *held = oldest;
    return NULL;
}

static bool
has_another(struct set *s, const struct pair *mine, uint64_t digest)
{
    unsigned i;

    for (i = 0; i < WAYS; i++) {
        if (&s->way[i] != mine && __atomic_load_n(&s->way[i].digest, __ATOMIC_SEQ_CST) == digest)
            return true;
    }
    return false;
}

/* Puts it in the place of another. False: come again. */
static bool
put_in(struct set *s, struct pair *way, struct pair held, struct pair new)
{
    if (!pair_swap(way, held, new))
        return false;
    return !has_another(s, way, new.digest) || !pair_swap(way, new, (struct pair){0, 0});
}

/* GCRA */

/* Of a bucket: how far ahead of now its time may be. */
static uint64_t
depth(uint64_t interval, uint64_t burst)
{
    return burst > DEPTH_MOST / interval ? DEPTH_MOST : burst * interval;
}

/* How far ahead of now a time is; at most the bucket's depth. */
static uint64_t
ahead(uint64_t time, uint64_t now, uint64_t most)
{
    uint64_t n = time > now ? time - now : 0;

    return n < most ? n : most;
}

static struct limits_verdict
judge(uint64_t owed, uint64_t interval, uint64_t most)
{
    struct limits_verdict v = {.passes = owed <= most - interval};

    if (v.passes)
        owed += interval;
    v.remaining = (most - owed) / interval;
    v.wait_ns = v.remaining > 0 ? 0 : owed + interval - most;
    v.full_ns = owed;
    return v;
}

/*
 * Keeps what was judged. A refusal changes nothing, but for a time far beyond the bucket's depth: by less, it may be
 * our clock that was read a while ago. False: come again.
 */
static bool
settle(struct pair *way, struct pair held, struct pair new, bool passes)
{
    if (passes || (held.time > new.time && held.time - new.time > LAG))
        return pair_swap(way, held, new);
    return __atomic_load_n(&way->digest, __ATOMIC_SEQ_CST) == new.digest;
}

struct limits_verdict
limits_take(struct limits_table *t, uint64_t digest, uint64_t interval_ns, uint64_t burst, uint64_t now_ns)
{
    uint64_t interval = interval_ns == 0 ? 1 : interval_ns < DEPTH_MOST / 2 ? interval_ns : DEPTH_MOST / 2;
    uint64_t most = depth(interval, burst > 0 ? burst : 1);
    struct set *s = set_of(t, digest);
    struct limits_verdict v = {0};
    unsigned i;

    for (i = 0; i < TRIES; i++) {
        struct pair held, new, *spare, *way = find(s, digest, &held, &spare);

        v = judge(way != NULL ? ahead(held.time, now_ns, most) : 0, interval, most);
        new = (struct pair){digest, now_ns + v.full_ns};
        if (way != NULL ? settle(way, held, new, v.passes) : put_in(s, spare, held, new))
            return v;
    }
    return (struct limits_verdict){false, 0, interval, interval};
}

void
limits_give_back(struct limits_table *t, uint64_t digest, uint64_t interval_ns, uint64_t now_ns)
{
    struct set *s = set_of(t, digest);
    unsigned i;

    for (i = 0; i < TRIES; i++) {
        struct pair held, *spare, *way = find(s, digest, &held, &spare);

        if (way == NULL || held.time <= now_ns)
            return;
        if (pair_swap(way, held, (struct pair){digest, held.time > interval_ns ? held.time - interval_ns : 0}))
            return;
    }
}

/*
 * Knows how keys are published. There are two rings of keys, the one that the version points to and the one that is
 * written next, so no reader ever waits for a writer, and a writer that is killed leaves the last ring as it was. Once
 * the next ring is published the last one is wiped: a retired key stands nowhere.
 *
 * Writers are masters, and one after the other: a lock on the descriptor, tried and never waited for, which the kernel
 * takes back from the dead. Who comes second finds that no key is due any more. Readers copy a ring and look at the
 * version again: where it is the same, nobody has begun to write to the ring they copied.
 */
#include "shm/tickets.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "shm/segment.h"

enum {
    TRIES = 16,                 /* each lost only to a rotation, of which there is one in 12 h */
};

#define KEEP_MS (TICKETS_KEYS * TICKETS_ROTATE_MS)
#define AHEAD_MS (INT64_C(3600) * 1000) /* a key from further in the future: the clock was set back */

struct ring {                   /* whole words */
    uint64_t n;
    int64_t made_ms[TICKETS_KEYS];      /* the newest first */
    struct ticket_key key[TICKETS_KEYS];
};

struct head {
    struct segment_head segment;
    uint64_t version;           /* 0: there is no key yet */
    struct ring ring[2] __attribute__((aligned(64)));   /* by the version's last bit */
};

struct tickets {
    struct segment segment;
    struct head *head;
};

enum { WORDS = sizeof(struct ring) / sizeof(uint64_t) };
_Static_assert(WORDS * sizeof(uint64_t) == sizeof(struct ring), "a ring is whole words");

static const struct segment_kind frame = {
    .name = "weirtick",
    .version = 1,
    .layout = SEGMENT_LAYOUT(sizeof(struct ring), sizeof(struct head), sizeof(struct ticket_key)),
    .owner = sizeof(struct tickets),
    .head = sizeof(struct head),
};

/* Never to be swapped out, where we may ask for that. */
static void
hold(struct tickets *t)
{
    t->head = t->segment.base;
    mlock(t->segment.base, t->segment.size);
}

struct tickets *
tickets_create(void)
{
    struct tickets *t = segment_make(&frame, segment_pages(sizeof(struct head)));

    if (t != NULL)
        hold(t);
    return t;
}

static bool
understand(void *owner, unsigned rows)
{
    (void)rows;
    hold(owner);
    return true;
}

struct tickets *
tickets_attach(int fd)
{
    return segment_take(&frame, fd, understand, 0);
}

int
tickets_fd(const struct tickets *t)
{
    return t->segment.fd;
}

void
tickets_detach(struct tickets *t)
{
    segment_end(t);
}

/* Rings. Word by word: another process may be writing, or reading. */

static void
copy_out(struct ring *to, const struct ring *from)
{
    const uint64_t *f = (const uint64_t *)(const void *)from;
    uint64_t *t = (uint64_t *)(void *)to;
    size_t i;

    for (i = 0; i < WORDS; i++)
        t[i] = __atomic_load_n(&f[i], __ATOMIC_ACQUIRE);
}

static void
copy_in(struct ring *to, const struct ring *from)
{
    const uint64_t *f = (const uint64_t *)(const void *)from;
    uint64_t *t = (uint64_t *)(void *)to;
    size_t i;

    for (i = 0; i < WORDS; i++)
        __atomic_store_n(&t[i], f[i], __ATOMIC_RELEASE);
}

static void
wipe(struct ring *r)
{
    static const struct ring zeros;

    copy_in(r, &zeros);
}

static uint64_t
version_of(const struct tickets *t)
{
    return __atomic_load_n(&t->head->version, __ATOMIC_ACQUIRE);
}

/* The keys that there are; none where it could not be read whole. */
static void
read_ring(const struct tickets *t, struct ring *r)
{
    unsigned i;

    for (i = 0; i < TRIES; i++) {
        uint64_t version = version_of(t);

        if (version == 0)
            break;
        copy_out(r, &t->head->ring[version & 1]);
        if (version_of(t) == version && r->n <= TICKETS_KEYS)
            return;
    }
    explicit_bzero(r, sizeof(*r));
}

/* Masters */

static bool
is_due(const struct ring *r, int64_t now_ms)
{
    return r->n == 0 || now_ms - r->made_ms[0] >= TICKETS_ROTATE_MS || r->made_ms[0] - now_ms > AHEAD_MS;
}

bool
tickets_due(const struct tickets *t, int64_t now_ms)
{
    struct ring r;
    bool due;

    read_ring(t, &r);
    due = is_due(&r, now_ms);
    explicit_bzero(&r, sizeof(r));
    return due;
}

/* What is too old by now (the machine slept) is not kept. */
static void
add(struct ring *to, const struct ring *from, const struct ticket_key *key, int64_t now_ms)
{
    uint64_t i;

    *to = (struct ring){.n = 1, .made_ms = {now_ms}, .key = {*key}};
    for (i = 0; i < from->n && to->n < TICKETS_KEYS; i++) {
        if (now_ms - from->made_ms[i] >= KEEP_MS)
            continue;
        to->made_ms[to->n] = from->made_ms[i];
        to->key[to->n++] = from->key[i];
    }
}

static void
publish(struct tickets *t, const struct ring *next)
{
    uint64_t version = version_of(t);

    copy_in(&t->head->ring[(version + 1) & 1], next);
    __atomic_store_n(&t->head->version, version + 1, __ATOMIC_SEQ_CST);
    wipe(&t->head->ring[version & 1]);
}

static bool
lock(const struct tickets *t, short type)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET};

    return fcntl(t->segment.fd, F_SETLK, &l) == 0;
}

void
tickets_rotate(struct tickets *t, const struct ticket_key *key, int64_t now_ms)
{
    struct ring now, next;

    if (!lock(t, F_WRLCK))
        return;
    read_ring(t, &now);
    if (is_due(&now, now_ms)) {
        add(&next, &now, key, now_ms);
        publish(t, &next);
        explicit_bzero(&next, sizeof(next));
    }
    explicit_bzero(&now, sizeof(now));
    lock(t, F_UNLCK);
}

/* Anyone */

bool
tickets_newest(const struct tickets *t, struct ticket_key *key)
{
    struct ring r;
    bool there;

    read_ring(t, &r);
    there = r.n > 0;
    if (there)
        *key = r.key[0];
    explicit_bzero(&r, sizeof(r));
    return there;
}

bool
tickets_find(const struct tickets *t, const unsigned char name[16], struct ticket_key *key, bool *old)
{
    struct ring r;
    bool there;
    uint64_t i;

    read_ring(t, &r);
    for (i = 0; i < r.n && memcmp(r.key[i].name, name, sizeof(r.key[i].name)) != 0; i++)
        continue;
    there = i < r.n;
    if (there) {
        *key = r.key[i];
        *old = i > 0;
    }
    explicit_bzero(&r, sizeof(r));
    return there;
}

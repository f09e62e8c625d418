/*
 * Knows the tables: one for each row, of places {digest, connections}, twice as many as connections, by open
 * addressing over a bounded number of places.
 *
 * Invariants: a table is written by its row's worker alone, and nothing in it moves. A place whose count is
 * zero is spare, and ends nobody's search; only where the next place is empty does it become empty too. So who
 * looks while it is written finds what was counted before, or a count that is too high for a moment. A row that
 * holds nothing says so in the head, and its table is not looked at. Capacities and the key are copied
 * out of the segment when it is mapped.
 */
#include "shm/peers.h"

#include <errno.h>

#include "shm/cells.h"
#include "shm/digest.h"
#include "shm/segment.h"

enum {
    PROBES = 64,
    ROWS_MOST = 1 << 20,
    CONNECTIONS_MOST = 1 << 20, /* more than a worker ever has */
};

struct head {
    struct segment_head segment;
    uint32_t rows;
    uint32_t places;            /* of a row: a power of two */
    uint32_t high;              /* the highest row that ever counted */
    struct digest_key key;
};

struct place {
    uint64_t digest;            /* 0: empty */
    uint32_t count;             /* 0: spare */
    uint32_t spare;
};

struct peers {
    struct segment segment;
    struct head *head;
    uint32_t *held;             /* by row: connections in its table */
    struct place *place;
    uint32_t rows;
    uint32_t places;
    struct digest_key key;
};

static const struct segment_kind frame = {
    .name = "weirpeer",
    .version = 1,
    .layout = SEGMENT_LAYOUT(sizeof(struct place), sizeof(struct head), 0),
    .owner = sizeof(struct peers),
    .head = sizeof(struct head),
};

/* Layout */

static uint32_t
places_for(size_t connections)
{
    uint32_t n = PROBES;

    while (n < 2 * (connections < CONNECTIONS_MOST ? connections : CONNECTIONS_MOST))
        n *= 2;
    return n;
}

static size_t
held_at(void)
{
    return segment_pages(sizeof(struct head));
}

static size_t
places_at(uint32_t rows)
{
    return held_at() + segment_pages((rows + (size_t)1) * sizeof(uint32_t));
}

static size_t
table_size(uint32_t places)
{
    return segment_pages(places * sizeof(struct place));
}

static size_t
size_of(uint32_t rows, uint32_t places)
{
    return places_at(rows) + (rows + (size_t)1) * table_size(places);
}

static void
find_parts(struct peers *p, uint32_t rows, uint32_t places)
{
    char *base = p->segment.base;

    p->head = p->segment.base;
    p->held = (uint32_t *)(void *)(base + held_at());
    p->place = (struct place *)(void *)(base + places_at(rows));
    p->rows = rows;
    p->places = places;
}

struct peers *
peers_create(unsigned rows, size_t connections)
{
    uint32_t places = places_for(connections);
    struct digest_key key;
    struct peers *p;

    if (rows < 1 || rows > ROWS_MOST) {
        errno = EINVAL;
        return NULL;
    }
    if (!digest_key_make(&key) || (p = segment_make(&frame, size_of(rows, places))) == NULL)
        return NULL;
    find_parts(p, rows, places);
    p->head->rows = rows;
    p->head->places = places;
    p->head->key = p->key = key;
    return p;
}

static bool
understand(void *owner, unsigned rows)
{
    struct peers *p = owner;
    const struct head *head = p->segment.base;
    uint32_t places = __atomic_load_n(&head->places, __ATOMIC_RELAXED);

    if (head->rows != rows || rows < 1 || rows > ROWS_MOST)
        return false;
    if (places < PROBES || places > 2 * CONNECTIONS_MOST || (places & (places - 1)) != 0 ||
        size_of(rows, places) != p->segment.size)
        return false;
    find_parts(p, rows, places);
    p->key = head->key;
    return true;
}

struct peers *
peers_attach(int fd, unsigned rows)
{
    return segment_take(&frame, fd, understand, rows);
}

int
peers_fd(const struct peers *p)
{
    return p->segment.fd;
}

void
peers_detach(struct peers *p)
{
    segment_end(p);
}

bool
peers_fits(const struct peers *p, size_t connections)
{
    return places_for(connections) <= p->places;
}

static struct place *
table(const struct peers *p, unsigned row)
{
    return (struct place *)(void *)((char *)p->place + row * table_size(p->places));
}

static bool
is_row(const struct peers *p, unsigned row)
{
    return row >= 1 && row <= p->rows;
}

/* One that never counted has nothing in its table. */
void
peers_forget_row(struct peers *p, unsigned row)
{
    if (!is_row(p, row) || row > __atomic_load_n(&p->head->high, __ATOMIC_SEQ_CST))
        return;
    __atomic_store_n(&p->held[row], 0, __ATOMIC_SEQ_CST);
    segment_punch(&p->segment, (size_t)((char *)table(p, row) - (char *)p->segment.base), table_size(p->places));
}

uint64_t
peers_digest(const struct peers *p, const void *address, size_t n)
{
    return digest_make(&p->key, address, n, NULL, 0);
}

/* One row */

/* Where it is counted; else NULL, and *spare is where it could be (or NULL). */
static struct place *
find(const struct peers *p, unsigned row, uint64_t peer, struct place **spare)
{
    struct place *t = table(p, row);
    uint32_t i, mask = p->places - 1;

    *spare = NULL;
    for (i = 0; i < PROBES; i++) {
        struct place *o = &t[(peer + i) & mask];
        uint64_t digest = __atomic_load_n(&o->digest, __ATOMIC_SEQ_CST);

        if (digest == peer)
            return o;
        if (*spare == NULL && (digest == 0 || __atomic_load_n(&o->count, __ATOMIC_RELAXED) == 0))
            *spare = o;
        if (digest == 0)
            break;
    }
    return NULL;
}

static uint32_t
count_in(const struct peers *p, unsigned row, uint64_t peer)
{
    struct place *spare, *o = find(p, row, peer, &spare);

    return o != NULL ? __atomic_load_n(&o->count, __ATOMIC_SEQ_CST) : 0;
}

/* Makes what is spare empty, from this place backwards, where nobody's search passes over it. */
static void
tidy(struct peers *p, unsigned row, struct place *o)
{
    struct place *t = table(p, row);
    uint32_t i, mask = p->places - 1, at = (uint32_t)(o - t);

    for (i = 0; i < PROBES && t[at].digest != 0 && t[at].count == 0 && t[(at + 1) & mask].digest == 0; i++) {
        __atomic_store_n(&t[at].digest, 0, __ATOMIC_SEQ_CST);
        at = (at - 1) & mask;
    }
}

static void
take(struct peers *p, unsigned row, struct place *o)
{
    __atomic_store_n(&o->count, o->count - 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&p->held[row], p->held[row] - 1, __ATOMIC_SEQ_CST);
    if (o->count == 0)
        tidy(p, row, o);
}

static struct place *
add(struct peers *p, unsigned row, uint64_t peer)
{
    struct place *spare, *o = find(p, row, peer, &spare);

    if (o == NULL && spare == NULL)
        return NULL;
    __atomic_store_n(&p->held[row], p->held[row] + 1, __ATOMIC_SEQ_CST);
    if (o == NULL) {
        o = spare;
        __atomic_store_n(&o->digest, peer, __ATOMIC_SEQ_CST);
    }
    __atomic_store_n(&o->count, o->count + 1, __ATOMIC_SEQ_CST);
    return o;
}

/* All rows */

uint32_t
peers_count(const struct peers *p, uint64_t peer)
{
    uint32_t row, n = __atomic_load_n(&p->head->high, __ATOMIC_SEQ_CST);
    uint64_t sum = 0;

    for (row = 1; row <= n && row <= p->rows; row++) {
        if (__atomic_load_n(&p->held[row], __ATOMIC_SEQ_CST) != 0)
            sum += count_in(p, row, peer);
    }
    return sum < UINT32_MAX ? (uint32_t)sum : UINT32_MAX;
}

struct arrival {
    struct peers *p;
    unsigned row;
    uint64_t peer;
    uint32_t most;
    struct place *place;        /* NULL: there was no room to count it */
};

static void
count_one(void *with, bool one_more)
{
    struct arrival *a = with;

    if (one_more)
        a->place = add(a->p, a->row, a->peer);
    else
        take(a->p, a->row, a->place);
}

static bool
fits(void *with, unsigned more)
{
    const struct arrival *a = with;

    return a->place == NULL || (uint64_t)peers_count(a->p, a->peer) + more <= a->most;
}

bool
peers_enter(struct peers *p, unsigned row, uint64_t peer, uint32_t most, bool *counted)
{
    struct arrival a = {.p = p, .row = row, .peer = peer, .most = most};
    bool enters = true;

    if (is_row(p, row)) {
        cells_raise(&p->head->high, row);
        enters = cells_take(row, count_one, fits, &a);
    }
    *counted = enters && a.place != NULL;
    return enters;
}

void
peers_leave(struct peers *p, unsigned row, uint64_t peer)
{
    struct place *spare, *o;

    if (!is_row(p, row))
        return;
    o = find(p, row, peer, &spare);
    if (o != NULL && o->count > 0)
        take(p, row, o);
}

/*
 * Knows how the health segment is laid out:
 *
 *     head | servers | upstreams | names | cells of servers | cells of upstreams | budgets
 *
 * all of them on page borders. Cells are a block for each entry, by row, so that adding up the rows in use
 * (head->high at most) touches a few cache lines. A budget is, for each entry and row, two rings of
 * one-second buckets: a second and a count in one word.
 *
 * Invariants: a cell or bucket is written by its row's worker alone. Whoever holds a limit stores its own
 * cell before it loads the others', all sequentially consistent: of two that take the last place at once at
 * least one sees the other. A name has two texts, the one that its version points to and the one
 * that is written next; a text says which version of which name it is, and a keyed sum over all of it tells a
 * reader that it was overwritten meanwhile. Capacities and the key are copied out of the segment when it is mapped:
 * whatever a broken worker writes there, no access leaves the mapping.
 */
#include "shm/health.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/digest.h"
#include "shm/directory.h"
#include "shm/segment.h"

static const char kind_name[] = "weirheal";
enum { VERSION = 1 };

enum {
    TRIES = 4,
    SECONDS = 10,               /* of the budget */
    RING = 16,                  /* more than that */
    ROWS_MOST = UINT16_MAX,     /* what the lease has room for */
    ENTRIES_MOST = 1 << 20,
};

struct head {
    struct segment_head segment;
    uint32_t layout;            /* sizes of the structs, so that a forgotten VERSION shows */
    uint32_t rows;
    uint32_t servers;
    uint32_t upstreams;
    uint32_t names;
    uint32_t high;              /* the highest row that ever counted */
    struct digest_key key;
    uint64_t lease __attribute__((aligned(64)));
};

struct text {                   /* whole words, without padding */
    uint64_t version;
    uint64_t digest;            /* of the name that it is about */
    uint64_t expires_ms;
    uint32_t failures;
    uint32_t n;
    struct health_address v[HEALTH_ADDRESSES];
    uint64_t sum;               /* over what stands before */
};

struct name {
    struct pair id;
    uint64_t version;
    struct text text[2];        /* by the version's last bit */
} __attribute__((aligned(64)));

struct budget {                 /* of one row; second << 32 | count */
    uint64_t requests[RING];
    uint64_t retries[RING];
};

struct health {
    struct segment segment;
    struct head *head;
    struct directory servers;
    struct directory upstreams;
    struct directory names;
    uint32_t *server_cells;
    uint32_t *upstream_cells;
    struct budget *budgets;
    struct digest_key key;
    uint32_t rows;
    uint32_t stride;            /* cells of an entry */
};

/* Layout */

static uint32_t
layout(void)
{
    return (uint32_t)(sizeof(struct name) << 16 | sizeof(struct budget) << 6 | sizeof(struct health_server));
}

struct offsets {
    size_t server, upstream, name, server_cells, upstream_cells, budget, size;
};

static uint32_t
cells_of(uint32_t rows)
{
    return (rows + 16) / 16 * 16;               /* row 0 too, in whole cache lines */
}

static struct offsets
lay_out(uint32_t rows, size_t servers, size_t upstreams, size_t names)
{
    size_t cells = cells_of(rows) * sizeof(uint32_t);
    struct offsets o;

    o.server = segment_pages(sizeof(struct head));
    o.upstream = o.server + segment_pages((servers + 1) * sizeof(struct health_server));
    o.name = o.upstream + segment_pages((upstreams + 1) * sizeof(struct pair));
    o.server_cells = o.name + segment_pages((names + 1) * sizeof(struct name));
    o.upstream_cells = o.server_cells + segment_pages((servers + 1) * cells);
    o.budget = o.upstream_cells + segment_pages((upstreams + 1) * cells);
    o.size = o.budget + segment_pages((upstreams + 1) * (rows + 1) * sizeof(struct budget));
    return o;
}

static bool
sane(uint32_t rows, uint32_t servers, uint32_t upstreams, uint32_t names)
{
    return rows >= 1 && rows <= ROWS_MOST && servers <= ENTRIES_MOST && upstreams <= ENTRIES_MOST &&
           names <= ENTRIES_MOST;
}

static bool
server_in_use(void *owner, unsigned server)
{
    return health_in_flight(owner, server) > 0;
}

static bool
upstream_in_use(void *owner, unsigned upstream)
{
    return health_waiting(owner, upstream) > 0;
}

/* It gets the health of a server that nobody has heard of. */
static void
clear_server(void *owner, unsigned server)
{
    struct health_server *s = health_server(owner, server);

    __atomic_store_n(&s->check, HEALTH_UNKNOWN, __ATOMIC_RELAXED);
    __atomic_store_n(&s->run, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&s->failures, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&s->ejections, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&s->failing_ms, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&s->ejected_until_ms, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&s->since_ms, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&s->ejected_ms, 0, __ATOMIC_RELAXED);
}

static void
find_parts(struct health *h, uint32_t rows, uint32_t servers, uint32_t upstreams, uint32_t names)
{
    struct offsets o = lay_out(rows, servers, upstreams, names);
    char *base = h->segment.base;

    h->head = h->segment.base;
    h->servers = (struct directory){base + o.server, sizeof(struct health_server), servers, server_in_use,
                                    clear_server, h};
    h->upstreams = (struct directory){base + o.upstream, sizeof(struct pair), upstreams, upstream_in_use, NULL, h};
    h->names = (struct directory){base + o.name, sizeof(struct name), names, NULL, NULL, h};
    h->server_cells = (uint32_t *)(void *)(base + o.server_cells);
    h->upstream_cells = (uint32_t *)(void *)(base + o.upstream_cells);
    h->budgets = (struct budget *)(void *)(base + o.budget);
    h->rows = rows;
    h->stride = cells_of(rows);
}

struct health *
health_create(unsigned rows, unsigned servers, unsigned upstreams, unsigned names)
{
    struct health *h = calloc(1, sizeof(*h));

    if (h == NULL)
        return NULL;
    if (!sane(rows, servers, upstreams, names))
        errno = EINVAL;
    else if (digest_key_make(&h->key) &&
             segment_create(&h->segment, kind_name, VERSION, lay_out(rows, servers, upstreams, names).size)) {
        find_parts(h, rows, servers, upstreams, names);
        h->head->layout = layout();
        h->head->rows = rows;
        h->head->servers = servers;
        h->head->upstreams = upstreams;
        h->head->names = names;
        h->head->key = h->key;
        return h;
    }
    free(h);
    return NULL;
}

/* What it says of itself is read once. */
static bool
understand(struct health *h, unsigned rows)
{
    const struct head *head = h->segment.base;
    uint32_t servers, upstreams, names;

    if (h->segment.size < sizeof(*head) || head->layout != layout() || head->rows != rows)
        return false;
    servers = __atomic_load_n(&head->servers, __ATOMIC_RELAXED);
    upstreams = __atomic_load_n(&head->upstreams, __ATOMIC_RELAXED);
    names = __atomic_load_n(&head->names, __ATOMIC_RELAXED);
    if (!sane(rows, servers, upstreams, names) || lay_out(rows, servers, upstreams, names).size != h->segment.size)
        return false;
    find_parts(h, rows, servers, upstreams, names);
    h->key = head->key;
    return true;
}

struct health *
health_attach(int fd, unsigned rows)
{
    struct health *h = calloc(1, sizeof(*h));

    if (h == NULL)
        return NULL;
    if (segment_attach(&h->segment, kind_name, VERSION, fd)) {
        if (understand(h, rows))
            return h;
        h->segment.fd = -1;                     /* stays the caller's */
        segment_detach(&h->segment);
        errno = EINVAL;
    }
    free(h);
    return NULL;
}

int
health_fd(const struct health *h)
{
    return h->segment.fd;
}

void
health_detach(struct health *h)
{
    segment_detach(&h->segment);
    free(h);
}

bool
health_fits(const struct health *h, unsigned servers, unsigned upstreams, unsigned names)
{
    return servers <= h->servers.count && upstreams <= h->upstreams.count && names <= h->names.count;
}

/* Cells */

static bool
is_row(const struct health *h, unsigned row)
{
    return row >= 1 && row <= h->rows;
}

static uint32_t
high(const struct health *h)
{
    uint32_t n = __atomic_load_n(&h->head->high, __ATOMIC_SEQ_CST);

    return n < h->rows ? n : h->rows;
}

/* Before the row counts: whoever adds up after it has counted looks at it then. */
static void
raise_high(struct health *h, unsigned row)
{
    uint32_t n = __atomic_load_n(&h->head->high, __ATOMIC_RELAXED);

    while (n < row && !__atomic_compare_exchange_n(&h->head->high, &n, row, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        continue;
}

static uint32_t
add_up(const struct health *h, const uint32_t *cells)
{
    uint32_t row, n = high(h);
    uint64_t sum = 0;

    for (row = 1; row <= n; row++)
        sum += __atomic_load_n(&cells[row], __ATOMIC_SEQ_CST);
    return sum < UINT32_MAX ? (uint32_t)sum : UINT32_MAX;
}

/* Those that stepped back for each other come again at different moments. */
static void
rest(unsigned row, unsigned try)
{
    volatile unsigned n = (row % 8 + 1) * (try + 1) * 32;

    while (n > 0)
        n--;
}

static bool
enter(struct health *h, uint32_t *cells, unsigned row, uint32_t most)
{
    uint32_t own = __atomic_load_n(&cells[row], __ATOMIC_RELAXED);
    unsigned i;

    raise_high(h, row);
    for (i = 0; i < TRIES; i++) {
        __atomic_store_n(&cells[row], own + 1, __ATOMIC_SEQ_CST);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (most == 0 || add_up(h, cells) <= most)
            return true;
        __atomic_store_n(&cells[row], own, __ATOMIC_SEQ_CST);
        if (add_up(h, cells) >= most)
            return false;
        rest(row, i);
    }
    return false;
}

static void
leave(uint32_t *cell)
{
    uint32_t own = __atomic_load_n(cell, __ATOMIC_RELAXED);

    if (own > 0)
        __atomic_store_n(cell, own - 1, __ATOMIC_SEQ_CST);
}

static uint32_t *
server_cells(const struct health *h, unsigned server)
{
    return h->server_cells + (size_t)server * h->stride;
}

static uint32_t *
upstream_cells(const struct health *h, unsigned upstream)
{
    return h->upstream_cells + (size_t)upstream * h->stride;
}

static bool
is_server(const struct health *h, unsigned server)
{
    return server >= 1 && server <= h->servers.count;
}

static bool
is_upstream(const struct health *h, unsigned upstream)
{
    return upstream >= 1 && upstream <= h->upstreams.count;
}

/* A free entry's cells were never touched, and shall cost no memory. */
static void
forget_cells(const struct directory *d, uint32_t *cells, uint32_t stride, unsigned row)
{
    unsigned i;

    for (i = 1; i <= d->count; i++) {
        if (directory_digest(d, i) != 0 && __atomic_load_n(&cells[(size_t)i * stride + row], __ATOMIC_RELAXED) != 0)
            __atomic_store_n(&cells[(size_t)i * stride + row], 0, __ATOMIC_SEQ_CST);
    }
}

void
health_forget_row(struct health *h, unsigned row)
{
    if (!is_row(h, row))
        return;
    if (row <= high(h)) {
        forget_cells(&h->servers, h->server_cells, h->stride, row);
        forget_cells(&h->upstreams, h->upstream_cells, h->stride, row);
    }
    health_lease_end(h, row);
}

/* Servers */

unsigned
health_find(struct health *h, const void *upstream, size_t n, const void *address, size_t m, uint64_t now_ms)
{
    return directory_find(&h->servers, digest_make(&h->key, upstream, n, address, m), now_ms);
}

struct health_server *
health_server(struct health *h, unsigned server)
{
    return is_server(h, server) ? (struct health_server *)(void *)(h->servers.base + server * h->servers.stride) : NULL;
}

void
health_stamp(struct health *h, unsigned server, uint64_t now_ms)
{
    directory_stamp(&h->servers, server, now_ms);
}

bool
health_enter(struct health *h, unsigned server, unsigned row, uint32_t most)
{
    return !is_server(h, server) || !is_row(h, row) || enter(h, server_cells(h, server), row, most);
}

void
health_leave(struct health *h, unsigned server, unsigned row)
{
    if (is_server(h, server) && is_row(h, row))
        leave(&server_cells(h, server)[row]);
}

uint32_t
health_in_flight(const struct health *h, unsigned server)
{
    return is_server(h, server) ? add_up(h, server_cells(h, server)) : 0;
}

/* Upstreams */

unsigned
health_find_upstream(struct health *h, const void *name, size_t n, uint64_t now_ms)
{
    return directory_find(&h->upstreams, digest_make(&h->key, name, n, NULL, 0), now_ms);
}

void
health_stamp_upstream(struct health *h, unsigned upstream, uint64_t now_ms)
{
    directory_stamp(&h->upstreams, upstream, now_ms);
}

bool
health_wait(struct health *h, unsigned upstream, unsigned row, uint32_t most)
{
    return is_upstream(h, upstream) && is_row(h, row) && enter(h, upstream_cells(h, upstream), row, most);
}

void
health_wait_end(struct health *h, unsigned upstream, unsigned row)
{
    if (is_upstream(h, upstream) && is_row(h, row))
        leave(&upstream_cells(h, upstream)[row]);
}

uint32_t
health_waiting(const struct health *h, unsigned upstream)
{
    return is_upstream(h, upstream) ? add_up(h, upstream_cells(h, upstream)) : 0;
}

unsigned
health_next_waiting(const struct health *h, unsigned upstream, unsigned row)
{
    uint32_t i, next, n = high(h);

    if (!is_upstream(h, upstream))
        return 0;
    for (i = 0; i < n; i++) {
        next = (row + i) % n + 1;
        if (__atomic_load_n(&upstream_cells(h, upstream)[next], __ATOMIC_SEQ_CST) > 0)
            return next;
    }
    return 0;
}

/* The budget of retries */

static struct budget *
budget_of(const struct health *h, unsigned upstream, unsigned row)
{
    return &h->budgets[(size_t)upstream * (h->rows + 1) + row];
}

static uint64_t
bucket(uint32_t second, uint32_t count)
{
    return (uint64_t)second << 32 | count;
}

/* What the ring's bucket of this second holds, where it is of this second. */
static uint32_t
counted(const uint64_t *ring, uint32_t second)
{
    uint64_t b = __atomic_load_n(&ring[second % RING], __ATOMIC_SEQ_CST);

    return (uint32_t)(b >> 32) == second ? (uint32_t)b : 0;
}

static void
set_count(uint64_t *ring, uint32_t second, uint32_t count)
{
    __atomic_store_n(&ring[second % RING], bucket(second, count), __ATOMIC_SEQ_CST);
}

/* Over all rows; another's clock may have been read a second later than ours. */
static void
add_up_budget(const struct health *h, unsigned upstream, uint32_t second, uint64_t *requests, uint64_t *retries)
{
    uint32_t row, i, n = high(h);

    *requests = *retries = 0;
    for (row = 1; row <= n; row++) {
        const struct budget *b = budget_of(h, upstream, row);

        for (i = 0; i <= SECONDS; i++) {
            *requests += counted(b->requests, second + 1 - i);
            *retries += counted(b->retries, second + 1 - i);
        }
    }
}

void
health_count_request(struct health *h, unsigned upstream, unsigned row, uint64_t now_ms)
{
    uint32_t second = (uint32_t)(now_ms / 1000);
    uint64_t *ring;

    if (!is_upstream(h, upstream) || !is_row(h, row))
        return;
    raise_high(h, row);
    ring = budget_of(h, upstream, row)->requests;
    set_count(ring, second, counted(ring, second) + 1);
}

bool
health_take_retry(struct health *h, unsigned upstream, unsigned row, uint64_t now_ms, unsigned percent, unsigned least)
{
    uint32_t second = (uint32_t)(now_ms / 1000), own;
    uint64_t *ring, requests, retries;
    unsigned i;

    if (!is_upstream(h, upstream) || !is_row(h, row))
        return false;
    raise_high(h, row);
    ring = budget_of(h, upstream, row)->retries;
    own = counted(ring, second);
    for (i = 0; i < TRIES; i++) {
        set_count(ring, second, own + 1);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        add_up_budget(h, upstream, second, &requests, &retries);
        if (retries <= least || retries * 100 <= requests * percent)
            return true;
        set_count(ring, second, own);
        add_up_budget(h, upstream, second, &requests, &retries);
        if (retries + 1 > least && (retries + 1) * 100 > requests * percent)
            return false;
        rest(row, i);
    }
    return false;
}

/* Names */

static struct name *
name_at(const struct health *h, unsigned name)
{
    return (struct name *)(void *)(h->names.base + name * h->names.stride);
}

unsigned
health_find_name(struct health *h, const void *name, size_t n, uint64_t now_ms)
{
    return directory_find(&h->names, digest_make(&h->key, name, n, NULL, 0), now_ms);
}

void
health_stamp_name(struct health *h, unsigned name, uint64_t now_ms)
{
    directory_stamp(&h->names, name, now_ms);
}

enum { WORDS = sizeof(struct text) / sizeof(uint64_t) };
_Static_assert(WORDS * sizeof(uint64_t) == sizeof(struct text), "a text is whole words");
_Static_assert(offsetof(struct text, sum) == (WORDS - 1) * sizeof(uint64_t), "without padding");

/* Word by word: another process may be writing, or reading. */
static void
copy_out(struct text *to, const struct text *from)
{
    const uint64_t *f = (const uint64_t *)(const void *)from;
    uint64_t words[WORDS];
    size_t i;

    for (i = 0; i < WORDS; i++)
        words[i] = __atomic_load_n(&f[i], __ATOMIC_ACQUIRE);
    memcpy(to, words, sizeof(*to));
}

static void
copy_in(struct text *to, const struct text *from)
{
    uint64_t *t = (uint64_t *)(void *)to, words[WORDS];
    size_t i;

    memcpy(words, from, sizeof(words));
    for (i = 0; i < WORDS; i++)
        __atomic_store_n(&t[i], words[i], __ATOMIC_RELEASE);
}

static uint64_t
sum_of(const struct health *h, const struct text *text)
{
    return digest_make(&h->key, text, offsetof(struct text, sum), NULL, 0);
}

/* The text of that version, if it is whole and about that name. */
static bool
read_text(const struct health *h, unsigned name, uint64_t version, uint64_t digest, struct text *text)
{
    copy_out(text, &name_at(h, name)->text[version & 1]);
    return text->version == version && text->digest == digest && text->n <= HEALTH_ADDRESSES &&
           text->sum == sum_of(h, text);
}

/* After a takeover what is published is still about the former name: it counts as nothing. */
uint64_t
health_name_version(const struct health *h, unsigned name)
{
    uint64_t digest = directory_digest(&h->names, name), version;
    const struct name *o;

    if (digest == 0)
        return 0;
    o = name_at(h, name);
    version = __atomic_load_n(&o->version, __ATOMIC_ACQUIRE);
    return version != 0 && __atomic_load_n(&o->text[version & 1].digest, __ATOMIC_RELAXED) == digest ? version : 0;
}

bool
health_read_name(const struct health *h, unsigned name, struct health_name *copy)
{
    uint64_t digest = directory_digest(&h->names, name), version;
    struct text text;
    unsigned i;

    memset(copy, 0, sizeof(*copy));
    for (i = 0; i < TRIES; i++) {
        version = health_name_version(h, name);
        if (version == 0)
            return false;
        if (!read_text(h, name, version, digest, &text))
            continue;
        *copy = (struct health_name){version, text.expires_ms, text.failures, text.n, {{0}}};
        memcpy(copy->v, text.v, text.n * sizeof(*text.v));
        return true;
    }
    return false;
}

/* Should a former holder of the lease write at the same time, what is mixed is written again. */
void
health_publish_name(struct health *h, unsigned name, const struct health_name *what)
{
    uint64_t digest = directory_digest(&h->names, name), former;
    struct text text = {.digest = digest, .expires_ms = what->expires_ms, .failures = what->failures}, seen;
    struct name *o;
    unsigned i;

    if (digest == 0)
        return;
    o = name_at(h, name);
    text.n = what->n < HEALTH_ADDRESSES ? what->n : HEALTH_ADDRESSES;
    memcpy(text.v, what->v, text.n * sizeof(*text.v));
    for (i = 0; i < TRIES; i++) {
        former = __atomic_load_n(&o->version, __ATOMIC_ACQUIRE);
        text.version = former + 1;
        text.sum = sum_of(h, &text);
        copy_in(&o->text[text.version & 1], &text);
        if (!__atomic_compare_exchange_n(&o->version, &former, text.version, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
            continue;
        if (read_text(h, name, text.version, digest, &seen))
            return;
    }
}

/* The lease: generation << 48 | row << 32 | time; 0: nobody's */

static uint64_t
lease_word(unsigned row, unsigned generation, uint64_t now_ms)
{
    return (uint64_t)(uint16_t)generation << 48 | (uint64_t)row << 32 | (uint32_t)now_ms;
}

static unsigned
lease_row(uint64_t word)
{
    return (uint16_t)(word >> 32);
}

/* Both wrap around. A time somewhat ahead of ours was read by another a moment later. */
static bool
may_take(uint64_t word, unsigned row, unsigned generation, uint64_t now_ms)
{
    int32_t age = (int32_t)((uint32_t)now_ms - (uint32_t)word);
    int16_t newer = (int16_t)((uint16_t)generation - (uint16_t)(word >> 48));

    return lease_row(word) == 0 || lease_row(word) == row || newer > 0 || age > HEALTH_LEASE_MS ||
           age < -HEALTH_LEASE_MS;
}

bool
health_lease(struct health *h, unsigned row, unsigned generation, uint64_t now_ms)
{
    uint64_t word = __atomic_load_n(&h->head->lease, __ATOMIC_SEQ_CST);
    unsigned i;

    for (i = 0; i < TRIES && is_row(h, row) && may_take(word, row, generation, now_ms); i++) {
        if (__atomic_compare_exchange_n(&h->head->lease, &word, lease_word(row, generation, now_ms), false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            return true;
    }
    return false;
}

void
health_lease_end(struct health *h, unsigned row)
{
    uint64_t word = __atomic_load_n(&h->head->lease, __ATOMIC_SEQ_CST);

    while (row != 0 && lease_row(word) == row &&
           !__atomic_compare_exchange_n(&h->head->lease, &word, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        continue;
}

unsigned
health_lease_holder(const struct health *h)
{
    return lease_row(__atomic_load_n(&h->head->lease, __ATOMIC_SEQ_CST));
}

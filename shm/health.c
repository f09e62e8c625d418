/*
 * Knows how the health segment is laid out:
 *
 *     head | servers | upstreams | names | cells of servers | cells of upstreams | budgets
 *
 * all of them on page borders. Cells are a block for each entry, by row, so that adding up the rows in use
 * (head->high at most) touches a few cache lines. A budget is, for each entry and row, two rings of
 * one-second buckets: a second and a count in one word.
 *
 * Invariants: a cell or bucket is written by its row's worker alone (cells.h). Capacities and the key are copied out
 * of the segment when it is mapped: whatever a broken worker writes there, no access leaves the mapping. What is
 * published about names: health_name.c.
 */
#include "shm/health.h"

#include <errno.h>
#include <string.h>

#include "shm/cells.h"
#include "shm/health_parts.h"

static const struct segment_kind frame = {
    .name = "weirheal",
    .version = 1,
    .layout = SEGMENT_LAYOUT(sizeof(struct health_entry), sizeof(struct health_budget), sizeof(struct health_server)),
    .owner = sizeof(struct health),
    .head = sizeof(struct health_head),
};

enum {
    TRIES = 4,
    SECONDS = 10,               /* of the budget */
    ROWS_MOST = UINT16_MAX,     /* what the lease has room for */
    ENTRIES_MOST = 1 << 20,
};

/* Layout */

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

    o.server = segment_pages(sizeof(struct health_head));
    o.upstream = o.server + segment_pages((servers + 1) * sizeof(struct health_server));
    o.name = o.upstream + segment_pages((upstreams + 1) * sizeof(struct pair));
    o.server_cells = o.name + segment_pages((names + 1) * sizeof(struct health_entry));
    o.upstream_cells = o.server_cells + segment_pages((servers + 1) * cells);
    o.budget = o.upstream_cells + segment_pages((upstreams + 1) * cells);
    o.size = o.budget + segment_pages((upstreams + 1) * (rows + 1) * sizeof(struct health_budget));
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

    HEALTH_STORE(&s->check, HEALTH_UNKNOWN);
    HEALTH_STORE(&s->run, 0);
    HEALTH_STORE(&s->failures, 0);
    HEALTH_STORE(&s->ejections, 0);
    HEALTH_STORE(&s->failing_ms, 0);
    HEALTH_STORE(&s->ejected_until_ms, 0);
    HEALTH_STORE(&s->since_ms, 0);
    HEALTH_STORE(&s->ejected_ms, 0);
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
    h->names = (struct directory){base + o.name, sizeof(struct health_entry), names, NULL, NULL, h};
    h->server_cells = (uint32_t *)(void *)(base + o.server_cells);
    h->upstream_cells = (uint32_t *)(void *)(base + o.upstream_cells);
    h->budgets = (struct health_budget *)(void *)(base + o.budget);
    h->rows = rows;
    h->stride = cells_of(rows);
}

struct health *
health_create(unsigned rows, unsigned servers, unsigned upstreams, unsigned names)
{
    struct digest_key key;
    struct health *h;

    if (!sane(rows, servers, upstreams, names)) {
        errno = EINVAL;
        return NULL;
    }
    if (!digest_key_make(&key) || (h = segment_make(&frame, lay_out(rows, servers, upstreams, names).size)) == NULL)
        return NULL;
    find_parts(h, rows, servers, upstreams, names);
    h->head->rows = rows;
    h->head->servers = servers;
    h->head->upstreams = upstreams;
    h->head->names = names;
    h->head->key = h->key = key;
    return h;
}

/* What it says of itself is read once. */
static bool
understand(void *owner, unsigned rows)
{
    struct health *h = owner;
    const struct health_head *head = h->segment.base;
    uint32_t servers, upstreams, names;

    if (head->rows != rows)
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
    return segment_take(&frame, fd, understand, rows);
}

int
health_fd(const struct health *h)
{
    return h->segment.fd;
}

void
health_detach(struct health *h)
{
    segment_end(h);
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

static uint32_t
add_up(const struct health *h, const uint32_t *cells)
{
    uint32_t row, n = high(h);
    uint64_t sum = 0;

    for (row = 1; row <= n; row++)
        sum += __atomic_load_n(&cells[row], __ATOMIC_SEQ_CST);
    return sum < UINT32_MAX ? (uint32_t)sum : UINT32_MAX;
}

/* One that comes in. */
struct arrival {
    const struct health *h;
    uint32_t *cells;
    unsigned row;
    uint32_t own;               /* without it */
    uint32_t most;
};

static void
count_in(void *with, bool one_more)
{
    const struct arrival *a = with;

    __atomic_store_n(&a->cells[a->row], a->own + one_more, __ATOMIC_SEQ_CST);
}

static bool
is_room(void *with, unsigned more)
{
    const struct arrival *a = with;

    return a->most == 0 || (uint64_t)add_up(a->h, a->cells) + more <= a->most;
}

static bool
enter(struct health *h, uint32_t *cells, unsigned row, uint32_t most)
{
    struct arrival a = {h, cells, row, __atomic_load_n(&cells[row], __ATOMIC_RELAXED), most};

    cells_raise(&h->head->high, row);
    return cells_take(row, count_in, is_room, &a);
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
    uint32_t i, next, n = high(h), after = row < n ? row : 0;

    if (!is_upstream(h, upstream))
        return 0;
    for (i = 0; i < n; i++) {
        next = (after + i) % n + 1;
        if (__atomic_load_n(&upstream_cells(h, upstream)[next], __ATOMIC_SEQ_CST) > 0)
            return next;
    }
    return 0;
}

/* The budget of retries */

static struct health_budget *
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
    uint64_t b = __atomic_load_n(&ring[second % HEALTH_RING], __ATOMIC_SEQ_CST);

    return (uint32_t)(b >> 32) == second ? (uint32_t)b : 0;
}

static void
set_count(uint64_t *ring, uint32_t second, uint32_t count)
{
    __atomic_store_n(&ring[second % HEALTH_RING], bucket(second, count), __ATOMIC_SEQ_CST);
}

/* Over all rows; another's clock may have been read a second later than ours. */
static void
add_up_budget(const struct health *h, unsigned upstream, uint32_t second, uint64_t *requests, uint64_t *retries)
{
    uint32_t row, i, n = high(h);

    *requests = *retries = 0;
    for (row = 1; row <= n; row++) {
        const struct health_budget *b = budget_of(h, upstream, row);

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
    cells_raise(&h->head->high, row);
    ring = budget_of(h, upstream, row)->requests;
    set_count(ring, second, counted(ring, second) + 1);
}

struct retry {
    const struct health *h;
    unsigned upstream;
    uint64_t *ring;
    uint32_t second;
    uint32_t own;               /* retries in this second, without this one */
    unsigned percent;
    unsigned least;
};

static void
count_retry(void *with, bool one_more)
{
    const struct retry *r = with;

    set_count(r->ring, r->second, r->own + one_more);
}

static bool
is_within(void *with, unsigned more)
{
    const struct retry *r = with;
    uint64_t requests, retries;

    add_up_budget(r->h, r->upstream, r->second, &requests, &retries);
    retries += more;
    return retries <= r->least || retries * 100 <= requests * r->percent;
}

bool
health_take_retry(struct health *h, unsigned upstream, unsigned row, uint64_t now_ms, unsigned percent, unsigned least)
{
    struct retry r = {.h = h, .upstream = upstream, .second = (uint32_t)(now_ms / 1000), .percent = percent,
                      .least = least};

    if (!is_upstream(h, upstream) || !is_row(h, row))
        return false;
    cells_raise(&h->head->high, row);
    r.ring = budget_of(h, upstream, row)->retries;
    r.own = counted(r.ring, r.second);
    return cells_take(row, count_retry, is_within, &r);
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

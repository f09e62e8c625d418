/*
 * Knows how the slots segment is laid out:
 *
 *     head | owner of each row | directory of series | its index | row 0 | row 1 | ...
 *
 * all of them on page borders. A row is a struct slots_row and a block of counters a series; rows are
 * so large that they must stay sparse: only rows with an owner, and in them only series in use, are
 * ever looked at. Which series has which name: slots_series.c.
 *
 * Invariants: a row belongs to whoever set its owner by compare-and-swap from 0 (or, for an orphan,
 * from the dead owner). Counters of a row are moved out by its owner only, one exchange each, so that
 * a master that dies in a fold loses at most one counter. The capacities are copied out of the segment
 * when it is mapped: whatever a broken worker writes there, no access leaves the mapping.
 */
#include "shm/slots.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "shm/slots_parts.h"

const uint64_t slots_bucket_us[SLOTS_BUCKETS] = {
    500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000,
    30000000, UINT64_MAX,
};

const char *const slots_error_name[SLOTS_ERRORS] = {"malformed", "timeout", "reset", "connect", "limit", "internal"};

const char *const slots_tls_name[SLOTS_TLS_RESULTS] = {"full", "resumed", "failed"};

const char *const slots_coding_name[SLOTS_CODINGS] = {"zstd", "br", "gzip"};

const char *const slots_cache_name[SLOTS_CACHE_RESULTS] = {
    "hit", "stale", "revalidated", "collapsed", "miss", "vary_miss", "expired", "request", "method", "bypass", "passed",
    "unavailable", "purge",
};

const char *const slots_conn_name[SLOTS_CONNS] = {"idle", "reading", "active", "tunnel", "closing"};

static const struct segment_kind frame = {
    .name = "weirslot",
    .version = 4,
    .layout = SEGMENT_LAYOUT(sizeof(struct slots_counters), sizeof(struct slots_row), sizeof(struct slots_entry)),
    .owner = sizeof(struct slots),
    .head = sizeof(struct slots_head),
};

/* Where each part begins, and the size of the whole. */
struct offsets {
    size_t owner, entry, index, row, stride, size;
};

static uint32_t
index_size(uint32_t series)
{
    uint32_t n = 1;

    while (n < 2 * series)
        n *= 2;
    return n;
}

static struct offsets
lay_out(uint32_t rows, uint32_t series)
{
    struct offsets o;

    o.owner = segment_pages(sizeof(struct slots_head));
    o.entry = o.owner + segment_pages((rows + 1) * sizeof(int32_t));
    o.index = o.entry + segment_pages(series * sizeof(struct slots_entry));
    o.row = o.index + segment_pages(index_size(series) * sizeof(uint32_t));
    o.stride = segment_pages(sizeof(struct slots_row) + series * sizeof(struct slots_counters));
    o.size = o.row + (rows + 1) * o.stride;
    return o;
}

static void
find_parts(struct slots *s, uint32_t rows, uint32_t series)
{
    struct offsets o = lay_out(rows, series);
    char *base = s->segment.base;

    s->head = s->segment.base;
    s->owner = (int32_t *)(base + o.owner);
    s->entry = (struct slots_entry *)(base + o.entry);
    s->index = (uint32_t *)(base + o.index);
    s->row = base + o.row;
    s->stride = o.stride;
    s->rows = rows;
    s->series = series;
    s->mask = index_size(series) - 1;
}

/* Room for a descriptor a row, none yet. */
static bool
have_events(struct slots *s, uint32_t rows)
{
    uint32_t row;

    s->event = calloc(rows + 1, sizeof(*s->event));
    for (row = 0; s->event != NULL && row <= rows; row++)
        s->event[row] = -1;
    return s->event != NULL;
}

struct slots *
slots_create(unsigned rows, unsigned series)
{
    struct slots *s;
    int error;

    series++;                                   /* series 0 */
    s = segment_make(&frame, lay_out(rows, series).size);
    if (s == NULL)
        return NULL;
    find_parts(s, rows, series);
    s->head->rows = rows;
    s->head->series = series;
    s->head->master.started = (uint64_t)time(NULL);
    if (have_events(s, rows) && slots_make_eventfds(s))
        return s;
    error = errno;
    slots_detach(s);
    errno = error;
    return NULL;
}

/* Far more than anybody has, and no multiplication above overflows. */
static bool
sane(const struct slots_head *h)
{
    return h->rows >= 1 && h->rows < 1 << 20 && h->series >= 2 && h->series < 1 << 24;
}

/* What it says of itself is read once. */
static bool
understand(void *owner, unsigned rows)
{
    struct slots *s = owner;
    struct slots_head h = *(const struct slots_head *)s->segment.base;

    (void)rows;
    if (!sane(&h) || lay_out(h.rows, h.series).size != s->segment.size || !have_events(s, h.rows))
        return false;
    find_parts(s, h.rows, h.series);
    return true;
}

struct slots *
slots_attach(int fd)
{
    return segment_take(&frame, fd, understand, 0);
}

int
slots_fd(const struct slots *s)
{
    return s->segment.fd;
}

void
slots_detach(struct slots *s)
{
    uint32_t row;

    for (row = 1; s->event != NULL && row <= s->rows; row++) {
        if (s->event[row] >= 0)
            close(s->event[row]);
    }
    free(s->event);
    segment_end(s);
}

/* Waking */

static bool
is_eventfd(int fd)
{
    static const char want[] = "anon_inode:[eventfd]";
    char path[32], what[sizeof(want)];
    int flags = fcntl(fd, F_GETFL);

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return flags >= 0 && (flags & O_NONBLOCK) && readlink(path, what, sizeof(what)) == sizeof(want) - 1 &&
           memcmp(what, want, sizeof(want) - 1) == 0;
}

bool
slots_take_eventfd(struct slots *s, unsigned row, int fd)
{
    if (row < 1 || row > s->rows || s->event[row] >= 0 || !is_eventfd(fd))
        return false;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    s->event[row] = fd;
    return true;
}

bool
slots_make_eventfds(struct slots *s)
{
    uint32_t row;

    for (row = 1; row <= s->rows; row++) {
        if (s->event[row] < 0)
            s->event[row] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (s->event[row] < 0)
            return false;
    }
    return true;
}

int
slots_eventfd(const struct slots *s, unsigned row)
{
    return row >= 1 && row <= s->rows ? s->event[row] : -1;
}

/* What is lost to a full counter would wake nobody who isn't awake. */
void
slots_wake(const struct slots *s, unsigned row)
{
    int fd = slots_eventfd(s, row);

    if (fd >= 0)
        eventfd_write(fd, 1);
}

struct slots_master *
slots_master(struct slots *s)
{
    return &s->head->master;
}

unsigned
slots_next_generation(struct slots *s)
{
    return __atomic_add_fetch(&s->head->generation, 1, __ATOMIC_RELAXED);
}

unsigned
slots_rows(const struct slots *s)
{
    return s->rows;
}

pid_t
slots_owner(const struct slots *s, unsigned row)
{
    return __atomic_load_n(&s->owner[row], __ATOMIC_ACQUIRE);
}

struct slots_row *
slots_row(struct slots *s, unsigned row)
{
    return (struct slots_row *)(s->row + row * s->stride);
}

struct slots_counters *
slots_counters(struct slots *s, unsigned row, unsigned series)
{
    return slots_own((struct slots_row *)(void *)(s->row + row * s->stride), series);
}

void
slots_observe(struct slots_counters *c, uint64_t us)
{
    unsigned i = 0;

    while (us > slots_bucket_us[i])
        i++;
    slots_add(&c->bucket[i], 1);
    slots_add(&c->duration_us, us);
}

/* Rows */

static bool
take(struct slots *s, unsigned row, int32_t from, int32_t to)
{
    return __atomic_compare_exchange_n(&s->owner[row], &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static uint64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

unsigned
slots_claim(struct slots *s, unsigned number, unsigned generation, unsigned series, pid_t master)
{
    struct slots_row *r;
    unsigned row;

    for (row = 1; row <= s->rows; row++) {
        if (slots_owner(s, row) == 0 && take(s, row, 0, master))
            break;
    }
    if (row > s->rows)
        return 0;
    r = slots_row(s, row);                      /* zero: a row is punched before it is freed */
    r->number = number;
    r->generation = generation;
    r->series = series;
    r->heartbeat_ms = now_ms();
    r->state = SLOTS_STARTING;
    return row;
}

/* Moves all but `open`, which ends with the worker; `also` (or NULL) gets the same added. */
static void
move(struct slots_counters *to, struct slots_counters *also, struct slots_counters *from)
{
    uint64_t *t = (uint64_t *)to, *a = (uint64_t *)also, *f = (uint64_t *)from;
    size_t i, n = sizeof(*to) / sizeof(*t), open = offsetof(struct slots_counters, open) / sizeof(*t);

    for (i = 0; i < n; i++) {
        uint64_t moved = __atomic_exchange_n(&f[i], 0, __ATOMIC_RELAXED);

        if (moved == 0 || i == open)
            continue;
        __atomic_fetch_add(&t[i], moved, __ATOMIC_RELAXED);
        if (a != NULL)
            __atomic_fetch_add(&a[i], moved, __ATOMIC_RELAXED);
    }
}

void
slots_fold(struct slots *s, unsigned row)
{
    struct slots_row *r = slots_row(s, row), *sum = slots_row(s, 0);
    unsigned i, n = slots_used(s);

    __atomic_fetch_add(&s->head->folds_begun, 1, __ATOMIC_SEQ_CST);
    r->state = SLOTS_DEAD;
    move(&sum->total, r->series < s->series ? slots_counters(s, 0, r->series) : NULL, &r->total);
    __atomic_fetch_add(&sum->log_lines_dropped, __atomic_exchange_n(&r->log_lines_dropped, 0, __ATOMIC_RELAXED),
                       __ATOMIC_RELAXED);
    for (i = 0; i <= n; i++)
        move(slots_counters(s, 0, i), NULL, slots_counters(s, row, i));
    segment_punch(&s->segment, (size_t)(s->row - (char *)s->segment.base) + row * s->stride, s->stride);
    __atomic_store_n(&s->owner[row], 0, __ATOMIC_RELEASE);
    __atomic_fetch_add(&s->head->folds_ended, 1, __ATOMIC_SEQ_CST);
}

static bool
gone(pid_t pid)
{
    return pid <= 0 || (kill(pid, 0) != 0 && errno == ESRCH);
}

unsigned
slots_fold_orphans(struct slots *s, pid_t master, void (*forget)(void *, unsigned), void *with)
{
    unsigned row, n = 0;

    for (row = 1; row <= s->rows; row++) {
        pid_t owner = slots_owner(s, row);

        if (owner == 0 || owner == master || !gone(owner) || !gone(slots_row(s, row)->pid) ||
            !take(s, row, owner, master))
            continue;
        if (forget != NULL)
            forget(with, row);
        slots_fold(s, row);
        n++;
    }
    return n;
}

/* Sums */

static void
add(struct slots_counters *sum, const struct slots_counters *c)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)c;
    size_t i;

    for (i = 0; i < sizeof(*c) / sizeof(*from); i++)
        to[i] += __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

uint64_t
slots_sum_begin(const struct slots *s)
{
    return __atomic_load_n(&s->head->folds_ended, __ATOMIC_SEQ_CST);
}

bool
slots_sum_good(const struct slots *s, uint64_t begun)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return __atomic_load_n(&s->head->folds_begun, __ATOMIC_SEQ_CST) == begun;
}

void
slots_sum(struct slots *s, unsigned series, struct slots_counters *sum)
{
    unsigned row;

    memset(sum, 0, sizeof(*sum));
    for (row = 0; row <= s->rows; row++) {
        if (row == 0 || slots_owner(s, row) != 0)
            add(sum, slots_counters(s, row, series));
    }
}

void
slots_sum_total(struct slots *s, struct slots_counters *sum)
{
    unsigned row;

    memset(sum, 0, sizeof(*sum));
    for (row = 0; row <= s->rows; row++) {
        if (row == 0 || slots_owner(s, row) != 0)
            add(sum, &slots_row(s, row)->total);
    }
}

void
slots_sum_worker(struct slots *s, unsigned number, unsigned series, struct slots_counters *sum)
{
    unsigned row;

    memset(sum, 0, sizeof(*sum));
    if (series != SLOTS_SERIES_NONE)
        add(sum, slots_counters(s, 0, series));
    for (row = 1; row <= s->rows; row++) {
        if (slots_owner(s, row) != 0 && slots_row(s, row)->number == number)
            add(sum, &slots_row(s, row)->total);
    }
}

uint64_t
slots_sum_dropped(struct slots *s)
{
    uint64_t sum = 0;
    unsigned row;

    for (row = 0; row <= s->rows; row++) {
        if (row == 0 || slots_owner(s, row) != 0)
            sum += __atomic_load_n(&slots_row(s, row)->log_lines_dropped, __ATOMIC_RELAXED);
    }
    return sum;
}

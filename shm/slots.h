/*
 * Slots: a row a worker in memory that all processes share, written by its own worker alone: who it
 * is, its heartbeat, its counters. The segment is made by the first master, inherited over fork and
 * exec, and outlives workers, reloads and upgrades; a segment of another version is not attached.
 *
 * Counters stand in series: a block for all the worker's traffic and one for each listener, route,
 * upstream and server, each dimension alone. A series is found by a digest of its kind and name, so
 * that it keeps its counts when a reload moves it to another place in the file. When a worker is
 * gone its row is added to row 0, the sum of the dead, and is free again.
 *
 * Only relaxed atomic loads and stores: a reader may see one counter of a request before another.
 */
#ifndef WEIR_SLOTS_H
#define WEIR_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Upper bounds of the latency histogram's buckets, in microseconds; the last is +Inf. */
#define SLOTS_BUCKETS 16
extern const uint64_t slots_bucket_us[SLOTS_BUCKETS];

enum slots_error {              /* errors by kind */
    SLOTS_ERROR_MALFORMED,      /* client: 400 and kin; server: a head or framing that is none */
    SLOTS_ERROR_TIMEOUT,
    SLOTS_ERROR_RESET,          /* the peer went away in the middle */
    SLOTS_ERROR_CONNECT,        /* server: no connection */
    SLOTS_ERROR_LIMIT,          /* client: one of limits, or too slow (min_rate) */
    SLOTS_ERROR_INTERNAL,
    SLOTS_ERRORS,
};
extern const char *const slots_error_name[SLOTS_ERRORS];

/* What the cache did for a request, by the order of these words. */
#define SLOTS_CACHE_RESULTS 13
extern const char *const slots_cache_name[SLOTS_CACHE_RESULTS];

/* How a TLS handshake came out. */
enum slots_tls { SLOTS_TLS_FULL, SLOTS_TLS_RESUMED, SLOTS_TLS_FAILED, SLOTS_TLS_RESULTS };
extern const char *const slots_tls_name[SLOTS_TLS_RESULTS];

/* Codings that weir makes and undoes; in modules' enum coding each is one more. */
enum slots_coding { SLOTS_ZSTD, SLOTS_BR, SLOTS_GZIP, SLOTS_CODINGS };
extern const char *const slots_coding_name[SLOTS_CODINGS];

/* One series. Only counters that go up, but for `open`. */
struct slots_counters {
    uint64_t requests[6];       /* by status class: [2] is 2xx; [0] those that got no answer */
    uint64_t bytes_received;    /* content and heads, from the client (server: from the server) */
    uint64_t bytes_sent;
    uint64_t duration_us;       /* sum over the histogram */
    uint64_t bucket[SLOTS_BUCKETS];
    uint64_t connections;       /* accepted; of an upstream or a server: opened */
    uint64_t reused;            /* requests on a connection that had one before */
    uint64_t open;              /* gauge: connections */
    uint64_t retries;
    uint64_t errors[SLOTS_ERRORS];
    uint64_t rate_limited;      /* requests that a rate_limit refused */
    uint64_t denied;            /* requests that allow or deny refused */
    uint64_t regex_limits;      /* requests that a regular expression gave up on */
    uint64_t queued;            /* of an upstream: requests that waited for a server */
    uint64_t queue_refused;     /* of an upstream: that found the queue full, or waited too long */
    uint64_t unserved;          /* of an upstream: for which no server was up */
    uint64_t retries_refused;   /* of an upstream: that the budget did not allow */
    uint64_t ejections;         /* of an upstream or a server */
    uint64_t cache[SLOTS_CACHE_RESULTS]; /* requests of caching routes */
    uint64_t tls[SLOTS_TLS_RESULTS];    /* handshakes: of a listener with clients, of a server with it */
    uint64_t h2_connections;    /* of connections: those that speak HTTP/2 */
    uint64_t h2_resets;         /* of a listener: streams that clients reset */
    uint64_t h2_abuses;         /* of a listener: connections that were ended for what they did over HTTP/2 */
    uint64_t encoded[SLOTS_CODINGS];    /* responses sent in a coding that weir made, now or for the store before */
    uint64_t encodings[SLOTS_CODINGS];  /* times that content was encoded: for one response, or once for the store */
    uint64_t decodings[SLOTS_CODINGS];  /* the same of decoding */
    uint64_t encoded_in;        /* bytes that were encoded, and what they became */
    uint64_t encoded_out;
    uint64_t coding_errors;     /* content that could not be decoded: malformed, or beyond the bounds */
    uint64_t coding_refused;    /* responses that stayed as they were: a worker's memory for codecs was in use */
};

enum slots_state { SLOTS_FREE, SLOTS_STARTING, SLOTS_ACCEPTING, SLOTS_DRAINING, SLOTS_DEAD };

/* States of client connections: gauges of a row. */
enum slots_conn { SLOTS_CONN_IDLE, SLOTS_CONN_READING, SLOTS_CONN_ACTIVE, SLOTS_CONN_TUNNEL, SLOTS_CONN_CLOSING,
                  SLOTS_CONNS };
extern const char *const slots_conn_name[SLOTS_CONNS];

struct slots_row {
    uint32_t state;             /* enum slots_state: STARTING by the master, then by the worker */
    uint32_t number;            /* of the worker */
    uint32_t generation;
    int32_t pid;                /* told by the worker: to be shown, never to be killed */
    uint32_t served;            /* nonzero once it has answered a request */
    uint32_t series;            /* where its total goes in the sum of the dead: by worker */
    uint64_t heartbeat_ms;      /* CLOCK_MONOTONIC, each turn of the loop, at least once a second */
    uint64_t conns[SLOTS_CONNS];
    uint64_t log_lines_dropped;
    struct slots_counters total;
};

enum slots_kind { SLOTS_LISTENER = 1, SLOTS_ROUTE, SLOTS_UPSTREAM, SLOTS_SERVER, SLOTS_WORKER };

/* What the masters count, kept over upgrades. */
struct slots_master {
    uint64_t started;           /* seconds of the epoch: when the segment was made */
    uint64_t restarts;          /* of workers that died */
    uint64_t reloads;
    uint64_t reload_failures;
    uint64_t reload_failed;     /* the last one did: 0 or 1 */
};

struct slots;

/* Series 0 is where those are counted that found no place: never reported by name. */
#define SLOTS_SERIES_NONE 0

/*
 * Master: makes a segment for at least that many rows and series. NULL with errno. The pages that
 * nobody counts in are never touched, so they cost no memory.
 */
struct slots *slots_create(unsigned rows, unsigned series);

/*
 * Master, after an upgrade: the inherited descriptor, whose owner this becomes. NULL where it holds no
 * segment of this version; the descriptor is the caller's then.
 */
struct slots *slots_attach(int fd);
int slots_fd(const struct slots *s);
void slots_detach(struct slots *s);

struct slots_master *slots_master(struct slots *s);

/* Master: the generation counter, kept over upgrades. The first is 1. */
unsigned slots_next_generation(struct slots *s);

/*
 * Master: a free row for a worker about to be forked, zeroed, in state STARTING, owned by this
 * master; 0 where none is free. Two masters may do this at once. `series` is the worker's number's,
 * from slots_series.
 */
unsigned slots_claim(struct slots *s, unsigned number, unsigned generation, unsigned series, pid_t master);

/*
 * Master: the worker of that row, its own, is gone: its counters are added to row 0 and the row is
 * free. Two masters may fold at once, each its own rows.
 */
void slots_fold(struct slots *s, unsigned row);

/*
 * Master: takes over and folds the rows whose master and worker no longer exist. Returns how many. `forget` (or NULL)
 * is called with each before it is free, so that nobody else has it yet.
 */
unsigned slots_fold_orphans(struct slots *s, pid_t master, void (*forget)(void *with, unsigned row), void *with);

unsigned slots_rows(const struct slots *s);         /* row numbers are 1 to this; 0 is the sum */

/* The master that a row belongs to, 0: free. */
pid_t slots_owner(const struct slots *s, unsigned row);

/* Looking into a free row would cost its memory: ask slots_owner first. */
struct slots_row *slots_row(struct slots *s, unsigned row);

/*
 * Master: the series of that kind and name; made if need be, with zero counts. One not asked for
 * since before generation `oldest` may be reused when no other is free. SLOTS_SERIES_NONE if none is.
 * Only one master at a time makes series: a reload waits for the end of an upgrade.
 */
unsigned slots_series(struct slots *s, enum slots_kind kind, const void *name, size_t n, unsigned generation,
                      unsigned oldest);

/*
 * A row's eventfd, by which a worker is woken by another: made with the segment and inherited over fork and
 * exec, so every process has all of them. slots_wake writes to it; a row that is free takes no harm. -1: no row.
 */
int slots_eventfd(const struct slots *s, unsigned row);
void slots_wake(const struct slots *s, unsigned row);

/*
 * Master, after slots_attach: takes a row's eventfd over, which becomes the segment's (false: it is none, or the row
 * has one); then those that are missing are made (false with errno). No worker of the last master hears of these.
 */
bool slots_take_eventfd(struct slots *s, unsigned row, int fd);
bool slots_make_eventfds(struct slots *s);

/* The block of a series in a row. */
struct slots_counters *slots_counters(struct slots *s, unsigned row, unsigned series);

/*
 * Master: sums over all rows. While rows are folded a sum may be short, or hold a row twice: what was
 * summed since slots_sum_begin counts only where slots_sum_good says so. Otherwise sum again.
 */
uint64_t slots_sum_begin(const struct slots *s);
bool slots_sum_good(const struct slots *s, uint64_t begun);
void slots_sum(struct slots *s, unsigned series, struct slots_counters *sum);
void slots_sum_total(struct slots *s, struct slots_counters *sum);
void slots_sum_worker(struct slots *s, unsigned number, unsigned series, struct slots_counters *sum);
uint64_t slots_sum_dropped(struct slots *s);        /* log_lines_dropped */

/* Worker: its own row only. */
static inline void
slots_add(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

/* Worker: the block of a series in its own row, behind which its blocks lie. */
static inline struct slots_counters *
slots_own(struct slots_row *row, unsigned series)
{
    return (struct slots_counters *)(void *)(row + 1) + series;
}

void slots_observe(struct slots_counters *c, uint64_t us);

#endif

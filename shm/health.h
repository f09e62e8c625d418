/*
 * Health: what all workers have to agree on about the servers of upstreams. A cache line for each address
 * of a server, found by a digest of upstream and address; what was resolved for each name; who
 * probes and resolves (the lease). Only atomics, no locks: a worker may be killed at any instruction
 * and nothing is left wrong.
 *
 * Counts that have to be exact over workers (requests in flight, requests that wait, retries) are kept
 * as cells, one for each row of the slots, written by that row's worker alone. A limit is held by
 * "count yourself, then add all up, and step back if that is too much": nobody needs a lock, and
 * when a worker dies its cells go with its row.
 *
 * The segment is made by the first master, inherited over fork and exec, and outlives workers, reloads
 * and upgrades. Times are CLOCK_MONOTONIC in milliseconds.
 */
#ifndef WEIR_HEALTH_H
#define WEIR_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct health;

/*
 * Master: a segment for that many servers (addresses), upstreams and names, and rows 1 to `rows` of the
 * slots. NULL with errno. Untouched pages cost no memory.
 */
struct health *health_create(unsigned rows, unsigned servers, unsigned upstreams, unsigned names);
/* As slots_attach: NULL where it is none of this version or these rows; fd then stays the caller's. */
struct health *health_attach(int fd, unsigned rows);
int health_fd(const struct health *h);
void health_detach(struct health *h);
bool health_fits(const struct health *h, unsigned servers, unsigned upstreams, unsigned names);

/* Master, when a row is folded: clears its cells, and the lease if it held it. Any process may call it again. */
void health_forget_row(struct health *h, unsigned row);

/* --- servers --- */

/* What active checks say. A server that nobody has checked counts as up. */
enum health_check { HEALTH_UNKNOWN, HEALTH_UP, HEALTH_DOWN };

/* For what says nothing of other members. */
#define HEALTH_LOAD(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#define HEALTH_STORE(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)

/* One address of a server. All members are read and written with __atomic builtins. */
struct health_server {
    uint64_t digest;            /* 0: free */
    uint64_t stamp_ms;          /* when somebody last said that it is in use */
    uint32_t check;             /* enum health_check */
    uint32_t run;               /* results in a row that speak against `check`: for rise and fall */
    uint32_t failures;          /* of requests, in a row: for ejection */
    uint32_t ejections;         /* in a row: each is twice as long */
    uint64_t failing_ms;        /* when the first of `failures` was */
    uint64_t ejected_until_ms;  /* 0: never */
    uint64_t since_ms;          /* when it last came back: for slow_start. 0: it was always up */
    uint64_t ejected_ms;        /* when it was ejected last */
} __attribute__((aligned(64)));

/*
 * Worker or master: the number of the entry of that upstream and address (1 and up), made if need be; the same for
 * everybody. An entry that nobody has stamped for a minute may be taken over by another. 0: the table is full
 * (such a server counts as up and has no limits).
 */
unsigned health_find(struct health *h, const void *upstream, size_t n, const void *address, size_t m, uint64_t now_ms);
struct health_server *health_server(struct health *h, unsigned server);
/*
 * Whether it gets requests, as far as is known: `checked` and `ejects` say whether its upstream has active checks,
 * and ejects servers, now; what was found while it did so counts no longer where it does not.
 */
static inline bool
health_is_up(const struct health_server *s, bool checked, bool ejects, uint64_t now_ms)
{
    if (checked && HEALTH_LOAD(&s->check) == HEALTH_DOWN)
        return false;
    return !ejects || HEALTH_LOAD(&s->ejected_until_ms) <= now_ms;
}
/* Says that the entry is in use: everybody who holds its number, three times a minute at least. */
void health_stamp(struct health *h, unsigned server, uint64_t now_ms);

/*
 * Requests in flight at a server, over all rows, this one included. Exact: health_enter counts one up
 * and returns true only if at most `most` are in flight with it (0: no limit); else nothing was counted.
 * Two that come for the last place at once may both be told no.
 */
bool health_enter(struct health *h, unsigned server, unsigned row, uint32_t most);
void health_leave(struct health *h, unsigned server, unsigned row);
uint32_t health_in_flight(const struct health *h, unsigned server);

/* --- upstreams --- */

/* 0: the table is full (no queue and no retries). Stamped like servers. */
unsigned health_find_upstream(struct health *h, const void *name, size_t n, uint64_t now_ms);
void health_stamp_upstream(struct health *h, unsigned upstream, uint64_t now_ms);

/* Requests that wait for a server: as health_enter. */
bool health_wait(struct health *h, unsigned upstream, unsigned row, uint32_t most);
void health_wait_end(struct health *h, unsigned upstream, unsigned row);
uint32_t health_waiting(const struct health *h, unsigned upstream);
/* A row, after `row` in the round, where requests wait for that upstream (may be `row` itself, last); 0: none. */
unsigned health_next_waiting(const struct health *h, unsigned upstream, unsigned row);

/* Counts a request of the upstream, for the budget of retries. */
void health_count_request(struct health *h, unsigned upstream, unsigned row, uint64_t now_ms);
/*
 * Takes one retry from the budget: true and counted if the retries of the last 10 s, over all rows, are then at most
 * `percent` of the requests of the last 10 s, or at most `least`.
 */
bool health_take_retry(struct health *h, unsigned upstream, unsigned row, uint64_t now_ms, unsigned percent,
                       unsigned least);

/* --- names --- */

#define HEALTH_ADDRESSES 32     /* of a name at most */

struct health_address {
    uint8_t family;             /* AF_INET or AF_INET6 */
    uint8_t b[16];
};

struct health_name {
    uint64_t version;           /* goes up with each publication; 0: nothing was published yet */
    uint64_t expires_ms;        /* when it has to be asked for again */
    uint32_t failures;          /* questions in a row without an answer */
    uint32_t n;                 /* addresses; the last good ones where failures is not 0 */
    struct health_address v[HEALTH_ADDRESSES];
};

unsigned health_find_name(struct health *h, const void *name, size_t n, uint64_t now_ms);      /* 0: full */
void health_stamp_name(struct health *h, unsigned name, uint64_t now_ms);
/* The version alone: cheap, to see whether there is something new. */
uint64_t health_name_version(const struct health *h, unsigned name);
/* A consistent copy; false where there is none to be had just now (try again later). */
bool health_read_name(const struct health *h, unsigned name, struct health_name *copy);
/* The holder of the lease: publishes all but version, which is set here. */
void health_publish_name(struct health *h, unsigned name, const struct health_name *text);

/* --- the lease: who probes and resolves --- */

#define HEALTH_LEASE_MS 700     /* it is lost where it is not renewed for that long */

/*
 * Worker: takes or renews the lease; call it at least every 250 ms. True: it is ours. It goes to a row of
 * a higher generation as soon as that asks for it, else to anybody once it was not renewed in time.
 */
bool health_lease(struct health *h, unsigned row, unsigned generation, uint64_t now_ms);
/* Gives it up, where it is ours: at a drain. */
void health_lease_end(struct health *h, unsigned row);
unsigned health_lease_holder(const struct health *h);       /* its row, 0: nobody; for tests and statistics */

#endif

/*
 * Balancing: which endpoint of an upstream gets a request. A kind of balancing is a function that
 * chooses one of some candidates, in a file of its own and on a line of the table in balance.c.
 */
#ifndef WEIR_BALANCE_H
#define WEIR_BALANCE_H

#include "worker/request.h"
#include "worker/upstream/upstream.h"

enum balance_result {
    BALANCE_CHOSEN,             /* *e has one request more in flight: upstream_leave ends that */
    BALANCE_FULL,               /* all that are up have max_connections */
    BALANCE_NONE,               /* none is up */
};

/*
 * One that is up, has room, and did not fail this request already (r->tried). Backups only where no other is
 * left; where none is up, those that are only ejected; the queue is for those that would be chosen but are full.
 */
enum balance_result balance_choose(struct group *g, struct request *r, struct endpoint **e);

/* A worker's turns begin at another server than the other workers'. */
void balance_begin(struct group *g, unsigned number);

/* The request is no longer in flight there: whoever waits for the place gets it. */
void balance_leave(struct endpoint *e);

/* --- kinds: one of v, n at least 1 --- */

struct candidates {
    struct group *group;
    struct endpoint **v;
    size_t n;
    uint64_t now_ms;
};

typedef size_t balance_kind(const struct candidates *c, struct request *r);     /* its place in v */

balance_kind balance_round_robin;       /* round_robin.c */
balance_kind balance_least_conn;        /* least_conn.c */
balance_kind balance_random_two;        /* random_two.c */
balance_kind balance_ip_hash;           /* hash.c */
balance_kind balance_hash;

/*
 * In flight in proportion to weight: whether a has less than b. For whoever compares. Of a server that comes back
 * slowly the weight is less.
 */
bool balance_less(const struct endpoint *a, const struct endpoint *b, uint64_t now_ms);

#endif

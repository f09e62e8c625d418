/*
 * What a worker process knows of itself: one struct, made by worker_main.
 */
#ifndef WEIR_STATE_H
#define WEIR_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/health.h"
#include "shm/limits.h"
#include "shm/peers.h"
#include "shm/slots.h"
#include "shm/staples.h"
#include "worker/base/timer.h"
#include "worker/conf.h"

struct cache;
struct request;

struct worker {
    const struct conf *conf;
    struct slots *slots;
    struct slots_row *row;
    unsigned row_number;
    unsigned number;            /* from 0: the same for its successors */
    unsigned generation;
    struct health *health;      /* these are never NULL in a worker; weir -T has none of them */
    struct limits_table *limits;
    struct peers *peers;
    struct staples *staples;
    struct cache *cache;        /* NULL: there is none. The modules' alone: the engine knows of no cache */
    bool draining;
    int64_t drain_started;      /* clock_ms() */

    size_t connections;         /* of clients */
    size_t connections_most;    /* limits.connections, or what the descriptors allow */

    struct request *requests;   /* all that live */
    struct timer tick;          /* each second */
};

/* The process's own. */
extern struct worker worker;

/* The block of a series in this worker's row. */
static inline struct slots_counters *
worker_counters(unsigned series)
{
    return slots_own(worker.row, series);
}

/* A request enters and leaves the list of those that live. */
void request_list(struct request *r);
void request_unlist(struct request *r);

#endif

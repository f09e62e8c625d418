/*
 * Accepting: this worker's listening sockets, and how many clients it takes (limits.connections).
 */
#ifndef WEIR_ACCEPT_H
#define WEIR_ACCEPT_H

#include <stdbool.h>

#include "worker/worker.h"

/* False with errno where a socket can't be put on the loop. */
bool accept_start(const struct worker_start *start);

/* No more but what waits in the queues: the worker drains. */
void accept_stop(void);

/*
 * How many connections a worker of so many listening sockets and rows of the slots takes under the limit of
 * descriptors as it is now: limits.connections, or fewer. Any process.
 */
size_t accept_most(const struct conf *conf, size_t listeners, size_t rows);

/* A connection went away: where accepting had paused for want of room, it goes on. */
void accept_resume(void);

#endif

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

/* A connection went away: where accepting had paused for want of room, it goes on. */
void accept_resume(void);

#endif

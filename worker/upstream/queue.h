/*
 * The queue of an upstream: requests that wait while every server that is up has max_connections. First come,
 * first served within a worker; between workers those that wait take turns. Its size counts over all workers.
 */
#ifndef WEIR_QUEUE_H
#define WEIR_QUEUE_H

#include "worker/request.h"
#include "worker/upstream/upstream.h"

struct queue *queue_new(struct group *g);

/*
 * FETCH: the request waits; true, and it has a source that has nothing to give yet. When its turn comes
 * r->endpoint is set and the pipeline resumed; after the timeout, or when no server is up any more, it is
 * failed with 503. False: the queue is full.
 */
bool queue_put(struct group *g, struct request *r);

/* 503, counted and told: no place in line, or too long a wait / none of the servers is up. */
int queue_refuse(struct group *g);
int queue_none_up(struct group *g);

/* A place has become free in this worker: its queue, or another worker's, is told. */
void queue_room(struct group *g);

/* Another worker woke this one. */
void queue_woken(void);

/* Whether requests wait for the upstream already, in any worker: who comes now stands behind them. */
bool queue_waits(const struct group *g);

#endif

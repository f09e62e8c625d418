/*
 * Which counters belong to what: the series of the things that a configuration names.
 */
#ifndef WEIR_SERIES_H
#define WEIR_SERIES_H

#include "shm/slots.h"
#include "worker/conf.h"

/* How many a configuration with so many workers needs. */
unsigned series_needed(const struct conf *conf, unsigned workers);

/* Fills in the series of listeners, routes, upstreams and servers. Returns how many found no place. */
unsigned series_assign(struct conf *conf, struct slots *s, unsigned generation);

/* A worker's, by its number. */
unsigned series_of_worker(struct slots *s, unsigned number, unsigned generation);

/* What a listener is called in the statistics. */
struct str series_listener_name(const struct listener *l);

#endif

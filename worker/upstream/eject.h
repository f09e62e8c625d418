/*
 * Passive checks: what requests tell about a server. A run of failures within a window takes it out for
 * a while, doubling each time, up to 5 minutes; never more of the upstream's endpoints than max_ejected,
 * and never the last one that is up. What is known of it is in shared memory.
 */
#ifndef WEIR_EJECT_H
#define WEIR_EJECT_H

#include "worker/upstream/upstream.h"

/* A request was failed by it: connect, reset, timeout or malformed. `what`: for the log. */
void eject_failure(struct endpoint *e, const char *what);

/* It answered: the run is over. Cheap where there is none. */
void eject_success(struct endpoint *e);

/* Active checks have seen it well since it was ejected: back at once. */
void eject_lift(struct endpoint *e);

#endif

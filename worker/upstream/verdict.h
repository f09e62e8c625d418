/*
 * What the results of active checks do to the state of a server in shared memory. A server that nobody has
 * checked counts as up, and its first result decides: where that is bad, nothing speaks for the
 * server, and it is down at once. Later ones count to `rise` and `fall`. Each change of state is a line
 * in the error log.
 */
#ifndef WEIR_VERDICT_H
#define WEIR_VERDICT_H

#include "worker/upstream/upstream.h"

/* Of one endpoint, kept by whoever checks it; all zero at first. */
struct verdict {
    uint64_t ejected_ms;        /* the ejection that `good` speaks against */
    int64_t good;               /* checks in a row that began after it */
};

/* The holder of the lease alone. began_ms: when the check did. `what` says how it went, for the log. */
void verdict_good(struct verdict *v, struct endpoint *e, uint64_t began_ms, const char *what);
void verdict_bad(struct verdict *v, struct endpoint *e, const char *why);

#endif

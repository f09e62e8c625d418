/*
 * For weir -T: which site and route were chosen, and why not those before.
 */
#ifndef WEIR_ROUTE_TRACE_H
#define WEIR_ROUTE_TRACE_H

struct request;

/* Once the ROUTE phase has decided: `status` is what came of it, 0 for a route. r->trace is not NULL. */
void route_trace(struct request *r, int status);

#endif

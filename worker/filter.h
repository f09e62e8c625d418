/*
 * A body filter: what changes a response's content between EDIT and SEND. Where there is one, the source puts content
 * into a flow of the filter's (r->inflow), and the front takes from r->response.body what the filter has put there;
 * neither knows of the other. A response has one filter at most; without one r->inflow is &r->response.body, and
 * nothing is paid.
 *
 * The filter eats from r->inflow and puts into r->response.body as long as that has room (flow_room), and brings the
 * end along: `ended` or `broken` in r->response.body once all of r->inflow is through. CPU is shared: it works on at
 * most FILTER_TURN bytes, in or out, before the loop has gone round, and posts a task of its own for the rest.
 */
#ifndef WEIR_FILTER_H
#define WEIR_FILTER_H

#include "worker/request.h"

#define FILTER_TURN ((size_t)64 * 1024)

struct filter {
    const char *name;

    /* There may be more in r->inflow, or its end, or more room in r->response.body. Calls neither source nor front. */
    void (*run)(struct request *r);

    /* The request is over, or its source was left for another's answer: let go of everything. Called once. */
    void (*stop)(struct request *r);
};

/*
 * At EDIT, by a policy: from now on content goes through the filter; what is there already does too. The caller has
 * seen to r->response.fields and length. `state` is kept for it in r->filter_state.
 */
void filter_begin(struct request *r, const struct filter *filter, void *state);

/* The filter's own task has come: it is run, and both sides hear of it. r may be over on return. */
void filter_go_on(struct request *r);

/* Pipeline: the filter ends, with all that it has not passed on; r->inflow is the response's own flow again. */
void filter_end(struct request *r);

#endif

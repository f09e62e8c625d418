/*
 * A source: whatever fills a response. It fills r->status, r->response.fields and length, calls
 * pipeline_response once, then puts content into r->inflow, calling pipeline_body after
 * each turn, and at last sets ended or broken in it. After EDIT nobody can tell one source from another.
 */
#ifndef WEIR_SOURCE_H
#define WEIR_SOURCE_H

#include "worker/request.h"

struct source {
    const char *name;
    bool splices;               /* it can fill a flow's pipe */

    /* The response's flow has room again: go on. */
    void (*read)(struct request *r);

    /* There is more of the request's content, or it ended or broke: go on. NULL: never reads it. */
    void (*write)(struct request *r);

    /* The request is over, whole or not: let go of everything. Called once, also after the end. */
    void (*stop)(struct request *r);
};

#endif

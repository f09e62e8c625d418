/*
 * The path of every request. See pipeline.c: it is one page.
 */
#ifndef WEIR_PIPELINE_H
#define WEIR_PIPELINE_H

#include "worker/request.h"

/* Front: a whole head was read into r; the path begins. */
void pipeline_start(struct request *r);

/* Front: the head was no good; answered with the status, the connection closed after it. */
void pipeline_refuse(struct request *r, int status);

/*
 * A policy: a request of weir's own (r->own), whose route, upstream and forward are made. Its front is whoever made
 * it, who hears of its failure by `cut`, with r->status.
 */
void pipeline_fetch(struct request *r);

/* A hook that waited: go on. */
void pipeline_resume(struct request *r);

/* Front: there is more of the request's content in the flow, or it ended or broke. */
void pipeline_request_body(struct request *r);

/* Source: a 1xx other than 101. */
void pipeline_interim(struct request *r, int status);

/* Source: the head of the response is in r. */
void pipeline_response(struct request *r);

/* Source: there is more of the response's content in the flow, or it ended or broke. */
void pipeline_body(struct request *r);

/*
 * Anyone before the response was begun: weir answers with its own page for the status. Once it was
 * begun there is only the way of pipeline_break.
 */
void pipeline_fail(struct request *r, int status);

/* Anyone: no more will come; the client sees a truncated response. */
void pipeline_break(struct request *r);

/* Front: all of the response is with the kernel. */
void pipeline_sent(struct request *r);

/* Front: the client is gone, or was cut. */
void pipeline_client_lost(struct request *r);

/* Front, after eating from the response's flow: asks the source for more where it had stopped. */
void pipeline_drained(struct request *r);

/* Front: there is room in the response's flow, whatever its marks say (flow_spill). */
void pipeline_room(struct request *r);

/* Source, after eating from the request's flow: asks the front for more where it had stopped. */
void pipeline_consumed(struct request *r);

#endif

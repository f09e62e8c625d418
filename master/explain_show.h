/*
 * The remarks of weir -T that are made of the configuration's own structs, and of bytes that would be on
 * the wire. All go to r->trace.
 */
#ifndef WEIR_EXPLAIN_SHOW_H
#define WEIR_EXPLAIN_SHOW_H

#include "worker/h1/write.h"
#include "worker/request.h"

/* The innermost thing that is known of where the request goes: a route's line, a site's, the listener's. */
int show_place(const struct request *r);

/* The upstream, its servers, and what happens when they fail. */
void show_upstream(struct request *r);

/* The lines of the head that stands in w, each behind `mark`. */
void show_head(struct request *r, int line, const char *mark, const struct h1_writer *w);

/* The beginning of the response's content. */
void show_content(struct request *r);

/* The policies that hold for the request: each that was written by its line, the defaults in one. */
void show_policies(struct request *r);

#endif

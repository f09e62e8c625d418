/*
 * Tracing: how `weir -T` hears what the path does with a request. The same code runs as for a client's
 * request; whoever decides something says so, with the line of the file that made it so. With
 * no listener, as in every worker, it costs one look at a pointer.
 */
#ifndef WEIR_TRACE_H
#define WEIR_TRACE_H

#include "worker/request.h"

struct trace {
    /* line 0: the file says nothing of it (a default). The text is one line, without an end. */
    void (*say)(struct trace *t, int line, const char *text);

    /*
     * FETCH, in place of taking a server: r->upstream is chosen and r->forward is what it would get. Puts an
     * answer in the place of the origin's and returns HOOK_ANSWER.
     */
    int (*fetch)(struct trace *t, struct request *r);

    const char *phase;          /* the pipeline's word for where the request is */
    const char *by;             /* who answered or refused last: a module's key, or a phase; NULL: nobody yet */
};

void trace_say(struct request *r, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* trace(r, line, "denied: %.*s", ...) */
#define trace(r, line, ...) ((r)->trace != NULL ? trace_say(r, line, __VA_ARGS__) : (void)0)

/* Pipeline: a phase begins; somebody has answered or refused. */
#define trace_phase(r, word) ((r)->trace != NULL ? (void)((r)->trace->phase = (word)) : (void)0)
#define trace_by(r, who) ((r)->trace != NULL ? (void)((r)->trace->by = (who)) : (void)0)

#endif

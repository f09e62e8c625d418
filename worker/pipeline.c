/*
 * The path of every request, from its head to its line in the log:
 *
 *     READ  ROUTE  REWRITE  GUARD  LOOKUP  FETCH  EDIT  BODY  SEND  LOG
 *
 * advance() walks it. Engine phases are direct calls; module phases walk the hooks that were compiled
 * for the scope (the route's, or the site's or the file's where no route was found), so a request pays
 * only for what its route uses. FETCH hands the request to a source, which comes back at EDIT by
 * pipeline_response. LOG runs exactly once for every request, whatever became of it.
 *
 * A request may end inside any call below; callers look at r->finished, and its memory stays until the
 * turn of the loop is over.
 */
#include "worker/pipeline.h"

#include "worker/answer.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/count.h"
#include "worker/fetch.h"
#include "worker/filter.h"
#include "worker/front.h"
#include "worker/read.h"
#include "worker/route.h"
#include "worker/source.h"
#include "worker/state.h"
#include "worker/trace.h"

#define RESTARTS_MOST 10

enum step { READ, ROUTE, REWRITE, GUARD, LOOKUP, FETCH, EDIT, BODY, SEND, LOG };

static const char *const words[] = {"READ", "ROUTE", "REWRITE", "GUARD", "LOOKUP", "FETCH", "EDIT", "BODY", "SEND",
                                    "LOG"};

/* What answers or refuses in a phase of the engine is known by its word. */
static int
told(struct request *r, int result)
{
    if (result != HOOK_NEXT)
        trace_by(r, words[r->step]);
    return result;
}

static int
walk(struct request *r, enum phase phase)
{
    const struct hooks *hooks = &r->scope->hooks[phase];

    if (r->own)
        return HOOK_NEXT;
    while (r->hook < hooks->n) {
        const struct hook *h = &hooks->v[r->hook];
        int result = h->run(r, h->conf);

        if (result != HOOK_NEXT) {
            trace_by(r, h->module->key.name);
            return result;
        }
        r->hook++;
    }
    r->hook = 0;
    return HOOK_NEXT;
}

/* What may go on for as long as both ends like. */
static bool
is_open_ended(const struct request *r)
{
    struct str type = r->response.block.n > 0 ? STR_NONE : fields_value(&r->response.fields, FIELD_CONTENT_TYPE);

    return r->tunnel || (type.n >= 17 && strncasecmp(type.p, "text/event-stream", 17) == 0) ||
           (type.n >= 16 && strncasecmp(type.p, "application/grpc", 16) == 0);
}

/* How the body will travel: it may be spliced where nobody looks at it on the way. A filter holds little behind it. */
static int
choose_body(struct request *r)
{
    r->open_ended = is_open_ended(r);
    r->inflow->high = r->scope->policy.buffer;
    r->spliced = r->source->splices && r->front->splices && r->filter == NULL && !r->tunnel && !r->no_content;
    return HOOK_NEXT;
}

/* Whoever meets no route is denied and limited all the same, by what holds for the site or for all. */
static int
route(struct request *r)
{
    int status = route_request(r), guarded;

    if (status == 0)
        return told(r, read_content_limit(r));
    trace_phase(r, words[GUARD]);
    guarded = walk(r, PHASE_GUARD);
    return guarded != HOOK_NEXT ? guarded : told(r, status);
}

/* Once for a request, though it may wait for its content before, and for a server after. */
static int
fetch(struct request *r)
{
    int result;

    if (r->upstream == NULL) {
        if ((result = told(r, fetch_prepare(r))) != HOOK_NEXT)
            return result;
        result = walk(r, PHASE_FORWARD);
        r->hook = 0;            /* whoever waits there has the request: it is not walked again */
        if (result != HOOK_NEXT)
            return result;
    }
    return r->trace != NULL ? r->trace->fetch(r->trace, r) : fetch_start(r);
}

static int
step(struct request *r)
{
    trace_phase(r, words[r->step]);
    switch (r->step) {
    case READ:
        return told(r, read_request(r));
    case ROUTE:
        return route(r);
    case REWRITE:
        return walk(r, PHASE_REWRITE);
    case GUARD:
        return walk(r, PHASE_GUARD);
    case LOOKUP:
        return walk(r, PHASE_LOOKUP);
    case FETCH:
        return fetch(r);
    case EDIT:
        return walk(r, PHASE_EDIT);
    case BODY:
        return choose_body(r);
    }
    log_bug(__FILE__, __LINE__, "a step that is none");
}

/* Goes on from r->step until somebody has to be waited for, or the response can be sent. */
static void
advance(struct request *r)
{
    while (r->step < SEND) {
        int result = step(r);

        if (r->finished)
            return;
        switch (result) {
        case HOOK_NEXT:
            r->step++;
            break;
        case HOOK_WAIT:
            r->waiting = true;
            return;
        case HOOK_ANSWER:
            r->step = EDIT;
            r->hook = 0;
            break;
        case HOOK_RESTART:
            check(r->step < LOOKUP);
            trace(r, 0, "the path begins anew at ROUTE");
            if (++r->restarts > RESTARTS_MOST) {
                pipeline_fail(r, 500);
                return;
            }
            r->step = ROUTE;
            r->hook = 0;
            r->upstream = NULL;
            break;
        default:
            if (r->step == READ || result == 413)
                count_client_error(r->listener, result == 413 ? SLOTS_ERROR_LIMIT : SLOTS_ERROR_MALFORMED);
            pipeline_fail(r, result);
            return;
        }
    }
    r->started = true;
}

void
pipeline_start(struct request *r)
{
    r->step = READ;
    advance(r);
    if (r->started && !r->finished)
        pipeline_body(r);
}

void
pipeline_fetch(struct request *r)
{
    check(r->own && r->upstream != NULL);
    r->step = FETCH;
    advance(r);
    if (r->started && !r->finished)
        pipeline_body(r);
}

void
pipeline_resume(struct request *r)
{
    if (!r->waiting || r->finished)
        return;
    r->waiting = false;
    advance(r);
    if (r->started && !r->finished)
        pipeline_body(r);
}

void
pipeline_response(struct request *r)
{
    check(!r->started && !r->finished);
    if (r->times.header == 0)
        r->times.header = clock_us();
    r->waiting = false;
    r->step = EDIT;
    r->hook = 0;
    advance(r);
}

void
pipeline_interim(struct request *r, int status)
{
    if (r->started || r->minor == 0)
        return;
    check(r->hook == 0);
    walk(r, PHASE_INTERIM);
    r->front->interim(r, status);
}

void
pipeline_body(struct request *r)
{
    r->moved_ms = clock_ms();
    if (r->inflow->ended && r->times.response == 0)
        r->times.response = clock_us();
    if (r->filter != NULL && r->started)
        filter_go_on(r);
    else
        r->front->send(r);
}

void
pipeline_request_body(struct request *r)
{
    struct flow *body = &r->request.body;
    size_t most = r->scope->policy.limits.request_body;

    r->moved_ms = clock_ms();
    if (body->broken && !r->started) {
        pipeline_client_lost(r);
        return;
    }
    if (most != 0 && body->passed > most && !r->tunnel) {
        count_client_error(r->listener, SLOTS_ERROR_LIMIT);
        pipeline_fail(r, 413);
        return;
    }
    if (r->waiting && r->step == FETCH && r->source == NULL)
        pipeline_resume(r);
    else if (r->source != NULL && r->source->write != NULL)
        r->source->write(r);
}

static void
leave_source(struct request *r)
{
    const struct source *s = r->source;

    r->source = NULL;
    if (s != NULL)
        s->stop(r);
}

void
pipeline_fail(struct request *r, int status)
{
    const char *by = r->trace != NULL ? r->trace->by : NULL;

    if (r->finished)
        return;
    if (r->started) {
        pipeline_break(r);
        return;
    }
    if (r->own) {
        r->status = status;
        pipeline_client_lost(r);
        return;
    }
    leave_source(r);
    filter_end(r);
    r->waiting = false;
    /* what can't be read without doubt ends the connection, and so does content nobody wants */
    if (r->step == READ || status == 413 || !r->request.body.ended)
        r->close = true;
    answer_error(r, status);
    /* EDIT's hooks run for our own pages too, but can't make them fail in turn */
    r->step = EDIT;
    r->hook = 0;
    trace_phase(r, words[EDIT]);
    while (walk(r, PHASE_EDIT) != HOOK_NEXT)
        r->hook++;
    trace_by(r, by);
    r->hook = 0;
    choose_body(r);
    r->step = SEND;
    r->started = true;
    pipeline_body(r);
}

void
pipeline_refuse(struct request *r, int status)
{
    r->close = true;
    pipeline_fail(r, status);
}

void
pipeline_break(struct request *r)
{
    if (r->finished)
        return;
    r->response.body.broken = true;
    if (r->started)
        pipeline_body(r);
    else
        pipeline_client_lost(r);
}

/* LOG, and the end of the request. */
static void
finish(struct request *r)
{
    check(!r->finished);
    leave_source(r);
    filter_end(r);
    r->times.end = clock_us();
    r->step = LOG;
    r->hook = 0;
    r->finished = true;
    if (!r->own)
        count_request(r);
    walk(r, PHASE_LOG);
    request_unlist(r);
    loop_defer(&r->deferred);
}

void
pipeline_sent(struct request *r)
{
    finish(r);
}

void
pipeline_client_lost(struct request *r)
{
    if (r->finished)
        return;
    if (!r->started && !r->own)
        r->status = 499;        /* as nginx logs it: nobody was there to answer */
    finish(r);
    r->front->cut(r);
}

void
pipeline_room(struct request *r)
{
    if (r->source != NULL && !r->finished)
        r->source->read(r);
}

void
pipeline_drained(struct request *r)
{
    r->moved_ms = clock_ms();
    if (!flow_resumes(&r->response.body))
        return;
    if (r->filter != NULL)
        filter_go_on(r);
    else
        pipeline_room(r);
}

void
pipeline_consumed(struct request *r)
{
    r->moved_ms = clock_ms();
    if (flow_resumes(&r->request.body) && !r->finished)
        r->front->receive(r);
}

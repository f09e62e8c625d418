/*
 * The FETCH phase. It alone decides when a server is taken: a body of known length up to 64 KiB is
 * read first, so that a slow client doesn't occupy one; where all are full the request stands in line.
 */
#include "worker/fetch.h"

#include "worker/answer.h"
#include "worker/base/clock.h"
#include "worker/forwarded.h"
#include "worker/hop.h"
#include "worker/state.h"
#include "worker/trace.h"
#include "worker/upstream/balance.h"
#include "worker/upstream/exchange.h"
#include "worker/upstream/queue.h"

#define READ_FIRST (64 * 1024)

/* RFC 9110 9.3.8: what came, as a message/http, but for what may be secret. */
static int
answer_trace(struct request *r)
{
    const struct fields *f = &r->request.fields;
    struct str text = arena_printf(r->arena, "TRACE %.*s HTTP/1.%d\r\n", STR_ARG(r->target), r->minor);
    size_t n = text.n + 2;
    char *all, *at;

    for (size_t i = 0; i < f->n; i++)
        n += f->v[i].name.n + f->v[i].value.n + 4;
    at = all = arena_alloc(r->arena, n);
    at = mempcpy(at, text.p, text.n);
    for (size_t i = 0; i < f->n; i++) {
        const struct field *field = &f->v[i];

        if (field->id == FIELD_COOKIE || field->id == FIELD_PROXY_AUTHORIZATION ||
            field->id == FIELD_AUTHORIZATION)
            continue;
        at = mempcpy(at, field->name.p, field->name.n);
        at = mempcpy(at, ": ", 2);
        at = mempcpy(at, field->value.p, field->value.n);
        at = mempcpy(at, "\r\n", 2);
    }
    at = mempcpy(at, "\r\n", 2);
    answer(r, 200, STR("message/http"), (struct str){all, (size_t)(at - all)});
    return HOOK_ANSWER;
}

static int
answer_options(struct request *r)
{
    answer(r, 200, STR_NONE, STR_NONE);
    answer_allow(r);
    return HOOK_ANSWER;
}

/* RFC 9110 7.6.2: counts for TRACE and OPTIONS only. */
static int
count_forwards(struct request *r)
{
    struct fields *all = &r->request.fields;
    struct field *f;
    long long left;

    if (r->method != METHOD_TRACE && r->method != METHOD_OPTIONS)
        return HOOK_NEXT;
    if ((f = fields_find_id(all, FIELD_MAX_FORWARDS)) == NULL)
        return HOOK_NEXT;
    for (const struct field *other = f + 1; other < all->v + all->n; other++)
        if (other->id == FIELD_MAX_FORWARDS)
            return 400;
    if ((left = str_decimal(f->value)) < 0)
        return 400;
    if (left == 0)
        trace(r, r->route->line, "Max-Forwards is 0: weir is the one that is asked");
    if (left == 0)
        return r->method == METHOD_TRACE ? answer_trace(r) : answer_options(r);
    f->value = arena_printf(r->arena, "%lld", left - 1);
    return HOOK_NEXT;
}

static bool
waits_for_content(const struct request *r)
{
    const struct message *m = &r->request;

    return m->length > 0 && m->length <= READ_FIRST && !m->body.ended && !r->expects_continue;
}

int
fetch_prepare(struct request *r)
{
    int result;

    if (r->route->proxy == NULL)
        return 500;
    if (waits_for_content(r))
        return HOOK_WAIT;
    if (forwarded_loops(r)) {
        trace(r, r->route->line, "508: Via says that it came through weir more than eight times: it goes in circles");
        return 508;
    }
    if ((result = count_forwards(r)) != HOOK_NEXT)
        return result;
    r->upstream = r->route->proxy;
    hop_upgrade(r);
    hop_forward(r);
    return HOOK_NEXT;
}

/* A server's place was waited for, or is to be had, or has to be waited for. */
int
fetch_start(struct request *r)
{
    struct group *g = upstream_group(r->upstream);
    struct endpoint *e = r->endpoint;
    bool stands_behind = e == NULL && queue_waits(g);
    enum balance_result result = BALANCE_CHOSEN;

    if (stands_behind && queue_put(g, r))
        return HOOK_WAIT;
    if (e == NULL)
        result = balance_choose(g, r, &e);
    if (result == BALANCE_FULL)
        return !stands_behind && queue_put(g, r) ? HOOK_WAIT : queue_refuse(g);
    if (result == BALANCE_NONE)
        return queue_none_up(g);
    if (g->health != 0)
        health_count_request(worker.health, g->health, worker.row_number, (uint64_t)clock_ms());
    return exchange_start(r, e) ? HOOK_WAIT : 502;
}

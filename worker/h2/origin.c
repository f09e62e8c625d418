/*
 * The exchange with an origin over HTTP/2, as far as requests come to it: which connection it is on, and what the
 * pipeline asks of it. The table is at the end.
 *
 * Invariant: s->c is set while the exchange stands in its connection's list, and libnghttp2's stream points to s only
 * as long.
 */
#include "worker/h2/origin.h"

#include "worker/base/clock.h"
#include "worker/count.h"
#include "worker/pipeline.h"
#include "worker/upstream/dial.h"

void
h2_origin_news(struct h2_exchange *s)
{
    struct h2_origin *c = s->c;

    if (s->in_news)
        return;
    s->in_news = true;
    s->next_news = NULL;
    *c->news_end = s;
    c->news_end = &s->next_news;
}

void
h2_origin_set_timer(struct h2_exchange *s)
{
    exchange_set_timer(&s->x, s->x.sent == 0 || s->out_done || s->x.r->request.body.bytes > 0);
}

/* A WebSocket waits until it is known whether the server speaks it over HTTP/2 (RFC 8441 3). */
static bool
can_begin(const struct h2_origin *c, const struct request *r)
{
    return c->state == H2_ORIGIN_OPEN && (c->settled || !r->wants_upgrade);
}

/* Whoever called may be in the middle of the pipeline: what goes wrong is told when the task runs. */
static void
begin(struct exchange *x)
{
    struct h2_exchange *s = (struct h2_exchange *)x;
    struct h2_origin *c = s->c;

    exchange_begun(x);
    if (x->r->wants_upgrade &&
        nghttp2_session_get_remote_settings(c->session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) != 1) {
        s->declined = true;
    } else if (!h2_request_submit(s)) {
        h2_origin_leave(c);
        s->refused = true;
    }
    if (s->id == 0)
        h2_origin_news(s);
    h2_origin_post(c);
    h2_origin_set_timer(s);
}

void
h2_origin_begin_all(struct h2_origin *c)
{
    for (struct h2_exchange *s = c->first; s != NULL; s = s->next)
        if (s->x.connecting && can_begin(c, s->x.r))
            begin(&s->x);
}

/* --- the source --- */

static void
source_read(struct request *r)
{
    struct h2_exchange *s = r->source_state;

    if (s != NULL && s->x.in_body) {
        h2_response_eaten(s);
        h2_origin_set_timer(s);
    }
}

static void
source_write(struct request *r)
{
    struct h2_exchange *s = r->source_state;

    if (s == NULL)
        return;
    if (r->request.body.broken) {
        exchange_cut(&s->x);
        return;
    }
    if (s->id != 0) {
        s->tunnel = r->tunnel;
        h2_request_resume(s);
        h2_origin_set_timer(s);
    }
}

static void
source_stop(struct request *r)
{
    struct h2_exchange *s = r->source_state;

    if (s != NULL)
        exchange_abandon(&s->x);
}

/* --- the table --- */

static struct exchange *
take(struct endpoint *e, struct request *r, const struct exchange *failed)
{
    struct h2_origin *c = h2_origin_take(e, failed != NULL ? ((const struct h2_exchange *)failed)->c : NULL);
    struct h2_exchange *s;

    if (c == NULL)
        return NULL;
    s = arena_zalloc(r->arena, sizeof(*s));
    exchange_init(&s->x, &h2_origin, e, &s->received);
    s->x.connecting = !can_begin(c, r);
    s->x.reused = c->served > 0 && c->state == H2_ORIGIN_OPEN;
    s->heads_end = &s->heads;
    s->trouble = SLOTS_ERRORS;
    h2_window_init(&s->window);
    if (s->x.reused)
        count_server_reused(e->server);
    h2_origin_enter(c, s);
    return &s->x;
}

/* What is left of the stream is not wanted any more; nothing that comes of it is told. */
static void
abandon(struct exchange *x)
{
    struct h2_exchange *s = (struct h2_exchange *)x;
    struct h2_origin *c = s->c;

    if (s->id != 0 && !s->closed && c->state == H2_ORIGIN_OPEN) {
        nghttp2_session_set_stream_user_data(c->session, s->id, NULL);
        nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
        c->late += 2 * s->window.size;
        h2_origin_post(c);
    }
    h2_window_return(&s->window, &c->spare);
    h2_origin_part(c, s);
}

/* Whoever else waits for it still may; nobody joins them. */
static const char *
expire(struct exchange *x)
{
    struct h2_origin *c = ((struct h2_exchange *)x)->c;
    bool first = c->link != NULL;

    h2_origin_leave(c);
    if (c->state != H2_ORIGIN_DIALLING)
        return "timed out before its first SETTINGS";
    return first ? dial_expire(&c->ch, c->endpoint) : "timed out while it was connected to";
}

/* A connection on which nothing came for most of that time may be one that leads nowhere: it takes no more requests. */
static void
timed_out(struct exchange *x)
{
    struct h2_origin *c = ((struct h2_exchange *)x)->c;

    if (clock_ms() - c->heard_ms >= x->r->scope->policy.timeouts.upstream / 2)
        h2_origin_leave(c);
}

const struct exchange_protocol h2_origin = {
    .source = {
        .name = "HTTP/2",
        .read = source_read,
        .write = source_write,
        .stop = source_stop,
    },
    .take = take,
    .begin = begin,
    .abandon = abandon,
    .expire = expire,
    .timed_out = timed_out,
    .close_idle = h2_origin_close_idle,
    .evict = h2_origin_evict,
};

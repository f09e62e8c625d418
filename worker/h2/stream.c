/*
 * The life of a stream: from HEADERS until its request is over, whatever libnghttp2 still knows of it then. It alone
 * frees what points to a stream, and sets its timer.
 *
 * Invariants: a stream in any list of its connection has a request that is not finished; libnghttp2's user data of a
 * stream is either that, or NULL.
 */
#include <stddef.h>

#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/count.h"
#include "worker/h2/client.h"
#include "worker/pipeline.h"
#include "worker/state.h"

#define GRPC "application/grpc"
#define READ_FIRST (64 * 1024)  /* content up to this is waited for before a server is taken (fetch.c) */

static void fire(struct timer *t);

struct h2_stream *
h2_stream_new(struct h2_client *c, int32_t id)
{
    struct request *r = request_new(&worker, c->conn.listener);
    struct h2_stream *s = arena_zalloc(r->arena, sizeof *s);

    r->times.start = clock_us();
    r->moved_ms = clock_ms();
    r->front = &h2_front;
    r->front_state = s;
    r->peer = r->client = c->conn.peer;
    r->peer_port = c->conn.peer_port;
    r->local.port = c->conn.local_port;
    r->tls = conn_facts(&c->conn);
    r->https = r->tls != NULL;
    r->protocol = STR("HTTP/2.0");
    r->request.body.high = H2_WINDOW_FIRST;
    s->c = c;
    s->r = r;
    s->id = id;
    s->timer.fire = fire;
    s->priority = (nghttp2_extpri){.urgency = NGHTTP2_EXTPRI_DEFAULT_URGENCY};
    h2_window_init(&s->window);
    flow_init(&s->early, H2_WINDOW_FIRST);
    s->next = c->streams;
    s->link = &c->streams;
    if (s->next != NULL)
        s->next->link = &s->next;
    c->streams = s;
    c->open++;
    if (c->requests++ > 0)
        count_reused(c->conn.listener);
    return s;
}

/* --- news --- */

void
h2_stream_news(struct h2_stream *s)
{
    struct h2_client *c = s->c;

    if (!s->in_news) {
        s->in_news = true;
        s->next_news = NULL;
        *c->news_end = s;
        c->news_end = &s->next_news;
    }
    h2_client_post(c);
}

static void
unlink_news(struct h2_stream *s)
{
    struct h2_client *c = s->c;
    struct h2_stream **at = &c->news;

    if (!s->in_news)
        return;
    while (*at != s)
        at = &(*at)->next_news;
    *at = s->next_news;
    if (c->news_end == &s->next_news)
        c->news_end = at;
    s->in_news = false;
}

static void
unlink_ending(struct h2_stream *s)
{
    struct h2_client *c = s->c;
    struct h2_stream **at = &c->ending;

    if (!s->is_ending)
        return;
    while (*at != s)
        at = &(*at)->next_ending;
    *at = s->next_ending;
    if (c->ending_end == &s->next_ending)
        c->ending_end = at;
    s->is_ending = false;
}

/* Before its request began: what is known of it goes to the log. */
static void
refuse(struct h2_stream *s)
{
    bool limit = s->status == 414 || s->status == 431;

    count_client_error(s->c->conn.listener, limit ? SLOTS_ERROR_LIMIT : SLOTS_ERROR_MALFORMED);
    pipeline_refuse(s->r, s->status);
}

/* What came before may be with a server already: it must not take the request for a whole one. */
static void
refuse_trailers(struct h2_stream *s)
{
    struct request *r = s->r;

    count_client_error(r->listener, SLOTS_ERROR_LIMIT);
    r->request.body.broken = true;
    if (r->started)
        pipeline_client_lost(r);
    else
        pipeline_fail(r, s->status);
}

static void
start(struct h2_stream *s)
{
    s->started = true;
    s->fresh = false;
    if (s->status != 0)
        refuse(s);
    else
        pipeline_start(s->r);
}

static bool
keep_pace(struct h2_stream *s)
{
    struct request *r = s->r;
    uint64_t bytes = s->received - s->paced;

    s->paced = s->received;
    if (pace_moved(&s->up, clock_ms(), bytes, r->scope->policy.min_rate) || r->started)
        return true;
    count_client_error(r->listener, SLOTS_ERROR_LIMIT);
    pipeline_fail(r, 408);
    return false;
}

static void
tell_content(struct h2_stream *s)
{
    struct request *r = s->r;

    s->fresh = false;
    if (r->source != NULL)
        r->expects_continue = false;    /* it did not wait */
    if (keep_pace(s))
        pipeline_request_body(r);
}

/* The content is waited for as a whole, and padding has used up its window. */
static void
make_room(struct h2_stream *s)
{
    const struct message *m = &s->r->request;

    if (s->complete || s->r->source != NULL || m->length <= 0 || m->length > READ_FIRST ||
        nghttp2_session_get_stream_local_window_size(s->c->session, s->id) > 0)
        return;
    if (h2_window_extend(&s->window, &s->c->spare))
        nghttp2_session_set_local_window_size(s->c->session, NGHTTP2_FLAG_NONE, s->id, (int32_t)s->window.size);
}

/* The stream is no more: the client reset it, or broke its rules. */
static void
gone(struct h2_stream *s)
{
    struct request *r = s->r;

    if (s->malformed) {
        count_client_error(r->listener, SLOTS_ERROR_MALFORMED);
        if (!r->started) {      /* there is no answer but the reset; the log says what it is for */
            r->status = 400;
            r->started = true;
        }
    }
    pipeline_client_lost(r);
}

static void
settle(struct h2_stream *s)
{
    struct request *r = s->r;

    if ((s->closed && !s->is_ending) || s->broken) {
        gone(s);
        return;
    }
    if (s->is_ending)
        return;
    if (s->overlong && s->complete && !r->request.body.ended) {
        refuse_trailers(s);
        return;
    }
    /* announced as empty: whether it is has to be seen first */
    if (!s->started && s->headed && (r->request.length != 0 || s->complete || s->connect.n > 0 || s->status != 0))
        start(s);
    if (s->r == r && r->tunnel && !s->tunnel && !s->refused)
        h2_connect_enter(s);
    if (s->r == r && s->started && s->fresh)
        tell_content(s);
    if (s->r == r)
        make_room(s);
}

void
h2_stream_settle(struct h2_client *c)
{
    while (c->news != NULL) {
        struct h2_stream *s = c->news;

        unlink_news(s);
        settle(s);
    }
}

/* --- the end --- */

void
h2_stream_forget(struct h2_stream *s)
{
    struct h2_client *c = s->c;

    if (s->r == NULL)
        return;
    timer_stop(&s->timer);
    unlink_news(s);
    unlink_ending(s);
    *s->link = s->next;
    if (s->next != NULL)
        s->next->link = s->link;
    flow_clear(&s->early);
    h2_window_return(&s->window, &c->spare);
    c->open--;
    c->heads -= s->held;
    c->tunnels -= s->tunnel;
    if (!s->closed && c->session != NULL)
        nghttp2_session_set_stream_user_data(c->session, s->id, NULL);
    s->r = NULL;
    h2_client_post(c);
}

void
h2_stream_lose_all(struct h2_client *c)
{
    while (c->streams != NULL)
        pipeline_client_lost(c->streams->r);
}

/* --- time --- */

/* Something of it could be sent, were there room for it. */
static bool
has_ready(const struct h2_stream *s)
{
    return s->head && !s->is_ending && s->r->response.body.bytes > 0;
}

static bool
has_window(struct h2_stream *s)
{
    return nghttp2_session_get_stream_remote_window_size(s->c->session, s->id) > 0;
}

static bool
content_is_due(const struct h2_stream *s)
{
    const struct request *r = s->r;

    return s->headed && !s->complete && !r->started && !r->request.body.broken && !r->expects_continue &&
           s->connect.n == 0 && nghttp2_session_get_stream_local_window_size(s->c->session, s->id) > 0;
}

/*
 * A call of gRPC, to a server that speaks it: messages come when the client has any, and the server may have nothing to
 * say before they have.
 */
static bool
is_call(const struct request *r)
{
    struct str type = fields_value(&r->request.fields, FIELD_CONTENT_TYPE);

    return r->upstream != NULL && r->upstream->protocol != UPSTREAM_HTTP1 && r->request.length == LENGTH_UNKNOWN &&
           type.n >= sizeof(GRPC) - 1 && strncasecmp(type.p, GRPC, sizeof(GRPC) - 1) == 0;
}

static enum h2_wait
waits_for(struct h2_stream *s)
{
    const struct h2_client *c = s->c;

    if (s->r->open_ended && s->r->started)
        return H2_WAIT_TRAFFIC;
    if (has_ready(s) && !has_window(s)) {
        pace_wait(&s->down, clock_ms());
        return H2_WAIT_WINDOW;
    }
    if ((s->head && c->blocked) || (has_ready(s) && nghttp2_session_get_remote_window_size(c->session) <= 0))
        return H2_WAIT_ROOM;
    if (content_is_due(s) && is_call(s->r))
        return H2_WAIT_TRAFFIC;
    if (content_is_due(s)) {
        pace_wait(&s->up, clock_ms());
        return H2_WAIT_CONTENT;
    }
    return H2_WAIT_NOTHING;
}

static uint64_t
progress(const struct h2_stream *s, enum h2_wait wait)
{
    switch (wait) {
    case H2_WAIT_CONTENT:
        return s->received;
    case H2_WAIT_WINDOW:
        return s->r->bytes_sent;
    case H2_WAIT_ROOM:
        return s->c->conn.ch.sent;
    case H2_WAIT_TRAFFIC:
        return (uint64_t)s->r->moved_ms;
    default:
        return 0;
    }
}

static int64_t
timeout(const struct h2_stream *s, enum h2_wait wait)
{
    const struct timeouts *t = &s->r->scope->policy.timeouts;

    switch (wait) {
    case H2_WAIT_CONTENT:
        return t->client_body;
    case H2_WAIT_WINDOW:
    case H2_WAIT_ROOM:
        return t->client_write;
    case H2_WAIT_TRAFFIC:
        return t->tunnel;
    default:
        return 0;
    }
}

void
h2_stream_timer(struct h2_stream *s)
{
    enum h2_wait wait = waits_for(s);
    uint64_t mark = progress(s, wait);
    int64_t ms;

    if (wait == s->waits && mark == s->mark)
        return;
    s->waits = (uint8_t)wait;
    s->mark = mark;
    ms = timeout(s, wait);
    if (ms > 0)
        timer_set(&s->timer, ms);
    else
        timer_stop(&s->timer);
}

static void
fire(struct timer *t)
{
    struct h2_stream *s = (struct h2_stream *)((char *)t - offsetof(struct h2_stream, timer));
    struct request *r = s->r;
    int64_t left = r->moved_ms + r->scope->policy.timeouts.tunnel - clock_ms();

    /* traffic the other way sets no timer here */
    if (s->waits == H2_WAIT_TRAFFIC && left > 0) {
        timer_set(t, left);
        return;
    }
    s->waits = H2_WAIT_NOTHING; /* it runs no more */
    s->started = true;
    count_client_error(r->listener, SLOTS_ERROR_TIMEOUT);
    h2_client_post(s->c);
    if (r->started)
        pipeline_client_lost(r);
    else
        pipeline_fail(r, 408);
}

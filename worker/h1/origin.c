/*
 * The exchange with an origin: a request goes out, a response comes in, both may stream at once. The
 * source table is at the end; what the loop brings comes in through origin_ready.
 *
 * Invariants: o->r is the request this connection works for, and r->source_state points back; either
 * both hold or neither. Any call into the pipeline may end the request, and with it the exchange:
 * afterwards o->r is looked at again (the memory of o stays until the turn is over).
 *
 * The `upstream` timer runs only while the origin is waited for: for it to take bytes, for its head
 * once the request is out, for content there is room for.
 */
#include "worker/h1/origin.h"

#include <errno.h>

#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/count.h"
#include "worker/pipeline.h"
#include "worker/source.h"
#include "worker/upstream/balance.h"
#include "worker/upstream/eject.h"
#include "worker/upstream/retry.h"

#define HELD_MOST (64 * 1024)

static const struct source h1_origin;

/* --- ends --- */

static int64_t
exchange_us(const struct request *r)
{
    return clock_us() - r->times.connect_start;
}

/* The request is no longer in flight at the endpoint. */
static void
leave(struct request *r, struct endpoint *e)
{
    r->endpoint = NULL;
    balance_leave(e);
}

/* The exchange is over, as far as the request goes; the connection's fate is the caller's. */
static void
part(struct origin *o)
{
    struct request *r = o->r;

    count_server_request(origin_server(o), o->status, exchange_us(r));
    count_server_bytes(origin_server(o), o->in.received, o->sent);
    r->source_state = NULL;
    o->r = NULL;
}

/* Closed first: whoever gets the place next must not be one more than the server has room for. */
void
origin_abandon(struct origin *o)
{
    struct request *r = o->r;

    part(o);
    origin_close(o);
    leave(r, o->endpoint);
}

/* Nothing of it has gone out. */
static bool
is_untouched(const struct flow *body)
{
    return body->bytes == body->passed;
}

/* Whether the request's content can be sent again from its beginning. */
static bool
has_content(const struct origin *o)
{
    const struct flow *body = &o->r->request.body;

    return is_untouched(body) || o->held.bytes == body->passed;
}

static void
restore_content(const struct origin *o)
{
    struct flow *body = &o->r->request.body;

    if (!is_untouched(body)) {
        flow_clear(body);
        flow_share(body, &o->held);
    }
}

/*
 * Whether the request may go to the same server once more: the connection had been idle and died before
 * a byte of the answer, the method is safe to repeat, and the content is still whole.
 */
static bool
is_repeatable(const struct origin *o)
{
    const struct request *r = o->r;

    return o->reused && !o->answered && method_idempotent(r->method) && !r->tunnel && has_content(o);
}

/* The request waits for the connection. */
static void
await_connection(struct origin *o)
{
    int64_t ms = o->r->scope->policy.timeouts.connect;

    if (ms > 0)
        timer_set(&o->timer, ms);
}

static bool
repeat(struct origin *o)
{
    struct request *r = o->r;
    struct origin *fresh = origin_take(o->endpoint, true);

    if (fresh == NULL)
        return false;
    count_server_retry(origin_server(o));
    count_server_bytes(origin_server(o), o->in.received, o->sent);
    r->tries++;
    r->times.connect_start = clock_us();
    restore_content(o);
    o->r = NULL;
    origin_close(o);
    fresh->r = r;
    r->source_state = fresh;
    await_connection(fresh);
    return true;
}

/* What the server did, in the words of `retry`. Until there is a connection nothing was sent. */
static enum retry_on
retry_word(const struct origin *o, enum slots_error kind)
{
    if (o->state == ORIGIN_CONNECTING || kind == SLOTS_ERROR_CONNECT)
        return RETRY_CONNECT;
    return kind == SLOTS_ERROR_TIMEOUT ? RETRY_TIMEOUT : kind == SLOTS_ERROR_RESET ? RETRY_RESET : 0;
}

/* True: the exchange is over, and the request has gone to another server, or was failed for want of one. */
static bool
try_elsewhere(struct origin *o, enum retry_on on)
{
    struct request *r = o->r;
    struct endpoint *e = on != 0 ? retry_elsewhere(r, o->endpoint, on, has_content(o)) : NULL;

    if (e == NULL)
        return false;
    restore_content(o);
    origin_abandon(o);
    if (!origin_start(r, e))
        pipeline_fail(r, 502);
    return true;
}

/* An idle connection that was closed under us says nothing against the server. */
static void
blame(const struct origin *o, enum slots_error kind)
{
    if (kind != SLOTS_ERROR_RESET || !o->reused || o->answered)
        eject_failure(o->endpoint, slots_error_name[kind]);
}

void
origin_fail(struct origin *o, enum slots_error kind, int status)
{
    struct request *r = o->r;

    if (kind == SLOTS_ERROR_RESET && is_repeatable(o) && repeat(o))
        return;
    count_server_error(origin_server(o), kind);
    origin_complain(o, kind);
    blame(o, kind);
    if (!o->in_body && try_elsewhere(o, retry_word(o, kind)))
        return;
    origin_abandon(o);
    if (r->started)
        pipeline_break(r);
    else
        pipeline_fail(r, status);
}

bool
origin_retries_status(struct origin *o)
{
    struct endpoint *e = o->endpoint;
    enum retry_on on = o->status == 502 ? RETRY_502 : o->status == 503 ? RETRY_503 : o->status == 504 ? RETRY_504 : 0;

    if (on == 0)
        return false;
    eject_success(e);           /* it has answered: a status is never a failure */
    return try_elsewhere(o, on);
}

/* The connection is kept if the request went out whole, too. */
void
origin_complete(struct origin *o)
{
    struct request *r = o->r;

    r->response.body.ended = true;
    eject_success(o->endpoint);
    if (!o->keep || h1_reader_has(&o->in) || !o->out.done || o->out.wire.bytes > 0 || o->write_dead || r->tunnel) {
        origin_abandon(o);
        return;
    }
    part(o);
    leave(r, o->endpoint);
    h1_write_clear(&o->out);
    flow_clear(&o->held);
    h1_reader_drop(&o->in);
    origin_keep(o);
}

/* --- the beginning --- */

/* Small whole bodies are kept until the answer begins, in case they have to be sent again. */
static void
hold_content(struct origin *o)
{
    const struct flow *body = &o->r->request.body;

    if (!o->reused && o->endpoint->group->conf->retry.attempts == 0)
        return;
    if (body->ended && is_untouched(body) && body->bytes <= HELD_MOST)
        flow_share(&o->held, body);
}

static void
begin(struct origin *o)
{
    struct request *r = o->r;

    o->state = ORIGIN_BUSY;
    o->head = arena_alloc(r->arena, sizeof *o->head);
    o->in.framing = H1_NO_BODY;
    o->in.received = o->sent = 0;
    o->idle_ms = 0;
    o->interims = 0;
    o->status = 0;
    o->waiting = false;
    o->answered = o->in_body = o->keep = o->write_dead = false;
    r->times.connected = clock_us();
    h1_write_init(&o->out);
    hold_content(o);
    h1_write_request(&o->out, r, origin_server(o)->upstream->keepalive > 0);
}

static bool
is_waited_for(const struct origin *o)
{
    const struct request *r = o->r;

    if (r->open_ended)
        return false;
    if (o->in_body)
        return !r->response.body.stopped;
    return o->out.wire.bytes > 0 || o->write_dead || o->out.done || r->expects_continue || r->wants_upgrade;
}

/* The timer starts anew only where the origin has taken or given something. */
static void
set_timer(struct origin *o)
{
    int64_t ms = o->r->scope->policy.timeouts.upstream;
    uint64_t mark = o->sent + o->in.received;
    bool was_waiting = o->waiting;

    o->waiting = ms > 0 && is_waited_for(o);
    if (!o->waiting)
        timer_stop(&o->timer);
    else if (!was_waiting || mark != o->mark)
        timer_set(&o->timer, ms);
    o->mark = mark;
}

/* The client's request will not be whole: neither must it look so to the origin. */
static void
cut_request(struct origin *o)
{
    struct request *r = o->r;

    origin_abandon(o);
    if (r->started)
        pipeline_break(r);
    else
        pipeline_client_lost(r);
}

/* --- what the loop brings --- */

void
origin_ready(struct origin *o)
{
    struct request *r = o->r;

    if (o->ch.io.writable && (o->out.wire.bytes > 0 || r->request.body.bytes > 0))
        origin_write(o);
    /* the last turn may have ended with content read but not decoded */
    if (o->r == r && (o->ch.io.readable || h1_reader_has(&o->in)))
        origin_read(o);
    if (o->r == r)
        set_timer(o);
}

void
origin_connected(struct origin *o, int error)
{
    struct request *r = o->r;

    if (error != 0) {
        origin_cannot_connect(r, o->endpoint, error);
        r->times.connected = clock_us();
        origin_fail(o, SLOTS_ERROR_CONNECT, 502);
        return;
    }
    begin(o);
    origin_expect(o);
    origin_write(o);
    if (o->r == r)
        origin_ready(o);
}

void
origin_timeout(struct origin *o)
{
    origin_fail(o, SLOTS_ERROR_TIMEOUT, 504);
}

/* False with errno: not even a connection can be begun. */
static bool
give(struct request *r, struct endpoint *e)
{
    struct origin *o = origin_take(e, false);
    int error = errno;

    r->server = e->server;
    r->endpoint = e;
    /* a name's endpoint may be gone before the request's line is in the log */
    r->upstream_address = e->server->name.n > 0 ? arena_copy(r->arena, e->text) : e->text;
    r->tries++;
    r->times.connect_start = clock_us();
    r->times.connected = 0;
    if (o == NULL) {
        errno = error;
        return false;
    }
    o->r = r;
    r->source = &h1_origin;
    r->source_state = o;
    if (o->state == ORIGIN_CONNECTING) {
        await_connection(o);
        return true;
    }
    begin(o);
    origin_expect(o);
    origin_write(o);
    if (o->r == r)
        set_timer(o);
    return true;
}

bool
origin_start(struct request *r, struct endpoint *e)
{
    struct endpoint *next;

    while (!give(r, e)) {
        origin_cannot_connect(r, e, errno);
        count_server_error(e->server, SLOTS_ERROR_CONNECT);
        count_server_request(e->server, 0, 0);
        eject_failure(e, slots_error_name[SLOTS_ERROR_CONNECT]);
        endpoint_hold(e);       /* its name may have other addresses by now */
        next = retry_elsewhere(r, e, RETRY_CONNECT, true);
        leave(r, e);
        endpoint_release(e);
        if (next == NULL)
            return false;
        e = next;
    }
    return true;
}

/* --- the source --- */

static void
source_read(struct request *r)
{
    struct origin *o = r->source_state;

    if (o != NULL && o->state == ORIGIN_BUSY && o->in_body) {
        origin_read(o);
        if (o->r == r)
            set_timer(o);
    }
}

static void
source_write(struct request *r)
{
    struct origin *o = r->source_state;

    if (o == NULL)
        return;
    if (r->request.body.broken) {
        cut_request(o);
        return;
    }
    if (o->state == ORIGIN_BUSY) {
        origin_write(o);
        if (o->r == r)
            set_timer(o);
    }
}

static void
source_stop(struct request *r)
{
    struct origin *o = r->source_state;

    if (o != NULL)
        origin_abandon(o);
}

static const struct source h1_origin = {
    .name = "HTTP/1.1",
    .splices = true,
    .read = source_read,
    .write = source_write,
    .stop = source_stop,
};

/*
 * Exchanges with servers. It alone knows when a request that a server has failed is sent again, and what is counted of
 * an exchange; how requests and responses look on the wire is the protocols'.
 *
 * The `upstream` timer runs only while the server is waited for: for it to take bytes, for its head
 * once the request is out, for content there is room for.
 */
#include "worker/upstream/exchange.h"

#include <errno.h>

#include "worker/base/clock.h"
#include "worker/count.h"
#include "worker/h1/origin.h"
#include "worker/h2/origin.h"
#include "worker/pipeline.h"
#include "worker/state.h"
#include "worker/upstream/balance.h"
#include "worker/upstream/dial.h"
#include "worker/upstream/eject.h"
#include "worker/upstream/retry.h"

#define HELD_MOST (64 * 1024)
#define REPEATS_MOST 1          /* at the same server, after its connection was lost, */
#define MOVES_MOST 3            /* or because it has not begun with the request */
#define SURPLUS_MS 1000         /* how long connections over `keepalive` are kept */

static const struct exchange_protocol *
protocol_of(const struct endpoint *e)
{
    const struct upstream *u = e->server->upstream;

    return u->protocol != UPSTREAM_HTTP1 ? &h2_origin : u->tls.on ? &h1_origin_tls : &h1_origin;
}

/* --- ends --- */

static const struct server *
server_of(const struct exchange *x)
{
    return x->endpoint->server;
}

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

/* Request and exchange know each other no more. */
static void
detach(struct exchange *x)
{
    x->r->source_state = NULL;
    x->r = NULL;
    if (x->protocol->lasts)
        timer_rest(&x->timer);
    else
        timer_stop(&x->timer);
    flow_clear(&x->held);
}

/* The exchange is over, as far as the request goes. */
static void
part(struct exchange *x)
{
    count_server_request(server_of(x), x->status, exchange_us(x->r));
    count_server_bytes(server_of(x), *x->received, x->sent);
    detach(x);
}

void
exchange_end(struct exchange *x)
{
    struct request *r = x->r;

    part(x);
    leave(r, x->endpoint);
}

/* Let go first: whoever gets the place next must not be one more than the server has room for. */
void
exchange_abandon(struct exchange *x)
{
    struct request *r = x->r;
    struct endpoint *e = x->endpoint;

    part(x);
    x->protocol->abandon(x);
    leave(r, e);
}

/* --- content that may be sent again --- */

/* Nothing of it has gone out. */
static bool
is_untouched(const struct flow *body)
{
    return body->bytes == body->passed;
}

/* What has gone out was held as it went; the rest, if there is one, is here or still to come. */
static bool
held_so_far(const struct exchange *x)
{
    const struct flow *body = &x->r->request.body;

    return body->pipe == NULL && x->held.bytes + body->bytes == body->passed;
}

/* Whether the request's content can be sent again from its beginning. */
static bool
has_content(const struct exchange *x)
{
    const struct flow *body = &x->r->request.body;

    return is_untouched(body) || x->held.bytes == body->passed || held_so_far(x);
}

static void
restore_content(struct exchange *x)
{
    struct flow *body = &x->r->request.body;

    if (is_untouched(body))
        return;
    if (x->held.bytes < body->passed)
        flow_share(&x->held, body);
    flow_clear(body);
    flow_share(body, &x->held);
}

/* Small whole bodies are kept until the answer begins, in case they have to be sent again. */
static void
hold_content(struct exchange *x)
{
    const struct flow *body = &x->r->request.body;

    if (body->ended && is_untouched(body) && body->bytes <= HELD_MOST)
        flow_share(&x->held, body);
}

void
exchange_sends(struct exchange *x, size_t n)
{
    const struct flow *body = &x->r->request.body;
    uint64_t gone = body->passed - body->bytes;

    if (x->held.bytes != gone || x->answered || x->r->tunnel)
        return;
    if (gone + n <= HELD_MOST)
        flow_share_first(&x->held, body, n);
    else
        flow_clear(&x->held);
}

/* --- again, at the same server --- */

/* Over HTTP/2 content stands here already when the head says that another server is asked: it is of no response. */
static void
forget_content(struct flow *body)
{
    flow_clear(body);
    body->passed = 0;
    body->stopped = false;
}

static void
attach(struct exchange *x, struct request *r)
{
    x->r = r;
    x->moves = 0;
    x->status = 0;
    x->waiting = x->answered = x->in_body = false;
    r->source = &x->protocol->source;
    r->source_state = x;
    forget_content(r->inflow);
}

/* The request waits for the connection. */
static void
await_connection(struct exchange *x)
{
    int64_t ms = x->r->scope->policy.timeouts.connect;

    if (ms > 0)
        timer_set(&x->timer, ms);
}

static void
go(struct exchange *x)
{
    if (x->connecting)
        await_connection(x);
    else
        x->protocol->begin(x);
}

/*
 * Whether the request may go to the same server once more: the connection had been used and died before
 * a byte of the answer, the method is safe to repeat, and the content is still whole.
 */
static bool
is_repeatable(const struct exchange *x)
{
    const struct request *r = x->r;

    return x->reused && !x->answered && x->moves < REPEATS_MOST && method_idempotent(r->method) && !r->tunnel &&
           has_content(x);
}

static bool
repeat(struct exchange *x)
{
    struct request *r = x->r;
    struct exchange *fresh = x->protocol->take(x->endpoint, r, x);

    if (fresh == NULL)
        return false;
    count_server_retry(server_of(x));
    count_server_bytes(server_of(x), *x->received, x->sent);
    r->tries++;
    r->times.connect_start = clock_us();
    restore_content(x);
    detach(x);
    x->protocol->abandon(x);
    attach(fresh, r);
    fresh->moves = x->moves + 1;
    go(fresh);
    return true;
}

/* --- again, at another --- */

/* What the server did, in the words of `retry`. Until there is a connection nothing was sent. */
static enum retry_on
retry_word(const struct exchange *x, enum slots_error kind)
{
    if (x->connecting || kind == SLOTS_ERROR_CONNECT)
        return RETRY_CONNECT;
    return kind == SLOTS_ERROR_TIMEOUT ? RETRY_TIMEOUT : kind == SLOTS_ERROR_RESET ? RETRY_RESET : 0;
}

/* True: the exchange is over, and the request has gone to another server, or was failed for want of one. */
static bool
try_elsewhere(struct exchange *x, enum retry_on on)
{
    struct request *r = x->r;
    struct endpoint *e = on != 0 ? retry_elsewhere(r, x->endpoint, on, has_content(x)) : NULL;

    if (e == NULL)
        return false;
    restore_content(x);
    exchange_abandon(x);
    if (!exchange_start(r, e))
        pipeline_fail(r, 502);
    return true;
}

/* --- failures --- */

static void
end_badly(struct exchange *x, int status)
{
    struct request *r = x->r;

    exchange_abandon(x);
    if (r->started)
        pipeline_break(r);
    else
        pipeline_fail(r, status);
}

/* An idle connection that was closed under us says nothing against the server. */
static void
blame(const struct exchange *x, enum slots_error kind)
{
    if (kind != SLOTS_ERROR_RESET || !x->reused || x->answered)
        eject_failure(x->endpoint, slots_error_name[kind]);
}

void
exchange_fail(struct exchange *x, enum slots_error kind, int status)
{
    if (kind == SLOTS_ERROR_RESET && is_repeatable(x) && repeat(x))
        return;
    count_server_error(server_of(x), kind);
    trouble_of_exchange(x, kind);
    blame(x, kind);
    if (!x->in_body && try_elsewhere(x, retry_word(x, kind)))
        return;
    end_badly(x, status);
}

/* An interim response says that it has begun, whatever it says now. */
static bool
is_movable(const struct exchange *x)
{
    const struct request *r = x->r;

    return !x->in_body && x->moves < MOVES_MOST && !r->interim_sent && !r->request.body.broken && has_content(x);
}

void
exchange_refused(struct exchange *x)
{
    if (is_movable(x) && repeat(x))
        return;
    count_server_error(server_of(x), SLOTS_ERROR_RESET);
    trouble_of_exchange(x, SLOTS_ERROR_RESET);
    eject_failure(x->endpoint, slots_error_name[SLOTS_ERROR_RESET]);
    if (!x->in_body && try_elsewhere(x, RETRY_CONNECT))
        return;
    end_badly(x, 502);
}

void
exchange_cannot_connect(struct exchange *x, const char *why, bool ours)
{
    trouble_connecting(x->r, x->endpoint, why);
    x->r->times.connected = clock_us();
    count_server_error(server_of(x), SLOTS_ERROR_CONNECT);
    if (!ours)
        eject_failure(x->endpoint, slots_error_name[SLOTS_ERROR_CONNECT]);
    if (!try_elsewhere(x, RETRY_CONNECT))
        end_badly(x, 502);
}

void
exchange_decline(struct exchange *x, const char *why)
{
    trouble_declined(x, why);
    end_badly(x, 502);
}

void
exchange_truncate(struct exchange *x, enum slots_error kind)
{
    x->r->inflow->broken = true;
    trouble_of_exchange(x, kind);
    count_server_error(server_of(x), kind);
    eject_failure(x->endpoint, slots_error_name[kind]);
    exchange_abandon(x);
}

void
exchange_cut(struct exchange *x)
{
    struct request *r = x->r;

    exchange_abandon(x);
    if (r->started)
        pipeline_break(r);
    else
        pipeline_client_lost(r);
}

bool
exchange_retries_status(struct exchange *x, int status)
{
    enum retry_on on = status == 502 ? RETRY_502 : status == 503 ? RETRY_503 : status == 504 ? RETRY_504 : 0;

    x->status = status;
    if (on != 0) {
        eject_success(x->endpoint);     /* it has answered: a status is never a failure */
        if (try_elsewhere(x, on))
            return true;
    }
    x->in_body = true;
    flow_clear(&x->held);
    return false;
}

void
exchange_complete(struct exchange *x)
{
    x->r->inflow->ended = true;
    eject_success(x->endpoint);
}

/* --- time --- */

static void
fire(struct timer *t)
{
    struct exchange *x = (struct exchange *)((char *)t - offsetof(struct exchange, timer));

    if (x->connecting)
        trouble_expired(x, x->protocol->expire(x));
    else if (x->protocol->timed_out != NULL)
        x->protocol->timed_out(x);
    exchange_fail(x, SLOTS_ERROR_TIMEOUT, 504);
}

static bool
is_waited_for(const struct exchange *x, bool asked)
{
    const struct request *r = x->r;

    if (r->open_ended)
        return false;
    if (x->in_body)
        return !r->inflow->stopped;
    return asked || r->expects_continue || r->wants_upgrade;
}

void
exchange_set_timer(struct exchange *x, bool asked)
{
    int64_t ms = x->r->scope->policy.timeouts.upstream;
    uint64_t mark = x->sent + *x->received;
    bool was_waiting = x->waiting;

    x->waiting = ms > 0 && is_waited_for(x, asked);
    if (!x->waiting)
        timer_rest(&x->timer);
    else if (!was_waiting || mark != x->mark)
        timer_set(&x->timer, ms);
    x->mark = mark;
}

/* --- the beginning --- */

void
exchange_init(struct exchange *x, const struct exchange_protocol *p, struct endpoint *e, const uint64_t *received)
{
    *x = (struct exchange){.protocol = p, .endpoint = e, .received = received, .timer = {.fire = fire}};
    flow_init(&x->held, SIZE_MAX);
}

void
exchange_begun(struct exchange *x)
{
    x->connecting = false;
    x->sent = 0;
    x->interims = 0;
    x->r->times.connected = clock_us();
    timer_rest(&x->timer);
    hold_content(x);
}

/* False with errno: not even a connection can be begun. */
static bool
give(struct request *r, struct endpoint *e)
{
    struct exchange *x = protocol_of(e)->take(e, r, NULL);
    int error = errno;

    r->server = e->server;
    r->endpoint = e;
    /* a name's endpoint may be gone before the request's line is in the log */
    r->upstream_address = e->server->name.n > 0 ? arena_copy(r->arena, e->text) : e->text;
    r->tries++;
    r->times.connect_start = clock_us();
    r->times.connected = 0;
    if (x == NULL) {
        errno = error;
        return false;
    }
    attach(x, r);
    go(x);
    return true;
}

bool
exchange_start(struct request *r, struct endpoint *e)
{
    struct endpoint *next;

    while (!give(r, e)) {
        bool ours = dial_is_ours(errno);

        trouble_connecting(r, e, dial_error(errno));
        count_server_error(e->server, SLOTS_ERROR_CONNECT);
        count_server_request(e->server, 0, 0);
        if (!ours)
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

/* --- connections that nobody uses --- */

int64_t
exchange_keep_ms(const struct endpoint *e, int64_t told_ms)
{
    const struct upstream *u = e->server->upstream;
    int64_t ms = told_ms > 0 ? told_ms : u->keepalive_timeout;

    if (worker.draining || e->gone || u->keepalive == 0)
        return 0;
    return e->idle >= u->keepalive && ms > SURPLUS_MS ? SURPLUS_MS : ms;
}

void
exchange_pool_close(struct endpoint *e)
{
    protocol_of(e)->close_idle(e);
}

void
exchange_pools_close(void)
{
    for (size_t i = 0; i < upstreams_count(); i++)
        for (size_t j = 0; j < upstreams_at(i)->n; j++)
            exchange_pool_close(upstreams_at(i)->v[j]);
}

bool
exchange_evict(void)
{
    struct endpoint *most = NULL;

    for (size_t i = 0; i < upstreams_count(); i++)
        for (size_t j = 0; j < upstreams_at(i)->n; j++) {
            struct endpoint *e = upstreams_at(i)->v[j];

            if (e->idle > 0 && (most == NULL || e->idle > most->idle))
                most = e;
        }
    if (most == NULL)
        return false;
    protocol_of(most)->evict(most);
    return true;
}

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
#include <sys/socket.h>

#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/count.h"
#include "worker/hop.h"
#include "worker/pipeline.h"
#include "worker/source.h"

#define INTERIMS_MOST 32
#define RESPONSE_FIELDS_MOST 1000
#define TURN_BYTES (1024 * 1024)        /* then others have their turn */
#define HELD_MOST (64 * 1024)
#define KEEP_ALIVE_MOST 60              /* seconds of Keep-Alive: timeout=N that are believed */

static const struct source h1_origin;

/* --- ends --- */

static int64_t
exchange_us(const struct request *r)
{
    return clock_us() - r->times.connect_start;
}

/* The exchange is over, as far as the request goes; the connection's fate is the caller's. */
static void
part(struct origin *o)
{
    struct request *r = o->r;

    count_server_request(origin_server(o), o->in_body ? r->upstream_status : 0, exchange_us(r));
    count_server_bytes(origin_server(o), o->in.received, o->sent);
    r->source_state = NULL;
    o->r = NULL;
}

static void
abandon(struct origin *o)
{
    part(o);
    origin_close(o);
}

/*
 * Whether the request may go to the server once more: the connection had been idle and died before
 * a byte of the answer, the method is safe to repeat, and the content is still whole.
 */
static bool
is_repeatable(const struct origin *o)
{
    const struct request *r = o->r;

    return o->reused && !o->answered && method_idempotent(r->method) && !r->tunnel &&
           (r->request.length == 0 || (r->request.body.ended && o->held.bytes == r->request.body.passed));
}

static bool
repeat(struct origin *o)
{
    struct request *r = o->r;
    struct origin *fresh = origin_take(origin_server(o), true);

    if (fresh == NULL)
        return false;
    count_server_retry(origin_server(o));
    flow_clear(&r->request.body);
    flow_share(&r->request.body, &o->held);
    o->r = NULL;
    origin_close(o);
    fresh->r = r;
    r->source_state = fresh;
    timer_set(&fresh->timer, r->scope->policy.timeouts.connect);
    return true;
}

/* The server failed the request. */
static void
fail(struct origin *o, enum slots_error kind, int status)
{
    struct request *r = o->r;

    if (kind == SLOTS_ERROR_RESET && is_repeatable(o) && repeat(o))
        return;
    count_server_error(origin_server(o), kind);
    log_info("%.*s: %s (%.*s %.*s)", STR_ARG(origin_server(o)->text), slots_error_name[kind],
             STR_ARG(r->method_text), STR_ARG(r->target));
    abandon(o);
    if (r->started)
        pipeline_break(r);
    else
        pipeline_fail(r, status);
}

/* All of the response is there. The connection is kept if the request went out whole, too. */
static void
complete(struct origin *o)
{
    struct request *r = o->r;

    r->response.body.ended = true;
    if (!o->keep || h1_reader_has(&o->in) || !o->out.done || o->out.wire.bytes > 0 || o->write_dead || r->tunnel) {
        abandon(o);
        return;
    }
    part(o);
    h1_write_clear(&o->out);
    flow_clear(&o->held);
    h1_reader_drop(&o->in);
    origin_keep(o);
}

/* --- the request goes out --- */

/* Small whole bodies are kept until the answer begins, in case they have to be sent again. */
static void
hold_content(struct origin *o)
{
    const struct flow *body = &o->r->request.body;

    if (o->reused && body->ended && body->bytes == body->passed && body->bytes <= HELD_MOST)
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
    o->answered = o->in_body = o->keep = o->write_dead = false;
    r->times.connected = clock_us();
    fields_init(&r->response.fields, r->arena);
    h1_write_init(&o->out);
    hold_content(o);
    h1_write_request(&o->out, r, origin_server(o)->upstream->keepalive > 0);
}

static void
set_timer(struct origin *o)
{
    const struct request *r = o->r;
    bool waits;

    if (r->open_ended)
        waits = false;
    else if (o->in_body)
        waits = !r->response.body.stopped;
    else
        waits = (o->out.wire.bytes > 0 && !o->write_dead) || o->out.done || r->expects_continue ||
                r->wants_upgrade;
    if (waits && r->scope->policy.timeouts.upstream > 0)
        timer_set(&o->timer, r->scope->policy.timeouts.upstream);
    else
        timer_stop(&o->timer);
}

/* The client's request will not be whole: neither must it look so to the origin. */
static void
cut_request(struct origin *o)
{
    struct request *r = o->r;

    abandon(o);
    if (r->started)
        pipeline_break(r);
    else
        pipeline_client_lost(r);
}

/* The end of a tunnel's one direction. */
static void
half_close(struct origin *o)
{
    if (o->r->tunnel && o->r->request.body.ended && o->out.done && o->out.wire.bytes == 0)
        shutdown(o->io.fd, SHUT_WR);
}

static void
write_request(struct origin *o)
{
    struct request *r = o->r;

    if (o->writing || o->write_dead)
        return;
    o->writing = true;
    for (;;) {
        bool body = !r->wants_upgrade || r->tunnel;
        size_t before = o->out.wire.bytes;
        int result;

        if (body && !h1_write_body(&o->out, r, &r->request))
            log_bug(__FILE__, __LINE__, "content longer or shorter than announced");
        if (o->out.wire.bytes == 0 || !o->io.writable)
            break;
        result = h1_write_flush(&o->out, o->io.fd, &o->sent, false);
        r->moved_ms = clock_ms();
        if (result < 0) {
            o->write_dead = true;       /* what it had answered may still be read */
            o->io.readable = true;
            break;
        }
        if (result == 0)
            o->io.writable = false;
        if (before > 0 || body)
            pipeline_consumed(r);
        if (o->r != r)
            break;
        if (result == 0)
            break;
    }
    o->writing = false;
    if (o->r == r)
        half_close(o);
}

/* --- the response comes in --- */

static bool
is_switch(const struct request *r)
{
    return r->wants_upgrade && fields_list_has(&r->response.fields, FIELD_UPGRADE, STR("websocket"));
}

/* Keep-Alive: timeout=N: N - 1 s, so that ours is closed before the server's. */
static int64_t
told_timeout(const struct request *r)
{
    struct str list = fields_value(&r->response.fields, FIELD_KEEP_ALIVE), member;
    long long n;

    while (list.n > 0 && str_list_next(&list, &member)) {
        if (member.n <= 8 || strncasecmp(member.p, "timeout=", 8) != 0)
            continue;
        n = str_decimal((struct str){member.p + 8, member.n - 8});
        if (n > KEEP_ALIVE_MOST)
            n = KEEP_ALIVE_MOST + 1;
        return n > 1 ? (n - 1) * 1000 : n < 0 ? 0 : 1;
    }
    return 0;
}

/* How the content of the final response is delimited (RFC 9112 6.3). */
static void
set_framing(struct origin *o)
{
    struct request *r = o->r;
    const struct h1_head *h = o->head;

    r->no_content = r->method == METHOD_HEAD || h->status == 204 || h->status == 304;
    r->response.length = h->framing == H1_LENGTH ? h->content_length : LENGTH_UNKNOWN;
    if (h->status == 204)
        r->response.length = LENGTH_UNKNOWN;
    o->in.framing = r->no_content ? H1_NO_BODY : h->framing;
    o->in.left = o->in.framing == H1_LENGTH ? (uint64_t)h->content_length : 0;
    o->keep = h->keep_alive && o->in.framing != H1_UNTIL_CLOSE;
    if (o->in.framing == H1_CHUNKED) {
        o->in.chunked = arena_alloc(r->arena, sizeof *o->in.chunked);
        h1_chunked_init(o->in.chunked, &r->response.trailers, h->limits);
    }
}

static void
on_final(struct origin *o)
{
    struct request *r = o->r;

    o->in_body = true;
    flow_clear(&o->held);
    r->status = r->upstream_status = o->head->status;
    r->reason = o->head->reason;
    o->idle_ms = told_timeout(r);
    set_framing(o);
    hop_response(&r->response.fields);
    pipeline_response(r);
}

static void
on_switch(struct origin *o)
{
    struct request *r = o->r;

    if (!is_switch(r)) {
        fail(o, SLOTS_ERROR_MALFORMED, 502);
        return;
    }
    o->in_body = true;
    o->in.framing = H1_UNTIL_CLOSE;
    o->keep = false;
    r->tunnel = true;
    r->status = r->upstream_status = 101;
    r->reason = o->head->reason;
    r->response.length = LENGTH_UNKNOWN;
    hop_response(&r->response.fields);
    pipeline_response(r);
}

static void
begin_head(struct origin *o)
{
    struct request *r = o->r;
    struct h1_limits *limits = arena_alloc(r->arena, sizeof *limits);
    size_t most = r->scope->policy.limits.response_head;

    *limits = (struct h1_limits){.line = most, .field = most, .fields = most, .count = RESPONSE_FIELDS_MOST};
    fields_init(&r->response.fields, r->arena);
    h1_head_init(o->head, &r->response.fields, limits);
}

static void
on_interim(struct origin *o)
{
    struct request *r = o->r;

    if (++o->interims > INTERIMS_MOST) {
        fail(o, SLOTS_ERROR_MALFORMED, 502);
        return;
    }
    if (o->head->status == 100)
        r->expects_continue = false;
    hop_response(&r->response.fields);
    r->reason = o->head->reason;
    pipeline_interim(r, o->head->status);
    if (o->r == r)
        begin_head(o);
}

/* Parses what stands in `in`; false where more has to be read, or the exchange is over. */
static bool
parse_head(struct origin *o)
{
    struct request *r = o->r;
    struct h1_reader *in = &o->in;
    int result = h1_parse_response(o->head, in->in->data + in->at, in->in->fill - in->at);

    if (result == H1_MORE)
        return false;
    if (result != H1_DONE) {
        fail(o, SLOTS_ERROR_MALFORMED, 502);
        return false;
    }
    request_hold(r, in->in);
    in->at += o->head->size;
    if (o->head->status == 101)
        on_switch(o);
    else if (o->head->status < 200)
        on_interim(o);
    else
        on_final(o);
    return o->r == r;
}

/* True once the head is done; false where it has to be waited for, or the exchange is over. */
static bool
read_head(struct origin *o)
{
    struct request *r = o->r;

    for (;;) {
        ssize_t n;

        while (h1_reader_has(&o->in) && !o->in_body)
            if (!parse_head(o))
                break;
        if (o->r != r)
            return false;
        if (o->in_body)
            return true;
        n = h1_read_more(&o->in, o->head);
        if (n == -1)
            return false;
        if (n <= 0) {
            fail(o, SLOTS_ERROR_RESET, 502);
            return false;
        }
        o->answered = true;
    }
}

/* The response breaks off: the client must see that it does. */
static void
truncate_response(struct origin *o, enum slots_error kind)
{
    o->r->response.body.broken = true;
    count_server_error(origin_server(o), kind);
    abandon(o);
}

static void
read_body(struct origin *o, size_t *budget)
{
    struct request *r = o->r;

    switch (h1_read_body(&o->in, &r->response.body, r->spliced, budget)) {
    case H1_READ_WAIT:
        break;
    case H1_READ_END:
        complete(o);
        break;
    case H1_READ_EOF:
    case H1_READ_ERROR:
        truncate_response(o, SLOTS_ERROR_RESET);
        break;
    case H1_READ_MALFORMED:
    case H1_READ_LARGE:
        truncate_response(o, SLOTS_ERROR_MALFORMED);
        break;
    }
    pipeline_body(r);
}

/*
 * Reads while there is something to read and room for it. The client's side may ask for more from
 * inside (it ate, and the flow has room again): that goes round here, not deeper.
 */
static void
read_response(struct origin *o)
{
    struct request *r = o->r;
    size_t budget = TURN_BYTES;

    if (o->reading) {
        o->read_again = true;
        return;
    }
    o->reading = true;
    do {
        o->read_again = false;
        if (!o->in_body && !read_head(o))
            break;
        read_body(o, &budget);
        if (o->r != r)
            break;
        if (budget == 0) {
            loop_post(&o->task);
            break;
        }
    } while (o->read_again || (o->io.readable && !r->response.body.stopped));
    o->reading = false;
}

/* --- what the loop brings --- */

void
origin_ready(struct origin *o)
{
    struct request *r = o->r;

    if (o->io.writable && (o->out.wire.bytes > 0 || r->request.body.bytes > 0))
        write_request(o);
    if (o->r == r && o->io.readable)
        read_response(o);
    if (o->r == r)
        set_timer(o);
}

void
origin_connected(struct origin *o, int error)
{
    struct request *r = o->r;

    if (error != 0) {
        log_warning("%.*s: connect: %s", STR_ARG(origin_server(o)->text), strerror(error));
        r->times.connected = clock_us();
        fail(o, SLOTS_ERROR_CONNECT, 502);
        return;
    }
    begin(o);
    begin_head(o);
    write_request(o);
    if (o->r == r)
        origin_ready(o);
}

void
origin_timeout(struct origin *o)
{
    if (o->state == ORIGIN_CONNECTING)
        log_warning("%.*s: connect: timed out", STR_ARG(origin_server(o)->text));
    fail(o, SLOTS_ERROR_TIMEOUT, 504);
}

bool
origin_start(struct request *r, const struct server *s)
{
    struct origin *o = origin_take(s, false);

    r->server = s;
    r->tries++;
    r->times.connect_start = clock_us();
    if (o == NULL) {
        log_warning("%.*s: connect: %s", STR_ARG(s->text), strerror(errno));
        count_server_error(s, SLOTS_ERROR_CONNECT);
        return false;
    }
    o->r = r;
    r->source = &h1_origin;
    r->source_state = o;
    if (o->state == ORIGIN_CONNECTING) {
        if (r->scope->policy.timeouts.connect > 0)
            timer_set(&o->timer, r->scope->policy.timeouts.connect);
        return true;
    }
    begin(o);
    begin_head(o);
    write_request(o);
    if (o->r == r)
        set_timer(o);
    return true;
}

/* --- the source --- */

static void
source_read(struct request *r)
{
    struct origin *o = r->source_state;

    if (o != NULL && o->state == ORIGIN_BUSY && o->in_body) {
        read_response(o);
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
        write_request(o);
        if (o->r == r)
            set_timer(o);
    }
}

static void
source_stop(struct request *r)
{
    struct origin *o = r->source_state;

    if (o != NULL)
        abandon(o);
}

static const struct source h1_origin = {
    .name = "HTTP/1.1",
    .splices = true,
    .read = source_read,
    .write = source_write,
    .stop = source_stop,
};

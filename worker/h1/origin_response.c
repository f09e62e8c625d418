/*
 * The response comes in from an origin: interim heads, the head, content. It alone decides what a
 * response means for its framing (RFC 9112 6.3).
 */
#include "worker/h1/origin.h"
#include "worker/hop.h"
#include "worker/pipeline.h"
#include "worker/upstream/dial.h"
#include "worker/upstream/eject.h"

#define TURN_BYTES (1024 * 1024)        /* then others have their turn */
#define KEEP_ALIVE_MOST 60              /* seconds of Keep-Alive: timeout=N that are believed */

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

/* RFC 9110 8.6, 9112 6.1: a 204 has no content to announce. Whatever follows one that does is not waited for. */
static bool
contradicts_itself(const struct h1_head *h)
{
    return h->status == 204 && (h->framing == H1_CHUNKED || (h->framing == H1_LENGTH && h->content_length > 0));
}

/* How the content of the final response is delimited (RFC 9112 6.3). */
static void
set_framing(struct origin *o)
{
    struct request *r = o->x.r;
    const struct h1_head *h = o->head;

    r->no_content = r->method == METHOD_HEAD || h->status == 204 || h->status == 304;
    r->response.length = h->framing == H1_LENGTH ? h->content_length : LENGTH_UNKNOWN;
    if (h->status == 204)
        r->response.length = LENGTH_UNKNOWN;
    o->in.framing = r->no_content ? H1_NO_BODY : h->framing;
    o->in.left = o->in.framing == H1_LENGTH ? (uint64_t)h->content_length : 0;
    o->keep = h->keep_alive && o->in.framing != H1_UNTIL_CLOSE && !contradicts_itself(h);
    if (o->in.framing == H1_CHUNKED) {
        o->in.chunked = arena_alloc(r->arena, sizeof *o->in.chunked);
        h1_chunked_init(o->in.chunked, &r->response.trailers, h->limits);
    }
}

static void
on_final(struct origin *o)
{
    struct request *r = o->x.r;

    if (exchange_retries_status(&o->x, o->head->status))
        return;
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
    struct request *r = o->x.r;

    if (!is_switch(r)) {
        exchange_fail(&o->x, SLOTS_ERROR_MALFORMED, 502);
        return;
    }
    o->x.status = 101;
    o->x.in_body = true;
    o->in.framing = H1_UNTIL_CLOSE;
    eject_success(o->x.endpoint);
    o->keep = false;
    r->tunnel = true;
    r->status = r->upstream_status = 101;
    r->reason = o->head->reason;
    r->response.length = LENGTH_UNKNOWN;
    hop_response(&r->response.fields);
    pipeline_response(r);
}

void
origin_expect(struct origin *o)
{
    struct request *r = o->x.r;
    struct h1_limits *limits = arena_alloc(r->arena, sizeof *limits);
    size_t most = r->scope->policy.limits.response_head;

    *limits = (struct h1_limits){.line = most, .field = most, .fields = most, .count = EXCHANGE_FIELDS_MOST};
    fields_init(&r->response.fields, r->arena);
    h1_head_init(o->head, &r->response.fields, limits);
}

static void
on_interim(struct origin *o)
{
    struct request *r = o->x.r;

    if (++o->x.interims > EXCHANGE_INTERIMS_MOST) {
        exchange_fail(&o->x, SLOTS_ERROR_MALFORMED, 502);
        return;
    }
    if (o->head->status == 100)
        r->expects_continue = false;
    hop_response(&r->response.fields);
    r->reason = o->head->reason;
    r->interim_sent = true;
    pipeline_interim(r, o->head->status);
    if (o->x.r == r)
        origin_expect(o);
}

/* No head ends within its limit. */
static bool
is_too_large(const struct h1_reader *in, size_t most)
{
    return in->in->fill - in->at > most && memmem(in->in->data + in->at, most, "\r\n\r\n", 4) == NULL;
}

/* Parses what stands in `in`; false where more has to be read, or the exchange is over. */
static bool
parse_head(struct origin *o)
{
    struct request *r = o->x.r;
    struct h1_reader *in = &o->in;
    size_t most = r->scope->policy.limits.response_head;
    int result = h1_parse_response(o->head, in->in->data + in->at, in->in->fill - in->at);

    if (result == H1_MORE)
        return false;
    /* the limit is for the head as a whole, its first line too */
    if (result != H1_DONE || o->head->size > most) {
        exchange_fail(&o->x, is_too_large(in, most) ? SLOTS_ERROR_LIMIT : SLOTS_ERROR_MALFORMED, 502);
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
    return o->x.r == r;
}

/* True once the head is done; false where it has to be waited for, or the exchange is over. */
static bool
read_head(struct origin *o)
{
    struct request *r = o->x.r;

    for (;;) {
        ssize_t n;

        while (h1_reader_has(&o->in) && !o->x.in_body)
            if (!parse_head(o))
                break;
        if (o->x.r != r)
            return false;
        if (o->x.in_body)
            return true;
        n = h1_read_more(&o->in, o->head);
        if (n == -1)
            return false;
        if (n <= 0) {
            o->x.lost = n == -2 && o->ch.tls != NULL ? dial_lost(&o->ch) : NULL;
            exchange_fail(&o->x, SLOTS_ERROR_RESET, 502);
            return false;
        }
        o->x.answered = true;
    }
}

static void
read_body(struct origin *o, size_t *budget)
{
    struct request *r = o->x.r;

    switch (h1_read_body(&o->in, r->inflow, r->spliced, budget)) {
    case H1_READ_WAIT:
        break;
    case H1_READ_END:
        /* a write that failed took the reset with it: what looks like a FIN may be none */
        if (o->in.framing == H1_UNTIL_CLOSE && o->write_dead && !r->tunnel)
            exchange_truncate(&o->x, SLOTS_ERROR_RESET);
        else
            origin_complete(o);
        break;
    case H1_READ_ERROR:
        o->x.lost = o->ch.tls != NULL ? dial_lost(&o->ch) : NULL;
        exchange_truncate(&o->x, SLOTS_ERROR_RESET);
        break;
    case H1_READ_EOF:
        exchange_truncate(&o->x, SLOTS_ERROR_RESET);
        break;
    case H1_READ_MALFORMED:
    case H1_READ_LARGE:
        exchange_truncate(&o->x, SLOTS_ERROR_MALFORMED);
        break;
    }
    pipeline_body(r);
}

/*
 * Reads while there is something to read and room for it. The client's side may ask for more from
 * inside (it ate, and the flow has room again): that goes round here, not deeper.
 */
void
origin_read(struct origin *o)
{
    struct request *r = o->x.r;
    size_t budget = TURN_BYTES;

    if (o->reading) {
        o->read_again = true;
        return;
    }
    o->reading = true;
    do {
        o->read_again = false;
        if (!o->x.in_body && !read_head(o))
            break;
        read_body(o, &budget);
        if (o->x.r != r)
            break;
        if (budget == 0) {
            loop_post(&o->task);
            break;
        }
    } while (o->read_again || (o->ch.io.readable && !r->inflow->stopped));
    o->reading = false;
}

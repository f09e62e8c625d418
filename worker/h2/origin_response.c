/*
 * The response comes in over HTTP/2. What frames bring is noted by h2_response_*, and told to the pipeline by
 * h2_response_settle, in the order of the wire: interim heads, the head, content, trailers, the end.
 *
 * The stream's window is what its sender may have under way, unread content here included: it is given back as the
 * client's side eats. libnghttp2 has checked content-length against DATA.
 */
#include <openssl/evp.h>

#include "worker/h2/origin.h"
#include "worker/hop.h"
#include "worker/pipeline.h"
#include "worker/upstream/eject.h"

#define STATUS_MOST 599
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"    /* RFC 6455 1.3 */
#define SHA1_TEXT 28            /* in base64 */

/* --- what frames bring --- */

void
h2_response_trouble(struct h2_exchange *s, enum slots_error kind)
{
    if (s->trouble == SLOTS_ERRORS)
        s->trouble = kind;
    h2_origin_news(s);
}

void
h2_response_begin(struct h2_exchange *s)
{
    struct arena *a = s->x.r->arena;

    s->block = arena_zalloc(a, sizeof(*s->block));
    fields_init(&s->block->fields, a);
    s->x.answered = true;
}

static bool
is_over_limits(const struct h2_exchange *s)
{
    return s->block->size > s->x.r->scope->policy.limits.response_head || s->block->fields.n >= EXCHANGE_FIELDS_MOST;
}

int
h2_response_field(struct h2_exchange *s, struct str name, struct str value, bool secret)
{
    struct arena *a = s->x.r->arena;

    if (s->block == NULL || s->trouble != SLOTS_ERRORS)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    s->block->size += name.n + value.n + 4;
    if (is_over_limits(s)) {
        h2_response_trouble(s, SLOTS_ERROR_LIMIT);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    if (str_eq(name, STR(":status")))
        s->block->status = (int)str_decimal(value);
    else
        fields_add(&s->block->fields, arena_copy(a, name), arena_copy(a, value))->secret = secret;
    return 0;
}

/* A head that is whole stands in line; trailers are kept for the end. */
void
h2_response_head(struct h2_exchange *s)
{
    struct h2_head *head = s->block;

    s->block = NULL;
    if (head == NULL)
        return;
    s->received += head->size;
    if (head->status == 0 && s->final) {
        s->trailers = &head->fields;
        return;
    }
    if (head->status < 100 || head->status > STATUS_MOST ||
        (head->status < 200 && ++s->x.interims > EXCHANGE_INTERIMS_MOST)) {
        h2_response_trouble(s, SLOTS_ERROR_MALFORMED);
        return;
    }
    s->final = head->status >= 200;
    *s->heads_end = head;
    s->heads_end = &head->next;
    h2_origin_news(s);
}

void
h2_response_data(struct h2_exchange *s, struct str bytes)
{
    if (!s->final) {
        h2_response_trouble(s, SLOTS_ERROR_MALFORMED);
        return;
    }
    flow_put(s->x.r->inflow, s->c->in, bytes);
    s->received += bytes.n;
    h2_origin_news(s);
}

/* --- heads --- */

static void
on_interim(struct h2_exchange *s, struct h2_head *head)
{
    struct request *r = s->x.r;

    if (head->status == 100)
        r->expects_continue = false;
    r->response.fields = head->fields;
    hop_response(&r->response.fields);
    r->reason = status_reason(head->status);
    r->interim_sent = true;
    pipeline_interim(r, head->status);
}

/* What a client of HTTP/1 expects of a server that switches (RFC 6455 4.2.2). */
static void
add_accept(struct request *r)
{
    struct field *f = fields_find(&r->forward, STR("Sec-WebSocket-Key"));
    unsigned char digest[EVP_MAX_MD_SIZE];
    struct str text;
    unsigned n;
    char *accept;

    fields_remove(&r->response.fields, STR("Sec-WebSocket-Accept"));
    if (f == NULL)
        return;
    text = arena_printf(r->arena, "%.*s" GUID, STR_ARG(f->value));
    if (EVP_Digest(text.p, text.n, digest, &n, EVP_sha1(), NULL) != 1)
        return;
    accept = arena_alloc(r->arena, SHA1_TEXT + 1);
    EVP_EncodeBlock((unsigned char *)accept, digest, (int)n);
    fields_add(&r->response.fields, STR("Sec-WebSocket-Accept"), (struct str){accept, SHA1_TEXT});
}

/* RFC 8441 5: a 2xx is what 101 is over HTTP/1. */
static void
switch_to_tunnel(struct h2_exchange *s)
{
    struct request *r = s->x.r;

    eject_success(s->x.endpoint);
    r->tunnel = true;
    r->status = 101;
    r->reason = status_reason(101);
    r->response.length = LENGTH_UNKNOWN;
    add_accept(r);
}

/* What answers a CONNECT is not held against its content-length by libnghttp2: it is not believed. */
static void
set_length(struct request *r)
{
    struct str length = fields_value(&r->response.fields, FIELD_CONTENT_LENGTH);
    bool announced = length.p != NULL && r->status != 204 && !r->wants_upgrade;

    r->no_content = r->method == METHOD_HEAD || r->status == 204 || r->status == 304;
    r->response.length = announced ? str_decimal(length) : LENGTH_UNKNOWN;
}

static void
on_final(struct h2_exchange *s, struct h2_head *head)
{
    struct request *r = s->x.r;

    if (exchange_retries_status(&s->x, head->status))
        return;
    r->status = r->upstream_status = head->status;
    r->reason = status_reason(head->status);
    r->response.fields = head->fields;
    if (r->wants_upgrade && head->status < 300)
        switch_to_tunnel(s);
    else
        set_length(r);
    hop_response(&r->response.fields);
    pipeline_response(r);
}

/* False: the exchange is over. */
static bool
tell_heads(struct h2_exchange *s)
{
    struct request *r = s->x.r;
    struct h2_head *head;

    while ((head = s->heads) != NULL) {
        s->heads = head->next;
        if (s->heads == NULL)
            s->heads_end = &s->heads;
        if (head->status < 200)
            on_interim(s, head);
        else
            on_final(s, head);
        if (s->x.r != r)
            return false;
    }
    return true;
}

/* --- ends --- */

static void
complete(struct h2_exchange *s)
{
    struct request *r = s->x.r;

    if (s->trailers != NULL)
        r->response.trailers = *s->trailers;
    exchange_complete(&s->x);
    exchange_abandon(&s->x);
    pipeline_body(r);
}

/* Before the head it may be asked for elsewhere; after it the response is cut short. */
static void
fail(struct h2_exchange *s, enum slots_error kind)
{
    struct request *r = s->x.r;

    if (s->x.in_body) {
        exchange_truncate(&s->x, kind);
        pipeline_body(r);
    } else {
        exchange_fail(&s->x, kind, 502);
    }
}

/* The server has closed the stream, or libnghttp2 has, for what the server sent on it. */
static void
on_close(struct h2_exchange *s)
{
    s->x.reused = false;        /* the connection lives: that says nothing for the server */
    if (s->refused && !s->x.in_body)
        exchange_refused(&s->x);
    else
        fail(s, s->reset || s->refused || s->code == NGHTTP2_NO_ERROR ? SLOTS_ERROR_RESET : SLOTS_ERROR_MALFORMED);
}

void
h2_response_lost(struct h2_exchange *s)
{
    if (s->trouble != SLOTS_ERRORS)
        fail(s, s->trouble);
    else if (s->x.sent == 0)
        exchange_refused(&s->x);
    else
        fail(s, SLOTS_ERROR_RESET);
}

/* --- windows --- */

/* A flow with something in it says when it was read (flow_resumes): nobody else does. */
void
h2_response_eaten(struct h2_exchange *s)
{
    struct flow *body = s->x.r->inflow;
    bool grows;
    size_t n = h2_window_eaten(&s->window, body->passed - body->bytes, body->bytes, &s->c->spare, &grows);

    if (body->bytes >= body->high || body->bytes >= s->window.size / 2)
        body->stopped = true;
    if (n == 0 || s->closed || s->ended || s->c->state != H2_ORIGIN_OPEN)
        return;
    nghttp2_session_consume_stream(s->c->session, s->id, n);
    if (grows)
        nghttp2_session_set_local_window_size(s->c->session, NGHTTP2_FLAG_NONE, s->id, (int32_t)s->window.size);
    h2_origin_post(s->c);
}

/* --- all of it --- */

static bool
tell_end(struct h2_exchange *s)
{
    if (s->declined)
        exchange_decline(&s->x, "it does not take WebSockets over HTTP/2 (RFC 8441)");
    else if (s->trouble != SLOTS_ERRORS)
        fail(s, s->trouble);
    else if (s->ended && !s->x.in_body)
        fail(s, SLOTS_ERROR_MALFORMED);
    else if (s->ended)
        complete(s);
    else if (s->closed || s->refused)
        on_close(s);
    else
        return false;
    return true;
}

void
h2_response_settle(struct h2_exchange *s)
{
    struct request *r = s->x.r;

    if (s->moved) {
        s->moved = false;
        pipeline_consumed(r);
        if (s->x.r != r)
            return;
    }
    if (!tell_heads(s))
        return;
    if (tell_end(s))
        return;
    if (s->x.in_body)
        pipeline_body(r);
    if (s->x.r != r)
        return;
    if (s->x.in_body)
        h2_response_eaten(s);
    h2_origin_set_timer(s);
}

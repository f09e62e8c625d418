/*
 * Responses go out over HTTP/2: the front's table, and the wire. It alone knows what of a response libnghttp2 is told,
 * and when its last byte has left.
 *
 * Content moves to the wire without being copied: until it has left, slices of it point into the request's memory. So a
 * request is sent (pipeline_sent) only when the wire has gone past its end; one that ends before has the wire made
 * weir's own first.
 */
#include <errno.h>

#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/block.h"
#include "worker/count.h"
#include "worker/h2/client.h"
#include "worker/hop.h"
#include "worker/pipeline.h"
#include "worker/variable.h"

#define IOVECS 64
#define EXTRA_FIELDS 3          /* :status, date, content-length */

/* --- fields --- */

/* Names go out in lower case (RFC 9113 8.2): libnghttp2 sees to that. */
static void
add(nghttp2_nv *nv, size_t *n, struct str name, struct str value, uint8_t flags)
{
    nv[(*n)++] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.p, .namelen = name.n,
                              .value = (uint8_t *)(uintptr_t)(value.n > 0 ? value.p : ""), .valuelen = value.n,
                              .flags = flags};
}

/* RFC 9113 8.2.2: what HTTP/2 does not know; and what is said anew. */
static bool
is_left_out(const struct h2_stream *s, const struct field *f)
{
    switch (f->id) {
    case FIELD_CONNECTION:
    case FIELD_CONTENT_LENGTH:
    case FIELD_HTTP2_SETTINGS:
    case FIELD_KEEP_ALIVE:
    case FIELD_PROXY_CONNECTION:
    case FIELD_TE:
    case FIELD_TRANSFER_ENCODING:
    case FIELD_UPGRADE:
        return true;
    default:
        return f->gone || (s->connect.n > 0 && str_ieq(f->name, STR("Sec-WebSocket-Accept")));
    }
}

static size_t
add_fields(const struct h2_stream *s, nghttp2_nv *nv, size_t n, const struct fields *f)
{
    for (size_t i = 0; i < f->n; i++)
        if (!is_left_out(s, &f->v[i]))
            add(nv, &n, f->v[i].name, f->v[i].value,
                f->v[i].secret ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE);
    return n;
}

static nghttp2_nv *
begin_fields(const struct h2_stream *s, size_t *n, int status)
{
    struct request *r = s->r;
    nghttp2_nv *nv = arena_alloc(r->arena, (r->response.fields.n + EXTRA_FIELDS) * sizeof(*nv));

    *n = 0;
    add(nv, n, STR(":status"), variable_decimal(r, (uint64_t)status), NGHTTP2_NV_FLAG_NONE);
    return nv;
}

/* --- content --- */

static bool
is_announced(const struct request *r)
{
    return r->response.length != LENGTH_UNKNOWN && !r->tunnel;
}

/* True where trailers follow, and END_STREAM with them. */
static bool
submit_trailers(struct h2_stream *s)
{
    struct request *r = s->r;
    struct fields *f = &r->response.trailers;
    size_t n;
    nghttp2_nv *nv;

    for (size_t i = 0; i < f->n; i++)
        if (!hop_trailer(r, &r->response, &f->v[i]))
            f->v[i].gone = true;
    nv = arena_alloc(r->arena, (f->n + 1) * sizeof(*nv));
    n = add_fields(s, nv, 0, f);
    return n > 0 && nghttp2_submit_trailer(s->c->session, s->id, nv, n) == 0;
}

static ssize_t
broken(struct h2_stream *s)
{
    s->broken = true;
    h2_stream_news(s);
    return NGHTTP2_ERR_DEFERRED;        /* and reset when libnghttp2 has returned */
}

/* What the next DATA holds: libnghttp2 asks when there is a window for `most` bytes. */
static ssize_t
read_content(nghttp2_session *session, int32_t id, uint8_t *buf, size_t most, uint32_t *flags,
             nghttp2_data_source *source, void *data)
{
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
    const struct flow *body;
    size_t n;

    (void)buf;
    (void)source;
    (void)data;
    if (s == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    body = &s->r->response.body;
    n = body->bytes < most ? body->bytes : most;
    if (is_announced(s->r) && (n > s->left || (body->ended && body->bytes != s->left))) {
        count_client_error(s->c->conn.listener, SLOTS_ERROR_INTERNAL);
        s->r->response.body.broken = true;
        return broken(s);
    }
    if (n == 0 && !body->ended) {
        if (body->broken)
            return broken(s);
        s->asleep = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags = NGHTTP2_DATA_FLAG_NO_COPY;
    if (body->ended && n == body->bytes)
        *flags |= NGHTTP2_DATA_FLAG_EOF | (submit_trailers(s) ? NGHTTP2_DATA_FLAG_NO_END_STREAM : 0);
    return (ssize_t)n;
}

/* --- heads --- */

/* RFC 9218 8: what the server says of it goes before what the client said. */
static void
merge_priority(struct h2_stream *s)
{
    const struct field *f = fields_find(&s->r->response.fields, STR("Priority"));

    if (f == NULL)
        return;
    h2_front_priority(&s->priority, f->value);
    nghttp2_session_change_extpri_stream_priority(s->c->session, s->id, &s->priority, 0);
}

/*
 * A tunnel's 101 is a 200 here. A server that did not understand the upgrade may have answered with a 2xx, which would
 * make one of the stream; and one whose answer to the key is wrong speaks something else.
 */
static int
status_of(struct h2_stream *s)
{
    struct request *r = s->r;
    bool wrong = r->tunnel ? !h2_connect_accepted(s) : r->status >= 200 && r->status < 300;

    if (s->connect.n == 0 || s->status != 0)
        return r->status;
    if (wrong) {
        s->refused = true;
        fields_init(&r->response.fields, r->arena);
    }
    if (wrong || r->tunnel) {
        r->status = wrong ? 502 : 200;
        r->reason = status_reason(r->status);
    }
    return r->status;
}

static bool
has_content(const struct h2_stream *s)
{
    const struct request *r = s->r;

    if (s->refused || (r->no_content && !r->tunnel))
        return false;
    return r->response.body.bytes > 0 || !r->response.body.ended || r->response.trailers.n > 0 ||
           (is_announced(r) && r->response.length > 0);
}

static void
submit_head(struct h2_stream *s)
{
    struct request *r = s->r;
    nghttp2_data_provider provider = {.read_callback = read_content};
    size_t n;
    nghttp2_nv *nv;
    bool dated;
    int status;

    block_unfold(r);
    status = status_of(s);
    dated = fields_find_id(&r->response.fields, FIELD_DATE) != NULL;
    nv = begin_fields(s, &n, status);
    if (!dated)                 /* RFC 9110 6.6.1 */
        add(nv, &n, STR("date"), clock_http_date(), NGHTTP2_NV_FLAG_NONE);
    if (is_announced(r) && !s->refused && r->status != 204)
        add(nv, &n, STR("content-length"), variable_decimal(r, (uint64_t)r->response.length),
            NGHTTP2_NV_FLAG_NONE);
    n = add_fields(s, nv, n, &r->response.fields);
    s->head = true;
    s->left = is_announced(r) ? (uint64_t)r->response.length : 0;
    merge_priority(s);
    if (nghttp2_submit_response(s->c->session, s->id, nv, n, has_content(s) ? &provider : NULL) != 0) {
        s->broken = true;
        h2_stream_news(s);
    }
}

/* --- the front --- */

static void
front_send(struct request *r)
{
    struct h2_stream *s = r->front_state;
    const struct flow *body = &r->response.body;

    if (s->r == NULL || s->closed || !r->started)
        return;
    if (!s->head) {
        submit_head(s);
    } else if (s->asleep && (body->bytes > 0 || body->ended || body->broken)) {
        s->asleep = false;
        nghttp2_session_resume_data(s->c->session, s->id);
    }
    if (r->tunnel && !s->tunnel && !s->refused)
        h2_stream_news(s);
    h2_client_post(s->c);
}

static void
front_interim(struct request *r, int status)
{
    struct h2_stream *s = r->front_state;
    size_t n;
    nghttp2_nv *nv;

    if (s->r == NULL || s->closed || s->head)
        return;
    nv = begin_fields(s, &n, status);
    n = add_fields(s, nv, n, &r->response.fields);
    nghttp2_submit_headers(s->c->session, NGHTTP2_FLAG_NONE, s->id, NULL, nv, n, NULL);
    h2_client_post(s->c);
}

static void
front_receive(struct request *r)
{
    struct h2_stream *s = r->front_state;

    if (s->r != NULL)
        h2_front_eaten(s);
}

/* Resets its stream; what others of the connection do is not touched. */
static void
front_cut(struct request *r)
{
    struct h2_stream *s = r->front_state;
    struct h2_client *c = s->c;
    uint32_t code = s->is_ending ? NGHTTP2_NO_ERROR : s->tunnel ? NGHTTP2_CANCEL : NGHTTP2_INTERNAL_ERROR;
    bool closed = s->closed;

    if (s->r == NULL)
        return;
    if (s->wire_end > c->sent && s->wire_end > c->owned)
        h2_send_own(c);
    h2_stream_forget(s);
    if (!closed && c->session != NULL)
        nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, s->id, code);
}

const struct front h2_front = {
    .name = "HTTP/2.0",
    .interim = front_interim,
    .send = front_send,
    .receive = front_receive,
    .cut = front_cut,
};

/* --- the wire --- */

void
h2_send_data(struct h2_stream *s, const uint8_t *head, size_t head_size, size_t n)
{
    struct h2_client *c = s->c;

    flow_copy(&c->wire, (struct str){(const char *)head, head_size});
    flow_move(&c->wire, &s->r->response.body, n);
    c->queued += head_size + n;
    s->left -= is_announced(s->r) ? n : 0;
    s->r->bytes_sent += head_size + n;
    s->wire_end = c->queued;
    s->moved += n;
}

void
h2_send_ended(struct h2_stream *s)
{
    struct h2_client *c = s->c;

    if (s->is_ending)
        return;
    s->wire_end = c->queued;
    s->is_ending = true;
    s->next_ending = NULL;
    *c->ending_end = s;
    c->ending_end = &s->next_ending;
}

void
h2_send_own(struct h2_client *c)
{
    struct flow own;
    struct iovec iov[IOVECS];

    flow_init(&own, c->wire.high);
    while (c->wire.bytes > 0) {
        int n = flow_iov(&c->wire, iov, IOVECS, SIZE_MAX);

        for (int i = 0; i < n; i++) {
            flow_copy(&own, (struct str){iov[i].iov_base, iov[i].iov_len});
            flow_eat(&c->wire, iov[i].iov_len);
        }
    }
    flow_clear(&c->wire);
    c->wire = own;
    c->owned = c->queued;
}

/* What libnghttp2 has to say goes onto the wire, as far as that goes. */
static bool
fill(struct h2_client *c)
{
    while (c->wire.bytes < H2_WIRE_MOST) {
        size_t before = c->wire.bytes;
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(c->session, &p);

        if (n < 0)
            return false;
        flow_copy(&c->wire, (struct str){(const char *)p, (size_t)n});
        c->queued += (size_t)n;
        if (c->wire.bytes == before)
            break;
    }
    return true;
}

/* The connection as a whole is too slow: those that wait for it are given up. */
static void
give_up_slow(struct h2_client *c, const struct pace *before, uint64_t bytes)
{
    for (struct h2_stream *s = c->streams, *next; s != NULL; s = next) {
        struct pace p = *before;

        next = s->next;
        if (s->r->open_ended || !s->head || pace_moved(&p, clock_ms(), bytes, s->r->scope->policy.min_rate))
            continue;
        count_client_error(c->conn.listener, SLOTS_ERROR_LIMIT);
        s->broken = true;
        h2_stream_news(s);
    }
}

static void
keep_pace(struct h2_client *c, uint64_t bytes)
{
    struct pace before = c->watch->down;

    if (before.since == 0)
        return;
    pace_moved(&c->watch->down, clock_ms(), bytes, 0);
    if (c->watch->down.waited >= PACE_GRACE_MS)
        give_up_slow(c, &before, bytes);
}

/* 1 all of the wire is with the channel, 0 it is full, -1 lost. */
static int
write_some(struct h2_client *c, size_t *budget)
{
    uint64_t before = c->sent;
    int result = 1;

    while (c->wire.bytes > 0 && *budget > 0) {
        struct iovec iov[IOVECS];
        int count = flow_iov(&c->wire, iov, IOVECS, SIZE_MAX);
        ssize_t n = c->conn.ch.io.writable ? channel_write(&c->conn.ch, iov, count, false) : 0;

        if (n < 0)
            result = errno == EAGAIN ? 0 : -1;
        if (n <= 0) {
            result = n == 0 ? 0 : result;
            break;
        }
        flow_eat(&c->wire, (size_t)n);
        c->sent += (uint64_t)n;
        *budget -= (size_t)n < *budget ? (size_t)n : *budget;
    }
    if (result == 0)
        c->conn.ch.io.writable = false;
    if (c->sent != before)
        keep_pace(c, c->sent - before);
    return result;
}

/* Streams whose last byte has left: their requests are over. */
static void
finish(struct h2_client *c)
{
    while (c->ending != NULL && c->ending->wire_end <= c->sent) {
        struct h2_stream *s = c->ending;
        struct request *r = s->r;
        bool open = !s->closed;

        if (s->status == 0)
            h2_score_credit(&c->watch->score, H2_MERIT_REQUEST);
        h2_stream_forget(s);
        if (open)               /* RFC 9113 8.1: the rest of the request is of no interest */
            nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
        pipeline_sent(r);
    }
}

static struct h2_stream *
moved(struct h2_client *c)
{
    struct h2_stream *s = c->streams;

    while (s != NULL && s->moved == 0)
        s = s->next;
    return s;
}

/* Sources hear of the room that there is now. What they do may end any stream: the look begins anew. */
static void
tell_room(struct h2_client *c)
{
    struct h2_stream *s;

    while ((s = moved(c)) != NULL) {
        struct request *r = s->r;
        size_t n = s->moved;

        s->moved = 0;
        if (!pace_moved(&s->down, clock_ms(), n, r->scope->policy.min_rate) && !r->open_ended) {
            count_client_error(r->listener, SLOTS_ERROR_LIMIT);
            s->broken = true;
            h2_stream_news(s);
        } else if (!s->is_ending) {
            pipeline_drained(r);
        }
    }
}

int
h2_send_flush(struct h2_client *c, size_t *budget)
{
    int result = 1;

    do {
        if (!fill(c))
            return -1;
        if (c->wire.bytes == 0)
            break;
        result = write_some(c, budget);
        finish(c);
        tell_room(c);
    } while (result == 1 && *budget > 0);
    finish(c);
    if (result == 1 && c->wire.bytes == 0) {
        result = channel_flush(&c->conn.ch);
        if (result == 0)
            c->conn.ch.io.writable = false;
    }
    c->blocked = result == 0;
    if (c->blocked)
        pace_wait(&c->watch->down, clock_ms());
    return result;
}

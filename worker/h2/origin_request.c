/*
 * Requests go out over HTTP/2: a head in HEADERS (RFC 9113 8.3.1), content in DATA as far as the server's windows
 * allow, without being copied, trailers in HEADERS again. A WebSocket is an extended CONNECT (RFC 8441).
 */
#include "worker/base/log.h"
#include "worker/h2/origin.h"
#include "worker/hop.h"
#include "worker/variable.h"

#define PSEUDO_MOST 5
#define FRAME_HEAD 9

struct block {
    nghttp2_nv *v;
    size_t n;
};

static void
put(struct block *b, struct str name, struct str value, uint8_t flags)
{
    b->v[b->n++] = (nghttp2_nv){
        .name = (uint8_t *)(uintptr_t)name.p, .namelen = name.n,
        .value = (uint8_t *)(uintptr_t)value.p, .valuelen = value.n, .flags = flags,
    };
}

static struct block
block_new(struct arena *a, size_t n)
{
    return (struct block){.v = arena_alloc(a, n * sizeof(nghttp2_nv))};
}

static struct str
join(struct arena *a, struct str path, struct str query)
{
    return query.n > 0 ? arena_printf(a, "%.*s%.*s", STR_ARG(path), STR_ARG(query)) : path;
}

static void
put_pseudo(struct block *b, struct request *r)
{
    struct str path, query, host = fields_value(&r->forward, FIELD_HOST);

    hop_target(r, &path, &query);
    put(b, STR(":method"), r->wants_upgrade ? STR("CONNECT") : r->method_text, NGHTTP2_NV_FLAG_NONE);
    if (r->wants_upgrade)
        put(b, STR(":protocol"), STR("websocket"), NGHTTP2_NV_FLAG_NONE);
    put(b, STR(":scheme"), r->upstream->tls.on ? STR("https") : STR("http"), NGHTTP2_NV_FLAG_NONE);
    if (host.n > 0)
        put(b, STR(":authority"), host, NGHTTP2_NV_FLAG_NONE);
    /* no table gains by it, and whoever meant it to be a secret has said so (RFC 7541 6.2.3) */
    put(b, STR(":path"), join(r->arena, path, query), NGHTTP2_NV_FLAG_NO_INDEX);
}

/* What has no place in HTTP/2 (RFC 9113 8.2.2), whoever has put it there; Content-Length is said anew. */
static bool
is_left_out(const struct request *r, const struct field *f)
{
    switch (f->id) {
    case FIELD_CONNECTION:
    case FIELD_CONTENT_LENGTH:
    case FIELD_HOST:
    case FIELD_HTTP2_SETTINGS:
    case FIELD_KEEP_ALIVE:
    case FIELD_PROXY_CONNECTION:
    case FIELD_TRANSFER_ENCODING:
    case FIELD_UPGRADE:
        return true;
    case FIELD_TE:
        return !str_ieq(f->value, STR("trailers"));
    case FIELD_OTHER:
        return r->wants_upgrade && str_ieq(f->name, STR("Sec-WebSocket-Key"));
    default:
        return false;
    }
}

/* A secret, or what is said to be one, is kept out of the table that all requests share (RFC 7541 6.2.3, 7.1.3). */
static uint8_t
flags_of(const struct field *f)
{
    bool secret = f->secret || f->id == FIELD_COOKIE || f->id == FIELD_AUTHORIZATION;

    return secret ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE;
}

static struct block
make_head(struct request *r)
{
    struct block b = block_new(r->arena, r->forward.n + PSEUDO_MOST + 1);

    put_pseudo(&b, r);
    for (size_t i = 0; i < r->forward.n; i++) {
        const struct field *f = &r->forward.v[i];

        if (!f->gone && !is_left_out(r, f))
            put(&b, f->name, f->value, flags_of(f));
    }
    if (r->request.length != LENGTH_UNKNOWN && !r->wants_upgrade && hop_announces(r))
        put(&b, STR("content-length"), variable_decimal(r, (uint64_t)r->request.length), NGHTTP2_NV_FLAG_NONE);
    return b;
}

/* libnghttp2 writes them after the last DATA. False: there are none. */
static bool
submit_trailers(nghttp2_session *session, struct h2_exchange *s)
{
    struct request *r = s->x.r;
    const struct fields *f = &r->request.trailers;
    struct block b = block_new(r->arena, f->n);

    for (size_t i = 0; i < f->n; i++)
        if (!f->v[i].gone && hop_trailer(r, &r->request, &f->v[i]))
            put(&b, f->v[i].name, f->v[i].value, flags_of(&f->v[i]));
    return b.n > 0 && nghttp2_submit_trailer(session, s->id, b.v, b.n) == 0;
}

static ssize_t
read_content(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length, uint32_t *flags,
             nghttp2_data_source *source, void *user)
{
    struct h2_exchange *s = nghttp2_session_get_stream_user_data(session, id);
    struct flow *body;
    size_t n;

    (void)buf;
    (void)source;
    (void)user;
    if (s == NULL)
        return NGHTTP2_ERR_DEFERRED;
    body = &s->x.r->request.body;
    n = flow_in_pieces(body) < length ? flow_in_pieces(body) : length;
    if ((s->x.r->wants_upgrade && !s->tunnel) || (n == 0 && !body->ended)) {
        s->asleep = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (!body->ended || n < body->bytes)
        return (ssize_t)n;
    if (s->x.r->request.length != LENGTH_UNKNOWN && !s->tunnel &&
        s->content_sent + n != (uint64_t)s->x.r->request.length)
        log_bug(__FILE__, __LINE__, "content longer or shorter than announced");
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (submit_trailers(session, s))
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    s->out_done = true;
    return (ssize_t)n;
}

bool
h2_request_submit(struct h2_exchange *s)
{
    struct request *r = s->x.r;
    struct block b = make_head(r);
    nghttp2_data_provider content = {.read_callback = read_content};
    bool has_content = r->request.length != 0 || r->wants_upgrade;
    int32_t id = nghttp2_submit_request(s->c->session, NULL, b.v, b.n, has_content ? &content : NULL, s);

    if (id < 0)
        return false;
    s->id = id;
    s->out_done = !has_content;
    return true;
}

void
h2_request_resume(struct h2_exchange *s)
{
    if (!s->asleep)
        return;
    s->asleep = false;
    if (nghttp2_session_resume_data(s->c->session, s->id) == 0)
        h2_origin_post(s->c);
}

int
h2_request_data(struct h2_exchange *s, const uint8_t *head, size_t n)
{
    struct h2_origin *c = s->c;

    flow_copy(&c->wire, (struct str){(const char *)head, FRAME_HEAD});
    exchange_sends(&s->x, n);
    flow_move(&c->wire, &s->x.r->request.body, n);
    s->content_sent += n;
    s->x.sent += n + FRAME_HEAD;
    s->moved = true;
    h2_origin_news(s);
    return c->wire.bytes < H2_ORIGIN_WIRE_MOST ? 0 : NGHTTP2_ERR_PAUSE;
}

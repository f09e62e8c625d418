/*
 * Requests come in over HTTP/2: fields, content and trailers of a stream become a struct request. What is malformed
 * (RFC 9113 8.1.1) and not found by libnghttp2 is found here, and resets its stream; what is over weir's limits is
 * answered. Called from inside libnghttp2, so nothing here calls the pipeline, h2_front_eaten apart.
 */
#include <ctype.h>

#include "worker/base/clock.h"
#include "worker/h2/client.h"
#include "worker/host.h"
#include "worker/state.h"

#define BOMB 4                  /* times a limit: so much nobody sends by mistake */
#define HOLD_LEAST 8192         /* shorter pieces are copied: what is held pins a whole buffer */

/* --- limits: before anything is stored --- */

static const struct limits *
limits(void)
{
    return &worker.conf->scope.policy.limits;
}

static void
refuse(struct h2_stream *s, int status)
{
    if (s->status != 0)
        return;
    s->status = status;
    s->overlong = s->started;
}

/* What is no field over HTTP/1 counts for its first line; :authority is Host there. */
static bool
is_line(struct str name)
{
    return name.n > 0 && name.p[0] == ':' && !str_eq(name, STR(":authority"));
}

/* What all streams hold is bounded too: a field of the table's is said again in a byte. One may have its limit. */
static void
hold(struct h2_stream *s, size_t n)
{
    size_t one = limits()->request_line + limits()->request_headers;

    if (s->c->heads + n > (one > H2_HEADS_MOST ? one : H2_HEADS_MOST))
        refuse(s, 431);
    if (s->status != 0)
        return;
    s->held += n;
    s->c->heads += n;
}

/* False: it is a bomb. */
static bool
count_field(struct h2_stream *s, struct str name, struct str value)
{
    const struct limits *l = limits();

    if (is_line(name)) {
        s->line_size += value.n + 1;
        if (s->line_size > l->request_line)
            refuse(s, 414);
        return s->line_size <= BOMB * l->request_line;
    }
    s->fields_size += name.n + value.n + 4;
    s->field_count++;
    if (name.n + value.n + 2 > l->request_header || s->fields_size > l->request_headers ||
        s->field_count > (size_t)l->request_header_count)
        refuse(s, 431);
    return s->fields_size <= BOMB * l->request_headers && s->field_count <= BOMB * (size_t)l->request_header_count;
}

/* --- fields --- */

/* RFC 9113 8.3.1: it and Host say the same. */
static bool
agrees(struct h2_stream *s, struct str value)
{
    struct arena *a = s->r->arena;
    struct host one, other;

    if (str_ieq(s->authority, value))
        return true;
    return host_parse(&one, s->authority, a) == 0 && host_parse(&other, value, a) == 0 &&
           host_equal(&one, &other, s->r->tls != NULL);
}

static void
take_pseudo(struct h2_stream *s, struct str name, struct str value)
{
    struct request *r = s->r;

    if (str_eq(name, STR(":method"))) {
        r->method_text = value;
    } else if (str_eq(name, STR(":path"))) {
        r->target = value;
    } else if (str_eq(name, STR(":scheme"))) {
        s->scheme = value;
    } else if (str_eq(name, STR(":protocol"))) {
        s->connect = value;
    } else if (str_eq(name, STR(":authority"))) {
        s->authority = value;
        s->malformed |= value.n == 0 || memchr(value.p, '@', value.n) != NULL;
        fields_add_id(&r->request.fields, FIELD_HOST, value);
    }
}

/* RFC 9113 8.2: what libnghttp2 lets through of it. */
static bool
is_well_formed(struct str name, struct str value)
{
    if (name.n == 0 || !field_is_token(name) || !field_is_value(value))
        return false;
    return value.n == 0 || (!isblank((unsigned char)value.p[0]) && !isblank((unsigned char)value.p[value.n - 1]));
}

static void
take_field(struct h2_stream *s, struct str name, struct str value, bool secret)
{
    struct fields *f = &s->r->request.fields;
    enum field_id id = field_id(name);

    s->malformed |= !is_well_formed(name, value);
    switch (id) {
    case FIELD_HOST:
        if (s->authority.p != NULL) {
            s->malformed |= !agrees(s, value);
            return;
        }
        s->malformed |= fields_find_id(f, FIELD_HOST) != NULL || memchr(value.p, '@', value.n) != NULL;
        break;
    case FIELD_CONNECTION:
    case FIELD_KEEP_ALIVE:
    case FIELD_PROXY_CONNECTION:
    case FIELD_TRANSFER_ENCODING:
    case FIELD_UPGRADE:
    case FIELD_HTTP2_SETTINGS:
        s->malformed = true;
        return;
    case FIELD_TE:
        s->malformed |= !str_ieq(value, STR("trailers"));
        break;
    default:
        break;
    }
    fields_add(f, name, value)->secret = secret;
    if (str_eq(name, STR("priority")))
        h2_front_priority(&s->priority, value);
}

bool
h2_front_field(struct h2_stream *s, bool trailer, struct str name, struct str value, bool secret)
{
    struct request *r = s->r;

    if (!count_field(s, name, value))
        return false;
    hold(s, name.n + value.n);
    if (s->status != 0)
        return true;
    name = arena_copy(r->arena, name);
    value = arena_copy(r->arena, value);
    if (trailer) {
        s->malformed |= !is_well_formed(name, value);
        fields_add(&r->request.trailers, name, value)->secret = secret;
    } else if (name.n > 0 && name.p[0] == ':') {
        take_pseudo(s, name, value);
    } else {
        take_field(s, name, value, secret);
    }
    return true;
}

/* RFC 9218 4: a dictionary of which u and i are known; what is neither is left alone. */
void
h2_front_priority(nghttp2_extpri *p, struct str value)
{
    struct str member;

    while (str_list_next(&value, &member)) {
        if (member.n == 3 && member.p[0] == 'u' && member.p[1] == '=' && member.p[2] >= '0' && member.p[2] <= '7')
            p->urgency = (uint32_t)(member.p[2] - '0');
        else if (str_eq(member, STR("i")) || str_eq(member, STR("i=?1")))
            p->inc = 1;
        else if (str_eq(member, STR("i=?0")))
            p->inc = 0;
    }
}

/* --- heads --- */

/* RFC 9113 8.2.3 */
static void
join_cookies(struct request *r)
{
    struct fields *f = &r->request.fields;
    struct field *first = fields_find_id(f, FIELD_COOKIE);
    size_t n = 0, count = 0;
    char *text, *at;

    for (size_t i = 0; first != NULL && i < f->n; i++)
        if (f->v[i].id == FIELD_COOKIE) {
            n += f->v[i].value.n + 2;
            count++;
        }
    if (count < 2)
        return;
    at = text = arena_alloc(r->arena, n);
    for (size_t i = 0; i < f->n; i++)
        if (f->v[i].id == FIELD_COOKIE) {
            at = mempcpy(at, f->v[i].value.p, f->v[i].value.n);
            at = mempcpy(at, "; ", 2);
            f->v[i].gone = &f->v[i] != first;
        }
    first->value = (struct str){text, n - 2};
}

static bool
is_trusted(const struct request *r)
{
    const struct cidr_list *proxies = &r->conf->trusted_proxies;

    return r->peer.family == 0 ? proxies->unix_peers : cidr_list_has(proxies, &r->peer);
}

/*
 * RFC 9110 7.4: what was asked for over another scheme than the connection's is misdirected. A trusted proxy may have
 * ended TLS, and says so.
 */
static void
check_scheme(struct h2_stream *s)
{
    struct request *r = s->r;

    if (s->scheme.p == NULL)
        return;                 /* a CONNECT, which ends elsewhere */
    if (str_ieq(s->scheme, STR("https"))) {
        if (r->tls == NULL && !is_trusted(r))
            refuse(s, 421);
        else if (r->tls == NULL && fields_find_id(&r->request.fields, FIELD_X_FORWARDED_PROTO) == NULL)
            fields_add_id(&r->request.fields, FIELD_X_FORWARDED_PROTO, STR("https"));
    } else if (str_ieq(s->scheme, STR("http"))) {
        if (r->tls != NULL)
            refuse(s, 421);
    } else {
        refuse(s, 400);
    }
}

static void
set_length(struct h2_stream *s, bool end)
{
    struct request *r = s->r;
    struct str value = fields_value(&r->request.fields, FIELD_CONTENT_LENGTH);
    long long n = value.p != NULL ? str_decimal(value) : -1;

    s->malformed |= value.p != NULL && n < 0;
    r->request.length = n >= 0 ? n : end ? 0 : LENGTH_UNKNOWN;
}

/* A CONNECT has no path; what it is for goes to the log. */
static void
set_target(struct h2_stream *s)
{
    struct request *r = s->r;

    if (s->connect.n > 0 && !h2_connect_begin(s))
        refuse(s, 501);
    if (r->target.p == NULL)
        r->target = s->authority;
}

void
h2_front_head(struct h2_stream *s, bool end)
{
    struct request *r = s->r;

    r->bytes_received += s->c->block_bytes;
    s->headed = true;
    set_length(s, end);
    if (s->malformed) {
        nghttp2_submit_rst_stream(s->c->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_PROTOCOL_ERROR);
        h2_client_post(s->c);
        return;
    }
    join_cookies(r);
    check_scheme(s);
    set_target(s);
    h2_stream_news(s);
}

/* --- content --- */

static void
put(struct h2_stream *s, struct buffer *b, struct str bytes)
{
    struct flow *body = s->connect.n > 0 && !s->tunnel ? &s->early : &s->r->request.body;

    if (b != NULL && bytes.n >= HOLD_LEAST)
        flow_put_held(body, b, bytes);
    else
        flow_copy(body, bytes);
    body->stopped = true;       /* whoever eats of it says so */
}

void
h2_front_data(struct h2_stream *s, struct buffer *b, struct str bytes)
{
    s->received += bytes.n;
    /*
     * The last byte of what was announced is kept until END_STREAM: should more come than was announced, no server
     * has had the whole of it.
     */
    if (bytes.n > 0 && s->r->request.length > 0 && s->received == (uint64_t)s->r->request.length) {
        s->last = bytes.p[--bytes.n];
        s->last_held = true;
    }
    put(s, b, bytes);
    s->fresh = true;
    h2_stream_news(s);
}

void
h2_front_end(struct h2_stream *s)
{
    struct request *r = s->r;

    s->complete = true;
    if (s->overlong) {
        h2_stream_news(s);
        return;
    }
    if (s->malformed) {         /* trailers; a head was dealt with */
        nghttp2_submit_rst_stream(s->c->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_PROTOCOL_ERROR);
        h2_client_post(s->c);
        return;
    }
    if (s->last_held)
        put(s, NULL, (struct str){&s->last, 1});
    s->last_held = false;
    if (s->connect.n == 0 || s->tunnel)
        r->request.body.ended = true;
    s->fresh = s->fresh || s->started;
    h2_stream_news(s);
}

void
h2_front_eaten(struct h2_stream *s)
{
    nghttp2_session *session = s->c->session;
    struct flow *body = &s->r->request.body;
    bool grows = false;
    size_t n;

    if (body->bytes > 0)
        body->stopped = true;
    if (s->complete || s->closed)
        return;
    n = h2_window_eaten(&s->window, body->passed - body->bytes, body->bytes, &s->c->spare, &grows);
    if (n > 0)
        nghttp2_session_consume_stream(session, s->id, n);
    if (grows) {
        nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, s->id, (int32_t)s->window.size);
        body->high = s->window.size;
    }
    h2_client_post(s->c);
}

/*
 * Serialising HTTP/1. It alone knows how a message looks on the wire. The length of a head is
 * computed before a byte of it is written.
 */
#include "worker/h1/write.h"

#include <errno.h>

#include "worker/base/clock.h"
#include "worker/base/iov.h"
#include "worker/base/log.h"
#include "worker/hop.h"

#define IOVECS 32
#define COPY_MOST 2048          /* content that goes behind its framing at less cost than out of a place of its own */

/* Text that is put together in memory of a length computed before. */
struct text {
    char *at;
    char *end;
};

static void
put(struct text *t, struct str s)
{
    if (s.n > 0)
        memcpy(t->at, s.p, s.n);
    t->at += s.n;
}

static void
put_decimal(struct text *t, uint64_t n)
{
    char digits[20];
    size_t at = sizeof digits;

    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    put(t, (struct str){digits + at, sizeof digits - at});
}

static size_t
fields_size(const struct fields *f)
{
    size_t n = 0;

    for (size_t i = 0; i < f->n; i++)
        if (!f->v[i].gone)
            n += f->v[i].name.n + f->v[i].value.n + 4;
    return n;
}

/* Every field of a message comes by here. */
static inline char *
field_line(char *at, struct str name, struct str value)
{
    at = mempcpy(at, name.p, name.n);
    at = mempcpy(at, ": ", 2);
    if (value.n > 0)
        at = mempcpy(at, value.p, value.n);
    return mempcpy(at, "\r\n", 2);
}

static void
put_field(struct text *t, struct str name, struct str value)
{
    t->at = field_line(t->at, name, value);
}

static void
put_fields(struct text *t, const struct fields *f)
{
    char *at = t->at;

    for (size_t i = 0, n = f->n; i < n; i++)
        if (!f->v[i].gone)
            at = field_line(at, f->v[i].name, f->v[i].value);
    t->at = at;
}

void
h1_write_init(struct h1_writer *w)
{
    *w = (struct h1_writer){.framing = H1_NO_BODY};
    flow_init(&w->wire, H1_WIRE_MOST);
}

void
h1_write_clear(struct h1_writer *w)
{
    flow_clear(&w->wire);
    if (w->scratch != NULL)
        buffer_drop(w->scratch);
    w->scratch = NULL;
}

/* Space for n bytes of text, in the scratch buffer where it fits. */
static struct text
begin(struct h1_writer *w, size_t n)
{
    if (w->scratch != NULL && w->scratch->size - w->scratch->fill < n) {
        buffer_drop(w->scratch);
        w->scratch = NULL;
    }
    if (w->scratch == NULL)
        w->scratch = n <= BUFFER_SIZE ? buffer_get() : buffer_get_large(n);
    return (struct text){w->scratch->data + w->scratch->fill, w->scratch->data + w->scratch->fill + n};
}

static void
end(struct h1_writer *w, const struct text *t)
{
    char *start = w->scratch->data + w->scratch->fill;

    check(t->at <= t->end);
    flow_put_held(&w->wire, w->scratch, (struct str){start, (size_t)(t->at - start)});
    w->scratch->fill += (size_t)(t->at - start);
}

/* How content of that length is framed for a peer of that version. */
static void
choose_framing(struct h1_writer *w, int64_t length, bool chunks)
{
    if (length != LENGTH_UNKNOWN) {
        w->framing = H1_LENGTH;
        w->left = (uint64_t)length;
    } else {
        w->framing = chunks ? H1_CHUNKED : H1_UNTIL_CLOSE;
    }
    w->head = true;
}

static void
put_framing(struct text *t, const struct h1_writer *w)
{
    if (w->framing == H1_CHUNKED) {
        put(t, STR("Transfer-Encoding: chunked\r\n"));
    } else if (w->framing == H1_LENGTH) {
        put(t, STR("Content-Length: "));
        put_decimal(t, w->left);
        put(t, STR("\r\n"));
    }
}

#define FRAMING_MOST 64         /* Content-Length or Transfer-Encoding, Connection, and the empty line */

/* TE has to be named by Connection (RFC 9110 10.1.4). */
static void
put_request_connection(struct text *t, const struct request *r, bool keep_alive)
{
    bool te = fields_find_id(&r->forward, FIELD_TE) != NULL;

    if (r->wants_upgrade)
        put(t, te ? STR("Connection: Upgrade, TE\r\nUpgrade: websocket\r\n")
                  : STR("Connection: Upgrade\r\nUpgrade: websocket\r\n"));
    else if (!keep_alive)
        put(t, te ? STR("Connection: close, TE\r\n") : STR("Connection: close\r\n"));
    else if (te)
        put(t, STR("Connection: TE\r\n"));
}

void
h1_write_request(struct h1_writer *w, struct request *r, bool keep_alive)
{
    struct str path, query;
    struct text t;

    hop_target(r, &path, &query);
    t = begin(w, r->method_text.n + path.n + query.n + fields_size(&r->forward) + FRAMING_MOST + 64);
    put(&t, r->method_text);
    put(&t, STR(" "));
    put(&t, path);
    put(&t, query);
    put(&t, STR(" HTTP/1.1\r\n"));
    put_fields(&t, &r->forward);
    choose_framing(w, r->request.length, true);
    if (hop_announces(r))
        put_framing(&t, w);
    put_request_connection(&t, r, keep_alive);
    if (r->wants_upgrade)
        w->framing = H1_UNTIL_CLOSE;    /* what follows waits for the 101: h1/origin.c */
    put(&t, STR("\r\n"));
    end(w, &t);
    if (!r->wants_upgrade && w->framing == H1_LENGTH && w->left == 0)
        w->done = true;
}

static void
put_status(struct text *t, int status, struct str reason)
{
    char line[] = "HTTP/1.1 000 ";

    line[9] = (char)('0' + status / 100);
    line[10] = (char)('0' + status / 10 % 10);
    line[11] = (char)('0' + status % 10);
    put(t, (struct str){line, sizeof line - 1});
    put(t, reason);
    put(t, STR("\r\n"));
}

/* What the response says of its length: nothing for 204 (RFC 9110 8.6) and 304 and HEAD without one. */
static void
put_response_framing(struct text *t, struct h1_writer *w, struct request *r)
{
    if (r->tunnel) {
        w->framing = H1_UNTIL_CLOSE;
        w->head = true;
        return;
    }
    choose_framing(w, r->response.length, r->minor > 0);
    if (!r->no_content) {
        put_framing(t, w);
        return;
    }
    if (w->framing == H1_LENGTH && r->status != 204)
        put_framing(t, w);
    w->framing = H1_NO_BODY;
}

static void
put_connection(struct text *t, const struct request *r, bool close)
{
    if (r->tunnel)
        put(t, STR("Connection: Upgrade\r\nUpgrade: websocket\r\n"));
    else if (close)
        put(t, STR("Connection: close\r\n"));
    else if (r->minor == 0)
        put(t, STR("Connection: keep-alive\r\n"));
}

void
h1_write_response(struct h1_writer *w, struct request *r, bool close)
{
    struct fields *f = &r->response.fields;
    bool dated = r->response.block.n > 0 || fields_find_id(f, FIELD_DATE) != NULL;
    struct str date = clock_http_date();
    struct text t = begin(w, 16 + r->reason.n + r->response.block.n + fields_size(f) + date.n + 16 + 2 * FRAMING_MOST);

    put_status(&t, r->status, r->reason);
    put(&t, r->response.block);
    put_fields(&t, f);
    if (!dated && !r->tunnel)
        put_field(&t, STR("Date"), date);   /* RFC 9110 6.6.1 */
    put_response_framing(&t, w, r);
    put_connection(&t, r, close);
    put(&t, STR("\r\n"));
    end(w, &t);
    w->done = w->framing == H1_NO_BODY;
}

void
h1_write_interim(struct h1_writer *w, struct request *r, int status)
{
    struct text t = begin(w, 16 + r->reason.n + fields_size(&r->response.fields) + 2);

    put_status(&t, status, r->reason);
    put_fields(&t, &r->response.fields);
    put(&t, STR("\r\n"));
    end(w, &t);
}

/* chunk-size CRLF (RFC 9112 7.1) */
static void
write_chunk_head(struct h1_writer *w, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    char digits[16];
    size_t at = sizeof digits;
    struct text t = begin(w, sizeof digits + 2);

    do {
        digits[--at] = hex[n & 15];
        n >>= 4;
    } while (n > 0);
    put(&t, (struct str){digits + at, sizeof digits - at});
    put(&t, STR("\r\n"));
    end(w, &t);
}

static size_t
trailers_size(const struct request *r, struct message *m)
{
    struct fields *f = &m->trailers;

    for (size_t i = 0; i < f->n; i++)
        if (!hop_trailer(r, m, &f->v[i]))
            f->v[i].gone = true;
    return fields_size(f);
}

static void
write_last_chunk(struct h1_writer *w, struct request *r, struct message *m)
{
    struct text t;
    size_t n = trailers_size(r, m);

    if (n == 0) {
        flow_put_static(&w->wire, STR("0\r\n\r\n"));
        return;
    }
    t = begin(w, n + 8);
    put(&t, STR("0\r\n"));
    put_fields(&t, &m->trailers);
    put(&t, STR("\r\n"));
    end(w, &t);
}

static void
copy(struct h1_writer *w, struct flow *body, size_t n)
{
    struct text t = begin(w, n);

    flow_take(body, t.at, n);
    t.at += n;
    end(w, &t);
}

static void
move(struct h1_writer *w, struct flow *body, size_t n)
{
    if (w->framing == H1_CHUNKED)
        write_chunk_head(w, n);
    if (n <= COPY_MOST && w->wire.bytes > 0)
        copy(w, body, n);
    else
        flow_move(&w->wire, body, n);
    if (w->framing == H1_CHUNKED)
        flow_put_static(&w->wire, STR("\r\n"));
    if (w->framing == H1_LENGTH)
        w->left -= n;
}

/* The body ended whole: so must the message. */
static bool
finish(struct h1_writer *w, struct request *r, struct message *m)
{
    if (w->framing == H1_LENGTH && w->left != 0)
        return false;
    if (w->framing == H1_CHUNKED)
        write_last_chunk(w, r, m);
    w->done = true;
    return true;
}

bool
h1_write_body(struct h1_writer *w, struct request *r, struct message *m)
{
    size_t most = m->body.weightless ? H1_WIRE_WEIGHTLESS : H1_WIRE_MOST;

    while (!w->done && w->wire.bytes < most) {
        size_t n = flow_in_pieces(&m->body);

        if (n > most)
            n = most;
        if (w->framing == H1_LENGTH && n > w->left)
            return false;
        if (n == 0)
            break;
        move(w, &m->body, n);
    }
    if (!w->done && m->body.ended && m->body.bytes == 0)
        return finish(w, r, m);
    return true;
}

/* Nothing on the wire points into it: framing starts at its front again, or the message is over and needs no more. */
static void
renew(struct h1_writer *w)
{
    w->scratch->fill = 0;
    if (!w->done)
        return;
    buffer_drop(w->scratch);
    w->scratch = NULL;
}

int
h1_write_flush(struct h1_writer *w, struct channel *ch, uint64_t *sent, bool more)
{
    while (w->wire.bytes > 0) {
        struct iovec iov[IOVECS];
        int count = flow_iov(&w->wire, iov, IOVECS, SIZE_MAX);
        size_t all = iov_length(iov, count);
        ssize_t n = channel_write(ch, iov, count, more);

        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        *sent += (uint64_t)n;
        flow_eat(&w->wire, (size_t)n);
        if ((size_t)n < all && (ch->tls == NULL || !ch->io.writable))
            return 0;           /* the socket is full: the kernel knows that we know */
    }
    if (w->scratch != NULL && w->scratch->holds == 1)
        renew(w);
    return channel_flush(ch);
}

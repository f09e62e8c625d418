/*
 * A check over HTTP/2, with nghttp2: one GET on a connection of its own, and the status of its response. Whatever the
 * server sends besides is bounded by how much is read for a check. A check is ended outside of nghttp2's callbacks,
 * which only take notes.
 */
#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>

#include "config.h"
#include "worker/base/log.h"
#include "worker/upstream/dial.h"
#include "worker/upstream/probe_parts.h"

#define READ_SIZE 16384

struct talk {
    nghttp2_session *session;
    int32_t stream;
    size_t received;
    const uint8_t *out;         /* nghttp2's, until it is asked for more */
    size_t out_n;
    int status;                 /* of the head that is being read, or was last */
    unsigned interims;
    bool answered;              /* the final head is there */
    bool closed;                /* the stream is */
    uint32_t error;             /* its error code, then */
};

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
          const uint8_t *value, size_t value_n, uint8_t flags, void *with)
{
    struct talk *x = ((struct probe *)with)->talk;

    (void)session;
    (void)flags;
    if (frame->hd.stream_id == x->stream && !x->answered && name_n == 7 && memcmp(name, ":status", 7) == 0)
        x->status = (int)str_decimal((struct str){(const char *)value, value_n});
    return 0;
}

static int
on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *with)
{
    struct talk *x = ((struct probe *)with)->talk;

    (void)session;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->hd.stream_id != x->stream || x->answered)
        return 0;
    x->answered = x->status >= 200;
    x->interims += !x->answered;
    return 0;
}

static int
on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *with)
{
    struct talk *x = ((struct probe *)with)->talk;

    (void)session;
    if (stream == x->stream) {
        x->closed = true;
        x->error = error;
    }
    return 0;
}

static nghttp2_session *
open_session(struct probe *p)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_session *session = NULL;

    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return NULL;
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    if (nghttp2_session_client_new(&session, callbacks, p) != 0)
        session = NULL;
    nghttp2_session_callbacks_del(callbacks);
    return session;
}

static nghttp2_nv
field(struct str name, struct str value)
{
    return (nghttp2_nv){.name = (uint8_t *)name.p, .namelen = name.n, .value = (uint8_t *)value.p, .valuelen = value.n};
}

/* False: out of memory. */
static bool
ask(struct probe *p)
{
    struct talk *x = p->talk;
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
    const nghttp2_nv fields[] = {
        field(STR(":method"), STR("GET")),
        field(STR(":scheme"), p->ch.tls != NULL ? STR("https") : STR("http")),
        field(STR(":authority"), probe_host(p)),
        field(STR(":path"), probe_checks(p)->http),
        field(STR("user-agent"), STR("weir/" PACKAGE_VERSION " health check")),
        field(STR("accept"), STR("*/*")),
    };

    if (nghttp2_submit_settings(x->session, NGHTTP2_FLAG_NONE, settings, 1) != 0)
        return false;
    x->stream = nghttp2_submit_request(x->session, NULL, fields, sizeof(fields) / sizeof(fields[0]), NULL, NULL);
    return x->stream > 0;
}

/* More of what nghttp2 has to say; false: it has nothing. */
static bool
fill(struct talk *x)
{
    ssize_t n = nghttp2_session_mem_send(x->session, &x->out);

    x->out_n = n > 0 ? (size_t)n : 0;
    return n > 0;
}

/* False: the check has ended. */
static bool
transmit(struct probe *p)
{
    struct talk *x = p->talk;

    while (p->ch.io.writable && (x->out_n > 0 || fill(x))) {
        struct iovec iov = {(uint8_t *)x->out, x->out_n};
        ssize_t n = channel_write(&p->ch, &iov, 1, false);

        if (n >= 0) {
            x->out += n;
            x->out_n -= (size_t)n;
        } else if (errno == EAGAIN) {
            p->ch.io.writable = false;
        } else {
            probe_bad(p, dial_lost(&p->ch));
            return false;
        }
    }
    if (channel_flush(&p->ch) >= 0)
        return true;
    probe_bad(p, dial_lost(&p->ch));
    return false;
}

/* What was noted. False: the check has ended. */
static bool
judge(struct probe *p)
{
    struct talk *x = p->talk;
    char why[64];

    if (x->answered) {
        probe_status(p, x->status);
        return false;
    }
    if (x->interims > PROBE_INTERIM_MOST) {
        probe_bad(p, "too many interim responses");
        return false;
    }
    if (x->closed) {
        snprintf(why, sizeof(why), "closed without a response: %s", nghttp2_http2_strerror(x->error));
        probe_bad(p, why);
        return false;
    }
    if (!nghttp2_session_want_read(x->session)) {
        probe_bad(p, "malformed response: it is no HTTP/2");
        return false;
    }
    return true;
}

/* RFC 9113 3.4: a server begins with SETTINGS. One that speaks HTTP/1 may be gone before libnghttp2 says so. */
static bool
begins_well(const char *bytes, size_t n)
{
    return n < 4 || bytes[3] == NGHTTP2_SETTINGS;
}

/* False: the check has ended. */
static bool
take(struct probe *p, const char *bytes, size_t n)
{
    struct talk *x = p->talk;
    bool well = x->received > 0 || begins_well(bytes, n);
    ssize_t result = nghttp2_session_mem_recv(x->session, (const uint8_t *)bytes, n);

    if (well && !judge(p))
        return false;
    if (!well || result < 0) {
        probe_bad(p, "malformed response: it is no HTTP/2");
        return false;
    }
    x->received += n;
    if (x->received > PROBE_READ_MOST) {
        probe_bad(p, "malformed or too large response");
        return false;
    }
    return true;
}

/* False: the check has ended. */
static bool
receive(struct probe *p)
{
    char bytes[READ_SIZE];
    ssize_t n;

    do {
        n = channel_read(&p->ch, bytes, sizeof(bytes));
        if (n == -2) {
            probe_bad(p, dial_lost(&p->ch));
            return false;
        }
        if (n == 0) {
            probe_bad(p, "closed without a response");
            return false;
        }
        if (n > 0 && !take(p, bytes, (size_t)n))
            return false;
    } while (n > 0);
    return true;
}

/* What was received may have to be answered; a stream that nghttp2 resets is closed once that is sent. */
static void
ready(struct probe *p)
{
    if (transmit(p) && receive(p) && transmit(p))
        judge(p);
}

static void
begin(struct probe *p)
{
    struct talk *x = p->talk = arena_zalloc(p->arena, sizeof(*x));

    x->session = open_session(p);
    check(x->session != NULL && ask(p));        /* a process without memory dies */
    ready(p);
}

static void
end(struct probe *p)
{
    struct talk *x = p->talk;

    nghttp2_session_del(x->session);
}

const struct probe_protocol probe_h2 = {.begin = begin, .ready = ready, .end = end};

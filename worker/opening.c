/*
 * What comes before HTTP on a client's connection, in this order: a PROXY header where the listener asks for one, the
 * TLS handshake, the choice of the protocol. All of it, and the first request's head, has client_header.
 *
 * A handshake costs a signature, which is long for all others in this worker: they stand in line, and each turn of the
 * loop takes one step that gets an answer. Those that get none cost little, and would hold up the line.
 */
#include <sys/socket.h>

#include "worker/base/arena.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/conn.h"
#include "worker/count.h"
#include "worker/h1/client.h"
#include "worker/h2/client.h"
#include "worker/peer.h"
#include "worker/proxy_protocol.h"
#include "worker/state.h"
#include "worker/tls/server.h"
#include "worker/tls/session.h"

#define STEPS_MOST 8            /* that get no answer, in a turn */

enum stage { STAGE_PROXY, STAGE_HANDSHAKE, STAGE_PREFACE };

struct opening {
    struct conn conn;
    enum stage stage;
    bool in_line;
    struct opening *next, **link;       /* in the line of handshakes */
};

_Static_assert(sizeof(struct opening) <= CONN_SIZE, "it is a protocol of its own");

static void take_step(struct task *t);

static struct opening *line, **line_end = &line;
static struct task next_step = {.run = take_step};

/* --- the line --- */

static void
stand_in_line(struct opening *o)
{
    if (o->in_line)
        return;
    o->in_line = true;
    o->next = NULL;
    o->link = line_end;
    *line_end = o;
    line_end = &o->next;
    loop_post(&next_step);
}

static void
leave_line(struct opening *o)
{
    if (!o->in_line)
        return;
    o->in_line = false;
    *o->link = o->next;
    if (o->next != NULL)
        o->next->link = o->link;
    else
        line_end = o->link;
}

/* --- the choice --- */

/* RFC 9113 3.4 */
static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static struct str
first_bytes(const struct conn *c)
{
    return c->first != NULL ? (struct str){c->first->data + c->first_at, c->first->fill - c->first_at} : STR_NONE;
}

/* One read behind what stands in `first`; as channel_read. Who has said nothing yet holds no buffer. */
static ssize_t
read_first(struct conn *c)
{
    ssize_t n;

    if (c->first == NULL)
        c->first = buffer_get();
    n = channel_read(&c->ch, c->first->data + c->first->fill, c->first->size - c->first->fill);
    if (n > 0) {
        c->first->fill += (size_t)n;
    } else if (c->first->fill == 0) {
        buffer_drop(c->first);
        c->first = NULL;
    }
    return n;
}

/* In the clear: HTTP/2 begins with its preface, anything else is HTTP/1. */
static void
read_preface(struct conn *c)
{
    for (;;) {
        struct str s = first_bytes(c);
        size_t n = s.n < sizeof(preface) - 1 ? s.n : sizeof(preface) - 1;
        ssize_t got;

        if (n > 0 && memcmp(s.p, preface, n) != 0) {
            conn_become(c, &h1_protocol);
            return;
        }
        if (n == sizeof(preface) - 1) {
            conn_become(c, &h2_protocol);
            return;
        }
        if ((got = read_first(c)) == -1)
            return;
        if (got <= 0) {
            conn_close(c);
            return;
        }
    }
}

/* --- TLS --- */

static void
begin_handshake(struct opening *o)
{
    struct conn *c = &o->conn;
    struct ssl_st *ssl = tls_server_open(&c->listener->tls);

    if (ssl == NULL) {
        log_warning("TLS: no memory for a connection");
        conn_close(c);
        return;
    }
    o->stage = STAGE_HANDSHAKE;
    tls_begin(&c->ch, ssl, true, first_bytes(c));
    if (c->first != NULL)
        buffer_drop(c->first);
    c->first = NULL;
    c->first_at = 0;
    if (c->ch.io.readable)
        stand_in_line(o);
}

/* For somebody who wrote http:// before this port. */
static const char use_https[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 40\r\n"
                                "Connection: close\r\n\r\nThis port speaks HTTPS: use https://...\n";

static void
handshake_failed(struct conn *c)
{
    const char *why = tls_why(&c->ch);
    char ip[46];
    size_t n = ip_format(&c->peer, ip);

    count_tls(c->listener, SLOTS_TLS_FAILED);
    if (tls_met_http(&c->ch))
        send(c->ch.io.fd, use_https, sizeof(use_https) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (why != NULL)
        log_info("%.*s: TLS handshake with %.*s: %s", STR_ARG(c->listener->text), (int)n, ip, why);
    conn_linger(c);             /* so that an alert arrives */
}

static void
handshake_done(struct conn *c)
{
    count_tls(c->listener, tls_resumed(&c->ch) ? SLOTS_TLS_RESUMED : SLOTS_TLS_FULL);
    c->facts = xcalloc(1, sizeof *c->facts);
    tls_server_facts(&c->listener->tls, tls_ssl(&c->ch), c->facts);
    conn_become(c, tls_is_h2(&c->ch) ? &h2_protocol : &h1_protocol);
}

/* True: more of the hello has to come, and nothing was said to it. */
static bool
take_one(struct opening *o)
{
    struct conn *c = &o->conn;
    uint64_t before = c->ch.sent;

    leave_line(o);
    switch (tls_handshake(&c->ch)) {
    case TLS_STEP_WAIT:
        if (c->ch.io.readable)
            stand_in_line(o);
        return !c->ch.io.readable && c->ch.sent == before;
    case TLS_STEP_FAILED:
        handshake_failed(c);
        break;
    case TLS_STEP_DONE:
        handshake_done(c);
        break;
    }
    return false;
}

static void
take_step(struct task *t)
{
    for (int i = 0; line != NULL && i < STEPS_MOST; i++)
        if (!take_one(line))
            break;
    if (line != NULL)
        loop_post(t);
}

/* --- the PROXY protocol --- */

static void
apply_proxy(struct conn *c, const struct proxy_header *h)
{
    c->first_at += h->size;
    if (h->carries) {
        c->peer = h->source.ip.family == AF_UNIX ? (struct ip){0} : h->source.ip;
        c->peer_port = h->source.port;
        c->local_port = h->destination.port;
    }
}

static bool
is_trusted(const struct ip *peer)
{
    const struct cidr_list *l = &worker.conf->trusted_proxies;

    return peer->family == 0 ? l->unix_peers : cidr_list_has(l, peer);
}

/* True once the header is read. */
static bool
read_proxy(struct conn *c)
{
    for (;;) {
        struct str s = first_bytes(c);
        struct proxy_header h;
        int result = 0;
        ssize_t n;

        if (!is_trusted(&c->peer))
            result = -1;
        else if (s.n > 0)
            result = proxy_header_parse(&h, s.p, s.n);
        if (result > 0) {
            apply_proxy(c, &h);
            if (peer_enter(c->listener, &c->peer, &c->peer_key))
                return true;
            conn_close(c);
            return false;
        }
        if (result < 0) {
            count_client_error(c->listener, SLOTS_ERROR_MALFORMED);
            conn_close(c);
            return false;
        }
        n = read_first(c);
        if (n == -1)
            return false;
        if (n <= 0) {
            conn_close(c);
            return false;
        }
    }
}

/* --- the stages --- */

static void
after_proxy(struct opening *o)
{
    struct conn *c = &o->conn;

    if (c->listener->tls.on) {
        begin_handshake(o);
    } else if (c->listener->h2c) {
        o->stage = STAGE_PREFACE;
        read_preface(c);
    } else {
        conn_become(c, &h1_protocol);
    }
}

static void
begin(struct conn *c)
{
    int64_t ms = worker.draining ? conn_drain_ms(c) : worker.conf->scope.policy.timeouts.client_header;

    if (ms > 0)
        timer_set(&c->timer, ms);
    conn_count(c, SLOTS_CONN_READING, true);
}

static void
ready(struct conn *c)
{
    struct opening *o = (struct opening *)c;

    switch (o->stage) {
    case STAGE_PROXY:
        if (!c->listener->proxy_protocol || read_proxy(c))
            after_proxy(o);
        break;
    case STAGE_HANDSHAKE:
        if (channel_flush(&c->ch) < 0)
            handshake_failed(c);
        else if (c->ch.io.readable)
            stand_in_line(o);
        break;
    case STAGE_PREFACE:
        read_preface(c);
        break;
    }
}

static void
expire(struct conn *c)
{
    const struct opening *o = (const struct opening *)c;

    if (o->stage == STAGE_HANDSHAKE) {
        count_tls(c->listener, SLOTS_TLS_FAILED);
        count_client_error(c->listener, SLOTS_ERROR_TIMEOUT);
    }
    conn_close(c);
}

static void
drain(struct conn *c)
{
    timer_set(&c->timer, conn_drain_ms(c));
}

static bool
begun(const struct conn *c)
{
    (void)c;
    return false;
}

static void
end(struct conn *c)
{
    leave_line((struct opening *)c);
}

const struct protocol conn_opening = {
    .name = "opening",
    .size = sizeof(struct opening),
    .begin = begin,
    .ready = ready,
    .expire = expire,
    .drain = drain,
    .begun = begun,
    .end = end,
};

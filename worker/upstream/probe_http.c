/*
 * A check over HTTP/1.1: a request goes out, and the head of its response comes in, whatever 1xx responses come before
 * it. Only transmit and receive touch what goes over the channel.
 */
#include <errno.h>

#include "config.h"
#include "worker/h1/parse.h"
#include "worker/state.h"
#include "worker/upstream/dial.h"
#include "worker/upstream/probe_parts.h"

#define FIRST_READ 2048
#define FIELDS_MOST 1000

struct talk {
    struct str request;
    size_t sent;
    char *in;                   /* the head that is being read begins at in + at */
    size_t at, fill, size;
    struct h1_head head;
    struct fields fields;
    struct h1_limits limits;
    unsigned interims;
};

static void
expect(struct probe *p)
{
    struct talk *x = p->talk;

    fields_init(&x->fields, p->arena);
    h1_head_init(&x->head, &x->fields, &x->limits);
}

static void
prepare(struct probe *p)
{
    struct talk *x = p->talk = arena_zalloc(p->arena, sizeof(*x));
    size_t most = worker.conf->scope.policy.limits.response_head;
    struct str host = probe_host(p);

    if (most > PROBE_READ_MOST)
        most = PROBE_READ_MOST;
    x->request = arena_printf(p->arena,
                              "GET %.*s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: weir/" PACKAGE_VERSION " health check\r\n"
                              "Accept: */*\r\nConnection: close\r\n\r\n",
                              STR_ARG(probe_checks(p)->http), STR_ARG(host));
    x->size = FIRST_READ;
    x->in = arena_alloc(p->arena, x->size);
    x->limits = (struct h1_limits){.line = most, .field = most, .fields = most, .count = FIELDS_MOST};
    expect(p);
}

/* What was read so far. False: the check has ended. */
static bool
look(struct probe *p)
{
    struct talk *x = p->talk;
    int got;

    while ((got = h1_parse_response(&x->head, x->in + x->at, x->fill - x->at)) == H1_DONE) {
        /* 101 would be an answer to an Upgrade, which was not asked for */
        if (x->head.status >= 200 || x->head.status == 101) {
            probe_status(p, x->head.status);    /* its content stays unread: the connection is closed anyway */
            return false;
        }
        if (++x->interims > PROBE_INTERIM_MOST) {
            probe_bad(p, "too many interim responses");
            return false;
        }
        x->at += x->head.size;
        x->fields.n = 0;
        expect(p);
    }
    if (got != H1_MORE)
        probe_bad(p, "malformed or too large response");
    return got == H1_MORE;
}

/* False: there were PROBE_READ_MOST bytes, and still no end of the head. */
static bool
make_room(struct probe *p)
{
    struct talk *x = p->talk;
    char *larger;

    if (x->fill < x->size)
        return true;
    if (x->size >= PROBE_READ_MOST)
        return false;
    larger = arena_alloc(p->arena, x->size * 2);
    memcpy(larger, x->in, x->fill);
    h1_head_moved(&x->head, x->in, x->fill, larger);
    x->in = larger;
    x->size *= 2;
    return true;
}

static void
receive(struct probe *p)
{
    struct talk *x = p->talk;
    ssize_t n;

    do {
        if (!make_room(p)) {
            probe_bad(p, "malformed or too large response");
            return;
        }
        n = channel_read(&p->ch, x->in + x->fill, x->size - x->fill);
        if (n == -2) {
            probe_bad(p, dial_lost(&p->ch));
            return;
        }
        if (n == 0) {
            probe_bad(p, "closed without a response");
            return;
        }
        if (n > 0)
            x->fill += (size_t)n;
    } while (n > 0 && look(p));
}

/* False: the check has ended. */
static bool
transmit(struct probe *p)
{
    struct talk *x = p->talk;

    while (p->ch.io.writable && x->sent < x->request.n) {
        struct iovec iov = {(char *)x->request.p + x->sent, x->request.n - x->sent};
        ssize_t n = channel_write(&p->ch, &iov, 1, false);

        if (n >= 0) {
            x->sent += (size_t)n;
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

static void
ready(struct probe *p)
{
    const struct talk *x = p->talk;

    if (transmit(p) && x->sent == x->request.n)
        receive(p);
}

static void
begin(struct probe *p)
{
    prepare(p);
    ready(p);
}

const struct probe_protocol probe_http = {.begin = begin, .ready = ready};

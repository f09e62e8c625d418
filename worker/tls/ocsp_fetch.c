/*
 * The way of one question. Invariants: a socket is open only while CONNECTING, SENDING or READING; the timer is set in
 * all states but NONE; done is called from the loop alone, never from within ocsp_fetch_begin. A resolver that is
 * slower than the question's ten seconds answers to nobody: `asked` says that it still may.
 */
#include "worker/tls/ocsp_fetch.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/host.h"

enum {
    CONNECT_MS = 3000,          /* one address; the others shall have a turn */
    URL_MOST = 1024,
};

/* --- URLs (RFC 3986, RFC 9110 4.2.1) --- */

static bool
is_plain(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f || s.p[i] == '#' || s.p[i] == '"' || s.p[i] == '\\')
            return false;
    return true;
}

static bool
is_literal(struct ip *ip, struct str host)
{
    if (host.n > 2 && host.p[0] == '[')
        host = (struct str){host.p + 1, host.n - 2};
    return ip_parse(ip, host);
}

bool
ocsp_url_parse(struct ocsp_url *u, struct str text, struct arena *a)
{
    struct str rest = text, scheme = STR("http://");
    size_t n = 0;
    struct host host;

    *u = (struct ocsp_url){.text = text};
    if (text.n > URL_MOST || !is_plain(text) || text.n < scheme.n ||
        !str_ieq((struct str){text.p, scheme.n}, scheme))
        return false;
    rest.p += scheme.n;
    rest.n -= scheme.n;
    while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
        n++;
    if (host_parse(&host, (struct str){rest.p, n}, a) != 0 || host.port == 0)
        return false;
    u->target = arena_printf(a, "%s%.*s", n < rest.n && rest.p[n] == '/' ? "" : "/", (int)(rest.n - n), rest.p + n);
    u->port = host.port > 0 ? (uint16_t)host.port : 80;
    u->authority = host.port > 0 && host.port != 80 ? arena_printf(a, "%.*s:%d", STR_ARG(host.name), host.port)
                                                    : host.name;
    if (!is_literal(&u->ip, host.name)) {
        u->ip.family = 0;
        u->name = arena_cstr(a, host.name);
    }
    return true;
}

/* --- the end --- */

static void
hang_up(struct ocsp_fetch *f)
{
    if (f->state >= OCSP_FETCH_CONNECTING) {
        loop_remove(&f->io);
        close(f->io.fd);
    }
}

static void
let_go(struct ocsp_fetch *f)
{
    hang_up(f);
    loop_unpost(&f->task);
    timer_stop(&f->timer);
    if (f->arena != NULL)
        arena_free(f->arena);
    f->arena = NULL;
    f->answer = NULL;
    f->state = OCSP_FETCH_NONE;
}

static void
fail(struct ocsp_fetch *f, const char *why)
{
    if (why != f->why)
        snprintf(f->why, sizeof(f->why), "%s", why);
    f->why[0] = (char)tolower((unsigned char)f->why[0]);        /* "Connection refused" */
    let_go(f);
    f->done(f, NULL, f->why);
}

/* The arena, where the answer is, outlives the call. */
static void
succeed(struct ocsp_fetch *f)
{
    struct arena *arena = f->arena;
    const struct ocsp_answer *answer = f->answer;

    f->arena = NULL;
    let_go(f);
    f->done(f, answer, NULL);
    arena_free(arena);
}

void
ocsp_fetch_cancel(struct ocsp_fetch *f)
{
    let_go(f);
    f->asked = false;
}

/* --- over the connection --- */

static void
receive(struct ocsp_fetch *f)
{
    while (f->io.readable) {
        size_t room;
        char *to = ocsp_answer_room(f->answer, &room);
        ssize_t n = recv(f->io.fd, to, room, 0);
        enum ocsp_read got;

        if (n < 0 && errno == EAGAIN) {
            f->io.readable = false;
            return;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            fail(f, strerror(errno));
            return;
        }
        got = n > 0 ? ocsp_answer_took(f->answer, (size_t)n) : ocsp_answer_end(f->answer);
        if (got == OCSP_READ_DONE)
            succeed(f);
        else if (got == OCSP_READ_BAD)
            fail(f, f->answer->why);
        if (got != OCSP_READ_MORE)
            return;
    }
}

static void
transmit(struct ocsp_fetch *f)
{
    struct str all = f->head_and_request;

    while (f->io.writable && f->sent < all.n) {
        ssize_t n = send(f->io.fd, all.p + f->sent, all.n - f->sent, MSG_NOSIGNAL);

        if (n >= 0) {
            f->sent += (size_t)n;
        } else if (errno == EAGAIN) {
            f->io.writable = false;
        } else if (errno != EINTR) {
            fail(f, strerror(errno));
            return;
        }
    }
    if (f->sent < all.n)
        return;
    f->state = OCSP_FETCH_READING;
    receive(f);
}

static void
prepare(struct ocsp_fetch *f)
{
    const struct ocsp_url *u = f->url;
    struct str head, all;

    f->arena = arena_new();
    f->answer = arena_alloc(f->arena, sizeof(*f->answer));
    ocsp_answer_init(f->answer, f->arena);
    head = arena_printf(f->arena,
                        "POST %.*s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: weir/" PACKAGE_VERSION "\r\n"
                        "Content-Type: application/ocsp-request\r\nAccept: application/ocsp-response\r\n"
                        "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                        STR_ARG(u->target), STR_ARG(u->authority), f->request.n);
    all.n = head.n + f->request.n;
    all.p = memcpy(arena_alloc(f->arena, all.n), head.p, head.n);
    memcpy((char *)all.p + head.n, f->request.p, f->request.n);
    f->head_and_request = all;
    f->sent = 0;
}

/* --- connecting --- */

static void try_next(struct ocsp_fetch *f, const char *why);

static void
connected(struct ocsp_fetch *f)
{
    int error = 0;
    socklen_t n = sizeof(error);

    getsockopt(f->io.fd, SOL_SOCKET, SO_ERROR, &error, &n);
    if (error != 0) {
        try_next(f, strerror(error));
        return;
    }
    timer_set(&f->timer, f->until_ms - clock_ms());
    prepare(f);
    f->state = OCSP_FETCH_SENDING;
    transmit(f);
}

static void
ready(struct io *io)
{
    struct ocsp_fetch *f = (struct ocsp_fetch *)((char *)io - offsetof(struct ocsp_fetch, io));

    if (f->state == OCSP_FETCH_CONNECTING && io->writable)
        connected(f);
    else if (f->state == OCSP_FETCH_SENDING)
        transmit(f);
    else if (f->state == OCSP_FETCH_READING)
        receive(f);
}

static bool
open_socket(struct ocsp_fetch *f, const struct health_address *at)
{
    struct addr a = {.ip.family = at->family, .port = f->url->port};
    struct sockaddr_storage ss;
    socklen_t n;
    int error, one = 1;

    memcpy(a.ip.b, at->b, sizeof(a.ip.b));
    n = addr_to_sockaddr(&a, &ss);
    f->io = (struct io){.fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), .ready = ready};
    if (f->io.fd < 0)
        return false;
    setsockopt(f->io.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if ((connect(f->io.fd, (struct sockaddr *)&ss, n) == 0 || errno == EINPROGRESS) && loop_add(&f->io))
        return true;
    error = errno;
    close(f->io.fd);
    errno = error;
    return false;
}

/* `why`: what became of the last one; NULL: this is the first. */
static void
try_next(struct ocsp_fetch *f, const char *why)
{
    int64_t left = f->until_ms - clock_ms();

    hang_up(f);
    f->state = OCSP_FETCH_RESOLVING;
    while (f->tried < f->address_count) {
        if (open_socket(f, &f->addresses[f->tried++])) {
            f->state = OCSP_FETCH_CONNECTING;
            timer_set(&f->timer, f->tried < f->address_count && left > CONNECT_MS ? CONNECT_MS : left);
            return;
        }
        why = strerror(errno);
    }
    fail(f, why != NULL ? why : "it has no address");
}

/* --- the beginning --- */

static void
resolved(void *data, const struct dns_answer *answer)
{
    struct ocsp_fetch *f = data;

    f->asked = false;
    if (f->state != OCSP_FETCH_RESOLVING)
        return;                 /* too late */
    if (answer->error != NULL) {
        snprintf(f->why, sizeof(f->why), "its name does not resolve: %s", answer->error);
        loop_post(&f->task);    /* dns.h: the resolver is not to be entered from here, which done might */
        return;
    }
    memcpy(f->addresses, answer->v, answer->n * sizeof(*answer->v));
    f->address_count = answer->n;
    loop_post(&f->task);
}

static void
resolve(struct ocsp_fetch *f)
{
    const struct ocsp_url *u = f->url;

    f->state = OCSP_FETCH_RESOLVING;
    if (u->ip.family != 0) {
        f->addresses[0].family = u->ip.family;
        memcpy(f->addresses[0].b, u->ip.b, sizeof(u->ip.b));
        f->address_count = 1;
        try_next(f, NULL);
    } else if (!f->asked) {
        f->asked = true;
        dns_ask(u->name, AF_UNSPEC, resolved, f);
    }
}

static void
go_on(struct task *t)
{
    struct ocsp_fetch *f = (struct ocsp_fetch *)((char *)t - offsetof(struct ocsp_fetch, task));

    if (f->state == OCSP_FETCH_BEGINNING)
        resolve(f);
    else if (f->state == OCSP_FETCH_RESOLVING && f->address_count == 0)
        fail(f, f->why);
    else if (f->state == OCSP_FETCH_RESOLVING)
        try_next(f, NULL);
}

static void
fire(struct timer *t)
{
    struct ocsp_fetch *f = (struct ocsp_fetch *)((char *)t - offsetof(struct ocsp_fetch, timer));

    if (f->state == OCSP_FETCH_CONNECTING && clock_ms() < f->until_ms)
        try_next(f, "timeout while connecting");
    else
        fail(f, f->state == OCSP_FETCH_RESOLVING    ? "its name does not resolve in time"
                : f->state == OCSP_FETCH_CONNECTING ? "timeout while connecting"
                                                    : "timeout while waiting for its answer");
}

void
ocsp_fetch_begin(struct ocsp_fetch *f)
{
    check(f->state == OCSP_FETCH_NONE);
    f->state = OCSP_FETCH_BEGINNING;
    f->address_count = f->tried = 0;
    f->until_ms = clock_ms() + OCSP_FETCH_MS;
    f->why[0] = '\0';
    f->task.run = go_on;
    f->timer.fire = fire;
    timer_set(&f->timer, OCSP_FETCH_MS);
    loop_post(&f->task);
}

/*
 * Connections to servers, and the pools they wait in. It alone knows when one may be used again:
 * idle ones stay on the loop, and any event on one (a stray byte, a FIN) closes it; what the kernel
 * said in this turn but nobody was called for yet is looked at before use.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/base/arena.h"
#include "worker/count.h"
#include "worker/h1/origin.h"
#include "worker/state.h"

const struct server *
origin_server(const struct origin *o)
{
    return o->endpoint->server;
}

void
origin_pool_close(struct endpoint *e)
{
    while (e->newest != NULL)
        origin_close(e->newest);
}

void
origin_pools_close(void)
{
    for (size_t i = 0; i < upstreams_count(); i++)
        for (size_t j = 0; j < upstreams_at(i)->n; j++)
            origin_pool_close(upstreams_at(i)->v[j]);
}

static void
unlink_idle(struct origin *o)
{
    struct endpoint *p = o->endpoint;

    *(o->newer != NULL ? &o->newer->older : &p->newest) = o->older;
    *(o->older != NULL ? &o->older->newer : &p->oldest) = o->newer;
    o->newer = o->older = NULL;
    p->idle--;
}

bool
origin_evict(void)
{
    struct endpoint *most = NULL;

    for (size_t i = 0; i < upstreams_count(); i++)
        for (size_t j = 0; j < upstreams_at(i)->n; j++) {
            struct endpoint *e = upstreams_at(i)->v[j];

            if (e->idle > 0 && (most == NULL || e->idle > most->idle))
                most = e;
        }
    if (most == NULL)
        return false;
    origin_close(most->oldest);
    return true;
}

static void
release(struct deferred *d)
{
    struct origin *o = (struct origin *)((char *)d - offsetof(struct origin, deferred));

    endpoint_release(o->endpoint);
    free(o);
}

void
origin_close(struct origin *o)
{
    if (o->state == ORIGIN_CLOSED)
        return;
    if (o->state == ORIGIN_IDLE)
        unlink_idle(o);
    o->state = ORIGIN_CLOSED;
    timer_stop(&o->timer);
    loop_unpost(&o->task);
    channel_close(&o->ch);
    h1_write_clear(&o->out);
    flow_clear(&o->held);
    h1_reader_drop(&o->in);
    count_server_closed(o->endpoint->server);
    loop_defer(&o->deferred);
}

static void
ready(struct io *io)
{
    struct origin *o = (struct origin *)((char *)io - offsetof(struct origin, ch.io));
    int error = 0;
    socklen_t n = sizeof error;

    switch (o->state) {
    case ORIGIN_CONNECTING:
        if (!io->writable)
            break;
        getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &n);
        origin_connected(o, error);
        break;
    case ORIGIN_BUSY:
        origin_ready(o);
        break;
    case ORIGIN_IDLE:
        if (io->readable)
            origin_close(o);
        break;
    case ORIGIN_CLOSED:
        break;
    }
}

static void
fire(struct timer *t)
{
    struct origin *o = (struct origin *)((char *)t - offsetof(struct origin, timer));

    if (o->state == ORIGIN_IDLE)
        origin_close(o);
    else
        origin_timeout(o);
}

static void
go_on(struct task *t)
{
    struct origin *o = (struct origin *)((char *)t - offsetof(struct origin, task));

    if (o->state == ORIGIN_BUSY)
        origin_ready(o);
}

static int
open_socket(const struct addr *a)
{
    struct sockaddr_storage ss;
    socklen_t n = addr_to_sockaddr(a, &ss);
    int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

    if (fd < 0)
        return -1;
    if (ss.ss_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (struct sockaddr *)&ss, n) == 0 || errno == EINPROGRESS)
        return fd;
    one = errno;
    close(fd);
    errno = one;
    return -1;
}

static struct origin *
connect_to(struct endpoint *e)
{
    struct origin *o;
    int fd = open_socket(&e->address);

    if (fd < 0)
        return NULL;
    o = xcalloc(1, sizeof *o);
    o->endpoint = e;
    o->state = ORIGIN_CONNECTING;
    o->ch.io.fd = fd;
    o->ch.io.ready = ready;
    o->in.ch = &o->ch;
    o->timer.fire = fire;
    o->task.run = go_on;
    o->deferred.free = release;
    h1_write_init(&o->out);
    flow_init(&o->held, SIZE_MAX);
    if (!loop_add(&o->ch.io)) {
        close(fd);
        free(o);
        return NULL;
    }
    endpoint_hold(e);
    count_server_opened(e->server);
    return o;
}

struct origin *
origin_take(struct endpoint *e, bool fresh)
{
    struct origin *o;

    while (!fresh && (o = e->newest) != NULL) {
        if (o->ch.io.readable) {
            origin_close(o);
            continue;
        }
        unlink_idle(o);
        timer_stop(&o->timer);
        o->reused = true;
        o->state = ORIGIN_BUSY;
        count_server_reused(e->server);
        return o;
    }
    o = connect_to(e);
    if (o == NULL && errno == EMFILE && origin_evict())
        o = connect_to(e);
    return o;
}

/* Whether nothing stands unread in the socket: asked only where the last read was not a short one. */
static bool
is_silent(struct origin *o)
{
    char c;

    if (!o->ch.io.readable)
        return true;
    if (o->ch.io.hangup || recv(o->ch.io.fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN)
        return false;
    o->ch.io.readable = false;
    return true;
}

static int64_t
keep_ms(const struct origin *o)
{
    return o->idle_ms > 0 ? o->idle_ms : o->endpoint->server->upstream->keepalive_timeout;
}

void
origin_keep(struct origin *o)
{
    struct endpoint *p = o->endpoint;
    int64_t most = p->server->upstream->keepalive;

    if (worker.draining || p->gone || most == 0 || !is_silent(o)) {
        origin_close(o);
        return;
    }
    if (p->idle == most)
        origin_close(p->oldest);
    o->state = ORIGIN_IDLE;
    o->newer = NULL;
    o->older = p->newest;
    *(p->newest != NULL ? &p->newest->newer : &p->oldest) = o;
    p->newest = o;
    p->idle++;
    timer_set(&o->timer, keep_ms(o));
}

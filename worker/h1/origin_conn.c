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
#include "worker/upstream/dial.h"

const struct server *
origin_server(const struct origin *o)
{
    return o->x.endpoint->server;
}

void
origin_close_idle(struct endpoint *e)
{
    while (e->newest != NULL)
        origin_close(e->newest);
}

static void
unlink_idle(struct origin *o)
{
    struct endpoint *p = o->x.endpoint;

    *(o->newer != NULL ? &o->newer->older : &p->newest) = o->older;
    *(o->older != NULL ? &o->older->newer : &p->oldest) = o->newer;
    o->newer = o->older = NULL;
    p->idle--;
}

void
origin_evict(struct endpoint *e)
{
    if (e->oldest != NULL)
        origin_close(e->oldest);
}

static void
release(struct deferred *d)
{
    struct origin *o = (struct origin *)((char *)d - offsetof(struct origin, deferred));

    endpoint_release(o->x.endpoint);
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
    h1_reader_drop(&o->in);
    count_server_closed(o->x.endpoint->server);
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
        if (error != 0)
            exchange_cannot_connect(&o->x, dial_error(error), dial_is_ours(error));
        else
            origin_connected(o);
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
    origin_close((struct origin *)((char *)t - offsetof(struct origin, timer)));
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
    exchange_init(&o->x, &h1_origin, e, &o->in.received);
    o->x.connecting = true;
    o->state = ORIGIN_CONNECTING;
    o->ch.io.fd = fd;
    o->ch.io.ready = ready;
    o->in.ch = &o->ch;
    o->timer.fire = fire;
    o->task.run = go_on;
    o->deferred.free = release;
    h1_write_init(&o->out);
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
        o->x.reused = true;
        o->state = ORIGIN_BUSY;
        count_server_reused(e->server);
        return o;
    }
    o = connect_to(e);
    if (o == NULL && errno == EMFILE && exchange_evict())
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
    return o->idle_ms > 0 ? o->idle_ms : o->x.endpoint->server->upstream->keepalive_timeout;
}

void
origin_keep(struct origin *o)
{
    struct endpoint *p = o->x.endpoint;
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

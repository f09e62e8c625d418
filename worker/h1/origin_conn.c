/*
 * Connections to servers, and the pools they wait in. It alone knows when one may be used again:
 * idle ones stay on the loop, and any byte or end on one closes it, but for what is TLS's own (tickets come late); what
 * the kernel said in this turn but nobody was called for yet is looked at before use.
 */
#include <errno.h>
#include <stdlib.h>

#include "worker/base/arena.h"
#include "worker/count.h"
#include "worker/h1/origin.h"
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
    timer_stop(&o->timer);
    timer_stop(&o->x.timer);
    loop_unpost(&o->task);
    if (o->state == ORIGIN_IDLE)
        channel_finish(&o->ch);
    o->state = ORIGIN_CLOSED;
    channel_close(&o->ch);
    h1_write_clear(&o->out);
    h1_reader_drop(&o->in);
    count_server_closed(o->x.endpoint->server);
    loop_defer(&o->deferred);
}

/* Whether nothing stands unread: asked only where the last read was not a short one. */
static bool
is_silent(struct origin *o)
{
    char c;

    return channel_read(&o->ch, &c, 1) == -1;
}

static void
go_on_dialling(struct origin *o)
{
    const char *why;
    bool ours;

    switch (dial_go_on(&o->ch, o->x.endpoint, &why, &ours)) {
    case DIAL_WAIT:
        break;
    case DIAL_DONE:
        origin_connected(o);
        break;
    case DIAL_FAILED:
        exchange_cannot_connect(&o->x, why, ours);
        break;
    }
}

static void
ready(struct io *io)
{
    struct origin *o = (struct origin *)((char *)io - offsetof(struct origin, ch.io));

    switch (o->state) {
    case ORIGIN_CONNECTING:
        go_on_dialling(o);
        break;
    case ORIGIN_BUSY:
        origin_ready(o);
        break;
    case ORIGIN_IDLE:
        if (!is_silent(o))
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

static struct origin *
connect_to(struct endpoint *e)
{
    struct origin *o = xcalloc(1, sizeof *o);

    o->ch.io.ready = ready;
    if (!dial_begin(&o->ch, e)) {
        int error = errno;

        free(o);
        errno = error;
        return NULL;
    }
    exchange_init(&o->x, e->server->upstream->tls.on ? &h1_origin_tls : &h1_origin, e, &o->in.received);
    o->x.connecting = true;
    o->state = ORIGIN_CONNECTING;
    o->in.ch = &o->ch;
    o->timer.fire = fire;
    o->task.run = go_on;
    o->deferred.free = release;
    h1_write_init(&o->out);
    endpoint_hold(e);
    count_server_opened(e->server);
    return o;
}

struct origin *
origin_take(struct endpoint *e, bool fresh)
{
    struct origin *o;

    while (!fresh && (o = e->newest) != NULL) {
        if (!is_silent(o)) {
            origin_close(o);
            continue;
        }
        unlink_idle(o);
        timer_rest(&o->timer);
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

void
origin_keep(struct origin *o)
{
    struct endpoint *p = o->x.endpoint;
    int64_t ms = exchange_keep_ms(p, o->idle_ms);

    if (ms == 0 || !is_silent(o)) {
        origin_close(o);
        return;
    }
    o->state = ORIGIN_IDLE;
    o->newer = NULL;
    o->older = p->newest;
    *(p->newest != NULL ? &p->newest->newer : &p->oldest) = o;
    p->newest = o;
    p->idle++;
    timer_set(&o->timer, ms);
}

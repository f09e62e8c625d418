/*
 * The exchange with an origin over HTTP/1: a request goes out, a response comes in, both may stream at once. The
 * table is at the end; what the loop brings comes in through origin_ready.
 *
 * Invariants: o->x.r is the request this connection works for. Any call into the pipeline may end the request, and
 * with it the exchange: afterwards o->x.r is looked at again (the memory of o stays until the turn is over).
 */
#include "worker/h1/origin.h"

#include "worker/pipeline.h"
#include "worker/upstream/dial.h"

/* The connection is kept if the request went out whole, too. */
static bool
is_to_be_kept(struct origin *o)
{
    return o->keep && !h1_reader_has(&o->in) && o->out.done && o->out.wire.bytes == 0 && !o->write_dead &&
           !o->x.r->tunnel && channel_flush(&o->ch) == 1;
}

void
origin_complete(struct origin *o)
{
    exchange_complete(&o->x);
    if (!is_to_be_kept(o)) {
        exchange_abandon(&o->x);
        return;
    }
    exchange_end(&o->x);
    h1_write_clear(&o->out);
    h1_reader_drop(&o->in);
    origin_keep(o);
}

static void
set_timer(struct origin *o)
{
    exchange_set_timer(&o->x, o->out.wire.bytes > 0 || o->write_dead || o->out.done);
}

static void
begin(struct exchange *x)
{
    struct origin *o = (struct origin *)x;
    struct request *r = x->r;

    o->state = ORIGIN_BUSY;
    o->head = arena_alloc(r->arena, sizeof(*o->head));
    o->in.framing = H1_NO_BODY;
    o->in.received = 0;
    o->idle_ms = 0;
    o->keep = o->write_dead = false;
    h1_write_init(&o->out);
    exchange_begun(x);
    h1_write_request(&o->out, r, origin_server(o)->upstream->keepalive > 0);
    origin_expect(o);
    origin_write(o);
    if (x->r == r)
        set_timer(o);
}

/* --- what the loop brings --- */

void
origin_ready(struct origin *o)
{
    struct request *r = o->x.r;

    if (o->ch.io.writable && (o->out.wire.bytes > 0 || r->request.body.bytes > 0 || o->ch.tls != NULL))
        origin_write(o);
    /* the last turn may have ended with content read but not decoded */
    if (o->x.r == r && (o->ch.io.readable || h1_reader_has(&o->in)))
        origin_read(o);
    if (o->x.r == r)
        set_timer(o);
}

void
origin_connected(struct origin *o)
{
    struct request *r = o->x.r;

    begin(&o->x);
    if (o->x.r == r)
        origin_ready(o);
}

/* --- the source --- */

static void
source_read(struct request *r)
{
    struct origin *o = r->source_state;

    if (o != NULL && o->state == ORIGIN_BUSY && o->x.in_body) {
        origin_read(o);
        if (o->x.r == r)
            set_timer(o);
    }
}

static void
source_write(struct request *r)
{
    struct origin *o = r->source_state;

    if (o == NULL)
        return;
    if (r->request.body.broken) {
        exchange_cut(&o->x);
        return;
    }
    if (o->state == ORIGIN_BUSY) {
        origin_write(o);
        if (o->x.r == r)
            set_timer(o);
    }
}

static void
source_stop(struct request *r)
{
    struct origin *o = r->source_state;

    if (o != NULL)
        exchange_abandon(&o->x);
}

/* --- the table --- */

static struct exchange *
take(struct endpoint *e, struct request *r, const struct exchange *failed)
{
    struct origin *o = origin_take(e, failed != NULL);

    (void)r;
    return o != NULL ? &o->x : NULL;
}

static void
abandon(struct exchange *x)
{
    origin_close((struct origin *)x);
}

static const char *
expire(struct exchange *x)
{
    return dial_expire(&((struct origin *)x)->ch, x->endpoint);
}

#define TABLE(pipes) \
    { \
        .source = { \
            .name = "HTTP/1.1", \
            .splices = pipes, \
            .read = source_read, \
            .write = source_write, \
            .stop = source_stop, \
        }, \
        .lasts = true, \
        .take = take, \
        .begin = begin, \
        .abandon = abandon, \
        .expire = expire, \
        .close_idle = origin_close_idle, \
        .evict = origin_evict, \
    }

const struct exchange_protocol h1_origin = TABLE(true), h1_origin_tls = TABLE(false);

/*
 * The request goes out to an origin: its head, then its content as it comes from the client. What the
 * origin no longer takes is not the end: it may have answered already.
 */
#include <sys/socket.h>

#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/h1/origin.h"
#include "worker/pipeline.h"

/* The end of a tunnel's one direction. */
static void
half_close(struct origin *o)
{
    if (!o->x.r->tunnel || !o->x.r->request.body.ended || !o->out.done || o->out.wire.bytes > 0 || o->half_closed ||
        channel_flush(&o->ch) != 1)
        return;
    o->half_closed = true;
    channel_shutdown(&o->ch);
}

void
origin_write(struct origin *o)
{
    struct request *r = o->x.r;

    if (o->writing || o->write_dead)
        return;
    o->writing = true;
    for (;;) {
        bool body = !r->wants_upgrade || r->tunnel;
        int result;

        if (body && !h1_write_body(&o->out, r, &r->request))
            log_bug(__FILE__, __LINE__, "content longer or shorter than announced");
        /* of what was taken, some may not be with the kernel yet */
        if (!o->ch.io.writable || (o->out.wire.bytes == 0 && channel_flush(&o->ch) == 1))
            break;
        result = h1_write_flush(&o->out, &o->ch, &o->x.sent, false);
        r->moved_ms = clock_ms();
        if (result < 0) {
            o->write_dead = true;       /* what it had answered may still be read */
            o->ch.io.readable = true;
            break;
        }
        if (result == 0)
            o->ch.io.writable = false;
        pipeline_consumed(r);
        if (o->x.r != r)
            break;
        if (result == 0)
            break;
    }
    o->writing = false;
    if (o->x.r == r)
        half_close(o);
}

/*
 * Waiting. A request in line is one whose source has nothing to give yet: so whoever ends it, ends its
 * waiting by source->stop, as with any source.
 *
 * A free place is told by its worker to the next row in the round that has somebody waiting, and who comes new
 * stands in line behind them. That is a courtesy, not a lock: a worker that dies or hangs, or a server that comes back
 * up, tells nobody, so whoever waits looks by himself every few milliseconds and takes what is free then.
 */
#include "worker/upstream/queue.h"

#include <stdlib.h>

#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/count.h"
#include "worker/pipeline.h"
#include "worker/source.h"
#include "worker/state.h"
#include "worker/upstream/balance.h"

#define LOOK_MS 10
#define AGAIN_MS 60000

struct waiter {
    struct request *r;
    struct queue *queue;
    struct waiter *next, *previous;
    struct timer timer;
};

struct queue {
    struct group *group;
    struct waiter *first, *last;
    uint32_t own;               /* that wait here */
    struct timer look;
    struct task serve;
};

static const struct source queue_source;

static void
take_out(struct waiter *w)
{
    struct queue *q = w->queue;

    *(w->previous != NULL ? &w->previous->next : &q->first) = w->next;
    *(w->next != NULL ? &w->next->previous : &q->last) = w->previous;
    timer_stop(&w->timer);
    q->own--;
    if (q->first == NULL)
        timer_stop(&q->look);
    health_wait_end(worker.health, q->group->health, worker.row_number);
    w->r->source = NULL;
    w->r->source_state = NULL;
}

static void
complain(struct log_pace *pace, const struct group *g, const char *what)
{
    unsigned long more;

    if (!log_due(pace, clock_ms(), AGAIN_MS, &more))
        return;
    if (more == 0)
        log_warning("upstream %.*s: %s: 503", STR_ARG(g->conf->name), what);
    else
        log_warning("upstream %.*s: %s: 503, and %lu times since this was said last", STR_ARG(g->conf->name), what,
                    more);
}

int
queue_refuse(struct group *g)
{
    count_queue_refused(g->conf);
    complain(&g->no_place, g, "all servers are at max_connections, and the queue is full or the wait too long");
    return 503;
}

int
queue_none_up(struct group *g)
{
    count_unserved(g->conf);
    complain(&g->none_up, g, "no server is up");
    return 503;
}

static void
on_timeout(struct timer *t)
{
    struct waiter *w = (struct waiter *)((char *)t - offsetof(struct waiter, timer));
    struct request *r = w->r;

    take_out(w);
    pipeline_fail(r, queue_refuse(w->queue->group));
}

static bool
has_room(const struct group *g)
{
    uint64_t now = (uint64_t)clock_ms();

    for (size_t i = 0; i < g->n; i++) {
        const struct endpoint *e = g->v[i];
        uint64_t most = (uint64_t)e->server->max_connections;

        if (endpoint_is_up(e, now) &&
            (most == 0 || e->health == 0 || health_in_flight(worker.health, e->health) < most))
            return true;
    }
    return false;
}

/* As many as there are places for. Any of them may bring others in or out. */
static void
serve(struct queue *q)
{
    struct waiter *w;

    while ((w = q->first) != NULL) {
        struct request *r = w->r;
        struct endpoint *e;

        switch (balance_choose(q->group, r, &e)) {
        case BALANCE_FULL:
            return;
        case BALANCE_NONE:
            take_out(w);
            pipeline_fail(r, queue_none_up(q->group));
            break;
        case BALANCE_CHOSEN:
            take_out(w);
            r->endpoint = e;
            pipeline_resume(r);
            break;
        }
    }
    /* what was told to us, and found nobody any more, is others'; were it none, we would wake each other for ever */
    if (q->group->limited && has_room(q->group))
        queue_room(q->group);
}

static void
look(struct timer *t)
{
    struct queue *q = (struct queue *)((char *)t - offsetof(struct queue, look));

    timer_set(t, LOOK_MS);
    serve(q);
}

static void
serve_later(struct task *t)
{
    serve((struct queue *)((char *)t - offsetof(struct queue, serve)));
}

struct queue *
queue_new(struct group *g)
{
    struct queue *q = xcalloc(1, sizeof(*q));

    q->group = g;
    q->look.fire = look;
    q->serve.run = serve_later;
    return q;
}

bool
queue_put(struct group *g, struct request *r)
{
    struct queue *q = g->queue;
    struct waiter *w;

    if (g->health == 0 || g->conf->queue.size == 0 ||
        !health_wait(worker.health, g->health, worker.row_number, (uint32_t)g->conf->queue.size))
        return false;
    w = arena_zalloc(r->arena, sizeof(*w));
    *w = (struct waiter){.r = r, .queue = q, .previous = q->last, .timer = {.fire = on_timeout}};
    *(q->last != NULL ? &q->last->next : &q->first) = w;
    q->last = w;
    timer_set(&w->timer, g->conf->queue.timeout);
    if (!timer_is_set(&q->look))
        timer_set(&q->look, LOOK_MS);
    r->source = &queue_source;
    r->source_state = w;
    count_queued(g->conf);
    /* a place that became free before we stood in line was told to nobody, unless others waited before us */
    if (health_waiting(worker.health, g->health) == ++q->own)
        loop_post(&q->serve);
    return true;
}

bool
queue_waits(const struct group *g)
{
    if (!g->limited || g->health == 0 || g->conf->queue.size == 0)
        return false;
    return g->queue->first != NULL || health_waiting(worker.health, g->health) > 0;
}

void
queue_room(struct group *g)
{
    unsigned row;

    if (g->health == 0 || (row = health_next_waiting(worker.health, g->health, worker.row_number)) == 0)
        return;
    if (row == worker.row_number)
        loop_post(&g->queue->serve);
    else
        slots_wake(worker.slots, row);
}

void
queue_woken(void)
{
    for (size_t i = 0; i < upstreams_count(); i++)
        serve(upstreams_at(i)->queue);
}

/* --- the source --- */

static void
nothing(struct request *r)
{
    (void)r;
}

static void
source_stop(struct request *r)
{
    struct waiter *w = r->source_state;

    if (w != NULL)
        take_out(w);
}

static const struct source queue_source = {
    .name = "queue",
    .read = nothing,
    .stop = source_stop,
};

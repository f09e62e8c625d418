/*
 * Active checks: when they are made, and for which endpoints. What is asked for over a connection that is there is in
 * probe_http.c and probe_h2.c, what its result does to a server in verdict.c.
 *
 * Invariants: a probe belongs to one endpoint and holds it; its timer is the time left for a check
 * that is under way, else the time until the next one; a socket is open only while CONNECTING or ASKING, and at most
 * at_once probes are in these states.
 *
 * Servers that hang hold their checks up for the whole timeout, and must not hold up those of others: half of
 * the checks that may be under way are for all, the other half is shared out to the upstreams.
 */
#include "worker/upstream/probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/base/loop.h"
#include "worker/base/random.h"
#include "worker/upstream/dial.h"
#include "worker/upstream/probe_parts.h"

#define AT_ONCE 256             /* checks, or less: */
#define SHARE 16                /* one of so many descriptors that the process may have, and no fewer */
#define SOON_MS 100             /* the first checks of servers that nobody has checked lie within */
#define SURVEY_MS 250           /* how often names are looked at for other addresses */
#define COMPLAIN_MS 60000
#define OVERSLEPT_MS 500        /* past its time: this worker was stopped, or very busy */

/* The probes of one upstream, in the order of its endpoints. */
struct watch {
    struct group *group;
    struct probe **v;
    size_t n;
    unsigned under_way;
    struct probe *queue, **queue_end;
};

static struct watch *watches;
static size_t watch_count;
static struct timer survey_timer;
static unsigned under_way, shared, at_once;
static size_t queued, turn;     /* turn: the watch that is served first */
static struct task next_ones;
static int64_t complained_ms;

/* --- the end of a check --- */

static void
let_go(struct probe *p)
{
    if (p->protocol != NULL && p->protocol->end != NULL)
        p->protocol->end(p);
    p->protocol = NULL;
    if (p->state >= PROBE_CONNECTING) {
        channel_finish(&p->ch);
        channel_close(&p->ch);
        under_way--;
        p->watch->under_way--;
        shared -= p->shared;
    }
    if (p->arena != NULL)
        arena_free(p->arena);
    p->arena = NULL;
    p->state = PROBE_RESTING;
}

static void
unqueue(struct probe *p)
{
    struct probe **at = &p->watch->queue;

    while (*at != p)
        at = &(*at)->next_queued;
    *at = p->next_queued;
    if (p->watch->queue_end == &p->next_queued)
        p->watch->queue_end = at;
    p->state = PROBE_RESTING;
    queued--;
}

static void
rest(struct probe *p)
{
    let_go(p);
    timer_set(&p->timer, p->began_ms + probe_checks(p)->interval - clock_ms());
    if (queued > 0)
        loop_post(&next_ones);
}

static void
end_good(struct probe *p, const char *what)
{
    verdict_good(&p->verdict, p->e, (uint64_t)p->began_ms, what);
    rest(p);
}

void
probe_bad(struct probe *p, const char *why)
{
    verdict_bad(&p->verdict, p->e, why);
    rest(p);
}

static bool
is_expected(const struct checks *c, int status)
{
    for (size_t i = 0; i < c->expect.n; i++)
        if (status >= c->expect.v[i].from && status <= c->expect.v[i].to)
            return true;
    return false;
}

void
probe_status(struct probe *p, int status)
{
    char what[32];

    snprintf(what, sizeof(what), "status %d", status);
    if (is_expected(probe_checks(p), status))
        end_good(p, what);
    else
        probe_bad(p, what);
}

/* The trouble is ours and says nothing about the server. */
static void
end_without_result(struct probe *p, const char *why)
{
    if (complained_ms == 0 || clock_ms() - complained_ms >= COMPLAIN_MS) {
        complained_ms = clock_ms();
        log_warning("health checks: a check could not be made: %s", why);
    }
    rest(p);
}

/* --- the beginning --- */

struct str
probe_host(const struct probe *p)
{
    const struct server *s = p->e->server;

    if (probe_checks(p)->host.n > 0)
        return probe_checks(p)->host;
    return s->name.n == 0 && s->address.ip.family == AF_UNIX ? STR("localhost") : s->text;
}

/* HTTP could be spoken: to know that is enough where `tcp` is asked for. */
static void
connected(struct probe *p)
{
    if (probe_checks(p)->http.n == 0) {
        end_good(p, "connected");
        return;
    }
    p->state = PROBE_ASKING;
    p->arena = arena_new();
    p->protocol = p->e->server->upstream->protocol == UPSTREAM_HTTP1 ? &probe_http : &probe_h2;
    p->protocol->begin(p);
}

static void
fail(struct probe *p, const char *why, bool ours)
{
    if (ours)
        end_without_result(p, why);
    else
        probe_bad(p, why);
}

static void
ready(struct io *io)
{
    struct probe *p = (struct probe *)((char *)io - offsetof(struct probe, ch.io));
    const char *why;
    bool ours;

    if (p->state == PROBE_ASKING) {
        p->protocol->ready(p);
        return;
    }
    switch (dial_go_on(&p->ch, p->e, &why, &ours)) {
    case DIAL_WAIT:
        break;
    case DIAL_DONE:
        connected(p);
        break;
    case DIAL_FAILED:
        fail(p, why, ours);
        break;
    }
}

/* What each upstream has for itself. */
static unsigned
share(void)
{
    unsigned n = at_once / 2 / (unsigned)watch_count;

    return n > 0 ? n : 1;
}

static void
begin(struct probe *p)
{
    p->began_ms = clock_ms();
    p->ch = (struct channel){.io.ready = ready};
    if (!dial_begin(&p->ch, p->e)) {
        int error = errno;

        fail(p, dial_error(error), dial_is_ours(error));
        return;
    }
    p->state = PROBE_CONNECTING;
    p->shared = p->watch->under_way >= share();
    shared += p->shared;
    under_way++;
    p->watch->under_way++;
    timer_set(&p->timer, probe_checks(p)->timeout);
}

static bool
may_begin(const struct watch *w)
{
    return under_way < at_once && (w->under_way < share() || shared < at_once / 2);
}

/* Those that wait, an upstream after the other. Each begins once: one that ends at once rests first. */
static void
begin_queued(struct task *t)
{
    bool begun = true;

    (void)t;
    while (begun && queued > 0) {
        begun = false;
        for (size_t i = 0; i < watch_count; i++) {
            struct watch *w = &watches[(turn + i) % watch_count];
            struct probe *p = w->queue;

            if (p == NULL || !may_begin(w))
                continue;
            unqueue(p);
            begin(p);
            begun = true;
        }
        turn++;
    }
}

static void
turn_to(struct probe *p)
{
    if (p->e->gone)
        return;                 /* the next survey takes it away */
    if (p->watch->queue == NULL && may_begin(p->watch)) {
        begin(p);
        return;
    }
    p->state = PROBE_QUEUED;
    p->next_queued = NULL;
    *p->watch->queue_end = p;
    p->watch->queue_end = &p->next_queued;
    queued++;
}

static bool
is_under_way(const struct probe *p)
{
    return p->state == PROBE_CONNECTING || p->state == PROBE_ASKING;
}

static const char *
timeout_of(const struct probe *p)
{
    const char *why = dial_expire(&p->ch, p->e);

    return p->ch.tls != NULL ? why : "timeout while connecting";
}

static void
fire(struct timer *t)
{
    struct probe *p = (struct probe *)((char *)t - offsetof(struct probe, timer));

    if (is_under_way(p) && clock_ms() - p->began_ms > probe_checks(p)->timeout + OVERSLEPT_MS) {
        rest(p);                /* it was we who did not look in time */
        return;
    }
    switch (p->state) {
    case PROBE_RESTING:
        turn_to(p);
        break;
    case PROBE_CONNECTING:
        probe_bad(p, timeout_of(p));
        break;
    case PROBE_ASKING:
        probe_bad(p, "timeout while waiting for a response");
        break;
    case PROBE_QUEUED:
        break;
    }
}

/* --- which probes there are --- */

static int64_t
random_below(int64_t most)
{
    uint64_t r;

    random_bytes(&r, sizeof(r));
    return (int64_t)(r % (uint64_t)most);
}

static struct probe *
probe_new(struct watch *w, struct endpoint *e)
{
    struct probe *p = xcalloc(1, sizeof(*p));
    const struct health_server *h = endpoint_health(e);
    int64_t interval = e->group->conf->health.interval;
    bool soon = h == NULL || __atomic_load_n(&h->check, __ATOMIC_RELAXED) == HEALTH_UNKNOWN;

    p->e = e;
    p->watch = w;
    p->timer.fire = fire;
    endpoint_hold(e);
    timer_set(&p->timer, random_below(soon && interval > SOON_MS ? SOON_MS : interval));
    return p;
}

static void
probe_free(struct probe *p)
{
    if (p->state == PROBE_QUEUED)
        unqueue(p);
    timer_stop(&p->timer);
    let_go(p);
    endpoint_release(p->e);
    free(p);
    if (queued > 0)
        loop_post(&next_ones);
}

static bool
is_same(const struct watch *w)
{
    const struct group *g = w->group;

    if (w->n != g->n)
        return false;
    for (size_t i = 0; i < g->n; i++)
        if (w->v[i]->e != g->v[i])
            return false;
    return true;
}

static struct probe *
find(const struct watch *w, const struct endpoint *e)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->v[i]->e == e)
            return w->v[i];
    return NULL;
}

/* Endpoints that stayed keep their probe and its time. */
static void
survey(struct watch *w)
{
    struct group *g = w->group;
    struct probe **v;

    group_refresh(g);
    if (is_same(w))
        return;
    v = xcalloc(g->n > 0 ? g->n : 1, sizeof(*v));
    for (size_t i = 0; i < g->n; i++) {
        v[i] = find(w, g->v[i]);
        if (v[i] != NULL)
            v[i]->kept = true;
        else
            v[i] = probe_new(w, g->v[i]);
    }
    for (size_t i = 0; i < w->n; i++)
        if (!w->v[i]->kept)
            probe_free(w->v[i]);
    for (size_t i = 0; i < g->n; i++)
        v[i]->kept = false;
    free(w->v);
    w->v = v;
    w->n = g->n;
}

static void
survey_names(struct timer *t)
{
    timer_set(t, SURVEY_MS);
    for (size_t i = 0; i < watch_count; i++)
        if (watches[i].group->name_count > 0)
            survey(&watches[i]);
}

static unsigned
descriptors_share(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur / SHARE >= AT_ONCE)
        return AT_ONCE;
    return r.rlim_cur / SHARE > SHARE ? (unsigned)(r.rlim_cur / SHARE) : SHARE;
}

void
probe_start(void)
{
    bool names = false;

    at_once = descriptors_share();
    watches = xcalloc(upstreams_count() + 1, sizeof(*watches));
    watch_count = 0;
    for (size_t i = 0; i < upstreams_count(); i++) {
        struct group *g = upstreams_at(i);

        if (g->conf->health.interval == 0)
            continue;
        names |= g->name_count > 0;
        watches[watch_count] = (struct watch){.group = g, .queue_end = &watches[watch_count].queue};
        survey(&watches[watch_count++]);
    }
    next_ones.run = begin_queued;
    survey_timer.fire = survey_names;
    if (names)
        timer_set(&survey_timer, SURVEY_MS);
}

void
probe_stop(void)
{
    timer_stop(&survey_timer);
    for (size_t i = 0; i < watch_count; i++) {
        for (size_t j = 0; j < watches[i].n; j++)
            probe_free(watches[i].v[j]);
        free(watches[i].v);
    }
    loop_unpost(&next_ones);
    free(watches);
    watches = NULL;
    watch_count = 0;
}

/*
 * Ejection. It alone knows when failures are too many, for how long a server goes, and when it may not.
 *
 * The cap is held as all limits in shared memory are: the ejection is published, then all of the
 * upstream are looked at, and it is taken back if they are too many or none would be left. So no two workers
 * can together eject one too many, and one that dies in between leaves at most an ejection that ends by itself.
 */
#include "worker/upstream/eject.h"

#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/count.h"

#define LONGEST_MS (5 * 60 * 1000)
#define AGAIN_MS 60000

/* How long the nth in a row lasts. */
static uint64_t
duration(const struct ejection *conf, uint32_t nth)
{
    uint64_t ms = (uint64_t)conf->time;

    while (nth-- > 1 && ms < LONGEST_MS)
        ms *= 2;
    if (ms > LONGEST_MS && conf->time <= LONGEST_MS)
        ms = LONGEST_MS;
    return ms;
}

/* Another worker's clock may have been read later than ours. */
static uint64_t
since(uint64_t then, uint64_t now)
{
    return now > then ? now - then : 0;
}

/* A server that has since served for as long as it was last ejected begins anew. */
static uint32_t
next_in_a_row(const struct health_server *h, const struct ejection *conf, uint64_t now)
{
    uint32_t before = HEALTH_LOAD(&h->ejections);
    uint64_t lasted = before > 0 ? duration(conf, before) : 0;

    /* until its end, and as long again */
    if (before == 0 || since(HEALTH_LOAD(&h->ejected_ms), now) >= 2 * lasted)
        return 1;
    return before < 32 ? before + 1 : before;
}

/* With this one out: whether another is up, and no more are out than may be. */
static bool
is_bearable(const struct endpoint *e, uint64_t now)
{
    const struct group *g = e->group;
    size_t out = 1, up = 0;

    for (size_t i = 0; i < g->n; i++) {
        const struct health_server *h = endpoint_health(g->v[i]);

        if (endpoint_is_same(g->v[i], e))
            continue;
        if (h != NULL && HEALTH_LOAD(&h->ejected_until_ms) > now)
            out++;
        else if (endpoint_is_up(g->v[i], now))
            up++;
    }
    return up > 0 && out * 100 <= (size_t)g->conf->eject.max_ejected * g->n;
}

static void
spare(struct endpoint *e, uint32_t failures)
{
    unsigned long more;

    if (log_due(&e->spared, clock_ms(), AGAIN_MS, &more))
        log_warning("upstream %.*s, server %.*s: %u failures in a row, but it stays: it is the last one up, or "
                    "more than max_ejected would be out", STR_ARG(e->group->conf->name), STR_ARG(e->text), failures);
}

static void
eject(struct endpoint *e, struct health_server *h, const char *what, uint32_t failures)
{
    const struct ejection *conf = &e->group->conf->eject;
    uint64_t now = (uint64_t)clock_ms(), until = HEALTH_LOAD(&h->ejected_until_ms), end;
    uint32_t nth = next_in_a_row(h, conf, now);

    end = now + duration(conf, nth);
    if (until > now || !__atomic_compare_exchange_n(&h->ejected_until_ms, &until, end, false, __ATOMIC_SEQ_CST,
                                                    __ATOMIC_RELAXED))
        return;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!is_bearable(e, now)) {
        __atomic_compare_exchange_n(&h->ejected_until_ms, &end, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
        spare(e, failures);
        return;
    }
    HEALTH_STORE(&h->failures, 0);
    HEALTH_STORE(&h->ejected_ms, now);
    HEALTH_STORE(&h->ejections, nth);
    count_server_ejection(e->server);
    log_warning("upstream %.*s, server %.*s: ejected for %.1f s after %u failures in a row, the last: %s",
                STR_ARG(e->group->conf->name), STR_ARG(e->text), (double)(end - now) / 1000, failures, what);
}

void
eject_failure(struct endpoint *e, const char *what)
{
    const struct ejection *conf = &e->group->conf->eject;
    struct health_server *h = endpoint_health(e);
    uint64_t now = (uint64_t)clock_ms();
    uint32_t failures;

    if (h == NULL || conf->failures == 0)
        return;
    if (HEALTH_LOAD(&h->failures) == 0 || since(HEALTH_LOAD(&h->failing_ms), now) > (uint64_t)conf->window) {
        HEALTH_STORE(&h->failing_ms, now);
        HEALTH_STORE(&h->failures, 0);
    }
    failures = __atomic_add_fetch(&h->failures, 1, __ATOMIC_RELAXED);
    if (failures >= (uint64_t)conf->failures)
        eject(e, h, what, failures);
}

void
eject_success(struct endpoint *e)
{
    struct health_server *h = endpoint_health(e);

    if (h != NULL && HEALTH_LOAD(&h->failures) != 0)
        HEALTH_STORE(&h->failures, 0);
}

void
eject_lift(struct endpoint *e)
{
    struct health_server *h = endpoint_health(e);
    uint64_t now = (uint64_t)clock_ms(), until = h != NULL ? HEALTH_LOAD(&h->ejected_until_ms) : 0;

    if (until <= now ||
        !__atomic_compare_exchange_n(&h->ejected_until_ms, &until, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        return;
    endpoint_back(e, now);
    log_notice("upstream %.*s, server %.*s: back: its checks are good", STR_ARG(e->group->conf->name),
               STR_ARG(e->text));
}

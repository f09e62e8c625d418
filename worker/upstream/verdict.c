/*
 * It alone knows how results are counted: `run` in shared memory has those in a row that speak against
 * the present state, so the next holder of the lease goes on counting where this one was.
 */
#include "worker/upstream/verdict.h"

#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/upstream/eject.h"

/* "127.0.0.1:80", or "app.internal:80 (10.0.0.1:80)". */
static struct str
name_of(const struct endpoint *e, struct arena *a)
{
    if (e->server->name.n == 0)
        return e->text;
    return arena_printf(a, "%.*s (%.*s)", STR_ARG(e->server->text), STR_ARG(e->text));
}

static void
say(const struct endpoint *e, bool up, uint32_t checks, const char *why)
{
    struct arena *a = arena_new();
    struct str upstream = e->group->conf->name, server = name_of(e, a);
    const char *plural = checks == 1 ? "" : "s";

    if (up)
        log_notice("upstream %.*s, server %.*s: up after %u check%s: %s", STR_ARG(upstream), STR_ARG(server), checks,
                   plural, why);
    else
        log_warning("upstream %.*s, server %.*s: down after %u check%s: %s", STR_ARG(upstream), STR_ARG(server),
                    checks, plural, why);
    arena_free(a);
}

/* The count first: whoever dies in between has counted nothing too much. */
static void
become(struct health_server *h, enum health_check to)
{
    HEALTH_STORE(&h->run, 0);
    __atomic_store_n(&h->check, (uint32_t)to, __ATOMIC_RELEASE);
}

/* One more result that speaks against the state: whether that is enough. */
static bool
count(struct health_server *h, int64_t most, uint32_t *checks)
{
    *checks = HEALTH_LOAD(&h->run) + 1;
    HEALTH_STORE(&h->run, *checks);
    return *checks >= most;
}

/* Requests had failed, but checks go well again and again since. */
static void
speak_for(struct verdict *v, struct endpoint *e, struct health_server *h, uint64_t began_ms)
{
    uint64_t since = HEALTH_LOAD(&h->ejected_ms);

    if (HEALTH_LOAD(&h->ejected_until_ms) <= (uint64_t)clock_ms())
        return;
    if (v->ejected_ms != since)
        *v = (struct verdict){.ejected_ms = since};
    if (began_ms < since || ++v->good < e->group->conf->health.rise)
        return;
    v->good = 0;
    eject_lift(e);
}

void
verdict_good(struct verdict *v, struct endpoint *e, uint64_t began_ms, const char *what)
{
    struct health_server *h = endpoint_health(e);
    enum health_check was = h != NULL ? HEALTH_LOAD(&h->check) : HEALTH_UNKNOWN;
    uint32_t checks;

    if (h == NULL || e->gone)
        return;
    if (was == HEALTH_DOWN && count(h, e->group->conf->health.rise, &checks)) {
        endpoint_back(e, (uint64_t)clock_ms());
        become(h, HEALTH_UP);
        say(e, true, checks, what);
    } else if (was == HEALTH_UNKNOWN) {
        become(h, HEALTH_UP);
    } else if (was == HEALTH_UP && HEALTH_LOAD(&h->run) != 0) {
        HEALTH_STORE(&h->run, 0);
    }
    speak_for(v, e, h, began_ms);
}

void
verdict_bad(struct verdict *v, struct endpoint *e, const char *why)
{
    struct health_server *h = endpoint_health(e);
    enum health_check was = h != NULL ? HEALTH_LOAD(&h->check) : HEALTH_UNKNOWN;
    uint32_t checks;

    if (h == NULL || e->gone)
        return;
    v->good = 0;
    if (was == HEALTH_DOWN) {
        HEALTH_STORE(&h->run, 0);
    } else if (count(h, was == HEALTH_UNKNOWN ? 1 : e->group->conf->health.fall, &checks)) {
        become(h, HEALTH_DOWN);
        say(e, false, checks, why);
    }
}

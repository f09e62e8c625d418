/*
 * What all kinds of balancing share: who may be chosen at all, and that a place is taken in the same
 * moment. A server that turns out to be full is taken from the candidates and the kind is asked again.
 */
#include "worker/upstream/balance.h"

#include "worker/base/clock.h"
#include "worker/state.h"
#include "worker/upstream/queue.h"

/* By enum in conf.h. */
static balance_kind *const kinds[] = {
    [BALANCE_ROUND_ROBIN] = balance_round_robin,
    [BALANCE_LEAST_CONN] = balance_least_conn,
    [BALANCE_RANDOM_TWO] = balance_random_two,
    [BALANCE_IP_HASH] = balance_ip_hash,
    [BALANCE_HASH] = balance_hash,
};

static struct endpoint **candidates;    /* of the request that is being given a server */
static size_t candidates_room;

static bool
has_failed(const struct request *r, const struct endpoint *e)
{
    for (unsigned i = 0; i < r->tried_count; i++)
        if (r->tried[i] == endpoint_number(e))
            return true;
    return false;
}

/* Those of [from, to) that are up and untried; *up: some is up. */
static size_t
collect(const struct group *g, const struct request *r, size_t from, size_t to, uint64_t now, bool *up)
{
    size_t n = 0;

    for (size_t i = from; i < to; i++) {
        if (!endpoint_is_up(g->v[i], now))
            continue;
        *up = true;
        if (!has_failed(r, g->v[i]))
            candidates[n++] = g->v[i];
    }
    return n;
}

/*
 * Where none is up: those that are ejected, but not down. The last one is never ejected, but an ejected one may
 * become the last: the others go down, or a reload or another answer for a name takes them away.
 */
static size_t
collect_ejected(const struct group *g, const struct request *r)
{
    size_t n = 0;

    for (size_t i = 0; i < g->n; i++)
        if (!endpoint_is_down(g->v[i]) && !has_failed(r, g->v[i]))
            candidates[n++] = g->v[i];
    return n;
}

static void
make_room(size_t n)
{
    if (n <= candidates_room)
        return;
    candidates = xrealloc(candidates, n * sizeof(struct endpoint *));
    candidates_room = n;
}

static bool
enter(const struct endpoint *e)
{
    return e->health == 0 ||
           health_enter(worker.health, e->health, worker.row_number, (uint32_t)e->server->max_connections);
}

enum balance_result
balance_choose(struct group *g, struct request *r, struct endpoint **e)
{
    struct candidates c = {.group = g, .now_ms = (uint64_t)clock_ms()};
    bool up = false, full = false;

    group_refresh(g);
    make_room(g->n);
    c.v = candidates;
    c.n = collect(g, r, 0, g->primaries, c.now_ms, &up);
    if (c.n == 0)
        c.n = collect(g, r, g->primaries, g->n, c.now_ms, &up);
    if (!up)
        c.n = collect_ejected(g, r);
    while (c.n > 0) {
        size_t i = c.n == 1 ? 0 : kinds[g->conf->balance](&c, r);

        if (enter(c.v[i])) {
            *e = c.v[i];
            return BALANCE_CHOSEN;
        }
        full = true;
        memmove(&c.v[i], &c.v[i + 1], (--c.n - i) * sizeof(*c.v));
    }
    return full ? BALANCE_FULL : BALANCE_NONE;
}

void
balance_begin(struct group *g, unsigned number)
{
    struct candidates c = {.group = g, .v = g->v, .n = g->primaries, .now_ms = (uint64_t)clock_ms()};

    for (size_t n = c.n > 0 ? number % c.n : 0; n > 0; n--)
        balance_round_robin(&c, NULL);
}

void
balance_leave(struct endpoint *e)
{
    if (e->health != 0)
        health_leave(worker.health, e->health, worker.row_number);
    if (e->group->limited)
        queue_room(e->group);
}

bool
balance_less(const struct endpoint *a, const struct endpoint *b, uint64_t now_ms)
{
    uint64_t x = a->health != 0 ? health_in_flight(worker.health, a->health) : 0;
    uint64_t y = b->health != 0 ? health_in_flight(worker.health, b->health) : 0;

    return x * (uint64_t)(b->server->weight * endpoint_share(b, now_ms)) <
           y * (uint64_t)(a->server->weight * endpoint_share(a, now_ms));
}

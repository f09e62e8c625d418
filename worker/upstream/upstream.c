/*
 * Groups and their endpoints. It alone makes and frees endpoints, and knows how what is published of a
 * name becomes some: those whose address is still there stay, with their connections; new ones are
 * made; those that are not named any more get no new requests and end with their last connection.
 *
 * Invariant: group->v holds no endpoint that is gone; its capacity is enough for all that names can
 * ever resolve to, so it never grows.
 */
#include "worker/upstream/upstream.h"

#include <stdlib.h>

#include "worker/base/clock.h"
#include "worker/base/hash.h"
#include "worker/base/log.h"
#include "worker/state.h"
#include "worker/upstream/balance.h"
#include "worker/upstream/exchange.h"
#include "worker/upstream/queue.h"

#define STAMP_MS 15000
#define AGAIN_MS 60000

/* A server that is given by name. */
struct resolved {
    const struct server *server;
    unsigned entry;             /* of the name, in the health segment; 0: none */
    uint64_t version;           /* that its endpoints are made of */
    struct endpoint *v[HEALTH_ADDRESSES];
    size_t n;
};

static struct group *groups;
static size_t group_count;

size_t
upstreams_count(void)
{
    return group_count;
}

struct group *
upstreams_at(size_t i)
{
    return &groups[i];
}

struct group *
upstream_group(const struct upstream *u)
{
    return &groups[u->index];
}

/* --- endpoints --- */

static struct endpoint *
endpoint_new(struct group *g, const struct server *s, const struct addr *address, struct str text)
{
    static uint64_t last;
    struct endpoint *e = xcalloc(1, sizeof(*e) + text.n);
    struct str name = g->conf->name;
    unsigned long more;

    memcpy(e + 1, text.p, text.n);
    *e = (struct endpoint){.server = s, .group = g, .address = *address, .id = ++last};
    e->text = (struct str){(char *)(e + 1), text.n};
    e->hash = hash_bytes(text.p, text.n, 0);
    if (worker.health != NULL)
        e->health = health_find(worker.health, name.p, name.n, text.p, text.n, (uint64_t)clock_ms());
    if (worker.health != NULL && e->health == 0 && log_due(&g->no_room, clock_ms(), AGAIN_MS, &more))
        log_warning("upstream %.*s, server %.*s: no room for it in shared memory: it is not checked, and has no limits "
                    "(%lu others before)", STR_ARG(name), STR_ARG(text), more);
    return e;
}

void
endpoint_hold(struct endpoint *e)
{
    e->held++;
}

static void
free_unused(struct endpoint *e)
{
    if (!e->gone || e->held > 0)
        return;
    tls_client_forget(&e->tls);
    free(e);
}

void
endpoint_release(struct endpoint *e)
{
    check(e->held > 0);
    e->held--;
    free_unused(e);
}

/* Its name has another address now. */
static void
dismiss(struct endpoint *e)
{
    endpoint_hold(e);
    e->gone = true;
    exchange_pool_close(e);
    endpoint_release(e);
}

struct health_server *
endpoint_health(const struct endpoint *e)
{
    return e->health != 0 ? health_server(worker.health, e->health) : NULL;
}

/* Its time is over: whoever sees it first brings it back. */
static void
end_ejection(const struct endpoint *e, struct health_server *h, uint64_t until, uint64_t now_ms)
{
    if (!__atomic_compare_exchange_n(&h->ejected_until_ms, &until, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        return;
    endpoint_back(e, now_ms);
    log_notice("upstream %.*s, server %.*s: back after its ejection", STR_ARG(e->group->conf->name), STR_ARG(e->text));
}

bool
endpoint_is_up(const struct endpoint *e, uint64_t now_ms)
{
    const struct upstream *u = e->group->conf;
    struct health_server *h = endpoint_health(e);
    uint64_t until;

    if (h == NULL)
        return true;
    if (!health_is_up(h, u->health.interval > 0, u->eject.failures > 0, now_ms))
        return false;
    until = __atomic_load_n(&h->ejected_until_ms, __ATOMIC_RELAXED);
    if (until != 0 && until <= now_ms)
        end_ejection(e, h, until, now_ms);
    return true;
}

bool
endpoint_is_down(const struct endpoint *e)
{
    const struct health_server *h = endpoint_health(e);

    return h != NULL && !health_is_up(h, e->group->conf->health.interval > 0, false, 0);
}

void
endpoint_back(const struct endpoint *e, uint64_t now_ms)
{
    struct health_server *h = endpoint_health(e);

    if (h != NULL)
        __atomic_store_n(&h->since_ms, now_ms, __ATOMIC_RELAXED);
}

int64_t
endpoint_share(const struct endpoint *e, uint64_t now_ms)
{
    uint64_t slow = (uint64_t)e->server->slow_start, since, share;
    const struct health_server *h;

    if (slow == 0 || (h = endpoint_health(e)) == NULL)
        return 1000;
    since = __atomic_load_n(&h->since_ms, __ATOMIC_RELAXED);
    if (since == 0 || now_ms < since || now_ms - since >= slow)
        return 1000;
    share = (now_ms - since) * 1000 / slow;
    return share < 10 ? 10 : (int64_t)share;
}

/* --- groups --- */

/* All endpoints that there are now of the servers that are backups, or of those that are none. */
static void
list(struct group *g, bool backup)
{
    for (size_t i = 0, name = 0; i < g->conf->server_count; i++) {
        const struct server *s = &g->conf->servers[i];
        bool named = s->name.n > 0;

        if (s->backup == backup) {
            size_t n = named ? g->names[name].n : 1;
            struct endpoint **from = named ? g->names[name].v : &g->fixed[i];

            memcpy(g->v + g->n, from, n * sizeof(*from));
            g->n += n;
        }
        name += named;
    }
}

/* Where all are backups, none is. */
static void
list_all(struct group *g)
{
    g->n = 0;
    list(g, false);
    g->primaries = g->n;
    list(g, true);
    if (g->primaries == 0 && g->all_backups)
        g->primaries = g->n;
    g->same_weight = true;
    for (size_t i = 1; i < g->n; i++)
        if (g->v[i]->server->weight != g->v[0]->server->weight)
            g->same_weight = false;
}

static bool
is_address(const struct endpoint *e, const struct health_address *a)
{
    return e->address.ip.family == a->family && memcmp(e->address.ip.b, a->b, a->family == AF_INET ? 4 : 16) == 0;
}

static struct endpoint *
of_address(struct group *g, struct resolved *name, const struct health_address *a)
{
    struct addr address = {.ip = {.family = a->family}, .port = name->server->port};
    struct arena *scratch;
    struct endpoint *e;

    for (size_t i = 0; i < name->n; i++)
        if (name->v[i] != NULL && is_address(name->v[i], a)) {
            e = name->v[i];
            name->v[i] = NULL;
            return e;
        }
    memcpy(address.ip.b, a->b, a->family == AF_INET ? 4 : 16);
    scratch = arena_new();
    e = endpoint_new(g, name->server, &address, addr_text(&address, scratch));
    arena_free(scratch);
    return e;
}

static void
take_addresses(struct group *g, struct resolved *name, const struct health_name *news)
{
    struct endpoint *v[HEALTH_ADDRESSES];
    size_t n = news->n < HEALTH_ADDRESSES ? news->n : HEALTH_ADDRESSES;

    for (size_t i = 0; i < n; i++)
        v[i] = of_address(g, name, &news->v[i]);
    for (size_t i = 0; i < name->n; i++)
        if (name->v[i] != NULL)
            dismiss(name->v[i]);
    memcpy(name->v, v, n * sizeof(*v));
    name->n = n;
}

void
group_refresh(struct group *g)
{
    struct health_name news;
    bool changed = false, first = g->n == 0;

    for (size_t i = 0; i < g->name_count; i++) {
        struct resolved *name = &g->names[i];

        if (name->entry == 0 || health_name_version(worker.health, name->entry) == name->version ||
            !health_read_name(worker.health, name->entry, &news))
            continue;
        name->version = news.version;
        take_addresses(g, name, &news);
        changed = true;
    }
    if (changed)
        list_all(g);
    if (changed && first)
        balance_begin(g, worker.number);
}

static void
stamp(struct group *g, uint64_t now_ms)
{
    g->stamped_ms = (int64_t)now_ms;
    health_stamp_upstream(worker.health, g->health, now_ms);
    for (size_t i = 0; i < g->n; i++)
        health_stamp(worker.health, g->v[i]->health, now_ms);
    for (size_t i = 0; i < g->name_count; i++)
        health_stamp_name(worker.health, g->names[i].entry, now_ms);
}

void
upstreams_tick(void)
{
    int64_t now = clock_ms();

    for (size_t i = 0; i < group_count && worker.health != NULL; i++) {
        group_refresh(&groups[i]);
        if (now - groups[i].stamped_ms >= STAMP_MS)
            stamp(&groups[i], (uint64_t)now);
    }
}

static void
make_name(struct group *g, const struct server *s)
{
    struct resolved *name = &g->names[g->name_count++];

    name->server = s;
    if (worker.health != NULL)
        name->entry = health_find_name(worker.health, s->name.p, s->name.n, (uint64_t)clock_ms());
}

static void
make_group(struct group *g, const struct upstream *u)
{
    size_t n = u->server_count;

    g->conf = u;
    g->all_backups = true;
    g->fixed = xcalloc(n + 1, sizeof(struct endpoint *));
    g->names = xcalloc(n + 1, sizeof(struct resolved));
    g->v = xcalloc(n * HEALTH_ADDRESSES + 1, sizeof(struct endpoint *));
    g->scratch = xcalloc(n * HEALTH_ADDRESSES + 1, sizeof(struct endpoint *));
    g->stamped_ms = clock_ms();
    if (worker.health != NULL)
        g->health = health_find_upstream(worker.health, u->name.p, u->name.n, (uint64_t)clock_ms());
    for (size_t i = 0; i < n; i++) {
        const struct server *s = &u->servers[i];
        struct arena *scratch = arena_new();

        g->all_backups = g->all_backups && s->backup;
        g->limited = g->limited || s->max_connections > 0;
        if (s->name.n > 0)
            make_name(g, s);
        else
            g->fixed[i] = endpoint_new(g, s, &s->address, addr_text(&s->address, scratch));
        arena_free(scratch);
    }
    list_all(g);
    group_refresh(g);
    balance_begin(g, worker.number);
    g->queue = queue_new(g);
}

void
upstreams_init(const struct conf *conf)
{
    group_count = conf->upstream_count;
    groups = xcalloc(group_count + 1, sizeof(*groups));
    for (size_t i = 0; i < group_count; i++)
        make_group(&groups[i], &conf->upstreams[i]);
}

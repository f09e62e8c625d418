/*
 * Knows the names of all metrics and where their values come from. Things that share a series are one
 * member of their dimension, with the first one's label: no sample is written twice.
 */
#include "master/metrics.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "master/metrics_tls.h"
#include "master/options.h"
#include "master/prometheus.h"
#include "master/series.h"
#include "worker/base/addr.h"
#include "worker/base/clock.h"

struct metrics {
    FILE *to;
    struct slots *slots;
    struct health *health;
    struct cache *cache;        /* NULL: none */
    const struct generation *current;
    struct arena *arena;
};

/* A dimension that is being filled. */
struct filling {
    struct metrics *m;
    struct prometheus_dimension d;
    bool *seen;                 /* by series */
    size_t seen_n;
};

static struct filling
fill(struct metrics *m, const char *prefix, unsigned families, size_t most)
{
    struct filling f = {.m = m, .d = {.prefix = prefix, .families = families}};

    f.d.v = arena_alloc(m->arena, (most + 1) * sizeof(*f.d.v));
    return f;
}

static bool
is_new(struct filling *f, unsigned series)
{
    if (series >= f->seen_n) {
        f->seen = xrealloc(f->seen, 2 * (size_t)series + 1);
        memset(f->seen + f->seen_n, 0, 2 * (size_t)series + 1 - f->seen_n);
        f->seen_n = 2 * (size_t)series + 1;
    }
    if (series == SLOTS_SERIES_NONE || f->seen[series])
        return false;
    return f->seen[series] = true;
}

/* NULL: it is no member of its own. */
static struct prometheus_member *
add(struct filling *f, struct str label, unsigned series)
{
    struct prometheus_member *o = &f->d.v[f->d.n];

    if (!is_new(f, series))
        return NULL;
    *o = (struct prometheus_member){.label = label};
    slots_sum(f->m->slots, series, &o->sum);
    f->d.n++;
    return o;
}

static void
write_out(struct filling *f)
{
    prometheus_dimension(f->m->to, &f->d);
    free(f->seen);
}

static void
total(struct metrics *m)
{
    struct filling f = fill(m, "weir",
                            PROMETHEUS_ACCEPTED | PROMETHEUS_REUSED | PROMETHEUS_REFUSALS | PROMETHEUS_ERRORS |
                                PROMETHEUS_DURATION | PROMETHEUS_TLS | PROMETHEUS_H2 | PROMETHEUS_CODINGS,
                            1);

    f.d.v[0] = (struct prometheus_member){.label = STR_NONE, .tls = true, .h2 = true, .codes = true};
    slots_sum_total(m->slots, &f.d.v[0].sum);
    f.d.n = 1;
    if (m->cache != NULL)
        prometheus_cache(m->to, &f.d, true);
    write_out(&f);
}

/* Numbers beyond the current generation's are those of retired workers, while they live. */
static unsigned
worker_count(const struct metrics *m)
{
    unsigned row, n = m->current->count;

    for (row = 1; row <= slots_rows(m->slots); row++) {
        if (slots_owner(m->slots, row) != 0 && slots_row(m->slots, row)->number >= n)
            n = slots_row(m->slots, row)->number + 1;
    }
    return n <= slots_rows(m->slots) ? n : m->current->count;
}

static void
workers(struct metrics *m)
{
    unsigned i, n = worker_count(m);
    struct filling f =
        fill(m, "weir_worker", PROMETHEUS_OPEN | PROMETHEUS_ACCEPTED | PROMETHEUS_REUSED | PROMETHEUS_ERRORS, n);

    for (i = 0; i < n; i++) {
        struct prometheus_member *o = &f.d.v[f.d.n++];
        unsigned series = series_of_worker(m->slots, i, m->current->number);

        o->label = prometheus_label(m->arena, "worker", arena_printf(m->arena, "%u", i));
        slots_sum_worker(m->slots, i, series, &o->sum);
    }
    write_out(&f);
}

static void
listeners(struct metrics *m)
{
    const struct conf *conf = m->current->conf;
    struct filling f = fill(m, "weir_listener",
                            PROMETHEUS_OPEN | PROMETHEUS_ACCEPTED | PROMETHEUS_REUSED | PROMETHEUS_ERRORS |
                                PROMETHEUS_TLS | PROMETHEUS_H2,
                            conf->listener_count);
    size_t i;

    for (i = 0; i < conf->listener_count; i++) {
        const struct listener *l = &conf->listeners[i];
        struct str label = prometheus_label(m->arena, "listener", series_listener_name(l));
        struct prometheus_member *o = add(&f, label, l->series);

        if (o != NULL) {
            o->tls = l->tls.on;
            o->h2 = l->h2c || (l->tls.on && (l->tls.alpn_offers & ALPN_H2) != 0);
        }
    }
    write_out(&f);
}

static void
routes(struct metrics *m)
{
    const struct conf *conf = m->current->conf;
    size_t i, n = 0;
    struct filling f;

    for (i = 0; i < conf->site_count; i++)
        n += conf->sites[i].route_count;
    f = fill(m, "weir_route", PROMETHEUS_REFUSALS | PROMETHEUS_DURATION | PROMETHEUS_CODINGS, n);
    for (i = 0; i < conf->site_count; i++) {
        const struct route *r = conf->sites[i].routes, *end = r + conf->sites[i].route_count;

        for (; r < end; r++)
            add(&f, prometheus_label(m->arena, "route", r->name), r->series);
    }
    prometheus_counter(m->to, &f.d, "weir_rate_limited_total", offsetof(struct slots_counters, rate_limited),
                       "Requests that a rate_limit refused.");
    if (m->cache != NULL)
        prometheus_cache(m->to, &f.d, false);
    write_out(&f);
}

enum {
    OF_SERVERS = PROMETHEUS_OPEN | PROMETHEUS_OPENED | PROMETHEUS_REUSED | PROMETHEUS_RETRIES | PROMETHEUS_EJECTIONS |
                 PROMETHEUS_ERRORS | PROMETHEUS_DURATION | PROMETHEUS_TLS,
};

static void
upstreams(struct metrics *m)
{
    const struct conf *conf = m->current->conf;
    struct filling f = fill(m, "weir_upstream", OF_SERVERS | PROMETHEUS_QUEUED, conf->upstream_count);
    size_t i;

    for (i = 0; i < conf->upstream_count; i++) {
        const struct upstream *u = &conf->upstreams[i];
        struct prometheus_member *o = add(&f, prometheus_label(m->arena, "upstream", u->name), u->series);

        if (o != NULL)
            o->tls = u->tls.on;
    }
    write_out(&f);
}

static struct str
label_server(struct metrics *m, const struct server *s)
{
    struct str upstream = prometheus_label(m->arena, "upstream", s->upstream->name);
    struct str server = prometheus_label(m->arena, "server", s->text);

    return arena_printf(m->arena, "%.*s,%.*s", STR_ARG(upstream), STR_ARG(server));
}

static void
add_servers(struct metrics *m, struct filling *f, const struct upstream *u)
{
    size_t i;

    for (i = 0; i < u->server_count; i++) {
        struct prometheus_member *o = add(f, label_server(m, &u->servers[i]), u->servers[i].series);

        if (o != NULL)
            o->tls = u->tls.on;
    }
}

static void
servers(struct metrics *m)
{
    const struct conf *conf = m->current->conf;
    struct filling f = fill(m, "weir_server", OF_SERVERS, conf->server_count);
    size_t i;

    for (i = 0; i < conf->upstream_count; i++)
        add_servers(m, &f, &conf->upstreams[i]);
    write_out(&f);
}

/* What the health segment says */

static void
waiting(struct metrics *m)
{
    const struct conf *conf = m->current->conf;
    size_t i;

    if (conf->upstream_count == 0)
        return;
    prometheus_head(m->to, "weir_upstream_queued", "gauge", "Requests that wait for a server.");
    for (i = 0; i < conf->upstream_count; i++) {
        struct str name = conf->upstreams[i].name;
        unsigned upstream = health_find_upstream(m->health, name.p, name.n, (uint64_t)clock_ms());

        prometheus_labelled(m->to, "weir_upstream_queued", prometheus_label(m->arena, "upstream", name),
                            health_waiting(m->health, upstream));
    }
}

struct bill {                   /* of health: of one server */
    struct str label;
    uint64_t addresses;
    uint64_t up;                /* of those */
    uint64_t in_flight;
};

/* As the workers see it. */
static bool
is_up(const struct upstream *u, const struct health_server *h, uint64_t now)
{
    return h == NULL || health_is_up(h, u->health.interval > 0, u->eject.failures > 0, now);
}

static void
add_address(struct metrics *m, const struct upstream *u, const struct addr *address, struct bill *to)
{
    struct str text = addr_text(address, m->arena);
    uint64_t now = (uint64_t)clock_ms();
    unsigned server = health_find(m->health, u->name.p, u->name.n, text.p, text.n, now);

    to->addresses++;
    to->up += is_up(u, health_server(m->health, server), now);
    to->in_flight += health_in_flight(m->health, server);
}

/* A name that has never been resolved has no address, so it is down. */
static void
add_name(struct metrics *m, const struct server *s, struct bill *to)
{
    unsigned name = health_find_name(m->health, s->name.p, s->name.n, (uint64_t)clock_ms());
    struct health_name resolved;
    uint32_t i;

    if (name == 0 || !health_read_name(m->health, name, &resolved))
        return;
    for (i = 0; i < resolved.n; i++) {
        struct addr address = {.ip.family = resolved.v[i].family, .port = s->port};

        memcpy(address.ip.b, resolved.v[i].b, sizeof(address.ip.b));
        add_address(m, s->upstream, &address, to);
    }
}

/* Of all servers, each series once. */
static size_t
take_bills(struct metrics *m, struct bill *v)
{
    const struct conf *conf = m->current->conf;
    struct filling f = {.m = m};
    size_t i, j, n = 0;

    for (i = 0; i < conf->upstream_count; i++) {
        const struct upstream *u = &conf->upstreams[i];

        for (j = 0; j < u->server_count; j++) {
            const struct server *s = &u->servers[j];

            if (!is_new(&f, s->series))
                continue;
            v[n] = (struct bill){.label = label_server(m, s)};
            if (s->name.n > 0)
                add_name(m, s, &v[n]);
            else
                add_address(m, u, &s->address, &v[n]);
            n++;
        }
    }
    free(f.seen);
    return n;
}

static void
health(struct metrics *m)
{
    size_t i, n = m->current->conf->server_count;
    struct bill *v = arena_alloc(m->arena, (n + 1) * sizeof(*v));

    n = take_bills(m, v);
    if (n == 0)
        return;
    prometheus_head(m->to, "weir_server_up", "gauge", "1 where one of its addresses at least is up.");
    for (i = 0; i < n; i++)
        prometheus_labelled(m->to, "weir_server_up", v[i].label, v[i].up > 0);
    prometheus_head(m->to, "weir_server_addresses", "gauge", "Addresses that it has: of a name, those resolved.");
    for (i = 0; i < n; i++)
        prometheus_labelled(m->to, "weir_server_addresses", v[i].label, v[i].addresses);
    prometheus_head(m->to, "weir_server_requests_in_flight", "gauge", "Requests that it has to answer.");
    for (i = 0; i < n; i++)
        prometheus_labelled(m->to, "weir_server_requests_in_flight", v[i].label, v[i].in_flight);
}

/* No sample while nobody has it. */
static void
lease(struct metrics *m)
{
    unsigned row = health_lease_holder(m->health);

    prometheus_head(m->to, "weir_lease_worker", "gauge",
                    "The worker that checks servers, resolves names and asks for OCSP responses.");
    if (row != 0 && row <= slots_rows(m->slots) && slots_owner(m->slots, row) != 0)
        prometheus_sample(m->to, "weir_lease_worker", "", slots_row(m->slots, row)->number);
}

/* Generations and their workers */

struct census {
    unsigned generation;
    uint64_t workers[3];        /* starting, accepting, draining */
    uint64_t connections;
};

static int
by_generation(const void *a, const void *b)
{
    const struct census *x = a, *y = b;

    return (x->generation > y->generation) - (x->generation < y->generation);
}

static struct census *
of_generation(struct census *v, size_t *n, unsigned generation)
{
    size_t i;

    for (i = 0; i < *n; i++) {
        if (v[i].generation == generation)
            return &v[i];
    }
    v[*n] = (struct census){.generation = generation};
    return &v[(*n)++];
}

/* Counts workers and connections by generation, and connections by state. */
static size_t
take_census(struct metrics *m, struct census *v, uint64_t conns[SLOTS_CONNS])
{
    unsigned row, i;
    size_t n = 0;

    for (row = 1; row <= slots_rows(m->slots); row++) {
        const struct slots_row *r = slots_row(m->slots, row);
        struct census *c;

        if (slots_owner(m->slots, row) == 0 || r->state < SLOTS_STARTING || r->state > SLOTS_DRAINING)
            continue;
        c = of_generation(v, &n, r->generation);
        c->workers[r->state - SLOTS_STARTING]++;
        c->connections += r->total.open;
        for (i = 0; i < SLOTS_CONNS; i++)
            conns[i] += r->conns[i];
    }
    qsort(v, n, sizeof(*v), by_generation);
    return n;
}

static void
write_workers(struct metrics *m, const struct census *v, size_t n)
{
    static const char *const state[] = {"starting", "accepting", "draining"};
    char labels[64];
    size_t i, j;

    prometheus_head(m->to, "weir_workers", "gauge", "Workers by generation and state.");
    for (i = 0; i < n; i++) {
        for (j = 0; j < 3; j++) {
            snprintf(labels, sizeof(labels), "generation=\"%u\",state=\"%s\"", v[i].generation, state[j]);
            prometheus_sample(m->to, "weir_workers", labels, v[i].workers[j]);
        }
    }
    prometheus_head(m->to, "weir_generation_connections", "gauge", "Client connections by generation.");
    for (i = 0; i < n; i++) {
        snprintf(labels, sizeof(labels), "generation=\"%u\"", v[i].generation);
        prometheus_sample(m->to, "weir_generation_connections", labels, v[i].connections);
    }
}

static void
generations(struct metrics *m)
{
    struct census *v = arena_alloc(m->arena, (slots_rows(m->slots) + 1) * sizeof(*v));
    uint64_t conns[SLOTS_CONNS] = {0};
    size_t i, n = take_census(m, v, conns);
    char state[32];

    write_workers(m, v, n);
    prometheus_head(m->to, "weir_connections", "gauge", "Client connections by state.");
    for (i = 0; i < SLOTS_CONNS; i++) {
        snprintf(state, sizeof(state), "state=\"%s\"", slots_conn_name[i]);
        prometheus_sample(m->to, "weir_connections", state, conns[i]);
    }
}

/* The masters' own */

static void
single(struct metrics *m, const char *name, const char *type, const char *help, uint64_t value)
{
    prometheus_head(m->to, name, type, help);
    prometheus_sample(m->to, name, "", value);
}

static void
cache(struct metrics *m)
{
    struct cache_totals t;

    if (m->cache == NULL)
        return;
    cache_sum(m->cache, &t);
    single(m, "weir_cache_objects", "gauge", "Responses in the cache.", t.objects);
    single(m, "weir_cache_bytes", "gauge", "Bytes of these, heads and content.", t.bytes);
    single(m, "weir_cache_used_bytes", "gauge", "Bytes of the space in use.", t.used);
    single(m, "weir_cache_space_bytes", "gauge", "Bytes that there are for responses.", t.space);
    single(m, "weir_cache_evicted_total", "counter", "Responses that made room for others.", t.evicted);
    single(m, "weir_cache_resets_total", "counter", "Parts emptied because a worker died in them.", t.resets);
    single(m, "weir_cache_dropped_total", "counter", "Responses of a file that were not whole.", t.dropped);
}

static void
about(struct metrics *m)
{
    const struct slots_master *c = slots_master(m->slots);
    uint64_t now = (uint64_t)time(NULL);
    char version[64];

    snprintf(version, sizeof(version), "version=\"%s\"", options_version());
    prometheus_head(m->to, "weir_build_info", "gauge", "1, with the version of the master.");
    prometheus_sample(m->to, "weir_build_info", version, 1);
    single(m, "weir_start_time_seconds", "gauge", "When counting began, in seconds of the epoch.", c->started);
    single(m, "weir_uptime_seconds", "gauge", "Since then.", now > c->started ? now - c->started : 0);
    single(m, "weir_generation", "gauge", "Number of the generation that serves.", m->current->number);
    single(m, "weir_worker_restarts_total", "counter", "Workers that died and were replaced.", c->restarts);
    prometheus_head(m->to, "weir_reloads_total", "counter", "Reloads by result.");
    prometheus_sample(m->to, "weir_reloads_total", "result=\"success\"", c->reloads);
    prometheus_sample(m->to, "weir_reloads_total", "result=\"failure\"", c->reload_failures);
    single(m, "weir_config_last_reload_successful", "gauge", "Whether the last reload was.", !c->reload_failed);
    single(m, "weir_log_lines_dropped_total", "counter", "Log lines that could not be written.",
           slots_sum_dropped(m->slots));
}

void
metrics_write(FILE *to, const struct segments *s, const struct generation *current)
{
    struct metrics m = {to, s->slots, s->health, segments_cache(s, current->conf), current, arena_new()};

    about(&m);
    generations(&m);
    total(&m);
    workers(&m);
    listeners(&m);
    routes(&m);
    upstreams(&m);
    servers(&m);
    waiting(&m);
    health(&m);
    lease(&m);
    metrics_certificates(to, current->conf, m.arena);
    cache(&m);
    arena_free(m.arena);
}

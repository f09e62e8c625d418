/*
 * Knows by which names things keep their counters over a reload: a listener by its name or else its
 * address, a route by its name, a server by its upstream's name and its address. Things of one
 * kind and name share a series.
 */
#include "master/series.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/base/arena.h"

unsigned
series_needed(const struct conf *conf, unsigned workers)
{
    size_t i, n = conf->listener_count + conf->upstream_count + conf->server_count + workers;

    for (i = 0; i < conf->site_count; i++)
        n += conf->sites[i].route_count;
    return (unsigned)n;
}

/* Series that only generations before this one asked for are nobody's any more. */
static unsigned
oldest_alive(struct slots *s, unsigned generation)
{
    unsigned row, oldest = generation;

    for (row = 1; row <= slots_rows(s); row++) {
        if (slots_owner(s, row) != 0 && slots_row(s, row)->generation < oldest)
            oldest = slots_row(s, row)->generation;
    }
    return oldest;
}

struct assignment {
    struct slots *slots;
    unsigned generation;
    unsigned oldest;
    unsigned lost;
};

static unsigned
assign(struct assignment *a, enum slots_kind kind, struct str name)
{
    unsigned series = slots_series(a->slots, kind, name.p, name.n, a->generation, a->oldest);

    a->lost += series == SLOTS_SERIES_NONE;
    return series;
}

struct str
series_listener_name(const struct listener *l)
{
    return l->name.n > 0 ? l->name : l->text;
}

static void
assign_servers(struct assignment *a, struct upstream *u)
{
    size_t i, n = u->name.n;
    char *key;

    for (i = 0; i < u->server_count; i++) {
        struct str text = u->servers[i].text;

        key = xmalloc(n + 1 + text.n);
        memcpy(key, u->name.p, n);
        key[n] = '\0';                  /* stands in no name */
        memcpy(key + n + 1, text.p, text.n);
        u->servers[i].series = assign(a, SLOTS_SERVER, (struct str){key, n + 1 + text.n});
        free(key);
    }
}

unsigned
series_assign(struct conf *conf, struct slots *s, unsigned generation)
{
    struct assignment a = {s, generation, oldest_alive(s, generation), 0};
    size_t i, j;

    for (i = 0; i < conf->listener_count; i++)
        conf->listeners[i].series = assign(&a, SLOTS_LISTENER, series_listener_name(&conf->listeners[i]));
    for (i = 0; i < conf->upstream_count; i++) {
        conf->upstreams[i].series = assign(&a, SLOTS_UPSTREAM, conf->upstreams[i].name);
        assign_servers(&a, &conf->upstreams[i]);
    }
    for (i = 0; i < conf->site_count; i++) {
        for (j = 0; j < conf->sites[i].route_count; j++)
            conf->sites[i].routes[j].series = assign(&a, SLOTS_ROUTE, conf->sites[i].routes[j].name);
    }
    return a.lost;
}

unsigned
series_of_worker(struct slots *s, unsigned number, unsigned generation)
{
    char name[16];
    int n = snprintf(name, sizeof(name), "%u", number);

    return slots_series(s, SLOTS_WORKER, name, (size_t)n, generation, oldest_alive(s, generation));
}

/*
 * The ROUTE phase: which site, which route. It alone knows how hosts are looked up; paths.c knows which
 * routes a path leaves, match.c whether the conditions of one hold.
 *
 * Hosts stand in one open-addressed table a listener: exact names as they are, a wildcard *.example.com
 * as ".example.com". The hash runs from the end of the name to its beginning, so that one pass over a
 * host gives the hash of every suffix; a lookup is one probe a label, whatever there is in the table.
 */
#include "worker/route.h"

#include "worker/base/hash.h"
#include "worker/count.h"
#include "worker/match.h"
#include "worker/paths.h"
#include "worker/regex_set.h"
#include "worker/request.h"
#include "worker/route_trace.h"
#include "worker/trace.h"

#define LABELS_MOST 128         /* of a name of 255 characters */

struct entry {
    struct str key;             /* p NULL: free */
    uint64_t hash;
    struct site *site;
};

struct site_table {
    struct entry *v;
    uint32_t mask;
    struct site *any;           /* "*" */
};

static uint64_t
hash_of(struct str key)
{
    uint64_t hash = HASH_START;

    for (size_t i = key.n; i > 0; i--)
        hash = hash_step(hash, key.p[i - 1]);
    return hash;
}

/* The entry of that key, or the free one where it would stand. */
static struct entry *
probe(const struct site_table *t, struct str key, uint64_t hash, size_t *steps)
{
    uint32_t i = (uint32_t)(hash ^ hash >> 32) & t->mask;

    for (++*steps; t->v[i].key.p != NULL && (t->v[i].hash != hash || !str_eq(t->v[i].key, key)); ++*steps)
        i = (i + 1) & t->mask;
    return &t->v[i];
}

static bool
is_on(const struct site *s, const struct listener *l)
{
    if (s->listen.n == 0)
        return true;
    for (size_t i = 0; i < s->listen.n; i++)
        if (l->name.n > 0 && str_eq(s->listen.v[i], l->name))
            return true;
    return false;
}

/* False: the host has a site already. */
static bool
insert(struct site_table *t, struct str host, struct site *s)
{
    struct entry *e;
    size_t steps = 0;

    if (str_eq(host, STR("*"))) {
        if (t->any != NULL)
            return false;
        t->any = s;
        return true;
    }
    if (str_starts(host, STR("*."))) {
        host.p++;
        host.n--;
    }
    e = probe(t, host, hash_of(host), &steps);
    if (e->key.p != NULL)
        return false;
    *e = (struct entry){host, hash_of(host), s};
    return true;
}

/* At most a third full, so that a host is hardly ever met in another's place. */
static void
make_room(struct site_table *t, const struct conf *conf, struct arena *a)
{
    size_t hosts = 0;
    uint32_t size = 8;

    for (size_t i = 0; i < conf->site_count; i++)
        hosts += conf->sites[i].hosts.n;
    while (size < 3 * hosts)
        size *= 2;
    t->mask = size - 1;
    t->v = arena_zalloc(a, size * sizeof(*t->v));
}

struct site_table *
site_table_new(struct conf *conf, const struct listener *l, struct arena *a, int *twice, struct str *host)
{
    struct site_table *t = arena_zalloc(a, sizeof(*t));

    *twice = -1;
    make_room(t, conf, a);
    for (size_t i = 0; i < conf->site_count; i++) {
        struct site *s = &conf->sites[i];

        for (size_t j = 0; is_on(s, l) && j < s->hosts.n; j++)
            if (!insert(t, s->hosts.v[j], s) && *twice < 0) {
                *twice = (int)i;
                *host = s->hosts.v[j];
            }
    }
    return t;
}

static struct site *
find(const struct site_table *t, struct str host, size_t *steps)
{
    struct {
        size_t at;
        uint64_t hash;
    } labels[LABELS_MOST];
    const struct entry *e;
    uint64_t hash = HASH_START;
    size_t count = 0;

    for (size_t i = host.n; i > 0; i--) {
        hash = hash_step(hash, host.p[i - 1]);
        /* a wildcard stands for at least one label, so a dot at the very beginning is none */
        if (host.p[i - 1] == '.' && i > 1 && count < LABELS_MOST) {
            labels[count].at = i - 1;
            labels[count++].hash = hash;
        }
    }
    if (host.n > 0 && host.p[0] != '.' && (e = probe(t, host, hash, steps))->key.p != NULL)
        return e->site;
    while (count-- > 0) {
        struct str suffix = {host.p + labels[count].at, host.n - labels[count].at};

        if ((e = probe(t, suffix, labels[count].hash, steps))->key.p != NULL)
            return e->site;
    }
    return t->any;
}

struct site *
site_find(const struct site_table *t, struct str host)
{
    size_t steps = 0;

    return find(t, host, &steps);
}

size_t
site_cost(const struct site_table *t, struct str host)
{
    size_t steps = 0;

    find(t, host, &steps);
    return steps;
}

/* Of those that the path leaves, in the order written. From the first regex on, only those that may match. */
static int
choose_route(struct request *r)
{
    struct paths_walk walk;
    struct regex_scan scan;
    bool looked = false;
    size_t i;

    paths_start(&walk, r->site->paths, r->uri.canonical, r->arena);
    regex_scan_start(&scan, r->site->regexes, r->uri.canonical);
    while ((i = paths_next(&walk)) != PATHS_END) {
        const struct route *route = &r->site->routes[i];
        enum regex_result result;

        looked = looked || route->match.regex != NULL;
        if (looked && !regex_scan_may(&scan, i)) {
            paths_leave(&walk, scan.block, scan.may);
            continue;
        }
        result = match_request(&route->match, r, NULL);
        if (result == REGEX_NO)
            continue;
        if (result == REGEX_LIMIT || route->match.regex == NULL)
            r->captures = NULL;
        if (result == REGEX_LIMIT) {
            count_regex_limit(route);
            return 500;
        }
        r->route = route;
        r->scope = &route->scope;
        return 0;
    }
    r->captures = NULL;
    return 404;
}

static int
choose(struct request *r)
{
    r->route = NULL;
    r->captures = NULL;
    r->scope = &r->conf->scope;
    r->site = site_find(r->listener->sites, r->host.name);
    if (r->site == NULL)
        return 421;
    r->scope = &r->site->scope;
    return choose_route(r);
}

/*
 * Whether a path that an origin may read in another way is the chosen route's in both readings. Were it not, a client
 * could choose by the spelling which route's policies a path of the origin gets. A route that names
 * the whole path, escapes and all, knows what it takes.
 */
static bool
is_unambiguous(struct request *r)
{
    const struct route *route = r->route;
    struct captures *captures = r->captures;
    struct str canonical = r->uri.canonical;
    struct uri uri = {0};
    bool same;

    if (route->match.path.p != NULL)
        return true;
    if (uri_canonical(&uri, uri_decoded(&r->uri, r->arena), r->arena) != 0)
        return false;
    r->uri.canonical = uri.canonical;
    r->captures = NULL;
    same = choose_route(r) == 0 && r->route == route;
    r->uri.canonical = canonical;
    r->captures = captures;
    r->route = route;
    r->scope = &route->scope;
    return same;
}

static int
check_reading(struct request *r)
{
    if (r->uri.encoded_slash && r->scope->policy.encoded_slash == ENCODED_SLASH_REJECT) {
        trace(r, r->route->line, "refused: the path holds %%2F, and `encoded_slash` is reject");
        return 400;
    }
    if ((r->uri.encoded_slash || r->uri.encoded_delimiter) && !is_unambiguous(r)) {
        trace(r, r->route->line, "refused: with its escapes decoded the path would not be this route's");
        return 400;
    }
    return 0;
}

int
route_request(struct request *r)
{
    int status = choose(r);

    if (r->trace != NULL)
        route_trace(r, status);
    if (status == 0)
        status = check_reading(r);
    match_end(r);
    return status;
}

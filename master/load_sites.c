/*
 * Sites and their routes. Knows what a host in the file looks like, and what has to hold between
 * sites, routes and listeners.
 */
#include <stdlib.h>

#include "master/loader.h"
#include "worker/base/hash.h"
#include "worker/host.h"
#include "worker/match.h"
#include "worker/paths.h"
#include "worker/regex_set.h"

#define COMPARED_MOST (20 * 1000 * 1000)
#define REGEX_COST 20           /* comparisons that looking at a regex takes the time of */

/* As the hosts of requests are compared: lower case, no port. Stricter than what a request may say. */
static const char *
read_host(struct str text, struct arena *a, struct str *name)
{
    bool wild = str_starts(text, STR("*."));
    struct host host;

    *name = text;
    if (str_eq(text, STR("*")))
        return NULL;
    if (wild)
        text = (struct str){text.p + 2, text.n - 2};
    if (memchr(text.p, '*', text.n) != NULL)
        return "* stands alone, or as *. before a name";
    if (host_parse(&host, text, a) != 0)
        return "no host";
    if (host.port >= 0)
        return "the port is the listener's";
    for (size_t i = 0; i < host.name.n; i++)
        if (host.name.p[0] != '[' && strchr("abcdefghijklmnopqrstuvwxyz0123456789-._", host.name.p[i]) == NULL)
            return "no host";
    if (wild && host.name.p[0] == '[')
        return "no host";
    *name = wild ? arena_printf(a, "*.%.*s", STR_ARG(host.name)) : arena_copy(a, host.name);
    return NULL;
}

int
load_hosts(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct str_list list;

    if (!load_strings(l, k, n, &list))
        return -1;
    if (list.n == 0)
        load_error(l, n, "`hosts` is an empty list");
    for (size_t i = 0; i < list.n; i++) {
        const char *why = list.v[i].n > 0 ? read_host(list.v[i], l->arena, &list.v[i]) : NULL;
        struct str text = load_show(l, list.v[i]);

        if (why != NULL)
            load_error(l, yaml_item(n, i), "host `%.*s`: %s", STR_ARG(text), why);
    }
    *(struct str_list *)at = list;
    return 0;
}

static void
find_listener(struct loader *l, const struct node *n, struct str name)
{
    struct str hint, text = load_show(l, name);
    struct suggest s;

    suggest_init(&s, name);
    for (size_t i = 0; i < l->conf->listener_count; i++) {
        if (str_eq(l->conf->listeners[i].name, name))
            return;
        suggest_try(&s, l->conf->listeners[i].name);
    }
    hint = suggest_text(&s, l->scratch);
    load_error(l, n, "no listener has the name `%.*s`%.*s", STR_ARG(text), STR_ARG(hint));
}

int
load_site_listen(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct str_list list;

    if (!load_strings(l, k, n, &list))
        return -1;
    if (list.n == 0)
        load_error(l, n, "`listen` is an empty list");
    for (size_t i = 0; i < list.n; i++)
        if (list.v[i].n > 0)
            find_listener(l, yaml_item(n, i), list.v[i]);
    *(struct str_list *)at = list;
    return 0;
}

/* A route is answered in one way. */
static void
check_answers(struct loader *l, const struct node *n)
{
    enum { MOST = 8 };
    const char *names[MOST];
    size_t count = 0;
    struct str all;

    if (yaml_get(n, "proxy") != NULL)
        names[count++] = "proxy";
    count += load_answers(n, names + count, MOST - count);
    all = load_answer_names(l);
    if (count == 0)
        load_error(l, n, "a route needs one of %.*s", STR_ARG(all));
    else if (count > 1)
        load_error(l, n, "a route has but one of %.*s, not `%s` and `%s`", STR_ARG(all), names[0], names[1]);
}

/* How often each name stood in the site so far: a table, open addressing, at most half full. */
struct tally {
    struct str *name;
    size_t *times;
    size_t mask;
};

static struct tally *
tally_new(struct loader *l, size_t most)
{
    struct tally *t = arena_zalloc(l->scratch, sizeof(*t));
    size_t n = 8;

    while (n < 2 * most)
        n *= 2;
    t->mask = n - 1;
    t->name = arena_zalloc(l->scratch, n * sizeof(*t->name));
    t->times = arena_zalloc(l->scratch, n * sizeof(*t->times));
    return t;
}

static size_t
tally_count(struct tally *t, struct str name)
{
    size_t i = hash_bytes(name.p, name.n, 0) & t->mask;

    while (t->times[i] > 0 && !str_eq(t->name[i], name))
        i = (i + 1) & t->mask;
    t->name[i] = name;
    return ++t->times[i];
}

/* Routes of one name have places of their own: the second of it stays the second, whatever else comes. */
static struct str
place_of_route(struct loader *l, struct str site, struct str name)
{
    size_t nth = tally_count(l->tally, name);

    return nth == 1 ? arena_printf(l->arena, "%.*s\n%.*s", STR_ARG(site), STR_ARG(name))
                    : arena_printf(l->arena, "%.*s\n%.*s\n%zu", STR_ARG(site), STR_ARG(name), nth);
}

/* Its own keys come first: the regex's groups may stand in strings of policies. */
static void
load_route(struct loader *l, const struct node *n, struct route *r)
{
    struct str site = l->place;
    size_t errors = l->errors;
    struct given *given;
    bool *taken;

    r->site = l->in_site;
    r->line = n->line;
    if (n->kind != NODE_MAP) {
        load_error(l, n, "a route is a mapping");
        return;
    }
    taken = arena_zalloc(l->scratch, n->n * sizeof(*taken));
    given = load_claim(l, keys_route, n, taken);
    load_fill(l, keys_route, given, n, r, KEY_ROUTE, true);
    if (r->name.n == 0)
        r->name = load_match_text(&r->match, l->arena);
    l->groups = r->match.regex;
    l->place = place_of_route(l, site, r->name);
    load_scope(l, keys_route, n, taken, &r->scope, &l->site, KEY_ROUTE);
    l->place = site;
    l->groups = NULL;
    if (l->errors == errors)
        check_answers(l, n);
}

/*
 * The first that takes all requests of route i; i where none does. Only such routes can as take some
 * path that it takes: its own, that of its folder, any below "/" for a regex, or else "*" and all others.
 */
static size_t
find_hider(struct loader *l, const struct site *s, const struct route *routes, size_t i, size_t *compared)
{
    const struct match *m = &routes[i].match;
    struct str path = m->path.p != NULL     ? m->path
                      : m->prefix.p != NULL ? m->prefix
                      : m->regex != NULL    ? STR("/")
                                            : STR("*");
    struct paths_walk walk;
    size_t j;

    paths_start(&walk, s->paths, path, l->scratch);
    while ((j = paths_next(&walk)) < i) {
        *compared += routes[j].match.regex != NULL ? REGEX_COST : 1;
        if (match_hides(&routes[j].match, m))
            return j;
    }
    return i;
}

/*
 * Warns of routes that never match. Among many thousand in one site that share their paths the later
 * ones go unchecked, so that a reload never takes long.
 */
static void
check_hidden(struct loader *l, const struct site *s, const struct route *routes, const struct node *n)
{
    size_t j, compared = 0;

    for (size_t i = 1; i < yaml_count(n) && compared < COMPARED_MOST; i++) {
        j = find_hider(l, s, routes, i, &compared);
        if (j < i) {
            struct str name = load_show(l, routes[j].name);

            load_warning(l, yaml_item(n, i), "this route never matches: `%.*s` on line %d takes its requests",
                         STR_ARG(name), routes[j].line);
        }
    }
}

static struct regex_set *
regexes_of(struct loader *l, const struct route *routes, size_t n)
{
    const struct regex **regexes = arena_alloc(l->scratch, (n + 1) * sizeof(const struct regex *));

    for (size_t i = 0; i < n; i++)
        regexes[i] = routes[i].match.regex;
    return regex_set_new(regexes, n, l->arena);
}

int
load_routes(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct key_array list = {.n = yaml_count(n)};
    size_t errors = l->errors;
    struct route *routes;

    if (n->kind == NODE_SCALAR) {
        load_wrong(l, k, n);
        return -1;
    }
    if (list.n == 0)
        load_error(l, n, "`routes` is an empty list");
    list.v = routes = arena_zalloc(l->arena, (list.n + 1) * sizeof(*routes));
    l->tally = tally_new(l, list.n);
    for (size_t i = 0; i < list.n; i++)
        load_route(l, yaml_item(n, i), &routes[i]);
    memcpy(at, &list, sizeof(list));
    if (l->errors != errors)
        return 0;
    l->in_site->paths = paths_new(routes, list.n, l->arena);
    l->in_site->regexes = regexes_of(l, routes, list.n);
    check_hidden(l, l->in_site, routes, n);
    return 0;
}

/* A site is known by its first host, and by its listeners where it says so: one host may be two sites. */
static struct str
place_of(struct loader *l, const struct node *n)
{
    const struct node *hosts = yaml_get(n, "hosts"), *listen = yaml_get(n, "listen");
    struct str host = hosts != NULL && yaml_count(hosts) > 0 ? yaml_item(hosts, 0)->text : STR_NONE;
    struct str on = listen != NULL && yaml_count(listen) > 0 ? yaml_item(listen, 0)->text : STR_NONE;

    return arena_printf(l->arena, "%.*s %.*s", STR_ARG(host), STR_ARG(on));
}

/* Its policies come first: its routes start from them. */
static void
load_site(struct loader *l, const struct node *n, struct site *s)
{
    struct given *given;
    bool *taken;

    s->line = n->line;
    if (n->kind != NODE_MAP) {
        load_error(l, n, "a site is a mapping");
        return;
    }
    taken = arena_zalloc(l->scratch, n->n * sizeof(*taken));
    given = load_claim(l, keys_site, n, taken);
    l->place = place_of(l, n);
    l->site = load_scope(l, keys_site, n, taken, &s->scope, &l->top, KEY_SITE);
    l->in_site = s;
    load_fill(l, keys_site, given, n, s, KEY_SITE, true);
    l->place = STR_NONE;
    if (s->hosts.n > 0)
        s->name = s->hosts.v[0];
    load_site_edits(l, s);
}

int
load_sites(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct key_array list = {.n = yaml_count(n)};
    struct site *sites;

    if (n->kind == NODE_SCALAR) {
        load_wrong(l, k, n);
        return -1;
    }
    if (list.n == 0)
        load_error(l, n, "`sites` is an empty list");
    list.v = sites = arena_zalloc(l->arena, (list.n + 1) * sizeof(*sites));
    memcpy(at, &list, sizeof(list));
    for (size_t i = 0; i < list.n; i++)
        load_site(l, yaml_item(n, i), &sites[i]);
    return 0;
}

static bool
is_on(const struct site *s, const struct listener *at)
{
    if (s->listen.n == 0)
        return true;
    for (size_t i = 0; i < s->listen.n; i++)
        if (at->name.n > 0 && str_eq(s->listen.v[i], at->name))
            return true;
    return false;
}

/* A host is of one site, on each listener, and each listener has a site. */
static void
check_listener(struct loader *l, const struct node *sites, const struct listener *at, const struct node *place,
               struct named *v)
{
    size_t n = 0;
    bool any = false;

    for (size_t i = 0; i < l->conf->site_count; i++) {
        const struct site *s = &l->conf->sites[i];
        const struct node *hosts = yaml_get(yaml_item(sites, i), "hosts");

        any |= is_on(s, at);
        for (size_t j = 0; is_on(s, at) && j < s->hosts.n; j++)
            if (s->hosts.v[j].n > 0)
                v[n++] = (struct named){s->hosts.v[j], yaml_item(hosts, j)};
    }
    load_twins(l, v, n, "host", " on a listener");
    if (!any && l->errors == 0)
        load_warning(l, place, "no site is on this listener: all that it can answer is 421");
}

void
load_check_sites(struct loader *l, const struct node *sites, const struct node *listen)
{
    struct named *v;
    size_t n = 0;

    for (size_t i = 0; i < l->conf->site_count; i++)
        n += l->conf->sites[i].hosts.n;
    v = xmalloc(n * sizeof(*v));
    for (size_t i = 0; i < l->conf->listener_count && sites != NULL; i++)
        check_listener(l, sites, &l->conf->listeners[i], yaml_item(listen, i), v);
    free(v);
}

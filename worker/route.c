/*
 * The ROUTE phase: which site, which route. It alone knows how hosts are looked up and how conditions
 * are weighed.
 *
 * Hosts stand in one open-addressed table a listener: exact names as they are, a wildcard *.example.com
 * as ".example.com". The hash runs from the end of the name to its beginning, so that one pass over a
 * host gives the hash of every suffix; a lookup is one probe a label, whatever there is in the table.
 */
#include "worker/route.h"

#include "worker/request.h"

#define LABELS_MOST 128         /* of a name of 255 characters */

struct entry {
    struct str key;             /* p NULL: free */
    uint32_t hash;
    struct site *site;
};

struct site_table {
    struct entry *v;
    uint32_t mask;
    struct site *any;           /* "*" */
};

static uint32_t
mix(uint32_t hash, char c)
{
    return (hash ^ (uint8_t)c) * UINT32_C(16777619);
}

#define HASH_START UINT32_C(2166136261)

static uint32_t
hash_of(struct str key)
{
    uint32_t hash = HASH_START;

    for (size_t i = key.n; i > 0; i--)
        hash = mix(hash, key.p[i - 1]);
    return hash;
}

/* The entry of that key, or the free one where it would stand. */
static struct entry *
probe(const struct site_table *t, struct str key, uint32_t hash)
{
    uint32_t i = (hash ^ hash >> 15) & t->mask;

    while (t->v[i].key.p != NULL && (t->v[i].hash != hash || !str_eq(t->v[i].key, key)))
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
    e = probe(t, host, hash_of(host));
    if (e->key.p != NULL)
        return false;
    *e = (struct entry){host, hash_of(host), s};
    return true;
}

/* At most half full. */
static void
make_room(struct site_table *t, const struct conf *conf, struct arena *a)
{
    size_t hosts = 0;
    uint32_t size = 8;

    for (size_t i = 0; i < conf->site_count; i++)
        hosts += conf->sites[i].hosts.n;
    while (size < 2 * hosts)
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

struct site *
site_find(const struct site_table *t, struct str host)
{
    struct {
        size_t at;
        uint32_t hash;
    } labels[LABELS_MOST];
    const struct entry *e;
    uint32_t hash = HASH_START;
    size_t count = 0;

    for (size_t i = host.n; i > 0; i--) {
        hash = mix(hash, host.p[i - 1]);
        /* a wildcard stands for at least one label, so a dot at the very beginning is none */
        if (host.p[i - 1] == '.' && i > 1 && count < LABELS_MOST) {
            labels[count].at = i - 1;
            labels[count++].hash = hash;
        }
    }
    if (host.n > 0 && host.p[0] != '.' && (e = probe(t, host, hash))->key.p != NULL)
        return e->site;
    while (count-- > 0) {
        struct str suffix = {host.p + labels[count].at, host.n - labels[count].at};

        if ((e = probe(t, suffix, labels[count].hash))->key.p != NULL)
            return e->site;
    }
    return t->any;
}

static bool
under(struct str prefix, struct str path)
{
    if (!str_starts(path, prefix))
        return false;
    return prefix.p[prefix.n - 1] == '/' || path.n == prefix.n || path.p[prefix.n] == '/';
}

static bool
has_method(const struct str_list *methods, struct str method)
{
    for (size_t i = 0; i < methods->n; i++)
        if (str_eq(methods->v[i], method))
            return true;
    return methods->n == 0;
}

/* A regex is about paths, and the asterisk form has none. */
static int
match_regex(const struct regex *re, struct request *r)
{
    if (r->uri.form == URI_ASTERISK)
        return REGEX_NO;
    if (r->captures == NULL)
        r->captures = arena_alloc(r->arena, sizeof(*r->captures));
    return regex_match(re, r->uri.canonical, r->captures);
}

/* The cheap conditions first. */
static int
matches(const struct match *m, struct request *r)
{
    if (m->scheme != SCHEME_ANY && (m->scheme == SCHEME_HTTPS) != r->https)
        return REGEX_NO;
    if (m->path.p != NULL && !str_eq(m->path, r->uri.canonical))
        return REGEX_NO;
    if (m->prefix.p != NULL && !under(m->prefix, r->uri.canonical))
        return REGEX_NO;
    if (!has_method(&m->methods, r->method_text))
        return REGEX_NO;
    return m->regex != NULL ? match_regex(m->regex, r) : REGEX_YES;
}

static int
choose_route(struct request *r)
{
    for (size_t i = 0; i < r->site->route_count; i++) {
        const struct route *route = &r->site->routes[i];
        int result = matches(&route->match, r);

        if (result == REGEX_LIMIT)
            return 500;
        if (result == REGEX_YES) {
            if (route->match.regex == NULL)
                r->captures = NULL;
            r->route = route;
            r->scope = &route->scope;
            return 0;
        }
    }
    r->captures = NULL;
    return 404;
}

int
route_request(struct request *r)
{
    int status;

    r->route = NULL;
    r->captures = NULL;
    r->scope = &r->conf->scope;
    r->site = site_find(r->listener->sites, r->host.name);
    if (r->site == NULL)
        return 421;
    r->scope = &r->site->scope;
    status = choose_route(r);
    if (status != 0)
        return status;
    if (r->uri.encoded_slash && r->scope->policy.encoded_slash == ENCODED_SLASH_REJECT)
        return 400;
    return 0;
}

static bool
methods_cover(const struct str_list *earlier, const struct str_list *later)
{
    if (earlier->n == 0)
        return true;
    for (size_t i = 0; i < later->n; i++)
        if (!has_method(earlier, later->v[i]))
            return false;
    return later->n > 0;
}

/* Whether all paths that `later` takes are under the prefix. A regex takes paths, which begin with "/". */
static bool
prefix_covers(struct str prefix, const struct match *later)
{
    if (later->path.p != NULL && under(prefix, later->path))
        return true;
    if (later->prefix.p != NULL && under(prefix, later->prefix))
        return true;
    return later->regex != NULL && str_eq(prefix, STR("/"));
}

static bool
regex_covers(const struct regex *re, const struct match *later)
{
    if (later->regex != NULL && str_eq(regex_source(re), regex_source(later->regex)))
        return true;
    return later->path.p != NULL && str_starts(later->path, STR("/")) &&
           regex_match(re, later->path, NULL) == REGEX_YES;
}

bool
route_hides(const struct route *earlier, const struct route *later)
{
    const struct match *e = &earlier->match, *l = &later->match;

    if (e->scheme != SCHEME_ANY && e->scheme != l->scheme)
        return false;
    if (!methods_cover(&e->methods, &l->methods))
        return false;
    if (e->path.p != NULL && !(l->path.p != NULL && str_eq(e->path, l->path)))
        return false;
    if (e->prefix.p != NULL && !prefix_covers(e->prefix, l))
        return false;
    return e->regex == NULL || regex_covers(e->regex, l);
}

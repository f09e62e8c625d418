/*
 * Tells in words what the ROUTE phase decided, by weighing each route before the chosen one again. It
 * goes through them one by one: only the administrator who asks pays for that.
 */
#include "worker/route_trace.h"

#include "worker/match.h"
#include "worker/request.h"
#include "worker/trace.h"

/* How much of a host a name of the file stands for: all of it, a suffix, or any; 0: it does not. */
static size_t
covers(struct str pattern, struct str host)
{
    struct str suffix;

    if (str_eq(pattern, STR("*")))
        return 1;
    if (str_eq(pattern, host))
        return host.n + 2;
    if (!str_starts(pattern, STR("*.")))
        return 0;
    suffix = (struct str){pattern.p + 1, pattern.n - 1};
    return host.n > suffix.n && host.p[0] != '.' && str_ends(host, suffix) ? suffix.n + 1 : 0;
}

static struct str
pattern_of(const struct site *s, struct str host)
{
    struct str best = STR_NONE;
    size_t most = 0;

    for (size_t i = 0; i < s->hosts.n; i++) {
        size_t n = covers(s->hosts.v[i], host);

        if (n > most) {
            most = n;
            best = s->hosts.v[i];
        }
    }
    return best;
}

static void
say_site(struct request *r)
{
    struct str host = r->host.name, pattern;

    if (r->site == NULL) {
        trace_say(r, 0, "site: none here has the host `%.*s`: 421", STR_ARG(host));
        return;
    }
    pattern = pattern_of(r->site, host);
    if (str_eq(pattern, host))
        trace_say(r, r->site->line, "site `%.*s`", STR_ARG(r->site->name));
    else
        trace_say(r, r->site->line, "site `%.*s`: host `%.*s` is one of `%.*s`", STR_ARG(r->site->name),
                  STR_ARG(host), STR_ARG(pattern));
}

static struct str
list_of(struct request *r, const struct str_list *list)
{
    struct str text = STR("");

    for (size_t i = 0; i < list->n; i++)
        text = arena_printf(r->arena, "%.*s%s%.*s", STR_ARG(text), i > 0 ? ", " : "", STR_ARG(list->v[i]));
    return text;
}

static struct str
miss_of_condition(struct request *r, const char *what, const struct match_miss *miss)
{
    const struct condition *c = miss->condition;

    if (miss->absent)
        return arena_printf(r->arena, "%s %.*s is absent", what, STR_ARG(c->name));
    if (c->regex != NULL)
        return arena_printf(r->arena, "%s %.*s does not match %.*s", what, STR_ARG(c->name),
                            STR_ARG(regex_source(c->regex)));
    return arena_printf(r->arena, "%s %.*s is not `%.*s`", what, STR_ARG(c->name), STR_ARG(c->value));
}

/* Why a route does not match. */
static struct str
miss_text(struct request *r, const struct match *m, const struct match_miss *miss)
{
    switch (miss->kind) {
    case MATCH_SCHEME:
        return arena_printf(r->arena, "the scheme is not %s", m->scheme == SCHEME_HTTPS ? "https" : "http");
    case MATCH_PATH:
        return arena_printf(r->arena, "the path is not %.*s", STR_ARG(m->path));
    case MATCH_PREFIX:
        return arena_printf(r->arena, "the path is not below %.*s%s", STR_ARG(m->prefix), m->prefix.n > 1 ? "/" : "");
    case MATCH_METHODS:
        return arena_printf(r->arena, "the method is none of %.*s", STR_ARG(list_of(r, &m->methods)));
    case MATCH_HEADER:
        return miss_of_condition(r, "header", miss);
    case MATCH_QUERY:
        return miss_of_condition(r, "parameter", miss);
    case MATCH_COOKIE:
        return miss_of_condition(r, "cookie", miss);
    case MATCH_REGEX:
        break;
    }
    return arena_printf(r->arena, "the path does not match %.*s", STR_ARG(regex_source(m->regex)));
}

static const char *
limit_text(const struct match_miss *miss)
{
    return miss->kind == MATCH_HEADER   ? "a header's"
           : miss->kind == MATCH_QUERY  ? "a parameter's"
           : miss->kind == MATCH_COOKIE ? "a cookie's"
                                        : "its";
}

/* False: the request ended here. */
static bool
say_miss(struct request *r, const struct route *route)
{
    struct match_miss miss;
    struct str text;

    if (match_request(&route->match, r, &miss) == REGEX_LIMIT) {
        trace_say(r, route->line, "route `%.*s`: %s regex took too many steps, or the text is too long: 500",
                  STR_ARG(route->name), limit_text(&miss));
        return false;
    }
    text = miss_text(r, &route->match, &miss);
    trace_say(r, route->line, "not route `%.*s`: %.*s", STR_ARG(route->name), STR_ARG(text));
    return true;
}

/*
 * Weighing makes room for captures where there is none: none may be left for a route without a regex. It
 * has the time that the request had: telling it costs the request nothing.
 */
static bool
say_misses(struct request *r)
{
    struct regex_budget spent = r->regex;
    struct captures *captures = r->captures;
    bool more = true;

    r->regex = (struct regex_budget){0};
    for (size_t i = 0; more && i < r->site->route_count && &r->site->routes[i] != r->route; i++)
        more = say_miss(r, &r->site->routes[i]);
    r->captures = captures;
    r->regex = spent;
    return more;
}

void
route_trace(struct request *r, int status)
{
    if (!str_eq(r->uri.canonical, r->uri.path))
        trace_say(r, 0, "path %.*s: canonical %.*s", STR_ARG(r->uri.path), STR_ARG(r->uri.canonical));
    say_site(r);
    if (r->site == NULL || !say_misses(r))
        return;
    if (r->route != NULL)
        trace_say(r, r->route->line, "route `%.*s`", STR_ARG(r->route->name));
    else
        trace_say(r, r->site->line, "no route of the site matches: %d", status);
}

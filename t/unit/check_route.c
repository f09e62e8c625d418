/* Which site a host gets, which route a request; which routes hide others. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "t/unit/unit.h"
#include "worker/match.h"
#include "worker/param_index.h"
#include "worker/paths.h"
#include "worker/request.h"
#include "worker/route.h"
#include "worker/state.h"
#include "worker/trace.h"

static struct arena *arena;
static struct conf conf;
static struct listener listener;
static struct site sites[8];
static struct request r;

static void
setup(void)
{
    arena = arena_new();
    memset(&conf, 0, sizeof(conf));
    memset(&listener, 0, sizeof(listener));
    memset(sites, 0, sizeof(sites));
    conf.arena = arena;
    conf.sites = sites;
    worker.slots = slots_create(1, 1);
    worker.row_number = 1;
    worker.row = slots_row(worker.slots, 1);
}

static void
teardown(void)
{
    slots_detach(worker.slots);
    arena_free(arena);
}

static struct str_list
list(const char *text)
{
    struct str_list l = {0};
    struct str rest = str_of(text), member;

    l.v = arena_alloc(arena, 16 * sizeof(*l.v));
    while (str_list_next(&rest, &member))
        l.v[l.n++] = member;
    return l;
}

static void
add_site(const char *hosts, const char *listen)
{
    struct site *s = &sites[conf.site_count++];

    s->hosts = list(hosts);
    s->listen = list(listen);
    s->name = s->hosts.v[0];
}

static struct site_table *
table(int want_twice)
{
    struct str host;
    int twice;
    struct site_table *t = site_table_new(&conf, &listener, arena, &twice, &host);

    ck_assert_int_eq(twice, want_twice);
    return t;
}

static int
found(const struct site_table *t, const char *host)
{
    struct site *s = site_find(t, str_of(host));

    return s != NULL ? (int)(s - sites) : -1;
}

START_TEST(exact_then_longest_wildcard_then_any)
{
    struct site_table *t;

    add_site("www.example.com, example.com", "");
    add_site("*.example.com", "");
    add_site("*.b.example.com, x.org", "");
    add_site("*", "");
    t = table(-1);
    ck_assert_int_eq(found(t, "example.com"), 0);
    ck_assert_int_eq(found(t, "www.example.com"), 0);
    ck_assert_int_eq(found(t, "w.example.com"), 1);
    ck_assert_int_eq(found(t, "b.example.com"), 1);
    ck_assert_int_eq(found(t, "a.b.example.com"), 2);
    ck_assert_int_eq(found(t, "z.a.b.example.com"), 2);
    ck_assert_int_eq(found(t, "a.www.example.com"), 1);
    ck_assert_int_eq(found(t, "x.org"), 2);
    ck_assert_int_eq(found(t, "y.x.org"), 3);
    ck_assert_int_eq(found(t, "wexample.com"), 3);
    ck_assert_int_eq(found(t, ".example.com"), 3);
    ck_assert_int_eq(found(t, "[::1]"), 3);
    ck_assert_int_eq(found(t, ""), 3);
    ck_assert_int_eq(found(t, "*.example.com"), 1);
}
END_TEST

START_TEST(without_any_there_is_none)
{
    struct site_table *t;

    add_site("example.com, [::1]", "");
    t = table(-1);
    ck_assert_int_eq(found(t, "example.com"), 0);
    ck_assert_int_eq(found(t, "[::1]"), 0);
    ck_assert_int_eq(found(t, "www.example.com"), -1);
    ck_assert_int_eq(found(t, "com"), -1);
    ck_assert_int_eq(found(t, ""), -1);
}
END_TEST

START_TEST(a_listener_has_its_own_sites)
{
    struct site_table *t;

    add_site("example.com", "public, other");
    add_site("example.com", "internal");
    add_site("all.example.com", "");
    listener.name = STR("internal");
    t = table(-1);
    ck_assert_int_eq(found(t, "example.com"), 1);
    ck_assert_int_eq(found(t, "all.example.com"), 2);
    listener.name = STR("public");
    ck_assert_int_eq(found(table(-1), "example.com"), 0);
    listener.name = STR("");
    ck_assert_int_eq(found(table(-1), "example.com"), -1);
}
END_TEST

START_TEST(a_host_of_two_sites_is_found_out)
{
    add_site("a.com", "");
    add_site("b.com", "");
    add_site("*.c.com, b.com", "");
    table(2);
    conf.site_count = 2;
    add_site("*", "");
    add_site("*", "");
    table(3);
}
END_TEST

START_TEST(a_thousand_hosts)
{
    struct str_list *hosts = &sites[0].hosts;
    struct site_table *t;

    conf.site_count = 2;
    hosts->v = arena_alloc(arena, 1000 * sizeof(*hosts->v));
    for (hosts->n = 0; hosts->n < 1000; hosts->n++)
        hosts->v[hosts->n] = arena_printf(arena, "%shost%zu.example.net", hosts->n % 2 ? "*." : "", hosts->n);
    sites[1].hosts = list("*.example.net");
    t = table(-1);
    for (int i = 0; i < 1000; i++) {
        char host[64];

        snprintf(host, sizeof(host), "host%d.example.net", i);
        ck_assert_int_eq(found(t, host), i % 2);
        snprintf(host, sizeof(host), "a.host%d.example.net", i);
        ck_assert_int_eq(found(t, host), (i + 1) % 2);
    }
}
END_TEST

/* What a look-up costs on average, of hosts that are there and of ones that only wildcards take. */
static double
cost_of_hosts(size_t n)
{
    struct str_list *hosts = &sites[0].hosts;
    struct site_table *t;
    size_t steps = 0;

    conf.site_count = 1;
    hosts->v = arena_alloc(arena, n * sizeof(*hosts->v));
    for (hosts->n = 0; hosts->n < n; hosts->n++)
        hosts->v[hosts->n] = arena_printf(arena, "%shost%zu.example.net", hosts->n % 2 ? "*." : "", hosts->n);
    t = table(-1);
    for (size_t i = 0; i < n; i++) {
        struct str host = arena_printf(arena, "%shost%zu.example.net", i % 2 ? "www." : "", i);

        ck_assert_ptr_nonnull(site_find(t, host));
        steps += site_cost(t, host);
    }
    return (double)steps / (double)n;
}

START_TEST(a_thousand_hosts_cost_no_more_than_ten)
{
    double ten = cost_of_hosts(10), thousand = cost_of_hosts(1000), many = cost_of_hosts(20000);

    /* one probe for a name, two for a wildcard, but for names that stand in another's place */
    ck_assert(ten >= 1.5 && ten < 3);
    ck_assert_msg(thousand < ten + 1, "%f steps, not %f", thousand, ten);
    ck_assert_msg(many < ten + 1, "%f steps, not %f", many, ten);
}
END_TEST

START_TEST(many_labels_are_many_probes_and_no_more)
{
    char host[256];
    struct site_table *t;

    add_site("*.z", "");
    add_site("*", "");
    t = table(-1);
    for (int i = 0; i < 255; i++)
        host[i] = i % 2 ? '.' : 'a';
    host[254] = 'z';
    host[255] = '\0';
    ck_assert_int_eq(found(t, host), 0);
    host[254] = 'y';
    ck_assert_int_eq(found(t, host), 1);
}
END_TEST

static struct route routes[8];

static void
start_routes(void)
{
    memset(routes, 0, sizeof(routes));
    conf.site_count = 0;
    add_site("*", "");
    sites[0].routes = routes;
    sites[0].route_count = 0;
    listener.sites = table(-1);
    memset(&r, 0, sizeof(r));
    r.arena = arena;
    r.conf = &conf;
    r.listener = &listener;
    r.method_text = STR("GET");
    fields_init(&r.request.fields, arena);
}

static struct match *
add_route(void)
{
    return &routes[sites[0].route_count++].match;
}

static struct regex *
regex(const char *pattern)
{
    struct str why;
    size_t offset;
    struct regex *re = regex_compile(str_of(pattern), arena, &why, &offset);

    ck_assert_ptr_nonnull(re);
    return re;
}

/* The index of the route, or the status. */
static int
routed(const char *path)
{
    int status;

    sites[0].paths = paths_new(routes, sites[0].route_count, arena);
    r.uri.path = r.uri.canonical = str_of(path);
    r.uri.form = strcmp(path, "*") == 0 ? URI_ASTERISK : URI_ORIGIN;
    status = route_request(&r);
    if (status != 0)
        return status;
    ck_assert_ptr_eq(r.scope, &r.route->scope);
    ck_assert_ptr_null(r.index);
    return (int)(r.route - routes);
}

START_TEST(a_prefix_is_whole_segments)
{
    start_routes();
    add_route()->prefix = STR("/old");
    add_route()->path = STR("/healthz");
    add_route()->prefix = STR("/");
    ck_assert_int_eq(routed("/old"), 0);
    ck_assert_int_eq(routed("/old/"), 0);
    ck_assert_int_eq(routed("/old/x"), 0);
    ck_assert_int_eq(routed("/older"), 2);
    ck_assert_int_eq(routed("/ol"), 2);
    ck_assert_int_eq(routed("/healthz"), 1);
    ck_assert_int_eq(routed("/healthz/"), 2);
    ck_assert_int_eq(routed("/"), 2);
    ck_assert_int_eq(routed("*"), 404);
}
END_TEST

START_TEST(the_asterisk_is_no_path)
{
    start_routes();
    add_route()->prefix = STR("/");
    add_route()->regex = regex("");
    add_route()->path = STR("*");
    add_route();
    ck_assert_int_eq(routed("*"), 2);
    routes[2].match.path = STR("/x");
    ck_assert_int_eq(routed("*"), 3);
}
END_TEST

START_TEST(every_condition_must_hold)
{
    struct match *m;

    start_routes();
    m = add_route();
    m->methods = list("GET, PURGE");
    m->prefix = STR("/a");
    m->scheme = SCHEME_HTTPS;
    add_route()->scheme = SCHEME_HTTP;
    ck_assert_int_eq(routed("/a"), 1);
    r.https = true;
    ck_assert_int_eq(routed("/a"), 0);
    ck_assert_int_eq(routed("/b"), 404);
    r.method_text = STR("PURGE");
    ck_assert_int_eq(routed("/a"), 0);
    r.method_text = STR("get");
    ck_assert_int_eq(routed("/a"), 404);
}
END_TEST

START_TEST(captures_are_of_the_route_taken)
{
    struct match *m;

    start_routes();
    m = add_route();
    m->regex = regex("^/user/(\\d+)$");
    m->methods = list("POST");
    add_route()->regex = regex("^/(\\w+)/(.*)$");
    add_route();
    ck_assert_int_eq(routed("/user/42"), 1);
    ck_assert_ptr_eq(r.captures->regex, routes[1].match.regex);
    ck_assert(str_eq(r.captures->group[2], STR("42")));
    r.method_text = STR("POST");
    ck_assert_int_eq(routed("/user/42"), 0);
    ck_assert(str_eq(r.captures->group[1], STR("42")));
    ck_assert_int_eq(routed("/x"), 2);
    ck_assert_ptr_null(r.captures);
}
END_TEST

START_TEST(a_regex_over_its_limit_is_ours)
{
    start_routes();
    add_route()->regex = regex("^/(a+)+$");
    add_route();
    ck_assert_int_eq(routed("/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"), 500);
}
END_TEST

START_TEST(scopes_go_inwards)
{
    start_routes();
    add_route()->path = STR("/a");
    ck_assert_int_eq(routed("/b"), 404);
    ck_assert_ptr_eq(r.scope, &sites[0].scope);
    ck_assert_ptr_null(r.route);
    conf.site_count = 0;
    add_site("a.com", "");
    sites[0].hosts = list("a.com");
    listener.sites = table(-1);
    r.host.name = STR("b.com");
    ck_assert_int_eq(routed("/a"), 421);
    ck_assert_ptr_eq(r.scope, &conf.scope);
    ck_assert_ptr_null(r.site);
}
END_TEST

START_TEST(encoded_slashes_where_the_route_refuses_them)
{
    start_routes();
    add_route()->path = STR("/a");
    add_route();
    routes[0].scope.policy.encoded_slash = ENCODED_SLASH_REJECT;
    r.uri.encoded_slash = true;
    ck_assert_int_eq(routed("/a"), 400);
    ck_assert_int_eq(routed("/b"), 1);
    r.uri.encoded_slash = false;
    ck_assert_int_eq(routed("/a"), 0);
}
END_TEST

static void
condition(struct conditions *all, const char *name, const char *value)
{
    struct condition c = {.name = str_of(name), .value = STR("")};

    if (value[0] == '~')
        c.regex = regex(value + 1);
    else
        c.value = str_of(value);
    if (all->v == NULL)
        all->v = arena_zalloc(arena, 8 * sizeof(*all->v));
    all->v[all->n++] = c;
}

static void
field(const char *name, const char *value)
{
    fields_add(&r.request.fields, str_of(name), str_of(value));
}

START_TEST(headers_are_conditions)
{
    start_routes();
    condition(&add_route()->headers, "X-Beta", "1");
    condition(&add_route()->headers, "accept", "~^text/");
    condition(&add_route()->headers, "X-Empty", "");
    condition(&add_route()->headers, "X-Any", "~");
    add_route();
    ck_assert_int_eq(routed("/"), 4);
    field("x-beta", "2");
    field("x-BETA", "1");
    ck_assert_int_eq(routed("/"), 0);
    r.request.fields.v[1].gone = true;
    ck_assert_int_eq(routed("/"), 4);
    field("X-Any", "");
    ck_assert_int_eq(routed("/"), 3);
    field("X-Empty", "");
    ck_assert_int_eq(routed("/"), 2);
    field("Accept", "image/png");
    field("Accept", "text/html");
    ck_assert_int_eq(routed("/"), 1);
}
END_TEST

START_TEST(parameters_are_conditions)
{
    start_routes();
    condition(&add_route()->query, "v", "2");
    condition(&add_route()->query, "a b", "~^\xC3\xA9 .$");
    condition(&add_route()->query, "flag", "");
    add_route();
    ck_assert_int_eq(routed("/"), 3);
    r.uri.query = STR("?v=1&V=2&x=v=2");
    ck_assert_int_eq(routed("/"), 3);
    r.uri.query = STR("?v=1&%76=%32");
    ck_assert_int_eq(routed("/"), 0);
    r.uri.query = STR("?a%20b=%c3%a9+z");
    ck_assert_int_eq(routed("/"), 1);
    r.uri.query = STR("?x&flag");
    ck_assert_int_eq(routed("/"), 2);
    r.uri.query = STR("?flag=1");
    ck_assert_int_eq(routed("/"), 3);
}
END_TEST

START_TEST(cookies_are_conditions)
{
    start_routes();
    condition(&add_route()->cookies, "plan", "~^gold");
    condition(&add_route()->cookies, "Plan", "x");
    add_route();
    field("X", "plan=gold");
    ck_assert_int_eq(routed("/"), 2);
    field("Cookie", "a=b; plan=silver; plan = golden ;Plan=x");
    ck_assert_int_eq(routed("/"), 0);
    r.request.fields.v[1].value = STR("a=b; plan=silver; Plan=x");
    ck_assert_int_eq(routed("/"), 1);
    field("Cookie", "plan=gold");
    ck_assert_int_eq(routed("/"), 0);
}
END_TEST

/* n pairs of one name or of many, each with another value. */
static struct str
pairs(size_t n, bool one_name, const char *separator)
{
    char *p = arena_alloc(arena, 32 * n), *at = p;

    for (size_t i = 0; i < n; i++)
        at += sprintf(at, "%s%s%zu=v%zu", i > 0 ? separator : "?", one_name ? "name" : "n", one_name ? 0 : i, i);
    return (struct str){p, (size_t)(at - p)};
}

/* What 500 routes look at, each with a condition that the request does not meet. */
static size_t
cost_of_conditions(bool cookies, bool regexes, size_t n, bool one_name)
{
    struct str sent = pairs(n, one_name, cookies ? "; " : "&");
    size_t cost;

    start_routes();
    if (cookies)
        fields_add(&r.request.fields, STR("Cookie"), sent);
    else
        r.uri.query = sent;
    for (int i = 0; i < 500; i++) {
        struct match m = {0};

        condition(cookies ? &m.cookies : &m.query, arena_cstr(arena, arena_printf(arena, "name%d", i)),
                  regexes ? "~^w" : "w");
        ck_assert_int_eq(match_request(&m, &r, NULL), REGEX_NO);
    }
    cost = param_index_cost(cookies ? r.index->cookies : r.index->query);
    match_end(&r);
    ck_assert_ptr_null(r.index);
    return cost;
}

START_TEST(conditions_cost_no_more_with_thousands_of_pairs)
{
    for (int kind = 0; kind < 4; kind++) {
        size_t few = cost_of_conditions(kind & 1, kind & 2, 10, false);
        size_t many = cost_of_conditions(kind & 1, kind & 2, 5000, false);

        /* chains are one long on average, whatever stands in them; each of the 500 looks at two */
        ck_assert_msg(few < 3000 && many < 3000, "%zu, %zu steps", few, many);
        /* all are values of one name: an exact condition looks up its own; a regex weighs each, once */
        many = cost_of_conditions(kind & 1, kind & 2, 5000, true);
        ck_assert_msg(many < 5000 + 25000 + 3000, "%zu steps", many);
    }
}
END_TEST

START_TEST(conditions_add_up)
{
    struct match *m;

    start_routes();
    m = add_route();
    condition(&m->headers, "a", "1");
    condition(&m->headers, "b", "~2");
    condition(&m->query, "c", "3");
    condition(&m->cookies, "d", "4");
    m->regex = regex("^/(x)$");
    add_route()->regex = regex("^/(.*)$");
    field("A", "1");
    field("B", "12");
    field("Cookie", "d=4");
    r.uri.query = STR("?c=3");
    ck_assert_int_eq(routed("/x"), 0);
    ck_assert_ptr_eq(r.captures->regex, m->regex);
    r.uri.query = STR("?c=4");
    ck_assert_int_eq(routed("/x"), 1);
    ck_assert_ptr_eq(r.captures->regex, routes[1].match.regex);
    ck_assert_int_eq(routed("/y"), 1);
}
END_TEST

START_TEST(a_condition_over_its_limit_is_ours)
{
    struct str evil = STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"), more;
    char *spaces = arena_alloc(arena, 8200);

    start_routes();
    condition(&add_route()->headers, "X", "~^(a+)+$");
    condition(&add_route()->query, "x", "~^(a+)+$");
    condition(&add_route()->cookies, "x", "~^(a+)+$");
    add_route();
    ck_assert_int_eq(routed("/"), 3);
    fields_add(&r.request.fields, STR("x"), evil);
    ck_assert_int_eq(routed("/"), 500);
    ck_assert_ptr_null(r.captures);
    fields_init(&r.request.fields, arena);
    r.uri.query = arena_printf(arena, "?x=%.*s", STR_ARG(evil));
    ck_assert_int_eq(routed("/"), 500);
    memset(spaces, '+', 8200);
    more = arena_printf(arena, "?x=%.*s", 8192, spaces);
    r.uri.query = more;
    ck_assert_int_eq(routed("/"), 3);
    r.uri.query = arena_printf(arena, "%.*s+", STR_ARG(more));
    ck_assert_int_eq(routed("/"), 500);
    r.uri.query = STR_NONE;
    fields_add(&r.request.fields, STR("cookie"), arena_printf(arena, "x=%.*s", STR_ARG(evil)));
    ck_assert_int_eq(routed("/"), 500);
}
END_TEST

/* Those that are tried are those that the path leaves. */
START_TEST(kinds_mixed_keep_their_order)
{
    start_routes();
    add_route()->path = STR("/a/b");
    add_route()->regex = regex("c$");
    add_route()->prefix = STR("/a");
    add_route()->methods = list("POST");
    add_route()->path = STR("/a/d");
    add_route();
    ck_assert_int_eq(routed("/a/b"), 0);
    ck_assert_int_eq(routed("/a/c"), 1);
    ck_assert_int_eq(routed("/a/d"), 2);
    ck_assert_int_eq(routed("/c"), 1);
    ck_assert_int_eq(routed("/d"), 5);
    r.method_text = STR("POST");
    ck_assert_int_eq(routed("/d"), 3);
    ck_assert_int_eq(routed("/a"), 2);
}
END_TEST

static struct str said;

static void
say(struct trace *t, int line, const char *text)
{
    (void)t;
    said = arena_printf(arena, "%.*s%d %s\n", STR_ARG(said), line, text);
}

static void
ck_said(const char *want)
{
    ck_assert_msg(str_eq(said, str_of(want)), "%.*s  not\n%s", STR_ARG(said), want);
}

START_TEST(who_traces_hears_why)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    struct trace trace = {.say = say};

    said = STR("");
    start_routes();
    sites[0].name = STR("first");
    sites[0].line = 1;
    for (int i = 0; i < 8; i++) {
        routes[i].name = str_of(names[i]);
        routes[i].line = 10 + i;
    }
    add_route()->path = STR("/x");
    add_route()->prefix = STR("/api");
    add_route()->methods = list("PUT, POST");
    condition(&add_route()->headers, "X-Beta", "1");
    condition(&add_route()->query, "v", "~^2");
    condition(&add_route()->cookies, "plan", "gold");
    add_route()->regex = regex("^/(z)$");
    add_route()->scheme = SCHEME_HTTPS;
    r.trace = &trace;
    r.host.name = STR("h.example.com");
    r.uri.query = STR("?v=3");
    field("X-Beta", "2");
    ck_assert_int_eq(routed("/y"), 404);
    ck_assert_ptr_null(r.captures);
    ck_said("1 site `first`: host `h.example.com` is one of `*`\n"
            "10 not route `a`: the path is not /x\n"
            "11 not route `b`: the path is not below /api/\n"
            "12 not route `c`: the method is none of PUT, POST\n"
            "13 not route `d`: header X-Beta is not `1`\n"
            "14 not route `e`: parameter v does not match ^2\n"
            "15 not route `f`: cookie plan is absent\n"
            "16 not route `g`: the path does not match ^/(z)$\n"
            "17 not route `h`: the scheme is not https\n"
            "1 no route of the site matches: 404\n");
    said = STR("");
    sites[0].hosts = list("a.com, *.com, *.example.com");
    listener.sites = table(-1);
    ck_assert_int_eq(routed("/x"), 0);
    ck_said("1 site `first`: host `h.example.com` is one of `*.example.com`\n10 route `a`\n");
    said = STR("");
    r.host.name = STR("other");
    ck_assert_int_eq(routed("/x"), 421);
    ck_said("0 site: none here has the host `other`: 421\n");
}
END_TEST

/* A path is the same route's with a slash for each %2F, or it is refused. */
START_TEST(encoded_slashes_choose_no_route)
{
    struct captures *captures;

    start_routes();
    add_route()->path = STR("/x/a%2Fb");
    add_route()->prefix = STR("/admin");
    add_route()->regex = regex("^/one/[^/]+$");
    add_route()->regex = regex("^/any/(.+)$");
    add_route()->prefix = STR("/x");
    routes[3].scope.policy.min_rate = 1;
    r.uri.encoded_slash = true;
    ck_assert_int_eq(routed("/x/a%2Fb"), 0);
    ck_assert_int_eq(routed("/x%2Fa"), 404);
    ck_assert_int_eq(routed("/x/%2Fa"), 4);
    ck_assert_int_eq(routed("/x/a/%2Fb"), 4);
    ck_assert_int_eq(routed("/one/a%2Fb"), 400);
    ck_assert_int_eq(routed("/any/a%2Fb"), 3);
    captures = r.captures;
    ck_assert_ptr_nonnull(captures);
    ck_assert(str_eq(captures->group[1], STR("a%2Fb")));
    ck_assert(str_eq(r.uri.canonical, STR("/any/a%2Fb")));
    ck_assert_int_eq(routed("/any/%2F"), 400);
    add_route();
    ck_assert_int_eq(routed("/admin%2Fx"), 400);
    ck_assert_int_eq(routed("/%2Fadmin"), 400);
    ck_assert_int_eq(routed("/%2F.%2Fadmin"), 400);
    ck_assert_int_eq(routed("/%252Fadmin"), 5);
    ck_assert_int_eq(routed("/b%2Fadmin"), 5);
    ck_assert_int_eq(routed("/admin/%2Fx"), 1);
}
END_TEST

static struct route
route_of(const char *path, const char *prefix, const char *pattern, const char *methods, int scheme)
{
    struct route route = {0};

    route.match.path = str_of(path);
    route.match.prefix = str_of(prefix);
    route.match.regex = pattern != NULL ? regex(pattern) : NULL;
    route.match.methods = list(methods);
    route.match.scheme = scheme;
    return route;
}

static void
hides(bool want, struct route earlier, struct route later)
{
    ck_assert_int_eq(match_hides(&earlier.match, &later.match), want);
}

START_TEST(hidden_routes)
{
    struct route all = route_of(NULL, NULL, NULL, "", SCHEME_ANY);
    struct route root = route_of(NULL, "/", NULL, "", SCHEME_ANY);
    struct route a = route_of(NULL, "/a", NULL, "", SCHEME_ANY);
    struct route ab = route_of(NULL, "/a/b", NULL, "", SCHEME_ANY);
    struct route abc = route_of(NULL, "/abc", NULL, "", SCHEME_ANY);
    struct route path = route_of("/a/x", NULL, NULL, "", SCHEME_ANY);
    struct route star = route_of("*", NULL, NULL, "", SCHEME_ANY);
    struct route digits = route_of(NULL, NULL, "^/a/\\d+$", "", SCHEME_ANY);
    struct route word = route_of(NULL, NULL, "^/a/\\w$", "", SCHEME_ANY);
    struct route get = route_of(NULL, "/a", NULL, "GET, HEAD", SCHEME_ANY);
    struct route head = route_of(NULL, "/a", NULL, "HEAD", SCHEME_ANY);
    struct route https = route_of(NULL, "/a", NULL, "", SCHEME_HTTPS);

    hides(true, all, root);
    hides(true, all, star);
    hides(true, all, all);
    hides(false, root, all);
    hides(false, root, star);
    hides(true, root, a);
    hides(true, root, digits);
    hides(true, a, ab);
    hides(true, a, path);
    hides(false, a, abc);
    hides(false, ab, a);
    hides(false, a, digits);
    hides(false, path, a);
    hides(true, path, path);
    hides(true, digits, digits);
    hides(false, digits, word);
    hides(true, word, path);
    hides(false, digits, path);
    hides(true, get, head);
    hides(false, head, get);
    hides(false, get, a);
    hides(true, a, get);
    hides(true, a, https);
    hides(false, https, a);
    hides(true, https, https);
}
END_TEST

START_TEST(hidden_by_the_same_conditions)
{
    struct route none = route_of(NULL, "/a", NULL, "", SCHEME_ANY), one = none, same = none, two = none;
    struct route other = none, pattern = none, query = none, cookie = none, upper = none;

    condition(&one.match.headers, "X-Beta", "1");
    condition(&same.match.headers, "x-beta", "1");
    condition(&two.match.headers, "Y", "~1");
    condition(&two.match.headers, "X-Beta", "1");
    condition(&other.match.headers, "X-Beta", "2");
    condition(&pattern.match.headers, "X-Beta", "~1");
    condition(&query.match.query, "X-Beta", "1");
    condition(&cookie.match.cookies, "x", "1");
    condition(&upper.match.cookies, "X", "1");
    hides(true, none, one);
    hides(false, one, none);
    hides(true, one, same);
    hides(true, one, two);
    hides(false, two, one);
    hides(false, one, other);
    hides(false, one, pattern);
    hides(false, pattern, one);
    hides(true, pattern, pattern);
    hides(false, one, query);
    hides(true, query, query);
    hides(true, cookie, cookie);
    hides(false, cookie, upper);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("route");
    TCase *tc = tcase_create("route");

    suite_add_tcase(s, tc);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, exact_then_longest_wildcard_then_any);
    tcase_add_test(tc, without_any_there_is_none);
    tcase_add_test(tc, a_listener_has_its_own_sites);
    tcase_add_test(tc, a_host_of_two_sites_is_found_out);
    tcase_add_test(tc, a_thousand_hosts);
    tcase_add_test(tc, a_thousand_hosts_cost_no_more_than_ten);
    tcase_add_test(tc, many_labels_are_many_probes_and_no_more);
    tcase_add_test(tc, a_prefix_is_whole_segments);
    tcase_add_test(tc, the_asterisk_is_no_path);
    tcase_add_test(tc, every_condition_must_hold);
    tcase_add_test(tc, captures_are_of_the_route_taken);
    tcase_add_test(tc, a_regex_over_its_limit_is_ours);
    tcase_add_test(tc, scopes_go_inwards);
    tcase_add_test(tc, encoded_slashes_where_the_route_refuses_them);
    tcase_add_test(tc, encoded_slashes_choose_no_route);
    tcase_add_test(tc, headers_are_conditions);
    tcase_add_test(tc, parameters_are_conditions);
    tcase_add_test(tc, cookies_are_conditions);
    tcase_add_test(tc, conditions_cost_no_more_with_thousands_of_pairs);
    tcase_add_test(tc, conditions_add_up);
    tcase_add_test(tc, a_condition_over_its_limit_is_ours);
    tcase_add_test(tc, kinds_mixed_keep_their_order);
    tcase_add_test(tc, who_traces_hears_why);
    tcase_add_test(tc, hidden_routes);
    tcase_add_test(tc, hidden_by_the_same_conditions);
    return unit_run(s);
}

/* Which site a host gets, which route a request; which routes hide others. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "t/unit/unit.h"
#include "worker/request.h"
#include "worker/route.h"

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
}

static void
teardown(void)
{
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

    r.uri.canonical = str_of(path);
    r.uri.form = strcmp(path, "*") == 0 ? URI_ASTERISK : URI_ORIGIN;
    status = route_request(&r);
    if (status != 0)
        return status;
    ck_assert_ptr_eq(r.scope, &r.route->scope);
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
    ck_assert_int_eq(route_hides(&earlier, &later), want);
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
    tcase_add_test(tc, many_labels_are_many_probes_and_no_more);
    tcase_add_test(tc, a_prefix_is_whole_segments);
    tcase_add_test(tc, the_asterisk_is_no_path);
    tcase_add_test(tc, every_condition_must_hold);
    tcase_add_test(tc, captures_are_of_the_route_taken);
    tcase_add_test(tc, a_regex_over_its_limit_is_ours);
    tcase_add_test(tc, scopes_go_inwards);
    tcase_add_test(tc, encoded_slashes_where_the_route_refuses_them);
    tcase_add_test(tc, hidden_routes);
    return unit_run(s);
}

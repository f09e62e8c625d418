/* Templates and the variables in them, over a request made by hand. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "t/unit/unit.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/request.h"
#include "worker/template.h"
#include "worker/variable.h"

static struct arena *arena;
static struct request r;
static struct upstream upstream = {.name = {"app", 3}};
static struct server server = {.text = {"10.0.0.1:8080", 13}, .upstream = &upstream};
static struct site site = {.name = {"example.com", 11}};
static struct route route = {.name = {"/api/", 5}, .proxy = &upstream, .site = &site};
static struct captures captures;

static void
setup(void)
{
    arena = arena_new();
    memset(&r, 0, sizeof(r));
    r.arena = arena;
    r.target = r.uri.path = STR("/a%2Fb/../c");
    r.uri.canonical = STR("/c");
    r.method_text = STR("GET");
    r.protocol = STR("HTTP/1.1");
    fields_init(&r.request.fields, arena);
    fields_init(&r.response.fields, arena);
    ck_assert(ip_parse(&r.client, STR("192.0.2.7")));
    r.peer = r.client;
    r.peer_port = 50123;
    r.local.port = 8443;
    r.host.name = STR("example.com");
    r.id = STR("0123456789abcdef");
}

static void
teardown(void)
{
    arena_free(arena);
}

static struct str
expand_with(const char *text, const struct regex *groups)
{
    struct str why = STR_NONE;
    size_t offset = 0;
    struct template *t = template_compile(str_of(text), groups, arena, &why, &offset);

    ck_assert_msg(t != NULL, "%s: %.*s", text, STR_ARG(why));
    ck_assert(str_eq(template_source(t), str_of(text)));
    return template_expand(t, &r);
}

static void
gives(const char *text, const char *want)
{
    struct str got = expand_with(text, NULL);

    ck_assert_msg(str_eq(got, str_of(want)), "%s gives `%.*s`, not `%s`", text, STR_ARG(got), want);
}

static void
refused(const char *text, const struct regex *groups, size_t at, const char *why_part)
{
    struct str why = STR_NONE;
    size_t offset = 999;

    ck_assert_msg(template_compile(str_of(text), groups, arena, &why, &offset) == NULL, "%s compiles", text);
    ck_assert_msg(offset == at, "%s: offset %zu, not %zu", text, offset, at);
    ck_assert_msg(memmem(why.p, why.n, why_part, strlen(why_part)) != NULL, "%s: `%.*s`", text, STR_ARG(why));
}

START_TEST(what_is_no_variable_stays)
{
    gives("", "");
    gives("plain text", "plain text");
    gives("$$", "$");
    gives("a$$b$$$$", "a$b$$");
    gives("$${host}", "${host}");
    gives("}{", "}{");
}
END_TEST

START_TEST(variables_end_where_names_end)
{
    gives("$host", "example.com");
    gives("${host}", "example.com");
    gives("<$host>", "<example.com>");
    gives("$host:$port", "example.com:8443");
    gives("${host}name", "example.comname");
    gives("$scheme://$host$uri", "http://example.com/a%2Fb/../c");
    gives("$host$$host", "example.com$host");
}
END_TEST

START_TEST(errors_say_where_and_what)
{
    refused("ab$", NULL, 2, "names nothing");
    refused("ab$ c", NULL, 2, "names nothing");
    refused("$-", NULL, 0, "names nothing");
    refused("x${host", NULL, 1, "without its `}`");
    refused("x${}", NULL, 1, "names nothing");
    refused("abc $hots", NULL, 4, "unknown variable `$hots`; did you mean `$host`?");
    refused("$Host", NULL, 0, "unknown");
    refused("$clientip", NULL, 0, "client_ip");
    refused("$http_", NULL, 0, "unknown");
    refused("$arg_", NULL, 0, "unknown");
    refused("$nothing_like_it_at_all", NULL, 0, "unknown variable `$nothing_like_it_at_all`");
    refused("$1", NULL, 0, "no regex here");
    refused("${17}", NULL, 0, "no regex here");
    refused("$h\xc3\xb6st", NULL, 0, "unknown variable `$h`");
}
END_TEST

START_TEST(too_many_variables_are_refused)
{
    char text[3 * 300 + 1] = "";

    for (int i = 0; i < 300; i++)
        strcat(text, "$$-");
    refused(text, NULL, 128 * 3, "too many");
}
END_TEST

START_TEST(captures_are_the_routes)
{
    struct str why;
    size_t offset;
    struct regex *re = regex_compile(STR("^/(?<id>\\d+)/(\\w*)(?<host>x)?$"), arena, &why, &offset);

    ck_assert_ptr_nonnull(re);
    ck_assert_int_eq(regex_match(re, STR("/42/abc"), &captures), REGEX_YES);
    r.captures = &captures;
    ck_assert(str_eq(expand_with("$1-$2-$3.", re), STR("42-abc-.")));
    ck_assert(str_eq(expand_with("${id}${2}", re), STR("42abc")));
    ck_assert(str_eq(expand_with("$10", re), STR("420")));
    ck_assert(str_eq(expand_with("$id", re), STR("42")));
    /* a group's name wins over a variable's */
    ck_assert(str_eq(expand_with("[$host]", re), STR("[]")));
    refused("$4", re, 0, "no such group");
    refused("a${04}", re, 1, "no such group");
    refused("$0", re, 0, "no such group");
    r.captures = NULL;
    ck_assert(str_eq(expand_with("$1-$2", re), STR("-")));
}
END_TEST

START_TEST(the_target_in_all_its_forms)
{
    r.uri.query = STR("?a=1&b=&c&a=2&A=3&x-y=4");
    gives("$path$query", "/c?a=1&b=&c&a=2&A=3&x-y=4");
    gives("$arg_a,$arg_A,$arg_b,$arg_c,$arg_d", "1,3,,,");
    gives("${arg_x-y}", "4");
    r.uri.query = STR("?");
    gives("$query$arg_a", "?");
    r.uri.form = URI_ABSOLUTE;
    r.target = STR("http://h/x?q");
    r.uri.path = STR("/x");
    r.uri.query = STR("?q");
    gives("$uri", "/x?q");
    r.uri.query = STR_NONE;
    r.uri.path = STR("/");
    gives("$uri", "/");
    r.uri.form = URI_ASTERISK;
    r.target = STR("*");
    gives("$uri", "*");
}
END_TEST

START_TEST(fields_by_name)
{
    fields_add(&r.request.fields, STR("User-Agent"), STR("curl/7"));
    fields_add(&r.request.fields, STR("X-List"), STR("a"));
    fields_add(&r.request.fields, STR("X_List"), STR("forged"));
    fields_add(&r.request.fields, STR("x-list"), STR(""));
    fields_add(&r.request.fields, STR("X-LIST"), STR("c"));
    fields_add(&r.request.fields, STR("X-Gone"), STR("gone"))->gone = true;
    gives("$http_user_agent|${http_user-agent}|$http_USER_AGENT", "curl/7|curl/7|curl/7");
    gives("$http_x_list", "a, , c");
    gives("$http_x_gone$http_x_none", "");
    fields_add(&r.response.fields, STR("Content-Type"), STR("text/html"));
    gives("$sent_http_content_type,$http_content_type", "text/html,");
}
END_TEST

START_TEST(cookies_by_name)
{
    fields_add(&r.request.fields, STR("Cookie"), STR("a=1; b = two ;c=x=y; flag; my-id=7"));
    gives("$cookie_a|$cookie_b|$cookie_c|$cookie_flag|$cookie_none", "1|two|x=y||");
    gives("$cookie_my_id|${cookie_my-id}|$cookie_A", "7|7|");
    fields_add(&r.request.fields, STR("cookie"), STR("my_id=8; a=2"));
    gives("$cookie_my_id|${cookie_my-id}|$cookie_a", "8|7|1");
    gives("$http_cookie", "a=1; b = two ;c=x=y; flag; my-id=7; my_id=8; a=2");
}
END_TEST

START_TEST(who_asks)
{
    gives("$client_ip:$client_port", "192.0.2.7:50123");
    ck_assert(ip_parse(&r.client, STR("2001:db8::1")));
    gives("$client_ip:$client_port", "2001:db8::1:");
    r.https = true;
    gives("$scheme $method $protocol $request_id", "https GET HTTP/1.1 0123456789abcdef");
    r.local.port = 0;
    gives("[$port]", "[]");
}
END_TEST

START_TEST(what_is_not_known_yet_is_empty)
{
    gives("$site$route$upstream$status$upstream_address$upstream_status$upstream_tries", "");
    gives("$connect_time$header_time$response_time$request_time", "");
    r.route = &route;
    r.site = &site;
    gives("$site $route $upstream", "example.com /api/ app");
    r.upstream = &upstream;
    r.server = &server;
    r.upstream_address = server.text;
    r.status = 200;
    r.upstream_status = 503;
    r.tries = 2;
    r.bytes_sent = 1234567890123;
    gives("$status $upstream_address $upstream_status $upstream_tries", "200 10.0.0.1:8080 503 2");
    gives("$bytes_received $bytes_sent", "0 1234567890123");
}
END_TEST

START_TEST(times_are_seconds)
{
    struct str now;

    r.times = (struct times){.start = 1000000, .connect_start = 1000500, .connected = 1001499,
                             .header = 2034500, .response = 12000500, .end = 3601000000};
    gives("$request_time $connect_time $header_time $response_time", "3600.000 0.000 1.034 11.000");
    clock_update();
    now = expand_with("$time", NULL);
    ck_assert_uint_eq(now.n, 24);
    ck_assert_int_eq(now.p[23], 'Z');
    ck_assert_ptr_ne(now.p, clock_rfc3339().p);
    now = expand_with("$msec", NULL);
    ck_assert_uint_eq(now.n, 14);
    ck_assert_int_eq(now.p[10], '.');
}
END_TEST

static size_t
twice(char *to, struct str value)
{
    if (to != NULL)
        for (size_t i = 0; i < 2 * value.n; i++)
            to[i] = value.p[i / 2];
    return 2 * value.n;
}

START_TEST(escaping_is_for_values_alone)
{
    struct str why;
    size_t offset;
    struct template *t = template_compile(STR("ab $method$$ $none_"), NULL, arena, &why, &offset);

    ck_assert_ptr_null(t);
    t = template_compile(STR("ab $method$$ $status."), NULL, arena, &why, &offset);
    ck_assert(str_eq(template_expand_escaped(t, &r, twice), STR("ab GGEETT$ .")));
}
END_TEST

/* The contract's list. */
START_TEST(every_variable_of_the_contract_is_there)
{
    const char *names[] = {
        "client_ip", "client_port", "scheme", "host", "port", "method", "uri", "path", "query", "arg_x", "http_x",
        "cookie_x", "request_id", "protocol", "tls_version", "tls_cipher", "sni", "client_cert_subject",
        "client_verify", "site", "route", "upstream", "status", "upstream_address", "upstream_status",
        "upstream_tries", "sent_http_x", "bytes_received", "bytes_sent", "time", "msec", "request_time", "connect_time",
        "header_time", "response_time", "cache",
    };
    size_t n = 0;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct str arg;

        ck_assert_msg(variable_find(str_of(names[i]), &arg) != NULL, "%s", names[i]);
        ck_assert_int_eq(arg.n, strchr("x", names[i][strlen(names[i]) - 1]) != NULL);
    }
    while (variables[n].name != NULL) {
        ck_assert_ptr_nonnull(variables[n].help);
        n++;
    }
    ck_assert_uint_eq(n, sizeof(names) / sizeof(names[0]));
}
END_TEST

static struct template *
compiled(const char *text)
{
    struct str why = STR_NONE;
    size_t offset = 0;
    struct template *t = template_compile(str_of(text), NULL, arena, &why, &offset);

    ck_assert_ptr_nonnull(t);
    return t;
}

static void
half_is(const struct template *t, const char *want)
{
    struct str got = template_expand(t, &r);

    ck_assert_msg(str_eq(got, str_of(want)), "`%.*s`, not `%s`", STR_ARG(got), want);
}

START_TEST(a_template_is_cut_at_its_own_text)
{
    static const struct {
        const char *text, *before, *after;
    } rows[] = {
        {"/a?b", "/a", "b"},         {"/a?b?c", "/a", "b?c"},          {"/a?", "/a", ""},  {"?", "", ""},
        {"/$host?x", "/example.com", "x"}, {"/?$host/?", "/", "example.com/?"},
        {"$host?$host", "example.com", "example.com"},
        {"/a", "/a", NULL},          {"$arg_q", "1?2", NULL},          {"", "", NULL},     {"$$?$$", "$", "$"},
    };

    r.uri.query = STR("?q=1?2");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct template *t = compiled(rows[i].text), *before, *after;

        ck_assert_int_eq(template_cut(t, '?', arena, &before, &after), rows[i].after != NULL);
        half_is(before, rows[i].before);
        if (rows[i].after != NULL)
            half_is(after, rows[i].after);
        else
            ck_assert_ptr_null(after);
        half_is(t, arena_cstr(arena, template_expand(compiled(rows[i].text), &r)));
    }
}
END_TEST

START_TEST(a_half_loses_its_end)
{
    struct template *before, *after;

    template_cut(compiled("/a?b$host??"), '?', arena, &before, &after);
    ck_assert(template_strip(after, '?'));
    half_is(after, "bexample.com?");
    ck_assert(!template_strip(before, '?'));
    template_cut(compiled("/a?$arg_q"), '?', arena, &before, &after);
    ck_assert(!template_strip(after, '?'));
}
END_TEST

START_TEST(parts_say_what_is_literal)
{
    const struct template *t = compiled("/a$host$$");
    struct str literal;

    ck_assert(template_part(t, 0, &literal) && str_eq(literal, STR("/a")));
    ck_assert(literal.p == template_source(t).p);
    ck_assert(template_part(t, 1, &literal) && literal.p == NULL);
    ck_assert(template_part(t, 2, &literal) && str_eq(literal, STR("$")));
    ck_assert(!template_part(t, 3, &literal));
    ck_assert(!template_part(compiled(""), 0, &literal));
}
END_TEST

static size_t
once(char *to, struct str value)
{
    if (to != NULL && value.n > 0)
        memcpy(to, value.p, value.n);
    return value.n;
}

static size_t
dash(char *to, struct str value)
{
    (void)value;
    if (to != NULL)
        *to = '-';
    return 1;
}

START_TEST(expansion_is_bounded_and_knows_the_query)
{
    const struct template *t = compiled("/$host$arg_q$query$http_x");

    r.uri.query = STR("?q=7");
    fields_add(&r.request.fields, STR("X"), STR("x"));
    ck_assert(str_eq(template_expand_most(t, &r, dash, once, 100), STR("/-7?q=7-")));
    ck_assert(str_eq(template_expand_most(t, &r, once, dash, 15), STR("/example.com--x")));
    ck_assert_ptr_null(template_expand_most(t, &r, once, dash, 14).p);
    ck_assert_ptr_nonnull(template_expand_most(compiled(""), &r, once, dash, 0).p);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("template");
    TCase *tc = tcase_create("template");

    suite_add_tcase(s, tc);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_is_no_variable_stays);
    tcase_add_test(tc, variables_end_where_names_end);
    tcase_add_test(tc, errors_say_where_and_what);
    tcase_add_test(tc, too_many_variables_are_refused);
    tcase_add_test(tc, captures_are_the_routes);
    tcase_add_test(tc, the_target_in_all_its_forms);
    tcase_add_test(tc, fields_by_name);
    tcase_add_test(tc, cookies_by_name);
    tcase_add_test(tc, who_asks);
    tcase_add_test(tc, what_is_not_known_yet_is_empty);
    tcase_add_test(tc, times_are_seconds);
    tcase_add_test(tc, escaping_is_for_values_alone);
    tcase_add_test(tc, a_template_is_cut_at_its_own_text);
    tcase_add_test(tc, a_half_loses_its_end);
    tcase_add_test(tc, parts_say_what_is_literal);
    tcase_add_test(tc, expansion_is_bounded_and_knows_the_query);
    tcase_add_test(tc, every_variable_of_the_contract_is_there);
    return unit_run(s);
}

/*
 * respond, redirect, rewrite, the edits of headers and access_log as a configuration uses them: loaded from
 * text, their hooks run on a request made by hand.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "master/load.h"
#include "t/unit/unit.h"
#include "worker/base/clock.h"
#include "worker/logs.h"
#include "worker/request.h"
#include "worker/trace.h"

static struct findings f;
static struct conf *conf;
static struct request r;

static void
setup(void)
{
    f = (struct findings){.arena = arena_new()};
    conf = NULL;
    memset(&r, 0, sizeof(r));
    r.arena = arena_new();
    fields_init(&r.request.fields, r.arena);
    fields_init(&r.response.fields, r.arena);
    r.method_text = STR("GET");
    r.method = METHOD_GET;
    r.target = r.uri.path = r.uri.canonical = STR("/x");
    r.protocol = STR("HTTP/1.1");
    r.host.name = STR("example.com");
    ip_parse(&r.client, STR("192.0.2.7"));
}

static void
teardown(void)
{
    flow_clear(&r.response.body);
    conf_free(conf);
    arena_free(r.arena);
    arena_free(f.arena);
}

static struct str
file(const char *top, const char *route)
{
    return arena_printf(f.arena,
                        "listen: [\"127.0.0.1:80\"]\n%s\nsites:\n  - hosts: [\"*\"]\n    routes:\n      - %s\n", top,
                        route);
}

static void
load(const char *top, const char *route)
{
    conf = load_text("f", file(top, route), &f);
    ck_assert_msg(conf != NULL, "%.*s", STR_ARG(f.n > 0 ? f.v[0].text : STR("no finding")));
    r.conf = conf;
    r.scope = &conf->sites[0].routes[0].scope;
}

static void
refused(const char *top, const char *route, const char *why)
{
    conf = load_text("f", file(top, route), &f);
    ck_assert_ptr_null(conf);
    ck_assert_uint_eq(f.errors, 1);
    ck_assert_msg(memmem(f.v[0].text.p, f.v[0].text.n, why, strlen(why)) != NULL, "%.*s", STR_ARG(f.v[0].text));
}

static int
run(enum phase phase)
{
    const struct hooks *hooks = &r.scope->hooks[phase];

    ck_assert_uint_eq(hooks->n, 1);
    return hooks->v[0].run(&r, hooks->v[0].conf);
}

static void
has(const char *name, const char *want)
{
    const struct field *field = fields_find(&r.response.fields, str_of(name));

    ck_assert_msg(field != NULL, "no %s", name);
    ck_assert_msg(str_eq(field->value, str_of(want)), "%s: %.*s", name, STR_ARG(field->value));
}

static void
has_not(const char *name)
{
    ck_assert_ptr_null(fields_find(&r.response.fields, str_of(name)));
}

static void
body_is(const char *want)
{
    struct iovec iov;

    ck_assert_int_eq(r.response.length, (int64_t)strlen(want));
    ck_assert_int_eq(flow_iov(&r.response.body, &iov, 1, 100000), want[0] != '\0');
    if (want[0] != '\0')
        ck_assert(str_eq((struct str){iov.iov_base, iov.iov_len}, str_of(want)));
}

START_TEST(respond_has_defaults)
{
    load("", "respond: {}");
    ck_assert_int_eq(run(PHASE_LOOKUP), HOOK_ANSWER);
    ck_assert_int_eq(r.status, 200);
    body_is("");
    has_not("Content-Type");
}
END_TEST

START_TEST(respond_expands)
{
    load("", "respond: {status: 404, body: \"no $path on $host\\n\", headers: {X-Host: $host, X-Empty: \"\"}}");
    ck_assert_int_eq(run(PHASE_LOOKUP), HOOK_ANSWER);
    ck_assert_int_eq(r.status, 404);
    body_is("no /x on example.com\n");
    has("Content-Type", "text/plain");
    has("X-Host", "example.com");
    has_not("X-Empty");
}
END_TEST

START_TEST(respond_with_a_type_of_its_own)
{
    load("", "respond: {body: \"{}\", headers: {content-type: application/json}}");
    ck_assert_int_eq(run(PHASE_LOOKUP), HOOK_ANSWER);
    has("Content-Type", "application/json");
    ck_assert_uint_eq(r.response.fields.n, 1);
}
END_TEST

START_TEST(respond_leaves_framing_alone)
{
    refused("", "respond: {headers: {content-length: \"5\"}}", "weir sets `content-length` itself");
}
END_TEST

START_TEST(respond_wants_tokens)
{
    refused("", "respond: {headers: {\"a b\": \"5\"}}", "`a b` is no header name");
}
END_TEST

START_TEST(respond_wants_values)
{
    refused("", "respond: {headers: {a: \"x\\r\\ny: z\"}}", "control character");
}
END_TEST

START_TEST(respond_knows_names_in_any_case)
{
    refused("", "respond: {headers: {a: x, A: y}}", "twice");
}
END_TEST

START_TEST(respond_knows_statuses_without_content)
{
    refused("", "respond: {status: 204, body: x}", "a 204 has no body");
}
END_TEST

START_TEST(respond_wants_a_final_status)
{
    refused("", "respond: {status: 101}", "status");
}
END_TEST

/* Can't happen from parsed fields; if it ever does, nothing is split. */
START_TEST(respond_never_sends_a_value_that_is_none)
{
    load("", "respond: {headers: {X-Host: $host}}");
    r.host.name = STR("a\r\nb");
    ck_assert_int_eq(run(PHASE_LOOKUP), 500);
}
END_TEST

START_TEST(redirect_goes_there)
{
    load("", "redirect: {to: \"https://$host$uri\", status: 308}");
    ck_assert_int_eq(run(PHASE_LOOKUP), HOOK_ANSWER);
    ck_assert_int_eq(r.status, 308);
    has("Location", "https://example.com/x");
    body_is("Permanent Redirect\n");
}
END_TEST

START_TEST(redirect_is_302_by_default)
{
    load("", "redirect: {to: /}");
    ck_assert_int_eq(run(PHASE_LOOKUP), HOOK_ANSWER);
    ck_assert_int_eq(r.status, 302);
    has("Location", "/");
}
END_TEST

START_TEST(redirect_never_sends_a_value_that_is_none)
{
    load("", "redirect: {to: \"$host\"}");
    r.host.name = STR("a\nb c#d%e%2F?[::1]");
    ck_assert_int_eq(run(PHASE_LOOKUP), HOOK_ANSWER);
    has("Location", "a%0Ab%20c%23d%25e%2F?[::1]");
    r.host.name = STR("");
    ck_assert_int_eq(run(PHASE_LOOKUP), 500);
}
END_TEST

START_TEST(redirect_wants_a_redirection)
{
    refused("", "redirect: {to: /, status: 200}", "status");
}
END_TEST

START_TEST(redirect_wants_a_target)
{
    refused("", "redirect: {status: 301}", "to");
}
END_TEST

static char line[10000];

/* The line that the request's hook writes. */
static void
log_it(void)
{
    int fd[2], fds[16];
    uint64_t dropped = 0;
    ssize_t n;

    ck_assert_int_eq(pipe(fd), 0);
    for (size_t i = 0; i < conf->log_count; i++)
        fds[i] = dup(fd[1]);
    clock_update();
    logs_init(conf, fds, &dropped);
    ck_assert_int_eq(run(PHASE_LOG), HOOK_NEXT);
    logs_flush();
    n = read(fd[0], line, sizeof(line) - 1);
    ck_assert_int_gt(n, 0);
    line[n] = '\0';
    close(fd[0]);
    close(fd[1]);
}

static void
logs(const char *want)
{
    log_it();
    ck_assert_str_eq(line, want);
}

/* "IP - - [TIME] REST" */
static void
logs_combined(const char *want)
{
    struct str time;

    log_it();
    time = clock_log_time();
    ck_assert(strncmp(line, "192.0.2.7 - - [", 15) == 0);
    ck_assert(memcmp(line + 15, time.p, time.n) == 0);
    ck_assert_str_eq(line + 15 + time.n, want);
}

START_TEST(the_log_is_combined_and_on_by_default)
{
    load("", "respond: {body: hello}");
    fields_add(&r.request.fields, STR("Referer"), STR("http://a/"));
    fields_add(&r.request.fields, STR("User-Agent"), STR("x \"\\\x80\t"));
    run(PHASE_LOOKUP);
    flow_eat(&r.response.body, 5);
    logs_combined("] \"GET /x HTTP/1.1\" 200 5 \"http://a/\" \"x \\x22\\x5C\\x80\\x09\"\n");
}
END_TEST

START_TEST(a_head_that_was_no_good)
{
    load("", "respond: {}");
    r.method_text = r.target = r.protocol = STR("");
    r.status = 400;
    logs_combined("] \"-\" 400 0 \"-\" \"-\"\n");
}
END_TEST

START_TEST(a_client_that_left)
{
    load("", "respond: {body: hello}");
    run(PHASE_LOOKUP);
    r.status = 0;
    flow_eat(&r.response.body, 2);
    logs_combined("] \"GET /x HTTP/1.1\" - 2 \"-\" \"-\"\n");
}
END_TEST

START_TEST(a_format_of_ones_own)
{
    load("access_log: {path: stderr, format: '\"$host\" [$http_x] $status $bytes_sent $http_none$$'}", "respond: {}");
    fields_add(&r.request.fields, STR("X"), STR("a\"b"));
    r.status = 200;
    logs("\"example.com\" [a\\x22b] 200 0 -$\n");
}
END_TEST

START_TEST(off_is_off)
{
    load("access_log: off", "respond: {}");
    ck_assert_uint_eq(r.scope->hooks[PHASE_LOG].n, 0);
}
END_TEST

START_TEST(a_misspelt_format)
{
    refused("access_log: {format: combind}", "respond: {}", "combined, json, or a string with variables");
}
END_TEST

static struct str said;

static void
say(struct trace *t, int at, const char *text)
{
    (void)t;
    said = arena_printf(f.arena, "%.*s%d: %s\n", STR_ARG(said), at, text);
}

static void
tells(enum phase phase, int want, const char *text)
{
    struct trace t = {.say = say};

    said = STR("");
    r.trace = &t;
    ck_assert_int_eq(run(phase), want);
    r.trace = NULL;
    ck_assert_msg(str_eq(said, str_of(text)), "%.*s", STR_ARG(said));
}

START_TEST(rewrite_tells_each_step)
{
    load("", "rewrite:\n          - {regex: '^/y', to: /}\n          - {regex: '^/(x)$', to: '/$1/$1?a=$1'}\n"
             "          - {regex: x, to: '${http_none}'}\n        respond: {}");
    r.uri.query = STR("?b");
    tells(PHASE_REWRITE, 500, "7: rewrite: /x does not match ^/y\n8: rewrite: /x to /x/x?a=x&b\n"
                              "9: 500: rewrite: what /x/x becomes does not begin with /\n");
    ck_assert(str_eq(r.path, STR("/x/x")) && str_eq(r.query, STR("?a=x&b")));
    ck_assert_ptr_null(r.captures);
    /* on the way again: from the beginning */
    r.uri.canonical = STR("/z");
    tells(PHASE_REWRITE, HOOK_NEXT, "7: rewrite: /z does not match ^/y\n8: rewrite: /z does not match ^/(x)$\n"
                                    "9: rewrite: /z does not match x\n");
    ck_assert_ptr_null(r.path.p);
}
END_TEST

START_TEST(the_groups_of_the_route_are_back_after_a_rewrite)
{
    struct captures captures = {.n = 1};

    load("", "{rewrite: {regex: '(x)', to: '/$1'}, respond: {}}");
    r.captures = &captures;
    ck_assert_int_eq(run(PHASE_REWRITE), HOOK_NEXT);
    ck_assert_ptr_eq(r.captures, &captures);
}
END_TEST

START_TEST(a_value_that_no_header_may_have_is_ours)
{
    load("", "{response_headers: {X-A: $host, X-B: b}, respond: {}}");
    r.host.name = STR("a\r\nX-Evil: 1");
    ck_assert_int_eq(run(PHASE_EDIT), 500);
    has_not("X-A");
    /* the page that says so has the others */
    has("X-B", "b");
}
END_TEST

START_TEST(what_is_removed_leaves_a_mark)
{
    load("", "{response_headers: {x-a: ~, X-B: b, X-C: {add: c}}, respond: {}}");
    fields_add(&r.response.fields, STR("X-A"), STR("1"));
    fields_add(&r.response.fields, STR("x-A"), STR("2"));
    fields_add(&r.response.fields, STR("x-b"), STR("2"));
    ck_assert_int_eq(run(PHASE_EDIT), HOOK_NEXT);
    has_not("X-A");
    has("X-B", "b");
    for (size_t i = 0; i < r.response.fields.n; i++)
        if (r.response.fields.v[i].fixed)
            ck_assert(str_ieq(r.response.fields.v[i].name, STR("x-a")) == r.response.fields.v[i].gone);
        else
            ck_assert(r.response.fields.v[i].gone || str_eq(r.response.fields.v[i].name, STR("X-C")));
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("modules");
    TCase *tc = tcase_create("modules");

    suite_add_tcase(s, tc);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, respond_has_defaults);
    tcase_add_test(tc, respond_expands);
    tcase_add_test(tc, respond_with_a_type_of_its_own);
    tcase_add_test(tc, respond_leaves_framing_alone);
    tcase_add_test(tc, respond_wants_tokens);
    tcase_add_test(tc, respond_wants_values);
    tcase_add_test(tc, respond_knows_names_in_any_case);
    tcase_add_test(tc, respond_knows_statuses_without_content);
    tcase_add_test(tc, respond_wants_a_final_status);
    tcase_add_test(tc, respond_never_sends_a_value_that_is_none);
    tcase_add_test(tc, redirect_goes_there);
    tcase_add_test(tc, redirect_is_302_by_default);
    tcase_add_test(tc, redirect_never_sends_a_value_that_is_none);
    tcase_add_test(tc, redirect_wants_a_redirection);
    tcase_add_test(tc, redirect_wants_a_target);
    tcase_add_test(tc, the_log_is_combined_and_on_by_default);
    tcase_add_test(tc, a_head_that_was_no_good);
    tcase_add_test(tc, a_client_that_left);
    tcase_add_test(tc, a_format_of_ones_own);
    tcase_add_test(tc, off_is_off);
    tcase_add_test(tc, a_misspelt_format);
    tcase_add_test(tc, rewrite_tells_each_step);
    tcase_add_test(tc, the_groups_of_the_route_are_back_after_a_rewrite);
    tcase_add_test(tc, a_value_that_no_header_may_have_is_ours);
    tcase_add_test(tc, what_is_removed_leaves_a_mark);
    return unit_run(s);
}

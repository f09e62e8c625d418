/*
 * Any text as a template, with a regex's groups and without. What compiles is expanded over a fixed
 * request, plain and escaped; an error lies within the text, and a text without a dollar stays as it is.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "t/fuzz/must.h"
#include "worker/base/clock.h"
#include "worker/request.h"
#include "worker/template.h"

static void
fill(struct request *r, struct arena *a, struct captures *captures)
{
    *r = (struct request){.arena = a, .minor = 1, .status = 200, .captures = captures};
    fields_init(&r->request.fields, a);
    fields_init(&r->response.fields, a);
    fields_add(&r->request.fields, STR("Cookie"), STR("a=1; b; c=\"x\" ;d-e=2"));
    fields_add(&r->request.fields, STR("X-A"), STR("one"));
    fields_add(&r->request.fields, STR("x-a"), STR(""));
    fields_add(&r->response.fields, STR("Content-Type"), STR("text/html"));
    r->method_text = STR("GET");
    r->protocol = STR("HTTP/1.1");
    r->target = STR("/p/12?a=1&b&c=");
    r->uri.path = r->uri.canonical = STR("/p/12");
    r->uri.query = STR("?a=1&b&c=");
    r->host.name = STR("example.com");
    r->times.start = 1;
}

static size_t
widen(char *to, struct str value)
{
    if (to != NULL)
        for (size_t i = 0; i < value.n; i++)
            to[3 * i] = to[3 * i + 1] = to[3 * i + 2] = value.p[i];
    return 3 * value.n;
}

static void
try(struct str text, const struct regex *groups, struct captures *captures)
{
    struct arena *a = arena_new();
    struct str why = STR_NONE;
    size_t offset = 0;
    struct template *t = template_compile(text, groups, a, &why, &offset);
    struct request r;

    if (t == NULL) {
        MUST(why.n > 0);
        MUST(offset < text.n);
    } else {
        struct str plain, wide;

        fill(&r, a, captures);
        plain = template_expand(t, &r);
        wide = template_expand_escaped(t, &r, widen);
        MUST(str_eq(template_source(t), text));
        MUST(wide.n >= plain.n && wide.n <= 3 * plain.n);
        /* reads every byte of them */
        arena_copy(a, plain);
        arena_copy(a, wide);
        if (text.n == 0 || memchr(text.p, '$', text.n) == NULL)
            MUST(str_eq(plain, text) && str_eq(wide, text));
    }
    arena_free(a);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct regex *re;
    static struct captures captures;
    struct str text = {(const char *)data, n};

    if (re == NULL) {
        struct str why;
        size_t offset;

        clock_update();
        re = regex_compile(STR("^/(?<name>p)/(\\d+)(x)?$"), arena_new(), &why, &offset);
        MUST(re != NULL);
        MUST(regex_match(re, STR("/p/12"), &captures) == REGEX_YES);
    }
    try(text, NULL, NULL);
    try(text, re, &captures);
    try(text, re, NULL);
    return 0;
}

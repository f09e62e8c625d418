/*
 * What a rewrite rule makes: input is lines of `to`, the target of a request, and a value of its Cookie, X-A and
 * the route's capture. What may stand in a file is expanded with the captures of a regex on the canonical path
 * and with the client's own values. The result, where there is one, is a path that is canonical as it stands and a
 * query, and no byte of either may not stand in a request line; only literal text began the query.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/target.h"
#include "t/fuzz/must.h"
#include "worker/base/clock.h"
#include "worker/request.h"

/* Escapes are whole, and nothing ends the line, the path or the target. */
static void
look(struct str s, const char *refused)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        MUST(c > 0x20 && c < 0x7F && strchr(refused, c) == NULL);
        if (c == '%') {
            MUST(s.n - i >= 3 && strspn(s.p + i + 1, "0123456789abcdefABCDEF") >= 2);
            MUST(memcmp(s.p + i, "%00", 3) != 0);
        }
    }
}

static void
look_at_path(struct str path, struct arena *a)
{
    struct uri uri = {0};
    /* of its own, so that a byte behind it would be found */
    struct str copy = arena_copy(a, path);

    MUST(path.n > 0 && path.n <= TARGET_MOST && path.p[0] == '/');
    look(copy, "#?\\\"<>^`{|}[]");
    MUST(uri_canonical(&uri, copy, a) == 0 && str_eq(uri.canonical, copy) && !uri.dots);
}

static struct str
parameters(struct str query)
{
    return query.n > 1 ? (struct str){query.p + 1, query.n - 1} : STR("");
}

static void
expand(const struct template *t, struct request *r)
{
    struct str path = r->uri.canonical, query = r->uri.query, source = template_source(t);
    struct target target;
    const char *why = NULL;
    int status;

    target_compile(&target, t, r->arena);
    status = target_expand(&target, r, &path, &query, &why);
    MUST(status == 0 || ((status == 400 || status == 500) && why != NULL));
    if (status != 0)
        return;
    look_at_path(path, r->arena);
    if (memchr(source.p, '?', source.n) == NULL) {
        MUST(str_eq(query, r->uri.query));
    } else if (query.n > 0 && !str_eq(query, r->uri.query)) {
        MUST(query.p[0] == '?');
        MUST(target.drops || str_ends(query, parameters(r->uri.query)));
        if (target.drops || r->uri.query.n == 0)
            look(arena_copy(r->arena, query), "#\\\"<>^`{|}");
    }
}

static bool
fill(struct request *r, struct str target, struct str value, struct scope *scope)
{
    *r = (struct request){.arena = arena_new(), .minor = 1, .scope = scope};
    fields_init(&r->request.fields, r->arena);
    fields_init(&r->response.fields, r->arena);
    fields_add(&r->request.fields, STR("Cookie"), value);
    fields_add(&r->request.fields, STR("X-A"), value);
    r->method_text = STR("GET");
    r->target = target;
    return uri_parse(&r->uri, target, r->arena) == 0 && r->uri.canonical.n > 0 && r->uri.canonical.p[0] == '/';
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct regex *re;
    static struct scope scopes[2];
    struct str rest = {(const char *)data, n}, to = str_cut(&rest, '\n'), target = str_cut(&rest, '\n'), why = STR_NONE;
    struct captures captures;
    struct template *t;
    struct request r;
    size_t offset = 0;

    if (re == NULL) {
        clock_update();
        re = regex_compile(STR("^/(?<name>[^/]*)(.*?)([^/]?)$"), arena_new(), &why, &offset);
        MUST(re != NULL);
        scopes[1].policy.encoded_slash = ENCODED_SLASH_REJECT;
    }
    if (fill(&r, target, rest, &scopes[n & 1]) && regex_match(re, r.uri.canonical, &captures) == REGEX_YES) {
        r.captures = &captures;
        t = template_compile(to, re, r.arena, &why, &offset);
        if (t != NULL && target_refuse(t, &offset) == NULL)
            expand(t, &r);
        else
            MUST(offset <= to.n);
    }
    arena_free(r.arena);
    return 0;
}

/*
 * A target. A path that is taken must be canonical, stay as it is when it is made canonical again, and
 * never climb where an origin decodes separators or drops parameters.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "t/fuzz/must.h"
#include "worker/base/scan.h"
#include "worker/host.h"
#include "worker/uri.h"

/* What such an origin sees: separators decoded, each segment up to its first ";". */
static struct str
as_origin_sees(struct str path, struct arena *a)
{
    char *to = arena_alloc(a, path.n);
    size_t n = 0;

    for (size_t i = 0; i < path.n; i++) {
        struct str s = {path.p + i, path.n - i};

        if (str_starts(s, STR("%2F")) || str_starts(s, STR("%5C"))) {
            to[n++] = '/';
            i += 2;
        } else if (s.p[0] == ';' || str_starts(s, STR("%3B"))) {
            while (i + 1 < path.n && path.p[i + 1] != '/' &&
                   !str_starts((struct str){path.p + i + 1, path.n - i - 1}, STR("%2F")) &&
                   !str_starts((struct str){path.p + i + 1, path.n - i - 1}, STR("%5C")))
                i++;
        } else {
            to[n++] = s.p[0];
        }
    }
    return (struct str){to, n};
}

static void
check_canonical(struct str s, struct arena *a)
{
    struct str seen = as_origin_sees(s, a);
    struct uri again;

    MUST(s.n > 0 && s.p[0] == '/' && scan_visible(s.p, s.p + s.n) == s.p + s.n);
    for (size_t i = 0; i < s.n; i++)
        MUST(strchr("\\#?\"<>[]^`{|}", s.p[i]) == NULL);
    MUST(memmem(s.p, s.n, "//", 2) == NULL);
    MUST(memmem(s.p, s.n, "/./", 3) == NULL && !str_ends(s, STR("/.")));
    MUST(memmem(seen.p, seen.n, "/../", 4) == NULL && !str_ends(seen, STR("/..")));
    MUST(uri_canonical(&again, s, a) == 0 && str_eq(again.canonical, s));
    MUST(again.canonical.p == s.p && !again.dots);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena *a = arena_new();
    struct str target = {(const char *)data, n};
    struct host h;
    struct uri u;

    if (n > 0) {
        scan_init(data[0] % 3);
        target.p++;
        target.n--;
    }
    if (uri_parse(&u, target, a) == 0) {
        MUST(scan_visible(target.p, target.p + target.n) == target.p + target.n);
        MUST(memchr(target.p, '#', target.n) == NULL);
        if (u.form == URI_ORIGIN || u.form == URI_ABSOLUTE) {
            check_canonical(u.canonical, a);
            MUST(u.query.n == 0 || u.query.p[0] == '?');
            MUST(!u.dots || !str_eq(u.path, u.canonical));
        }
        if (u.form == URI_ABSOLUTE && host_parse(&h, u.authority, a) == 0)
            MUST(h.name.n > 0);
    }
    if (uri_canonical(&u, target, a) == 0)
        check_canonical(u.canonical, a);
    arena_free(a);
    return 0;
}

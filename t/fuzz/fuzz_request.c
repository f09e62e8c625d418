/* A request: head, chunked content, and what uri.h and host.h make of its target and Host. */
#include "t/fuzz/feed.h"
#include "worker/host.h"
#include "worker/uri.h"

static void
check_canonical(struct str s, struct arena *a)
{
    struct uri again;

    MUST(s.n > 0 && s.p[0] == '/');
    MUST(memmem(s.p, s.n, "//", 2) == NULL && memmem(s.p, s.n, "/./", 3) == NULL);
    MUST(memmem(s.p, s.n, "/../", 4) == NULL && !str_ends(s, STR("/..")) && !str_ends(s, STR("/.")));
    MUST(uri_canonical(&again, s, a) == 0 && str_eq(again.canonical, s) && !again.dots);
}

static void
check_target(struct str target, struct arena *a)
{
    struct uri u;
    int status = uri_parse(&u, target, a);

    MUST(status == 0 || status == 400);
    if (status != 0)
        return;
    if (u.form == URI_ORIGIN || u.form == URI_ABSOLUTE)
        check_canonical(u.canonical, a);
    if (u.form == URI_ORIGIN)
        MUST(u.path.n + u.query.n == target.n);
}

static void
check_host(struct str value, struct arena *a)
{
    struct host h, again;
    int status = host_parse(&h, value, a);

    MUST(status == 0 || status == 400);
    if (status != 0)
        return;
    MUST(h.name.n > 0 && h.port >= -1 && h.port <= 65535);
    MUST(host_parse(&again, h.name, a) == 0 && str_eq(again.name, h.name) && again.port == -1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct message m;

    if (n < CHOICES)
        return 0;
    read_both_ways(&m, choose(data), h1_parse_request, (const char *)data + CHOICES, n - CHOICES);
    if (m.got == H1_DONE) {
        MUST(field_is_token(m.head.method) && m.head.target.n > 0);
        MUST(m.head.framing != H1_UNTIL_CLOSE);
        check_target(m.head.target, m.arena);
        if (m.head.host_seen)
            check_host(fields_value(&m.fields, FIELD_HOST), m.arena);
    } else {
        MUST(m.got == H1_MORE || m.got == 400 || m.got == 414 || m.got == 431 || m.got == 501 ||
             m.got == 505);
    }
    message_end(&m);
    return 0;
}

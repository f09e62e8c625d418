/*
 * A PROXY header. Every front of the input is read too, and the answers must go together: wait, wait,
 * then done or refused for good.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "t/fuzz/must.h"
#include "worker/proxy_protocol.h"

static void
check_address(const struct addr *a)
{
    struct arena *arena = arena_new();
    struct str text = addr_text(a, arena);
    struct addr again;
    const char *why;

    /* only a port of 0 and odd paths are not read again */
    if (a->ip.family != AF_UNIX && a->port > 0)
        MUST(addr_parse(&again, text, &why) == 0 && addr_equal(a, &again));
    arena_free(arena);
}

static int
parse(struct proxy_header *h, const uint8_t *data, size_t n)
{
    char *p = malloc(n > 0 ? n : 1);
    int got;

    if (n > 0)
        memcpy(p, data, n);
    got = proxy_header_parse(h, p, n);
    if (got == 1 && h->carries) {
        check_address(&h->source);
        check_address(&h->destination);
    }
    free(p);
    return got;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct proxy_header whole, part;
    int got = parse(&whole, data, n), before = 0;

    if (got == 1)
        MUST(whole.size <= n && whole.size <= PROXY_HEADER_MOST);
    for (size_t i = 0; i <= n && i < 400; i++) {
        int now = parse(&part, data, i);

        MUST(before == 0 || now == before);
        MUST(now == 0 || now == got);
        MUST(now != 1 || (part.size <= i && part.size == whole.size));
        before = now;
    }
    return 0;
}

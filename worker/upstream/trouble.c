/*
 * What servers do wrong, told in the error log. A server that is down fails every request that meets it: each kind of
 * trouble of each server is told when it begins, and then once a minute with how often it came; the
 * statistics count every one.
 */
#include <stdio.h>

#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/upstream/exchange.h"

#define AGAIN_MS 60000
#define TARGET_TOLD 200         /* bytes of it */

static void
tell(struct log_pace *pace, const struct upstream *u, struct str server, struct str what, const struct request *r)
{
    struct str target = r->target;
    unsigned long more;
    char times[64] = "";

    if (!log_due(pace, clock_ms(), AGAIN_MS, &more))
        return;
    if (more > 0)
        snprintf(times, sizeof(times), " (and %lu more like this)", more);
    log_warning("upstream %.*s%s%.*s: %.*s: %.*s %.*s%s%s", STR_ARG(u->name), server.n > 0 ? ", server " : "",
                STR_ARG(server), STR_ARG(what), STR_ARG(r->method_text),
                (int)(target.n < TARGET_TOLD ? target.n : TARGET_TOLD), target.n > 0 ? target.p : "",
                target.n > TARGET_TOLD ? "..." : "", times);
}

static void
say(struct endpoint *e, enum slots_error kind, struct str what, const struct request *r)
{
    tell(&e->trouble[kind], e->group->conf, e->text, what, r);
}

void
trouble_of_exchange(const struct exchange *x, enum slots_error kind)
{
    static const struct str what[SLOTS_ERRORS] = {
        [SLOTS_ERROR_TIMEOUT] = {"timed out", 9},
        [SLOTS_ERROR_RESET] = {"closed before its response was whole", 36},
        [SLOTS_ERROR_LIMIT] = {"the head of its response is larger than limits.response_head", 60},
    };

    if (kind == SLOTS_ERROR_CONNECT || (kind == SLOTS_ERROR_TIMEOUT && x->connecting))
        return;                 /* that was told, with its reason */
    if (kind == SLOTS_ERROR_MALFORMED)
        say(x->endpoint, kind, arena_printf(x->r->arena, "its response is no %s", x->protocol->source.name), x->r);
    else if (kind == SLOTS_ERROR_RESET && x->lost != NULL)
        say(x->endpoint, kind, arena_printf(x->r->arena, "%.*s: %s", STR_ARG(what[kind]), x->lost), x->r);
    else
        say(x->endpoint, kind, what[kind], x->r);
}

void
trouble_connecting(const struct request *r, struct endpoint *e, const char *why)
{
    say(e, SLOTS_ERROR_CONNECT, arena_printf(r->arena, "cannot connect: %s", why), r);
}

void
trouble_expired(const struct exchange *x, const char *why)
{
    say(x->endpoint, SLOTS_ERROR_CONNECT, str_of(why), x->r);
}

void
trouble_declined(const struct exchange *x, const char *why)
{
    say(x->endpoint, SLOTS_ERROR_INTERNAL, str_of(why), x->r);
}

void
trouble_content(const struct request *r, enum content_trouble kind, const char *what)
{
    const struct upstream *u = r->route != NULL ? r->route->proxy : NULL;

    if (u != NULL)
        tell(&upstream_group(u)->content[kind], u, r->upstream_address, str_of(what), r);
}

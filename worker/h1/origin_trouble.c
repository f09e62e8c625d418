/*
 * What servers do wrong, told in the error log. A server that is down fails every request that meets it: each kind of
 * trouble of each server is told when it begins, and then once a minute with how often it came; the
 * statistics count every one.
 */
#include <stdio.h>

#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/h1/origin.h"

#define AGAIN_MS 60000
#define TARGET_TOLD 200         /* bytes of it */

static void
say(struct endpoint *e, enum slots_error kind, struct str what, const struct request *r)
{
    struct str target = r->target;
    unsigned long more;
    char times[64] = "";

    if (!log_due(&e->trouble[kind], clock_ms(), AGAIN_MS, &more))
        return;
    if (more > 0)
        snprintf(times, sizeof(times), " (and %lu more like this)", more);
    log_warning("upstream %.*s, server %.*s: %.*s: %.*s %.*s%s%s", STR_ARG(e->group->conf->name), STR_ARG(e->text),
                STR_ARG(what), STR_ARG(r->method_text),
                (int)(target.n < TARGET_TOLD ? target.n : TARGET_TOLD), target.n > 0 ? target.p : "",
                target.n > TARGET_TOLD ? "..." : "", times);
}

void
origin_complain(const struct origin *o, enum slots_error kind)
{
    static const struct str what[SLOTS_ERRORS] = {
        [SLOTS_ERROR_MALFORMED] = {"its response is no HTTP/1.1", 27},
        [SLOTS_ERROR_TIMEOUT] = {"timed out", 9},
        [SLOTS_ERROR_RESET] = {"closed before its response was whole", 36},
        [SLOTS_ERROR_LIMIT] = {"the head of its response is larger than limits.response_head", 60},
    };

    if (kind == SLOTS_ERROR_CONNECT)
        return;                 /* that was told, with its errno */
    if (kind == SLOTS_ERROR_TIMEOUT && o->state == ORIGIN_CONNECTING)
        say(o->endpoint, SLOTS_ERROR_CONNECT, STR("timed out while it was connected to"), o->r);
    else
        say(o->endpoint, kind, what[kind], o->r);
}

void
origin_cannot_connect(const struct request *r, struct endpoint *e, int error)
{
    say(e, SLOTS_ERROR_CONNECT, arena_printf(r->arena, "cannot connect: %s", strerror(error)), r);
}

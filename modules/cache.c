/*
 * The cache: what becomes of a request on a caching route. Two hooks lead into it and one out of it:
 *
 *     LOOKUP   what is in the store? A good one is the answer; else the request goes on.
 *     FORWARD  somebody has to ask the origin. Of all that want it at once, over all workers, one does: it begins a
 *              fetch of weir's own (cache_fill.c), and all of them wait for that, and read what comes as it comes.
 *     EDIT     Cache-Status where the answer is the origin's own; what an unsafe method made invalid.
 *
 * Who can't have the store (it is busy, or full, or the request is none for it) goes past it, to the origin. A client's
 * request is a struct cached from LOOKUP to its end, in the steps of enum cached_step.
 */
#include "modules/cache.h"

#include "modules/cache_conditional.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/hop.h"
#include "worker/state.h"
#include "worker/template.h"
#include "worker/trace.h"

/* The request is over. What it still held in its source is gone by then. */
static void
forget(void *with)
{
    struct cached *a = with;

    timer_stop(&a->timer);
    cache_wait_leave_seen(a);
}

/* NULL: nothing. Else what takes a GET or HEAD past the cache, as Cache-Status tells it. */
static const char *
what_bypasses(const struct request *r)
{
    const struct fields *f = &r->request.fields;

    return r->request.length != 0                                ? "content"
           : fields_list_has(f, FIELD_UPGRADE, STR("websocket")) ? "upgrade"
           : cache_conditional_is_origins(f)                     ? "precondition"
           : hop_names(f)                                        ? "connection"
           : cache_shield_override(f)                            ? "method-override"
                                                                 : NULL;
}

/* Else it passes. */
static void
judge(struct cached *a)
{
    struct request *r = a->r;
    const char *why;

    if (r->method != METHOD_GET && r->method != METHOD_HEAD)
        cache_wait_pass(a, RESULT_METHOD, NULL);
    else if ((why = what_bypasses(r)) != NULL)
        cache_wait_pass(a, RESULT_BYPASS, why);
}

/* What the configuration and the request alone say of it. */
static void
explain(struct request *r, const struct cache_policy *conf)
{
    const char *why = r->method != METHOD_GET && r->method != METHOD_HEAD ? "method" : what_bypasses(r);

    if (why != NULL) {
        trace(r, conf->line, "cache: past it, and nothing is stored (%s)", why);
        return;
    }
    cache_key_of(r, conf);
    if (r->method == METHOD_HEAD)
        trace(r, conf->line, "cache: HEAD is answered from what GET stored, and stores nothing");
    if (fields_find_id(&r->request.fields, FIELD_AUTHORIZATION) != NULL)
        trace(r, conf->line, "cache: with Authorization, so only what says public, must-revalidate or s-maxage");
}

static struct cached *
begin(struct request *r, const struct cache_policy *conf)
{
    struct cached *a = request_note(r, &cache_module, sizeof(*a));

    a->r = r;
    a->conf = conf;
    a->variant_count = 1;
    a->timer.fire = cache_wait_over;
    a->authorization = fields_find_id(&r->request.fields, FIELD_AUTHORIZATION) != NULL;
    cache_control_request(&a->asked, &r->request.fields, r->arena);
    arena_cleanup(r->arena, forget, a);
    return a;
}

static int
lookup(struct request *r, const void *data)
{
    const struct cache_policy *conf = data;
    struct cached *a = request_noted(r, &cache_module);
    int result;

    if (r->route->proxy == NULL)
        return HOOK_NEXT;
    if (cache_purge_asks(r))
        return cache_purge_answer(r, conf);
    if (worker.cache == NULL) {
        if (r->trace != NULL) {
            explain(r, conf);
            cache_shield_host(r);
        }
        return HOOK_NEXT;
    }
    if (a == NULL) {
        a = begin(r, conf);
        judge(a);
    }
    result = a->step == CACHED_SEEKING ? cache_seek_first(a) : HOOK_NEXT;
    if (result == HOOK_NEXT)
        cache_shield_host(r);
    return result;
}

static int
forward(struct request *r, const void *data)
{
    struct cached *a = request_noted(r, &cache_module);
    int result;

    (void)data;
    cache_shield(r);
    if (a == NULL || a->step == CACHED_PASSING || worker.cache == NULL)
        return HOOK_NEXT;
    if (a->background)
        return cache_wait_meanwhile(a);
    /* RFC 9111 5.2.1.5: nothing of it is kept */
    if (cc_has(&a->asked, CC_NO_STORE))
        return cache_wait_pass(a, RESULT_NONE, "no-store");
    r->source = &cache_source;
    r->source_state = a;
    result = cache_wait_enter(a);
    if (result == HOOK_NEXT || result >= 400) {
        r->source = NULL;
        r->source_state = NULL;
    }
    return result;
}

/* What the origin says to weir alone: on a route that caches no client gets it, whether it was stored or not. */
static void
hide(struct request *r)
{
    fields_remove(&r->response.fields, STR("surrogate-key"));
    fields_remove(&r->response.fields, STR("cache-tag"));
    fields_remove(&r->response.fields, STR("weir-cache-control"));
}

static int
edit(struct request *r, const void *data)
{
    struct cached *a = request_noted(r, &cache_module);
    struct cache_told nothing = {0};
    int result;

    if (data != NULL && r->route != NULL && r->route->proxy != NULL && (a == NULL || a->step != CACHED_SERVING))
        hide(r);
    if (worker.cache == NULL || r->route == NULL || r->route->proxy == NULL)
        return HOOK_NEXT;
    if (data == NULL)
        return cache_purge_changed(r);
    if (a == NULL) {
        if (r->outcome.p == NULL)
            cache_status_tell(r, &nothing);
        return HOOK_NEXT;
    }
    if (a->step == CACHED_PASSING && (result = cache_purge_changed(r)) != HOOK_NEXT)
        return result;
    if (!a->told) {
        a->told = true;
        a->status.forwarded = r->upstream_status;
        cache_status_tell(r, &a->status);
    }
    return HOOK_NEXT;
}

/* --- the process's --- */

static void
tick(void)
{
    if (worker.cache == NULL)
        return;
    cache_wait_tick();
    cache_tick(worker.cache, (uint64_t)clock_ms());
}

static void
begin_worker(void)
{
    if (worker.cache != NULL && !cache_begin(worker.cache, worker.row_number)) {
        log_warning("no memory for the cache: this worker goes without");
        worker.cache = NULL;
    }
    tick();                     /* what a worker that died left behind need not wait for a second */
}

static void
make_ready(struct ready *ready, void *data)
{
    struct cache_policy *conf = data;

    conf->line = ready->line;
}

static const char *
refuse_key(const void *value, size_t *offset)
{
    const struct template *t = value;

    *offset = 0;
    return template_source(t).n == 0 ? "an empty key: all responses would be one" : NULL;
}

static const char *
doubt_status(int status)
{
    return cache_fresh_never(status) ? "such a response is never stored" : NULL;
}

static const struct key keys[] = {
    {.name = "key", .type = KEY_TEMPLATE, .offset = offsetof(struct cache_policy, key),
     .def = "$scheme://$host$path$query", .early = true, .varies = true, .refuse = refuse_key,
     .help = "what a response is kept under; scheme, port, site, route and upstream are always in it"},
    {.name = "ttl", .type = KEY_STATUSES, .offset = offsetof(struct cache_policy, defaults.ttl), .def = "",
     .doubt = doubt_status, .help = "by status: how long a response is fresh where the origin says nothing of it"},
    {.name = "stale_if_error", .type = KEY_DURATION, .offset = offsetof(struct cache_policy, defaults.stale_if_error),
     .def = "0", .help = "how long a stale one stands in for an error, where the origin says nothing of it"},
    {.name = "stale_while_revalidate", .type = KEY_DURATION,
     .offset = offsetof(struct cache_policy, defaults.stale_while_revalidate), .def = "0",
     .help = "how long a stale one is served while a new one is fetched, where the origin says nothing of it"},
    {.name = "set_cookie", .type = KEY_BOOL, .offset = offsetof(struct cache_policy, defaults.set_cookie),
     .def = "false", .help = "responses with Set-Cookie are stored too, for everyone"},
    {.name = "purge_from", .type = KEY_NETWORKS, .offset = offsetof(struct cache_policy, purge_from), .def = "",
     .help = "who may send PURGE; anyone else gets a 405"},
    {.name = NULL},
};

const struct module cache_module = {
    .key = {.name = "cache", .type = KEY_SECTION, .def = "", .help = "responses are kept, as RFC 9111 has it",
            .levels = KEY_POLICY, .keys = keys},
    .conf_size = sizeof(struct cache_policy),
    .site_edit = true,
    .ready = make_ready,
    .hook = {[PHASE_LOOKUP] = lookup, [PHASE_FORWARD] = forward, [PHASE_EDIT] = edit},
    .begin = begin_worker,
    .woken = cache_wait_news,
    .tick = tick,
};

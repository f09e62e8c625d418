/*
 * What goes from the store because somebody says so: an administrator by PURGE, or a successful unsafe method (RFC 9111
 * 4.4). Both wait for locks as long as it takes, whether the client stays or not, and answer when it is done.
 */
#include "modules/cache.h"
#include "worker/answer.h"
#include "worker/front.h"
#include "worker/pipeline.h"
#include "worker/state.h"
#include "worker/trace.h"

#define TARGETS 3               /* the request's own, Location's, Content-Location's */

/* A purge under way: a note of its request. */
struct purge {
    struct request *r;
    struct uri targets[TARGETS];
    size_t target, target_count;
    struct str text;            /* of targets[target], as $uri */
    struct cache_key *keys;     /* of targets[target]; NULL: not yet made */
    size_t key, key_count;
    bool soft;
    struct timer timer;
};

static const char note;

static int
make_keys(struct purge *p)
{
    struct request *r = p->r;
    struct uri uri = r->uri;
    struct str target = r->target;
    int result;

    r->uri = p->targets[p->target];
    if (p->text.p == NULL)
        p->text = arena_printf(r->arena, "%.*s%.*s", STR_ARG(r->uri.path), STR_ARG(r->uri.query));
    r->target = p->text;
    p->key = 0;
    result = cache_key_all(r, &p->keys, &p->key_count);
    r->uri = uri;
    r->target = target;
    if (result == CACHE_BUSY)
        p->keys = NULL;
    return result;
}

/* HOOK_NEXT: all is gone. HOOK_WAIT: come again. */
static int
go_on(struct purge *p)
{
    while (p->target < p->target_count) {
        int result = p->keys == NULL ? make_keys(p) : CACHE_OK;

        while (result != CACHE_BUSY && p->key < p->key_count) {
            result = cache_purge(worker.cache, &p->keys[p->key], p->soft);
            p->key += result != CACHE_BUSY;
        }
        if (result == CACHE_BUSY) {
            timer_set(&p->timer, CACHE_AGAIN_MS);
            return HOOK_WAIT;
        }
        p->keys = NULL;
        p->text = STR_NONE;
        p->target++;
    }
    return HOOK_NEXT;
}

/* --- its life, and what is left of it when a client leaves meanwhile --- */

static struct purge *begin(struct request *r);

static void
front_nothing(struct request *r)
{
    (void)r;
}

static const struct front alone = {
    .name = "purge",
    .send = front_nothing,
    .receive = front_nothing,
    .cut = front_nothing,
};

/* What was changed is changed: the rest goes too, on a request of weir's own. */
static void
go_on_alone(const struct purge *p)
{
    struct request *f = cache_fill_copy(p->r);
    struct purge *q = begin(f);

    f->front = &alone;
    q->soft = p->soft;
    for (size_t i = p->target; i < p->target_count; i++)
        uri_copy(&q->targets[q->target_count++], &p->targets[i], f->arena);
    timer_set(&q->timer, CACHE_AGAIN_MS);
}

static void
forget(void *with)
{
    struct purge *p = with;

    timer_stop(&p->timer);
    if (p->target < p->target_count && !p->r->own)
        go_on_alone(p);
}

static void
again(struct timer *t)
{
    struct purge *p = (struct purge *)((char *)t - offsetof(struct purge, timer));

    if (!p->r->own)
        pipeline_resume(p->r);
    else if (go_on(p) == HOOK_NEXT)
        pipeline_sent(p->r);
}

static struct purge *
begin(struct request *r)
{
    struct purge *p = request_note(r, &note, sizeof(*p));

    p->r = r;
    p->timer.fire = again;
    arena_cleanup(r->arena, forget, p);
    return p;
}

/* --- PURGE --- */

bool
cache_purge_asks(const struct request *r)
{
    return r->method == METHOD_OTHER && str_eq(r->method_text, STR("PURGE"));
}

struct tags {
    struct request *r;
    bool soft;
};

static bool
drop_tag(void *with, struct str tag)
{
    struct tags *t = with;

    cache_tag_purge(worker.cache, cache_key_tag(t->r, tag), t->soft);
    return true;
}

static bool
is_soft(const struct request *r)
{
    const struct field *f = fields_find(&r->request.fields, STR("cache-purge"));

    return f != NULL && str_ieq(f->value, STR("soft"));
}

static bool
names_tags(const struct request *r)
{
    return fields_find(&r->request.fields, STR("surrogate-key")) != NULL ||
           fields_find(&r->request.fields, STR("cache-tag")) != NULL;
}

static int
answer_done(struct request *r)
{
    struct cache_told told = {.result = RESULT_PURGE};

    answer(r, 200, STR("text/plain"), STR("purged\n"));
    if (worker.cache != NULL)
        cache_status_tell(r, &told);
    return HOOK_ANSWER;
}

int
cache_purge_answer(struct request *r, const struct cache_policy *conf)
{
    struct purge *p = request_noted(r, &note);
    int result;

    if (!cidr_list_has(&conf->purge_from, &r->client)) {
        trace(r, conf->line, "405: PURGE is for purge_from alone");
        return 405;
    }
    trace(r, conf->line, "PURGE: %s", names_tags(r) ? "what has one of these tags" : "all that is kept of this URL");
    if (worker.cache == NULL)
        return answer_done(r);
    if (names_tags(r)) {
        struct tags tags = {r, is_soft(r)};

        cache_head_each_tag(&r->request.fields, drop_tag, &tags);
        return answer_done(r);
    }
    if (p == NULL) {
        p = begin(r);
        p->soft = is_soft(r);
        p->targets[p->target_count++] = r->uri;
    }
    result = go_on(p);
    return result == HOOK_NEXT ? answer_done(r) : result;
}

/* --- unsafe methods --- */

/* RFC 9111 4.4: of the same origin alone, so that nobody drops another's. */
static bool
is_same_origin(struct request *r, const struct uri *u)
{
    struct host host;
    bool https = u->scheme.n == 5;

    return https == r->https && host_parse(&host, u->authority, r->arena) == 0 && host_equal(&host, &r->host, https);
}

/* RFC 3986 5.2.3: a path without a slash at its front is beside the one it is said for. */
static struct str
resolved(struct request *r, struct str reference)
{
    struct str path = r->uri.canonical;

    if (reference.n >= 2 && reference.p[0] == '/' && reference.p[1] == '/')
        return arena_printf(r->arena, "%s:%.*s", r->https ? "https" : "http", STR_ARG(reference));
    if (reference.n == 0 || reference.p[0] == '/' || memchr(reference.p, ':', reference.n) != NULL)
        return reference;
    if (reference.p[0] != '?')
        while (path.n > 0 && path.p[path.n - 1] != '/')
            path.n--;
    return arena_printf(r->arena, "%.*s%.*s", STR_ARG(path), STR_ARG(reference));
}

static void
add_reference(struct purge *p, struct str name)
{
    struct request *r = p->r;
    const struct field *f = fields_find(&r->response.fields, name);
    struct uri *u = &p->targets[p->target_count];
    struct str text;
    const char *fragment;

    if (f == NULL)
        return;
    text = f->value;
    if (text.n > 0 && (fragment = memchr(text.p, '#', text.n)) != NULL)
        text.n = (size_t)(fragment - text.p);
    text = resolved(r, text);
    if (text.n == 0 || uri_parse(u, text, r->arena) != 0)
        return;
    if (u->form == URI_ORIGIN || (u->form == URI_ABSOLUTE && is_same_origin(r, u)))
        p->target_count++;
}

/* RFC 9110 9.2.1; of a method that isn't known nothing is known. */
static bool
is_unsafe(const struct request *r)
{
    return r->method != METHOD_GET && r->method != METHOD_HEAD && r->method != METHOD_OPTIONS &&
           r->method != METHOD_TRACE;
}

int
cache_purge_changed(struct request *r)
{
    struct purge *p = request_noted(r, &note);

    if (p == NULL) {
        if (!is_unsafe(r) || r->upstream_status < 200 || r->upstream_status > 399)
            return HOOK_NEXT;
        p = begin(r);
        p->targets[p->target_count++] = r->uri;
        add_reference(p, STR("location"));
        add_reference(p, STR("content-location"));
    }
    return go_on(p);
}

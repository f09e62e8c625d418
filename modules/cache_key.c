/*
 * What a response is kept under: the text that `key` makes of the request, and the scheme, the port, the route and the
 * upstream with it, always. It alone knows the parts of a key.
 *
 * A rule of No-Vary-Search is kept as an object of its own, under the URL without its query. Whether there is one at
 * all is seen by a tag, so that who has none pays one look at a number.
 */
#include "modules/cache.h"

#include <ctype.h>

#include "modules/no_vary_search.h"
#include "modules/sha.h"
#include "worker/base/clock.h"
#include "worker/match.h"
#include "worker/state.h"
#include "worker/template.h"
#include "worker/trace.h"
#include "worker/variable.h"

static struct str
port_text(struct request *r)
{
    if (r->host.port < 0)
        return r->https ? STR("443") : STR("80");
    return variable_decimal(r, (uint64_t)r->host.port);
}

/* A rule is part of it: what is alike by one isn't by another. */
static struct cache_key
make(struct request *r, struct str text, struct str rule)
{
    struct str parts[] = {
        cache_key_path(r), r->https ? STR("https") : STR("http"), port_text(r), r->site->name, r->route->name,
        r->route->proxy->name, text, rule,
    };

    return sha_key(parts, sizeof(parts) / sizeof(parts[0]));
}

/* A value, and a byte behind it that none has: what stands in one is never taken for a part of the next. */
static size_t
ended(char *to, struct str value)
{
    if (to != NULL)
        *(char *)mempcpy(to, value.n > 0 ? value.p : "", value.n) = '\0';
    return value.n + 1;
}

static struct str
key_text(struct request *r, const struct cache_policy *conf)
{
    return template_expand_escaped(conf->key, r, ended);
}

struct str
cache_key_path(const struct request *r)
{
    const struct uri *u = &r->uri;

    return !u->dots && memmem(u->path.p, u->path.n, "//", 2) != NULL ? u->path : STR_NONE;
}

struct cache_key
cache_key_of(struct request *r, const struct cache_policy *conf)
{
    if (r->trace != NULL)
        trace(r, conf->line, "cache: the key is `%.*s`, and port %.*s, this route and its upstream",
              STR_ARG(template_expand(conf->key, r)), STR_ARG(port_text(r)));
    return make(r, key_text(r, conf), STR_NONE);
}

struct cache_key
cache_key_by_rule(struct request *r, const struct cache_policy *conf, struct str rule)
{
    struct str query = r->uri.query;
    struct cache_key key;

    if (rule.n > 0)
        r->uri.query = no_vary_search_query(rule, query, r->arena);
    key = make(r, key_text(r, conf), rule);
    r->uri.query = query;
    return key;
}

static bool
is_name_byte(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

bool
cache_key_has(const struct cache_policy *conf, struct str name)
{
    struct str source = template_source(conf->key);
    const char *at, *end = source.p + source.n;

    for (const char *p = source.p; (at = memmem(p, (size_t)(end - p), name.p, name.n)) != NULL; p = at + 1) {
        const char *behind = at + name.n;
        bool braced = at - source.p >= 2 && at[-1] == '{' && at[-2] == '$';

        if (braced ? behind < end && *behind == '}'
                   : at > source.p && at[-1] == '$' && (behind == end || !is_name_byte(*behind)))
            return true;
    }
    return false;
}

/* --- rules --- */

/* Beside the response to the URL without its query, whose key a request without one has anyway. */
static struct cache_key
rule_key(struct request *r, const struct cache_policy *conf, const struct cache_key *plain)
{
    struct str query = r->uri.query;
    struct cache_key key;

    if (query.n == 0 && plain != NULL) {
        key = *plain;
    } else {
        r->uri.query = STR_NONE;
        key = cache_key_by_rule(r, conf, STR_NONE);
        r->uri.query = query;
    }
    key.word[1] = ~key.word[1];
    return key;
}

int
cache_key_rule(struct request *r, const struct cache_policy *conf, const struct cache_key *plain, struct str *rule)
{
    struct cache_lookup l = {.n = 1};
    struct cache_hold hold;
    struct cache_view v;
    int result;

    *rule = STR_NONE;
    l.key = rule_key(r, conf, plain);
    if (cache_tag_purged(worker.cache, cache_tag(worker.cache, &l.key), true) == 0)
        return CACHE_NONE;
    if ((result = cache_find(worker.cache, &l, &hold)) != CACHE_OK)
        return result;
    cache_look(worker.cache, hold, &v);
    result = cache_verify(worker.cache, hold);
    *rule = result == CACHE_OK ? arena_copy(r->arena, (struct str){v.head, v.head_n}) : STR_NONE;
    cache_leave(worker.cache, hold);
    if (result == CACHE_BUSY)
        return CACHE_BUSY;
    return rule->n > 0 ? CACHE_OK : CACHE_NONE;
}

bool
cache_key_keep_rule(struct request *r, const struct cache_policy *conf, struct str rule)
{
    struct cache_key key = rule_key(r, conf, NULL);
    struct iovec iov = {(void *)(uintptr_t)rule.p, rule.n};
    struct cache_hold hold;
    bool kept;

    if (rule.n == 0)
        return cache_purge(worker.cache, &key, false) == CACHE_OK;
    if (cache_enter(worker.cache, &key, 0, (struct cache_hold){0}, true, (uint64_t)clock_ms(), &hold) != CACHE_BEGUN)
        return false;
    kept = cache_open(worker.cache, &hold, 0, &iov, 1, 0) == CACHE_OK && cache_finish(worker.cache, hold) == CACHE_OK;
    if (kept)
        cache_tag_purge(worker.cache, cache_tag(worker.cache, &key), true);
    else
        cache_break(worker.cache, hold);
    cache_leave(worker.cache, hold);
    return kept;
}

/* --- every key of a URL --- */

struct keys {
    struct cache_key *v;
    size_t n, cap;
};

static void
add(struct keys *keys, struct request *r, struct cache_key key)
{
    if (keys->n == keys->cap) {
        struct cache_key *more = arena_alloc(r->arena, (keys->cap = 2 * keys->cap + 8) * sizeof(*more));

        if (keys->n > 0)
            memcpy(more, keys->v, keys->n * sizeof(*more));
        keys->v = more;
    }
    keys->v[keys->n++] = key;
}

static const struct cache_policy *
policy_of(const struct route *route)
{
    const struct hooks *hooks = &route->scope.hooks[PHASE_LOOKUP];

    for (size_t i = 0; i < hooks->n && route->proxy != NULL; i++)
        if (hooks->v[i].module == &cache_module)
            return hooks->v[i].conf;
    return NULL;
}

/* As the request would stand there, with the captures of that route's regex. */
static int
add_of_route(struct keys *keys, struct request *r, const struct cache_policy *conf)
{
    struct captures captures = {.regex = r->route->match.regex}, *before = r->captures;
    struct str rule;
    int result;

    if (captures.regex != NULL &&
        regex_match_within(&r->regex, captures.regex, r->uri.canonical, &captures) == REGEX_NO)
        return CACHE_OK;
    r->captures = &captures;
    add(keys, r, cache_key_by_rule(r, conf, STR_NONE));
    if ((result = cache_key_rule(r, conf, &keys->v[keys->n - 1], &rule)) == CACHE_OK)
        add(keys, r, cache_key_by_rule(r, conf, rule));
    r->captures = before;
    return result == CACHE_BUSY ? CACHE_BUSY : CACHE_OK;
}

static int
add_all(struct keys *keys, struct request *r)
{
    const struct route *route = r->route;
    bool https = r->https;
    int result = CACHE_OK;

    for (size_t i = 0; i < 2 * r->site->route_count && result == CACHE_OK; i++) {
        const struct route *other = &r->site->routes[i / 2];
        const struct cache_policy *conf = policy_of(other);

        if (conf == NULL || !match_path(&other->match, r->uri.canonical))
            continue;
        r->route = other;
        r->https = i % 2 == 1;
        result = add_of_route(keys, r, conf);
    }
    r->route = route;
    r->https = https;
    return result;
}

/* In memory of its own: where the store is busy it is done again, and again. */
int
cache_key_all(struct request *r, struct cache_key **all, size_t *n)
{
    struct arena *arena = r->arena;
    struct keys keys = {0};
    int result;

    r->arena = arena_new();
    result = add_all(&keys, r);
    if (result == CACHE_OK) {
        *n = keys.n;
        *all = arena_alloc(arena, keys.n * sizeof(**all) + 1);
        if (keys.n > 0)
            memcpy(*all, keys.v, keys.n * sizeof(**all));
    }
    arena_free(r->arena);
    r->arena = arena;
    return result;
}

uint32_t
cache_key_tag(struct request *r, struct str tag)
{
    struct str parts[] = {STR("tag"), r->site->name, tag};
    struct cache_key key = sha_key(parts, sizeof(parts) / sizeof(parts[0]));

    return cache_tag(worker.cache, &key);
}

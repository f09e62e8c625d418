/*
 * Knows how settings are told in words. Settings of an upstream have no lines of their own: they are told
 * of the upstream's.
 */
#include "master/explain_show.h"

#include "master/keys.h"
#include "master/values.h"
#include "worker/base/hash.h"
#include "worker/template.h"
#include "worker/trace.h"
#include "worker/upstream/balance.h"

#define SHOWN_MOST 60           /* of a content */
#define IOVECS 64

int
show_place(const struct request *r)
{
    if (r->route != NULL)
        return r->route->line;
    return r->site != NULL ? r->site->line : r->listener->line;
}

static const char *
time_text(struct request *r, int64_t ms)
{
    return arena_cstr(r->arena, values_duration_text(ms, r->arena));
}

/* --- the upstream --- */

static void
show_server(struct request *r, const struct server *s)
{
    struct str text = s->text;

    if (s->weight != 1)
        text = arena_printf(r->arena, "%.*s, weight %lld", STR_ARG(text), (long long)s->weight);
    if (s->max_connections != 0)
        text = arena_printf(r->arena, "%.*s, at most %lld requests at once", STR_ARG(text),
                            (long long)s->max_connections);
    if (s->slow_start != 0)
        text = arena_printf(r->arena, "%.*s, slow start over %s", STR_ARG(text), time_text(r, s->slow_start));
    if (s->name.n > 0)
        text = arena_printf(r->arena, "%.*s, a name, resolved while weir runs", STR_ARG(text));
    trace(r, s->line, "  server %.*s%s", STR_ARG(text), s->backup ? ", a backup" : "");
}

static void
show_health(struct request *r, const struct upstream *u)
{
    const struct checks *h = &u->health;
    const struct ejection *e = &u->eject;

    if (h->interval == 0)
        trace(r, u->line, "  health: no active checks");
    else
        trace(r, u->line, "  health: %s every %s, up after %lld good, down after %lld bad",
              h->http.n > 0 ? arena_cstr(r->arena, h->http) : "a connection", time_text(r, h->interval),
              (long long)h->rise, (long long)h->fall);
    if (e->failures == 0)
        trace(r, u->line, "  eject: never");
    else
        trace(r, u->line, "  eject: after %lld failures in a row within %s, for %s, at most %lld%% of the servers",
              (long long)e->failures, time_text(r, e->window), time_text(r, e->time),
              (long long)e->max_ejected);
}

/* Which failures of a server this very request would survive. */
static void
show_retry(struct request *r, const struct upstream *u)
{
    unsigned on = u->retry.on;
    struct str text = STR_NONE;

    if (!method_idempotent(r->method))
        on &= RETRY_CONNECT;
    for (size_t i = 0; keys_retry_on[i] != NULL; i++)
        if (on >> i & 1)
            text = arena_printf(r->arena, "%.*s%s%s", STR_ARG(text), text.n > 0 ? ", " : "",
                                keys_retry_on[i]);
    if (u->retry.attempts == 0 || on == 0)
        trace(r, u->line, "  retry: none");
    else
        trace(r, u->line, "  retry: %lld more on %.*s, within a budget of %lld%%%s", (long long)u->retry.attempts,
              STR_ARG(text), (long long)u->retry.budget,
              on != u->retry.on ? "; for the rest this method is not safe to repeat" : "");
}

/* The servers that are asked first, as hash.c wants them; none where one is a name, whose addresses nobody knows. */
static struct candidates
hash_candidates(struct request *r, const struct upstream *u, struct group *g)
{
    struct candidates c = {.group = g, .v = arena_alloc(r->arena, (u->server_count + 1) * sizeof(*c.v))};
    size_t backups = 0;

    for (size_t i = 0; i < u->server_count; i++)
        backups += u->servers[i].backup;
    for (size_t i = 0; i < u->server_count; i++) {
        const struct server *s = &u->servers[i];
        struct str text = addr_text(&s->address, r->arena);

        if (s->backup && backups < u->server_count)
            continue;
        if (s->name.n > 0)
            return (struct candidates){0};
        g->same_weight = g->same_weight && s->weight == u->servers[0].weight;
        c.v[c.n] = arena_zalloc(r->arena, sizeof(**c.v));
        *c.v[c.n++] = (struct endpoint){.server = s, .group = g, .hash = hash_bytes(text.p, text.n, 0)};
    }
    return c;
}

/* Where the key decides it. */
static void
show_choice(struct request *r, const struct upstream *u, struct str key)
{
    struct group group = {.conf = u, .same_weight = true};
    bool hash = u->balance == BALANCE_HASH;
    struct candidates c;
    size_t at;

    if (!hash && u->balance != BALANCE_IP_HASH)
        return;
    if (hash ? key.n == 0 : ip_network(&r->client) == 0) {
        trace(r, u->line, "  there is no key: the servers take turns");
        return;
    }
    c = hash_candidates(r, u, &group);
    if (c.n == 0)
        return;
    at = hash ? balance_hash(&c, r) : balance_ip_hash(&c, r);
    trace(r, u->line, "  this key goes to %.*s, while all are up", STR_ARG(c.v[at]->server->text));
}

void
show_upstream(struct request *r)
{
    const struct upstream *u = r->upstream;
    struct str key = u->hash_key != NULL ? template_expand(u->hash_key, r) : STR_NONE;

    trace(r, u->line, "upstream %.*s: %s over %zu server%s", STR_ARG(u->name), keys_balance[u->balance],
          u->server_count, u->server_count == 1 ? "" : "s");
    if (u->tls.on)
        trace(r, u->line, "  tls: %s", u->tls.verify ? "servers are verified" : "servers are not verified");
    if (u->protocol != UPSTREAM_HTTP1)
        trace(r, u->line, "  protocol: HTTP/2, which has what is shown below in frames");
    if (u->hash_key != NULL)
        trace(r, u->line, "  hash_key: `%.*s`", STR_ARG(key));
    for (size_t i = 0; i < u->server_count; i++)
        show_server(r, &u->servers[i]);
    show_choice(r, u, key);
    show_health(r, u);
    show_retry(r, u);
    trace(r, u->line, "  queue: %lld requests for %s, where all servers are at max_connections",
          (long long)u->queue.size, time_text(r, u->queue.timeout));
}

/* --- bytes --- */

static struct str
gathered(struct request *r, const struct flow *f, size_t most)
{
    struct iovec iov[IOVECS];
    int count = flow_iov(f, iov, IOVECS, most);
    char *text = arena_alloc(r->arena, (f->bytes < most ? f->bytes : most) + 1), *at = text;

    for (int i = 0; i < count; i++)
        at = mempcpy(at, iov[i].iov_base, iov[i].iov_len);
    return (struct str){text, (size_t)(at - text)};
}

void
show_head(struct request *r, int line, const char *mark, const struct h1_writer *w)
{
    struct str rest = gathered(r, &w->wire, w->wire.bytes);

    while (rest.n > 2) {
        const char *end = memmem(rest.p, rest.n, "\r\n", 2);
        size_t n = (size_t)(end - rest.p);

        trace(r, line, "  %s %.*s", mark, (int)n, rest.p);
        rest = (struct str){end + 2, rest.n - n - 2};
    }
}

void
show_content(struct request *r)
{
    const struct flow *body = &r->response.body;
    struct str text;

    if (body->bytes == 0)
        return;
    text = gathered(r, body, SHOWN_MOST);
    trace(r, show_place(r), "  content, %zu bytes: %.*s%s", body->bytes, STR_ARG(text),
          body->bytes > text.n ? "..." : "");
}

/* --- policies --- */

static struct str
value_text(struct request *r, const struct key *k, const void *at)
{
    switch (k->type) {
    case KEY_SIZE:
        return values_size_text((int64_t)*(const size_t *)at, r->arena);
    case KEY_DURATION:
        return values_duration_text(*(const int64_t *)at, r->arena);
    case KEY_CHOICE:
        return str_of(k->words[*(const int *)at]);
    default:
        return arena_printf(r->arena, "%lld", (long long)*(const int64_t *)at);
    }
}

/* Of one table of struct policy; what the file says nothing of is added to `defaults`. */
static void
show_table(struct request *r, const char *prefix, const struct key *keys, size_t offset, struct str *defaults)
{
    for (const struct key *k = keys; k->name != NULL; k++) {
        size_t at = offset + k->offset;
        int line = r->scope->policy_lines[POLICY_LINE_AT(at)];
        struct str text, value;

        if (k->type == KEY_SECTION) {
            show_table(r, arena_cstr(r->arena, arena_printf(r->arena, "%s.", k->name)), k->keys, at, defaults);
            continue;
        }
        value = value_text(r, k, (const char *)&r->scope->policy + at);
        text = arena_printf(r->arena, "%s%s %.*s", prefix, k->name, STR_ARG(value));
        if (line != 0)
            trace(r, line, "%.*s", STR_ARG(text));
        else
            *defaults = arena_printf(r->arena, "%.*s%s%.*s", STR_ARG(*defaults), defaults->n > 0 ? ", " : "",
                                     STR_ARG(text));
    }
}

void
show_policies(struct request *r)
{
    struct str defaults = STR_NONE;

    show_table(r, "", keys_policy, 0, &defaults);
    if (defaults.n > 0)
        trace(r, show_place(r), "by default: %.*s", STR_ARG(defaults));
}

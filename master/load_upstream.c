/*
 * How an upstream treats its servers: checks, retries, balancing. Knows what may be written there that
 * is neither a number nor a name, and what has to hold between the keys of one upstream.
 */
#include "master/loader.h"
#include "worker/host.h"
#include "worker/template.h"
#include "worker/uri.h"

#define DNS_PORT 53

int
load_check_target(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct str shown = load_show(l, n->text);
    struct uri uri;

    if (n->kind != NODE_SCALAR) {
        load_wrong(l, k, n);
        return -1;
    }
    if (n->text.n == 0 || n->text.p[0] != '/' || uri_parse(&uri, n->text, l->scratch) != 0) {
        load_error(l, n, "`%s` wants a path that begins with /, not `%.*s`", k->name, STR_ARG(shown));
        return -1;
    }
    *(struct str *)at = arena_copy(l->arena, n->text);
    return 0;
}

int
load_check_host(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct host host;

    if (n->kind != NODE_SCALAR || n->text.n == 0 || host_parse(&host, n->text, l->scratch) != 0) {
        load_wrong(l, k, n);
        return -1;
    }
    *(struct str *)at = arena_copy(l->arena, n->text);
    return 0;
}

/* 200 or 200-399. */
static bool
read_range(struct str text, int *from, int *to)
{
    const char *dash = text.n > 0 ? memchr(text.p, '-', text.n) : NULL;
    struct str first = text, last = text;

    if (dash != NULL) {
        first.n = (size_t)(dash - text.p);
        last = (struct str){dash + 1, text.n - first.n - 1};
    }
    if (first.n != 3 || last.n != 3)
        return false;
    *from = (int)str_decimal(first);
    *to = (int)str_decimal(last);
    return *from >= 100 && *to <= 599 && *from <= *to;
}

int
load_expect(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct status_ranges ranges = {0};
    struct str_list list;

    if (!load_strings(l, k, n, &list))
        return -1;
    if (list.n == 0)
        load_error(l, n, "`%s` is an empty list", k->name);
    ranges.v = arena_zalloc(l->arena, (list.n + 1) * sizeof(*ranges.v));
    for (size_t i = 0; i < list.n; i++) {
        if (list.v[i].n == 0)
            continue;
        if (read_range(list.v[i], &ranges.v[ranges.n].from, &ranges.v[ranges.n].to))
            ranges.n++;
        else
            load_wrong(l, k, yaml_item(n, i));
    }
    memcpy(at, &ranges, sizeof(ranges));
    return 0;
}

int
load_retry_on(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct str_list list;
    unsigned on = 0;

    if (!load_strings(l, k, n, &list))
        return -1;
    for (size_t i = 0; i < list.n; i++) {
        size_t j = 0;

        while (keys_retry_on[j] != NULL && !str_eq(str_of(keys_retry_on[j]), list.v[i]))
            j++;
        if (keys_retry_on[j] != NULL)
            on |= 1u << j;
        else if (list.v[i].n > 0)
            load_wrong(l, k, yaml_item(n, i));
    }
    *(unsigned *)at = on;
    return 0;
}

/* A number with at most three decimals, in thousandths; -1 for anything else. */
static int64_t
read_thousandths(struct str text)
{
    const char *point = text.n > 0 ? memchr(text.p, '.', text.n) : NULL;
    struct str whole = text, rest = STR_NONE;
    int64_t value, part = 0;

    if (point != NULL) {
        whole.n = (size_t)(point - text.p);
        rest = (struct str){point + 1, text.n - whole.n - 1};
        if (rest.n == 0 || rest.n > 3 || (part = str_decimal(rest)) < 0)
            return -1;
        for (size_t i = rest.n; i < 3; i++)
            part *= 10;
    }
    value = whole.n <= 6 ? str_decimal(whole) : -1;
    return value < 0 ? -1 : value * 1000 + part;
}

int
load_hash_balance(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    int64_t value = 0;

    if (n->kind == NODE_SCALAR && !str_eq(n->text, STR("off")))
        value = read_thousandths(n->text);
    if (n->kind != NODE_SCALAR || (value != 0 && (value < 1000 || value > 100000))) {
        load_wrong(l, k, n);
        return -1;
    }
    *(int64_t *)at = value;
    return 0;
}

int
load_resolver(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct str_list list;

    if (!load_strings(l, k, n, &list))
        return -1;
    for (size_t i = 0; i < list.n; i++) {
        struct addr a = {.port = DNS_PORT};
        const char *why;

        if (!ip_parse(&a.ip, list.v[i]) && (addr_parse(&a, list.v[i], &why) != 0 || a.ip.family == AF_UNIX)) {
            load_wrong(l, k, yaml_item(n, i));
            continue;
        }
        list.v[i] = addr_text(&a, l->arena);
    }
    *(struct str_list *)at = list;
    return 0;
}

/* Balance and what belongs to one kind of it; what was read wrong has been told, and is no ground for more. */
static void
check_balance(struct loader *l, const struct upstream *u, const struct node *n)
{
    bool hashes = u->balance == BALANCE_HASH || u->balance == BALANCE_IP_HASH;
    const struct node *balance = yaml_get(n, "balance"), *key = yaml_get(n, "hash_key");

    if (balance != NULL && u->balance == BALANCE_ROUND_ROBIN && !str_eq(balance->text, STR("round_robin")))
        return;
    if (u->balance == BALANCE_HASH && key == NULL)
        load_error(l, n, "`balance: hash` needs `hash_key`");
    if (u->balance != BALANCE_HASH && key != NULL)
        load_error(l, key, "`hash_key` is for `balance: hash` alone");
    if (!hashes && u->hash_balance != 0)
        load_error(l, yaml_get(n, "hash_balance"), "`hash_balance` is for `balance: ip_hash` and `hash` alone");
}

static void
check_health(struct loader *l, const struct upstream *u, const struct node *n)
{
    const struct checks *c = &u->health;
    const struct node *health = yaml_get(n, "health"), *tcp;

    if (health == NULL || health->kind != NODE_MAP)
        return;
    tcp = yaml_get(health, "tcp");
    if (yaml_get(health, "http") != NULL && c->tcp)
        load_error(l, health, "`health` has but one of `http` and `tcp: true`");
    else if (yaml_get(health, "http") == NULL && (tcp == NULL || str_eq(tcp->text, STR("false"))))
        load_error(l, health, "`health` needs one of `http` and `tcp: true`");
    if (c->tcp && c->host.n > 0)
        load_error(l, yaml_get(health, "host"), "`host` is for `http` alone");
}

void
load_check_upstream(struct loader *l, struct upstream *u, const struct node *n)
{
    size_t backups = 0;

    for (size_t i = 0; i < u->server_count; i++)
        backups += u->servers[i].backup;
    if (u->server_count > 0 && backups == u->server_count)
        load_warning(l, n, "all servers are `backup`: they are asked as if none were");
    check_balance(l, u, n);
    check_health(l, u, n);
    load_check_upstream_tls(l, u, n);
}

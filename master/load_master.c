/* The master's own keys that are more than a value: who the workers are, and how many. */
#include "master/loader.h"
#include "master/values.h"

int
load_user(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    const char *colon;
    struct str user, group = STR("");

    (void)at;
    if (n->kind != NODE_SCALAR) {
        load_wrong(l, k, n);
        return -1;
    }
    user = n->text;
    colon = memchr(user.p, ':', user.n);
    if (colon != NULL) {
        group = (struct str){colon + 1, user.n - (size_t)(colon + 1 - user.p)};
        user.n = (size_t)(colon - user.p);
    }
    if (user.n == 0 || (colon != NULL && group.n == 0) || memchr(group.p, ':', group.n) != NULL) {
        load_wrong(l, k, n);
        return -1;
    }
    l->conf->user = arena_copy(l->arena, user);
    l->conf->group = arena_copy(l->arena, group);
    return 0;
}

int
load_workers(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    int64_t *workers = at;

    if (n->kind == NODE_SCALAR && str_eq(n->text, STR("auto"))) {
        *workers = 0;
        return 0;
    }
    if (n->kind != NODE_SCALAR || !values_int(n->text, workers) || *workers < k->min || *workers > k->max) {
        load_wrong(l, k, n);
        return -1;
    }
    return 0;
}

/* The master's own keys that are more than a value: who the workers are, and how many. */
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include "master/loader.h"
#include "master/values.h"

/* Who isn't root has no use for the name, and the workers are who it is. */
static void
check_user(struct loader *l, const struct node *n, struct str user, struct str group)
{
    struct str text = load_show(l, user), more = load_show(l, group);

    if (!l->users || geteuid() != 0)
        return;
    if (getpwnam(arena_cstr(l->scratch, user)) == NULL)
        load_error(l, n, "`user`: there is no user `%.*s`", STR_ARG(text));
    if (group.n > 0 && getgrnam(arena_cstr(l->scratch, group)) == NULL)
        load_error(l, n, "`user`: there is no group `%.*s`", STR_ARG(more));
}

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
    check_user(l, n, user, group);
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

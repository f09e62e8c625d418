/*
 * deny: 403 for the clients that it names, whatever allow says.
 */
#include "worker/count.h"
#include "worker/module.h"
#include "worker/request.h"
#include "worker/trace.h"

struct deny {
    struct cidr_list networks;  /* its `outer`: those of the levels around */
};

/* The first network of a list and those around it. */
static const struct cidr *
any_of(const struct cidr_list *l)
{
    for (; l != NULL; l = l->outer)
        if (l->n > 0)
            return &l->v[0];
    return NULL;
}

/* Nobody knows who it is, so it may be one of those. */
static int
judge_unknown(struct request *r, const struct deny *conf)
{
    const struct cidr *some = any_of(&conf->networks);

    if (some == NULL)
        return HOOK_NEXT;
    trace(r, some->line, "denied: the client is unknown, and may be one of those");
    count_denied(r);
    return 403;
}

static int
deny(struct request *r, const void *data)
{
    const struct deny *conf = data;
    struct cidr found;
    char text[50];

    if (r->client.family == IP_UNKNOWN)
        return judge_unknown(r, conf);
    if (!cidr_list_find(&conf->networks, &r->client, &found))
        return HOOK_NEXT;
    trace(r, found.line, "denied by %.*s", (int)cidr_format(&found, text), text);
    count_denied(r);
    return 403;
}

const struct module deny_module = {
    .key = {.name = "deny", .type = KEY_NETWORKS, .offset = offsetof(struct deny, networks), .def = "",
            .help = "clients that get a 403, allowed ones too; the lists of all levels together", .levels = KEY_POLICY,
            .adds = true},
    .conf_size = sizeof(struct deny),
    .hook = {[PHASE_GUARD] = deny},
};

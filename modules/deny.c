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

static int
deny(struct request *r, const void *data)
{
    const struct deny *conf = data;
    struct cidr found;
    char text[50];

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

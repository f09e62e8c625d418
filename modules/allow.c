/*
 * allow: 403 for all clients that it doesn't name.
 */
#include "worker/count.h"
#include "worker/module.h"
#include "worker/request.h"
#include "worker/trace.h"

struct allow {
    struct cidr_list networks;
    int line;
};

/* Who writes an empty list means anything but a site that nobody can reach. */
static void
make_ready(struct ready *ready, void *data)
{
    struct allow *conf = data;

    conf->line = ready->line;
    if (conf->networks.n == 0 && !conf->networks.unix_peers)
        ready->error(ready, "an empty list lets nobody in; `off` lets everyone in");
}

static int
allow(struct request *r, const void *data)
{
    const struct allow *conf = data;
    struct cidr found;
    char text[50];

    if (cidr_list_find(&conf->networks, &r->client, &found)) {
        trace(r, found.line, "allowed by %.*s", (int)cidr_format(&found, text), text);
        return HOOK_NEXT;
    }
    trace(r, conf->line, "denied: %.*s is not in allow", (int)ip_format(&r->client, text), text);
    count_denied(r);
    return 403;
}

const struct module allow_module = {
    .key = {.name = "allow", .type = KEY_NETWORKS, .offset = offsetof(struct allow, networks), .def = "",
            .help = "the only clients that are let in; anyone else gets a 403", .levels = KEY_POLICY},
    .conf_size = sizeof(struct allow),
    .ready = make_ready,
    .hook = {[PHASE_GUARD] = allow},
};

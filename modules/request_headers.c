/*
 * request_headers: changes to the fields of what goes to the upstream.
 */
#include "modules/edits.h"
#include "worker/module.h"

static const char *
refuse(const void *edit, size_t *offset)
{
    *offset = 0;
    return edits_refuse_request(edit);
}

static int
edit(struct request *r, const void *conf)
{
    edits_drop_disguises(conf, r, "request_headers");
    return edits_apply(conf, r, &r->forward, "request_headers");
}

const struct module request_headers_module = {
    .key = {.name = "request_headers", .type = KEY_EDITS, .def = "", .levels = KEY_POLICY, .refuse = refuse,
            .early = true,
            .help = "fields of the request to the upstream by name"},
    .conf_size = sizeof(struct edits),
    .hook = {[PHASE_FORWARD] = edit},
};

/*
 * response_headers: changes to the fields of what goes to the client, be it an origin's or weir's own.
 */
#include "modules/edits.h"
#include "worker/block.h"
#include "worker/module.h"

static const char *
refuse(const void *edit, size_t *offset)
{
    *offset = 0;
    return edits_refuse_response(edit);
}

static int
edit(struct request *r, const void *conf)
{
    block_unfold(r);
    return edits_apply(conf, r, &r->response.fields, "response_headers");
}

static int
edit_interim(struct request *r, const void *conf)
{
    edits_apply_interim(conf, r, &r->response.fields, "response_headers");
    return HOOK_NEXT;
}

const struct module response_headers_module = {
    .key = {.name = "response_headers", .type = KEY_EDITS, .def = "", .levels = KEY_POLICY, .refuse = refuse,
            .help = "fields of the response to the client by name"},
    .conf_size = sizeof(struct edits),
    .hook = {[PHASE_INTERIM] = edit_interim, [PHASE_EDIT] = edit},
};

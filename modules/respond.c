/*
 * respond: an answer that stands in the configuration.
 */
#include "modules/edits.h"
#include "worker/answer.h"
#include "worker/module.h"
#include "worker/request.h"
#include "worker/template.h"
#include "worker/trace.h"

struct respond {
    int64_t status;
    struct template *body;      /* NULL: none */
    struct template_map headers;
    int line;
};

static void
check_header(struct ready *ready, const struct respond *conf, size_t i)
{
    struct str name = conf->headers.v[i].name;

    if (!field_is_token(name))
        ready->error(ready, "`%.*s` is no header name", STR_ARG(name));
    else if (edits_is_ours_in_response(name))
        ready->error(ready, "weir sets `%.*s` itself", STR_ARG(name));
    else if (!field_is_value(template_source(conf->headers.v[i].value)))
        ready->error(ready, "the value of `%.*s` holds a control character", STR_ARG(name));
    for (size_t j = 0; j < i; j++)
        if (str_ieq(name, conf->headers.v[j].name))
            ready->error(ready, "`%.*s` stands there twice", STR_ARG(name));
}

static void
make_ready(struct ready *ready, void *conf)
{
    struct respond *respond = conf;
    int status = (int)respond->status;
    bool empty = respond->body == NULL || template_source(respond->body).n == 0;

    respond->line = ready->line;
    /* RFC 9110 15.3.5, 15.3.6, 15.4.5 */
    if (!empty && (status == 204 || status == 205 || status == 304))
        ready->error(ready, "a %d has no body", status);
    for (size_t i = 0; i < respond->headers.n; i++)
        check_header(ready, respond, i);
}

/* False: a value that no field may have. */
static bool
expand_headers(const struct respond *conf, struct request *r, struct str *values, struct str *type)
{
    for (size_t i = 0; i < conf->headers.n; i++) {
        values[i] = str_trim(template_expand(conf->headers.v[i].value, r));
        if (!field_is_value(values[i]))
            return false;
        if (field_id(conf->headers.v[i].name) == FIELD_CONTENT_TYPE)
            *type = values[i];
    }
    return true;
}

static int
respond(struct request *r, const void *data)
{
    const struct respond *conf = data;
    struct str *values = arena_alloc(r->arena, (conf->headers.n + 1) * sizeof(*values));
    struct str body = conf->body != NULL ? template_expand(conf->body, r) : STR_NONE;
    struct str type = body.n > 0 ? STR("text/plain") : STR_NONE;

    if (!expand_headers(conf, r, values, &type)) {
        trace(r, conf->line, "500: a value that no header may have");
        return 500;
    }
    trace(r, conf->line, "respond: %d with %zu bytes", (int)conf->status, body.n);
    answer(r, (int)conf->status, type, body);
    for (size_t i = 0; i < conf->headers.n; i++)
        if (values[i].n > 0 && field_id(conf->headers.v[i].name) != FIELD_CONTENT_TYPE)
            fields_add(&r->response.fields, conf->headers.v[i].name, values[i]);
    return HOOK_ANSWER;
}

static const struct key keys[] = {
    {.name = "status", .type = KEY_INT, .offset = offsetof(struct respond, status), .def = "200", .min = 200,
     .max = 599, .help = "of the answer"},
    {.name = "body", .type = KEY_TEMPLATE, .offset = offsetof(struct respond, body), .def = "",
     .help = "its content, text/plain where headers say nothing else"},
    {.name = "headers", .type = KEY_TEMPLATES, .offset = offsetof(struct respond, headers), .def = "",
     .help = "fields of the answer by name"},
    {.name = NULL},
};

const struct module respond_module = {
    .key = {.name = "respond", .type = KEY_SECTION, .def = "", .help = "answer with what is written here",
            .levels = KEY_ROUTE, .keys = keys},
    .conf_size = sizeof(struct respond),
    .answers = true,
    .ready = make_ready,
    .hook = {[PHASE_LOOKUP] = respond},
};

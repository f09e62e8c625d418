/*
 * Answers of our own: the source whose content is there at once, and the error pages.
 */
#include "worker/answer.h"

#include "worker/source.h"

static void
nothing(struct request *r)
{
    (void)r;
}

static const struct source answer_source = {
    .name = "answer",
    .read = nothing,
    .stop = nothing,
};

void
answer(struct request *r, int status, struct str type, struct str content)
{
    struct message *m = &r->response;

    r->status = status;
    r->reason = status_reason(status);
    r->source = &answer_source;
    fields_init(&m->fields, r->arena);
    m->block = STR_NONE;
    fields_init(&m->trailers, r->arena);
    flow_clear(&m->body);
    m->body.passed = 0;         /* nobody got what was there before */
    m->body.weightless = false;
    m->length = status == 204 || status == 304 ? LENGTH_UNKNOWN : (int64_t)content.n;
    r->no_content = r->method == METHOD_HEAD || status == 204 || status == 304;
    if (type.n > 0)
        fields_add_id(&m->fields, FIELD_CONTENT_TYPE, type);
    if (!r->no_content)
        flow_put_static(&m->body, content);
    m->body.ended = true;
}

void
answer_allow(struct request *r)
{
    fields_add(&r->response.fields, STR("Allow"), STR("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE"));
}

void
answer_error(struct request *r, int status)
{
    struct str reason = status_reason(status);
    struct str page = arena_printf(r->arena,
                                   "<!DOCTYPE html>\n<title>%d %.*s</title>\n<h1>%d %.*s</h1>\n", status,
                                   STR_ARG(reason), status, STR_ARG(reason));

    answer(r, status, STR("text/html; charset=utf-8"), page);
    if (status == 405)          /* RFC 9110 15.5.6 */
        answer_allow(r);
}

/*
 * redirect: sends the client elsewhere.
 */
#include "worker/answer.h"
#include "worker/module.h"
#include "worker/request.h"
#include "worker/target.h"
#include "worker/trace.h"

struct redirect {
    struct template *to;
    int status;                 /* index into statuses */
    int line;
};

static const char *const statuses[] = {"301", "302", "303", "307", "308", NULL};
static const int codes[] = {301, 302, 303, 307, 308};

static void
make_ready(struct ready *ready, void *conf)
{
    struct redirect *redirect = conf;
    struct str to = template_source(redirect->to);

    redirect->line = ready->line;
    if (to.n == 0)
        ready->error(ready, "`to` is empty");
    else if (!field_is_value(to))
        ready->error(ready, "`to` holds a control character");
}

/* RFC 9110 15.4: a short note for who doesn't follow. */
static struct str
note(struct request *r, int status)
{
    struct str reason = status_reason(status);
    char *text = arena_alloc(r->arena, reason.n + 1);

    memcpy(text, reason.p, reason.n);
    text[reason.n] = '\n';
    return (struct str){text, reason.n + 1};
}

static int
redirect(struct request *r, const void *data)
{
    const struct redirect *conf = data;
    struct str to = str_trim(template_expand_escaped(conf->to, r, target_escape_uri));
    int status = codes[conf->status];

    if (to.n == 0 || !field_is_value(to)) {
        trace(r, conf->line, "500: `to` makes no Location: %.*s", STR_ARG(to));
        return 500;
    }
    trace(r, conf->line, "redirect: %d to %.*s", status, STR_ARG(to));
    answer(r, status, STR("text/plain"), note(r, status));
    fields_add_id(&r->response.fields, FIELD_LOCATION, to);
    return HOOK_ANSWER;
}

static const struct key keys[] = {
    {.name = "to", .type = KEY_TEMPLATE, .offset = offsetof(struct redirect, to),
     .help = "the URI reference for Location"},
    {.name = "status", .type = KEY_CHOICE, .offset = offsetof(struct redirect, status), .def = "302",
     .words = statuses, .help = "which of the redirections it is"},
    {.name = NULL},
};

const struct module redirect_module = {
    .key = {.name = "redirect", .type = KEY_SECTION, .def = "", .help = "send the client to another URI",
            .levels = KEY_ROUTE, .keys = keys},
    .conf_size = sizeof(struct redirect),
    .answers = true,
    .ready = make_ready,
    .hook = {[PHASE_LOOKUP] = redirect},
};

/*
 * redirect: sends the client elsewhere.
 */
#include <ctype.h>
#include <string.h>

#include "modules/target.h"
#include "worker/answer.h"
#include "worker/module.h"
#include "worker/request.h"
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

/* With its colon (RFC 3986 3.1); 0: `to` is relative. */
static size_t
scheme_length(struct str to)
{
    for (size_t i = 0; i < to.n; i++) {
        if (to.p[i] == ':')
            return i + 1;
        if (!isalnum((unsigned char)to.p[i]) && strchr("+-.", to.p[i]) == NULL)
            break;
    }
    return 0;
}

/*
 * Why this leads where the file did not mean to, or NULL. To a browser //host is another host, however the slashes
 * came together (GET //host and "$uri"), and behind https:// it looks for one past any number of them.
 */
static const char *
refuse(const struct redirect *conf, const struct request *r, struct str to)
{
    size_t n = scheme_length(to);
    struct str scheme = {to.p, n}, rest = {to.p + n, to.n - n};

    if (str_eq(r->uri.path, STR("*")))
        return "a request for * has no path to go to";
    if (!str_starts(rest, STR("//")) || (n > 0 && !str_ieq(scheme, STR("http:")) && !str_ieq(scheme, STR("https:"))))
        return NULL;
    if (n == 0 && !str_starts(template_source(conf->to), STR("//")))
        return "it begins with two slashes, as if with a host";
    return rest.n == 2 || strchr("/?#\\:", rest.p[2]) != NULL ? "it names no host" : NULL;
}

static int
redirect(struct request *r, const void *data)
{
    const struct redirect *conf = data;
    struct str to = str_trim(template_expand_escaped(conf->to, r, target_escape_uri));
    int status = codes[conf->status];
    const char *why;

    if (to.n == 0 || !field_is_value(to)) {
        trace(r, conf->line, "500: `to` makes no Location: %.*s", STR_ARG(to));
        return 500;
    }
    if ((why = refuse(conf, r, to)) != NULL) {
        trace(r, conf->line, "400: %s: %.*s", why, STR_ARG(to));
        return 400;
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

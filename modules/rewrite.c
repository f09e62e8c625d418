/*
 * rewrite: another path and query for the upstream. Each rule once, in order; a rule sees the path that the
 * ones before it made. Whatever else reads the path, as $path does, goes on reading the client's.
 */
#include "modules/target.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/count.h"
#include "worker/module.h"
#include "worker/regex_set.h"
#include "worker/request.h"
#include "worker/trace.h"

#define COMPLAIN_MS 1000
#define SHOWN 200               /* bytes of a path in the log */

struct rule {
    struct regex *regex;
    struct template *to;
    int line;
    struct target target;       /* `to`, made ready */
};

struct rewrite {
    struct key_array rules;
    struct regex_set *regexes;  /* of the rules, by number; NULL: few */
};

static const char *
refuse_to(const void *to, size_t *offset)
{
    return target_refuse(to, offset);
}

/* Compiled once more: an inner level may have put another regex under an outer one's `to`. */
static void
compile_rule(struct ready *ready, struct rule *rule)
{
    struct str why = STR("");
    size_t offset = 0;
    struct template *to = template_compile(template_source(rule->to), rule->regex, ready->arena, &why, &offset);

    if (to == NULL)
        ready->error(ready, "`to`: %.*s", STR_ARG(why));
    else
        target_compile(&rule->target, to, ready->arena);
}

/* What an outer level lacked was told there, and may be missing here too. */
static void
make_ready(struct ready *ready, void *data)
{
    struct rewrite *conf = data;
    struct rule *rules = conf->rules.v;
    const struct regex **regexes = arena_alloc(ready->arena, (conf->rules.n + 1) * sizeof(const struct regex *));

    for (size_t i = 0; i < conf->rules.n; i++) {
        regexes[i] = rules[i].regex;
        if (rules[i].regex != NULL && rules[i].to != NULL)
            compile_rule(ready, &rules[i]);
    }
    conf->regexes = regex_set_new(regexes, conf->rules.n, ready->arena);
}

/* Any client can bring this about, as often as it likes and with a path as long as it likes. */
static void
complain(const struct request *r, const struct rule *rule, struct str path, const char *why)
{
    static struct log_pace pace;
    unsigned long more;

    if (!log_due(&pace, clock_ms(), COMPLAIN_MS, &more))
        return;
    if (path.n > SHOWN)
        path.n = SHOWN;
    if (more == 0)
        log_error("%.*s:%d: `rewrite`: what a path becomes %s: %.*s", STR_ARG(r->conf->file), rule->line, why,
                  STR_ARG(path));
    else
        log_error("%.*s:%d: `rewrite`: what a path becomes %s, and %lu more failed since this was said last: %.*s",
                  STR_ARG(r->conf->file), rule->line, why, more, STR_ARG(path));
}

/* The request fails. */
static int
fail(struct request *r, const struct rule *rule, int status, struct str path, const char *why)
{
    trace(r, rule->line, "%d: rewrite: what %.*s becomes %s", status, STR_ARG(path), why);
    if (status == 500)
        complain(r, rule, path, why);
    return status;
}

static int
miss(struct request *r, const struct rule *rule, struct str path)
{
    trace(r, rule->line, "rewrite: %.*s does not match %.*s", STR_ARG(path), STR_ARG(regex_source(rule->regex)));
    return HOOK_NEXT;
}

static int
apply(struct request *r, const struct rule *rule, struct str *path, struct str *query)
{
    struct captures captures, *routes = r->captures;
    struct str from = *path;
    const char *why = "";
    int status;

    switch (regex_match_within(&r->regex, rule->regex, from, &captures)) {
    case REGEX_NO:
        return miss(r, rule, from);
    case REGEX_LIMIT:
        count_regex_limit(r->route);
        trace(r, rule->line, "500: rewrite: %.*s gave up on %.*s", STR_ARG(regex_source(rule->regex)), STR_ARG(from));
        return 500;
    case REGEX_YES:
        break;
    }
    r->captures = &captures;
    status = target_expand(&rule->target, r, path, query, &why);
    r->captures = routes;
    if (status != 0)
        return fail(r, rule, status, from, why);
    r->path = *path;
    r->query = *query;
    trace(r, rule->line, "rewrite: %.*s to %.*s%.*s", STR_ARG(from), STR_ARG(*path), STR_ARG(*query));
    return HOOK_NEXT;
}

static int
rewrite(struct request *r, const void *data)
{
    const struct rewrite *conf = data;
    const struct rule *rules = conf->rules.v;
    struct str path = r->uri.canonical, query = r->uri.query;
    struct regex_scan scan;

    r->path = r->query = STR_NONE;
    if (path.n == 0 || path.p[0] != '/')
        return HOOK_NEXT;       /* the asterisk form has no path */
    regex_scan_start(&scan, conf->regexes, path);
    for (size_t i = 0; i < conf->rules.n; i++) {
        struct str before = path;
        int result = regex_scan_may(&scan, i) ? apply(r, &rules[i], &path, &query) : miss(r, &rules[i], path);

        if (path.p != before.p || path.n != before.n)
            regex_scan_start(&scan, conf->regexes, path);
        if (result != HOOK_NEXT)
            return result;
    }
    return HOOK_NEXT;
}

static const struct key keys[] = {
    {.name = "regex", .type = KEY_REGEX, .offset = offsetof(struct rule, regex), .groups = true,
     .help = "PCRE2, on the canonical path, or what the rule before made of it"},
    {.name = "to", .type = KEY_TEMPLATE, .offset = offsetof(struct rule, to), .refuse = refuse_to,
     .early = true,
     .help = "the new path; behind a ? parameters to put before the client's, a ? at its end drops those"},
    {.name = NULL},
};

const struct module rewrite_module = {
    .key = {.name = "rewrite", .type = KEY_LIST, .offset = offsetof(struct rewrite, rules), .def = "",
            .help = "another path for the upstream: each rule once, in order", .levels = KEY_POLICY, .keys = keys,
            .size = sizeof(struct rule), .line = offsetof(struct rule, line) + 1},
    .conf_size = sizeof(struct rewrite),
    .ready = make_ready,
    .hook = {[PHASE_REWRITE] = rewrite},
};

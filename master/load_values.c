/*
 * One value of each type. Knows what may be written for which type, and that everything that is kept
 * is copied into the configuration's arena: nodes die when the file is loaded.
 */
#include <stdlib.h>

#include "master/load_hint.h"
#include "master/loader.h"
#include "master/values.h"
#include "worker/field.h"

/* What a 64-bit number of bytes or milliseconds may be at most where the table says nothing. */
#define NUMBER_MOST (INT64_C(1) << 50)
#define LOGS_MOST 256           /* descriptors are passed on with an index of one byte */

/* A string, number or name; anything else is wrong. */
static bool
want_text(struct loader *l, const struct key *k, const struct node *n)
{
    if (n->kind == NODE_SCALAR)
        return true;
    load_wrong(l, k, n);
    return false;
}

/* An upper bound of 0 is none. */
static bool
in_bounds(struct loader *l, const struct key *k, const struct node *n, int64_t value)
{
    int64_t most = k->max == 0 ? NUMBER_MOST : k->max;
    struct str bound;

    if (value >= k->min && value <= most)
        return true;
    if (value > most && k->type == KEY_DURATION) {
        bound = values_duration_text(most, l->scratch);
        load_error(l, n, "`%s` wants at most %.*s, not `%.*s`", k->name, STR_ARG(bound), STR_ARG(n->text));
    } else {
        load_wrong(l, k, n);
    }
    return false;
}

static void
put_number(const struct key *k, int64_t value, void *at)
{
    if (k->type == KEY_SIZE)
        *(size_t *)at = (size_t)value;
    else
        *(int64_t *)at = value;
}

static void
read_number(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    int64_t value = 0;
    bool good = k->type == KEY_INT    ? values_int(n->text, &value)
                : k->type == KEY_SIZE ? values_size(n->text, &value)
                                      : values_duration(n->text, &value);
    const char *hint = k->type == KEY_DURATION ? "500ms, 5s, 10m, 1h, 7d or 0" : "512, 4k, 64m or 1g";
    struct str text = load_show(l, n->text);

    if (!good && k->type != KEY_INT)
        load_error(l, n, "`%s` wants %s as %s, not `%.*s`", k->name,
                   k->type == KEY_DURATION ? "a duration" : "a size", hint, STR_ARG(text));
    else if (!good)
        load_wrong(l, k, n);
    else if (in_bounds(l, k, n, value))
        put_number(k, value, at);
}

static void
read_bool(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    if (!values_bool(n->text, at))
        load_wrong(l, k, n);
}

static void
read_choice(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    for (int i = 0; k->words[i] != NULL; i++)
        if (n->text.n > 0 && str_eq(n->text, str_of(k->words[i]))) {
            *(int *)at = i;
            return;
        }
    load_wrong(l, k, n);
}

static void
read_percent(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    int64_t value;

    if (!values_percent(n->text, &value) || !in_bounds(l, k, n, value))
        load_wrong(l, k, n);
    else
        *(int64_t *)at = value;
}

static void
read_rate(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct rate rate;

    if (!values_rate(n->text, &rate))
        load_wrong(l, k, n);
    else
        *(struct rate *)at = rate;
}

static void
read_string(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    if (n->text.n == 0)
        load_error(l, n, "`%s` is empty", k->name);
    else
        *(struct str *)at = arena_copy(l->arena, n->text);
}

/* The master changes its directory, so a relative path would mean another file later. */
static bool
want_absolute(struct loader *l, const struct key *k, const struct node *n)
{
    struct str text = load_show(l, n->text);

    if (n->text.n > 1 && n->text.p[0] == '/')
        return true;
    if (n->text.n > 0 && memchr(n->text.p, '/', n->text.n) != NULL)
        load_error(l, n, "`%s` wants an absolute path, not `%.*s`", k->name, STR_ARG(text));
    else
        load_wrong(l, k, n);
    return false;
}

static void
read_file(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    if (str_eq(n->text, STR("off")))
        *(struct str *)at = STR("");
    else if (want_absolute(l, k, n))
        *(struct str *)at = arena_copy(l->arena, n->text);
}

/* One target for all that log to the same place. */
static unsigned
log_index(struct loader *l, const struct node *n, struct log_target target)
{
    struct conf *conf = l->conf;
    size_t i;

    for (i = 0; i < conf->log_count; i++)
        if (conf->logs[i].kind == target.kind && str_eq(conf->logs[i].path, target.path))
            return (unsigned)i;
    if (i == LOGS_MOST) {
        load_error(l, n, "more than %d logs", LOGS_MOST);
        return 0;
    }
    if (conf->logs == NULL)
        conf->logs = arena_zalloc(l->arena, LOGS_MOST * sizeof(*conf->logs));
    target.path = arena_copy(l->arena, target.path);
    conf->logs[conf->log_count++] = target;
    return (unsigned)i;
}

static void
read_log(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct log_target target = {.kind = LOG_TO_FILE, .path = STR("")};

    if (str_eq(n->text, STR("stderr")))
        target.kind = LOG_TO_STDERR;
    else if (str_eq(n->text, STR("syslog")))
        target.kind = LOG_TO_SYSLOG;
    else if (want_absolute(l, k, n))
        target.path = n->text;
    else
        return;
    *(unsigned *)at = log_index(l, n, target);
}

static struct template *
compile_template(struct loader *l, const char *name, const struct node *n)
{
    struct str why = STR(""), text = arena_copy(l->arena, n->text);
    size_t offset = 0;
    struct template *t = template_compile(text, l->groups, l->arena, &why, &offset);

    if (t == NULL && !l->groups_missing)
        load_error_in(l, n, offset, "`%s`: %.*s", name, STR_ARG(why));
    return t;
}

static void
read_template(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct template *t = compile_template(l, k->name, n);
    size_t offset = 0;
    const char *why = t != NULL && k->refuse != NULL ? k->refuse(t, &offset) : NULL;

    if (why != NULL)
        load_error_in(l, n, offset, "`%s`: %s", k->name, why);
    else if (t != NULL)
        *(struct template **)at = t;
    if (t != NULL)
        hint_template(l, k, n, t);
}

static void
read_regex(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct str why = STR("");
    size_t offset = 0;
    struct regex *re = regex_compile(arena_copy(l->arena, n->text), l->arena, &why, &offset);

    if (re == NULL)
        load_error_in(l, n, offset, "`%s`: %.*s", k->name, STR_ARG(why));
    else
        *(struct regex **)at = re;
    if (k->groups) {
        l->groups = re;
        l->groups_missing = re == NULL;
    }
}

/* Laid over the outer level's, name by name. */
static void
put_template(struct template_map *map, struct str name, struct template *value)
{
    size_t i = 0;

    while (i < map->n && !str_eq(map->v[i].name, name))
        i++;
    if (i == map->n)
        map->n++;
    map->v[i].name = name;
    map->v[i].value = value;
}

static void
read_templates(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct template_map *map = at, outer = *map;

    map->v = arena_zalloc(l->arena, (outer.n + n->n + 1) * sizeof(*map->v));
    if (outer.n > 0)
        memcpy(map->v, outer.v, outer.n * sizeof(*map->v));
    for (size_t i = 0; i < n->n; i++) {
        struct str name = load_show(l, n->keys[i]->text);
        struct template *t;

        if (n->items[i]->kind != NODE_SCALAR)
            load_error(l, n->items[i], "`%s`: `%.*s` wants a string", k->name, STR_ARG(name));
        else if ((t = compile_template(l, k->name, n->items[i])) != NULL)
            put_template(map, arena_copy(l->arena, n->keys[i]->text), t);
    }
}

/* {add: "..."} or {default: "..."}. */
static const struct node *
edit_mapping(struct loader *l, const struct key *k, const struct node *n, struct edit *e)
{
    struct str name = load_show(l, e->name);

    if (n->kind == NODE_MAP && n->n == 1 && n->items[0]->kind == NODE_SCALAR) {
        e->kind = str_eq(n->keys[0]->text, STR("add")) ? EDIT_ADD : EDIT_DEFAULT;
        if (e->kind == EDIT_ADD || str_eq(n->keys[0]->text, STR("default")))
            return n->items[0];
    }
    load_error(l, n, "`%s`: `%.*s` wants a string, ~, {add: ...} or {default: ...}", k->name, STR_ARG(name));
    return NULL;
}

/* A plain `off`, which takes whole policies back; in quotes it is meant: X-DNS-Prefetch-Control has that value. */
static void
warn_off(struct loader *l, const struct key *k, const struct node *n, const struct edit *e)
{
    if (e->kind == EDIT_SET && n->lead == 0 && str_eq(n->text, STR("off")))
        load_warning(l, n, "`%s`: `%.*s` gets the value `off`; ~ removes it, and \"off\" in quotes says that it is "
                     "meant", k->name, STR_ARG(e->name));
}

static bool
read_edit(struct loader *l, const struct key *k, const struct node *key, const struct node *n, struct edit *e)
{
    struct str name = load_show(l, key->text);

    *e = (struct edit){.name = arena_copy(l->arena, key->text), .kind = EDIT_SET, .line = key->line};
    if (!field_is_token(key->text)) {
        load_error(l, key, "`%s`: `%.*s` is no header name", k->name, STR_ARG(name));
        return false;
    }
    if (n->kind == NODE_NULL) {
        e->kind = EDIT_REMOVE;
        return true;
    }
    if (n->kind != NODE_SCALAR)
        n = edit_mapping(l, k, n, e);
    if (n == NULL || (e->value = compile_template(l, k->name, n)) == NULL)
        return false;
    hint_template(l, k, n, e->value);
    warn_off(l, k, n, e);
    return true;
}

/* Names are the same whatever their case. n is the mapping, whose pair i this is. */
static void
put_edit(struct loader *l, const struct key *k, const struct node *n, size_t i, struct edits *edits,
         const struct edit *e)
{
    struct str name = load_show(l, e->name);
    size_t offset = 0, to = 0;
    const char *why = k->refuse != NULL ? k->refuse(e, &offset) : NULL;

    if (why != NULL)
        load_error(l, n->keys[i], "`%s`: `%.*s`: %s", k->name, STR_ARG(name), why);
    for (size_t j = 0; j < i; j++)
        if (str_ieq(n->keys[j]->text, e->name) && !str_eq(n->keys[j]->text, e->name))
            load_error(l, n->keys[i], "`%s`: `%.*s` stands there twice, first on line %d", k->name, STR_ARG(name),
                       n->keys[j]->line);
    while (to < edits->n && !str_ieq(edits->v[to].name, e->name))
        to++;
    if (to == edits->n)
        edits->n++;
    edits->v[to] = *e;
}

static void
read_edits(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct edits *edits = at, outer = *edits;
    struct edit e;

    edits->v = arena_zalloc(l->arena, (outer.n + n->n + 1) * sizeof(*edits->v));
    if (outer.n > 0)
        memcpy(edits->v, outer.v, outer.n * sizeof(*edits->v));
    for (size_t i = 0; i < n->n; i++)
        if (read_edit(l, k, n->keys[i], n->items[i], &e))
            put_edit(l, k, n, i, edits, &e);
}

static bool
read_status(struct str text, int *status)
{
    int64_t value;

    if (text.n != 3 || !values_int(text, &value) || value < 200 || value > 599)
        return false;
    *status = (int)value;
    return true;
}

/* Laid over the outer level's, status by status. */
static void
put_status(struct status_times *times, int status, int64_t ms)
{
    size_t i = 0;

    while (i < times->n && times->v[i].status != status)
        i++;
    if (i == times->n)
        times->n++;
    times->v[i].status = status;
    times->v[i].ms = ms;
}

static void
read_statuses(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct status_times *times = at, outer = *times;
    const struct key value = {.name = k->name, .type = KEY_DURATION, .min = k->min, .max = k->max};

    times->v = arena_zalloc(l->arena, (outer.n + n->n + 1) * sizeof(*times->v));
    if (outer.n > 0)
        memcpy(times->v, outer.v, outer.n * sizeof(*times->v));
    for (size_t i = 0; i < n->n; i++) {
        struct str name = load_show(l, n->keys[i]->text);
        int64_t ms = -1;
        int status;

        if (!read_status(n->keys[i]->text, &status))
            load_error(l, n->keys[i], "`%s`: `%.*s` is no status from 200 to 599", k->name, STR_ARG(name));
        else if (want_text(l, &value, n->items[i]))
            read_number(l, &value, n->items[i], &ms);
        if (ms >= 0 && k->doubt != NULL && k->doubt(status) != NULL)
            load_warning(l, n->keys[i], "`%s`: %d: %s", k->name, status, k->doubt(status));
        if (ms >= 0)
            put_status(times, status, ms);
    }
}

bool
load_strings(struct loader *l, const struct key *k, const struct node *n, struct str_list *list)
{
    if (n->kind != NODE_LIST && n->kind != NODE_SCALAR) {
        load_wrong(l, k, n);
        return false;
    }
    *list = (struct str_list){.n = yaml_count(n)};
    list->v = arena_zalloc(l->arena, (list->n + 1) * sizeof(*list->v));
    for (size_t i = 0; i < list->n; i++) {
        const struct node *item = yaml_item(n, i);

        if (item->kind == NODE_SCALAR && item->text.n > 0) {
            list->v[i] = arena_copy(l->arena, item->text);
            continue;
        }
        load_error(l, item, "`%s` wants %.*s; this one is %s", k->name, STR_ARG(keys_wants(k, l->scratch)),
                   item->kind == NODE_MAP ? "a mapping" : item->kind == NODE_LIST ? "a list" : "empty");
    }
    return true;
}

static void
read_strings(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct str_list list;

    if (load_strings(l, k, n, &list))
        *(struct str_list *)at = list;
}

static void
read_networks(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct cidr_list networks = {0}, outer = *(struct cidr_list *)at;
    struct str_list list;

    if (!load_strings(l, k, n, &list))
        return;
    networks.v = arena_zalloc(l->arena, (list.n + 1) * sizeof(*networks.v));
    for (size_t i = 0; i < list.n; i++) {
        struct str text = load_show(l, list.v[i]);
        const char *why;

        if (list.v[i].n == 0)
            continue;
        if (str_eq(list.v[i], STR("unix:"))) {
            networks.unix_peers = true;
            networks.unix_line = yaml_item(n, i)->line;
        } else if (cidr_parse(&networks.v[networks.n], list.v[i], &why) == 0) {
            networks.v[networks.n++].line = yaml_item(n, i)->line;
        } else {
            struct str hint = hint_network(l, k, list.v[i]);

            load_error(l, yaml_item(n, i), "`%s`: `%.*s`: %s%.*s", k->name, STR_ARG(text), why, STR_ARG(hint));
        }
    }
    if (k->adds && (outer.n > 0 || outer.unix_peers || outer.outer != NULL))
        networks.outer = memcpy(arena_alloc(l->arena, sizeof(outer)), &outer, sizeof(outer));
    cidr_list_seal(&networks, l->arena);
    *(struct cidr_list *)at = networks;
}

/* Where an element has a regex of its own its strings know no other groups. */
static void
forget_groups(struct loader *l, const struct key *keys, const void *at)
{
    for (; keys->name != NULL; keys++)
        if (keys->groups) {
            l->groups = *(struct regex *const *)(const void *)((const char *)at + keys->offset);
            l->groups_missing = l->groups == NULL;
        }
}

/* A scalar stands for a mapping that has but the first key. */
static void
read_element(struct loader *l, const struct key *k, const struct node *n, void *at, unsigned level, bool fresh)
{
    const struct regex *groups = l->groups;
    struct given *given;

    forget_groups(l, k->keys, at);
    if (k->line != 0)
        *(int *)(void *)((char *)at + k->line - 1) = n->line;
    if (n->kind == NODE_MAP) {
        load_section(l, k->keys, n, at, level, fresh);
    } else if (n->kind == NODE_SCALAR) {
        given = arena_zalloc(l->scratch, load_count(k->keys) * sizeof(*given));
        given[0] = (struct given){n, n};
        load_fill(l, k->keys, given, n, at, level, true);
    } else {
        load_wrong(l, k, n);
    }
    l->groups = groups;
    l->groups_missing = false;
}

static void
read_list(struct loader *l, const struct key *k, const struct node *n, void *at, unsigned level, bool fresh)
{
    struct key_array list = {.n = yaml_count(n)}, outer;
    bool laid_over;

    memcpy(&outer, at, sizeof(outer));
    laid_over = !fresh && n->kind == NODE_MAP && outer.n == 1;
    if (list.n == 0)
        load_error(l, n, "`%s` is an empty list", k->name);
    list.v = arena_zalloc(l->arena, (list.n + 1) * k->size);
    if (laid_over)
        memcpy(list.v, outer.v, k->size);
    memcpy(at, &list, sizeof(list));
    for (size_t i = 0; i < list.n; i++)
        read_element(l, k, yaml_item(n, i), (char *)list.v + i * k->size, level, !laid_over);
}

static void
read_named(struct loader *l, const struct key *k, const struct node *n, void *at, unsigned level)
{
    struct key_array list = {.n = n->n};

    list.v = arena_zalloc(l->arena, (list.n + 1) * k->size);
    memcpy(at, &list, sizeof(list));
    for (size_t i = 0; i < n->n; i++) {
        char *element = (char *)list.v + i * k->size;
        struct str name = load_show(l, n->keys[i]->text);

        *(struct str *)(void *)element = arena_copy(l->arena, n->keys[i]->text);
        if (n->items[i]->kind == NODE_MAP)
            load_section(l, k->keys, n->items[i], element, level, true);
        else
            load_error(l, n->items[i], "`%s`: `%.*s` wants a mapping", k->name, STR_ARG(name));
        if (n->keys[i]->text.n == 0)
            load_error(l, n->keys[i], "`%s`: an empty name", k->name);
    }
}

static void
read_section(struct loader *l, const struct key *k, const struct node *n, void *at, unsigned level, bool fresh)
{
    load_section(l, k->keys, n, at, level, fresh);
}

typedef void reader(struct loader *l, const struct key *k, const struct node *n, void *at);

static reader *const scalars[] = {
    [KEY_BOOL] = read_bool,         [KEY_INT] = read_number,        [KEY_SIZE] = read_number,
    [KEY_DURATION] = read_number,   [KEY_STRING] = read_string,     [KEY_FILE] = read_file,
    [KEY_LOG] = read_log,           [KEY_CHOICE] = read_choice,     [KEY_TEMPLATE] = read_template,
    [KEY_REGEX] = read_regex,       [KEY_PERCENT] = read_percent,   [KEY_RATE] = read_rate,
};

void
load_value(struct loader *l, const struct key *k, const struct node *n, void *at, unsigned level, bool fresh)
{
    bool map = k->type == KEY_SECTION || k->type == KEY_NAMED || k->type == KEY_TEMPLATES || k->type == KEY_EDITS ||
               k->type == KEY_STATUSES;

    if (k->off && n->kind == NODE_SCALAR && str_eq(n->text, STR("off")))
        return;
    if (n->kind == NODE_NULL || (map && n->kind != NODE_MAP))
        load_wrong(l, k, n);
    else if (k->type < sizeof(scalars) / sizeof(scalars[0]) && scalars[k->type] != NULL) {
        if (want_text(l, k, n))
            scalars[k->type](l, k, n, at);
    } else if (k->type == KEY_TEMPLATES)
        read_templates(l, k, n, at);
    else if (k->type == KEY_EDITS)
        read_edits(l, k, n, at);
    else if (k->type == KEY_STATUSES)
        read_statuses(l, k, n, at);
    else if (k->type == KEY_STRINGS)
        read_strings(l, k, n, at);
    else if (k->type == KEY_NETWORKS)
        read_networks(l, k, n, at);
    else if (k->type == KEY_SECTION)
        read_section(l, k, n, at, level, fresh);
    else if (k->type == KEY_LIST)
        read_list(l, k, n, at, level, fresh);
    else if (k->type == KEY_NAMED)
        read_named(l, k, n, at, level);
    else
        k->custom(l, k, n, at);
}

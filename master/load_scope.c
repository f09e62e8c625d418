/*
 * What holds at one level. Knows the one rule of inheritance: a level starts from a copy of the outer
 * level's structs; a mapping writes the keys that it has, a scalar or a list all of its value, and
 * `off` clears it. Defaults are for the outermost level at which something is in use.
 *
 * A module's struct is kept twice: raw, as it was written, for inner levels to start from, and made
 * ready, for requests. So `ready` never meets its own work.
 */
#include "master/load_hint.h"
#include "master/loader.h"

static size_t
module_count(void)
{
    size_t n = 0;

    while (modules[n] != NULL)
        n++;
    return n;
}

static bool
is_off(const struct node *n)
{
    return n->kind == NODE_SCALAR && str_eq(n->text, STR("off"));
}

/* Modules whose def is not empty are in use unless somebody turns them off. */
static bool
by_default(const struct key *k)
{
    return k->levels & KEY_TOP && k->def != NULL && k->def[0] != '\0';
}

/* 0 is `none` to the policies that know none; the others cannot be off. */
static bool
clearable(const struct key *k)
{
    if (k->type == KEY_SECTION) {
        for (const struct key *inner = k->keys; inner->name != NULL; inner++)
            if (!clearable(inner))
                return false;
        return true;
    }
    return (k->type == KEY_SIZE || k->type == KEY_DURATION) && k->min <= 0;
}

static void
clear(const struct key *k, void *at, unsigned level)
{
    if (k->levels != 0 && !(k->levels & level))
        return;
    if (k->type == KEY_SECTION)
        for (const struct key *inner = k->keys; inner->name != NULL; inner++)
            clear(inner, (char *)at + inner->offset, level);
    else if (k->type == KEY_SIZE)
        *(size_t *)at = 0;
    else
        *(int64_t *)at = 0;
}

/* Which line of the file says what a policy is; a section's are told one by one. */
static void
note_lines(const struct key *k, const struct given *given, int *lines, unsigned level)
{
    const struct node *value = given->value;

    if (k->type != KEY_SECTION) {
        lines[POLICY_LINE_AT(k->offset)] = given->key->line;
        return;
    }
    for (const struct key *inner = k->keys; inner->name != NULL; inner++) {
        int *line = &lines[POLICY_LINE_AT(k->offset + inner->offset)];

        if (is_off(value) && (inner->levels == 0 || inner->levels & level))
            *line = given->key->line;
        for (size_t i = 0; value->kind == NODE_MAP && i < value->n; i++)
            if (str_eq(value->keys[i]->text, str_of(inner->name)))
                *line = value->keys[i]->line;
    }
}

/* Policies that are off are cleared here, and taken out of what the table fills in. */
static void
load_policy(struct loader *l, const struct node *map, bool *taken, struct scope *scope, unsigned level)
{
    struct policy *policy = &scope->policy;
    struct given *given = load_claim(l, keys_policy, map, taken);

    if (level == KEY_TOP) {
        struct given *none = arena_zalloc(l->scratch, load_count(keys_policy) * sizeof(*none));

        load_fill(l, keys_policy, none, map, policy, level, true);
    }
    for (size_t i = 0; keys_policy[i].name != NULL; i++)
        if (given[i].key != NULL)
            note_lines(&keys_policy[i], &given[i], scope->policy_lines, level);
    for (size_t i = 0; keys_policy[i].name != NULL; i++)
        if (given[i].key != NULL && is_off(given[i].value) && clearable(&keys_policy[i])) {
            clear(&keys_policy[i], (char *)policy + keys_policy[i].offset, level);
            given[i].key = NULL;
        }
    load_fill(l, keys_policy, given, map, policy, level, false);
}

/* For `ready`: whose errors are they, and where. */
struct readying {
    struct ready ready;
    struct loader *l;
    const struct module *module;
    const struct node *node;
    const struct node *value;
};

static void __attribute__((format(printf, 2, 3)))
ready_error(struct ready *ready, const char *fmt, ...)
{
    struct readying *r = (struct readying *)ready;
    struct str text;
    va_list ap;

    va_start(ap, fmt);
    text = arena_vprintf(r->l->scratch, fmt, ap);
    va_end(ap);
    load_error(r->l, r->node, "`%s`: %.*s", r->module->key.name, STR_ARG(text));
}

static void __attribute__((format(printf, 4, 5)))
ready_wrong(struct ready *ready, const char *key, size_t i, const char *fmt, ...)
{
    struct readying *r = (struct readying *)ready;
    const struct node *n = yaml_get(r->value, key);
    struct str text;
    va_list ap;

    if (n == NULL)
        return;
    va_start(ap, fmt);
    text = arena_vprintf(r->l->scratch, fmt, ap);
    va_end(ap);
    load_error(r->l, i < yaml_count(n) ? yaml_item(n, i) : n, "`%s`: %.*s", key, STR_ARG(text));
}

/* A copy that requests can use; where something is wrong already, nobody will. A default has no key, and no line. */
static void *
make_ready(struct loader *l, const struct module *m, const struct node *n, const struct node *value, const void *raw)
{
    struct readying r = {{.arena = l->arena, .error = ready_error, .wrong = ready_wrong, .groups = l->groups,
                           .place = l->place, .line = n->kind == NODE_MAP ? 0 : n->line},
                         l, m, n, value};
    void *conf = memcpy(arena_alloc(l->arena, m->conf_size), raw, m->conf_size);

    if (m->ready != NULL)
        m->ready(&r.ready, conf);
    return conf;
}

static void
load_module(struct loader *l, struct layer *layer, size_t i, const struct node *key, const struct node *value,
            unsigned level)
{
    const struct module *m = modules[i];
    const void *outer = layer->raw[i];
    size_t errors = l->errors;

    layer->raw[i] = layer->scope->conf[i] = NULL;
    if (is_off(value))
        return;
    layer->raw[i] = arena_zalloc(l->arena, m->conf_size);
    if (outer != NULL)
        memcpy(layer->raw[i], outer, m->conf_size);
    load_value(l, &m->key, value, (char *)layer->raw[i] + m->key.offset, level, outer == NULL);
    if (l->errors == errors)
        layer->scope->conf[i] = make_ready(l, m, key, value, layer->raw[i]);
}

/* Arrays of its own for a level that changes them. */
static void
part(struct loader *l, struct layer *layer, const struct layer *outer)
{
    size_t n = module_count() + 1;

    layer->raw = arena_zalloc(l->arena, n * sizeof(*layer->raw));
    layer->scope->conf = arena_zalloc(l->arena, n * sizeof(*layer->raw));
    if (outer != NULL) {
        memcpy(layer->raw, outer->raw, n * sizeof(*layer->raw));
        memcpy(layer->scope->conf, outer->scope->conf, n * sizeof(*layer->raw));
    }
}

/* `always`: a module whose hook is called whether it has a configuration there or not. */
static struct hooks
compile_phase(struct loader *l, const struct scope *scope, enum phase phase, const struct module *always)
{
    size_t most = module_count(), n = 0;
    struct hook *v = arena_alloc(l->arena, (most + 1) * sizeof(*v));

    for (size_t i = 0; i < most; i++)
        if ((scope->conf[i] != NULL || modules[i] == always) && modules[i]->hook[phase] != NULL)
            v[n++] = (struct hook){modules[i]->hook[phase], scope->conf[i], modules[i]};
    return (struct hooks){v, n};
}

static void
compile_hooks(struct loader *l, struct scope *scope)
{
    for (int phase = 0; phase < PHASES; phase++)
        scope->hooks[phase] = compile_phase(l, scope, (enum phase)phase, NULL);
}

static bool
is_used(const struct site *s, size_t module)
{
    for (size_t i = 0; i < s->route_count; i++)
        if (s->routes[i].proxy != NULL && s->routes[i].scope.conf[module] != NULL)
            return true;
    return false;
}

void
load_site_edits(struct loader *l, struct site *s)
{
    for (size_t i = 0; modules[i] != NULL; i++) {
        if (!modules[i]->site_edit || !is_used(s, i))
            continue;
        for (size_t j = 0; j < s->route_count; j++) {
            struct scope *scope = &s->routes[j].scope;

            if (s->routes[j].proxy != NULL && scope->conf[i] == NULL)
                scope->hooks[PHASE_EDIT] = compile_phase(l, scope, PHASE_EDIT, modules[i]);
        }
    }
}

/* The pair of the map that is the module's; its n where there is none. */
static size_t
find_pair(const struct node *map, const char *name)
{
    size_t i = 0;

    while (i < map->n && !str_eq(map->keys[i]->text, str_of(name)))
        i++;
    return i;
}

/* All of that name: that it stands twice has been told. */
static void
take_pairs(const struct node *map, bool *taken, size_t first, const char *name)
{
    for (size_t i = first; i < map->n; i++)
        if (str_eq(map->keys[i]->text, str_of(name)))
            taken[i] = true;
}

static void
load_modules(struct loader *l, const struct node *map, bool *taken, struct layer *layer,
             const struct layer *outer, unsigned level)
{
    bool parted = outer == NULL;

    if (parted)
        part(l, layer, NULL);
    for (size_t i = 0; modules[i] != NULL; i++) {
        const struct key *k = &modules[i]->key;
        size_t pair = find_pair(map, k->name);

        if (pair < map->n && !taken[pair] && k->levels & level) {
            if (!parted)
                part(l, layer, outer);
            parted = true;
            load_module(l, layer, i, map->keys[pair], map->items[pair], level);
        } else if (outer == NULL && by_default(k)) {
            load_module(l, layer, i, map, load_default(l, k, map), level);
        }
        if (k->levels & level)
            take_pairs(map, taken, pair, k->name);
    }
    if (parted)
        compile_hooks(l, layer->scope);
}

static void
suggest_keys(struct suggest *s, const struct key *keys, unsigned level)
{
    for (; keys->name != NULL; keys++)
        if (keys->levels & level)
            suggest_try(s, str_of(keys->name));
}

/* In which levels a key may stand that doesn't belong where it was met; 0: it is none. */
static unsigned
levels_of(struct str name)
{
    const struct key *const tables[] = {keys_top, keys_site, keys_route};
    const struct key *k;
    unsigned levels = 0;

    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
        if ((k = load_find(tables[i], name)) != NULL)
            levels |= k->levels;
    for (size_t i = 0; modules[i] != NULL; i++)
        if (str_eq(str_of(modules[i]->key.name), name))
            levels |= modules[i]->key.levels;
    return levels;
}

static void
reject(struct loader *l, const struct key *own, const struct node *key, unsigned level)
{
    static const char *const places[] = {"", "at the top level", "in sites", "at the top level and in sites",
                                         "in routes", "at the top level and in routes", "in sites and routes",
                                         "anywhere"};
    struct str hint, name = load_show(l, key->text);
    unsigned levels = levels_of(key->text);
    struct suggest s;

    if (levels != 0) {
        load_error(l, key, "`%.*s` may not stand %s, only %s", STR_ARG(name),
                   level == KEY_TOP ? "at the top level" : level == KEY_SITE ? "in a site" : "in a route",
                   places[levels & KEY_POLICY]);
        return;
    }
    suggest_init(&s, key->text);
    suggest_keys(&s, own, level);
    suggest_keys(&s, keys_policy, level);
    for (size_t i = 0; modules[i] != NULL; i++)
        if (modules[i]->key.levels & level)
            suggest_try(&s, str_of(modules[i]->key.name));
    hint = hint_key(l, key->text, &s);
    load_error(l, key, "unknown key `%.*s`%.*s", STR_ARG(name), STR_ARG(hint));
}

struct layer
load_scope(struct loader *l, const struct key *own, const struct node *map, const bool *owned,
           struct scope *scope, const struct layer *outer, unsigned level)
{
    struct layer layer = {.scope = scope, .raw = outer != NULL ? outer->raw : NULL};
    bool *taken = arena_alloc(l->scratch, map->n * sizeof(*taken));

    if (map->n > 0)
        memcpy(taken, owned, map->n * sizeof(*taken));
    if (outer != NULL)
        *scope = *outer->scope;
    load_policy(l, map, taken, scope, level);
    load_modules(l, map, taken, &layer, outer, level);
    for (size_t i = 0; i < map->n; i++)
        if (!taken[i])
            reject(l, own, map->keys[i], level);
    return layer;
}

size_t
load_answers(const struct node *map, const char **names, size_t most)
{
    size_t n = 0;

    for (size_t i = 0; modules[i] != NULL && n < most; i++) {
        size_t pair = find_pair(map, modules[i]->key.name);

        if (modules[i]->answers && pair < map->n && !is_off(map->items[pair]))
            names[n++] = modules[i]->key.name;
    }
    return n;
}

struct str
load_answer_names(struct loader *l)
{
    struct str text = STR("`proxy`");
    const char *last = NULL;

    for (size_t i = 0; modules[i] != NULL; i++) {
        if (!modules[i]->answers)
            continue;
        if (last != NULL)
            text = arena_printf(l->scratch, "%.*s, `%s`", STR_ARG(text), last);
        last = modules[i]->key.name;
    }
    return last != NULL ? arena_printf(l->scratch, "%.*s or `%s`", STR_ARG(text), last) : text;
}

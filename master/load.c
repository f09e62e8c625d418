/*
 * The loader's frame: the file, its findings, and mappings by key tables. Knows in which order the
 * parts of a file are read, whatever their order in it: policies before the sites that inherit them,
 * listeners and upstreams before those who name them.
 *
 * Findings are remarks with a place until the end, when they are put in the order of the file.
 */
#include "master/load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master/load_hint.h"
#include "master/loader.h"
#include "worker/route.h"

#define REMARKS_MOST 1000
#define SHOWN_MOST 80
#define MESSAGE_MOST 1000

struct remark {
    int line, column;
    size_t number;              /* in the order of being found */
    bool warning;
    struct str text;
};

static void
add_remark(struct loader *l, struct remark remark)
{
    if (!remark.warning)
        l->errors++;
    /* warnings leave room for errors */
    if (l->remark_count >= (remark.warning ? REMARKS_MOST / 2 : REMARKS_MOST))
        return;
    if (l->remark_count == l->remark_cap) {
        l->remark_cap = l->remark_cap ? 2 * l->remark_cap : 16;
        l->remarks = xrealloc(l->remarks, l->remark_cap * sizeof(*l->remarks));
    }
    remark.number = l->remark_count;
    l->remarks[l->remark_count++] = remark;
}

static void
add_text(struct loader *l, bool warning, const struct node *n, int column, const char *fmt, va_list ap)
{
    struct remark remark = {.line = n->line, .column = column, .warning = warning};

    remark.text = l->remark_count < REMARKS_MOST ? arena_vprintf(l->scratch, fmt, ap) : STR("");
    add_remark(l, remark);
}

void
load_error(struct loader *l, const struct node *n, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    add_text(l, false, n, n->column, fmt, ap);
    va_end(ap);
}

void
load_error_in(struct loader *l, const struct node *n, size_t offset, const char *fmt, ...)
{
    int column = n->column;
    va_list ap;

    if (n->lead >= 0)
        column += n->lead + (int)(offset < n->text.n ? offset : n->text.n);
    va_start(ap, fmt);
    add_text(l, false, n, column, fmt, ap);
    va_end(ap);
}

void
load_warning(struct loader *l, const struct node *n, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    add_text(l, true, n, n->column, fmt, ap);
    va_end(ap);
}

struct str
load_show(struct loader *l, struct str text)
{
    size_t n = SHOWN_MOST;

    if (text.n <= SHOWN_MOST)
        return text;
    while (n > 0 && ((unsigned char)text.p[n] & 0xC0) == 0x80)
        n--;
    return arena_printf(l->scratch, "%.*s...", (int)n, text.p);
}

void
load_wrong(struct loader *l, const struct key *k, const struct node *n)
{
    struct str wants = keys_wants(k, l->scratch), text = load_show(l, n->text);
    const char *kind = n->kind == NODE_LIST ? "a list" : n->kind == NODE_MAP ? "a mapping" : "nothing";
    const char *off = !k->off && k->type == KEY_SECTION && hint_off(k) ? ", or off" : "";
    struct str hint = hint_mapping(l, k, n);

    if (n->kind == NODE_SCALAR)
        load_error(l, n, "`%s` wants %.*s%s, not `%.*s`%.*s", k->name, STR_ARG(wants), off, STR_ARG(text),
                   STR_ARG(hint));
    else
        load_error(l, n, "`%s` wants %.*s%s, not %s%.*s", k->name, STR_ARG(wants), off, kind, STR_ARG(hint));
}

size_t
load_count(const struct key *keys)
{
    size_t n = 0;

    while (keys[n].name != NULL)
        n++;
    return n;
}

const struct key *
load_find(const struct key *keys, struct str name)
{
    for (; keys->name != NULL; keys++)
        if (str_eq(str_of(keys->name), name))
            return keys;
    return NULL;
}

struct given *
load_claim(struct loader *l, const struct key *keys, const struct node *map, bool *taken)
{
    struct given *given = arena_zalloc(l->scratch, load_count(keys) * sizeof(*given));
    const struct key *k;

    for (size_t i = 0; i < map->n; i++) {
        if (taken[i] || (k = load_find(keys, map->keys[i]->text)) == NULL)
            continue;
        taken[i] = true;
        if (given[k - keys].key == NULL)
            given[k - keys] = (struct given){map->keys[i], map->items[i]};
    }
    return given;
}

static const char *
level_name(unsigned level)
{
    return level == KEY_TOP ? "at the top level" : level == KEY_SITE ? "in a site" : "in a route";
}

/* Whether a key that has levels of its own may stand here. */
static bool
allowed(struct loader *l, const struct key *k, const struct given *given, unsigned level)
{
    if (k->levels == 0 || k->levels & level)
        return true;
    load_error(l, given->key, "`%s` may not stand %s, only %s", k->name, level_name(level),
               level_name(k->levels & -k->levels));
    return false;
}

const struct node *
load_default(struct loader *l, const struct key *k, const struct node *n)
{
    struct node *d = arena_zalloc(l->scratch, sizeof(*d));
    struct yaml yaml;

    if (strchr("[{", k->def[0]) == NULL) {
        d->kind = NODE_SCALAR;
        d->text = str_of(k->def);
    } else {
        yaml_parse(&yaml, str_of(k->def), l->scratch);
        *d = *yaml.root;
    }
    d->line = n->line;
    d->column = n->column;
    d->lead = -1;
    return d;
}

void
load_fill(struct loader *l, const struct key *keys, const struct given *given, const struct node *n,
          void *base, unsigned level, bool fresh)
{
    for (size_t i = 0; keys[i].name != NULL; i++) {
        const struct key *k = &keys[i];
        void *at = (char *)base + k->offset;

        if (given[i].key != NULL) {
            if (allowed(l, k, &given[i], level))
                load_value(l, k, given[i].value, at, level, fresh);
        } else if (fresh && k->def == NULL) {
            load_error(l, n, "`%s` is missing", k->name);
        } else if (fresh && k->def[0] != '\0') {
            load_value(l, k, load_default(l, k, n), at, level, true);
        }
    }
}

static void
reject(struct loader *l, const struct key *keys, const struct node *map, const bool *taken)
{
    for (size_t i = 0; i < map->n; i++) {
        struct suggest s;
        struct str hint, name = load_show(l, map->keys[i]->text);

        if (taken[i])
            continue;
        suggest_init(&s, map->keys[i]->text);
        for (const struct key *k = keys; k->name != NULL; k++)
            suggest_try(&s, str_of(k->name));
        hint = hint_key(l, map->keys[i]->text, &s);
        load_error(l, map->keys[i], "unknown key `%.*s`%.*s", STR_ARG(name), STR_ARG(hint));
    }
}

void
load_section(struct loader *l, const struct key *keys, const struct node *n, void *base, unsigned level,
             bool fresh)
{
    bool *taken = arena_zalloc(l->scratch, n->n * sizeof(*taken));
    struct given *given = load_claim(l, keys, n, taken);

    reject(l, keys, n, taken);
    load_fill(l, keys, given, n, base, level, fresh);
}

static int
by_name(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    size_t n = x->name.n < y->name.n ? x->name.n : y->name.n;
    int d = n > 0 ? memcmp(x->name.p, y->name.p, n) : 0;

    if (d != 0)
        return d;
    if (x->name.n != y->name.n)
        return x->name.n < y->name.n ? -1 : 1;
    return x->node->line != y->node->line ? x->node->line - y->node->line : x->node->column - y->node->column;
}

void
load_twins(struct loader *l, struct named *v, size_t n, const char *what, const char *where)
{
    if (n > 1)
        qsort(v, n, sizeof(*v), by_name);
    for (size_t i = 1; i < n; i++)
        if (str_eq(v[i].name, v[i - 1].name)) {
            struct str name = load_show(l, v[i].name);

            load_error(l, v[i].node, "%s `%.*s` stands twice%s, first on line %d", what, STR_ARG(name), where,
                       v[i - 1].node->line);
        }
}

/* Who a request asks for is looked up in one table a listener. */
static void
make_site_tables(struct loader *l)
{
    struct conf *conf = l->conf;
    struct str host;
    int twice;

    for (size_t i = 0; i < conf->listener_count; i++)
        conf->listeners[i].sites = site_table_new(conf, &conf->listeners[i], l->arena, &twice, &host);
}

static void
load_top(struct loader *l, const struct node *root)
{
    bool *taken = arena_zalloc(l->scratch, root->n * sizeof(*taken));
    struct given *given = load_claim(l, keys_top, root, taken);

    l->top = load_scope(l, keys_top, root, taken, &l->conf->scope, NULL, KEY_TOP);
    load_fill(l, keys_top, given, root, l->conf, KEY_TOP, true);
    load_check_listeners(l, yaml_get(root, "listen"));
    load_check_listeners_tls(l, yaml_get(root, "listen"));
    load_check_upstreams(l, yaml_get(root, "upstreams"));
    load_check_sites(l, yaml_get(root, "sites"), yaml_get(root, "listen"));
    load_check_cache(l, root);
    if (l->errors == 0)
        make_site_tables(l);
}

static void
load_root(struct loader *l, const struct yaml *yaml)
{
    static const struct node empty = {.kind = NODE_MAP, .line = 1, .column = 1, .lead = -1};
    const struct node *root = yaml->root;

    for (size_t i = 0; i < yaml->error_count; i++)
        add_remark(l, (struct remark){.line = yaml->errors[i].line, .column = yaml->errors[i].column,
                                      .text = yaml->errors[i].text});
    if (root == NULL && yaml->error_count > 0)
        return;
    if (root == NULL || root->kind == NODE_NULL)
        root = &empty;
    if (root->kind != NODE_MAP)
        load_error(l, root, "a configuration is a mapping of keys to values");
    else
        load_top(l, root);
}

static int
by_place(const void *a, const void *b)
{
    const struct remark *x = a, *y = b;

    if (x->line != y->line)
        return x->line - y->line;
    if (x->column != y->column)
        return x->column - y->column;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Messages quote the file, and they go to terminals and into logs that have a line each. */
static struct str
clean(struct str text, struct arena *a)
{
    size_t most = text.n < MESSAGE_MOST ? text.n : MESSAGE_MOST;
    char *p = arena_cstr(a, (struct str){text.p, most});

    for (size_t i = 0; i < most; i++)
        if ((unsigned char)p[i] < 0x20 || p[i] == 0x7F)
            p[i] = '?';
    return (struct str){p, most};
}

/* What an alias repeats is found wrong each time, and told once. */
static bool
repeats(const struct remark *v, size_t i)
{
    for (size_t j = i; j-- > 0 && v[j].line == v[i].line && v[j].column == v[i].column;)
        if (str_eq(v[j].text, v[i].text))
            return true;
    return false;
}

static void
report(struct loader *l, struct findings *f)
{
    struct str file = l->conf->file;

    if (l->remark_count > 0)
        qsort(l->remarks, l->remark_count, sizeof(*l->remarks), by_place);
    f->v = arena_alloc(f->arena, (l->remark_count + 1) * sizeof(*f->v));
    for (size_t i = 0; i < l->remark_count; i++) {
        const struct remark *r = &l->remarks[i];
        struct str place, text = clean(r->text, f->arena);

        if (repeats(l->remarks, i))
            continue;
        place = arena_printf(f->arena, "%.*s:%d:%d: ", STR_ARG(file), r->line, r->column);
        f->v[f->n++] = (struct finding){
            .warning = r->warning,
            .text = arena_printf(f->arena, "%.*s%s%.*s", STR_ARG(place), r->warning ? "warning: " : "", STR_ARG(text)),
            .place = place,
            .message = text,
        };
        f->errors += !r->warning;
    }
    if (l->errors > 0 && l->remark_count == REMARKS_MOST)
        f->v[f->n++] = (struct finding){
            .text = arena_printf(f->arena, "%.*s: there is more than these %d", STR_ARG(file), REMARKS_MOST)};
}

static struct conf *
load(const char *name, struct str text, struct findings *findings, bool users)
{
    struct arena *arena = arena_new();
    struct loader l = {.arena = arena, .scratch = arena_new(), .users = users};
    struct yaml yaml;

    l.conf = arena_zalloc(arena, sizeof(*l.conf));
    l.conf->arena = arena;
    l.conf->file = arena_copy(arena, str_of(name));
    findings->v = NULL;
    findings->n = findings->errors = 0;
    yaml_parse(&yaml, text, l.scratch);
    load_root(&l, &yaml);
    report(&l, findings);
    free(l.remarks);
    arena_free(l.scratch);
    if (l.errors == 0)
        return l.conf;
    arena_free(arena);
    return NULL;
}

struct conf *
load_text(const char *name, struct str text, struct findings *findings)
{
    return load(name, text, findings, false);
}

/* The whole of it, one byte more than it may have at most; -1 with errno. */
static ssize_t
read_all(int fd, char *to)
{
    size_t n = 0;
    ssize_t got;

    do {
        got = read(fd, to + n, YAML_BYTES + 1 - n);
        if (got > 0)
            n += (size_t)got;
    } while (n <= YAML_BYTES && (got > 0 || (got < 0 && errno == EINTR)));
    return got < 0 ? -1 : (ssize_t)n;
}

static struct conf *
fail_file(const char *path, struct findings *f)
{
    f->v = arena_alloc(f->arena, sizeof(*f->v));
    f->v[0] = (struct finding){.text = arena_printf(f->arena, "%s: %s", path, strerror(errno))};
    f->n = f->errors = 1;
    return NULL;
}

static struct conf *
read_file(const char *path, struct findings *findings, bool users)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct conf *conf;
    ssize_t n;
    char *text;

    if (fd < 0)
        return fail_file(path, findings);
    text = xmalloc(YAML_BYTES + 1);
    n = read_all(fd, text);
    if (n < 0)
        conf = fail_file(path, findings);
    close(fd);
    if (n >= 0)
        conf = load(path, (struct str){text, (size_t)n}, findings, users);
    free(text);
    return conf;
}

struct conf *
load_file(const char *path, struct findings *findings)
{
    return read_file(path, findings, true);
}

struct conf *
load_file_alone(const char *path, struct findings *findings)
{
    return read_file(path, findings, false);
}

void
conf_free(struct conf *conf)
{
    if (conf != NULL)
        arena_free(conf->arena);
}

/*
 * A route's conditions. Knows how conditions become a name: what was written, in the order methods,
 * scheme, path, headers, query, cookies, with spaces between. A prefix has its slash at the end, a
 * whole path that ends in a slash has "=" before it (so that the two differ), a regex has "~"; a
 * header is "Name:value", a parameter "?name=value", a cookie ";name=value"; a route without
 * conditions is "*".
 */
#include <stddef.h>

#include "master/loader.h"
#include "worker/field.h"
#include "worker/uri.h"

#define CONDITIONS_MOST 100     /* of a kind */

/* The canonical path that a key holds; p NULL with an error. */
static struct str
want_path(struct loader *l, const struct key *k, const struct node *n)
{
    struct str text = load_show(l, n->text);
    struct uri uri = {0};

    if (n->kind != NODE_SCALAR) {
        load_wrong(l, k, n);
    } else if (n->text.n == 0 || n->text.p[0] != '/') {
        load_error(l, n, "`%s` has to begin with /, not `%.*s`", k->name, STR_ARG(text));
    } else if (uri_canonical(&uri, n->text, l->scratch) != 0) {
        load_error(l, n, "`%s`: no request has the path `%.*s`: it would be refused", k->name, STR_ARG(text));
    } else if (!str_eq(uri.canonical, n->text)) {
        struct str canonical = load_show(l, uri.canonical);

        load_error(l, n, "`%s` wants a canonical path: `%.*s`, not `%.*s`", k->name, STR_ARG(canonical),
                   STR_ARG(text));
    } else {
        if (memchr(n->text.p, '*', n->text.n) != NULL)
            load_warning(l, n, "`%s`: a `*` stands for itself there, not for any text", k->name);
        return arena_copy(l->arena, n->text);
    }
    return STR_NONE;
}

int
load_path(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct str path = want_path(l, k, n);

    *(struct str *)at = path;
    return path.p == NULL ? -1 : 0;
}

int
load_prefix(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct str prefix = want_path(l, k, n);

    if (prefix.n > 1 && prefix.p[prefix.n - 1] == '/')
        prefix.n--;
    *(struct str *)at = prefix;
    return prefix.p == NULL ? -1 : 0;
}

/* Methods are case-sensitive (RFC 9110 9.1), which not everybody who writes one knows. */
static void
check_method(struct loader *l, const struct node *n, struct str method)
{
    struct str text = load_show(l, method);

    if (!field_is_token(method)) {
        load_error(l, n, "`methods`: `%.*s` is no method", STR_ARG(text));
        return;
    }
    for (size_t i = 0; i < method.n; i++)
        if (method.p[i] >= 'a' && method.p[i] <= 'z') {
            load_warning(l, n, "method `%.*s`: methods are in upper case, and case counts", STR_ARG(text));
            return;
        }
}

int
load_methods(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct str_list list;

    if (!load_strings(l, k, n, &list))
        return -1;
    if (list.n == 0)
        load_error(l, n, "`methods` is an empty list");
    for (size_t i = 0; i < list.n; i++)
        if (list.v[i].n > 0)
            check_method(l, yaml_item(n, i), list.v[i]);
    *(struct str_list *)at = list;
    return 0;
}

/* A header, parameter or cookie that no request can have would be a condition that never holds. */
static const char *
check_name(const struct key *k, struct str name)
{
    if (k->offset == offsetof(struct match, headers))
        return field_is_token(name) ? NULL : "no header name";
    if (name.n == 0)
        return "empty";
    if (k->offset == offsetof(struct match, query))
        return NULL;
    if (str_trim(name).n != name.n || memchr(name.p, '=', name.n) != NULL || memchr(name.p, ';', name.n) != NULL)
        return "no cookie name";
    return field_is_value(name) ? NULL : "no cookie name";
}

/* The same for a value that has to be equal. That of a parameter is decoded, and may hold anything. */
static const char *
check_value(const struct key *k, struct str value)
{
    if (k->offset == offsetof(struct match, query))
        return memchr(value.p, '\0', value.n) == NULL ? NULL : "a request with a NUL is refused";
    if (!field_is_value(value))
        return "no header has control bytes";
    if (str_trim(value).n != value.n)
        return "white space around a value is taken off";
    if (k->offset == offsetof(struct match, cookies) && memchr(value.p, ';', value.n) != NULL)
        return "a cookie ends at ;";
    return NULL;
}

static bool
compile_condition(struct loader *l, const struct key *k, const struct node *n, struct condition *c)
{
    struct str why = STR(""), pattern = {n->text.p + 1, n->text.n - 1};
    size_t offset = 0;

    c->regex = regex_compile(pattern, l->arena, &why, &offset);
    if (c->regex == NULL)
        load_error_in(l, n, offset + 1, "`%s`: %.*s", k->name, STR_ARG(why));
    return c->regex != NULL;
}

/* In YAML ~^gold is a string, and ~ alone is nothing. */
static bool
read_condition(struct loader *l, const struct key *k, const struct node *key, const struct node *n,
               struct condition *c)
{
    struct str name = load_show(l, key->text), text = load_show(l, n->text);
    const char *why = check_name(k, key->text);

    c->name = arena_copy(l->arena, key->text);
    if (why != NULL) {
        load_error(l, key, "`%s`: `%.*s` is %s", k->name, STR_ARG(name), why);
        return false;
    }
    if (n->kind == NODE_NULL)
        load_error(l, n, "`%s`: `%.*s` wants a value or \"~regex\", not nothing; \"~\" in quotes takes any value",
                   k->name, STR_ARG(name));
    else if (n->kind != NODE_SCALAR)
        load_error(l, n, "`%s`: `%.*s` wants a value or \"~regex\", not %s", k->name, STR_ARG(name),
                   n->kind == NODE_LIST ? "a list" : "a mapping");
    else if (str_starts(n->text, STR("~")))
        return compile_condition(l, k, n, c);
    else if (n->text.n > 0 && (why = check_value(k, n->text)) != NULL)
        load_error(l, n, "`%s`: no `%.*s` is `%.*s`: %s", k->name, STR_ARG(name), STR_ARG(text), why);
    else
        c->value = arena_copy(l->arena, n->text);
    return c->value.p != NULL;
}

/* Names of headers are the same whatever their case; the reader has found all others that stand twice. */
static void
check_twice(struct loader *l, const struct key *k, const struct node *n, size_t i)
{
    struct str name = load_show(l, n->keys[i]->text);

    for (size_t j = 0; j < i && k->offset == offsetof(struct match, headers); j++)
        if (str_ieq(n->keys[j]->text, n->keys[i]->text) && !str_eq(n->keys[j]->text, n->keys[i]->text)) {
            load_error(l, n->keys[i], "`%s`: `%.*s` stands twice, first on line %d", k->name, STR_ARG(name),
                       n->keys[j]->line);
            return;
        }
}

int
load_conditions(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct conditions *all = at;

    if (n->kind != NODE_MAP) {
        load_wrong(l, k, n);
        return -1;
    }
    if (n->n == 0)
        load_error(l, n, "`%s` is an empty mapping", k->name);
    if (n->n > CONDITIONS_MOST) {
        load_error(l, n, "`%s`: at most %d", k->name, CONDITIONS_MOST);
        return -1;
    }
    *all = (struct conditions){.v = arena_zalloc(l->arena, (n->n + 1) * sizeof(*all->v))};
    for (size_t i = 0; i < n->n; i++) {
        check_twice(l, k, n, i);
        if (read_condition(l, k, n->keys[i], n->items[i], &all->v[all->n]))
            all->n++;
    }
    return 0;
}

static struct str
append(struct str text, const char *mark, struct str more, const char *end, struct arena *a)
{
    return arena_printf(a, "%.*s%s%s%.*s%s", STR_ARG(text), text.n > 0 ? " " : "", mark, STR_ARG(more), end);
}

static struct str
append_conditions(struct str text, const char *mark, const char *equals, const struct conditions *all,
                  struct arena *a)
{
    for (size_t i = 0; i < all->n; i++) {
        const struct condition *c = &all->v[i];
        struct str value = c->regex != NULL ? regex_source(c->regex) : c->value;

        text = append(text, mark, c->name, equals, a);
        text = arena_printf(a, "%.*s%s%.*s", STR_ARG(text), c->regex != NULL ? "~" : "", STR_ARG(value));
    }
    return text;
}

static bool
ends_in_slash(struct str path)
{
    return path.n > 0 && path.p[path.n - 1] == '/';
}

struct str
load_match_text(const struct match *m, struct arena *a)
{
    struct str text = STR("");

    for (size_t i = 0; i < m->methods.n; i++)
        text = arena_printf(a, "%.*s%s%.*s", STR_ARG(text), i > 0 ? "," : "", STR_ARG(m->methods.v[i]));
    if (m->scheme != SCHEME_ANY)
        text = append(text, "", m->scheme == SCHEME_HTTP ? STR("http") : STR("https"), ":", a);
    if (m->path.p != NULL)
        text = append(text, ends_in_slash(m->path) ? "=" : "", m->path, "", a);
    if (m->prefix.p != NULL)
        text = append(text, "", m->prefix, ends_in_slash(m->prefix) ? "" : "/", a);
    if (m->regex != NULL)
        text = append(text, "~", regex_source(m->regex), "", a);
    text = append_conditions(text, "", ":", &m->headers, a);
    text = append_conditions(text, "?", "=", &m->query, a);
    text = append_conditions(text, ";", "=", &m->cookies, a);
    return text.n > 0 ? text : STR("*");
}

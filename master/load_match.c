/*
 * A route's conditions. Knows how conditions become a name: what was written, in the order methods,
 * scheme, path, with spaces between. A prefix has its slash at the end, a whole path that ends
 * in a slash has "=" before it (so that the two differ), a regex has "~"; a route without conditions
 * is "*".
 */
#include "master/loader.h"
#include "worker/field.h"
#include "worker/uri.h"

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

int
load_conditions(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    (void)at;
    load_error(l, n, "`%s`: not yet", k->name);
    return -1;
}

static struct str
append(struct str text, const char *mark, struct str more, const char *end, struct arena *a)
{
    return arena_printf(a, "%.*s%s%s%.*s%s", STR_ARG(text), text.n > 0 ? " " : "", mark, STR_ARG(more), end);
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
    return text.n > 0 ? text : STR("*");
}

/*
 * `tls` and `protocol` of an upstream: what has to hold between their keys, and what becomes of the files they name.
 */
#include "master/loader.h"
#include "worker/tls/client.h"

struct telling {
    struct loader *l;
    const struct node *tls;
};

int
load_server_name(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct ip ip;

    if (n->kind != NODE_SCALAR ||
        (!ip_parse(&ip, n->text) && !addr_is_name(arena_printf(l->scratch, "%.*s:1", STR_ARG(n->text))))) {
        load_wrong(l, k, n);
        return -1;
    }
    *(struct str *)at = arena_copy(l->arena, n->text);
    return 0;
}

/* Names that nobody can verify. */
static void
check_names(struct loader *l, const struct upstream *u, const struct node *tls)
{
    for (size_t i = 0; i < u->server_count; i++) {
        const struct server *s = &u->servers[i];

        if (s->name.n > 0 || s->address.ip.family != AF_UNIX)
            continue;
        load_error(l, tls, "`tls` needs `server_name`: `%.*s` has no name to verify", STR_ARG(s->text));
        return;
    }
}

static void
check_keys(struct loader *l, const struct upstream *u, const struct node *tls)
{
    const struct node *cert = yaml_get(tls, "cert"), *key = yaml_get(tls, "key");

    if (u->tls.cert.n > 0 && key == NULL)
        load_error(l, cert, "`cert` needs `key`");
    if (u->tls.key.n > 0 && cert == NULL)
        load_error(l, key, "`key` needs `cert`");
    if (!u->tls.verify && u->tls.ca.n > 0)
        load_warning(l, yaml_get(tls, "ca"), "`ca` is not asked where `verify` is false");
    if (u->tls.verify && yaml_get(tls, "server_name") == NULL)
        check_names(l, u, tls);
}

static void
check_protocol(struct loader *l, const struct upstream *u, const struct node *n)
{
    const struct node *protocol = yaml_get(n, "protocol");

    if (u->protocol == UPSTREAM_H2 && !u->tls.on && yaml_get(n, "tls") == NULL)
        load_error(l, protocol, "`protocol: h2` needs `tls`: in the clear it is h2c");
    else if (u->protocol == UPSTREAM_H2 && !u->tls.on)
        load_error(l, protocol, "`protocol: h2` needs `tls`");
    if (u->protocol == UPSTREAM_H2C && u->tls.on)
        load_error(l, protocol, "`protocol: h2c` is in the clear: with `tls` it is h2");
}

/* At the key that it is about, else at `tls`. */
static void
tell(void *with, const struct tls_trouble *t)
{
    const struct telling *telling = with;
    const struct node *at = yaml_get(telling->tls, t->what);

    if (at == NULL)
        at = telling->tls;
    (t->fatal ? load_error : load_warning)(telling->l, at, "`%s`: %s", t->what, t->text);
}

/* False: one of them cannot be read. */
static bool
read_files(struct loader *l, const struct upstream_tls *t, const struct node *tls, struct tls_client_files *files)
{
    bool ca = load_tls_file(l, yaml_get(tls, "ca"), "ca", t->ca, &files->ca);
    bool cert = load_tls_file(l, yaml_get(tls, "cert"), "cert", t->cert, &files->cert);
    bool key = load_tls_file(l, yaml_get(tls, "key"), "key", t->key, &files->key);

    return ca && cert && key;
}

static void
make_client(struct loader *l, struct upstream *u, const struct node *tls)
{
    struct tls_client_files files = {0};
    struct telling telling = {l, tls};

    if (read_files(l, &u->tls, tls, &files))
        u->tls.client = tls_client_new(u, &files, l->arena, tell, &telling);
}

void
load_check_upstream_tls(struct loader *l, struct upstream *u, const struct node *n)
{
    const struct node *tls = yaml_get(n, "tls");
    size_t errors = l->errors;

    u->tls.on = tls != NULL && tls->kind == NODE_MAP;
    check_protocol(l, u, n);
    if (!u->tls.on)
        return;
    check_keys(l, u, tls);
    if (l->errors == errors && l->users)        /* as in load_tls.c */
        make_client(l, u, tls);
}

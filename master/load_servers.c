/*
 * Listeners and the servers of upstreams: what has an address. Knows which addresses may stand where,
 * and gives listeners, upstreams and servers their numbers.
 */
#include <stdlib.h>

#include "master/loader.h"

/* The text is kept: a unix address points into it. */
static bool
read_address(struct loader *l, const struct key *k, const struct node *n, struct addr *address, struct str *text)
{
    struct str shown = load_show(l, n->text);
    struct sockaddr_storage ss;
    const char *why = NULL;

    if (n->kind != NODE_SCALAR) {
        load_wrong(l, k, n);
        return false;
    }
    *text = arena_copy(l->arena, n->text);
    if (addr_parse(address, *text, &why) != 0)
        load_error(l, n, "`%.*s`: %s; it is %s", STR_ARG(shown), why, k->words[0]);
    else if (addr_to_sockaddr(address, &ss) == 0)
        load_error(l, n, "`%.*s`: the path is too long for a socket", STR_ARG(shown));
    else
        return true;
    return false;
}

int
load_listen_address(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct str shown = load_show(l, n->text);
    struct listener *listener = at;

    if (n->kind == NODE_SCALAR && addr_is_name(n->text)) {
        load_error(l, n, "`%.*s` has a name; only addresses can stand here: %s", STR_ARG(shown), k->words[0]);
        return -1;
    }
    return read_address(l, k, n, &listener->address, &listener->text) ? 0 : -1;
}

/* A name, to be resolved at run time. addr_is_name has seen that there is a port. */
static int
read_name(struct loader *l, const struct node *n, struct server *server)
{
    const char *colon = memrchr(n->text.p, ':', n->text.n);
    size_t length = (size_t)(colon - n->text.p);
    char *name = arena_cstr(l->arena, (struct str){n->text.p, length});

    for (size_t i = 0; i < length; i++)
        if (name[i] >= 'A' && name[i] <= 'Z')
            name[i] |= 0x20;
    server->name = (struct str){name, length};
    server->port = (uint16_t)str_decimal((struct str){colon + 1, n->text.n - (size_t)(colon - n->text.p) - 1});
    server->text = arena_copy(l->arena, n->text);
    return 0;
}

int
load_server_address(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct server *server = at;

    if (n->kind == NODE_SCALAR && addr_is_name(n->text))
        return read_name(l, n, server);
    return read_address(l, k, n, &server->address, &server->text) ? 0 : -1;
}

static struct upstream *
find_upstream(struct conf *conf, struct str name)
{
    for (size_t i = 0; i < conf->upstream_count; i++)
        if (str_eq(conf->upstreams[i].name, name))
            return &conf->upstreams[i];
    return NULL;
}

int
load_proxy(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct str hint, name = load_show(l, n->text);
    struct upstream *u;
    struct suggest s;
    struct ip ip;

    if (n->kind != NODE_SCALAR) {
        load_wrong(l, k, n);
        return -1;
    }
    if ((u = find_upstream(l->conf, n->text)) != NULL) {
        *(struct upstream **)at = u;
        return 0;
    }
    suggest_init(&s, n->text);
    for (size_t i = 0; i < l->conf->upstream_count; i++)
        suggest_try(&s, l->conf->upstreams[i].name);
    hint = suggest_text(&s, l->scratch);
    if (memchr(n->text.p, ':', n->text.n) != NULL || ip_parse(&ip, n->text))
        hint = STR("; servers stand in `upstreams`, and `proxy` names one of those");
    load_error(l, n, "no upstream has the name `%.*s`%.*s", STR_ARG(name), STR_ARG(hint));
    return -1;
}

/* Where the address of an element stands: it may be a scalar or a mapping. */
static const struct node *
part_of(const struct node *element, const char *key)
{
    return element->kind == NODE_MAP ? yaml_get(element, key) : element;
}

void
load_check_listeners(struct loader *l, const struct node *listen)
{
    struct conf *conf = l->conf;
    struct named *addresses = xmalloc(conf->listener_count * sizeof(*addresses));
    struct named *names = xmalloc(conf->listener_count * sizeof(*names));
    size_t a = 0, n = 0;

    for (size_t i = 0; i < conf->listener_count; i++) {
        struct listener *at = &conf->listeners[i];
        const struct node *element = yaml_item(listen, i);

        at->index = (unsigned)i;
        if (at->address.ip.family != 0)
            addresses[a++] = (struct named){addr_text(&at->address, l->scratch), part_of(element, "address")};
        if (at->name.n > 0)
            names[n++] = (struct named){at->name, part_of(element, "name")};
    }
    load_twins(l, addresses, a, "address", "");
    load_twins(l, names, n, "listener", "");
    free(addresses);
    free(names);
}

static void
check_servers(struct loader *l, struct upstream *u, const struct node *servers)
{
    struct named *v = xmalloc(u->server_count * sizeof(*v));
    size_t n = 0;

    for (size_t i = 0; i < u->server_count; i++) {
        struct server *s = &u->servers[i];

        s->upstream = u;
        s->index = (unsigned)i;
        if (s->address.ip.family != 0)
            v[n++] = (struct named){addr_text(&s->address, l->scratch), part_of(yaml_item(servers, i), "address")};
        else if (s->name.n > 0)
            v[n++] = (struct named){arena_printf(l->scratch, "%.*s:%u", STR_ARG(s->name), s->port),
                                    part_of(yaml_item(servers, i), "address")};
    }
    load_twins(l, v, n, "server", "");
    free(v);
}

void
load_check_upstreams(struct loader *l, const struct node *upstreams)
{
    struct conf *conf = l->conf;

    for (size_t i = 0; i < conf->upstream_count; i++) {
        struct upstream *u = &conf->upstreams[i];

        u->index = (unsigned)i;
        u->first_server = (unsigned)conf->server_count;
        conf->server_count += u->server_count;
        u->line = upstreams->keys[i]->line;
        check_servers(l, u, yaml_get(upstreams->items[i], "servers"));
        load_check_upstream(l, u, upstreams->items[i]);
    }
}

/*
 * Against poisoning: what a client says and the key does not hold is kept from origins, so that it isn't in an answer
 * that others get.
 */
#include "modules/cache.h"

#include "worker/forwarded.h"

/* The host as it is in the key, so that nobody's spelling of it (t:80, T, t.) is in the links that all others get. */
void
cache_shield_host(struct request *r)
{
    int port = r->host.port;

    if (r->host_field.p == NULL || r->host.name.n == 0)
        return;
    r->host_field = r->host.name;
    if (port >= 0 && port != (r->https ? 443 : 80))
        r->host_field = arena_printf(r->arena, "%.*s:%d", STR_ARG(r->host.name), port);
}

/* To many a framework it is another method then, whose answer would be stored as GET's. */
bool
cache_shield_override(const struct fields *f)
{
    static const struct str names[] = {
        {"x-http-method-override", 22}, {"x-http-method", 13}, {"x-method-override", 17},
    };

    for (size_t i = 0; i < f->n; i++) {
        struct str name = f->v[i].name;

        if (f->v[i].id != FIELD_OTHER || f->v[i].gone || name.n < 13 || (name.p[0] | 0x20) != 'x')
            continue;
        for (size_t j = 0; j < sizeof(names) / sizeof(names[0]); j++)
            if (field_reads_as(name, names[j]))
                return true;
    }
    return false;
}

/*
 * What an origin may take for the URL it is asked for, and what is no part of the key. What weir itself says (For,
 * Host, Proto) it says again.
 */
void
cache_shield(struct request *r)
{
    static const struct str names[] = {
        {"x-forwarded-", 12}, {"x-original-", 11}, {"x-rewrite-", 10},   {"x-host", 6}, {"x-http-host-override", 20},
        {"x-scheme", 8},      {"x-url-scheme", 12}, {"front-end-https", 15},
    };
    struct fields *all = &r->forward;

    for (size_t i = 0; i < all->n; i++) {
        struct field *f = &all->v[i];

        for (size_t j = 0; j < sizeof(names) / sizeof(names[0]) && f->id == FIELD_OTHER; j++)
            if (f->name.n >= names[j].n && field_reads_as((struct str){f->name.p, names[j].n}, names[j]) &&
                (f->name.n == names[j].n || str_ends(names[j], STR("-"))) && !f->fixed)
                f->gone = true;
    }
    forwarded_alone(r);
}
